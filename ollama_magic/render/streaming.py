"""When to paint: how often, and how much is sent again and again.

A front end draws a whole output anew at every update, so paints are spread out by what
the last one took and by the bytes that it sent. Knows nothing of what is painted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ollama_magic.render.incremental import ReplyConverter
from ollama_magic.render.output import FinalOutput, LiveOutput, OutputMode
from ollama_magic.render.reply import live_steps_html
from ollama_magic.render.safe_html import note_html, page_html, thinking_html, warm_up
from ollama_magic.render.text import visible_text

_MAX_INTERVAL_S = 1.0
_SHARE_OF_TIME = 8
"""Between paints passes this many times what the last one took."""
_BYTES_PER_S = 20_000
"""How much is sent again and again, at most, envelopes of messages included."""


class Throttle:
    """Tells when the next paint is due.

    Parameters
    ----------
    hz
        How often to paint, at most, per second.
    clock
        Seconds, never going back.
    replies
        How many replies are painted together; each may take what one alone may.
    """

    def __init__(
        self, hz: float, clock: Callable[[], float], *, replies: int = 1
    ) -> None:
        self._min_interval_s = 1 / hz
        self._clock = clock
        self._bytes_per_s = _BYTES_PER_S * replies
        self._due_s = 0.0

    def is_due(self, now: float) -> bool:
        """Whether it is time to paint."""
        return now >= self._due_s

    def painted(self, began_s: float, sent: int) -> None:
        """Note a paint that began then and sent so many bytes."""
        took_s = self._clock() - began_s
        pause_s = min(took_s * _SHARE_OF_TIME, _MAX_INTERVAL_S)
        wait_s = max(pause_s, self._min_interval_s, sent / self._bytes_per_s)
        self._due_s = began_s + wait_s

    def hold(self, now: float, seconds: float) -> None:
        """Paint nothing for a time."""
        self._due_s = now + seconds

    def at_once(self) -> None:
        """Let the next paint come without waiting."""
        self._due_s = 0.0


THINKING_INTERVAL_S = 0.5
"""How often the line that says so is drawn."""
_PREVIEW_CHARACTERS = 90
_PREVIEWED = 1000
"""Characters looked at for it, however many came at once."""


class LiveThinking:
    """Thinking as it comes.

    Parameters
    ----------
    clock
        Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._parts: list[str] = []
        self._began_s = 0.0
        self._took_s = 0.0
        self.is_open = False

    @property
    def text(self) -> str:
        """All of it, so far."""
        return "".join(self._parts)

    def add(self, text: str) -> None:
        """Take what came."""
        if not self.is_open:
            self._began_s, self.is_open = self._clock(), True
        self._parts.append(text)

    def close(self) -> None:
        """Note that the answer has begun."""
        self._took_s += self._clock() - self._began_s
        self.is_open = False

    def html(self) -> str:
        """Return all of it, folded."""
        return thinking_html(self.text, self._took_s)

    def preview_html(self) -> str:
        """Return one line: the seconds so far and the latest words."""
        took_s = self._took_s + self._clock() - self._began_s
        words = " ".join("".join(self._parts[-100:])[-_PREVIEWED:].split())
        if len(words) > _PREVIEW_CHARACTERS:
            words = "…" + words[-_PREVIEW_CHARACTERS:].partition(" ")[2]
        return note_html(f"thinking… {took_s:.0f} s · {words}")


View = Literal["markdown", "text", "html", "code", "json"]

_MIN_CHUNK = 1000
_MAX_OUTPUTS = 48
_MAX_LAST_CHUNK = 100_000
_LATER = "<p>… <em>(shown in full when the reply is complete)</em></p>"


