"""Tables for listings: safe HTML for a notebook, aligned text for a terminal."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Collection, Sequence

from ollama_magic.render.text import visible_text

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
    lines = [[_one_line(cell) for cell in row] for row in (columns, *rows)]
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
        text = html.escape(visible_text(cell))
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


def _one_line(cell: str) -> str:
    return " ".join(visible_text(cell).split())


def _width(text: str) -> int:
    """Columns of a terminal: wide East Asian characters take two."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
