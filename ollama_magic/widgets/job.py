"""One thing that is done to a model, from its beginning to its end or its error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from ollama_magic.client.background import ClosableStream
from ollama_magic.client.progress import Transfer, size_text
from ollama_magic.errors import OllamaMagicError

Action = Literal["pull", "copy", "delete", "load", "stop", "show"]
JobState = Literal["running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is being done, or was."""

    number: int
    action: Action
    model: str
    state: JobState = "running"
    line: str = ""
    """How far it is, or how it ended, in one line."""
    share: float | None = None
    """Between 0 and 1; None while it can't be told."""
    is_stalled: bool = False
    problem: tuple[str, ...] = ()
    """The lines of the error that ended it."""


class Work:
    """A job with what does it; may be cancelled from any thread.

    Parameters
    ----------
    job
        What is shown of it while nothing is known yet.
    task
        Does it, and returns the line that says how it ended.
    """

    def __init__(self, job: Job, task: Callable[[Work], str]) -> None:
        self.job = job
        self.task = task
        self.transfer: Transfer | None = None
        self.is_cancelled = False
        self._stream: ClosableStream[Any] | None = None
        self._lock = threading.Lock()

    def snapshot(self) -> Job:
        """Return the job as it is now."""
        if self.transfer is None or self.job.state != "running":
            return self.job
        transfer = self.transfer
        return replace(
            self.job,
            line=transfer.line(),
            share=transfer.share,
            is_stalled=transfer.is_stalled,
        )

    def open(self, stream: ClosableStream[Any]) -> ClosableStream[Any]:
        """Note a stream, so that it can be closed; when it is too late, close it."""
        with self._lock:
            self._stream = stream
            is_late = self.is_cancelled
        if is_late:
            stream.close()
        return stream

    def cancel(self) -> None:
        """End it, if it runs."""
        with self._lock:
            if self.job.state != "running":
                return
            self.is_cancelled = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def do(self) -> None:
        """Do it to its end, whatever that is; nothing is raised."""
        state: JobState = "done"
        problem: tuple[str, ...] = ()
        try:
            line = self.task(self)
        except Exception as error:  # noqa: BLE001  (it is shown with the job)
            state, problem = "failed", error_lines(error)
            line = problem[0]
        share = 1.0 if state == "done" else self.snapshot().share
        with self._lock:
            if self.is_cancelled and state == "failed":
                state, problem, line = "cancelled", (), self._cancelled_text()
            self.job = replace(
                self.job, state=state, line=line, share=share, problem=problem
            )

    def _cancelled_text(self) -> str:
        came = self.transfer.completed_bytes if self.transfer else 0
        if not came:
            return "cancelled"
        return f"cancelled at {size_text(came)}; pulling again goes on from there"


def error_lines(error: Exception) -> tuple[str, ...]:
    """Return an error as lines for people; of a bug its name and text."""
    if isinstance(error, OllamaMagicError):
        return tuple(error.lines())
    return (f"{type(error).__name__}: {error}",)
