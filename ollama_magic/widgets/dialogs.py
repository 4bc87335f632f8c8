"""The dialogs below the model list: delete, copy, and the details of a model.

``ModelPanel`` opens them, one at a time. A question about a deletion or a copy closes
as soon as the selection no longer matches it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as widgets

from ollama_magic.client.actions import plan_removal_of
from ollama_magic.client.models import ModelDetails, canonical, find_model
from ollama_magic.client.progress import size_text
from ollama_magic.render.model_listing import overview
from ollama_magic.render.panel_html import line_html, notice_html, text_box_html
from ollama_magic.render.text import counted, visible_text
from ollama_magic.widgets.manager import ModelManager
from ollama_magic.widgets.parts import SharedStyles, button, close_all, frame, row

_PARTS = {
    "Parameters": "parameters",
    "Template": "template",
    "System": "system",
    "License": "license",
    "Modelfile": "modelfile",
}


Matches = Callable[[Sequence[str]], bool]
"""Returns whether an open question is about the selected models."""


class Dialogs:
    """Opens and closes the dialogs.

    Parameters
    ----------
    manager
        Runs what the user confirms.
    guard
        Runs what a button does, and shows its errors.
    """

    def __init__(
        self,
        manager: ModelManager,
        guard: Callable[[Callable[[], None]], None],
        styles: SharedStyles,
    ) -> None:
        self._manager = manager
        self._guard = guard
        self._matches: Matches | None = None
        self.box = widgets.VBox(layout=styles.plain)

    def on_selection(self, selected: Sequence[str]) -> None:
        """Close a question that is not about the selected models."""
        if self._matches is not None and not self._matches(selected):
            self.close()

    def close(self) -> None:
        """Close the open dialog."""
        self._matches = None
        opened, self.box.children = self.box.children, ()
        for widget in opened:
            close_all(widget)

    def _open(self, *children: widgets.Widget, matches: Matches | None = None) -> None:
        self.close()
        self._matches = matches
        self.box.children = (frame(*children),)

    def _button(
        self, text: str, on_click: Callable[[], None], *, style: str = ""
    ) -> widgets.Button:
        return button(text, lambda: self._guard(on_click), style=style)

    # -- delete ------------------------------------------------------------------

    def ask_delete(self, names: Sequence[str]) -> None:
        """Ask for confirmation, with all names and the space that is freed."""
        removal = plan_removal_of(names, self._manager.installed)

        def matches(selected: Sequence[str]) -> bool:
            """Return whether the same models and space would be deleted."""
            return bool(selected) and removal == plan_removal_of(
                selected, self._manager.installed
            )

        def confirmed() -> None:
            self.close()
            self._manager.delete(removal.names)

        what = counted(len(removal.names), "model")
        listed = [
            f"{model.name}   {size_text(model.size_bytes)}" for model in removal.models
        ]
        lines = [f"Delete {what}? This can't be undone.", *listed, removal.space_text()]
        # NB: Cancel comes first, so that Tab and Enter do not delete by accident.
        self._open(
            widgets.HTML(notice_html(lines)),
            row(
                self._button("Cancel", self.close),
                self._button(f"Delete {what}", confirmed, style="danger"),
            ),
            matches=matches,
        )

    # -- copy --------------------------------------------------------------------

    def ask_copy(self, source: str) -> None:
        """Ask for the name of the copy; replacing a model takes a second click."""
        name = widgets.Text(
            placeholder="name of the copy",
            description=visible_text(f"Copy {source} to"),
            style={"description_width": "initial"},
            layout=widgets.Layout(width="auto", min_width="320px"),
        )
        warning = widgets.HTML()
        warned: list[str] = []

        def submit() -> None:
            destination = name.value.strip()
            taken = find_model(destination, self._manager.installed)
            if not destination or canonical(destination) == canonical(source):
                warning.value = line_html("Enter a different name for the copy.")
            elif taken is not None and warned != [destination]:
                warned[:] = [destination]
                size = size_text(taken.size_bytes)
                warning.value = notice_html(
                    [f"{taken.name} ({size}) already exists and would be replaced."]
                )
                copy.description, copy.button_style = "Replace", "danger"
            else:
                self.close()
                self._manager.copy(source, destination, overwrite=taken is not None)

        copy = self._button("Copy", submit, style="primary")

        def reset(_: object) -> None:
            warned.clear()
            warning.value = ""
            copy.description, copy.button_style = "Copy", "primary"

        name.observe(reset, "value")
        self._open(
            name,
            warning,
            row(copy, self._button("Cancel", self.close)),
            matches=lambda selected: list(selected) == [source],
        )

    # -- show --------------------------------------------------------------------

    def show(self, name: str) -> None:
        """Show the details of a model as soon as the server sends them."""
        self._open(
            widgets.HTML(
                line_html(f"loading the details of {name}…", is_secondary=True)
            )
        )
        opened = self.box.children

        def on_details(details: ModelDetails) -> None:
            if self.box.children == opened:  # no other dialog was opened since
                self._show_details(name, details)

        self._manager.show(name, on_details)

    def _show_details(self, name: str, details: ModelDetails) -> None:
        pages = {"Details": overview(name, details)}
        pages |= {title: getattr(details, part) for title, part in _PARTS.items()}
        filled = {title: text for title, text in pages.items() if text.strip()}
        tabs = widgets.Tab(
            [widgets.HTML(text_box_html(text)) for text in filled.values()],
            titles=tuple(filled),
        )
        title = widgets.HTML(line_html(name, is_strong=True))
        self._open(title, tabs, row(self._button("Close", self.close)))
