"""What opens under the list, one at a time.

The question before a deletion, the form of a copy, and the details of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as widgets

from ollama_magic.client.actions import plan_removal_of
from ollama_magic.client.models import ModelDetails, canonical, find_model
from ollama_magic.client.progress import size_text
from ollama_magic.render.model_listing import overview
from ollama_magic.render.panel_html import line_html, notice_html, text_box_html
from ollama_magic.render.text import visible_text
from ollama_magic.widgets.manager import ModelBoard
from ollama_magic.widgets.parts import Looks, button, close_all, frame, row

_PARTS = {
    "Parameters": "parameters",
    "Template": "template",
    "System": "system",
    "License": "license",
    "Modelfile": "modelfile",
}


IsAbout = Callable[[Sequence[str]], bool]
"""Whether a question is still about the models that are selected."""


class Dialogs:
    """The place where they open.

    Parameters
    ----------
    board
        Does what is confirmed.
    guard
        Wraps what a button does, so that its errors are shown.
    """

    def __init__(
        self,
        board: ModelBoard,
        guard: Callable[[Callable[[], None]], None],
        looks: Looks,
    ) -> None:
        self._board = board
        self._guard = guard
        self._is_about: IsAbout | None = None
        self.box = widgets.VBox(layout=looks.plain)

    def follow(self, selected: Sequence[str]) -> None:
        """Close a question that is about other models than those selected now."""
        if self._is_about is not None and not self._is_about(selected):
            self.close()

    def close(self) -> None:
        """Close what is open."""
        self._is_about = None
        opened, self.box.children = self.box.children, ()
        for widget in opened:
            close_all(widget)

    def _open(self, *children: widgets.Widget, is_about: IsAbout | None = None) -> None:
        self.close()
        self._is_about = is_about
        self.box.children = (frame(*children),)

    def _button(
        self, text: str, on_click: Callable[[], None], *, style: str = ""
    ) -> widgets.Button:
        return button(text, lambda: self._guard(on_click), style=style)

    # -- delete ------------------------------------------------------------------

    def ask_delete(self, names: Sequence[str]) -> None:
        """Ask once more, with every name and the space that goes."""
        removal = plan_removal_of(names, self._board.installed)

        def is_about(selected: Sequence[str]) -> bool:
            """Tell whether the same models would go, and the same space."""
            return bool(selected) and removal == plan_removal_of(
                selected, self._board.installed
            )

        def confirmed() -> None:
            self.close()
            self._board.delete(removal.names)

        count = len(removal.names)
        what = f"{count} model{'' if count == 1 else 's'}"
        listed = [
            f"{model.name}   {size_text(model.size_bytes)}" for model in removal.models
        ]
        lines = [f"Delete {what}? This can't be undone.", *listed, removal.space_text()]
        # NB: Cancel stands first, so that Tab and Enter do not delete by accident.
        self._open(
            widgets.HTML(notice_html(lines)),
            row(
                self._button("Cancel", self.close),
                self._button(f"Delete {what}", confirmed, style="danger"),
            ),
            is_about=is_about,
        )

    # -- copy --------------------------------------------------------------------

    def ask_copy(self, source: str) -> None:
        """Ask for the second name; one that is taken is asked about again."""
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
            taken = find_model(destination, self._board.installed)
            if not destination or canonical(destination) == canonical(source):
                warning.value = line_html("Write another name for the copy.")
            elif taken is not None and warned != [destination]:
                warned[:] = [destination]
                size = size_text(taken.size_bytes)
                warning.value = notice_html(
                    [f"{taken.name} ({size}) is there already, and would be replaced."]
                )
                copy.description, copy.button_style = "Replace it", "danger"
            else:
                self.close()
                self._board.copy(source, destination, overwrite=taken is not None)

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
            is_about=lambda selected: list(selected) == [source],
        )

    # -- show --------------------------------------------------------------------

    def show(self, name: str) -> None:
        """Show what the server tells of a model, when it has told it."""
        self._open(widgets.HTML(line_html(f"asking for {name}…", is_secondary=True)))
        opened = self.box.children

        def came(details: ModelDetails) -> None:
            if self.box.children == opened:  # else something else was opened since
                self._show_details(name, details)

        self._board.show(name, came)

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
