"""The jobs in the panel: one line each, with a bar for a transfer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as widgets

from ollama_magic.render.panel_html import line_html, notice_html
from ollama_magic.widgets.job import Job
from ollama_magic.widgets.manager import ModelManager
from ollama_magic.widgets.parts import SharedStyles, button, close_all, set_shown

_CANCELLABLE = {"pull", "load"}
_VERBS = {"stop": "Unload", "check": "Check"}
_STALLED = "stalled; wait, or cancel and retry to resume from here"


class JobList:
    """All jobs, the newest at the bottom; one that shows details only if it failed.

    Parameters
    ----------
    use, try_it
        What the buttons of a finished pull do with its model; ``use`` is None if there
        is no notebook whose default model could be set.
    """

    def __init__(
        self,
        manager: ModelManager,
        styles: SharedStyles,
        *,
        use: Callable[[str], None] | None,
        try_it: Callable[[str], None],
    ) -> None:
        self._manager = manager
        self._use, self._try_it = use, try_it
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
                made = _JobRow(self._manager, job, self._use, self._try_it)
                self._rows[job.number] = made
        boxes = tuple(self._rows[job.number].box for job in jobs)
        if self.box.children != boxes:
            self.box.children = boxes


class _JobRow:
    """The row of one job: a progress bar, a line of text, and buttons."""

    def __init__(
        self,
        manager: ModelManager,
        job: Job,
        use: Callable[[str], None] | None,
        try_it: Callable[[str], None],
    ) -> None:
        verb = _VERBS.get(job.action, job.action.capitalize())
        name = job.model
        # NB: not a Label, in which MathJax would typeset parts of a name.
        self._title = widgets.HTML(line_html(f"{verb} {name}"))
        self._bar = widgets.FloatProgress(
            min=0.0, max=1.0, layout=widgets.Layout(width="150px")
        )
        self._line = widgets.HTML()
        self._cancel = self._button("Cancel", lambda: self._job.cancel())  # noqa: PLW0108  (a retry is another job)
        self._retry = self._button("Retry", lambda: manager.retry(self._job))
        self._dismiss = self._button("Dismiss", lambda: manager.dismiss(self._job))
        self._for_pulled = [self._button("Try it", lambda: try_it(name))]
        if use is not None:
            self._for_pulled.insert(0, self._button("Use", lambda: use(name)))
        buttons = [self._cancel, self._retry, *self._for_pulled, self._dismiss]
        children = [self._title, self._bar, self._line, widgets.HBox(buttons)]
        self.box = widgets.HBox(children)
        self.box.add_class("ollama-job")
        self.render(job)

    def _button(self, text: str, on_click: Callable[[], object]) -> widgets.Button:
        made = button(text, on_click)
        made.add_class("ollama-small")
        return made

    def render(self, job: Job) -> None:
        """Draw the current state of the job, or of its retry."""
        self._job = job
        state, is_running = job.state, job.state == "running"
        self._bar.value = job.share or 0.0
        self._bar.bar_style = _bar_style(job)
        has_bar = job.action == "pull" and not job.problem
        set_shown(self._bar, has_bar)
        self.box.remove_class("ollama-wide")
        if not has_bar:
            self.box.add_class("ollama-wide")
        if job.problem:
            self._line.value = notice_html(job.problem)
        else:
            text = job.line or "contacting the server…"
            text = f"{text} · {_STALLED}" if job.is_stalled else text
            self._line.value = line_html(text, is_secondary=not job.is_stalled)
        set_shown(self._cancel, is_running and job.action in _CANCELLABLE)
        set_shown(self._retry, state in {"failed", "cancelled"})
        set_shown(self._dismiss, not is_running)
        for one in self._for_pulled:
            set_shown(one, job.action == "pull" and state == "done")


def _bar_style(job: Job) -> str:
    if job.is_stalled or job.state == "cancelled":
        return "warning"
    return {"done": "success", "failed": "danger"}.get(job.state, "")
