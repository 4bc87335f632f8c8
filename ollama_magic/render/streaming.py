"""A reply in a notebook while it streams.

``generation`` feeds a ``StreamDisplay`` with the text that the server sends. A front
end redraws a whole output at every update, so paints are throttled by the time and the
bytes that they take, and a long reply is split over several outputs: finished ones are
left alone. There are fewer than 50 of them, since JupyterLab shows no more per cell.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ollama_magic.client.background import redraw_s
from ollama_magic.render.incremental import ReplyConverter
from ollama_magic.render.output import FinalOutput, LiveOutput, OutputMode
from ollama_magic.render.reply import ReplyView, live_steps_html, reply_bundle
from ollama_magic.render.safe_html import note_html, page_html, thinking_html, warm_up
from ollama_magic.render.text import visible_text
from ollama_magic.render.theme import styles_in

THINKING_INTERVAL_S = 0.5
"""How often the line with the latest thinking is updated."""
_PREVIEW_CHARACTERS = 90
_MAX_PREVIEW_SOURCE = 1000
"""Characters read for the preview, however many arrive at once."""

_MAX_INTERVAL_S = 1.0
_PAUSE_PER_PAINT = 8
"""The pause after a paint, as a multiple of the time that it took."""
_BYTES_PER_S = 20_000
"""How much is sent, at most, including the envelopes of messages."""

_MIN_OUTPUT = 1000
"""Characters of a reply in one output, at least."""
_MAX_OUTPUTS = 48
_MAX_LAST_OUTPUT = 100_000
_SHOWN_LATER = "<p>… <em>(shown in full when the reply is complete)</em></p>"


class Throttle:
    """Decides when the next paint is due.

    Parameters
    ----------
    hz
        How many times a second to paint, at most.
    clock
        Seconds, monotonic.
    replies
        How many replies are painted together; each adds its own share of bytes.
    """

    def __init__(
        self, hz: float, clock: Callable[[], float], *, replies: int = 1
    ) -> None:
        self._hz = hz
        self._clock = clock
        self._bytes_per_s = _BYTES_PER_S * replies
        self._due_s = 0.0
        self._first_s: float | None = None

    def is_due(self, now: float) -> bool:
        """Return whether it is time to paint."""
        return now >= self._due_s

    def painted(self, began_s: float, sent: int) -> None:
        """Record a paint: when it began and how many bytes it sent."""
        if self._first_s is None:
            self._first_s = began_s
        took_s = self._clock() - began_s
        pause_s = min(took_s * _PAUSE_PER_PAINT, _MAX_INTERVAL_S)
        calm_s = redraw_s(self._hz, began_s - self._first_s)
        self._due_s = began_s + max(pause_s, calm_s, sent / self._bytes_per_s)

    def hold(self, now: float, seconds: float) -> None:
        """Allow no paint for some seconds."""
        self._due_s = now + seconds

    def at_once(self) -> None:
        """Allow the next paint without waiting: what streams begins now."""
        self._due_s, self._first_s = 0.0, None


class LiveReply:
    """A reply as it streams: its thinking, and its text on the way to HTML.

    Parameters
    ----------
    view
        ``markdown`` or ``json``; anything else is plain text.
    clock
        Seconds, monotonic.
    """

    def __init__(self, view: str, clock: Callable[[], float]) -> None:
        self.converter = ReplyConverter(view)
        self.has_text = self.is_thinking = False
        self.folded = ""
        """HTML of the thinking before the text; later thinking is shown at the end."""
        self._clock = clock
        self._thinking: list[str] = []
        self._began_s = self._took_s = 0.0

    def add(self, content: str, thinking: str) -> bool:
        """Add new text and thinking, if any; return whether it is the first text."""
        if thinking:
            if not self.is_thinking:
                self._began_s, self.is_thinking = self._clock(), True
            self._thinking.append(thinking)
        if not content:
            return False
        if self.is_thinking:
            self._took_s += self._clock() - self._began_s
            self.is_thinking = False
            if not self.has_text:
                self.folded = thinking_html("".join(self._thinking), self._took_s)
        self.converter.add(content)
        is_first, self.has_text = not self.has_text, True
        return is_first

    def preview_html(self) -> str:
        """Return one line: the seconds of thinking so far and the latest words."""
        took_s = self._took_s + self._clock() - self._began_s
        words = " ".join("".join(self._thinking[-100:])[-_MAX_PREVIEW_SOURCE:].split())
        if len(words) > _PREVIEW_CHARACTERS:
            words = "…" + words[-_PREVIEW_CHARACTERS:].partition(" ")[2]
        return note_html(f"thinking… {took_s:.0f} s · {words}")


class LiveDisplay:
    """What the displays of one reply and of several have in common.

    Parameters
    ----------
    publish, clear_output
        Those of ``shell.display_pub``.
    view
        How the text is shown: ``markdown`` or ``json``; anything else is plain text.
    hz
        How many times a second to paint, at most.
    mode
        What is shown live, and how the complete output replaces it.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        publish: Callable[..., Any],
        clear_output: Callable[..., Any],
        *,
        view: str = "markdown",
        hz: float = 10.0,
        mode: OutputMode,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._view = view
        self._hz = hz
        self._clock = clock
        self._is_live = mode != "once"
        self._throttle = Throttle(hz, clock)
        self._output = LiveOutput(publish)
        self._final = FinalOutput(publish, clear_output, mode=mode)
        # Loaded while the server works: saves 0.2 s before the first text.
        threading.Thread(target=warm_up, name="ollama-warm-up", daemon=True).start()

    def finish(
        self,
        data: Mapping[str, str],
        metadata: Mapping[str, Any],
        footer: Sequence[str] = (),
    ) -> None:
        """Show the complete bundle as the one output; it has the footer already."""
        self._final.finish(self._output, data, metadata)

    def finish_reply(self, view: ReplyView, metadata: Mapping[str, Any]) -> None:
        """Show a complete reply as the one output."""
        self.finish(reply_bundle(view), metadata)

    def discard(self) -> None:
        """Remove what was shown: an error takes its place."""
        self._final.discard(self._output)


