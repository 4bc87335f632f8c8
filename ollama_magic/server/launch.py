"""Finds, starts and stops a server, for ``%ollama serve``.

It starts a server only when asked, at most one per process, and never changes the
user's environment. It probes with the ordinary client, so timeouts and redaction apply.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import platformdirs

from ollama_magic.client.background import run_in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.errors import (
    EngineError,
    OllamaMagicError,
    ServerError,
    ServerUnreachableError,
    quoted,
)

OnStatus = Callable[[str], None]

_IMPORT_ROOT = Path(__file__).resolve().parents[2]
"""The folder that contains the package."""
_PROBE_TIMEOUT_S = 3.0
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 8.0
_POLL_S = 0.05
_LOG_LIMIT_BYTES = 1_000_000
_TAIL_BYTES = 2000
_INSTALL = (
    'pip install "ollama-magic[embedded]", or Ollama: https://ollama.com/download'
)


@dataclass(frozen=True)
class RunningServer:
    """A server that responded."""

    base_url: str
    api_key: str | None = field(repr=False)
    """The bearer token to send; never shown."""
    kind: Literal["found", "ollama", "embedded"]
    """``found`` was running already; the others were started here."""
    version: str

    holds_secrets: ClassVar[bool] = True
    """``{{ }}`` in a prompt never looks into this object."""


def serve(
    client: OllamaClient,
    *,
    embedded: bool = False,
    on_status: OnStatus = lambda _: None,
) -> RunningServer:
    """Return a running server; start one if necessary.

    In this order: the server at the client's host; the one started earlier; the
    installed ``ollama`` program, listening there; the embedded engine, which starts
    without models.

    Parameters
    ----------
    client
        A client of the configured host.
    embedded
        Whether to use only the embedded engine.
    on_status
        Called with a short text at each slow step.

    Raises
    ------
    EngineError
        No server responds and none could be started; or the server is not Ollama.
    """
    base_url = client.host.base_url
    if not embedded:
        try:
            version = _version(client)
        except TimeoutError:
            if running() is None:
                raise _silent(base_url) from None
            version = None
        if version is not None:
            return RunningServer(base_url, None, "found", version)
    server = running()
    if server is not None and (not embedded or server.kind == "embedded"):
        return server
    stop()
    if not (embedded or client.host.is_loopback):
        raise EngineError(
            f"No server responded at {base_url}, which is another machine.",
            why="a server can only be started on this machine",
            next_step="start Ollama there, or try the embedded engine: "
            "%ollama serve --embedded",
        )
    is_installed = shutil.which("ollama") is not None
    start = _start_ollama if is_installed and not embedded else _start_embedded
    return _started.start(start, base_url, on_status)


class _ServerProcess:
    """A server process with a log; it ends when its standard input is closed.

    Parameters
    ----------
    name
        For messages and the name of the log file.
    command
        Arguments after ``python -m``. It runs in the folder that contains the package,
        so that files next to a notebook cannot shadow modules.
    captures_output
        Whether standard output is a pipe to read; otherwise it goes to the log.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        captures_output: bool = False,
    ) -> None:
        self.name = name
        self.log = _log_path(name)
        # Its own group, because the stop button signals the kernel's whole group.
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603  (our own modules)
                [sys.executable, "-m", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if captures_output else log,
                stderr=log,
                cwd=_IMPORT_ROOT,
                env=dict(environment),
                start_new_session=os.name == "posix",
                creationflags=flags,
            )

    def read_line(self) -> bytes:
        """Wait for a line of standard output; empty if the process has ended."""
        pipe = self._process.stdout
        return pipe.readline() if pipe is not None else b""

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    def stop(self) -> None:
        """Stop it, and wait until it has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Only now: closing waits for a thread that is still reading.
        if self._process.stdout is not None:
            self._process.stdout.close()

    @contextlib.contextmanager
    def stopped_on_error(self) -> Iterator[None]:
        """Stop it if the block raises, also by an interrupt."""
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def failure(self, what: str) -> EngineError:
        """Return an error with its exit status and the last line of its log."""
        code = self.exit_code
        parts = [_exit_words(code)] if code is not None else []
        with self.log.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            said = _last_line(log.read())
        why = "; ".join([*parts, *said])
        return EngineError(what, why=why, next_step=f"see its log: {self.log}")


class _StartedServer:
    """The server that this process has started, if any."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._child: _ServerProcess | None = None
        self._server: RunningServer | None = None
        self._owner = 0
        self._requested_url = ""
        """The address that was requested; the embedded engine has its own."""

    def start(
        self,
        start: Callable[[str, OnStatus], tuple[_ServerProcess, RunningServer]],
        base_url: str,
        on_status: OnStatus,
    ) -> RunningServer:
        with self._lock:
            try:
                self._child, self._server = start(base_url, on_status)
            except OSError as error:
                text = "The server could not be started."
                raise EngineError(text, why=str(error)) from error
            self._owner, self._requested_url = os.getpid(), base_url
            return self._server

    def running(self) -> RunningServer | None:
        """Return the server that was started here, if it is still running."""
        child = self._child
        is_alive = child is not None and child.exit_code is None
        return self._server if is_alive else None

    def started_for(self) -> tuple[str, RunningServer] | None:
        """Return the requested address and the server that was started for it."""
        server = self.running()
        return None if server is None else (self._requested_url, server)

    def stop(self) -> bool:
        """Stop the server that was started here; return whether there was one."""
        with self._lock:
            child, self._child, self._server = self._child, None, None
            # A forked process (multiprocessing) has a copy of this object.
            if child is None or self._owner != os.getpid():
                return False
            was_alive = child.exit_code is None
            child.stop()
            return was_alive

    def crash_report(self) -> EngineError | None:
        """Return why the server that was started here crashed, if it did.

        For the error of a request that could not reach it.
        """
        child = self._child
        if child is None or child.exit_code is None:
            return None
        error = child.failure(f"The {child.name} server has crashed.")
        error.next_step = f"restart it: %ollama serve   ({error.next_step})"
        return error


