"""The dialogs at the lower edge of the model list: delete, copy, details, try it.

``ModelPanel`` opens them, one at a time. A question about a deletion or a copy closes
as soon as the selection no longer matches it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as widgets

from ollama_magic.client.actions import Removal, plan_removal_of
from ollama_magic.client.models import ModelDetails, canonical, find_model
from ollama_magic.errors import size_text
from ollama_magic.render.listings import overview
from ollama_magic.render.panel_html import line_html, notice_html, text_box_html
from ollama_magic.render.text import counted
from ollama_magic.widgets.manager import ModelManager
from ollama_magic.widgets.parts import (
    SharedStyles,
    button,
    close_all,
    frame,
    on_enter,
    row,
    set_shown,
)

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
        self._removal: Removal | None = None
        self._box = widgets.VBox(layout=styles.plain)
        self._copy = _CopyDialog(manager, self._button, self.close)
        on_enter(self._copy.name, lambda: self._guard(self._copy.enter))
        self.box = widgets.VBox([self._box, self._copy.box], layout=styles.plain)
        self.box.add_class("ollama-sheet")

    def on_selection(self, selected: Sequence[str]) -> None:
        """Close a question that is not about the selected models."""
        if self._matches is not None and not self._matches(selected):
            self.close()

    def close_question(self) -> None:
        """Close the open dialog if it asks something."""
        if self._matches is not None:
            self.close()

    def close(self) -> None:
        """Close the open dialog."""
        self._matches = self._removal = None
        set_shown(self._copy.box, False)
        opened, self._box.children = self._box.children, ()
        for widget in opened:
            close_all(widget)

    def _open(self, *children: widgets.Widget, matches: Matches | None = None) -> None:
        self.close()
        self._matches = matches
        self._box.children = (frame(*children),)

    def _button(
        self, text: str, on_click: Callable[[], None], *, style: str = ""
    ) -> widgets.Button:
        return button(text, lambda: self._guard(on_click), style=style)

    # -- delete ------------------------------------------------------------------

    def ask_delete(self, names: Sequence[str]) -> None:
        """Ask for confirmation, with all names and the space that is freed."""
        removal = plan_removal_of(names, self._manager.installed)
        if removal == self._removal:
            return  # it is open, and its buttons may have the focus

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
        self._removal = removal

    # -- copy --------------------------------------------------------------------

    def ask_copy(self, source: str) -> None:
        """Ask for the name of the copy; replacing a model takes a second click."""
        self.close()
        self._matches = lambda selected: list(selected) == [source]
        self._copy.open(source)

    # -- show --------------------------------------------------------------------

    def show(self, name: str) -> None:
        """Show the details of a model as soon as the server sends them."""
        self._open(
            widgets.HTML(
                line_html(f"loading the details of {name}…", is_secondary=True)
            )
        )
        opened = self._box.children

        def on_details(details: ModelDetails) -> None:
            if self._box.children == opened:  # no other dialog was opened since
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

    def try_it(self, name: str) -> None:
        """Show the cell that asks a model.

        It cannot be inserted: a front end inserts cells for the reply to an execute
        request only, and a click sends none.
        """
        self._open(
            widgets.HTML(line_html(f"To ask {name}, type this in a new cell:")),
            widgets.HTML(text_box_html(f"%%ollama {name}\nWhy is the sky blue?")),
            row(self._button("Close", self.close)),
        )


class _CopyDialog:
    """Asks for a name. It is always there, so that its box can take the focus."""

    def __init__(
        self,
        manager: ModelManager,
        make_button: Callable[..., widgets.Button],
        close: Callable[[], None],
    ) -> None:
        self._manager = manager
        self._close = close
        self._source = ""
        self._warned = ""
        self._title = widgets.HTML()
        self._warning = widgets.HTML()
        self.name = widgets.Text(
            placeholder="name of the copy", layout=widgets.Layout(width="320px")
        )
        self._button = make_button("Copy", self.submit, style="primary")
        buttons = row(self.name, self._button, make_button("Cancel", close))
        self.box = frame(self._title, buttons, self._warning)
        set_shown(self.box, False)
        self.name.observe(lambda _: self._reset(), "value")

    def open(self, source: str) -> None:
        """Show the dialog for a model, and put the focus into its box."""
        self._source = source
        self._title.value = line_html(f"Copy {source} to")
        self.name.value = ""
        self._reset()
        set_shown(self.box, True)
        self.name.focus()

    def enter(self) -> None:
        """Do what Enter does: confirm a name, but never that a model is replaced."""
        self.submit(is_enter=True)

    def submit(self, *, is_enter: bool = False) -> None:
        """Copy the model, or say why not."""
        destination = self.name.value.strip()
        taken = find_model(destination, self._manager.installed)
        if not destination or canonical(destination) == canonical(self._source):
            self._warning.value = line_html("Enter a different name for the copy.")
        elif taken is not None and self._warned != destination:
            self._warned = destination
            size = size_text(taken.size_bytes)
            self._warning.value = notice_html(
                [f"{taken.name} ({size}) already exists and would be replaced."]
            )
            self._button.description, self._button.button_style = "Replace", "danger"
        elif taken is None or not is_enter:
            self._close()
            is_taken = taken is not None
            self._manager.copy(self._source, destination, overwrite=is_taken)

    def _reset(self) -> None:
        self._warned = ""
        self._warning.value = ""
        self._button.description, self._button.button_style = "Copy", "primary"
