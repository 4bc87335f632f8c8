"""The model panel: one widget with a server, its models and what runs on them.

``%ollama panel`` and :func:`panel` open it. One panel is kept per server, API key and
notebook, and can be shown many times. Buttons return at once, and an error that they
raise is shown in the panel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import ipywidgets as widgets

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import find_model, require_capability
from ollama_magic.errors import short_interrupts
from ollama_magic.generation.session import current_session
from ollama_magic.render.listings import MODEL_COLUMNS
from ollama_magic.render.panel_html import line_html, notice_html
from ollama_magic.render.tables import Listing
from ollama_magic.render.text import visible_text
from ollama_magic.widgets.dialogs import Dialogs
from ollama_magic.widgets.jobs import JobList, error_lines
from ollama_magic.widgets.manager import ModelManager, ModelRow, ServerStatus
from ollama_magic.widgets.model_list import ModelList
from ollama_magic.widgets.parts import (
    SavedAsTable,
    SharedStyles,
    button,
    close_all,
    new_class,
    on_enter,
    row,
    set_shown,
)
from ollama_magic.widgets.picker import ModelPicker

_FIRST_REFRESH_S = 0.5
_SHOWN_FIRST = 16


class Suggestion(NamedTuple):
    """A popular model (https://ollama.com/search, November 2026)."""

    name: str
    text: str = ""
    """Its download, the memory that it takes with a short chat, what it can do."""


SUGGESTIONS = (
    Suggestion(
        "qwen3:0.6b", "0.5 GB, takes about 1 GB of memory · small: tools, thinking"
    ),
    Suggestion("llama3.2", "2.0 GB, takes about 3 GB of memory · chat, tools"),
    Suggestion("gemma3:4b", "3.3 GB, takes about 5 GB of memory · chat, images"),
    Suggestion(
        "nomic-embed-text", "0.3 GB, takes about 0.5 GB of memory · only embeddings"
    ),
    *map(
        Suggestion,
        (
            "smollm2:135m",
            "gemma3:1b",
            "qwen3:4b",
            "deepseek-r1:8b",
            "gpt-oss:20b",
        ),
    ),
)
_FIRST_MODELS = 4
"""So many are offered with a button while the server has no models."""

_EMPTY = (
    "No models yet.",
    "Pull one of these, or enter any name from https://ollama.com/search",
)
_OFFLINE_STEPS = ("Start a server from a cell: %ollama serve   then click Refresh",)

Use = Callable[[str, str], object]
"""Sets the default model: its name, and the host of a cloud model or empty text. It may
return a sentence that says so."""

_panels: dict[tuple[str, str | None], ModelPanel] = {}
"""The open panels by client identity and notebook; None for one without Use."""


@short_interrupts()
def panel(host: str | None = None) -> ModelPanel:
    """Return a panel that lists, pulls, copies, deletes, loads and shows models.

    Parameters
    ----------
    host
        Another server than that of this notebook, in any form that ``OLLAMA_HOST``
        accepts.

    Returns
    -------
    ModelPanel
        An ipywidgets widget: show it as the last value of a cell, or in a layout. The
        same widget is returned for the same server and API key until it is closed.

    Raises
    ------
    ConfigError
        The host is invalid.
    """
    return open_panel(current_session().client(host))


def open_panel(
    client: OllamaClient,
    *,
    notebook: str | None = None,
    default: str = "",
    use: Use | None = None,
    last_load_s: Callable[[str], float] = lambda _: 0.0,
) -> ModelPanel:
    """Return the open panel of a server, API key and notebook, or a new one.

    Parameters
    ----------
    notebook
        Identifies the notebook whose default model can be set; None if it cannot.
    default
        The default model of the notebook; may be empty.
    use
        Sets the default model of the notebook.
    last_load_s
        Returns how long a model last took to load; 0 if that is unknown.
    """
    key = (client.identity, notebook)
    known = _panels.get(key)
    if known is not None and not known.is_closed:
        known.refresh(default)
        return known
    manager = ModelManager(client, last_load_s=last_load_s)
    manager.set_default(default)
    manager.refresh()
    # The first drawing is saved with the notebook; a slow server is not waited for.
    manager.wait_for_first_refresh(_FIRST_REFRESH_S)
    _panels[key] = ModelPanel(manager, use=use)
    return _panels[key]


def close_panels() -> None:
    """Close all panels and end their threads."""
    while _panels:
        _panels.popitem()[1].close()


def _name_box() -> widgets.Combobox:
    """Return the box for the name of a model to pull."""
    return widgets.Combobox(
        placeholder="name of a model to pull, such as qwen3:0.6b",
        ensure_option=False,
        options=[one.name for one in SUGGESTIONS],
        layout=widgets.Layout(width="360px", max_width="100%"),
    )


class ModelPanel(SavedAsTable):
    """A panel for the models of one server; it may be displayed many times.

    Parameters
    ----------
    manager
        The state; it belongs to the panel and is closed with it.
    use
        None shows no button and no dropdown for it.
    """

    command = "%ollama panel"
    in_terminal = (
        "A terminal cannot show widgets; use %ollama "
        "pull NAME · cp SRC DST · rm NAME · load NAME · show NAME"
    )

    def __init__(self, manager: ModelManager, *, use: Use | None = None) -> None:
        self._manager = manager
        self._use = use
        self._drawing = threading.RLock()
        styles = SharedStyles()
        self._server = widgets.HTML(
            layout=widgets.Layout(flex="1 1 auto"), style=styles.text
        )
        self._problem = widgets.HTML(layout=styles.plain, style=styles.text)
        self._notice = widgets.HTML(layout=styles.plain, style=styles.text)
        self._picker = ModelPicker(
            lambda name: self._guard(lambda: self._on_use(name)), "Default model"
        )
        refresh = self._button("Refresh", self._on_refresh)
        self._check = self._button(
            "Check for updates", manager.check_updates, is_hidden_alone=True
        )
        self._check.tooltip = "Send the names of the models to registry.ollama.ai"
        self._name = _name_box()
        self._pull = self._button("Pull", self._on_pull, style="primary")
        on_enter(self._name, lambda: self._guard(self._on_pull))
        self._dialogs = Dialogs(manager, self._guard, styles)
        self._job_list = JobList(
            manager,
            styles,
            use=None if use is None else lambda n: self._guard(lambda: self._on_use(n)),
            try_it=lambda name: self._guard(lambda: self._dialogs.try_it(name)),
        )
        css_class = new_class()
        self._model_list = ModelList(
            css_class,
            lambda: self._guard(self._draw_buttons),
            styles,
            actions=self._make_row_actions(),
            sheet=self._dialogs.box,
        )
        self._bulk = self._make_bulk_actions()
        self._model_list.bar.children += (self._bulk,)
        self._suggestions = self._make_suggestions()
        pulling = (self._name, self._pull, self._check)
        header = [self._server, *([self._picker.box] if use else []), refresh]
        super().__init__(
            [
                row(*header, styles=styles),
                row(*pulling, styles=styles),
                self._problem,
                self._suggestions,
                self._job_list.box,
                self._notice,
                self._model_list.bar,
                self._model_list.box,
            ],
            css_class,
        )
        manager.subscribe(self._on_change)
        self.draw(_SHOWN_FIRST)
        manager.notify()

    def close(self) -> None:
        """End all jobs and remove the panel; calling it again does nothing."""
        self._manager.close()
        for child in self.children:
            close_all(child)
        super().close()

    def refresh(self, default: str) -> None:
        """Fetch the state of the server, and mark the default model."""
        self._manager.set_default(default)
        self._manager.refresh()

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._manager.is_closed

    # -- buttons -----------------------------------------------------------------

    def _button(
        self,
        text: str,
        on_click: Callable[[], object],
        *,
        style: str = "",
        is_hidden_alone: bool = False,
    ) -> widgets.Button:
        like = None if is_hidden_alone else getattr(self, "_first_button", None)
        made = button(text, lambda: self._guard(on_click), style=style, like=like)
        if not is_hidden_alone:
            self._first_button = like or made
        return made

    def _guard(self, action: Callable[[], object]) -> None:
        """Run what a button does; an error is shown in the panel."""
        with self._drawing:
            try:
                self._notice.value = ""
                action()
            except Exception as error:  # noqa: BLE001  (else only a log would say)
                self._notice.value = notice_html(error_lines(error))

    def _make_row_actions(self) -> widgets.HBox:
        """Return the buttons at the end of the selected row."""
        self._toggle_load = self._button("Load", self._on_load)
        buttons = [
            self._button("Show", lambda: self._dialogs.show(self._one())),
            self._toggle_load,
            self._button("Copy…", lambda: self._dialogs.ask_copy(self._one())),
            self._button("Delete…", self._on_delete),
        ]
        if self._use is not None:
            buttons.insert(0, self._button("Use", lambda: self._on_use(self._one())))
        made = widgets.HBox(buttons)
        made.add_class("ollama-actions")
        return made

    def _make_bulk_actions(self) -> widgets.HBox:
        """Return the buttons for several models."""
        self._load = self._button("Load", self._on_load)
        self._unload = self._button("Unload", self._on_unload)
        self._delete = self._button("Delete…", self._on_delete)
        return widgets.HBox([self._load, self._unload, self._delete])

    def _make_suggestions(self) -> widgets.VBox:
        """Return one row for each model that an empty server could begin with."""
        rows = []
        for one in SUGGESTIONS[:_FIRST_MODELS]:
            pull = self._button(f"Pull {one.name}", partial(self._pull_model, one.name))
            text = widgets.HTML(line_html(one.text, is_secondary=True))
            rows.append(widgets.HBox([pull, text]))
            rows[-1].add_class("ollama-suggestion")
        return widgets.VBox(rows)

    def _one(self) -> str:
        return self._model_list.selected[0].summary.name

    def _on_refresh(self) -> None:
        self._dialogs.close_question()
        self._manager.refresh()

    def _on_pull(self) -> None:
        if name := self._name.value.strip():
            self._pull_model(name)
            self._name.value = ""
        else:
            self._notice.value = notice_html(["Enter the name of a model to pull."])

    def _pull_model(self, name: str) -> None:
        self._manager.pull(name)

    def _on_use(self, name: str) -> None:
        assert self._use is not None
        try:
            installed = self._manager.installed
            model = find_model(name, installed)
            require_capability("completion", model, installed)
            said = self._use(name, model.cloud_host if model else "")
        finally:
            self._manager.notify()  # the dropdown shows the default again
        self._manager.set_default(name)
        if isinstance(said, str):
            self._notice.value = notice_html([said], is_problem=False)

    def _on_load(self) -> None:
        selected = self._model_list.selected
        if len(selected) == 1 and selected[0].loaded is not None:
            self._on_unload()
        for model in selected:
            if model.loaded is None:
                self._manager.load(model.summary.name)

    def _on_unload(self) -> None:
        for model in self._model_list.selected:
            if model.loaded is not None:
                self._manager.stop(model.summary.name)

    def _on_delete(self) -> None:
        self._dialogs.ask_delete([m.summary.name for m in self._model_list.selected])

    # -- drawing -----------------------------------------------------------------

    def _on_change(self) -> None:
        try:
            self.draw()
        except Exception as error:  # noqa: BLE001  (the notifier's thread continues)
            self._notice.value = notice_html(error_lines(error))

    def draw(self, most: int | None = None) -> None:
        """Draw the current state, or only its first models.

        Called in the thread of the notifier.
        """
        with self._drawing:
            if self.is_closed:
                return
            server, models = self._manager.server, self._manager.models
            self._server.value = line_html(_server_text(server), is_strong=True)
            self._problem.value = _problem_html(server, models)
            names = [m.summary.name for m in models]
            names = [name for name in names if visible_text(name) == name]
            suggested = [one.name for one in SUGGESTIONS]
            self._name.options = tuple(dict.fromkeys([*suggested, *names]))
            is_online = server.state == "online"
            self._pull.disabled = server.state == "offline"
            set_shown(self._suggestions, is_online and not models)
            set_shown(self._check, bool(models))
            self._job_list.render(self._manager.jobs)
            self._model_list.render(models, most)
            if self._use is not None:
                self._picker.render(
                    self._manager.installed,
                    self._manager.default,
                    self._manager.automatic,
                )
            self._draw_buttons()

    def _draw_buttons(self) -> None:
        selected = self._model_list.selected
        is_loaded = [model.loaded is not None for model in selected]
        self._toggle_load.description = "Unload" if all(is_loaded) else "Load"
        self._load.disabled = all(is_loaded)
        self._unload.disabled = not any(is_loaded)
        self._delete.disabled = not selected
        count = len(selected)
        self._delete.description = f"Delete {count}…" if count else "Delete…"
        set_shown(self._bulk, self._model_list.several.value)
        self._dialogs.on_selection([model.summary.name for model in selected])

    # -- without widgets ---------------------------------------------------------

    def summary(self, advice: str = "") -> Listing[Any]:
        """Return the models as a plain table, with the server and advice below it."""
        models = [row.summary for row in self._manager.models]
        note = "\n".join(filter(None, [_server_text(self._manager.server), advice]))
        return Listing(models, MODEL_COLUMNS, _EMPTY[0], note=note)


def _server_text(server: ServerStatus) -> str:
    if server.state == "connecting":
        return "contacting the server…"
    if server.state == "offline":
        return f"no server at {server.url}" if server.url else "no server"
    kind = "embedded engine" if "embedded" in server.version else "Ollama"
    return " ".join(filter(None, [kind, server.version, "at", server.url]))


def _problem_html(server: ServerStatus, models: tuple[ModelRow, ...]) -> str:
    if server.state == "offline":
        return notice_html((*server.problem, *_OFFLINE_STEPS))
    if server.state == "connecting":
        return line_html("listing models…", is_secondary=True)
    return "" if models else notice_html(_EMPTY, is_problem=False)
