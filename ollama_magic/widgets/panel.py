"""Panels that are open in this kernel: one a server, shown as often as wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from ollama_magic.client.client import OllamaClient
from ollama_magic.generation.session import current_session
from ollama_magic.render.model_listing import MODEL_COLUMNS
from ollama_magic.render.panel_html import line_html, notice_html
from ollama_magic.render.tables import Listing
from ollama_magic.render.theme import PANEL_CLASS
from ollama_magic.widgets.dialogs import Dialogs
from ollama_magic.widgets.job_list import Activity
from ollama_magic.widgets.jobs import error_lines
from ollama_magic.widgets.manager import ModelBoard, ModelRow, ServerLine
from ollama_magic.widgets.model_list import ModelList
from ollama_magic.widgets.parts import Looks, button, close_all, row, set_shown

_FIRST_ANSWER_S = 0.5
_panels: dict[tuple[str, bool], ModelPanel] = {}
"""By the server, and by whether a model can be chosen for a notebook in it."""


def panel(host: str | None = None) -> ModelPanel:
    """Return a panel that lists, pulls, copies, deletes, loads and shows models.

    Parameters
    ----------
    host
        Another server than that of this notebook, in any form that ``OLLAMA_HOST`` may
        have.

    Returns
    -------
    ModelPanel
        An ipywidgets widget: the last value of a cell, or a part of your own layout.
        The same one for the same server, until it is closed.

    Raises
    ------
    ConfigError
        The host cannot be used.
    """
    return open_panel(current_session().client(host))


def open_panel(
    client: OllamaClient,
    *,
    used: str = "",
    use: Callable[[str], None] | None = None,
) -> ModelPanel:
    """Return the panel of a server, a new one where there is none.

    Parameters
    ----------
    used
        The model that this notebook uses; empty text: none.
    use
        Makes a model that one.
    """
    from ollama_magic.widgets.panel import ModelPanel

    key = (client.host.base_url, use is not None)
    known = _panels.get(key)
    if known is not None and not known.is_closed:
        known.refresh(used)
        return known
    board = ModelBoard(client)
    board.set_used(used)
    board.refresh()
    # What is saved with the notebook is drawn now; a slow server is not waited for.
    board.wait_until_known(_FIRST_ANSWER_S)
    _panels[key] = ModelPanel(board, use=use)
    return _panels[key]


def close_panels() -> None:
    """Close all panels and end their threads."""
    while _panels:
        _panels.popitem()[1].close()


SUGGESTIONS = (
    "smollm2:135m",
    "qwen3:0.6b",
    "gemma3:1b",
    "llama3.2",
    "qwen3:4b",
    "gemma3:4b",
    "deepseek-r1:8b",
    "gpt-oss:20b",
    "nomic-embed-text",
)
"""Names that people pull first (https://ollama.com/search, November 2026)."""

_SEEN_AT_ONCE = 16

_EMPTY = (
    "No models yet.",
    "Write a name above and pull it; smollm2:135m is small. More names: "
    "https://ollama.com/search",
)
_STARTING = ("Start one for yourself in a cell: %ollama serve   then Refresh",)


class ModelPanel(widgets.VBox):
    """Models of one server; may be displayed as often as wanted.

    Parameters
    ----------
    board
        The state; it is the panel's own, and is closed with it.
    use
        Makes a model the one that the notebook's cells ask; None: it can't be chosen.
    """

    def __init__(
        self, board: ModelBoard, *, use: Callable[[str], None] | None = None
    ) -> None:
        self._board = board
        self._use = use
        self._drawing = threading.RLock()
        looks = Looks()
        self._server = widgets.HTML(
            layout=widgets.Layout(flex="1 1 auto"), style=looks.text
        )
        self._problem = widgets.HTML(layout=looks.plain, style=looks.text)
        self._notice = widgets.HTML(layout=looks.plain, style=looks.text)
        self._name = widgets.Combobox(
            placeholder="name of a model, such as qwen3:0.6b",
            description="Pull",
            ensure_option=False,
            options=SUGGESTIONS,
            style=looks.field,
            layout=widgets.Layout(width="360px", max_width="100%"),
        )
        self._pull = self._button("Pull", self._on_pull, style="primary")
        self._name.on_msg(self._on_key)
        self._activity = Activity(board, looks)
        self._list = ModelList(lambda: self._guard(self._draw_buttons), looks)
        self._dialogs = Dialogs(board, self._guard, looks)
        self._buttons = self._make_buttons()
        refresh = self._button("Refresh", board.refresh)
        super().__init__(
            [
                row(self._server, refresh, looks=looks),
                self._problem,
                row(self._name, self._pull, looks=looks),
                self._activity.box,
                self._notice,
                self._list.box,
                self._buttons,
                self._dialogs.box,
            ],
            layout=widgets.Layout(padding="4px 2px", overflow="hidden"),
            _dom_classes=(PANEL_CLASS,),
        )
        self._unsubscribe = board.subscribe(self._on_change)
        self.draw(_SEEN_AT_ONCE)
        board.notify()

    def close(self) -> None:
        """End what runs, and leave the page; a second time is harmless."""
        self._unsubscribe()
        self._board.close()
        self._list.close()
        for child in self.children:
            close_all(child)
        super().close()

    def refresh(self, used: str) -> None:
        """Ask the server anew; ``used`` is the model that the notebook uses."""
        self._board.set_used(used)
        self._board.refresh()

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._board.is_closed

    # -- buttons -----------------------------------------------------------------

    def _button(
        self, text: str, on_click: Callable[[], object], *, style: str = ""
    ) -> widgets.Button:
        like = getattr(self, "_first_button", None)
        made = button(text, lambda: self._guard(on_click), style=style, like=like)
        self._first_button = like or made
        return made

    def _guard(self, action: Callable[[], object]) -> None:
        """Do what a button is for; an error is shown in the panel."""
        with self._drawing:
            try:
                self._notice.value = ""
                action()
            except Exception as error:  # noqa: BLE001  (else only a log would tell)
                self._notice.value = notice_html(error_lines(error))

    def _make_buttons(self) -> widgets.HBox:
        self._one_only = [
            self._button("Show", lambda: self._dialogs.show(self._one())),
            self._button("Copy…", lambda: self._dialogs.ask_copy(self._one())),
        ]
        if self._use is not None:
            self._one_only.insert(0, self._button("Use", self._on_use))
        self._load = self._button("Load", self._on_load)
        self._unload = self._button("Unload", self._on_unload)
        self._delete = self._button("Delete…", self._on_delete)
        return row(*self._one_only, self._load, self._unload, self._delete)

    def _one(self) -> str:
        return self._list.selected[0].summary.name

    def _on_pull(self) -> None:
        if name := self._name.value.strip():
            self._board.pull(name)
            self._name.value = ""
        else:
            self._notice.value = notice_html(["Write the name of a model to pull."])

    def _on_key(self, _: object, content: dict[str, Any], __: object) -> None:
        if content.get("event") == "submit":  # Enter, in the field of the name
            self._guard(self._on_pull)

    def _on_use(self) -> None:
        assert self._use is not None
        name = self._one()
        self._use(name)
        self._board.set_used(name)

    def _on_load(self) -> None:
        for model in self._list.selected:
            if model.loaded is None:
                self._board.load(model.summary.name)

    def _on_unload(self) -> None:
        for model in self._list.selected:
            if model.loaded is not None:
                self._board.stop(model.summary.name)

    def _on_delete(self) -> None:
        self._dialogs.ask_delete([m.summary.name for m in self._list.selected])

    # -- drawing -----------------------------------------------------------------

    def _on_change(self) -> None:
        try:
            self.draw()
        except Exception as error:  # noqa: BLE001  (the thread goes on to tell)
            self._notice.value = notice_html(error_lines(error))

    def draw(self, most: int | None = None) -> None:
        """Show the board as it is, or only the first models of it.

        Called from the thread that tells of changes.
        """
        with self._drawing:
            if self.is_closed:
                return
            server, models = self._board.server, self._board.models
            self._server.value = line_html(_server_text(server), is_strong=True)
            self._problem.value = _problem_html(server, models)
            names = [m.summary.name for m in models]
            self._name.options = tuple(dict.fromkeys([*SUGGESTIONS, *names]))
            self._pull.disabled = server.state == "offline"
            self._activity.render(self._board.jobs)
            self._list.render(models, most)
            self._draw_buttons()

    def _draw_buttons(self) -> None:
        selected = self._list.selected
        for one in self._one_only:
            one.disabled = len(selected) != 1
        self._load.disabled = all(model.loaded for model in selected)
        self._unload.disabled = not any(model.loaded for model in selected)
        self._delete.disabled = not selected
        count = len(selected)
        self._delete.description = f"Delete {count}…" if count > 1 else "Delete…"
        set_shown(self._buttons, bool(self._board.models))
        self._dialogs.follow([model.summary.name for model in selected])

    # -- where widgets can't be shown ----------------------------------------------

    def summary(self, advice: str = "") -> Listing[Any]:
        """Return the models as a plain table, the server and advice under it."""
        models = [row.summary for row in self._board.models]
        note = "\n".join(filter(None, [_server_text(self._board.server), advice]))
        return Listing(models, MODEL_COLUMNS, _EMPTY[0], note=note)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401  (as its base)
        shown: Any = super()._repr_mimebundle_(**kwargs)
        data = shown[0] if isinstance(shown, tuple) else shown
        return {**data, **self.summary()._repr_mimebundle_()}


def _server_text(server: ServerLine) -> str:
    if server.state == "asking":
        return "asking the server…"
    if server.state == "offline":
        return f"no server at {server.url}" if server.url else "no server"
    kind = "embedded engine" if "embedded" in server.version else "Ollama"
    return f"{kind} {server.version} at {server.url}"


def _problem_html(server: ServerLine, models: tuple[ModelRow, ...]) -> str:
    if server.state == "offline":
        return notice_html((*server.problem, *_STARTING))
    if server.state == "asking":
        return line_html("looking for models…", is_secondary=True)
    return "" if models else notice_html(_EMPTY, is_problem=False)
