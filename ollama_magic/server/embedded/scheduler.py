"""Which models are in memory, for how long, and who may use them next.

Models that share weights share one place, as with Ollama. Requests on one model wait
for each other; nothing here is held during a load but that model's own lock, so that
lists answer meanwhile. Knows nothing of HTTP or of requests.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ollama_magic.server.embedded.engine import LoadedLlama
from ollama_magic.server.embedded.options import LoadOptions
from ollama_magic.server.embedded.store import StoredModel
from ollama_magic.server.embedded.times import FOREVER_S

KEEP_ALIVE_S = 300.0
"""Ollama's default, 5 minutes."""

_MOST_LOADED = 3
_WAIT_POLL_S = 0.1


class WaiterGoneError(Exception):
    """Who waited for a model went away."""


@dataclass(eq=False, slots=True)
class _Seat:
    """The place of one file of weights. Fields change under the scheduler's lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while the model is loaded, used or unloaded."""
    model: StoredModel | None = None
    llama: LoadedLlama | None = None
    options: LoadOptions | None = None
    keep_alive_s: float = FOREVER_S
    expires_at: float = FOREVER_S
    """On the monotonic clock; for ever while it is in use."""
    unload_asked: bool = False

    def seconds_left(self) -> float:
        if self.expires_at == FOREVER_S:
            return self.keep_alive_s
        return self.expires_at - time.monotonic()

    def is_due(self) -> bool:
        return bool(self.llama) and (self.unload_asked or self.seconds_left() <= 0)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, as ``ps`` tells of it."""

    model: StoredModel
    num_ctx: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use a model until the block ends."""

    llama: LoadedLlama
    num_ctx: int
    load_duration_ns: int


class Scheduler:
    """Loads, lends and unloads models.

    Parameters
    ----------
    weights_of
        Returns the file of a model's weights.
    """

    def __init__(self, weights_of: Callable[[StoredModel], Path]) -> None:
        self._weights_of = weights_of
        self._seats: dict[str, _Seat] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._reap, daemon=True).start()

    @contextlib.contextmanager
    def lend(
        self,
        model: StoredModel,
        options: LoadOptions,
        keep_alive_s: float,
        is_gone: Callable[[], bool],
    ) -> Iterator[Lease]:
        """Wait for a model, load it if need be, and lend it for one request.

        Raises
        ------
        WaiterGoneError
            ``is_gone`` said so while the request waited.
        LoadError
            The model cannot be loaded.
        """
        started_ns = time.perf_counter_ns()
        seat = self._seat(model)

        def on_wait() -> None:
            if is_gone():
                raise WaiterGoneError

        while not seat.lock.acquire(timeout=_WAIT_POLL_S):
            on_wait()
        try:
            llama = self._ready(seat, model, options, on_wait)
            with self._changed:
                seat.keep_alive_s, seat.expires_at = keep_alive_s, FOREVER_S
            load_duration_ns = time.perf_counter_ns() - started_ns
            yield Lease(llama, options.num_ctx, load_duration_ns)
        finally:
            if seat.unload_asked or keep_alive_s == 0:
                self._unload(seat)
            with self._changed:
                seat.expires_at = time.monotonic() + keep_alive_s
                self._changed.notify()
            seat.lock.release()

    def unload(self, model: StoredModel) -> None:
        """Unload a model now, or as soon as the request that runs on it has ended."""
        seat = self._seat(model)
        if seat.lock.acquire(blocking=False):
            try:
                self._unload(seat)
            finally:
                seat.lock.release()
            return
        with self._changed:
            seat.unload_asked = True
            self._changed.notify()

    def loaded(self) -> list[Loaded]:
        """Return what is in memory now; never waits for a load or a request."""
        with self._changed:
            return [
                Loaded(seat.model, seat.options.num_ctx, seat.seconds_left())
                for seat in self._seats.values()
                if seat.model and seat.options and not seat.is_due()
            ]

    def _seat(self, model: StoredModel) -> _Seat:
        with self._changed:
            return self._seats.setdefault(model.config.blob, _Seat())

    def _ready(
        self,
        seat: _Seat,
        model: StoredModel,
        options: LoadOptions,
        on_wait: Callable[[], None],
    ) -> LoadedLlama:
        llama = seat.llama
        if llama is not None and llama.is_alive and seat.options == options:
            return llama
        self._unload(seat)
        self._make_room()
        llama = LoadedLlama(self._weights_of(model), options, on_wait)
        with self._changed:
            seat.model, seat.llama, seat.options = model, llama, options
        return llama

    def _make_room(self) -> None:
        """Unload the idle model that would go first, when too many are in memory."""
        with self._changed:
            full = [seat for seat in self._seats.values() if seat.llama]
        if len(full) < _MOST_LOADED:
            return
        for seat in sorted(full, key=lambda seat: seat.expires_at):
            if seat.lock.acquire(blocking=False):
                try:
                    self._unload(seat)
                finally:
                    seat.lock.release()
                return

    def _unload(self, seat: _Seat) -> None:
        with self._changed:
            llama, seat.llama = seat.llama, None
            seat.model = seat.options = None
            seat.unload_asked = False
        if llama is not None:
            llama.close()

    def _reap(self) -> None:
        """Unload what is due; what is still in use is looked at again soon."""
        while True:
            with self._changed:
                seats = [seat for seat in self._seats.values() if seat.llama]
                due = [seat for seat in seats if seat.is_due()]
                if not due:
                    left = min((seat.expires_at for seat in seats), default=FOREVER_S)
                    is_idle = left == FOREVER_S
                    self._changed.wait(None if is_idle else left - time.monotonic())
                    continue
            is_busy = False
            for seat in due:
                is_busy = not self._unload_if_idle(seat) or is_busy
            if is_busy:
                time.sleep(_WAIT_POLL_S)

    def _unload_if_idle(self, seat: _Seat) -> bool:
        if not seat.lock.acquire(blocking=False):
            return False
        try:
            if seat.is_due():
                self._unload(seat)
        finally:
            seat.lock.release()
        return True
