"""The models in memory: their processes, for how long they stay, who uses them next.

``generate`` borrows models from the scheduler. Each model has a ``runner`` process of
its own, so that a crash in C++ ends only that model; ``runner`` describes the line
protocol. Models with the same weights share one slot, as with Ollama. Requests for one
model run one after the other; a load holds that model's lock only, so ``/api/ps``
answers meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from ollama_magic.server.embedded.protocol import FOREVER_S
from ollama_magic.server.embedded.store import StoredModel
from ollama_magic.server.embedded.translate import LoadOptions


def version() -> str:
    """Return the build of llama.cpp, such as ``b11549``; empty if not installed."""
    try:
        return "b" + metadata.version("xllamacpp").rpartition(".")[2]
    except metadata.PackageNotFoundError:
        return ""


# -- one model ----------------------------------------------------------------

OnChunk = Callable[[Mapping[str, Any]], None]

_POLL_S = 0.1
_CANCEL_TIMEOUT_S = 10.0

# With OpenMP's busy waiting, two threads were ten times slower than one on a busy
# machine. The library reads these variables once, when the process starts.
_PASSIVE_WAIT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}


class LoadError(Exception):
    """The model could not be loaded."""


class RunnerGoneError(Exception):
    """The runner ended during a request."""


class LlamaRequestError(Exception):
    """llama.cpp rejected a request.

    Parameters
    ----------
    kind
        llama.cpp's name for the error, such as ``exceed_context_size_error``.
    details
        The numbers in the error.
    """

    def __init__(
        self, status_code: int, kind: str, message: str, **details: int
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.kind = kind
        self.message = message
        self.details = details


class LlamaProcess:
    """One model in memory, which runs one request at a time.

    Parameters
    ----------
    on_wait
        Called repeatedly during the load; it may raise, which stops the load.

    Raises
    ------
    LoadError
        The file cannot be used, memory is short, or this ``xllamacpp`` is too new.
    """

    def __init__(
        self, weights: Path, options: LoadOptions, on_wait: Callable[[], None]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ollama_magic.server.embedded.runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_PASSIVE_WAIT},
        )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._send({"weights": str(weights), "options": asdict(options)})
            line = self._next(on_wait)
        except RunnerGoneError as error:
            self.close()
            raise LoadError("the runner ended, see the log") from error
        except BaseException:
            self.close()
            raise
        if "load_error" in line:
            self.close()
            raise LoadError(line["load_error"])

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process at once; it must not be used any more."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def run(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        """Generate a reply to messages, or continue a raw prompt without a template.

        Parameters
        ----------
        request
            ``{"chat": …}`` or ``{"complete": …}``.
        on_chunk
            Called with each chunk, and with an empty one while there is none. It may
            raise, which stops the reply.

        Raises
        ------
        LlamaRequestError
            llama.cpp rejected the request.
        RunnerGoneError
            The runner ended.
        """
        self._send(request)
        try:
            while "chunk" in (line := self._next(lambda: on_chunk({}))):
                on_chunk(line["chunk"])
        except RunnerGoneError:
            raise
        except BaseException:
            self._cancel()
            raise
        if "rejected" in line:
            raise _request_error(line["rejected"])

    def _cancel(self) -> None:
        """Cancel the running request, or end the process if it does not respond."""
        try:
            self._send({"cancel": True})
            while "chunk" in (self._lines.get(timeout=_CANCEL_TIMEOUT_S) or {}):
                pass
        except (RunnerGoneError, queue.Empty):
            self.close()

    def _send(self, line: Mapping[str, Any]) -> None:
        if self._process.stdin is None:
            raise RunnerGoneError
        try:
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise RunnerGoneError from error

    def _next(self, on_wait: Callable[[], None]) -> dict[str, Any]:
        while True:
            try:
                line = self._lines.get(timeout=_POLL_S)
            except queue.Empty:
                on_wait()
                continue
            if line is None:
                raise RunnerGoneError
            return line

    def _read(self) -> None:
        # A line that a crash cut short is not JSON; it means the same as the end.
        with contextlib.suppress(ValueError):
            if self._process.stdout is not None:
                with self._process.stdout as pipe:
                    for text in pipe:
                        self._lines.put(json.loads(text))
        self._lines.put(None)


def _request_error(error: Mapping[str, Any]) -> LlamaRequestError:
    names = ("n_prompt_tokens", "n_ctx")
    return LlamaRequestError(
        int(error.get("code", 500)),
        str(error.get("type", "server_error")),
        str(error.get("message", "unknown error")),
        **{name: int(error[name]) for name in names if name in error},
    )


# -- all models ---------------------------------------------------------------

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
        if self._unload_if_idle(slot):
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
            if self._unload_if_idle(slot):
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
            idle = [self._unload_if_idle(slot, only_if_due=True) for slot in due]
            if not all(idle):
                time.sleep(_WAIT_POLL_S)

    def _unload_if_idle(self, slot: _Slot, *, only_if_due: bool = False) -> bool:
        """Unload a model; return False if it is in use."""
        if not slot.lock.acquire(blocking=False):
            return False
        try:
            if not only_if_due or slot.is_due():
                self._unload(slot)
        finally:
            slot.lock.release()
        return True
