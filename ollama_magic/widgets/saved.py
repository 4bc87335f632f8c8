"""A widget whose output is followed by a table, for pages that cannot show the widget.

A front end that finds a widget in an output does not look at the other formats beside
it: in a reopened notebook, JupyterLab and VS Code show an error in its place. So the
table is an output of its own, which a style sheet hides while the widget is on the
page. After a kernel restart the widget is still there, without a kernel: the style
sheet of the panel hides its controls and shows a line of advice.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

import ipywidgets as widgets
from IPython.display import publish_display_data

from ollama_magic.render.panel_html import line_html, notice_html, saved_html
from ollama_magic.render.tables import Listing
from ollama_magic.render.theme import PANEL_CLASS

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
