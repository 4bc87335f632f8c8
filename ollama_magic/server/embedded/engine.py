"""A loaded model, as the server sees it: a runner process, and how to talk to it.

Knows the life of the process and its lines (see ``runner.py``); refuses to know
llama.cpp's library and Ollama's API.
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

from ollama_magic.server.embedded.options import LoadOptions

OnChunk = Callable[[Mapping[str, Any]], None]

_POLL_S = 0.1
_PATIENCE_S = 10.0

# Spinning barriers of OpenMP made two threads ten times slower than one on a busy
# machine; the library reads this once, when the process starts.
_QUIET_THREADS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}


class LoadError(Exception):
    """The model could not be loaded."""


class RunnerGoneError(Exception):
    """The runner ended by itself in the middle of a request."""


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

    Parameters
    ----------
    on_wait
        Called now and then during the load; it may raise, which ends the load.

    Raises
    ------
    LoadError
        The file cannot be used, memory is short, or ``xllamacpp`` has changed.
    """

    def __init__(
        self, weights: Path, options: LoadOptions, on_wait: Callable[[], None]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ollama_magic.server.embedded.runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_QUIET_THREADS},
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
        """Whether it can still answer."""
        return self._process.poll() is None

    def close(self) -> None:
        """Free the memory, at once; nothing may run on it now or later."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def chat(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        """Answer messages.

        Parameters
        ----------
        on_chunk
            Gets each chunk, and an empty one now and then while there is none. It may
            raise, which ends the generation.

        Raises
        ------
        RequestError
            llama.cpp refused.
        RunnerGoneError
            The runner ended by itself.
        """
        self._run({"chat": request}, on_chunk)

    def complete(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        """Continue a text, with no template; otherwise like ``chat``."""
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
        if "refused" in line:
            raise _request_error(line["refused"])

    def _cancel(self) -> None:
        """End the request that runs; the runner itself, if it does not listen."""
        try:
            self._send({"cancel": True})
            while "chunk" in (self._lines.get(timeout=_PATIENCE_S) or {}):
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
        # A line that was cut by a crash is no JSON: the end, like the end itself.
        with contextlib.suppress(ValueError):
            if self._process.stdout is not None:
                with self._process.stdout as pipe:
                    for text in pipe:
                        self._lines.put(json.loads(text))
        self._lines.put(None)


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
