"""What a stream brings, batch by batch, without blocking the main thread.

A kernel's main thread that waits inside a socket cannot be interrupted everywhere and
cannot show that it waits. So a thread reads, and the main thread looks at what has
come: at once at first, then as often as it is drawn, and every tick also for an
interrupt that is held back. Knows threads and nothing of
what is streamed.
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

from ollama_magic.client import interrupts

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_JOIN_S = 2.0
_HAD_TO_WAIT_S = 0.0002
"""What was there already is taken in a tenth of this."""
_SHARE_OF_REST = 0.1
_MOST_REST_S = 0.1


class ClosableStream(Protocol[T_co]):
    """What can be read in one thread and closed from another."""

    def __iter__(self) -> Iterator[T_co]:
        """Yield what comes, for as long as it comes."""

    def close(self) -> None:
        """End it now; a reader that waits gets an error or the end."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """What has come of a stream since it was looked at last."""

    number: int
    """Which stream, where there are several: from 0."""
    items: list[T]
    has_ended: bool
    """Nothing more will come."""
    error: BaseException | None
    """What ended it, if not its own end."""


class Arrivals(Generic[T]):
    """Iterate to get a list of all that has come; an empty one is a tick.

    To be used in a ``with``: leaving it, by any way, closes the stream.

    Parameters
    ----------
    stream
        Is read in a thread of its own, from ``__enter__`` on.
    tick_s
        How long to wait for something before an empty list is handed out.
    hz
        How often a second what came is drawn; what comes one by one gathers between.
    changed
        Is notified when something has come; several streams may share one.

    Raises
    ------
    BaseException
        What the stream raises is raised from the iteration, after the items before it
        were handed out.
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
        self._rest_s = min(1 / hz, _MOST_REST_S)
        self._items: list[T] = []
        self._error: BaseException | None = None
        self._has_ended = False
        self._is_left = threading.Event()
        self._changed = changed or threading.Condition()
        self._reader = threading.Thread(
            target=self._read, name="ollama-reader", daemon=True
        )

    def __enter__(self) -> Self:
        try:
            self._reader.start()
        except BaseException:  # an interrupt while it starts: nobody will leave
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
        self._reader.join(_JOIN_S)

    def close(self) -> None:
        """Close the stream; its reader ends soon after."""
        self._is_left.set()
        self._stream.close()

    @property
    def has_news(self) -> bool:
        """Whether something has come, or the end; to be asked under ``changed``."""
        return bool(self._items) or self._has_ended

    def __iter__(self) -> Iterator[list[T]]:
        while True:
            with self._changed:
                if not self.has_news:
                    self._changed.wait(self._tick_s)
                batch = self.take()
            if batch.items or not batch.has_ended:
                yield batch.items
                if not batch.has_ended:  # else nothing is left to be stopped
                    interrupts.look()
            elif batch.error is not None:
                raise batch.error
            else:
                return

    def take(self, number: int = 0) -> Batch[T]:
        """Return what has come; to be called under ``changed``."""
        items, self._items = self._items, []
        return Batch(number, items, self._has_ended, self._error)

    def _read(self) -> None:
        try:
            self._read_with_rests()
        except BaseException as error:  # noqa: BLE001  (raised again in __iter__)
            self._error = error
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def _read_with_rests(self) -> None:
        """Read, and let things gather where they come one by one.

        To be woken for an item costs a thread ten times what the item costs. So, when
        it had to wait for one, it wakes the main thread and rests before it looks
        again; never for more than a tenth of the time since the first item, so that
        what is short or has just begun is not held up.
        """
        first_s, asked_s = 0.0, -math.inf
        for item in self._stream:
            if self._is_left.is_set():
                break
            came_s = time.monotonic()
            had_to_wait = came_s - asked_s > _HAD_TO_WAIT_S
            with self._changed:
                self._items.append(item)
                if had_to_wait:  # else it is taken with those before it
                    self._changed.notify()
            if had_to_wait:
                first_s = first_s or came_s
                rest_s = (came_s - first_s) * _SHARE_OF_REST
                self._is_left.wait(min(rest_s, self._rest_s))
            asked_s = time.monotonic()


class ManyArrivals(Generic[T]):
    """Several streams at once: iterate to get what has come; nothing is a tick.

    Each is read in a thread of its own. To be used in a ``with``: leaving it, by any
    way, closes all streams before it waits for any reader.

    Parameters
    ----------
    streams
        Are numbered in this order.
    tick_s
        How long to wait for something before an empty list is handed out.
    hz
        How often a second what came is drawn; what comes one by one gathers between.
    """

    def __init__(
        self,
        streams: Sequence[ClosableStream[T]],
        tick_s: float = 0.1,
        hz: float = 10.0,
    ) -> None:
        self._tick_s = tick_s
        self._changed = threading.Condition()
        self._all = [
            Arrivals(stream, hz=hz, changed=self._changed) for stream in streams
        ]

    def __enter__(self) -> Self:
        try:
            for arrivals in self._all:
                arrivals.__enter__()
        except BaseException:
            for arrivals in self._all:
                arrivals.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for arrivals in self._all:
            arrivals.close()
        for arrivals in self._all:
            arrivals.__exit__(kind, error, traceback)

    def __iter__(self) -> Iterator[list[Batch[T]]]:
        under_way = dict(enumerate(self._all))
        while under_way:
            with self._changed:
                if not any(one.has_news for one in under_way.values()):
                    self._changed.wait(self._tick_s)
                batches = [
                    one.take(number)
                    for number, one in under_way.items()
                    if one.has_news
                ]
            for batch in batches:
                if batch.has_ended:
                    del under_way[batch.number]
            yield batches
            if under_way:
                interrupts.look()


def in_background(
    call: Callable[[], T],
    *,
    on_tick: Callable[[], object] = lambda: None,
    tick_s: float = 0.2,
) -> T:
    """Return what ``call`` returns, and stay interruptible while it waits.

    For short questions to a server. An interrupt, and what ``on_tick`` raises, closes
    the connections that the call has made; nobody takes its result.

    Parameters
    ----------
    call
        Runs in a thread of its own; what it raises is raised here.
    on_tick
        Called in this thread every ``tick_s`` seconds until the result is there.
    """
    future: Future[T] = Future()
    exchanges = Exchanges()

    def run() -> None:
        try:
            with exchanges.noted():
                future.set_result(call())
        except BaseException as error:  # noqa: BLE001  (raised again below)
            future.set_exception(error)

    thread = threading.Thread(target=run, name="ollama-question", daemon=True)
    try:
        thread.start()
        while not wait([future], tick_s).done:
            interrupts.look()
            on_tick()
    except BaseException:
        exchanges.close()
        raise
    return future.result()


class Closable(Protocol):
    """What can be ended from any thread, and more than once."""

    def close(self) -> None:
        """End it now."""


class Exchanges:
    """What was begun inside of :meth:`noted`; what begins too late ends at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: list[Closable] = []
        self._is_closed = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what this thread begins inside of this block."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def close(self) -> None:
        """End all of them, and those to come."""
        with self._lock:
            self._is_closed = True
            begun = list(self._begun)
        for exchange in begun:
            exchange.close()

    def _note(self, exchange: Closable) -> None:
        with self._lock:
            self._begun.append(exchange)
            is_late = self._is_closed
        if is_late:
            exchange.close()


_CURRENT: ContextVar[Exchanges | None] = ContextVar("ollama_magic_exchanges")


def note(exchange: Closable) -> None:
    """Note an exchange that begins, where somebody keeps count of them."""
    exchanges = _CURRENT.get(None)
    if exchanges is not None:
        exchanges._note(exchange)
