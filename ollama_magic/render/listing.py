"""Listings as objects: iterate them, make a DataFrame of them, look at them."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, overload

from ollama_magic.errors import harmless
from ollama_magic.render.table import table_html, table_text
from ollama_magic.render.text import visible_text

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
