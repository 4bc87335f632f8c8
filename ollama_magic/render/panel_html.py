"""The HTML of the panel: its style sheet, the table of models, lines and notices.

``widgets`` puts it into its HTML widgets. All of it is constant markup around escaped
text, since names, versions and errors come from a server. Colours come from the page's
theme, light or dark.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from ollama_magic.render import theme
from ollama_magic.render.text import escaped

ROW_PX = 28
"""Height of a row: of the table, and of the button that lies over it."""

COLUMNS = ("Model", "Size", "In memory", "Capabilities", "Parameters", "Modified")
_COMMENT = re.compile(r"/\*.*?\*/\s*", re.DOTALL)
_ROW = ".ollama-rows .widget-toggle-button"


@dataclass(frozen=True, slots=True)
class TableRow:
    """What the table shows of a model."""

    name: str
    marks: tuple[str, ...]
    """What is said beside the name, such as ``default``."""
    is_default: bool
    size: str
    size_share: float | None
    """Relative to the largest model, from 0 to 1; None for a cloud model."""
    memory: str
    """Where the model is loaded; empty if it is not."""
    gpu_share: float | None
    """The share on the GPU; None if the model is not loaded."""
    capabilities: tuple[str, ...]
    parameters: str
    modified: str

    @property
    def text(self) -> str:
        """All of it in one line, for a tooltip and for screen readers."""
        parts = [*self.marks, self.size, self.memory, self.parameters]
        parts += [", ".join(self.capabilities), self.modified]
        return ", ".join([self.name, *filter(None, parts)])


def model_table_html(rows: Sequence[TableRow]) -> str:
    """Return the table, one row per model; its header is for screen readers."""
    heads = "".join(f'<th scope="col">{title}</th>' for title in COLUMNS)
    body = "".join(map(_row_html, rows))
    return (
        f'<table class="ollama-models"><thead class="ollama-hidden"><tr>{heads}</tr>'
        f"</thead><tbody>{body}</tbody></table>"
    )


def _row_html(row: TableRow) -> str:
    marks = "".join(_badge(one, "ollama-mark") for one in row.marks)
    memory = "" if row.gpu_share is None else _bar_html(row.gpu_share)
    size = "" if row.size_share is None else _bar_html(row.size_share)
    style = ' class="ollama-default"' if row.is_default else ""
    cells = [
        f'<th scope="row"{style}>{escaped(row.name)}{marks}</th>',
        f"<td>{size}{escaped(row.size)}</td>",
        f"<td>{memory}{escaped(row.memory)}</td>",
        f"<td>{''.join(map(_badge, row.capabilities))}</td>",
        f"<td>{escaped(row.parameters)}</td>",
        f"<td>{escaped(row.modified)}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _badge(text: str, css_class: str = "") -> str:
    return f'<span class="{f"ollama-badge {css_class}".strip()}">{escaped(text)}</span>'


def _bar_html(share: float) -> str:
    percent = round(100 * min(max(share, 0.0), 1.0))
    return (
        f'<span class="ollama-bar" aria-hidden="true">'
        f'<span style="width:{percent}%"></span></span>'
    )


@cache
def panel_style_html() -> str:
    """Return the style sheet of the panel."""
    sheet = Path(__file__).with_name("panel.css").read_text("utf-8")
    filled = Template(sheet).substitute(vars(theme), ROW_PX=ROW_PX)
    return f"<style>{_COMMENT.sub('', filled)}</style>"


def selection_html(panel_class: str, numbers: Collection[int], text: str) -> str:
    """Return the style of the selected rows, and a text that announces them.

    Parameters
    ----------
    panel_class
        The class of this panel alone.
    numbers
        The positions of the selected rows, from 0.
    text
        For screen readers: a row is a button, which can't say that it is selected.
    """
    rows = [f".{panel_class} {_ROW}:nth-child({n + 1})" for n in numbers]
    style = (
        f"<style>:is({','.join(rows)}) {{"
        f"background:color-mix(in srgb,{theme.BAR} 16%,transparent)!important;"
        f"box-shadow:inset 3px 0 {theme.BAR}!important}}"
        f".ollama-several :is({','.join(rows)})::before{{content:'☑'}}</style>"
    )
    announced = f'<span role="status" class="ollama-hidden">{escaped(text)}</span>'
    return f"{style if rows else ''}{announced}"


def line_html(text: str, *, is_secondary: bool = False, is_strong: bool = False) -> str:
    """Return one line of text."""
    colour = theme.SECONDARY_TEXT if is_secondary else theme.TEXT
    tag = "strong" if is_strong else "span"
    return f'<{tag} style="color:{colour};line-height:1.4">{escaped(text)}</{tag}>'


def notice_html(lines: Sequence[str], *, is_problem: bool = True) -> str:
    """Return a notice: what happened, why, and what to do."""
    colour = theme.ERROR if is_problem else theme.INFORMATION
    shown = "<br>".join(map(escaped, lines))
    return (
        f'<div role="status" style="border-left:3px solid {colour};'
        "padding:2px 10px;line-height:1.5;white-space:pre-wrap;"
        f'color:{theme.TEXT}">{shown}</div>'
    )


def text_box_html(text: str) -> str:
    """Return a long text in a fixed-width font, in a box that scrolls.

    One click selects all of it.
    """
    return (
        '<pre style="max-height:320px;overflow:auto;margin:0;padding:8px;'
        f"white-space:pre-wrap;line-height:1.4;font-size:{theme.CODE_FONT_SIZE};"
        f"color:{theme.CODE_TEXT};"
        f'background:{theme.CODE_BACKGROUND}">{escaped(text)}</pre>'
    )


def saved_html(panel_class: str, page: str) -> str:
    """Return the output that stands in for a panel where its widgets are missing.

    Parameters
    ----------
    panel_class
        The class of the panel. While it is on the page, this output is hidden; else
        the output before it is, since it holds nothing but an error of the front end.
    page
        Safe HTML.
    """
    mine, child = f".{panel_class}-saved", ".jp-OutputArea-child"
    style = (
        f"body:has(.{panel_class}) :is({mine},{child}:has({mine})),"
        f"{child}:not(:has(.{panel_class})):has(+{child} {mine}){{display:none}}"
    )
    return f'<div class="{panel_class}-saved">{page}</div><style>{style}</style>'
