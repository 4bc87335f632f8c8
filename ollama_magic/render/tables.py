"""Objects that show themselves: listings as tables, and pages of plain text.

Subcommands and functions return them. In a notebook they are safe HTML, in a terminal
aligned text, and in Python sequences of values: ``pandas.DataFrame(listing)`` works.
Times in them are shown as people read them, with the exact time as a title.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, overload

from ollama_magic.errors import harmless
from ollama_magic.render.aligned import Cell, facts_text, table_text, text_width
from ollama_magic.render.safe_html import NOTE_STYLE, page_html
from ollama_magic.render.text import counted, escaped, visible_text, without_blank_lines
from ollama_magic.render.theme import CODE_FONT

PAGE_STYLE = (
    f"font-family:{CODE_FONT};white-space:pre-wrap;word-break:normal;"
    "overflow-wrap:break-word"
)
"""Style of pages of text: in nbconvert's own sheet, ``<pre>`` is proportional, and in
JupyterLab's, lines break inside words."""
CELL_STYLE = "text-align:left;vertical-align:top;padding:.3em 1em .3em .4em"
"""Jupyter aligns the cells of tables in outputs on the right, and VS Code has no space
between them."""
SHORT_CELL_STYLE = f"{CELL_STYLE};white-space:nowrap"
_PREVIEW_EM = 12
"""The least width of a preview, if it has more characters."""
PREVIEW_CELL_STYLE = f"{CELL_STYLE};min-width:{_PREVIEW_EM}em"
_SHORT = 32
"""Characters; a cell of that length stays on one line."""