_started = _StartedServer()
running = _started.running
started_for = _started.started_for
stop = _started.stop
crash_report = _started.crash_report
atexit.register(stop)


def _start_embedded(
    _: str, on_status: OnStatus
) -> tuple[_ServerProcess, RunningServer]:
    if importlib.util.find_spec("xllamacpp") is None:
        raise EngineError(
            "No server is running, and neither Ollama nor the embedded engine is "
            "installed.",
            why="the package xllamacpp is not installed",
            next_step=_INSTALL,
        )
    on_status("starting the embedded engine")
    _check_engine_package()
    environment = dict(os.environ)
    store = environment.get("OLLAMA_MAGIC_EMBEDDED_MODELS")
    if store:  # it has another working directory
        path = Path(store).expanduser().absolute()
        environment["OLLAMA_MAGIC_EMBEDDED_MODELS"] = str(path)
    command = ["ollama_magic.server.embedded"]
    child = _ServerProcess("embedded", command, environment, captures_output=True)
    with child.stopped_on_error():
        handshake = _handshake(child)
        base_url, token = handshake["base_url"], handshake["token"]
        version = _wait_for_version(child, base_url, token)
    return child, RunningServer(base_url, token, "embedded", version)


def _check_engine_package() -> None:
    """Import the engine's package in a process that may crash, before any download.

    Raises
    ------
    EngineError
        It is installed but does not work: built for another processor, or broken.
    """
    command = [sys.executable, "-c", "import xllamacpp"]
    with tempfile.TemporaryFile() as said:
        code = subprocess.run(  # noqa: S603  (constant arguments)
            command,
            cwd=_IMPORT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=os.name == "posix",
            check=False,
        ).returncode
        said.seek(0)
        last = _last_line(said.read())
    if code:
        raise EngineError(
            "The embedded engine does not work: importing its package xllamacpp "
            "failed.",
            why="; ".join([_exit_words(code), *last]),
            next_step=f"reinstall it: {_INSTALL}",
        )


