"""The list of models: filter, order, selection, and a button over each row.

``ModelPanel`` creates the list and renders it at every change. The rows are one HTML
table, and one ``ToggleButtons`` widget lies over it, with a button for each row: a
widget for each model would cost a browser 2 ms, and each letter of the filter again.

A click arrives as a position. Each list of models has buttons of its own, which are
closed when the list changes, so a click never applies to another model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from ollama_magic.client.actions import disk_bytes
from ollama_magic.client.models import LoadedModel
from ollama_magic.errors import size_text
from ollama_magic.render.panel_html import (
    COLUMNS,
    ROW_PX,
    TableRow,
    line_html,
    model_table_html,
    panel_style_html,
    selection_html,
)
from ollama_magic.render.tables import age
from ollama_magic.render.text import counted, visible_text
from ollama_magic.widgets.manager import ModelRow
from ollama_magic.widgets.parts import SharedStyles, row

_EVERY_MODEL_HAS = {"completion", "insert"}
"""Capabilities that are not shown, since they tell nothing."""

_ORDERS: tuple[tuple[Callable[[ModelRow], object], bool], ...] = (
    (lambda r: r.summary.name.lower(), False),
    (lambda r: r.summary.size_bytes, True),
    (lambda r: r.loaded.size_bytes if r.loaded else 0, True),
    (lambda r: ", ".join(_capabilities(r)), True),
    (lambda r: (_billions(r.summary.parameter_size), r.summary.name), True),
    (lambda r: r.summary.modified_at, True),
)
"""How each column sorts, and whether its largest value comes first."""
_NEWEST_FIRST = 5


class ModelList:
    """Shows the models and holds the selection.

    Parameters
    ----------
    panel_class
        The CSS class of this panel alone.
    on_change
        Called after the selection, the filter or the order has changed.
    actions
        The widget that is shown at the end of a selected row.
    """

    def __init__(
        self,
        panel_class: str,
        on_change: Callable[[], None],
        styles: SharedStyles,
        *,
        actions: widgets.Box,
        sheet: widgets.Box,
    ) -> None:
        self._panel_class = panel_class
        self._on_change = on_change
        self._actions = actions
        self._rows: Sequence[ModelRow] = ()
        self._most: int | None = None
        self._shown: list[ModelRow] = []
        self._selected: set[str] = set()
        self._order, self._is_reversed = _NEWEST_FIRST, True
        self._button_layout = widgets.Layout()
        self._button_style = widgets.ToggleButtonsStyle()
        self.filter = widgets.Text(
            placeholder="Filter by name", layout=widgets.Layout(width="210px")
        )
        self.several = widgets.ToggleButton(
            description="Select several",
            tooltip="A click on a row then adds it to the selection",
            layout=widgets.Layout(width="auto"),
        )
        self._total = widgets.HTML(layout=styles.plain, style=styles.text)
        self.bar = row(self.filter, self._total, self.several)
        style = widgets.HTML(panel_style_html(), layout=styles.plain, style=styles.text)
        self._marks = widgets.HTML(layout=styles.plain, style=styles.text)
        self._table = widgets.HTML(layout=styles.plain, style=styles.text)
        self._buttons = self._make_buttons([])
        self._heads = [self._make_head(n) for n in range(len(COLUMNS))]
        head = widgets.HBox(self._heads, layout=styles.plain)
        head.add_class("ollama-head")
        self._body = widgets.Box(layout=styles.plain)
        self._body.add_class("ollama-rows")
        self.box = widgets.VBox(
            [head, self._body, self._marks, sheet, style],
            layout=widgets.Layout(max_height="460px", overflow="hidden auto"),
        )
        self.box.add_class("ollama-list")
        self._put_buttons()
        self.filter.observe(lambda _: self._on_order(), "value")
        self.several.observe(self._on_several, "value")

    @property
    def selected(self) -> tuple[ModelRow, ...]:
        """The models that are shown and selected, top to bottom."""
        return tuple(r for r in self._shown if r.summary.name in self._selected)

    def render(self, rows: Sequence[ModelRow], most: int | None = None) -> None:
        """Draw the models; a model stays selected as long as it exists.

        Parameters
        ----------
        most
            Draw only this many, those that are visible; the others follow.
        """
        self._rows, self._most = rows, most
        self._draw()

    # -- drawing -----------------------------------------------------------------

    def _make_head(self, number: int) -> widgets.Button:
        head = widgets.Button(
            description=COLUMNS[number],
            tooltip=f"Sort by {COLUMNS[number].lower()}",
            layout=self._button_layout,
        )
        head.on_click(lambda _: self._on_head(number))
        return head

    def _make_buttons(self, table: Sequence[TableRow]) -> widgets.ToggleButtons:
        made = widgets.ToggleButtons(
            options=[visible_text(row.name) for row in table],
            tooltips=[visible_text(row.text) for row in table],
            index=None,
            layout=self._button_layout,
            style=self._button_style,
        )
        made.on_msg(self._on_click)
        return made

    def _put_buttons(self) -> None:
        self._body.children = (self._table, self._buttons, self._actions)

    def _draw(self) -> None:
        wanted = self.filter.value.strip().lower()
        rows = [row for row in self._rows if wanted in row.summary.name.lower()]
        rows.sort(key=_ORDERS[self._order][0], reverse=self._is_reversed)  # type: ignore[arg-type]
        self._shown = rows[: self._most]
        self._selected &= {row.summary.name for row in rows}
        largest = max((row.summary.size_bytes for row in self._rows), default=0)
        table = [_table_row(row, largest) for row in self._shown]
        # NB: a tooltip that changes, such as an age, needs no new buttons.
        if self._buttons.options != tuple(visible_text(row.name) for row in table):
            old, self._buttons = self._buttons, self._make_buttons(table)
            self._put_buttons()
            old.close()
        self._table.value = model_table_html(table)
        self._total.value = line_html(self._total_text(), is_secondary=True)
        for number, head in enumerate(self._heads):
            arrow = " ▼" if self._is_reversed else " ▲"
            mark = arrow if number == self._order else ""
            head.description = f"{COLUMNS[number]}{mark}"
        for part in (self.box, self.bar):
            part.layout.display = None if self._rows else "none"
        self._draw_selection()

    def _draw_selection(self) -> None:
        chosen = [r.summary.name in self._selected for r in self._shown]
        numbers = [number for number, is_chosen in enumerate(chosen) if is_chosen]
        names = ", ".join(self._shown[number].summary.name for number in numbers)
        text = f"selected: {names}" if names else ""
        self._marks.value = selection_html(self._panel_class, numbers, text)
        is_one = len(numbers) == 1 and not self.several.value
        if is_one:
            self._actions.layout.top = f"{numbers[0] * ROW_PX}px"
        self._actions.layout.display = None if is_one else "none"

    def _total_text(self) -> str:
        size_bytes = disk_bytes(row.summary for row in self._rows)
        count = counted(len(self._rows), "model")
        if self._most is None and len(self._shown) != len(self._rows):
            count = f"{len(self._shown)} of {count}"
        return f"{count}, {size_text(size_bytes)} on disk"

    # -- events ------------------------------------------------------------------

    def _on_click(self, buttons: widgets.ToggleButtons, content: Any, _: Any) -> None:  # noqa: ANN401  (a message)
        if content.get("event") != "click" or buttons.index is None:
            return
        if buttons is self._buttons:
            self.click(self._shown[buttons.index].summary.name)

    def click(self, name: str) -> None:
        """Select a model, or deselect it; alone, or in addition to the others."""
        was_selected = name in self._selected
        if not self.several.value:
            self._selected.clear()
        self._selected ^= {name} if self.several.value or not was_selected else set()
        self._on_selection()
        if self._actions.layout.display is None:
            self._actions.children[0].focus()  # so that Tab goes on from there

    def _on_selection(self) -> None:
        self._draw_selection()
        self._on_change()

    def _on_several(self, change: dict[str, Any]) -> None:
        if change["new"]:
            self.box.add_class("ollama-several")
        else:
            self.box.remove_class("ollama-several")
            self._selected.clear()
        self._on_selection()

    def _on_head(self, number: int) -> None:
        is_same = number == self._order
        self._is_reversed = not self._is_reversed if is_same else _ORDERS[number][1]
        self._order = number
        self._on_order()

    def _on_order(self) -> None:
        self._draw()
        self._on_change()


def _table_row(row: ModelRow, largest: int) -> TableRow:
    model, is_cloud = row.summary, bool(row.summary.cloud_host)
    share = model.size_bytes / largest if largest else 0.0
    marks = ("default",) * row.is_default + ("update available",) * row.is_outdated
    facts = (model.parameter_size, model.quantization_level)
    return TableRow(
        name=model.name,
        marks=marks,
        is_default=row.is_default,
        size="cloud" if is_cloud else size_text(model.size_bytes),
        size_share=None if is_cloud else share,
        memory=memory_text(row.loaded),
        gpu_share=_gpu_share(row.loaded),
        capabilities=_capabilities(row),
        parameters=" · ".join(filter(None, facts)),
        modified=age(model.modified_at).text,
    )


def _capabilities(row: ModelRow) -> tuple[str, ...]:
    return tuple(one for one in row.summary.capabilities if one not in _EVERY_MODEL_HAS)


def _billions(text: str) -> float:
    """Return a count of parameters, as Ollama writes it: ``3.2B``, ``135M``.

    Examples
    --------
    >>> _billions("3.2B"), _billions("135M"), _billions("?")
    (3.2, 0.135, 0.0)
    """
    scales = {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}
    try:
        return float(text[:-1]) * scales[text[-1:].upper()]
    except (ValueError, KeyError):
        return 0.0


def _gpu_share(loaded: LoadedModel | None) -> float | None:
    if loaded is None:
        return None
    return loaded.size_vram_bytes / loaded.size_bytes if loaded.size_bytes else 0.0


def memory_text(loaded: LoadedModel | None) -> str:
    """Return how much memory a model takes, and where; empty if it is not loaded."""
    share = _gpu_share(loaded)
    if loaded is None or share is None:
        return ""
    where = "CPU" if not share else "GPU" if share >= 1 else f"{share:.0%} GPU"
    return f"{size_text(loaded.size_bytes)}, {where}"
