"""Objects that show themselves: listings as tables, and pages of plain text.

Subcommands and functions return them. In a notebook they are safe HTML, in a terminal
aligned text, and in Python sequences of values: ``pandas.DataFrame(listing)`` works.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from ollama_magic.errors import harmless
from ollama_magic.render.text import (
    escaped,
    one_line,
    visible_text,
    without_blank_lines,
)
from ollama_magic.render.theme import CODE_FONT

_MAX_PADDED = 200
"""Characters; one long cell would widen the cells of all rows."""

PAGE_STYLE = f"font-family:{CODE_FONT}"
"""Style of pages of text: in nbconvert's own sheet, ``<pre>`` is proportional."""


def table_html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as HTML in which every cell is plain text."""
    head = _row_html("th", columns)
    body = "".join(_row_html("td", row) for row in rows)
    return (
        '<table class="tex2jax_ignore mathjax_ignore">'
        f"<thead>{head}</thead><tbody>{body}</tbody></table>"
    )


def table_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as lines of text with aligned columns."""
    lines = [[one_line(cell) for cell in row] for row in (columns, *rows)]
    widths = [
        min(max(map(_width, column)), _MAX_PADDED)
        for column in zip(*lines, strict=True)
    ]
    return "\n".join(_row_text(line, widths) for line in lines)


def _row_html(tag: str, cells: Sequence[str]) -> str:
    # NB: Jupyter right-aligns the cells of tables in outputs.
    made = (f'<{tag} style="text-align:left">{escaped(cell)}</{tag}>' for cell in cells)
    return f"<tr>{''.join(made)}</tr>"


def _row_text(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell + " " * (width - _width(cell))
        for cell, width in zip(cells, widths, strict=True)
    )
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """Return the columns that a terminal needs: wide East Asian characters take two."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _pre_html(text: str) -> str:
    return f'<pre style="{PAGE_STYLE}">{html.escape(text)}</pre>'


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table whose text has an explanation."""

    text: str
    title: str = ""
    """Shown when the mouse is over the cell."""

    def __str__(self) -> str:
        return self.text


T = TypeVar("T")
Columns = dict[str, Callable[[T], object]]
"""The heading and the value of each column, from left to right."""


class Listing(Sequence[T], Generic[T]):
    """Rows that show as a table in a notebook and as text in a terminal.

    Parameters
    ----------
    rows
        The values: dataclasses.
    columns
        How each row is shown.
    empty
        Shown if there are no rows: says so, and what to do.
    note
        A text under the table.
    limit
        How many rows are shown, from the end; None shows all.
    page
        Safe HTML that a notebook shows in place of the table.
    """

    def __init__(
        self,
        rows: Sequence[T],
        columns: Columns[T],
        empty: str,
        *,
        note: str = "",
        limit: int | None = None,
        page: str = "",
    ) -> None:
        self._rows = tuple(rows)
        self._columns = columns
        self._empty = harmless(empty)
        self._note = visible_text(note)
        self._limit = limit
        self._page = page

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self._rows[index]

    def _cells(self) -> list[list[str]]:
        shown = self._rows if self._limit is None else self._rows[-self._limit :]
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
        table = self._page or table_html(tuple(self._columns), self._cells())
        note = _pre_html(self._note) if self._note else ""
        page = without_blank_lines(table + note)
        return {"text/html": page, "text/plain": repr(self)}


@dataclass(frozen=True, slots=True, repr=False)
class TextPage:
    """Plain text that shows itself in a fixed-width font, line by line."""

    text: str
    """The text, unchanged: it may come from a server and hold control characters."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The metadata of its output."""

    def __str__(self) -> str:
        return visible_text(self.text)

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        page = without_blank_lines(_pre_html(str(self)))
        return {"text/html": page, "text/plain": str(self)}, dict(self.metadata)
