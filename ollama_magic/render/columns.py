"""Replies of several models side by side, as the one output of their cell.

Knows how columns are laid out. What stands in them is made by ``reply_view``; what is
added here is constant markup around escaped names.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ollama_magic.render.quiet import quiet_html
from ollama_magic.render.reply import ReplyView, reply_bundle, reply_plain
from ollama_magic.render.safe_html import page_html
from ollama_magic.render.text import visible_text
from ollama_magic.render.theme import BORDER, with_code_style

_GRID = (
    "display:grid;gap:1em 1.5em;"
    "grid-template-columns:repeat(auto-fit,minmax(min(18em,100%),1fr))"
)
# NB: without min-width a column is as wide as the longest line of its code.
_COLUMN = "min-width:0;overflow-x:auto"
_HEADING = (
    f"border-bottom:1px solid {BORDER};margin:.4em 0 .6em;"
    "overflow-wrap:anywhere;padding-bottom:.3em"
)
_NOTE = "margin-top:.8em"


@dataclass(frozen=True)
class Column:
    """What one model is shown with."""

    name: str
    """The heading: its model."""
    view: ReplyView


def columns_bundle(columns: Sequence[Column], note: str = "") -> dict[str, str]:
    """Return ``text/html`` and ``text/plain`` of complete columns.

    Parameters
    ----------
    note
        A quiet line under all of them.
    """
    page = grid_html((column.name, column_html(column)) for column in columns)
    texts = [column_plain(column) for column in columns]
    if note:
        page += f'<div style="{_NOTE}">{quiet_html(note)}</div>'
        texts.append(visible_text(note))
    return {"text/html": with_code_style(page), "text/plain": "\n\n".join(texts)}


def grid_html(columns: Iterable[tuple[str, str]]) -> str:
    """Return columns side by side, below one another where the page is narrow.

    Parameters
    ----------
    columns
        The name of each, and safe HTML.
    """
    cells = [
        f'<div style="{_COLUMN}">{_heading_html(name)}{safe}</div>'
        for name, safe in columns
    ]
    return f'<div style="{_GRID}">{"".join(cells)}</div>'


def column_html(column: Column) -> str:
    """Return what stands under the heading of a complete column."""
    return reply_bundle(column.view)["text/html"]


def column_plain(column: Column) -> str:
    """Return a complete column as text: heading, answer, and a line of figures."""
    return "\n\n".join([*text_parts(column), *footer_line(column)])


def text_parts(column: Column) -> list[str]:
    """Return the heading and the answer of a column as text."""
    answer = reply_plain(column.view).strip("\n")
    heading = f"## {one_line(column.name)}"
    return [heading, answer] if answer else [heading]


def footer_line(column: Column) -> list[str]:
    """Return the line of figures; none where the footer is off."""
    line = " · ".join(column.view.footer)
    return [visible_text(line)] if line else []


def one_line(name: str) -> str:
    """Return a name with nothing hidden in it, on one line."""
    return " ".join(visible_text(name).split())


def _heading_html(name: str) -> str:
    escaped = html.escape(one_line(name), quote=True)
    return page_html(f'<h4 style="{_HEADING}">{escaped}</h4>')
