"""Tables and facts as aligned text: for terminals, and where no HTML is shown.

What does not fit into the width is first shortened where a cell is only a preview, then
wrapped between words, and at last each row becomes a block of lines. Nothing else is
left out, and words stay whole.
"""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ollama_magic.render.text import one_line

_WIDTH = 120
"""Columns where the output is not a terminal, such as ``text/plain`` of a kernel."""
_MAX_PADDED = 200
"""Columns; one long cell would widen the cells of all rows."""
_SHORTEST_PREVIEW = 16
_NARROWEST_VALUE = 24
"""Columns; a narrower value stands below its label."""
_GAP = "  "
_WIDE = (
    "\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff01-\uff60"
    "\U0001f000-\U0003fffd"
)
_WORDS = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+")
"""A text can be wrapped between these: at blanks, and around wide characters."""
_INSIDE = rf"[^\s/{_WIDE}]"
_PIECES = re.compile(rf"[{_WIDE}]|{_INSIDE}{{20,}}?-|{_INSIDE}*/|{_INSIDE}+")
"""A cell can also be wrapped after a slash, and after a hyphen in a long name."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table with more than its text."""

    text: str
    title: str = ""
    """Shown when the mouse is over the cell."""
    is_preview: bool = False
    """Whether the text may be shortened."""

    def __str__(self) -> str:
        return self.text


def text_width() -> int:
    """Return how many columns text output may have."""
    if not sys.stdout.isatty():
        return _WIDTH
    return max(shutil.get_terminal_size().columns - 1, 10)


def display_width(text: str) -> int:
    r"""Return the columns that a terminal needs: wide East Asian characters take two.

    >>> display_width("日本"), display_width("e\u0301")
    (4, 1)
    """
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    none = sum(unicodedata.category(c) in {"Mn", "Me", "Cf"} for c in text)
    return len(text) + wide - none


def shortened(text: str, width: int) -> str:
    """Return the beginning of a text, with ``…`` if it is wider than ``width``."""
    if display_width(text) <= width:
        return text
    while text and display_width(text) > width - 1:
        text = text[: max(len(text) - (display_width(text) - width) // 2 - 1, 0)]
    return f"{text.rstrip()}…"


def wrapped(text: str, width: int, pieces: re.Pattern[str] = _WORDS) -> list[str]:
    """Return a text as lines; a word that is wider than ``width`` is not broken."""
    lines, line, used = [], "", 0
    end = 0
    for match in pieces.finditer(text):
        piece, gap = match[0], " " * (match.start() > end and bool(line))
        needed = display_width(piece)
        if line and used + len(gap) + needed > width:
            lines.append(line)
            line, used, gap = "", 0, ""
        line, used, end = line + gap + piece, used + len(gap) + needed, match.end()
    return [*lines, line]


# -- tables --------------------------------------------------------------------


def table_text(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int | None = None,
) -> str:
    """Return a table as lines of text with aligned columns.

    Parameters
    ----------
    width
        The columns of the terminal; None is as many as the table needs.
    """
    lines = [[one_line(str(cell)) for cell in row] for row in (columns, *rows)]
    fit = _fitting([*zip(*lines, strict=True)], _previews(columns, rows), width)
    if fit is None:
        blocks = (_block(lines[0], line, width or 0) for line in lines[1:])
        return "\n".join(blocks)
    widths, cut = fit
    return "\n".join(
        text
        for line in lines
        for text in _lines(
            [
                [shortened(cell, w)] if is_cut else wrapped(cell, w, _PIECES)
                for cell, w, is_cut in zip(line, widths, cut, strict=True)
            ],
            widths,
        )
    )


def _previews(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[bool]:
    return [
        any(isinstance(cell := row[n], Cell) and cell.is_preview for row in rows)
        for n in range(len(columns))
    ]


def _fitting(
    columns: Sequence[Sequence[str]], previews: Sequence[bool], width: int | None
) -> tuple[list[int], list[bool]] | None:
    """Return the width of each column and whether it is shortened; None if none fit."""
    widths = [min(max(map(display_width, cells)), _MAX_PADDED) for cells in columns]
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - (width or sys.maxsize)
    cut = [False] * len(widths)
    if over <= 0:
        return widths, cut
    narrowest = [
        _SHORTEST_PREVIEW if is_preview else _narrowest(cells)
        for cells, is_preview in zip(columns, previews, strict=True)
    ]
    while over > 0:
        candidates = [
            (is_preview and size > _SHORTEST_PREVIEW, size, n)
            for n, (size, is_preview) in enumerate(zip(widths, previews, strict=True))
            if size > narrowest[n]
        ]
        if not candidates:
            return None
        is_preview, _, n = max(candidates)
        widths[n] -= 1
        cut[n] = is_preview
        over -= 1
    return widths, cut


def _narrowest(cells: Sequence[str]) -> int:
    """Return the width of the longest word of a column."""
    words = (piece for cell in cells for piece in _PIECES.findall(cell))
    return min(max(map(display_width, words), default=1), _MAX_PADDED)


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    for line in zip_longest(*cells, fillvalue=""):
        padded = (
            text + " " * (width - display_width(text))
            for text, width in zip(line, widths, strict=True)
        )
        yield _GAP.join(padded).rstrip()


def _block(columns: Sequence[str], row: Sequence[str], width: int) -> str:
    """Return a row as lines: its first cell, and the others below it."""
    head = f"{columns[0]} {row[0]}" if row[0].isdigit() else row[0]
    facts = [(c, cell) for c, cell in zip(columns, row, strict=True) if cell][1:]
    return f"{head}\n{facts_text(facts, width, indent=_GAP)}".rstrip()


# -- facts ---------------------------------------------------------------------


def facts_text(
    facts: Sequence[tuple[str, str]], width: int | None = None, *, indent: str = ""
) -> str:
    """Return labels and values as lines; values may have several lines.

    >>> print(facts_text([("model", "qwen3:4b"), ("license", "Apache License")], 20))
    model    qwen3:4b
    license
      Apache License
    """
    width = text_width() if width is None else width
    labels = max((display_width(label) for label, _ in facts), default=0)
    left = len(indent) + labels + len(_GAP)
    lines = []
    for label, value in facts:
        parts = [one_line(part) for part in value.split("\n")]
        room = width - left
        if room < _NARROWEST_VALUE and max(map(display_width, parts)) > room:
            lines.append(f"{indent}{label}")
            blank = indent + _GAP
            first, room = blank, width - len(blank)
        else:
            blank = " " * left
            first = (
                f"{indent}{label}{' ' * (left - len(indent) - display_width(label))}"
            )
        values = [one for part in parts for one in wrapped(part, room)]
        lines += [f"{first}{values[0]}", *(f"{blank}{one}" for one in values[1:])]
    return "\n".join(line.rstrip() for line in lines)