class StreamDisplay(LiveDisplay):
    """Shows one reply in one cell.

    In mode ``clear``, live text is split over several outputs.
    """

    def __init__(
        self,
        publish: Callable[..., Any],
        clear_output: Callable[..., Any],
        *,
        mode: OutputMode,
        **settings: Any,  # noqa: ANN401  (those of ``LiveDisplay``)
    ) -> None:
        super().__init__(publish, clear_output, mode=mode, **settings)
        self._is_split = mode == "clear"
        self._outputs = [self._output]  # from the top; those below ``_at`` are empty
        self._steps_html = ""
        self._begin()

    def _begin(self) -> None:
        self._reply = LiveReply(self._view, self._clock)
        self._throttle.at_once()
        self._at = 0  # the output that is painted
        self._finished: list[str] = []  # HTML of the finished segments in this output
        self._finished_size = 0  # their characters of the reply
        self._size = 0  # characters of the reply that are finished
        self._styles: set[str] = set()  # those of the finished outputs

    def again(self, steps: Sequence[Mapping[str, Any]] = ()) -> bool:
        """Start over for the next answer, below the steps that led to it.

        Return whether these are shown.

        NB: outputs are emptied rather than cleared. An ``input`` request may reach the
        front end before the outputs above it, through another channel: JupyterLab
        would remove its box together with the outputs, and nobody could answer (seen).
        """
        if not self._is_live:
            return False
        self._begin()
        self._steps_html = live_steps_html(steps)
        for one in self._outputs[1:]:
            one.show("")
        self._output.show(self._steps_html)
        if self._steps_html:
            self._new_output()
        return True

    def waiting(self, text: str) -> None:
        """Show why nothing has arrived yet; may be called often."""
        if self._is_live and not (self._reply.has_text or self._reply.is_thinking):
            self._show_alone(note_html(text), visible_text(text))

    def feed(self, content: str, thinking: str = "") -> None:
        """Add new text, if any, and paint if a paint is due.

        Call it about every tenth of a second, also without new text: text that was
        held back is painted then.
        """
        if not self._is_live:
            return
        reply = self._reply
        if reply.add(content, thinking) and reply.folded:
            self._show_alone(reply.folded)
            self._new_output()
            self._throttle.at_once()
        now = self._clock()
        if not self._throttle.is_due(now):
            return
        if reply.converter.has_pending:
            self._paint(now)
        elif reply.is_thinking and not reply.has_text:
            self._show_alone(reply.preview_html())
            self._throttle.hold(now, THINKING_INTERVAL_S)

    def _paint(self, now: float) -> None:
        sent = 0
        for segment in self._reply.converter.finished():
            self._finished.append(segment.html)
            self._finished_size += segment.characters
            self._size += segment.characters
            if self._is_split and self._finished_size >= max(
                _MIN_OUTPUT, self._size / 10
            ):
                sent += self._finish_output()
        sent += self._show(self._reply.converter.open_html())
        self._throttle.painted(now, sent)

    def _show(self, open_html: str) -> int:
        """Show the finished segments of this output, and the open end."""
        html = "".join(self._finished) + open_html
        output = self._outputs[self._at]
        if not self._is_split:
            above = self._steps_html + self._reply.folded
            return output.show(above + page_html(html))
        return output.show(page_html(html), above=self._styles) if html else 0

    def _show_alone(self, html: str, text: str = "") -> None:
        """Show what is not part of the answer, below the steps."""
        above = "" if self._is_split else self._steps_html
        self._outputs[self._at].show(above + html, text)

    def _finish_output(self) -> int:
        """Paint this output for the last time; new text goes into the next one."""
        if self._at + 1 >= _MAX_OUTPUTS:
            if self._finished_size > _MAX_LAST_OUTPUT:
                self._finished, self._finished_size = [_SHOWN_LATER], 0
            return 0
        sent = self._show("")
        self._styles |= set(styles_in("".join(self._finished)))
        self._finished, self._finished_size = [], 0
        self._new_output()
        return sent

    def _new_output(self) -> None:
        if self._is_split:
            self._at += 1
            if self._at == len(self._outputs):
                self._outputs.append(LiveOutput(self._publish))
