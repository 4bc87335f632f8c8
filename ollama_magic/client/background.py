"""Background threads that wait, and a main thread that stays interruptible.

A kernel's main thread that waits inside a socket cannot be interrupted everywhere, and
cannot show that it waits. So threads read streams and run calls, and the main thread
collects what has arrived and checks for an interrupt every tick. Inside :func:`held` an
interrupt is recorded and raised at the next check, since Python would otherwise raise
it between any two steps, also while a turn is being stored. Everything that runs for a
cell uses this module.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from types import FrameType
from typing import Any, Generic, Protocol, Self, TypeVar

from ollama_magic.errors import OllamaMagicError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Ended = dict[int, BaseException | None]

_JOIN_S = 2.0
_HAD_TO_WAIT_S = 0.0002
"""Taking an item that has already arrived needs a tenth of this."""
_PAUSE_SHARE = 0.1
_MAX_PAUSE_S = 0.3
_READING_SHARE = 0.25
"""For this share of a pause, only a long wait begins another one."""
PATIENCE_S = 2.0
"""Time limit for a request whose result a caller can do without."""
_STUCK_S = 2.0
_LINGERING_S = 1.0


class Closable(Protocol):
    """Something that any thread can end, more than once."""

    def close(self) -> None:
        """End it now."""


class ClosableStream(Closable, Protocol[T_co]):
    """A stream that one thread reads; the reader stops if another closes it."""

    def __iter__(self) -> Iterator[T_co]:
        """Yield items as they arrive."""


# -- streams -------------------------------------------------------------------


class BackgroundReader(Generic[T]):
    """Reads streams, each in a thread; iterating yields the items that have arrived.

    An update has the items of each stream by its number, and the error (or None) of
    each stream that has ended. It is empty at a tick. Use the reader in a ``with``
    statement: leaving that closes all streams before it waits for any thread.

    Parameters
    ----------
    streams
        Numbered in this order, and read from ``__enter__`` on.
    tick_s
        How long to wait for an item before an empty update.
    hz
        How often per second the caller redraws; items that arrive one by one are
        collected in between.
    """

    def __init__(
        self, *streams: ClosableStream[T], tick_s: float = 0.2, hz: float = 10.0
    ) -> None:
        self._streams = streams
        self._tick_s = tick_s
        self._hz = max(hz, 1 / _MAX_PAUSE_S)
        self._arrived: dict[int, list[T]] = {}
        self._ended: Ended = {}
        self._changed = threading.Condition()
        self._is_closed = threading.Event()
        self._calls: list[Future[None]] = []

    def __enter__(self) -> Self:
        try:
            for number in range(len(self._streams)):
                self._calls.append(start_call(partial(self._run, number)))
        except BaseException:  # an interrupt while they start: no `with` block ends
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_closed.set()
        for stream in self._streams:
            stream.close()
        wait(self._calls, _JOIN_S)

    def __iter__(self) -> Iterator[tuple[dict[int, list[T]], Ended]]:
        running = len(self._streams)
        while running:
            with self._changed:
                if not (self._arrived or self._ended):
                    self._changed.wait(self._tick_s)
                arrived, self._arrived = self._arrived, {}
                ended, self._ended = self._ended, {}
            running -= len(ended)
            yield arrived, ended
            if running:  # otherwise there is nothing left to stop
                check_interrupt()

    def batches(self) -> Iterator[list[T]]:
        """Yield the items of a single stream; an empty list is a tick.

        Raises
        ------
        BaseException
            What the stream raises, after the items before it.
        """
        for arrived, ended in self:
            if arrived or not ended:
                yield arrived.get(0, [])
            if (error := ended.get(0)) is not None:
                raise error

    def _run(self, number: int) -> None:
        error = None
        try:
            self._read_with_pauses(number)
        except BaseException as exc:  # noqa: BLE001  (passed on to the caller)
            error = exc
        with self._changed:
            self._ended[number] = error
            self._changed.notify()

    def _read_with_pauses(self, number: int) -> None:
        """Read, and let items that arrive one by one accumulate.

        Waking a thread for an item costs ten times as much as the item itself. So
        after each item that it had to wait for, the reader wakes the main thread and
        pauses until the next redraw. The pause is at most a tenth of the time since the
        first item, so that short replies and the first words are not delayed. What has
        arrived meanwhile is read without another pause: reading an item may take so
        long that it looks as if it had been waited for.
        """
        first_s, asked_s, reads_until_s = 0.0, -math.inf, 0.0
        for item in self._streams[number]:
            if self._is_closed.is_set():
                break
            arrived_s = time.monotonic()
            least_s = _HAD_TO_WAIT_S * (25 if arrived_s < reads_until_s else 1)
            had_to_wait = arrived_s - asked_s > least_s
            with self._changed:
                self._arrived.setdefault(number, []).append(item)
                if had_to_wait:  # otherwise it is taken together with those before it
                    self._changed.notify()
            if had_to_wait:
                first_s = first_s or arrived_s
                since_s = arrived_s - first_s
                pause_s = min(redraw_s(self._hz, since_s), since_s * _PAUSE_SHARE)
                self._is_closed.wait(pause_s)
                reads_until_s = time.monotonic() + pause_s * _READING_SHARE
            asked_s = time.monotonic()


def redraw_s(hz: float, since_s: float) -> float:
    """Return how long to wait for the next redraw of what has streamed for ``since_s``.

    From 3 to 9 seconds redraws become fewer: to a third of ``hz``, or to 3 a second.

    >>> [round(redraw_s(10, since_s), 2) for since_s in (0, 3, 6, 9, 60)]
    [0.1, 0.1, 0.2, 0.3, 0.3]
    """
    return max(1 / hz, min(since_s / 3 / hz, 3 / hz, _MAX_PAUSE_S))


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
    connections = OpenConnections()
    try:
        future = connections.start(call)
        while not wait([future], tick_s).done:
            check_interrupt()
            on_tick()
    except BaseException:
        connections.close()
        raise
    return future.result()


def ask_in_time(*calls: Callable[[], Any], patience_s: float = PATIENCE_S) -> list[Any]:
    """Return the result of each call, or its error; all run at the same time.

    A call that takes longer than ``patience_s`` seconds gives a ``TimeoutError``, and
    its connections are closed.
    """
    connections = OpenConnections()
    track_connection(connections)  # they end if this call is abandoned
    deadline_s = time.monotonic() + patience_s
    try:
        futures = [connections.start(call) for call in calls]
        return [_in_time(future, deadline_s) for future in futures]
    finally:
        connections.close()


def _in_time(future: Future[Any], deadline_s: float) -> object:
    try:
        return future.result(max(0.0, deadline_s - time.monotonic()))
    except (OllamaMagicError, TimeoutError) as error:
        return error


def start_call(call: Callable[[], T]) -> Future[T]:
    """Start a call in a thread of its own, and return its future result.

    Code that tracks the connections of this thread also tracks those of the call.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  (raised again by the future)
            future.set_exception(error)

    target, name = copy_context().run, "ollama-call"
    threading.Thread(target=target, args=(run,), name=name, daemon=True).start()
    return future


