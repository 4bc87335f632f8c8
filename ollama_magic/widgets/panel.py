"""The model panel: one widget with a server, its models and what runs on them.

``%ollama panel`` and :func:`panel` open it. One panel is kept per server, API key and
notebook, and can be shown many times. Buttons return at once, and an error that they
raise is shown in the panel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import require_capability
from ollama_magic.errors import short_interrupts
from ollama_magic.generation.session import current_session
from ollama_magic.render.model_listing import MODEL_COLUMNS
from ollama_magic.render.panel_html import line_html, notice_html
from ollama_magic.render.tables import Listing
from ollama_magic.render.theme import PANEL_CLASS
from ollama_magic.widgets.dialogs import Dialogs
from ollama_magic.widgets.manager import (
    Job,
    ModelManager,
    ModelRow,
    ServerStatus,
    error_lines,
)
from ollama_magic.widgets.model_list import ModelList
from ollama_magic.widgets.parts import SharedStyles, button, close_all, row, set_shown

_FIRST_REFRESH_S = 0.5
_SHOWN_FIRST = 16

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
"""Popular models (https://ollama.com/search, November 2026)."""

_EMPTY = (
    "No models yet.",
    "Enter a name below and pull it; smollm2:135m is small. Find more at "
    "https://ollama.com/search",
)
_OFFLINE_STEPS = ("Start a server from a cell: %ollama serve   then click Refresh",)

_CANCELLABLE = {"pull", "load"}
_STALLED = "stalled; wait, or cancel and retry to resume from here"

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
    use: Callable[[str], None] | None = None,
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
    """
    key = (client.identity, notebook)
    known = _panels.get(key)
    if known is not None and not known.is_closed:
        known.refresh(default)
        return known
    manager = ModelManager(client)
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


class ModelPanel(widgets.VBox):
    """A panel for the models of one server; it may be displayed many times.

    Parameters
    ----------
    manager
        The state; it belongs to the panel and is closed with it.
    use
        Sets the default model of the notebook; None shows no button for it.
    """

    def __init__(
        self, manager: ModelManager, *, use: Callable[[str], None] | None = None
    ) -> None:
        self._manager = manager
        self._use = use
        self._drawing = threading.RLock()
        styles = SharedStyles()
        self._server = widgets.HTML(
            layout=widgets.Layout(flex="1 1 auto"), style=styles.text
        )
        self._problem = widgets.HTML(layout=styles.plain, style=styles.text)
        self._notice = widgets.HTML(layout=styles.plain, style=styles.text)
        self._name = widgets.Combobox(
            placeholder="name of a model, such as qwen3:0.6b",
            description="Pull",
            ensure_option=False,
            options=SUGGESTIONS,
            style=styles.field,
            layout=widgets.Layout(width="360px", max_width="100%"),
        )
        self._pull = self._button("Pull", self._on_pull, style="primary")
        self._name.on_msg(self._on_key)
        self._job_list = _JobList(manager, styles)
        self._model_list = ModelList(lambda: self._guard(self._draw_buttons), styles)
        self._dialogs = Dialogs(manager, self._guard, styles)
        self._buttons = self._make_buttons()
        refresh = self._button("Refresh", manager.refresh)
        super().__init__(
            [
                row(self._server, refresh, styles=styles),
                self._problem,
                row(self._name, self._pull, styles=styles),
                self._job_list.box,
                self._notice,
                self._model_list.box,
                self._buttons,
                self._dialogs.box,
            ],
            layout=widgets.Layout(padding="4px 2px", overflow="hidden"),
            _dom_classes=(PANEL_CLASS,),
        )
        manager.subscribe(self._on_change)
        self.draw(_SHOWN_FIRST)
        manager.notify()

    def close(self) -> None:
        """End all jobs and remove the panel; calling it again does nothing."""
        self._manager.close()
        self._model_list.close()
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
        self, text: str, on_click: Callable[[], object], *, style: str = ""
    ) -> widgets.Button:
        like = getattr(self, "_first_button", None)
        made = button(text, lambda: self._guard(on_click), style=style, like=like)
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

    def _make_buttons(self) -> widgets.HBox:
        self._for_one_model = [
            self._button("Show", lambda: self._dialogs.show(self._selected_name())),
            self._button(
                "Copy…", lambda: self._dialogs.ask_copy(self._selected_name())
            ),
        ]
        if self._use is not None:
            self._for_one_model.insert(0, self._button("Use", self._on_use))
        self._load = self._button("Load", self._on_load)
        self._unload = self._button("Unload", self._on_unload)
        self._delete = self._button("Delete…", self._on_delete)
        return row(*self._for_one_model, self._load, self._unload, self._delete)

    def _selected_name(self) -> str:
        return self._model_list.selected[0].summary.name

    def _on_pull(self) -> None:
        if name := self._name.value.strip():
            self._manager.pull(name)
            self._name.value = ""
        else:
            self._notice.value = notice_html(["Enter the name of a model to pull."])

    def _on_key(self, _: object, content: dict[str, Any], __: object) -> None:
        if content.get("event") == "submit":  # Enter, in the name field
            self._guard(self._on_pull)

    def _on_use(self) -> None:
        assert self._use is not None
        (model,) = (selected.summary for selected in self._model_list.selected)
        installed = [listed.summary for listed in self._manager.models]
        require_capability("completion", model, installed)
        self._use(model.name)
        self._manager.set_default(model.name)

    def _on_load(self) -> None:
        for model in self._model_list.selected:
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
            self._name.options = tuple(dict.fromkeys([*SUGGESTIONS, *names]))
            self._pull.disabled = server.state == "offline"
            self._job_list.render(self._manager.jobs)
            self._model_list.render(models, most)
            self._draw_buttons()

    def _draw_buttons(self) -> None:
        selected = self._model_list.selected
        for one in self._for_one_model:
            one.disabled = len(selected) != 1
        self._load.disabled = all(model.loaded for model in selected)
        self._unload.disabled = not any(model.loaded for model in selected)
        self._delete.disabled = not selected
        count = len(selected)
        self._delete.description = f"Delete {count}…" if count > 1 else "Delete…"
        set_shown(self._buttons, bool(self._manager.models))
        self._dialogs.on_selection([model.summary.name for model in selected])

    # -- without widgets ---------------------------------------------------------

    def summary(self, advice: str = "") -> Listing[Any]:
        """Return the models as a plain table, with the server and advice below it."""
        models = [row.summary for row in self._manager.models]
        note = "\n".join(filter(None, [_server_text(self._manager.server), advice]))
        return Listing(models, MODEL_COLUMNS, _EMPTY[0], note=note)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401  (as its base)
        shown: Any = super()._repr_mimebundle_(**kwargs)
        data = shown[0] if isinstance(shown, tuple) else shown
        return {**data, **self.summary()._repr_mimebundle_()}


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


class _JobRow:
    """The row of one job: a progress bar, a line of text, and buttons."""

    def __init__(self, manager: ModelManager, job: Job) -> None:
        verb = "Unload" if job.action == "stop" else job.action.capitalize()
        # NB: not a Label, in which MathJax would typeset parts of a name.
        self._title = widgets.HTML(line_html(f"{verb} {job.model}"))
        self._bar = widgets.FloatProgress(
            min=0.0, max=1.0, layout=widgets.Layout(width="160px", flex="0 0 auto")
        )
        self._line = widgets.HTML(layout=widgets.Layout(flex="1 1 200px"))
        self._cancel = button("Cancel", lambda: self._job.cancel())  # noqa: PLW0108  (a retry is another job)
        self._retry = button("Retry", lambda: manager.retry(self._job))
        self._dismiss = button("Dismiss", lambda: manager.dismiss(self._job))
        children = [self._title, self._bar, self._line]
        children += [self._cancel, self._retry, self._dismiss]
        layout = widgets.Layout(flex_flow="row wrap", align_items="center")
        self.box = widgets.HBox(children, layout=layout)
        self.render(job)

    def render(self, job: Job) -> None:
        """Draw the current state of the job, or of its retry."""
        self._job = job
        state, is_running = job.state, job.state == "running"
        self._bar.value = job.share or 0.0
        self._bar.bar_style = _bar_style(job)
        set_shown(self._bar, job.action == "pull")
        if job.problem:
            self._line.value = notice_html(job.problem)
        else:
            text = job.line or "contacting the server…"
            text = f"{text} · {_STALLED}" if job.is_stalled else text
            self._line.value = line_html(text, is_secondary=not job.is_stalled)
        set_shown(self._cancel, is_running and job.action in _CANCELLABLE)
        set_shown(self._retry, state in {"failed", "cancelled"})
        set_shown(self._dismiss, not is_running)


def _bar_style(job: Job) -> str:
    if job.is_stalled or job.state == "cancelled":
        return "warning"
    return {"done": "success", "failed": "danger"}.get(job.state, "")


class _JobList:
    """All jobs, the newest at the bottom; one that shows details only if it failed."""

    def __init__(self, manager: ModelManager, styles: SharedStyles) -> None:
        self._manager = manager
        self._rows: dict[int, _JobRow] = {}
        self.box = widgets.VBox(layout=styles.plain)

    def render(self, jobs: Sequence[Job]) -> None:
        """Draw the jobs."""
        jobs = [job for job in jobs if job.action != "show" or job.problem]
        numbers = {job.number for job in jobs}
        for number in [number for number in self._rows if number not in numbers]:
            close_all(self._rows.pop(number).box)
        for job in jobs:
            if job.number in self._rows:
                self._rows[job.number].render(job)
            else:
                self._rows[job.number] = _JobRow(self._manager, job)
        boxes = tuple(self._rows[job.number].box for job in jobs)
        if self.box.children != boxes:
            self.box.children = boxes
