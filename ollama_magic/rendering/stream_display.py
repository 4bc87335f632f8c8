"""A reply in a notebook while it comes, paced, in outputs that are left alone later.

Knows when to paint and into which output; knows nothing of Markdown. The outputs are
chunks that grow with the reply, since a front end draws a whole output anew at every
update, and JupyterLab shows no more than 50 of a cell.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ollama_magic.rendering.pieces import MarkdownPieces, Pieces, PlainPieces
from ollama_magic.rendering.quiet import quiet_html, thinking_html
from ollama_magic.rendering.safe_html import page_html, warm_up
from ollama_magic.rendering.steps_view import steps_html
from ollama_magic.rendering.terminal_display import TerminalDisplay
from ollama_magic.rendering.visible_text import visible_text

__all__ = ["StreamDisplay", "TerminalDisplay", "View"]

View = Literal["markdown", "text", "html", "code", "json"]

_MAX_INTERVAL_S = 1.0
_SHARE_OF_TIME = 8
"""Between paints passes this many times what the last one took."""
_BYTES_PER_S = 20_000
"""How much is sent again and again, at most, envelopes of messages included."""
_ENVELOPE_BYTES = 550
_THINKING_INTERVAL_S = 0.5
_PREVIEW_CHARACTERS = 90
_MIN_CHUNK = 1000
_MAX_OUTPUTS = 48
_MAX_LAST_CHUNK = 100_000
_LATER = "<p>… <em>(shown in full when the reply is complete)</em></p>"
_MIME_TYPES = ("text/html", "text/plain")


class _Output:
    """One output of the cell, under a display id of its own."""

    def __init__(self, publish: Callable[..., Any]) -> None:
        self._publish = publish
        self._display_id = uuid.uuid4().hex
        self._html: str | None = None

    @property
    def is_open(self) -> bool:
        return self._html is not None

    def show(self, html: str) -> int:
        """Show this now; return the bytes sent: none when it is there already."""
        if html == self._html or not (html or self.is_open):
            return 0
        self.publish({"text/html": html}, {})
        return len(html) + _ENVELOPE_BYTES

    def publish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        self._publish(
            data=data,
            metadata=metadata,
            transient={"display_id": self._display_id},
            update=self.is_open,
        )
        self._html = data.get("text/html", "")


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
    owns_output
        Whether the output of the cell is the reply and nothing else. If so, live
        outputs are cleared at the end and one display follows; if not, one display is
        updated in place and nothing of the user's is ever cleared.
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
        owns_output: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._clear_output = clear_output
        self._owns_output = owns_output
        self._clock = clock
        self._min_interval_s = 1 / hz
        self._view = view
        self._output = _Output(publish)
        self._steps_html = ""
        self._begin()
        # Loaded while the server is being waited for: 0.2 s before the first text.
        threading.Thread(target=warm_up, name="ollama-warm-up", daemon=True).start()

    def _begin(self) -> None:
        is_markdown, is_json = self._view == "markdown", self._view == "json"
        self._pieces: Pieces = (
            MarkdownPieces() if is_markdown else PlainPieces(is_json=is_json)
        )
        self._pending: list[str] = []
        self._outputs = 1
        self._chunk: list[str] = []  # HTML of the finished pieces of this output
        self._chunk_size = 0  # their characters of the reply
        self._size = 0  # characters of the reply that are finished
        self._has_text = False
        self._due_s = 0.0
        self._thinking = _Thinking(self._clock)

    def again(self, steps: Sequence[Mapping[str, Any]] = ()) -> None:
        """Take away what was shown, and begin anew under the steps that led here."""
        self._begin()
        self._steps_html = steps_html(steps)
        if self._owns_output:
            self._clear_output(wait=True)
            self._output = _Output(self._publish)
        self._output.show(self._steps_html)
        if self._steps_html:
            self._new_output()

    def waiting(self, text: str) -> None:
        """Show that nothing has come yet, and why; call it as often as you like."""
        if not (self._has_text or self._thinking.is_open):
            self._show_alone(quiet_html(text))

    def feed(self, content: str, thinking: str = "") -> None:
        """Take what came, maybe nothing; paint when it is time.

        To be called every tenth of a second or so, also when nothing came: what is
        not shown yet is shown then.
        """
        if thinking:
            self._thinking.add(thinking)
        if content:
            self._end_thinking()
            self._pending.append(content)
            self._has_text = True
        now = self._clock()
        if now < self._due_s:
            return
        if self._pending:
            self._paint(now)
        elif self._thinking.is_open and not self._has_text:
            self._show_alone(self._thinking.preview_html())
            self._due_s = now + _THINKING_INTERVAL_S

    def finish(
        self,
        data: Mapping[str, str],
        metadata: Mapping[str, Any],
        footer: Sequence[str] = (),
    ) -> None:
        """Show the complete reply as the one output."""
        final = {mime: data[mime] for mime in _MIME_TYPES if mime in data}
        if self._owns_output:
            self._clear_output(wait=True)
            self._publish(data=final, metadata=metadata, transient={}, update=False)
        else:
            self._output.publish(final, metadata)

    def discard(self) -> None:
        """Take away what was shown: an error takes its place."""
        if self._owns_output:
            self._clear_output(wait=True)
        elif self._output.is_open:
            self._output.publish({"text/html": "", "text/plain": ""}, {})

    # -- painting --------------------------------------------------------------

    def _paint(self, now: float) -> None:
        text = "".join(self._pending)
        self._pending.clear()
        if text.endswith("\r"):  # the first half of a line's end
            self._pending.append("\r")
            text = text[:-1]
        sent = 0
        for piece in self._pieces.take(visible_text(text)):
            self._chunk.append(piece.html)
            self._chunk_size += piece.characters
            self._size += piece.characters
            if self._owns_output and self._chunk_size >= max(
                _MIN_CHUNK, self._size / 10
            ):
                sent += self._close_chunk()
        sent += self._show_chunk(self._pieces.open_html())
        self._schedule(now, sent)

    def _schedule(self, now: float, sent: int) -> None:
        took_s = self._clock() - now
        pause_s = min(took_s * _SHARE_OF_TIME, _MAX_INTERVAL_S)
        self._due_s = now + max(pause_s, self._min_interval_s, sent / _BYTES_PER_S)

    def _show_chunk(self, open_html: str) -> int:
        html = "".join(self._chunk) + open_html
        if not self._owns_output:
            thinking = self._thinking.html() if self._thinking.text else ""
            return self._output.show(self._steps_html + thinking + page_html(html))
        return self._output.show(page_html(html)) if html else 0

    def _show_alone(self, html: str) -> None:
        """Show what is no part of the answer; steps stay above it."""
        self._output.show(html if self._owns_output else self._steps_html + html)

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
        if self._owns_output:
            self._output = _Output(self._publish)
            self._outputs += 1

    def _end_thinking(self) -> None:
        if not self._thinking.is_open:
            return
        self._thinking.close()
        if not self._has_text:  # later thoughts are shown when the reply is complete
            self._show_alone(self._thinking.html())
            self._new_output()
            self._due_s = 0.0


class _Thinking:
    """What the model thinks, and for how long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._parts: list[str] = []
        self._began_s = 0.0
        self._took_s = 0.0
        self.is_open = False

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add(self, text: str) -> None:
        if not self.is_open:
            self._began_s, self.is_open = self._clock(), True
        self._parts.append(text)

    def close(self) -> None:
        self._took_s += self._clock() - self._began_s
        self.is_open = False

    def html(self) -> str:
        return thinking_html(self.text, self._took_s)

    def preview_html(self) -> str:
        """Return one line: the seconds so far and the latest words."""
        took_s = self._took_s + self._clock() - self._began_s
        words = " ".join("".join(self._parts[-100:]).split())
        if len(words) > _PREVIEW_CHARACTERS:
            words = "…" + words[-_PREVIEW_CHARACTERS:].partition(" ")[2]
        return quiet_html(f"thinking… {took_s:.0f} s · {words}")
