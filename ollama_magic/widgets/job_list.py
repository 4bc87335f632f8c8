"""The jobs in the panel: one row each, with its progress and its buttons.

``ModelPanel`` creates the list and renders it at every change. A job that shows a
model's details only appears here if it failed.
"""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets

from ollama_magic.render.panel_html import line_html, notice_html
from ollama_magic.widgets.jobs import Job
from ollama_magic.widgets.manager import ModelManager
from ollama_magic.widgets.parts import SharedStyles, button, close_all, set_shown

_VERBS = {
    "pull": "Pull",
    "copy": "Copy",
    "delete": "Delete",
    "load": "Load",
    "stop": "Unload",
    "show": "Show",
}
_CANCELLABLE = {"pull", "load"}
_STALLED = "stalled; wait, or cancel and retry to resume from here"


class _JobRow:
    """The row of one job: a progress bar, a line of text, and buttons."""

    def __init__(self, manager: ModelManager, job: Job) -> None:
        number = job.number
        # NB: not a Label, in which MathJax would typeset parts of a name.
        self._title = widgets.HTML(line_html(f"{_VERBS[job.action]} {job.model}"))
        self._bar = widgets.FloatProgress(
            min=0.0, max=1.0, layout=widgets.Layout(width="160px", flex="0 0 auto")
        )
        self._line = widgets.HTML(layout=widgets.Layout(flex="1 1 200px"))
        self._cancel = button("Cancel", lambda: manager.cancel(number))
        self._retry = button("Retry", lambda: manager.retry(number))
        self._dismiss = button("Dismiss", lambda: manager.dismiss(number))
        children = [self._title, self._bar, self._line]
        children += [self._cancel, self._retry, self._dismiss]
        layout = widgets.Layout(flex_flow="row wrap", align_items="center")
        self.box = widgets.HBox(children, layout=layout)
        self.render(job)

    def render(self, job: Job) -> None:
        """Draw the current state of the job."""
        is_running = job.state == "running"
        self._bar.value = job.share or 0.0
        self._bar.bar_style = _bar_style(job)
        set_shown(self._bar, job.action == "pull")
        if job.problem:
            self._line.value = notice_html(job.problem)
        else:
            text = job.line or "waiting for the server…"
            text = f"{text} · {_STALLED}" if job.is_stalled else text
            self._line.value = line_html(text, is_secondary=not job.is_stalled)
        set_shown(self._cancel, is_running and job.action in _CANCELLABLE)
        set_shown(self._retry, job.state in {"failed", "cancelled"})
        set_shown(self._dismiss, not is_running)


def _bar_style(job: Job) -> str:
    if job.is_stalled or job.state == "cancelled":
        return "warning"
    return {"done": "success", "failed": "danger"}.get(job.state, "")


class JobList:
    """All jobs, the newest at the bottom."""

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
