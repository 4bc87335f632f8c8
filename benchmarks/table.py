"""Rows of measurements, and the table that shows them.

A row has the results of several runs; the table shows their median and their range.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Runs = Sequence[float]
"""What each run gave; empty: not measured."""


@dataclass(frozen=True)
class Row:
    """One thing that is measured, and what is measured beside it in the same run."""

    what: str
    ours: Runs
    target: str = ""
    naive: Runs = ()
    every_token: Runs = ()
    limit: Runs = ()
    digits: int = 2


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    is_quick: bool = False

    def runs(self, count: int) -> int:
        """Return how often something is measured: once where it has to be quick."""
        return 1 if self.is_quick else count


HEAD = (
    "| what | target | ours | naive | naive, every token | limit | ours : limit "
    "| naive : ours |\n|---|--:|--:|--:|--:|--:|--:|--:|"
)


def interleaved(
    runs: int, ways: dict[str, Callable[[], dict[str, float]]]
) -> dict[str, dict[str, list[float]]]:
    """Measure each way so many times, by turns: a shared machine changes its pace."""
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            for key, value in way().items():
                taken[name].setdefault(key, []).append(value)
    return taken


def line(row: Row) -> str:
    """Return a row as Markdown."""
    cells = [row.what, row.target, _spread(row.ours, row.digits)]
    cells += [_median(runs, row.digits) for runs in (row.naive, row.every_token)]
    cells += [_median(row.limit, row.digits)]
    cells += [_ratio(row.ours, row.limit), _ratio(row.naive, row.ours)]
    return f"| {' | '.join(cells)} |"


def _median(runs: Runs, digits: int) -> str:
    return f"{statistics.median(runs):,.{digits}f}" if runs else ""


def _spread(runs: Runs, digits: int) -> str:
    apart = len(runs) > 1 and f"{min(runs):.{digits}f}" != f"{max(runs):.{digits}f}"
    between = f" ({min(runs):,.{digits}f}-{max(runs):,.{digits}f})" if apart else ""
    return f"**{_median(runs, digits)}**{between}"


def _ratio(over: Runs, under: Runs) -> str:
    if not (over and under) or not statistics.median(under):
        return ""
    return f"{statistics.median(over) / statistics.median(under):.2g}"