class OpenConnections:
    """The connections that calls open which it has started.

    A plain request is a function call, so there is no stream that another thread could
    close; it closes these instead. A connection opened afterwards is closed at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: list[Closable] = []
        self._is_closed = False

    def start(self, call: Callable[[], T]) -> Future[T]:
        """Start a call whose connections are tracked; return its future result."""
        token = _CURRENT.set(self)
        try:
            return start_call(call)
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


# -- interrupts ----------------------------------------------------------------


class _HoldingHandler:
    """The SIGINT handler inside :func:`held`, and perhaps for a moment after it.

    Parameters
    ----------
    previous
        The handler that was installed before.
    """

    def __init__(self, previous: Callable[[int, FrameType | None], object]) -> None:
        self.previous = previous
        self.lets_through = False
        """Whether an interrupt is raised at once."""
        self.lingers_until: float | None = None
        """When the handler expires; None while its block runs."""
        self._pending_since = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.lingers_until is not None:
            if now > self.lingers_until:
                signal.signal(signal.SIGINT, self.previous)
                self.previous(number, frame)
            return
        # A second press after a while means that nothing checks: it is raised at once.
        is_stuck = self._pending_since and now - self._pending_since > _STUCK_S
        if self.lets_through or is_stuck:
            self.lets_through = False  # the next one must not interrupt the cleanup
            self._pending_since = 0.0
            raise KeyboardInterrupt
        self.record(now)

    def record(self, now: float) -> None:
        self._pending_since = self._pending_since or now

    def check(self) -> None:
        if self._pending_since:
            self._pending_since = 0.0
            raise KeyboardInterrupt


@contextmanager
def held(*, lingers: bool = False) -> Iterator[None]:
    """Hold interrupts back while this block runs; :func:`check_interrupt` raises them.

    An interrupt that was never checked for is raised at the end of the block, unless
    that ends with an error. Does nothing outside the main thread, which alone is
    interrupted, or if the user ignores SIGINT.

    Parameters
    ----------
    lingers
        After an interrupt, ignore a second one that follows within a second. Kernels
        need this: one that is interrupted while it shows the error never answers the
        request. They restore their own handler after each request.
    """
    outer = _current()
    if outer is not None:
        with _closed(outer):
            yield
        return
    previous = _installed()
    if isinstance(previous, _HoldingHandler):  # it outlived its block
        previous = previous.previous
    if not callable(previous):
        yield
        return
    handler = _HoldingHandler(previous)
    signal.signal(signal.SIGINT, handler)
    is_interrupted = False
    try:
        yield
        handler.check()
    except KeyboardInterrupt:
        is_interrupted = True
        raise
    finally:
        if lingers and is_interrupted:
            handler.lingers_until = time.monotonic() + _LINGERING_S
        else:
            signal.signal(signal.SIGINT, previous)


@contextmanager
def _closed(handler: _HoldingHandler) -> Iterator[None]:
    let_through_before, handler.lets_through = handler.lets_through, False
    try:
        yield
    except KeyboardInterrupt:
        raise  # the cleanup is not interrupted again
    except BaseException:
        handler.lets_through = let_through_before
        raise
    handler.lets_through = let_through_before
    if let_through_before:
        handler.check()


@contextmanager
def let_through() -> Iterator[None]:
    """Raise interrupts at once inside this block, which runs the user's code.

    Only the first one, so that the next cannot interrupt the cleanup.
    """
    handler = _current()
    if handler is None:
        yield
        return
    handler.check()
    handler.lets_through = True
    try:
        yield
    finally:
        handler.lets_through = False


def check_interrupt() -> None:
    """Raise ``KeyboardInterrupt`` if an interrupt was held back."""
    if (handler := _current()) is not None:
        handler.check()


def defer_interrupt() -> None:
    """Hold the ``KeyboardInterrupt`` being handled until the next check.

    Raises it again if interrupts are not held.
    """
    handler = _current()
    if handler is None:
        raise  # noqa: PLE0704  (called inside an except block, as the docstring says)
    handler.record(time.monotonic())


def _current() -> _HoldingHandler | None:
    found = _installed()
    is_holding = isinstance(found, _HoldingHandler) and found.lingers_until is None
    return found if is_holding else None


def _installed() -> Any:  # noqa: ANN401  (a handler, or a constant of `signal`)
    """Return the handler of interrupts; None in a thread that is never interrupted."""
    is_main = threading.current_thread() is threading.main_thread()
    return signal.getsignal(signal.SIGINT) if is_main else None
