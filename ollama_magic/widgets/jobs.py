"""One thing that is done to a model, from its beginning to its end or its error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
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


_JOIN_S = 2.0


class Crew:
    """The threads of one owner; after :meth:`close` none is started any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """Whether the owner has ended."""
        return self._closed.is_set()

    def start(self, work: Callable[[], None], name: str) -> None:
        """Run ``work`` in a thread of its own, unless the owner has ended."""

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
            thread.start()  # within the lock: only what was started can be joined

    def pause(self, seconds: float) -> None:
        """Wait, and no longer than the owner lives."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Start nothing more; what runs is told by :attr:`is_closed`."""
        with self._lock:
            self._closed.set()

    def join(self) -> None:
        """Wait for what runs, but not for ever, and not for the thread that calls."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_S)


class Teller:
    """Tells listeners that something has changed: not too often, and at last always.

    Parameters
    ----------
    crew
        Owns the one thread that tells.
    interval_s
        Listeners are called at most once in so many seconds.
    is_busy
        While it is true they are also called once a second: times go on by themselves.
    """

    def __init__(
        self, crew: Crew, interval_s: float, is_busy: Callable[[], bool]
    ) -> None:
        self._crew = crew
        self._interval_s = interval_s
        self._is_busy = is_busy
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._changed = threading.Event()
        self._is_started = False

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have a function called; call what is returned to hear no more."""
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock, suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe

    def tell(self) -> None:
        """Have the listeners called soon, in the thread that tells."""
        self._changed.set()
        with self._lock:
            is_first, self._is_started = not self._is_started, True
        if is_first:
            self._crew.start(self._run, "ollama-teller")

    def close(self) -> None:
        """Call nobody any more."""
        with self._lock:
            self._listeners.clear()
        self._changed.set()

    def _run(self) -> None:
        while not self._crew.is_closed:
            self._changed.wait(1.0 if self._is_busy() else None)
            self._changed.clear()
            with self._lock:
                listeners = list(self._listeners)
            for listener in listeners:
                listener()
            self._crew.pause(self._interval_s)
