"""The list of models: filter, sort order, selection, and a table beside the names.

``ModelPanel`` creates the list and renders it at every change. Each model keeps one
checkbox as long as it exists: a click always applies to the name that was clicked, even
if the list changes meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import ipywidgets as widgets

from ollama_magic.client.actions import disk_bytes
from ollama_magic.client.models import LoadedModel
from ollama_magic.client.progress import size_text
from ollama_magic.render.panel_html import ROW_PX, TableRow, line_html, model_table_html
from ollama_magic.render.text import counted, visible_text
from ollama_magic.widgets.manager import ModelRow
from ollama_magic.widgets.parts import SharedStyles, row

_PLAIN = {"description_width": "initial"}
_PERIODS = (("year", 365), ("month", 30), ("week", 7), ("day", 1))

_SORTS: dict[str, tuple[Callable[[ModelRow], object], bool]] = {
    "newest first": (lambda r: r.summary.modified_at, True),
    "oldest first": (lambda r: r.summary.modified_at, False),
    "name": (lambda r: r.summary.name.lower(), False),
    "largest first": (lambda r: r.summary.size_bytes, True),
    "smallest first": (lambda r: r.summary.size_bytes, False),
    "loaded first": (lambda r: r.loaded is not None, True),
}


class ModelList:
    """Shows the models and holds the selection.

    Parameters
    ----------
    on_change
        Called after the selection, the filter or the order has changed.
    """

    def __init__(self, on_change: Callable[[], None], styles: SharedStyles) -> None:
        self._on_change = on_change
        self._rows: Sequence[ModelRow] = ()
        self._most: int | None = None
        self._boxes: dict[str, widgets.Checkbox] = {}
        self._is_setting = False
        self._name_layout = widgets.Layout(
            height=f"{ROW_PX}px", width="auto", margin="0"
        )
        self._filter = widgets.Text(
            placeholder="Filter by name",
            description="Filter",
            style=styles.field,
            layout=widgets.Layout(width="210px"),
        )
        self._sort = widgets.Dropdown(
            options=list(_SORTS),
            description="Sort",
            style=_PLAIN,
            layout=widgets.Layout(width="160px"),
        )
        self._all = self._checkbox("Select all shown", _PLAIN)
        self._name_style = self._all.style  # one for all, so that a hundred are cheap
        self._total = widgets.HTML(layout=styles.plain, style=styles.text)
        self._names = widgets.VBox(
            layout=widgets.Layout(
                flex="0 1 auto",
                overflow="hidden",
                min_width="110px",
                max_width="40%",
                padding="0 12px 0 0",
            )
        )
        self._table = widgets.HTML(
            layout=widgets.Layout(margin="0", width="100%"), style=styles.text
        )
        table = widgets.Box(
            [self._table],
            layout=widgets.Layout(flex="1 1 0", min_width="0", overflow="auto hidden"),
        )
        # NB: children stretched to this height would scroll separately.
        both = widgets.HBox(
            [self._names, table],
            layout=widgets.Layout(
                max_height="440px", overflow="hidden auto", align_items="flex-start"
            ),
        )
        head = row(self._filter, self._sort, self._total, styles=styles)
        self.box = widgets.VBox([head, both])
        self._filter.observe(lambda _: self._on_order(), "value")
        self._sort.observe(lambda _: self._on_order(), "value")
        self._all.observe(self._on_all, "value")

    @property
    def selected(self) -> tuple[ModelRow, ...]:
        """The models that are shown and ticked, top to bottom."""
        return tuple(r for r in self._shown() if self._boxes[r.summary.name].value)

    def render(self, rows: Sequence[ModelRow], most: int | None = None) -> None:
        """Draw the models; a model stays selected as long as it exists.

        Parameters
        ----------
        most
            Draw only this many, those that are visible: each one costs a message to
            the browser, and the others can follow.
        """
        self._rows = rows
        self._most = most
        names = {row.summary.name for row in self._shown()}
        names |= {row.summary.name for row in rows if most is None}
        for name in [name for name in self._boxes if name not in names]:
            self._boxes.pop(name).close()
        for name in names - set(self._boxes):
            self._boxes[name] = box = self._checkbox(name, self._name_style)
            box.observe(self._on_tick, "value")
        self._draw()

    def close(self) -> None:
        """Close all checkboxes, also those that the filter hides."""
        for box in self._boxes.values():
            box.close()
        self._boxes.clear()

    # -- drawing -----------------------------------------------------------------

    def _checkbox(self, text: str, style: object) -> widgets.Checkbox:
        return widgets.Checkbox(
            value=False,
            description=visible_text(text),
            tooltip=visible_text(text),
            indent=False,
            layout=self._name_layout,
            style=style,
        )

    def _shown(self) -> list[ModelRow]:
        wanted = self._filter.value.strip().lower()
        key, is_reversed = _SORTS[self._sort.value]
        rows = [row for row in self._rows if wanted in row.summary.name.lower()]
        rows.sort(key=key, reverse=is_reversed)  # type: ignore[arg-type]
        return rows[: self._most]

    def _draw(self) -> None:
        shown = self._shown()
        boxes = (self._all, *(self._boxes[row.summary.name] for row in shown))
        if self._names.children != boxes:
            self._names.children = boxes
        largest = max((row.summary.size_bytes for row in self._rows), default=0)
        self._table.value = model_table_html([_table_row(r, largest) for r in shown])
        self._total.value = line_html(self._total_text(shown), is_secondary=True)
        self.box.layout.display = None if self._rows else "none"

    def _total_text(self, shown: Sequence[ModelRow]) -> str:
        size_bytes = disk_bytes(row.summary for row in self._rows)
        count = counted(len(self._rows), "model")
        if len(shown) != len(self._rows):
            count = f"{len(shown)} of {count}"
        return f"{count}, {size_text(size_bytes)} on disk"

    def _on_order(self) -> None:
        self._draw()
        self._on_change()

    def _on_tick(self, _: object) -> None:
        if not self._is_setting:
            self._on_change()

    def _on_all(self, change: dict[str, object]) -> None:
        if not self._is_setting:
            self._set_all(bool(change["new"]))
            self._on_change()

    def _set_all(self, is_ticked: bool) -> None:
        shown = {row.summary.name for row in self._shown()}
        self._is_setting = True
        try:
            self._all.value = is_ticked
            for name, box in self._boxes.items():
                if name in shown:
                    box.value = is_ticked
        finally:
            self._is_setting = False


def _table_row(row: ModelRow, largest: int) -> TableRow:
    model = row.summary
    default = ("default",) if row.is_default else ()
    return TableRow(
        name=model.name,
        size="cloud" if model.cloud_host else size_text(model.size_bytes),
        size_share=model.size_bytes / largest if largest else 0.0,
        parameters=model.parameter_size,
        quantization=model.quantization_level,
        modified=ago_text(model.modified_at),
        modified_at=model.modified_at[:19].replace("T", " "),
        capabilities=(*default, *model.capabilities),
        memory=memory_text(row.loaded),
        gpu_share=_gpu_share(row.loaded),
    )


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


def ago_text(timestamp: str, now: datetime | None = None) -> str:
    """Return how long ago a timestamp was: ``3 days ago``.

    Examples
    --------
    >>> ago_text("2026-11-20T10:00:00.1234567Z", datetime(2026, 11, 23, 12, tzinfo=UTC))
    '3 days ago'
    """
    try:
        # NB: Python cannot parse nine decimals, and a day does not need them.
        then = datetime.fromisoformat(timestamp[:19]).replace(tzinfo=UTC)
    except ValueError:
        return ""
    days = ((now or datetime.now(UTC)) - then).days
    for period, length in _PERIODS:
        if count := days // length if days > 0 else 0:
            return f"{counted(count, period)} ago"
    return "today"
