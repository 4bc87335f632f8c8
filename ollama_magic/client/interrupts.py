"""When the stop button takes effect: at once, or only where somebody looks for it.

Python raises ``KeyboardInterrupt`` between any two steps of the main thread, so also in
the middle of what must not be left half done: a turn that is stored, an output that
takes the place of others. Inside of :func:`held` an interrupt is only noted, and those
who wait look for it every tenth of a second. Knows signals, and nothing of the work.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

_PATIENCE_S = 2.0
_LINGERING_S = 1.0


class _Holder:
    """The handler of SIGINT inside of :func:`held`, and perhaps for a moment after it.

    Parameters
    ----------
    before
        The handler that was there before.
    """

    def __init__(self, before: Handler) -> None:
        self.before = before
        self.is_open = False
        """Whether an interrupt comes at once."""
        self.lingers_until: float | None = None
        """When it is over; None while it is needed."""
        self._came_at = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.lingers_until is not None:
            if now > self.lingers_until:
                signal.signal(signal.SIGINT, self.before)
                self.before(number, frame)
            return
        # Whoever presses again after a while, in vain so far, gets out at any cost.
        is_in_vain = self._came_at and now - self._came_at > _PATIENCE_S
        if self.is_open or is_in_vain:
            self.is_open = False  # the next one does not come into the cleaning up
            self._came_at = 0.0
            raise KeyboardInterrupt
        self.note(now)

    def note(self, now: float) -> None:
        self._came_at = self._came_at or now

    def look(self) -> None:
        if self._came_at:
            self._came_at = 0.0
            raise KeyboardInterrupt


@contextmanager
def held(*, lingers: bool = False) -> Iterator[None]:
    """Hold interrupts back while this block runs: they come out of :func:`look`.

    One that nobody has looked for comes when the block is left, unless by an error.
    Does nothing outside of the main thread, which alone is interrupted, nor where
    the user has SIGINT ignored.

    Parameters
    ----------
    lingers
        After an interrupt, take a second one that was pressed at once for the same.
        For a kernel, which would never answer the request of the cell if it came while
        the error is shown, and which takes its own handler back after each request.
    """
    outer = _holder()
    if outer is not None:
        with _closed(outer):
            yield
        return
    before = signal.getsignal(signal.SIGINT) if _is_main() else None
    if isinstance(before, _Holder):  # one that lingers
        before = before.before
    if not callable(before):
        yield
        return
    holder = _Holder(before)
    signal.signal(signal.SIGINT, holder)
    is_interrupted = False
    try:
        yield
        holder.look()
    except KeyboardInterrupt:
        is_interrupted = True
        raise
    finally:
        if lingers and is_interrupted:
            holder.lingers_until = time.monotonic() + _LINGERING_S
        else:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _closed(holder: _Holder) -> Iterator[None]:
    was_open, holder.is_open = holder.is_open, False
    try:
        yield
    except KeyboardInterrupt:
        raise  # what cleans up after it is not interrupted once more
    except BaseException:
        holder.is_open = was_open
        raise
    holder.is_open = was_open
    if was_open:
        holder.look()


@contextmanager
def let_through() -> Iterator[None]:
    """Let interrupts come at once in this block: for code that is not ours.

    The first one ends that: the next does not come into the cleaning up.
    """
    holder = _holder()
    if holder is None:
        yield
        return
    holder.look()
    holder.is_open = True
    try:
        yield
    finally:
        holder.is_open = False


def look() -> None:
    """Raise ``KeyboardInterrupt`` if one has come and was held back."""
    if (holder := _holder()) is not None:
        holder.look()


def put_back() -> None:
    """Note the ``KeyboardInterrupt`` that is being handled as not looked for yet.

    Where nothing holds it, it goes on.
    """
    holder = _holder()
    if holder is None:
        raise  # noqa: PLE0704  (inside of an except block, as the docstring says)
    holder.note(time.monotonic())


def _holder() -> _Holder | None:
    found = signal.getsignal(signal.SIGINT) if _is_main() else None
    if isinstance(found, _Holder) and found.lingers_until is None:
        return found
    return None


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
