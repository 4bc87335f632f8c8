"""Small pieces that the panel is built of, all made in one way.

Texts of a server come into widgets that show plain text, or through ``rendering/``.
"""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets
from ipywidgets.widgets.widget_string import HTMLStyle, TextStyle

from ollama_magic.render.theme import BORDER


class Looks:
    """Layouts and styles that the fixed parts of a panel share.

    Each part of its own would be one more message, for which a browser takes 2 ms. Not
    for what is shown and hidden by itself, or closed before the panel is.
    """

    def __init__(self) -> None:
        self.plain = widgets.Layout()
        self.row = _row_layout()
        self.text = HTMLStyle()
        self.field = TextStyle(description_width="initial")


def button(
    text: str,
    on_click: Callable[[], None],
    *,
    tooltip: str = "",
    style: str = "",
    like: widgets.Button | None = None,
) -> widgets.Button:
    """Return a button as wide as its text.

    Parameters
    ----------
    style
        ``primary`` for what the row is for, ``danger`` for what can't be undone.
    like
        A button that it shares its layout with: one message less to the browser for
        each part that is shared. Not for one that is shown and hidden by itself.
    """
    made = widgets.Button(
        description=text,
        tooltip=tooltip,
        button_style=style,
        layout=like.layout if like else {"width": "auto", "flex": "0 0 auto"},
        **({"style": like.style} if like else {}),
    )
    made.on_click(lambda _: on_click())
    return made


def row(*children: widgets.Widget, looks: Looks | None = None) -> widgets.HBox:
    """Return widgets side by side, that go on below where it gets narrow."""
    return widgets.HBox(children, layout=looks.row if looks else _row_layout())


def _row_layout() -> widgets.Layout:
    return widgets.Layout(flex_flow="row wrap", align_items="center")


def frame(*children: widgets.Widget) -> widgets.VBox:
    """Return widgets under each other, with a line around them."""
    layout = widgets.Layout(border=f"1px solid {BORDER}", padding="8px", margin="6px 0")
    return widgets.VBox(children, layout=layout)


def close_all(widget: widgets.Widget) -> None:
    """Close a widget and all that it holds; else the kernel keeps them.

    Its layout and style go too, which it must not share with one that stays.
    """
    for child in getattr(widget, "children", ()):
        close_all(child)
    for part in (widget.layout, getattr(widget, "style", None)):
        if part is not None:
            part.close()
    widget.close()


def set_shown(widget: widgets.DOMWidget, is_shown: bool) -> None:
    """Show a widget, or take it off the page; keys do not reach it then."""
    wanted = None if is_shown else "none"
    if widget.layout.display != wanted:
        widget.layout.display = wanted
