"""The HTML of the panel: the table of models, status lines and notices.

``widgets`` puts it into its HTML widgets. All of it is constant markup around escaped
text, since names, versions and errors come from a server. Colours come from the page's
theme, light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_magic.render.text import escaped
from ollama_magic.render.theme import (
    BAR,
    BAR_REST,
    BORDER,
    CODE_BACKGROUND,
    CODE_FONT_SIZE,
    CODE_TEXT,
    ERROR,
    FONT_SIZE,
    INFORMATION,
    PANEL_STYLE,
    SECONDARY_TEXT,
    SMALL_FONT_SIZE,
    TEXT,
)

ROW_PX = 28
"""Height of a row; the names beside the table need the same."""

_STYLE = f"""<style>
{PANEL_STYLE}
.ollama-models {{border-collapse:collapse;font-size:{FONT_SIZE};
 color:{TEXT};white-space:nowrap;line-height:1.3}}
.ollama-models th,.ollama-models td {{height:{ROW_PX}px;padding:0 12px 0 0;
 text-align:left;box-sizing:border-box;border:0}}
.ollama-models th {{font-weight:600;color:{SECONDARY_TEXT}}}
.ollama-bar {{display:inline-block;width:56px;height:6px;margin-right:8px;
 border-radius:3px;background:{BAR_REST};vertical-align:middle}}
.ollama-bar span {{display:block;height:100%;border-radius:3px;
 background:{BAR}}}
.ollama-badge {{display:inline-block;padding:0 6px;margin-right:4px;
 border-radius:8px;border:1px solid {BORDER};
 font-size:{SMALL_FONT_SIZE}}}
.ollama-hidden {{position:absolute;width:1px;height:1px;overflow:hidden;
 clip-path:inset(50%)}}
</style>"""


@dataclass(frozen=True, slots=True)
class TableRow:
    """What the table shows of a model."""

    name: str
    """For screen readers; it is shown beside the table."""
    size: str
    size_share: float
    """Relative to the largest model, from 0 to 1."""
    parameters: str
    quantization: str
    modified: str
    modified_at: str
    """The date in full, as a tooltip."""
    capabilities: tuple[str, ...]
    memory: str
    """Where the model is loaded; empty if it is not."""
    gpu_share: float | None
    """The share on the GPU; None if the model is not loaded."""


def model_table_html(rows: Sequence[TableRow]) -> str:
    """Return the table, one row per model, without a visible column of names."""
    titles = (
        "Size",
        "In memory",
        "Capabilities",
        "Parameters",
        "Quantization",
        "Modified",
    )
    heads = "".join(f'<th scope="col">{title}</th>' for title in titles)
    hidden = '<th scope="col" class="ollama-hidden">Model</th>'
    body = "".join(map(_row_html, rows))
    return (
        f'{_STYLE}<table class="ollama-models"><thead><tr>{hidden}{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _row_html(row: TableRow) -> str:
    badges = "".join(
        f'<span class="ollama-badge">{escaped(one)}</span>' for one in row.capabilities
    )
    memory = "" if row.gpu_share is None else _bar_html(row.gpu_share)
    cells = [
        f'<th scope="row" class="ollama-hidden">{escaped(row.name)}</th>',
        f"<td>{_bar_html(row.size_share)}{escaped(row.size)}</td>",
        f"<td>{memory}{escaped(row.memory)}</td>",
        f"<td>{badges}</td>",
        f"<td>{escaped(row.parameters)}</td>",
        f"<td>{escaped(row.quantization)}</td>",
        f'<td title="{escaped(row.modified_at)}">{escaped(row.modified)}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _bar_html(share: float) -> str:
    percent = round(100 * min(max(share, 0.0), 1.0))
    return (
        f'<span class="ollama-bar" aria-hidden="true">'
        f'<span style="width:{percent}%"></span></span>'
    )


def line_html(text: str, *, is_secondary: bool = False, is_strong: bool = False) -> str:
    """Return one line of text."""
    style = f"color:{SECONDARY_TEXT if is_secondary else TEXT};line-height:1.4"
    tag = "strong" if is_strong else "span"
    return f'<{tag} style="{style}">{escaped(text)}</{tag}>'


def notice_html(lines: Sequence[str], *, is_problem: bool = True) -> str:
    """Return a notice: what happened, why, and what to do."""
    colour = ERROR if is_problem else INFORMATION
    shown = "<br>".join(map(escaped, lines))
    return (
        f'<div role="status" style="border-left:3px solid {colour};'
        "padding:2px 10px;line-height:1.5;white-space:pre-wrap;"
        f'color:{TEXT}">{shown}</div>'
    )


def text_box_html(text: str) -> str:
    """Return a long text in a fixed-width font, in a box that scrolls."""
    return (
        '<pre style="max-height:320px;overflow:auto;margin:0;padding:8px;'
        f"white-space:pre-wrap;line-height:1.4;font-size:{CODE_FONT_SIZE};"
        f"color:{CODE_TEXT};"
        f'background:{CODE_BACKGROUND}">{escaped(text)}</pre>'
    )
