"""Reads streams and runs calls in background threads; the main thread only waits.

A kernel's main thread that waits inside a socket cannot be interrupted everywhere, and
cannot show that it waits. So a thread reads, and the main thread collects what has
arrived: at once at first, later as often as it redraws, and every tick it checks for an
interrupt. Cells, comparisons and ``%ollama`` commands use it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from ollama_magic.client.interrupts import check_interrupt

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_JOIN_S = 2.0
_HAD_TO_WAIT_S = 0.0002
"""Taking an item that has already arrived needs a tenth of this."""
_PAUSE_SHARE = 0.1
_MAX_PAUSE_S = 0.1


class Closable(Protocol):
    """Something that any thread can end, more than once."""

    def close(self) -> None:
        """End it now."""


class ClosableStream(Closable, Protocol[T_co]):
    """A stream that one thread reads and another can close.

    Closing it makes a waiting reader get an error, or the end of the stream.
    """

    def __iter__(self) -> Iterator[T_co]:
        """Yield items as they arrive."""


# -- streams -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamUpdate(Generic[T]):
    """What has arrived on a stream since the last update."""

    number: int
    """Index of the stream among several; 0 for a single one."""
    items: list[T]
    has_ended: bool
    """Nothing more will arrive."""
    error: BaseException | None
    """The exception that ended the stream, if one did."""


class BackgroundReader(Generic[T]):
    """Reads a stream in a thread; iterating yields lists of the items that arrived.

    An empty list is a tick. Use it in a ``with`` statement: leaving that closes the
    stream.

    Parameters
    ----------
    stream
        Read from ``__enter__`` on.
    tick_s
        How long to wait for an item before an empty list is yielded.
    hz
        How often per second the caller redraws; items that arrive one by one are
        collected in between.
    changed
        Notified when something arrives; several readers may share one.

    Raises
    ------
    BaseException
        The iteration raises what the stream raises, after the items before it.
    """

    def __init__(
        self,
        stream: ClosableStream[T],
        tick_s: float = 0.1,
        hz: float = 10.0,
        changed: threading.Condition | None = None,
    ) -> None:
        self._stream = stream
        self._tick_s = tick_s
        self._pause_s = min(1 / hz, _MAX_PAUSE_S)
        self._items: list[T] = []
        self._error: BaseException | None = None
        self._has_ended = False
        self._is_closed = threading.Event()
        self._changed = changed or threading.Condition()
        self._thread = threading.Thread(
            target=self._run, name="ollama-reader", daemon=True
        )

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except BaseException:  # an interrupt while it starts: __exit__ is not called
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        self._thread.join(_JOIN_S)

    def close(self) -> None:
        """Close the stream; its thread ends soon after."""
        self._is_closed.set()
        self._stream.close()

    @property
    def has_news(self) -> bool:
        """Whether items have arrived or the stream has ended; hold ``changed``."""
        return bool(self._items) or self._has_ended

    def __iter__(self) -> Iterator[list[T]]:
        while True:
            with self._changed:
                if not self.has_news:
                    self._changed.wait(self._tick_s)
                update = self.take()
            if update.items or not update.has_ended:
                yield update.items
                if not update.has_ended:  # afterwards there is nothing left to stop
                    check_interrupt()
            elif update.error is not None:
                raise update.error
            else:
                return

    def take(self, number: int = 0) -> StreamUpdate[T]:
        """Return what has arrived; the caller holds ``changed``."""
        items, self._items = self._items, []
        return StreamUpdate(number, items, self._has_ended, self._error)

    def _run(self) -> None:
        try:
            self._read_with_pauses()
        except BaseException as error:  # noqa: BLE001  (raised again in __iter__)
            self._error = error
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def _read_with_pauses(self) -> None:
        """Read, and let items that arrive one by one accumulate.

        Waking a thread for an item costs ten times as much as the item itself. So
        after each item that it had to wait for, the reader wakes the main thread and
        pauses. The pause is at most a tenth of the time since the first item, so that
        short replies and the first words are not delayed.
        """
        first_s, asked_s = 0.0, -math.inf
        for item in self._stream:
            if self._is_closed.is_set():
                break
            arrived_s = time.monotonic()
            had_to_wait = arrived_s - asked_s > _HAD_TO_WAIT_S
            with self._changed:
                self._items.append(item)
                if had_to_wait:  # otherwise it is taken together with those before it
                    self._changed.notify()
            if had_to_wait:
                first_s = first_s or arrived_s
                pause_s = (arrived_s - first_s) * _PAUSE_SHARE
                self._is_closed.wait(min(pause_s, self._pause_s))
            asked_s = time.monotonic()


class BackgroundReaders(Generic[T]):
    """Reads several streams, each in its own thread; iterating yields their updates.

    An empty list is a tick. Use it in a ``with`` statement: leaving that closes all
    streams before it waits for any thread.

    Parameters
    ----------
    streams
        Numbered in this order.
    tick_s
        How long to wait for an item before an empty list is yielded.
    hz
        How often per second the caller redraws.
    """

    def __init__(
        self,
        streams: Sequence[ClosableStream[T]],
        tick_s: float = 0.1,
        hz: float = 10.0,
    ) -> None:
        self._tick_s = tick_s
        self._changed = threading.Condition()
        self._readers = [
            BackgroundReader(stream, hz=hz, changed=self._changed) for stream in streams
        ]

    def __enter__(self) -> Self:
        try:
            for reader in self._readers:
                reader.__enter__()
        except BaseException:
            for reader in self._readers:
                reader.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for reader in self._readers:
            reader.close()
        for reader in self._readers:
            reader.__exit__(kind, error, traceback)

    def __iter__(self) -> Iterator[list[StreamUpdate[T]]]:
        running = dict(enumerate(self._readers))
        while running:
            with self._changed:
                if not any(reader.has_news for reader in running.values()):
                    self._changed.wait(self._tick_s)
                updates = [
                    reader.take(number)
                    for number, reader in running.items()
                    if reader.has_news
                ]
            for update in updates:
                if update.has_ended:
                    del running[update.number]
            yield updates
            if running:
                check_interrupt()


# -- calls ---------------------------------------------------------------------


def run_in_background(
    call: Callable[[], T],
    *,
    on_tick: Callable[[], object] = lambda: None,
    tick_s: float = 0.2,
) -> T:
    """Return what ``call`` returns, and stay interruptible while it runs.

    Meant for short requests to a server. An interrupt, or an exception from
    ``on_tick``, closes the connections that the call has opened and drops its result.

    Parameters
    ----------
    call
        Runs in its own thread; its exceptions are raised here.
    on_tick
        Called in this thread every ``tick_s`` seconds until the call returns.
    """
    future: Future[T] = Future()
    connections = OpenConnections()

    def run() -> None:
        try:
            with connections.tracked():
                future.set_result(call())
        except BaseException as error:  # noqa: BLE001  (raised again below)
            future.set_exception(error)

    thread = threading.Thread(target=run, name="ollama-call", daemon=True)
    try:
        thread.start()
        while not wait([future], tick_s).done:
            check_interrupt()
            on_tick()
    except BaseException:
        connections.close()
        raise
    return future.result()


class OpenConnections:
    """The connections that a call opens inside :meth:`tracked`.

    A plain request is a function call, so there is no stream that another thread could
    close; it closes these instead. A connection opened afterwards is closed at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: list[Closable] = []
        self._is_closed = False

    @contextmanager
    def tracked(self) -> Iterator[None]:
        """Track the connections that this thread opens in this block."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def close(self) -> None:
        """Close all of them, and those opened from now on."""
        with self._lock:
            self._is_closed = True
            opened = list(self._opened)
        for connection in opened:
            connection.close()

    def add(self, connection: Closable) -> None:
        """Track one more connection."""
        with self._lock:
            self._opened.append(connection)
            is_late = self._is_closed
        if is_late:
            connection.close()


_CURRENT: ContextVar[OpenConnections | None] = ContextVar("ollama_magic_connections")


def track_connection(connection: Closable) -> None:
    """Add a connection to those that the running call tracks, if it tracks any."""
    connections = _CURRENT.get(None)
    if connections is not None:
        connections.add(connection)
