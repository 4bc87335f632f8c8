"""Jobs: a thread runs one, the panel shows it as a line, and any thread cancels it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets as widgets

from ollama_magic.client.background import ClosableStream
from ollama_magic.client.progress import TransferProgress
from ollama_magic.errors import OllamaMagicError, size_text
from ollama_magic.render.panel_html import line_html, notice_html
from ollama_magic.widgets.parts import SharedStyles, button, close_all, set_shown

if TYPE_CHECKING:
    from ollama_magic.widgets.manager import ModelManager

Action = Literal["pull", "copy", "delete", "load", "stop", "show", "check"]
Task = Callable[["Job"], str]
"""Does the work of a job, and returns the line that describes the outcome."""


class Job:
    """An action on a model. It runs in a thread, and any thread can cancel it."""

    def __init__(self, number: int, action: Action, model: str, task: Task) -> None:
        self.number = number
        self.action = action
        self.model = model
        self.task = task
        self.state: Literal["running", "done", "failed", "cancelled"] = "running"
        self.problem: tuple[str, ...] = ()
        """The lines of the error that ended the job."""
        self.transfer: TransferProgress | None = None
        self.waits = ""
        """What it does while it shows no transfer; the seconds are added."""
        self.is_cancelled = False
        self._began = time.monotonic()
        self._outcome = ""
        self._stream: ClosableStream[Any] | None = None
        self._lock = threading.Lock()

    @property
    def line(self) -> str:
        """The progress or the outcome, in one line."""
        if self.state != "running":
            return self._outcome
        if self.transfer is not None:
            return self.transfer.line()
        return self.waits.format(f"{time.monotonic() - self._began:.0f} s")

    @property
    def share(self) -> float | None:
        """The completed share, between 0 and 1; None if unknown."""
        if self.state == "done":
            return 1.0
        return self.transfer.share if self.transfer else None

    @property
    def is_stalled(self) -> bool:
        """Whether a transfer has received nothing for a while."""
        is_running = self.state == "running"
        return is_running and self.transfer is not None and self.transfer.is_stalled

    def open(self, stream: ClosableStream[Any]) -> ClosableStream[Any]:
        """Return the stream, which :meth:`cancel` closes from now on."""
        with self._lock:
            self._stream = stream
            is_too_late = self.is_cancelled
        if is_too_late:
            stream.close()
        return stream

    def cancel(self) -> None:
        """Cancel the job if it is running; the server keeps what a pull has fetched."""
        with self._lock:
            if self.state != "running":
                return
            self.is_cancelled = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def run(self) -> None:
        """Run the job to its end; an error becomes a part of the job."""
        outcome = ""
        problem: tuple[str, ...] = ()
        try:
            outcome = self.task(self)
        except Exception as error:  # noqa: BLE001  (the panel shows it)
            problem = error_lines(error)
        with self._lock:
            if not problem:
                self._outcome, self.state = outcome, "done"
            elif self.is_cancelled:
                self._outcome, self.state = self._cancelled_text(), "cancelled"
            else:
                self.problem, self.state = problem, "failed"

    def _cancelled_text(self) -> str:
        completed_bytes = self.transfer.completed_bytes if self.transfer else 0
        if not completed_bytes:
            return "cancelled"
        return f"cancelled at {size_text(completed_bytes)}; pull it again to resume"


def error_lines(error: Exception) -> tuple[str, ...]:
    """Return the lines of an error; for a bug, its type and text."""
    if isinstance(error, OllamaMagicError):
        return tuple(error.lines())
    return (f"{type(error).__name__}: {error}",)


# -- the jobs in the panel -----------------------------------------------------

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