class StreamDisplay:
    """Shows one reply in one cell.

    Parameters
    ----------
    publish, clear_output
        Those of ``shell.display_pub``.
    view
        How the text is shown; what is neither Markdown nor JSON is plain text.
    hz
        How often to paint, at most, per second.
    mode
        What is shown live, and how the complete reply takes its place. Only where all
        is cleared at the end, live text goes into several outputs.
    clock
        Seconds, never going back.
    """

    def __init__(
        self,
        publish: Callable[..., Any],
        clear_output: Callable[..., Any],
        *,
        view: View | str = "markdown",
        hz: float = 10.0,
        mode: OutputMode,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._is_live = mode != "once"
        self._is_chunked = mode == "clear"
        self._clock = clock
        self._last = FinalOutput(publish, clear_output, mode=mode)
        self._hz = hz
        self._view = view
        self._output = LiveOutput(publish)
        self._live = [self._output]  # all that are there, from the top
        self._emptied: deque[LiveOutput] = deque()  # those of them to be used again
        self._steps_html = ""
        self._begin()
        # Loaded while the server is being waited for: 0.2 s before the first text.
        threading.Thread(target=warm_up, name="ollama-warm-up", daemon=True).start()

    def _begin(self) -> None:
        self._converter = ReplyConverter(self._view)
        self._throttle = Throttle(self._hz, self._clock)
        self._outputs = 1
        self._chunk: list[str] = []  # HTML of the finished pieces of this output
        self._chunk_size = 0  # their characters of the reply
        self._size = 0  # characters of the reply that are finished
        self._has_text = False
        self._thinking = LiveThinking(self._clock)

    def again(self, steps: Sequence[Mapping[str, Any]] = ()) -> None:
        """Take away what was shown, and begin anew under the steps that led here.

        NB: outputs are emptied, and not cleared. A question (``input``) may reach the
        front end before what was shown ahead of it, by another channel: JupyterLab
        would take its box away with the outputs, and nobody could answer (seen).
        """
        if not self._is_live:
            return
        self._begin()
        self._steps_html = live_steps_html(steps)
        if self._is_chunked:
            first, *others = self._live
            self._emptied = deque(one for one in others if one.is_open)
            self._live = [first, *self._emptied]
            for one in self._emptied:
                one.show("")
            self._output = first
        self._output.show(self._steps_html)
        if self._steps_html:
            self._new_output()

    def waiting(self, text: str) -> None:
        """Show that nothing has come yet, and why; call it as often as you like."""
        if self._is_live and not (self._has_text or self._thinking.is_open):
            self._show_alone(note_html(text), visible_text(text))

    def feed(self, content: str, thinking: str = "") -> None:
        """Take what came, maybe nothing; paint when it is time.

        To be called every tenth of a second or so, also when nothing came: what is
        not shown yet is shown then.
        """
        if not self._is_live:
            return
        if thinking:
            self._thinking.add(thinking)
        if content:
            self._end_thinking()
            self._converter.add(content)
            self._has_text = True
        now = self._clock()
        if not self._throttle.is_due(now):
            return
        if self._converter.has_pending:
            self._paint(now)
        elif self._thinking.is_open and not self._has_text:
            self._show_alone(self._thinking.preview_html())
            self._throttle.hold(now, THINKING_INTERVAL_S)

    def finish(
        self,
        data: Mapping[str, str],
        metadata: Mapping[str, Any],
        footer: Sequence[str] = (),
    ) -> None:
        """Show the complete reply as the one output."""
        self._last.finish(self._output, data, metadata)

    def discard(self) -> None:
        """Take away what was shown: an error takes its place."""
        self._last.discard(self._output)

    # -- painting --------------------------------------------------------------

    def _paint(self, now: float) -> None:
        sent = 0
        for piece in self._converter.finished():
            self._chunk.append(piece.html)
            self._chunk_size += piece.characters
            self._size += piece.characters
            if self._is_chunked and self._chunk_size >= max(
                _MIN_CHUNK, self._size / 10
            ):
                sent += self._close_chunk()
        sent += self._show_chunk(self._converter.open_html())
        self._throttle.painted(now, sent)

    def _show_chunk(self, open_html: str) -> int:
        html = "".join(self._chunk) + open_html
        if not self._is_chunked:
            thinking = self._thinking.html() if self._thinking.text else ""
            return self._output.show(self._steps_html + thinking + page_html(html))
        return self._output.show(page_html(html)) if html else 0

    def _show_alone(self, html: str, text: str = "") -> None:
        """Show what is no part of the answer; steps stay above it."""
        self._output.show(html if self._is_chunked else self._steps_html + html, text)

    def _close_chunk(self) -> int:
        """Show the last of an output; what comes now goes into a new one."""
        if self._outputs >= _MAX_OUTPUTS:
            if self._chunk_size > _MAX_LAST_CHUNK:
                self._chunk, self._chunk_size = [_LATER], 0
            return 0
        sent = self._show_chunk("")
        self._chunk, self._chunk_size = [], 0
        self._new_output()
        return sent

    def _new_output(self) -> None:
        if not self._is_chunked:
            return
        self._outputs += 1
        if self._emptied:
            self._output = self._emptied.popleft()
        else:
            self._output = LiveOutput(self._publish)
            self._live.append(self._output)

    def _end_thinking(self) -> None:
        if not self._thinking.is_open:
            return
        self._thinking.close()
        if not self._has_text:  # later thoughts are shown when the reply is complete
            self._show_alone(self._thinking.html())
            self._new_output()
            self._throttle.at_once()
