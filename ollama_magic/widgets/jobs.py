"""Jobs of the panel and the threads that they run in, without any widget.

``ModelManager`` creates a ``JobRunner`` for each action on a model; widgets read
``Job``, a snapshot of it, and redraw when ``ChangeNotifier`` calls them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from ollama_magic.client.background import ClosableStream
from ollama_magic.client.progress import TransferProgress, size_text
from ollama_magic.errors import OllamaMagicError

Action = Literal["pull", "copy", "delete", "load", "stop", "show"]
JobState = Literal["running", "done", "failed", "cancelled"]

_JOIN_S = 2.0


# -- jobs ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of an action on a model."""

    number: int
    action: Action
    model: str
    state: JobState = "running"
    line: str = ""
    """The progress or the outcome, in one line."""
    share: float | None = None
    """How much is done, between 0 and 1; None if unknown."""
    is_stalled: bool = False
    problem: tuple[str, ...] = ()
    """The lines of the error that ended the job."""


class JobRunner:
    """Runs a job; it can be cancelled from any thread.

    Parameters
    ----------
    job
        The snapshot to show until something is known.
    task
        Does the work, and returns the line that describes the outcome.
    """

    def __init__(self, job: Job, task: Callable[[JobRunner], str]) -> None:
        self.job = job
        self.task = task
        self.transfer: TransferProgress | None = None
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
        """Return the stream, which :meth:`cancel` closes from now on."""
        with self._lock:
            self._stream = stream
            is_too_late = self.is_cancelled
        if is_too_late:
            stream.close()
        return stream

    def cancel(self) -> None:
        """Cancel the job if it is running."""
        with self._lock:
            if self.job.state != "running":
                return
            self.is_cancelled = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def run(self) -> None:
        """Run the job to its end; an error becomes a part of the job."""
        state: JobState = "done"
        problem: tuple[str, ...] = ()
        try:
            line = self.task(self)
        except Exception as error:  # noqa: BLE001  (the panel shows it)
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
        completed_bytes = self.transfer.completed_bytes if self.transfer else 0
        if not completed_bytes:
            return "cancelled"
        return f"cancelled at {size_text(completed_bytes)}; pull it again to resume"


def error_lines(error: Exception) -> tuple[str, ...]:
    """Return the lines of an error; for a bug, its type and text."""
    if isinstance(error, OllamaMagicError):
        return tuple(error.lines())
    return (f"{type(error).__name__}: {error}",)


# -- threads ---------------------------------------------------------------------


class ThreadGroup:
    """The threads of one owner; none starts after :meth:`close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed.is_set()

    def start(self, work: Callable[[], None], name: str) -> None:
        """Run a function in a new thread, unless the group is closed."""

        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._lock:
            if self.is_closed:
                return
            self._threads.add(thread)
            thread.start()  # inside the lock: only a started thread can be joined

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until :meth:`close`."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Start no more threads; running ones see it in :attr:`is_closed`."""
        with self._lock:
            self._closed.set()

    def join(self) -> None:
        """Wait a limited time for all threads but the current one."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_S)


class ChangeNotifier:
    """Calls listeners after changes, at a limited rate; the last change is never lost.

    Parameters
    ----------
    threads
        Owns the one thread that calls the listeners.
    interval_s
        The shortest time between two calls.
    is_busy
        While this returns true, listeners are also called once a second: times pass
        without any change.
    """

    def __init__(
        self, threads: ThreadGroup, interval_s: float, is_busy: Callable[[], bool]
    ) -> None:
        self._threads = threads
        self._interval_s = interval_s
        self._is_busy = is_busy
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._changed = threading.Event()
        self._is_started = False

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Add a listener; the function that is returned removes it."""
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock, suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe

    def notify(self) -> None:
        """Call the listeners soon."""
        self._changed.set()
        with self._lock:
            is_first, self._is_started = not self._is_started, True
        if is_first:
            self._threads.start(self._run, "ollama-notifier")

    def close(self) -> None:
        """Remove all listeners."""
        with self._lock:
            self._listeners.clear()
        self._changed.set()

    def _run(self) -> None:
        while not self._threads.is_closed:
            self._changed.wait(1.0 if self._is_busy() else None)
            self._changed.clear()
            with self._lock:
                listeners = list(self._listeners)
            for listener in listeners:
                listener()
            self._threads.sleep(self._interval_s)
