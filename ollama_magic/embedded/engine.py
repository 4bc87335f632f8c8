"""llama.cpp through the ``xllamacpp`` wheel: the only place that knows its names.

Every attribute of ``xllamacpp`` is set in this file, since they change from release to
release. Knows nothing of Ollama.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ollama_magic.embedded.options import LoadOptions

# Spinning barriers of OpenMP made two threads ten times slower than one on a busy
# machine; read by the library when it is loaded, so set before the import below.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

OnChunk = Callable[[Mapping[str, Any]], None]

_MOST_THREADS = 4
_BATCH = 64
"""Tokens of a prompt per step; a request can be ended only between two steps."""


class LoadError(Exception):
    """The model could not be loaded."""


class RequestError(Exception):
    """llama.cpp refused a request.

    Parameters
    ----------
    kind
        llama.cpp's name of the error, ``exceed_context_size_error`` for example.
    details
        Numbers that came with it.
    """

    def __init__(
        self, status_code: int, kind: str, message: str, **details: int
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.kind = kind
        self.message = message
        self.details = details


class LoadedLlama:
    """One model in memory, that answers one request at a time.

    Raises
    ------
    LoadError
        The file cannot be used, memory is short, or ``xllamacpp`` has changed.
    """

    def __init__(self, weights: Path, options: LoadOptions) -> None:
        try:
            import xllamacpp  # large: at the first load, not at the start

            self._server = xllamacpp.Server(_parameters(xllamacpp, weights, options))
        except (AttributeError, TypeError) as error:
            version = metadata.version("xllamacpp")
            text = f"this version of xllamacpp ({version}) is not known: {error}"
            raise LoadError(text) from error
        except (ImportError, RuntimeError, ValueError, MemoryError) as error:
            raise LoadError(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Free the memory; nothing may run on it now or later."""
        self._server = None

    def chat(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        """Answer messages; ``on_chunk`` gets each chunk, and may raise to end it.

        Raises
        ------
        RequestError
            llama.cpp refused, or broke off.
        """
        self._run(self._server.handle_chat_completions, request, on_chunk)

    def complete(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        """Continue a text, with no template; otherwise like ``chat``."""
        self._run(self._server.handle_completions, request, on_chunk)

    @staticmethod
    def _run(
        handle: Callable[..., object], request: Mapping[str, Any], on_chunk: OnChunk
    ) -> None:
        failures: list[BaseException] = []

        def guarded_on_chunk(chunk: Mapping[str, Any]) -> bool:
            # An exception here would be lost in C++; true ends the generation.
            try:
                if "error" in chunk:
                    failures.append(_request_error(chunk["error"]))
                else:
                    on_chunk(chunk)
            except BaseException as error:  # noqa: BLE001  (raised again below)
                failures.append(error)
            return bool(failures)

        # Progress of the prompt is only asked for as chances to end the request.
        asked = {**request, "stream": True, "return_progress": True}
        try:
            handle(asked, guarded_on_chunk)
        except (ValueError, RuntimeError) as error:
            kind = "invalid_request_error"
            raise RequestError(400, kind, str(error)) from error
        if failures:
            raise failures[0]


def version() -> str:
    """Return the build of llama.cpp, ``b11549`` for example; empty if not installed."""
    try:
        return "b" + metadata.version("xllamacpp").rpartition(".")[2]
    except metadata.PackageNotFoundError:
        return ""


def _request_error(error: Mapping[str, Any]) -> RequestError:
    names = ("n_prompt_tokens", "n_ctx")
    return RequestError(
        int(error.get("code", 500)),
        str(error.get("type", "server_error")),
        str(error.get("message", "unknown error")),
        **{name: int(error[name]) for name in names if name in error},
    )


def _parameters(xllamacpp: Any, weights: Path, options: LoadOptions) -> object:  # noqa: ANN401
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    # Never fetch anything, and keep the listener, which cannot be left out, shut.
    params.offline = True
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [secrets.token_urlsafe(32)]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.n_threads_http = 2
    # One request at a time; no second copy of contexts in memory (8 GB by default).
    params.n_parallel = 1
    params.cache_ram_mib = 0
    params.n_ctx = options.num_ctx
    params.n_batch = params.n_ubatch = options.num_batch or _BATCH
    params.cpuparams.n_threads = options.num_thread or _threads()
    params.cpuparams_batch.n_threads = options.num_thread or _threads()
    params.warmup = False
    params.verbosity = 0
    if options.num_gpu is not None:
        params.n_gpu_layers = options.num_gpu
    if options.main_gpu is not None:
        params.main_gpu = options.main_gpu
    if options.use_mmap is not None:
        modes = xllamacpp.llama_load_mode
        use = modes.LLAMA_LOAD_MODE_MMAP, modes.LLAMA_LOAD_MODE_NONE
        params.load_mode = use[0] if options.use_mmap else use[1]
    return params


def _threads() -> int:
    """One core stays free for the kernel and the browser."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return min(max(1, cores - 1), _MOST_THREADS)
