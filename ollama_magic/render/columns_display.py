"""Replies of several models while they come, side by side in one output.

Knows when to paint, and which columns have changed: no other is converted again.
Knows nothing of Markdown, nor of where the replies come from.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ollama_magic.render.columns import Column, column_html, grid_html
from ollama_magic.render.live_thinking import THINKING_INTERVAL_S, LiveThinking
from ollama_magic.render.output import LastOutput, LiveOutput, OutputMode
from ollama_magic.render.pacing import Pace
from ollama_magic.render.pieces import Intake
from ollama_magic.render.quiet import quiet_html
from ollama_magic.render.safe_html import page_html, warm_up
from ollama_magic.render.text import visible_text


class ColumnsDisplay:
    """Shows several replies in one cell.

    Parameters
    ----------
    publish, clear_output
        Those of ``shell.display_pub``.
    view
        How the texts are shown: ``markdown``, ``text`` or ``json``.
    hz
        How often to paint, at most, per second.
    mode
        What is shown live, and how the complete replies take its place.
    clock
        Seconds, never going back.
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
        self._view = view
        self._clock = clock
        self._is_live = mode != "once"
        self._output = LiveOutput(publish)
        self._last = LastOutput(publish, clear_output, mode=mode)
        self._hz = hz
        self._pace = Pace(hz, clock)
        self._columns: list[_LiveColumn] = []
        # Loaded while the servers are being waited for: 0.2 s before the first text.
        threading.Thread(target=warm_up, name="ollama-warm-up", daemon=True).start()

    def waiting(self, text: str) -> None:
        """Say what is done before anybody is asked."""
        if self._is_live:
            self._output.show(quiet_html(text), visible_text(text))

    def begin(self, names: Sequence[str]) -> None:
        """Open a column for each model; from now on they are called by number."""
        self._pace = Pace(self._hz, self._clock, replies=len(names))
        self._columns = [_LiveColumn(name, self._view, self._clock) for name in names]

    def waits(self, number: int, text: str) -> None:
        """Say that nothing of a model has come yet; as often as you like."""
        self._columns[number].wait(text)

    def feed(self, number: int, content: str, thinking: str = "") -> None:
        """Take what came of a model, maybe nothing."""
        if self._is_live and self._columns[number].add(content, thinking):
            self._pace.at_once()

    def complete(self, number: int, column: Column) -> None:
        """Show a column as it stays."""
        self._columns[number].complete(column)
        self._pace.at_once()

    def tick(self) -> None:
        """Paint when it is time; to be called every tenth of a second or so."""
        now = self._clock()
        if not (self._is_live and self._pace.is_due(now)):
            return
        page = grid_html((column.name, column.html(now)) for column in self._columns)
        if sent := self._output.show(page):
            self._pace.painted(now, sent)

    def finish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """Show all complete columns as the one output."""
        self._last.finish(self._output, data, metadata)

    def discard(self) -> None:
        """Take away what was shown: an error takes its place."""
        self._last.discard(self._output)


class _LiveColumn:
    """One model's reply as it comes, with the HTML that was made of it last."""

    def __init__(self, name: str, view: str, clock: Callable[[], float]) -> None:
        self.name = name
        self._intake = Intake(view)
        self._thinking = LiveThinking(clock)
        self._folded = ""  # what was thought before the text
        self._finished: list[str] = []  # HTML of the pieces that stay as they are
        self._has_text = False
        self._is_complete = False
        self._waits_for = ""
        self._html = ""
        self._previewed_s = 0.0

    def wait(self, text: str) -> None:
        self._waits_for = text

    def add(self, content: str, thinking: str) -> bool:
        """Take what came; return whether the first text is in it."""
        if thinking:
            self._thinking.add(thinking)
        if not content:
            return False
        if self._thinking.is_open:
            self._thinking.close()
            if not self._has_text:
                self._folded = self._thinking.html()
        is_first, self._has_text = not self._has_text, True
        self._intake.add(content)
        return is_first

    def complete(self, column: Column) -> None:
        self._html, self._is_complete = column_html(column), True

    def html(self, now: float) -> str:
        """Return what is to be seen now; made anew only where something changed."""
        if self._is_complete:
            return self._html
        if self._has_text:
            if self._intake.has_pending:
                self._finished += [piece.html for piece in self._intake.finished()]
                text = "".join(self._finished) + self._intake.open_html()
                self._html = self._folded + page_html(text)
        elif not self._thinking.is_open:
            self._html = quiet_html(self._waits_for)
        elif now >= self._previewed_s + THINKING_INTERVAL_S:
            self._html = self._thinking.preview_html()
            self._previewed_s = now
        return self._html
