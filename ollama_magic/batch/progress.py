"""The progress of a ``map_prompts`` call: its counts, and the line that shows them.

``map_prompts`` opens the line, and the results update the counts. The rate is
measured over the last seconds, so that a cold start is soon forgotten.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable

from ollama_magic.client.progress import duration_text
from ollama_magic.generation.session import Session
from ollama_magic.render.progress import (
    NotebookProgress,
    ProgressLine,
    TerminalProgress,
)

_WINDOW_S = 15.0


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
    clock
        Seconds that never go backwards.
    """

    def __init__(
        self,
        name: str,
        total: int,
        note: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._total = total
        self._note = note
        self._clock = clock
        self._began = clock()
        self._seen = deque([(self._began, 0)])
        self.answered = 0
        self.failed = 0
        self.cached = 0

    @property
    def share(self) -> float:
        """How much is done, between 0 and 1."""
        return self._finished / self._total if self._total else 1.0

    @property
    def _finished(self) -> int:
        return self.answered + self.failed + self.cached

    def of_total(self, rows: int) -> str:
        """Return ``3 of 8``."""
        return f"{rows:,} of {self._total:,}"

    def line(self) -> str:
        """Return the line while rows are being asked."""
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
        return self._joined(*pace)

    def last_line(self, end: str = "") -> str:
        """Return the line that stays: how it ended, or how long it took."""
        return self._joined(end or duration_text(self._clock() - self._began))

    def _joined(self, *parts: str) -> str:
        failed = f"{self.failed:,} failed" if self.failed else ""
        cached = f"{self.cached:,} cached" if self.cached else ""
        head = f"{self._name} {self.of_total(self._finished)}"
        return " · ".join(filter(None, [head, *parts, failed, cached, self._note]))


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.1f}"
