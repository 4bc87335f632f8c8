"""The progress line of ``map_prompts``: rows, their rate, and what it waits for.

``Results`` counts the rows here, and shows the line while it waits.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable

from ollama_magic.errors import duration_text
from ollama_magic.generation.session import Session
from ollama_magic.render.output import (
    NotebookProgress,
    ProgressLine,
    TerminalProgress,
)
from ollama_magic.render.text import counted

INTERVAL_S = 0.1
_WINDOW_S = 15.0
"""The rate is measured over the last seconds, so that a cold start is forgotten."""


def open_progress_line(session: Session) -> ProgressLine | None:
    """Return a line in the cell output or on a terminal; None elsewhere."""
    shell = session.shell
    if getattr(shell, "kernel", None) is not None:
        publisher, mode = shell.display_pub, session.cells.claim_output()
        return NotebookProgress(publisher.publish, publisher.clear_output, mode=mode)
    if sys.stderr is not None and sys.stderr.isatty():
        return TerminalProgress(sys.stderr.write, is_tty=True)
    return None


class RowProgress:
    """Counts finished rows and measures their rate.

    Parameters
    ----------
    name
        The start of the line: the model.
    total
        The number of rows.
    note
        The end of the line, such as where prompts go.
    output
        Shows the line; None shows nothing.
    clock
        Seconds that never go backwards.
    """

    def __init__(
        self,
        name: str,
        total: int,
        note: str = "",
        output: ProgressLine | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._total = total
        self._note = note
        self._output = output
        self._shown_at = 0.0
        self._clock = clock
        self._began = clock()
        self._seen = deque([(self._began, 0)])
        self.answered = 0
        self.failed = 0
        self.cached = 0
        self.unsendable = 0
        """Failed rows whose prompt is empty or too long, so that they fail again."""
        self.unkept = 0
        """Answered rows whose reply is doubtful, and not cached."""
        self.waits_for = ""
        """The server that is waited for, and why."""

    @property
    def _finished(self) -> int:
        return self.answered + self.failed + self.cached

    @property
    def is_shown(self) -> bool:
        """Whether there is a line."""
        return self._output is not None

    @property
    def in_cache(self) -> int:
        """How many rows the same call finds in the cache."""
        return self.answered + self.cached - self.unkept

    def left_text(self, done: int) -> str:
        """Return how many rows are left to send; empty if none is."""
        left = self._total - done - self.unsendable
        if not left:
            return ""
        return f"{counted(left, 'row')} {'is' if left == 1 else 'are'} left"

    def of_total(self, rows: int) -> str:
        """Return ``3 of 8``."""
        return f"{rows:,} of {self._total:,}"

    def show(self) -> None:
        """Show the line, at most ten times a second."""
        now = self._clock()
        if self._output is not None and now - self._shown_at >= INTERVAL_S:
            self._shown_at = now
            self._output.show(self.line(), self._finished / self._total)

    def finish(self, end: str = "", advice: str = "") -> None:
        """Show the line that stays."""
        if self._output is not None:
            self._output.finish(self.last_line(end, advice))

    def line(self) -> str:
        """Return the line while rows are being sent."""
        now, asked = self._clock(), self.answered + self.failed
        self._seen.append((now, asked))
        while now - self._seen[0][0] > _WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        began, before = self._seen[0]
        rate = (asked - before) / (now - began) if now > began else 0.0
        pace = []
        if rate and self._finished < self._total:
            left_s = (self._total - self._finished) / rate
            pace = [f"{_rate_text(rate)} rows/s", f"{duration_text(left_s)} left"]
        return self._joined(*pace, after=self.waits_for)

    def last_line(self, end: str = "", advice: str = "") -> str:
        """Return the line that stays: how it ended, or how long it took."""
        end = end or duration_text(self._clock() - self._began)
        return self._joined(end, after=advice)

    def _joined(self, *parts: str, after: str) -> str:
        failed = f"{self.failed:,} failed" if self.failed else ""
        cached = f"{self.cached:,} cached" if self.cached else ""
        head = f"{self._name} {self.of_total(self._finished)}"
        shown = [head, *parts, failed, cached, after, self._note]
        return " · ".join(filter(None, shown))


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.1f}"
