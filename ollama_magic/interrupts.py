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
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE_S = 2.0


class _Holder:
    """The handler of SIGINT inside of :func:`held`."""

    def __init__(self) -> None:
        self.is_open = False
        """Whether an interrupt comes at once."""
        self._came_at = 0.0

    def __call__(self, _signal: int, _frame: object) -> None:
        now = time.monotonic()
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
def held() -> Iterator[None]:
    """Hold interrupts back while this block runs: they come out of :func:`look`.

    One that nobody has looked for comes when the block is left, unless by an error.
    Does nothing outside of the main thread, which alone is interrupted, nor where
    the user has SIGINT ignored.
    """
    outer = _holder()
    if outer is not None:
        was_open, outer.is_open = outer.is_open, False
        try:
            yield
        finally:
            outer.is_open = was_open
        if was_open:
            outer.look()
        return
    before = signal.getsignal(signal.SIGINT) if _is_main() else None
    if not callable(before):
        yield
        return
    holder = _Holder()
    signal.signal(signal.SIGINT, holder)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
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
    return found if isinstance(found, _Holder) else None


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
