"""What the panel is built from: buttons, rows, frames, and the base of its widgets.

Text from a server only reaches widgets that show plain text, or goes through
``render/`` first.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets
from IPython.display import publish_display_data
from ipywidgets.widgets.widget_string import HTMLStyle, TextStyle

from ollama_magic.render.panel_html import line_html, notice_html, saved_html
from ollama_magic.render.tables import Listing
from ollama_magic.render.theme import BORDER, PANEL_CLASS

SETTLE_S = 0.35
"""Longer than a message needs to the browser and back."""


class SharedStyles:
    """Layouts and styles that the fixed parts of a panel share.

    Each separate layout or style costs a message, which takes a browser 2 ms. A part
    that is hidden or closed separately needs its own.
    """

    def __init__(self) -> None:
        self.plain = widgets.Layout()
        self.row = _row_layout()
        self.text = HTMLStyle()
        self.field = TextStyle(description_width="initial")


def button(
    text: str,
    on_click: Callable[[], object],
    *,
    style: str = "",
    like: widgets.Button | None = None,
) -> widgets.Button:
    """Return a button as wide as its text.

    Parameters
    ----------
    style
        ``primary`` for the main action, ``danger`` for one that can't be undone.
    like
        A button to share layout and style with, unless this one is hidden separately.
    """
    made = widgets.Button(
        description=text,
        button_style=style,
        layout=like.layout if like else {"width": "auto", "flex": "0 0 auto"},
        **({"style": like.style} if like else {}),
    )
    made.on_click(lambda _: on_click())
    return made


def on_enter(text: widgets.Text, action: Callable[[], object]) -> None:
    """Call an action after Enter in a text field, once all of the text has arrived.

    While the kernel works on a letter, a front end holds back the next ones, but not
    the message about Enter: a fast typist's ``mine`` would arrive as ``m``, Enter, and
    then the rest.
    """
    waiting: list[threading.Timer] = []

    def wait() -> None:
        while waiting:
            waiting.pop().cancel()
        waiting.append(threading.Timer(SETTLE_S, act))
        waiting[0].daemon = True
        waiting[0].start()

    def act() -> None:
        waiting.clear()
        action()

    def on_message(_: object, content: dict[str, Any], __: object) -> None:
        if content.get("event") == "submit":
            wait()

    text.on_msg(on_message)
    text.observe(lambda _: wait() if waiting else None, "value")


def row(*children: widgets.Widget, styles: SharedStyles | None = None) -> widgets.HBox:
    """Return widgets side by side; they wrap when the page is narrow."""
    return widgets.HBox(children, layout=styles.row if styles else _row_layout())


def _row_layout() -> widgets.Layout:
    return widgets.Layout(flex_flow="row wrap", align_items="center")


def frame(*children: widgets.Widget) -> widgets.VBox:
    """Return widgets below each other, with a border around them."""
    layout = widgets.Layout(border=f"1px solid {BORDER}", padding="8px", margin="6px 0")
    return widgets.VBox(children, layout=layout)


def close_all(widget: widgets.Widget) -> None:
    """Close a widget with its children; the kernel keeps those that are not closed.

    Its layout and style are closed too, so no widget that stays may share them.
    """
    for child in getattr(widget, "children", ()):
        close_all(child)
    for part in (widget.layout, getattr(widget, "style", None)):
        if part is not None:
            part.close()
    widget.close()


def set_shown(widget: widgets.DOMWidget, is_shown: bool) -> None:
    """Show a widget, or remove it from the page and the tab order."""
    wanted = None if is_shown else "none"
    if widget.layout.display != wanted:
        widget.layout.display = wanted


# -- a widget with a table for pages that cannot show it -----------------------

_VIEW = "application/vnd.jupyter.widget-view+json"


def new_class() -> str:
    """Return a CSS class for one widget alone."""
    return f"ollama-{uuid.uuid4().hex[:12]}"


class SavedAsTable(widgets.VBox):
    """Base of the panel and of the model picker.

    Parameters
    ----------
    css_class
        From :func:`new_class`.
    """

    command: ClassVar[str]
    """The command that shows the widget again."""
    in_terminal: ClassVar[str]
    """What to type in a terminal, which can't show widgets."""

    def __init__(self, children: Sequence[widgets.Widget], css_class: str) -> None:
        self._css_class = css_class
        lost = f"The kernel has ended or was restarted. Run {self.command} again."
        gone = widgets.HTML(notice_html([lost], is_problem=False))
        gone.add_class("ollama-gone")
        classes = (PANEL_CLASS, css_class)
        super().__init__([gone, *children], _dom_classes=classes)

    def summary(self, advice: str = "") -> Listing[Any]:
        """Return the models as a plain table, with advice below it."""
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        publish_display_data(self._repr_mimebundle_())  # type: ignore[no-untyped-call]
        listing = self.summary(f"To open it again, run {self.command}")
        bundle = listing._repr_mimebundle_()
        page = bundle.get("text/html") or line_html(bundle["text/plain"])
        bundle["text/html"] = saved_html(self._css_class, page)
        publish_display_data(bundle)  # type: ignore[no-untyped-call]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401  (as its base)
        shown: Any = super()._repr_mimebundle_(**kwargs)
        data = shown[0] if isinstance(shown, tuple) else shown
        text = f"Interactive in a running notebook: {self.command}"
        return {_VIEW: data[_VIEW], "text/plain": text}
