"""An action on a model: a thread runs it, the panel shows it, any thread cancels it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from ollama_magic.client.background import ClosableStream
from ollama_magic.client.progress import TransferProgress
from ollama_magic.errors import OllamaMagicError, size_text

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
