"""Threads that belong to somebody: started by name, told about, and ended with them.

Knows threads and nothing of what they do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

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
