"""The HTML of the panel: its style sheet, the table of models, lines and notices.

``widgets`` puts it into its HTML widgets. All of it is constant markup around escaped
text, since names, versions and errors come from a server. Colours come from the page's
theme, light or dark.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ollama_magic.render.text import escaped
from ollama_magic.render.theme import (
    BACKGROUND,
    BAR,
    BAR_REST,
    BORDER,
    CODE_BACKGROUND,
    CODE_FONT_SIZE,
    CODE_TEXT,
    ERROR,
    FONT_SIZE,
    INFORMATION,
    PANEL_CLASS,
    PANEL_STYLE,
    SECONDARY_TEXT,
    SMALL_FONT_SIZE,
    TEXT,
)

ROW_PX = 28
"""Height of a row: of the table, and of the button that lies over it."""

COLUMNS = ("Model", "Size", "In memory", "Capabilities", "Parameters", "Modified")
_WIDTHS = (
    "minmax(160px,2.4fr)",
    "112px",
    "186px",
    "minmax(128px,1.5fr)",
    "130px",
    "104px",
)
_NARROW_WIDTHS = ("minmax(140px,2.4fr)", "112px", "132px", "minmax(120px,1.5fr)")
"""Without the bars of memory."""
_FITTING = (
    (840, _WIDTHS[:5]),
    (736, _NARROW_WIDTHS),
    (520, _NARROW_WIDTHS[:3]),
    (400, _NARROW_WIDTHS[:2]),
)
"""Up to this width of the panel in pixels, only these columns fit."""
_ROW = ".ollama-rows .widget-toggle-button"
_DEAD = f".{PANEL_CLASS}.jupyter-widgets-disconnected"

_STYLE = f"""<style>
{PANEL_STYLE}
.{PANEL_CLASS} {{container-type:inline-size;width:100%;font-size:{FONT_SIZE};
 --columns:{" ".join(_WIDTHS)}}}
.{PANEL_CLASS} :is(input,select,button) {{font-family:inherit}}
.{PANEL_CLASS} select {{color:{TEXT};appearance:none;padding-right:22px;
 background-image:linear-gradient(45deg,transparent 50%,currentColor 50%),
 linear-gradient(135deg,currentColor 50%,transparent 50%)!important;
 background-position:calc(100% - 13px) 55%,calc(100% - 8px) 55%!important;
 background-size:5px 5px!important;background-repeat:no-repeat!important}}
.{PANEL_CLASS} option {{background:{BACKGROUND}}}
.ollama-list {{border:1px solid {BORDER};border-radius:4px;margin-top:4px}}
.ollama-list>* {{flex:0 0 auto;margin:0;width:100%;overflow:visible}}
.ollama-head {{position:sticky;top:0;z-index:2;background:{BACKGROUND};
 border-bottom:1px solid {BORDER}}}
.ollama-head,.ollama-models tr {{display:grid!important;
 grid-template-columns:var(--columns);align-items:center;padding:0 8px}}
.ollama-head button {{all:unset;cursor:pointer;font-weight:600;color:{SECONDARY_TEXT};
 height:{ROW_PX}px;line-height:{ROW_PX}px;white-space:nowrap;overflow:hidden}}
.ollama-head button:hover {{color:{TEXT}}}
.ollama-head button:focus-visible,.ollama-rows .widget-toggle-button:focus-visible
 {{outline:2px solid {BAR};outline-offset:-2px}}
.ollama-rows {{display:grid!important;position:relative;
 grid-template-columns:minmax(0,1fr)}}
.ollama-rows>* {{grid-area:1/1;margin:0;width:100%;overflow:visible}}
.ollama-models {{display:block;font-size:{FONT_SIZE};color:{TEXT};
 white-space:nowrap;line-height:1.3;width:100%}}
.ollama-models tbody {{display:block}}
.ollama-models tr {{height:{ROW_PX}px;box-sizing:border-box;background:none;
 border-bottom:1px solid rgba(128,128,128,.18)}}
.ollama-models th,.ollama-models td {{padding:0 10px 0 0;text-align:left;border:0;
 font-weight:inherit;overflow:hidden;text-overflow:ellipsis}}
.ollama-models .ollama-default {{font-weight:600}}
.ollama-rows .widget-toggle-buttons {{height:auto;z-index:1}}
.ollama-rows .widget-toggle-buttons>div {{display:block;width:100%}}
.ollama-rows .widget-toggle-button {{display:block;width:100%;height:{ROW_PX}px;
 margin:0;padding:0 4px;border:0;border-radius:0;text-align:left;
 line-height:{ROW_PX}px;box-shadow:none!important;background:none!important;
 color:transparent!important;font-size:16px}}
