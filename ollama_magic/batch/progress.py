"""How far the rows are, in words.

Knows counts and times; knows nothing of where the line is shown.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ollama_magic.client.progress import duration_text

_WINDOW_S = 15.0
"""The rate is that of the last seconds, so that a cold start is soon forgotten."""


class Tally:
    """Rows that are done, and how fast they become more.

    Parameters
    ----------
    name
        How the line begins: who answers.
    total
        Rows in all.
    clock
        Seconds that never go backwards.
    """

    def __init__(
        self, name: str, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._total = total
        self._clock = clock
        self._began = clock()
        self._seen = deque([(self._began, 0)])
        self.answered = 0
        """In this call."""
        self.failed = 0
        self.earlier = 0
        """Answered by an earlier call."""
        self.note = ""
        """What else must be told, such as where prompts go."""

    @property
    def done(self) -> int:
        """Rows that need nothing more."""
        return self.answered + self.failed + self.earlier

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.done / self._total if self._total else 1.0

    def of_all(self, rows: int) -> str:
        """Return a count of rows beside that of all of them."""
        return f"{rows:,} of {self._total:,}"

    def line(self) -> str:
        """Return the state while it goes on."""
        now, asked = self._clock(), self.answered + self.failed
        self._seen.append((now, asked))
        while now - self._seen[0][0] > _WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        began, before = self._seen[0]
        rate = (asked - before) / (now - began) if now > began else 0.0
        pace = []
        if rate and self.done < self._total:
            left_s = (self._total - self.done) / rate
            pace = [f"{_rate_text(rate)} rows/s", f"{duration_text(left_s)} left"]
        return self._joined(*pace)

    def last_line(self, end: str = "") -> str:
        """Return what remains to be read: how it ended, or how long it took."""
        return self._joined(end or duration_text(self._clock() - self._began))

    def _joined(self, *parts: str) -> str:
        failed = f"{self.failed:,} failed" if self.failed else ""
        earlier = f"{self.earlier:,} from earlier" if self.earlier else ""
        head = f"{self._name} {self.of_all(self.done)}"
        return " · ".join(filter(None, [head, *parts, failed, earlier, self.note]))


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.1f}"
