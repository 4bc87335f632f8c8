"""Which models are in memory, for how long, and who may use them next.

``generate`` borrows models from the scheduler. Models with the same weights share one
slot, as with Ollama. Requests for one model run one after the other; a load holds that
model's lock only, so ``/api/ps`` answers meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ollama_magic.server.embedded.engine import LlamaProcess
from ollama_magic.server.embedded.formats import FOREVER_S
from ollama_magic.server.embedded.requests import LoadOptions
from ollama_magic.server.embedded.store import StoredModel

KEEP_ALIVE_S = 300.0
"""Ollama's default, 5 minutes."""

_MAX_LOADED = 3
_WAIT_POLL_S = 0.1


@dataclass(eq=False, slots=True)
class _Slot:
    """One file of weights, loaded or not; fields change under the scheduler's lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while the model is loaded, used or unloaded."""
    model: StoredModel | None = None
    llama: LlamaProcess | None = None
    options: LoadOptions | None = None
    keep_alive_s: float = FOREVER_S
    expires_at: float = FOREVER_S
    """On the monotonic clock; infinite while the model is in use."""
    unload_requested: bool = False

    def seconds_left(self) -> float:
        if self.expires_at == FOREVER_S:
            return self.keep_alive_s
        return self.expires_at - time.monotonic()

    def is_due(self) -> bool:
        return bool(self.llama) and (self.unload_requested or self.seconds_left() <= 0)


@dataclass(frozen=True, slots=True)
class ScheduledModel:
    """A model in memory, as ``/api/ps`` lists it."""

    model: StoredModel
    num_ctx: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use a model until the block ends."""

    llama: LlamaProcess
    num_ctx: int
    load_duration_ns: int


class Scheduler:
    """Loads, lends and unloads models.

    Parameters
    ----------
    weights_of
        Returns the path of a model's weights.
    """

    def __init__(self, weights_of: Callable[[StoredModel], Path]) -> None:
        self._weights_of = weights_of
        self._slots: dict[str, _Slot] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._reap, daemon=True).start()

    @contextlib.contextmanager
    def lend(
        self,
        model: StoredModel,
        options: LoadOptions,
        keep_alive_s: float,
        on_wait: Callable[[], None],
    ) -> Iterator[Lease]:
        """Wait for a model, load it if needed, and lend it for one request.

        Parameters
        ----------
        on_wait
            Called repeatedly during a wait or load; it may raise to give up.

        Raises
        ------
        LoadError
            The model cannot be loaded.
        """
        started_ns = time.perf_counter_ns()
        slot = self._slot(model)
        while not slot.lock.acquire(timeout=_WAIT_POLL_S):
            on_wait()
        try:
            llama = self._ready(slot, model, options, on_wait)
            with self._changed:
                slot.keep_alive_s, slot.expires_at = keep_alive_s, FOREVER_S
            load_duration_ns = time.perf_counter_ns() - started_ns
            yield Lease(llama, options.num_ctx, load_duration_ns)
        finally:
            if slot.unload_requested or keep_alive_s == 0:
                self._unload(slot)
            with self._changed:
                slot.expires_at = time.monotonic() + keep_alive_s
                self._changed.notify()
            slot.lock.release()

    def unload(self, model: StoredModel) -> None:
        """Unload a model now, or when its current request has ended."""
        slot = self._slot(model)
        if slot.lock.acquire(blocking=False):
            try:
                self._unload(slot)
            finally:
                slot.lock.release()
            return
        with self._changed:
            slot.unload_requested = True
            self._changed.notify()

    def loaded(self) -> list[ScheduledModel]:
        """Return the models in memory, without waiting for a load or a request."""
        with self._changed:
            return [
                ScheduledModel(slot.model, slot.options.num_ctx, slot.seconds_left())
                for slot in self._slots.values()
                if slot.model and slot.options and not slot.is_due()
            ]

    def _slot(self, model: StoredModel) -> _Slot:
        with self._changed:
            return self._slots.setdefault(model.config.blob, _Slot())

    def _ready(
        self,
        slot: _Slot,
        model: StoredModel,
        options: LoadOptions,
        on_wait: Callable[[], None],
    ) -> LlamaProcess:
        llama = slot.llama
        if llama is not None and llama.is_alive and slot.options == options:
            return llama
        self._unload(slot)
        self._make_room()
        llama = LlamaProcess(self._weights_of(model), options, on_wait)
        with self._changed:
            slot.model, slot.llama, slot.options = model, llama, options
        return llama

    def _make_room(self) -> None:
        """If the memory is full, unload the idle model that would expire first."""
        with self._changed:
            full = [slot for slot in self._slots.values() if slot.llama]
        if len(full) < _MAX_LOADED:
            return
        for slot in sorted(full, key=lambda slot: slot.expires_at):
            if slot.lock.acquire(blocking=False):
                try:
                    self._unload(slot)
                finally:
                    slot.lock.release()
                return

    def _unload(self, slot: _Slot) -> None:
        with self._changed:
            llama, slot.llama = slot.llama, None
            slot.model = slot.options = None
            slot.unload_requested = False
        if llama is not None:
            llama.close()

    def _reap(self) -> None:
        """Unload models when they expire; check those in use again soon."""
        while True:
            with self._changed:
                slots = [slot for slot in self._slots.values() if slot.llama]
                due = [slot for slot in slots if slot.is_due()]
                if not due:
                    left = min((slot.expires_at for slot in slots), default=FOREVER_S)
                    is_idle = left == FOREVER_S
                    self._changed.wait(None if is_idle else left - time.monotonic())
                    continue
            is_busy = False
            for slot in due:
                is_busy = not self._unload_if_idle(slot) or is_busy
            if is_busy:
                time.sleep(_WAIT_POLL_S)

    def _unload_if_idle(self, slot: _Slot) -> bool:
        if not slot.lock.acquire(blocking=False):
            return False
        try:
            if slot.is_due():
                self._unload(slot)
        finally:
            slot.lock.release()
        return True