.ollama-rows .widget-toggle-button:hover {{background:rgba(128,128,128,.13)!important}}
.ollama-several .ollama-models th {{padding-left:22px}}
.ollama-several .widget-toggle-button::before {{content:"☐";color:{TEXT}}}
.ollama-actions {{position:absolute;right:0;width:auto!important;height:{ROW_PX}px;
 z-index:2;padding:0 6px;align-items:center;background:{BACKGROUND};
 border-left:1px solid {BORDER};box-sizing:border-box}}
.ollama-actions button,.ollama-small {{height:22px;line-height:20px;margin:2px;
 padding:0 8px;font-size:12px}}
.ollama-sheet {{position:sticky;bottom:0;z-index:3;background:{BACKGROUND}}}
.ollama-sheet>*>.widget-vbox,.ollama-sheet>:nth-child(2) {{margin:0!important;
 border:0!important;border-top:1px solid {BORDER}!important;overflow:visible}}
.ollama-job {{display:grid!important;align-items:center;column-gap:10px;margin:0;
 grid-template-columns:minmax(100px,210px) 150px minmax(0,1fr) auto;overflow:visible}}
.ollama-job>* {{margin:2px 0;min-width:0}}
.ollama-job>:nth-child(3) {{grid-column:3}} .ollama-job>:nth-child(4) {{grid-column:4}}
.ollama-job.ollama-wide>:nth-child(3) {{grid-column:2/4}}
.ollama-job .widget-hprogress {{height:18px}}
.ollama-job>:first-child {{overflow:hidden;text-overflow:ellipsis}}
.ollama-suggestion {{display:grid!important;align-items:center;
 grid-template-columns:max(190px,24%) 1fr}}
.ollama-suggestion button {{text-align:left}}
.ollama-bar {{display:inline-block;width:44px;height:6px;margin-right:8px;
 border-radius:3px;background:{BAR_REST};vertical-align:middle}}
.ollama-bar span {{display:block;height:100%;border-radius:3px;background:{BAR}}}
.ollama-badge {{display:inline-block;padding:0 6px;margin-right:4px;font-weight:400;
 border-radius:8px;font-size:{SMALL_FONT_SIZE};
 border:1px solid color-mix(in srgb,currentColor 40%,transparent)}}
.ollama-mark {{border-color:{BAR};margin-left:6px}}
.ollama-hidden {{position:absolute!important;width:1px;height:1px;overflow:hidden;
 clip-path:inset(50%)}}
.ollama-gone {{display:none}}
{_DEAD}::before,{_DEAD} .jupyter-widgets-disconnected::before {{content:none!important}}
{_DEAD}>:not(.ollama-gone,.ollama-list),{_DEAD} :is(.ollama-actions,.ollama-sheet),
{_DEAD} .ollama-rows .widget-toggle-buttons {{display:none!important}}
{_DEAD}>.ollama-gone {{display:flex!important}}
{_DEAD} .ollama-head button {{pointer-events:none}}
@container (max-width:720px) {{.ollama-job {{
 grid-template-columns:minmax(0,1fr) auto}}
 .ollama-job>:nth-child(2) {{grid-area:2/1/2/3;width:100%!important}}
 .ollama-job>:nth-child(3) {{grid-area:3/1/3/3}}
 .ollama-job>:nth-child(4) {{grid-area:1/2}}}}
@container (max-width:520px) {{.ollama-actions {{transform:translateY({ROW_PX}px)}}}}
@container (max-width:736px) {{.ollama-models td:nth-child(3) .ollama-bar
 {{display:none}}}}
{
    "".join(
        f"@container (max-width:{pixels}px) {{:is(.ollama-head,.ollama-models tr) "
        f"{{--columns:{' '.join(widths)}}} :is(.ollama-head,.ollama-models tr)"
        f">:nth-child({len(widths) + 1}) {{display:none}}}}"
        for pixels, widths in _FITTING
    )
}
</style>"""


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


def panel_style_html() -> str:
    """Return the style sheet of the panel."""
    return _STYLE


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
        f"background:color-mix(in srgb,{BAR} 16%,transparent)!important;"
        f"box-shadow:inset 3px 0 {BAR}!important}}"
        f".ollama-several :is({','.join(rows)})::before{{content:'☑'}}</style>"
    )
    announced = f'<span role="status" class="ollama-hidden">{escaped(text)}</span>'
    return f"{style if rows else ''}{announced}"


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
    """Return a long text in a fixed-width font, in a box that scrolls.

    One click selects all of it.
    """
    return (
        '<pre style="max-height:320px;overflow:auto;margin:0;padding:8px;'
        f"white-space:pre-wrap;line-height:1.4;font-size:{CODE_FONT_SIZE};"
        f"color:{CODE_TEXT};"
        f'background:{CODE_BACKGROUND}">{escaped(text)}</pre>'
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
