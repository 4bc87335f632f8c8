"""What a stream brings, batch by batch, without blocking the main thread.

A kernel's main thread that waits inside a socket cannot be interrupted everywhere and
cannot show that it waits. So a thread reads, and the main thread looks at what has
come every tick. Knows threads and nothing of what is streamed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_JOIN_S = 2.0


class ClosableStream(Protocol[T_co]):
    """What can be read in one thread and closed from another."""

    def __iter__(self) -> Iterator[T_co]:
        """Yield what comes, for as long as it comes."""

    def close(self) -> None:
        """End it now; a reader that waits gets an error or the end."""


class Arrivals(Generic[T]):
    """Iterate to get a list of all that has come; an empty one is a tick.

    To be used in a ``with``: leaving it, by any way, closes the stream.

    Parameters
    ----------
    stream
        Is read in a thread of its own, from ``__enter__`` on.
    tick_s
        How long to wait for something before an empty list is handed out.

    Raises
    ------
    BaseException
        What the stream raises is raised from the iteration, after the items before it
        were handed out.
    """

    def __init__(self, stream: ClosableStream[T], tick_s: float = 0.1) -> None:
        self._stream = stream
        self._tick_s = tick_s
        self._items: list[T] = []
        self._error: BaseException | None = None
        self._has_ended = False
        self._is_left = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(
            target=self._read, name="ollama-reader", daemon=True
        )

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_left = True
        self._stream.close()
        self._reader.join(_JOIN_S)

    def __iter__(self) -> Iterator[list[T]]:
        while True:
            with self._changed:
                if not self._items and not self._has_ended:
                    self._changed.wait(self._tick_s)
                items, self._items = self._items, []
                has_ended = self._has_ended
            if items or not has_ended:
                yield items
            elif self._error is not None:
                raise self._error
            else:
                return

    def _read(self) -> None:
        try:
            for item in self._stream:
                if self._is_left:
                    break
                with self._changed:
                    self._items.append(item)
                    # NB: waking the main thread once is enough for all that is there.
                    if len(self._items) == 1:
                        self._changed.notify()
        except BaseException as error:  # noqa: BLE001  (raised again in __iter__)
            self._error = error
        with self._changed:
            self._has_ended = True
            self._changed.notify()


def in_background(
    call: Callable[[], T],
    *,
    on_tick: Callable[[], object] = lambda: None,
    tick_s: float = 0.1,
) -> T:
    """Return what ``call`` returns, and stay interruptible while it waits.

    For short questions to a server. An interrupt leaves the call behind; its own
    timeouts end it, and nobody takes its result.

    Parameters
    ----------
    call
        Runs in a thread of its own; what it raises is raised here.
    on_tick
        Called in this thread every ``tick_s`` seconds until the result is there.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  (raised again below)
            future.set_exception(error)

    threading.Thread(target=run, name="ollama-question", daemon=True).start()
    while not wait([future], tick_s).done:
        on_tick()
    return future.result()
