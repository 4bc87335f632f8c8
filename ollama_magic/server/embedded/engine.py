"""A loaded model, as the server sees it: a ``runner`` process and its pipes.

The scheduler starts and closes it; ``generate`` sends it requests. One process per
model, so that a crash in C++ ends only that model. ``runner`` has the line protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from ollama_magic.server.embedded.requests import LoadOptions

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

    def chat(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        """Generate a reply to messages.

        Parameters
        ----------
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
        self._run({"chat": request}, on_chunk)

    def complete(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        """Continue a raw prompt, without a template; otherwise like ``chat``."""
        self._run({"complete": request}, on_chunk)

    def _run(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
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


def version() -> str:
    """Return the build of llama.cpp, such as ``b11549``; empty if not installed."""
    try:
        return "b" + metadata.version("xllamacpp").rpartition(".")[2]
    except metadata.PackageNotFoundError:
        return ""


def _request_error(error: Mapping[str, Any]) -> LlamaRequestError:
    names = ("n_prompt_tokens", "n_ctx")
    return LlamaRequestError(
        int(error.get("code", 500)),
        str(error.get("type", "server_error")),
        str(error.get("message", "unknown error")),
        **{name: int(error[name]) for name in names if name in error},
    )