def _start_ollama(
    base_url: str, on_status: OnStatus
) -> tuple[_ServerProcess, RunningServer]:
    on_status("starting ollama serve")
    program = shutil.which("ollama") or "ollama"
    environment = {
        **os.environ,
        "OLLAMA_HOST": urlsplit(base_url).netloc.rpartition("@")[2],
    }
    guard = ["ollama_magic.server.embedded.watchdog", "--", program, "serve"]
    child = _ServerProcess("ollama", guard, environment)
    with child.stopped_on_error():
        version = _wait_for_version(child, base_url, None)
    return child, RunningServer(base_url, None, "ollama", version)


def _handshake(child: _ServerProcess) -> dict[str, Any]:
    """Read the one line that the engine prints; stays interruptible."""
    deadline = time.monotonic() + _START_TIMEOUT_S

    def give_up_in_time() -> None:
        if time.monotonic() > deadline:
            raise TimeoutError

    try:
        line = run_in_background(child.read_line, on_tick=give_up_in_time)
        handshake: dict[str, Any] = json.loads(line)
    except (TimeoutError, ValueError):  # if it ended, its log says why
        raise child.failure("The embedded engine did not start.") from None
    return handshake


def _wait_for_version(child: _ServerProcess, base_url: str, api_key: str | None) -> str:
    client = OllamaClient(base_url, api_key=api_key or "")
    deadline = time.monotonic() + _START_TIMEOUT_S
    while child.exit_code is None and time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):  # it may still load
            version = _version(client)
            if version is not None:
                return version
        time.sleep(_POLL_S)
    raise child.failure(f"The {child.name} server did not respond at {base_url}.")


def _version(client: OllamaClient) -> str | None:
    """Return the version of the server, or None if there is none.

    Raises
    ------
    EngineError
        The server returns an error, or is not Ollama.
    TimeoutError
        Something accepts the connection, but does not respond in time.
    """
    url, began = client.host.base_url, time.monotonic()

    def give_up_in_time() -> None:
        if time.monotonic() - began > _PROBE_TIMEOUT_S:
            raise TimeoutError

    try:
        return quoted(
            run_in_background(client.version, on_tick=give_up_in_time), limit=80
        )
    except ServerUnreachableError:
        return None
    except OllamaMagicError as error:
        is_refusal = isinstance(error, ServerError)
        step = error.next_step if is_refusal else "set another address"
        state = "rejects requests" if is_refusal else "is not Ollama"
        raise EngineError(
            f"The server at {url} {state}.",
            why=error.why or error.what,
            next_step=f"{step}; or use the embedded engine: %ollama serve --embedded",
        ) from None


def _silent(base_url: str) -> EngineError:
    """Return the error for a port that is taken, so that no server could use it."""
    return EngineError(
        f"The server at {base_url} does not respond.",
        why=f"{_PROBE_TIMEOUT_S:g} s after the request there was no response",
        next_step="run this again if it is busy; or use the embedded engine: "
        "%ollama serve --embedded",
    )


def _log_path(name: str) -> Path:
    folder = Path(platformdirs.user_log_dir("ollama_magic"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}.log"
    with contextlib.suppress(OSError):  # missing, or another kernel writes to it
        if path.stat().st_size > _LOG_LIMIT_BYTES:
            path.unlink()
    path.touch(mode=0o600)
    with contextlib.suppress(OSError):  # it may belong to another user
        path.chmod(0o600)
    return path


def _last_line(said: bytes) -> list[str]:
    """Return the last line of an output in a list; empty if it has none."""
    lines = said.decode("utf-8", "replace").split("\n")
    return [line.strip() for line in lines if line.strip()][-1:]


def _exit_words(code: int) -> str:
    if code < 0:
        try:
            return f"ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"ended by signal {-code}"
    return f"ended with exit code {code}"
