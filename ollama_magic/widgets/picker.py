"""A dropdown that sets the default model of the notebook.

The panel has it in its header, and ``%ollama use`` without a name shows it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
from ipywidgets.widgets.widget_description import DescriptionStyle

from ollama_magic.client.models import ModelSummary, canonical
from ollama_magic.errors import size_text
from ollama_magic.render.listings import MODEL_COLUMNS
from ollama_magic.render.panel_html import line_html, notice_html, panel_style_html
from ollama_magic.render.tables import Listing
from ollama_magic.render.text import visible_text
from ollama_magic.widgets.jobs import error_lines
from ollama_magic.widgets.parts import SavedAsTable, new_class

_LABEL = "Default model of this notebook"
_DULL = {"completion", "insert"}


class ModelPicker:
    """The dropdown, as :attr:`box`.

    A choice arrives as a position, so another list of models gets another dropdown.

    Parameters
    ----------
    on_choice
        Called with the name that the user chose.
    description
        What is shown before the dropdown.
    """

    def __init__(self, on_choice: Callable[[str], None], description: str = "") -> None:
        self._description = description
        self._on_choice = on_choice
        self._names: tuple[str, ...] = ()
        self._labels: tuple[str, ...] = ()
        self._layout = widgets.Layout(width="400px", max_width="100%")
        self._style = DescriptionStyle(description_width="initial")
        self.box = widgets.HBox(layout=widgets.Layout(align_items="center"))

    def render(
        self, models: Sequence[ModelSummary], default: str, automatic: str = ""
    ) -> None:
        """Draw the models that can chat, and select the default model.

        Parameters
        ----------
        automatic
            The model that is used if there is no default.
        """
        able = [model for model in models if model.can_chat]
        names = tuple(model.name for model in able)
        wanted = canonical(default) if default else ""
        index = next((i for i, n in enumerate(names) if canonical(n) == wanted), None)
        labels = tuple(map(_label, able))
        if index is None:  # a default that is not installed is shown too
            none = f"automatic: {automatic}" if automatic else "automatic"
            first = visible_text(f"{default} (not installed)" if default else none)
            names, labels, index = ("", *names), (first, *labels), 0
        if (names, labels) != (self._names, self._labels) or not self.box.children:
            self._names, self._labels = names, labels
            self._replace(index)
        (dropdown,) = self.box.children
        if dropdown.index != index:
            dropdown.unobserve(self._on_index, "index")
            dropdown.index = index
            dropdown.observe(self._on_index, "index")

    def _replace(self, index: int) -> None:
        dropdown = widgets.Dropdown(
            options=self._labels,
            index=index,
            description=self._description,
            tooltip=_LABEL,
            layout=self._layout,
            style=self._style,
        )
        dropdown.observe(self._on_index, "index")
        old, self.box.children = self.box.children, (dropdown,)
        for one in old:
            one.close()

    def _on_index(self, change: dict[str, Any]) -> None:
        if name := self._names[change["new"]]:
            self._on_choice(name)


def _label(model: ModelSummary) -> str:
    size = "cloud" if model.cloud_host else size_text(model.size_bytes)
    able = ", ".join(one for one in model.capabilities if one not in _DULL)
    return visible_text(" · ".join(filter(None, [model.name, size, able])))


class ModelChoice(SavedAsTable):
    """What ``%ollama use`` without a name shows: the dropdown and what was chosen.

    Parameters
    ----------
    use
        Sets the default model, and returns a sentence that says so.
    """

    command = "%ollama use"
    in_terminal = "Choose one: %ollama use NAME"

    def __init__(
        self, models: Sequence[ModelSummary], default: str, use: Callable[[str], str]
    ) -> None:
        self._models, self._use = models, use
        self._said = widgets.HTML()
        self._picker = ModelPicker(self._on_choice)
        self._picker.render(models, default)
        title = widgets.HTML(panel_style_html() + line_html(_LABEL, is_strong=True))
        super().__init__([title, self._picker.box, self._said], new_class())

    def _on_choice(self, name: str) -> None:
        try:
            self._said.value = line_html(self._use(name), is_secondary=True)
        except Exception as error:  # noqa: BLE001  (else only a log would say)
            self._said.value = notice_html(error_lines(error))

    def summary(self, advice: str = "") -> Listing[ModelSummary]:
        """Return the models to choose from as a table, with advice below it."""
        able = [model for model in self._models if model.can_chat]
        return Listing(able, MODEL_COLUMNS, "No model here can chat.", note=advice)