def table_html(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as HTML in which every cell is plain text.

    Parameters
    ----------
    columns
        Their headings; none for a table without a head.
    """
    head = "".join(_cell_html("th", title) for title in columns)
    body = "".join(
        f"<tr>{''.join(_cell_html('td', cell) for cell in row)}</tr>" for row in rows
    )
    top = f"<thead><tr>{head}</tr></thead>" if columns else ""
    return safe_table_html(f"{top}<tbody>{body}</tbody>")


def facts_html(facts: Sequence[tuple[str, str]]) -> str:
    """Return labels and values as a table without a head."""
    rows = (f"<tr>{_cell_html('th', a)}{_cell_html('td', b)}</tr>" for a, b in facts)
    return safe_table_html(f"<tbody>{''.join(rows)}</tbody>")


def lines_html(text: str) -> str:
    """Return small lines of plain text, such as those under a table."""
    lines = "<br>".join(map(escaped, text.split("\n")))
    return page_html(f'<div style="{NOTE_STYLE}">{lines}</div>')


def strong_html(text: str) -> str:
    """Return one line that sums up what follows."""
    return page_html(f"<p><strong>{escaped(text)}</strong></p>")


def pre_html(text: str) -> str:
    """Return plain text in a fixed-width font, with its line breaks."""
    return f'<pre style="{PAGE_STYLE}">{html.escape(visible_text(text))}</pre>'


def safe_table_html(safe: str) -> str:
    """Return rows of safe HTML as a table."""
    return f'<table class="tex2jax_ignore mathjax_ignore">{safe}</table>'


def _cell_html(tag: str, cell: object) -> str:
    text = str(cell)
    style = SHORT_CELL_STYLE if len(text) <= _SHORT else CELL_STYLE
    title = ""
    if isinstance(cell, Cell):
        title = cell.title
        if cell.is_preview and len(text) > _PREVIEW_EM:
            style = PREVIEW_CELL_STYLE
    shown = f' title="{escaped(title)}"' if title else ""
    lines = "<br>".join(map(escaped, text.split("\n")))
    return f'<{tag} style="{style}"{shown}>{lines}</{tag}>'


_MAX_ROWS = 2000
"""Rows of a listing: a server can list models without end, at three bytes each."""


def _left_out(count: int) -> str:
    if count <= _MAX_ROWS:
        return ""
    return f"The first {_MAX_ROWS:,} of {count:,} rows; the value of the line has all."


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
        How each row is shown; a column without any value is left out.
    empty
        Shown if there are no rows: says so, and what to do.
    note
        A text under the table.
    limit
        How many rows are shown, from the end; None shows all, up to 2,000.
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
        more = "" if limit is not None else _left_out(len(self._rows))
        self._note = visible_text("\n".join(filter(None, [more, note])))
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

    def _table(self) -> tuple[tuple[str, ...], list[list[object]]]:
        """Return the columns and the rows, without columns that are empty."""
        if self._limit is None:
            shown = self._rows[:_MAX_ROWS]
        else:
            shown = self._rows[-self._limit :]
        names, gets = [*self._columns], self._columns.values()
        rows = [[get(row) for get in gets] for row in shown]
        used = [
            index
            for index in range(len(names))
            if index == 0 or any(str(row[index]).strip() for row in rows)
        ]
        columns = tuple(names[index] for index in used)
        return columns, [[row[index] for index in used] for row in rows]

    def __repr__(self) -> str:
        if not self._rows:
            return "\n".join(filter(None, [self._empty, self._note]))
        table = table_text(*self._table(), text_width())
        return "\n\n".join(filter(None, [table, self._note]))

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, Any]:
        if not self._rows:
            return {"text/plain": repr(self)}
        table = self._page or table_html(*self._table())
        note = lines_html(self._note) if self._note else ""
        page = without_blank_lines(table + note)
        return {"text/html": page, "text/plain": repr(self)}


@dataclass(frozen=True, slots=True, repr=False)
class TextPage:
    """Text that shows itself, in a fixed-width font unless it has HTML of its own."""

    text: str
    """The text, unchanged: it may come from a server and hold control characters."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The metadata of its output."""
    page: str = ""
    """Safe HTML that a notebook shows in place of the text."""

    def __str__(self) -> str:
        return visible_text(self.text)

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        page = without_blank_lines(self.page or pre_html(self.text))
        return {"text/html": page, "text/plain": str(self)}, dict(self.metadata)


def facts_page(facts: Sequence[tuple[str, str]]) -> TextPage:
    """Return labels and values as a page; those without a value are left out."""
    facts = [fact for fact in facts if fact[1]]
    return TextPage(facts_text(facts), page=facts_html(facts))


# -- times ---------------------------------------------------------------------

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_PERIODS = (
    (365 * _DAY, "year"),
    (30 * _DAY, "month"),
    (7 * _DAY, "week"),
    (_DAY, "day"),
    (_HOUR, "hour"),
    (_MINUTE, "min"),
)
_FOREVER_S = 10 * 365 * _DAY
"""A model that stays in memory expires in centuries."""


def age(timestamp: str, now: datetime | None = None) -> Cell:
    """Return how long ago a time was, or in how long it will be.

    Parameters
    ----------
    timestamp
        RFC 3339; anything else is shown as nothing.
    now
        With a time zone; the current time by default.

    Examples
    --------
    >>> now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    >>> age("2026-11-20T12:00:00.1234567+02:00", now).text
    '3 days ago'
    >>> age("2026-11-23T12:03:59Z", now).text, age("2318-01-01T00:00:00Z", now).text
    ('in 4 min', 'never')
    """
    then = _read(timestamp)
    if then is None:
        return Cell("")
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    title = exact(timestamp)
    if seconds < -_FOREVER_S:
        return Cell("never", title)
    for length, noun in _PERIODS:
        # NB: the rest of five minutes that have just begun is shown as five.
        amount = seconds if seconds > 0 else _MINUTE / 2 - seconds
        if count := int(amount // length):
            text = f"{count} min" if noun == "min" else counted(count, noun)
            return Cell(f"{text} ago" if seconds > 0 else f"in {text}", title)
    return Cell("just now" if seconds >= 0 else "in seconds", title)


def exact(timestamp: str) -> str:
    """Return a time in the time zone of this machine: ``2026-11-23 14:04``."""
    then = _read(timestamp)
    return f"{then.astimezone():%Y-%m-%d %H:%M}" if then else ""


def _read(timestamp: str) -> datetime | None:
    try:
        then = datetime.fromisoformat(timestamp)
        # NB: some servers leave out the zone; the first and last year have no others.
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        then.astimezone()
    except (ValueError, OverflowError, OSError):
        return None
    return then
