"""Colours and fonts of the page's theme: the only module that names CSS variables.

VS Code's variable always comes first: its Jupyter extension also defines JupyterLab's
variables, but with the values of Lab's light theme, whatever the theme is.
"""

from __future__ import annotations

from collections.abc import Collection

from ollama_magic.render.math import MATH_CLASS


def _themed(vscode: str, jupyter: str, otherwise: str) -> str:
    return f"var(--vscode-{vscode},var(--jp-{jupyter},{otherwise}))"


TEXT = _themed("foreground", "ui-font-color1", "inherit")
SECONDARY_TEXT = _themed("descriptionForeground", "ui-font-color2", "inherit")
BACKGROUND = _themed("editor-background", "layout-color0", "Canvas")
BORDER = _themed("panel-border", "border-color1", "#bdbdbd")
WARNING = _themed("editorWarning-foreground", "warn-color1", "#e65100")
ERROR = _themed("errorForeground", "error-color1", "#d32f2f")
INFORMATION = _themed("editorInfo-foreground", "info-color1", "#0288d1")
BAR = _themed("progressBar-background", "brand-color1", "#1976d2")
BAR_REST = _themed("scrollbarSlider-background", "layout-color3", "#ddd")
FONT_SIZE = _themed("font-size", "ui-font-size1", "13px")
SMALL_FONT_SIZE = "85%"

CODE_TEXT = _themed("editor-foreground", "content-font-color1", "inherit")
CODE_BACKGROUND = _themed(
    "textCodeBlock-background", "cell-editor-background", "rgba(128,128,128,.1)"
)
CODE_FONT = _themed("editor-font-family", "code-font-family", "monospace")
CODE_FONT_SIZE = _themed("editor-font-size", "code-font-size", "13px")

_IN_VSCODE = "[data-vscode-theme-kind]"
_TOKENS = {"k": "boolean", "s": "string", "m": "number"}


def _token_css(css_class: str, name: str) -> str:
    # NB: mixed with the text colour: numbers of the light theme and keywords of the
    # dark one have a contrast of only 4.3 on the background of code.
    colour = f"var(--vscode-debugTokenExpression-{name}) 75%,var(--vscode-foreground)"
    return f"{_IN_VSCODE} .highlight .{css_class}{{color:color-mix(in srgb,{colour})}}"


_CODE_STYLE = "".join(
    [
        "<style>",
        *(_token_css(css_class, name) for css_class, name in _TOKENS.items()),
        f"{_IN_VSCODE} .highlight .c{{opacity:.75}}",
        "</style>",
    ]
)
"""Colours of code in VS Code, which has no style sheet for Pygments."""

# MathJax puts elements into what it typesets; without it, there is text alone.
_MATH_STYLE = (
    f"<style>.{MATH_CLASS.split()[-1]}:not(:has(*))"
    "{font-family:monospace;white-space:pre-wrap}</style>"
)
_STYLES = {'class="highlight"': _CODE_STYLE, MATH_CLASS: _MATH_STYLE}


def styles_in(page: str) -> list[str]:
    """Return the style sheets that the HTML of an output needs."""
    return [style for mark, style in _STYLES.items() if mark in page]


def with_style(page: str, above: Collection[str] = ()) -> str:
    """Return the HTML of an output, with the style sheets that it needs at its end.

    Called by the displays for what they publish. The style sheets are constant, and the
    page is sanitised already. GitHub, nbviewer and untrusted notebooks drop them, as
    they drop the style sheet of pandas.

    Parameters
    ----------
    above
        Style sheets that an output above has, and keeps.
    """
    for style in _STYLES.values():
        page = page.replace(style, "")
    # NB: not at its beginning: Markdown that begins with <style> is HTML up to the end
    # of that line only, and nbconvert copies outputs into Markdown.
    return page + "".join(one for one in styles_in(page) if one not in above)


def without_style(page: str) -> str:
    """Return the HTML of an output without the style sheets at its end."""
    return page.removesuffix(_MATH_STYLE).removesuffix(_CODE_STYLE)


MARKDOWN_STYLES = {
    "h5": "font-size:.95em;font-weight:bold",
    "h6": "font-size:.9em;font-weight:bold",
    "li": "list-style-type:none",
    "dl": "margin:0 0 1em",
    "dt": "float:none;width:auto",
    "dd": "float:none;margin-inline-start:2em;width:auto",
    "p": "text-align:start",
}
"""Styles where those of the page do not fit a reply.

Small headings look like text in JupyterLab and are tiny in VS Code, and definitions
float in JupyterLab. Tasks have a box in place of the bullet. JupyterLab aligns all
paragraphs left, also those in Arabic or Hebrew.
"""

PANEL_CLASS = "ollama-panel"

STYLES_OF_0_1_0 = frozenset(
    [
        "background:var(--jp-cell-editor-background,rgba(128,128,128,.1));"
        "margin:0 0 1em;padding:.5em .8em",
        "border-left:3px solid var(--jp-warn-color1,#e65100);"
        "margin:.5em 0;padding:0 .8em",
        "font-size:85%;opacity:.75;margin:0 0 1em",
    ]
)
"""Styles in outputs of version 0.1.0, which ``%ollama restore`` reads; never sent."""
