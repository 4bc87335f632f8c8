"""Decides when the stop button takes effect: at once, or at the next check.

Python raises ``KeyboardInterrupt`` between any two steps of the main thread, so also
while a turn is being stored or an output is being replaced. Inside :func:`held` an
interrupt is only recorded; whatever waits calls :func:`check_interrupt` every tenth of
a second. Used by everything that runs for a cell.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SignalHandler = Callable[[int, FrameType | None], object]

_PATIENCE_S = 2.0
_LINGERING_S = 1.0


class _HoldingHandler:
    """The SIGINT handler inside :func:`held`, and perhaps for a moment after it.

    Parameters
    ----------
    previous
        The handler that was installed before.
    """

    def __init__(self, previous: _SignalHandler) -> None:
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
        # A second press after a while means that nothing checks: raise at any cost.
        is_stuck = self._pending_since and now - self._pending_since > _PATIENCE_S
        if self.lets_through or is_stuck:
            self.lets_through = False  # the next one must not hit the cleaning up
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
    the block ends with an error. Does nothing outside the main thread, which alone is
    interrupted, and nothing if the user ignores SIGINT.

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
    previous = signal.getsignal(signal.SIGINT) if _is_main_thread() else None
    if isinstance(previous, _HoldingHandler):  # one that lingers
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
        raise  # the cleaning up is not interrupted again
    except BaseException:
        handler.lets_through = let_through_before
        raise
    handler.lets_through = let_through_before
    if let_through_before:
        handler.check()


@contextmanager
def let_through() -> Iterator[None]:
    """Raise interrupts at once inside this block, which runs code of the user's.

    Only the first one: the next must not hit the cleaning up.
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
    found = signal.getsignal(signal.SIGINT) if _is_main_thread() else None
    if isinstance(found, _HoldingHandler) and found.lingers_until is None:
        return found
    return None


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
