"""A reply in a notebook while it comes, paced, in outputs that are left alone later.

Knows when to paint and into which output; knows nothing of Markdown. The outputs are
chunks that grow with the reply, since a front end draws a whole output anew at every
update, and JupyterLab shows no more than 50 of a cell.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ollama_magic.render.live_thinking import THINKING_INTERVAL_S, LiveThinking
from ollama_magic.render.output import LastOutput, LiveOutput, OutputMode
from ollama_magic.render.pacing import Pace
from ollama_magic.render.pieces import Intake
from ollama_magic.render.quiet import quiet_html
from ollama_magic.render.safe_html import page_html, warm_up
from ollama_magic.render.steps import live_steps_html
from ollama_magic.render.terminal import TerminalDisplay
from ollama_magic.render.text import visible_text

__all__ = ["StreamDisplay", "TerminalDisplay", "View"]

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
        self._last = LastOutput(publish, clear_output, mode=mode)
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
        self._intake = Intake(self._view)
        self._pace = Pace(self._hz, self._clock)
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
            self._show_alone(quiet_html(text), visible_text(text))

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
            self._intake.add(content)
            self._has_text = True
        now = self._clock()
        if not self._pace.is_due(now):
            return
        if self._intake.has_pending:
            self._paint(now)
        elif self._thinking.is_open and not self._has_text:
            self._show_alone(self._thinking.preview_html())
            self._pace.hold(now, THINKING_INTERVAL_S)

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
        for piece in self._intake.finished():
            self._chunk.append(piece.html)
            self._chunk_size += piece.characters
            self._size += piece.characters
            if self._is_chunked and self._chunk_size >= max(
                _MIN_CHUNK, self._size / 10
            ):
                sent += self._close_chunk()
        sent += self._show_chunk(self._intake.open_html())
        self._pace.painted(now, sent)

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
            self._pace.at_once()
