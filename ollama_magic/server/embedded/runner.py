"""The process that runs one model: llama.cpp, through the ``xllamacpp`` wheel.

``engine`` starts it. Loading a model blocks all threads of an interpreter, and a crash
in C++ ends the process, so each model has its own. Only this module uses the names of
``xllamacpp``, which change between releases.

It speaks lines of JSON. On standard input: first ``{"weights": …, "options": …}``, then
any number of ``{"chat": …}`` or ``{"complete": …}``, and ``{"cancel": true}`` during
a reply. On standard output: ``{"loaded": true}`` or ``{"load_error": …}``, then for
each request ``{"chunk": …}`` any number of times and one ``{"end": true}`` or
``{"rejected": …}``. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import sys
import threading
from collections.abc import Mapping
from importlib import metadata
from typing import Any, BinaryIO

Json = Mapping[str, Any]

_MAX_THREADS = 4
_BATCH = 64
"""Tokens of a prompt per step; a request can only be cancelled between steps."""


class _Requests:
    """Reads requests from standard input in a thread, so that cancelling is fast."""

    def __init__(self) -> None:
        self._lines: queue.Queue[Json] = queue.Queue()
        self.is_cancelled = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def take(self) -> Json:
        """Wait for the next request; a later cancel applies to it."""
        line = self._lines.get()
        self.is_cancelled.clear()
        return line

    def _read(self) -> None:
        for text in sys.stdin.buffer:
            line = json.loads(text)
            if "cancel" in line:
                self.is_cancelled.set()
            else:
                self._lines.put(line)
        # An orderly exit would wait for a running request.
        os._exit(0)


def main() -> None:
    """Load one model and run requests until standard input ends."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    # What libraries print must go to the log, not between our lines.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests = _Requests()
    first = requests.take()
    try:
        server = _load(first["weights"], first["options"])
    except Exception as error:  # noqa: BLE001  (reported to the parent)
        _write(output, {"load_error": str(error) or type(error).__name__})
        return
    _write(output, {"loaded": True})
    while True:
        _respond(server, requests, output)


def _respond(server: Any, requests: _Requests, output: BinaryIO) -> None:  # noqa: ANN401
    request = requests.take()
    rejection: Json = {}

    def on_chunk(chunk: Json) -> bool:
        # Returning True stops the reply; an exception would be lost in C++.
        nonlocal rejection
        if "error" in chunk:
            rejection = chunk["error"]
            return True
        _write(output, {"chunk": chunk})
        return requests.is_cancelled.is_set()

    (form,) = request
    handle = server.handle_chat_completions
    if form == "complete":
        handle = server.handle_completions
    try:
        # Progress of the prompt is requested only as chances to cancel.
        handle({**request[form], "stream": True, "return_progress": True}, on_chunk)
    except (ValueError, RuntimeError) as error:
        kind = "invalid_request_error"
        rejection = {"code": 400, "type": kind, "message": str(error)}
    _write(output, {"rejected": rejection} if rejection else {"end": True})


def _write(output: BinaryIO, line: Json) -> None:
    try:
        output.write(json.dumps(line).encode() + b"\n")
    except OSError:
        os._exit(0)  # the parent is gone


def _load(weights: str, options: Json) -> object:
    import xllamacpp  # slow, so only after the first line was read

    try:
        return xllamacpp.Server(_parameters(xllamacpp, weights, options))
    except (AttributeError, TypeError) as error:
        version = metadata.version("xllamacpp")
        text = f"this version of xllamacpp ({version}) is not supported: {error}"
        raise RuntimeError(text) from error


def _parameters(xllamacpp: Any, weights: str, options: Json) -> object:  # noqa: ANN401
    params = xllamacpp.CommonParams()
    params.model.path = weights
    # No downloads; lock the HTTP listener, which cannot be turned off.
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
    # One request at a time, and no cache of contexts (8 GB by default).
    params.n_parallel = 1
    params.cache_ram_mib = 0
    params.n_ctx = options["num_ctx"]
    params.n_batch = params.n_ubatch = options["num_batch"] or _BATCH
    params.cpuparams.n_threads = options["num_thread"] or _threads()
    params.cpuparams_batch.n_threads = options["num_thread"] or _threads()
    params.warmup = False
    params.verbosity = 0
    if options["num_gpu"] is not None:
        params.n_gpu_layers = options["num_gpu"]
    if options["main_gpu"] is not None:
        params.main_gpu = options["main_gpu"]
    if options["use_mmap"] is not None:
        modes = xllamacpp.llama_load_mode
        use = modes.LLAMA_LOAD_MODE_MMAP, modes.LLAMA_LOAD_MODE_NONE
        params.load_mode = use[0] if options["use_mmap"] else use[1]
    return params


def _threads() -> int:
    """Return how many threads to use; a core stays free for kernel and browser."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return min(max(1, cores - 1), _MAX_THREADS)


if __name__ == "__main__":
    main()
