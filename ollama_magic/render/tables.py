"""Tables for listings: safe HTML for a notebook, aligned text for a terminal."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from ollama_magic.errors import harmless
from ollama_magic.render.text import escaped, one_line, visible_text

_MAX_PADDED = 200
"""Columns; one long cell would widen the cells of all rows."""


def table_html(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
) -> str:
    """Return a table as HTML in which every cell is plain text."""
    head = _row_html("th", columns, right)
    body = "".join(_row_html("td", row, right) for row in rows)
    return (
        '<table class="tex2jax_ignore mathjax_ignore">'
        f"<thead>{head}</thead><tbody>{body}</tbody></table>"
    )


def table_text(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
) -> str:
    """Return a table as lines of text, in columns that line up."""
    lines = [[one_line(cell) for cell in row] for row in (columns, *rows)]
    widths = [
        min(max(map(_width, column)), _MAX_PADDED)
        for column in zip(*lines, strict=True)
    ]
    return "\n".join(_row_text(line, widths, right) for line in lines)


def _row_html(tag: str, cells: Sequence[str], right: Collection[int]) -> str:
    made = []
    for index, cell in enumerate(cells):
        # NB: Jupyter aligns the cells of a table in an output at the right.
        side = "right" if index in right else "left"
        text = escaped(cell)
        made.append(f'<{tag} style="text-align:{side}">{text}</{tag}>')
    return f"<tr>{''.join(made)}</tr>"


def _row_text(
    cells: Sequence[str], widths: Sequence[int], right: Collection[int]
) -> str:
    made = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - _width(cell))
        made.append(space + cell if index in right else cell + space)
    return "  ".join(made).rstrip()


def _width(text: str) -> int:
    """Columns of a terminal: wide East Asian characters take two."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


T = TypeVar("T")
Columns = dict[str, Callable[[T], object]]
"""Heading to what stands under it, from left to right."""


class Listing(Sequence[T], Generic[T]):
    """Rows that show as a table in a notebook and as text in a terminal.

    ``pandas.DataFrame(listing)`` works where the rows are dataclasses, as they are.

    Parameters
    ----------
    rows
        The values themselves.
    columns
        How a row is shown.
    empty
        What to say, and to do, when there are no rows.
    note
        A text under the table.
    most
        How many rows are shown, the last ones; None: all.
    """

    def __init__(
        self,
        rows: Sequence[T],
        columns: Columns[T],
        empty: str,
        *,
        note: str = "",
        most: int | None = None,
    ) -> None:
        self._rows = tuple(rows)
        self._columns = columns
        self._empty = harmless(empty)
        self._note = visible_text(note)
        self._most = most

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self._rows[index]

    def _cells(self) -> list[list[str]]:
        shown = self._rows if self._most is None else self._rows[-self._most :]
        return [[str(get(row)) for get in self._columns.values()] for row in shown]

    def __repr__(self) -> str:
        if not self._rows:
            return "\n".join(filter(None, [self._empty, self._note]))
        table = table_text(tuple(self._columns), self._cells())
        return "\n\n".join(filter(None, [table, self._note]))

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, Any]:
        if not self._rows:
            return {"text/plain": repr(self)}
        table = table_html(tuple(self._columns), self._cells())
        note = f"<pre>{html.escape(self._note)}</pre>" if self._note else ""
        return {"text/html": table + note, "text/plain": repr(self)}


@dataclass(frozen=True, slots=True, repr=False)
class TextPage:
    """Text shown in a fixed-width face, line for line, with nothing hidden in it."""

    text: str
    """The text as it came: perhaps from a server, perhaps with control characters."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of the output that shows it."""

    def __str__(self) -> str:
        return visible_text(self.text)

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        page = f"<pre>{html.escape(str(self))}</pre>"
        return {"text/html": page, "text/plain": str(self)}, dict(self.metadata)
