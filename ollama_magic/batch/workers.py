"""The workers of ``map_prompts``: each sends one row, and returns its reply or error.

They are threads of this process, or run in an executor. The dispatcher above them
decides which row goes to which server, and when.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ollama_magic.batch.servers import BatchServer
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.decisions import AnyRequest, DecisionRequest, RowRequest
from ollama_magic.client.streams import ReplyStream
from ollama_magic.errors import (
    ConfigError,
    OllamaMagicError,
    ServerUnreachableError,
    StreamInterruptedError,
)
from ollama_magic.generation.response import Response
from ollama_magic.generation.schema import Repair, Schema
from ollama_magic.generation.schema_check import Json

CONNECTION_ERRORS = (ServerUnreachableError, StreamInterruptedError)
"""Errors of the server or the network, not of the row: the row can be sent again."""

_AHEAD = 4
"""Rows per worker that wait in an executor, so that no worker is idle."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """The reply to one row, or its error; it can be pickled."""

    response: Response = field(default_factory=Response)
    error: OllamaMagicError | None = None
    is_server_gone: bool = False
    """Whether the server answered nothing at all after a connection error."""


class Workers(Protocol):
    """Sends requests in the background."""

    rows_per_server: int
    """How many rows may be sent to a server, or wait for it, at a time."""

    def submit(self, server: BatchServer, request: RowRequest) -> Future[RowResult]:
        """Send a request to a server."""

    def stop(self) -> None:
        """End the requests in flight, as far as this process can."""


@contextmanager
def open_workers(
    executor: Executor | None, schema: Schema | None, concurrency: int, servers: int
) -> Iterator[Workers]:
    """Open workers: new threads, or those of an executor."""
    if executor is None:
        threads = ThreadPoolExecutor(concurrency * servers, "ollama-map")
        try:
            yield ThreadWorkers(threads, schema, concurrency)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    elif isinstance(executor, ThreadPoolExecutor):
        yield ThreadWorkers(executor, schema, _AHEAD * concurrency)
    else:
        yield ProcessWorkers(executor, schema, _AHEAD * concurrency)


class ThreadWorkers:
    """Threads that share the clients; their connections can be closed from here."""

    def __init__(
        self, executor: Executor, schema: Schema | None, rows_per_server: int
    ) -> None:
        self.rows_per_server = rows_per_server
        self._executor = executor
        self._schema = schema
        self._lock = threading.Lock()
        self._streams: set[ReplyStream] = set()
        self._is_stopped = False

    def submit(self, server: BatchServer, request: RowRequest) -> Future[RowResult]:
        """Send a request in a thread."""
        return self._executor.submit(self._ask, server.client, request)

    def stop(self) -> None:
        """Close all connections, and those that are opened later."""
        with self._lock:
            self._is_stopped = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()

    def _ask(self, client: OllamaClient, request: RowRequest) -> RowResult:
        def send(request: AnyRequest) -> Response:
            stream = client.send(request)
            with self._lock:
                self._streams.add(stream)
                if self._is_stopped:
                    stream.close()
            try:
                return _read(stream)
            finally:
                with self._lock:
                    self._streams.discard(stream)

        def is_gone() -> bool:
            return not self._is_stopped and _is_gone(client)

        return _ask(send, is_gone, request, self._schema)


@dataclass(frozen=True, slots=True)
class RowTask:
    """One row as it is pickled for a worker process; it contains no secret."""

    base_url: str
    uses_key: bool
    """Whether the server is the configured one, which ``OLLAMA_API_KEY`` is for."""
    request: RowRequest
    schema: Json | None
    """Without the Python type: a class of the notebook may not exist in a worker."""
    insecure_hosts: tuple[str, ...] = ()
    """Hosts that the worker may send its key to over plain http."""


class ProcessWorkers:
    """Workers of an executor in other processes, perhaps on other machines.

    Their connections cannot be closed from here: a worker finishes its row.
    """

    def __init__(
        self, executor: Executor, schema: Schema | None, rows_per_server: int
    ) -> None:
        self.rows_per_server = rows_per_server
        self._executor = executor
        self._schema = None if schema is None else schema.json

    def submit(self, server: BatchServer, request: RowRequest) -> Future[RowResult]:
        """Send a task to a worker."""
        host = server.client.host
        has_password = bool(host.user or host.password)
        if has_password or server.client.header_names:
            secret = "password" if has_password else "secret in headers"
            raise ConfigError(
                f"The {secret} for {host.base_url} was not sent to other processes.",
                why="rows are sent to the workers of an executor without any secret",
                next_step="leave executor out, or set OLLAMA_API_KEY where the "
                "workers run",
            )
        task = RowTask(
            host.base_url,
            server.is_configured,
            request,
            self._schema,
            server.client.insecure_hosts,
        )
        return self._executor.submit(run_task, task)

    def stop(self) -> None:
        """Do nothing."""


def run_task(task: RowTask) -> RowResult:
    """Send one row from a worker process; an error is part of the result."""
    try:
        client = OllamaClient(
            task.base_url,
            api_key=None if task.uses_key else "",
            insecure_hosts=task.insecure_hosts,
        )
    except ConfigError as error:  # the worker's own key is invalid
        return RowResult(error=error)
    return _ask(
        lambda request: _read(client.send(request)),
        lambda: _is_gone(client),
        task.request,
        None if task.schema is None else Schema(task.schema),
    )


def _ask(
    send: Callable[[AnyRequest], Response],
    is_gone: Callable[[], bool],
    request: RowRequest,
    schema: Schema | None,
) -> RowResult:
    """Send one row, and once more if its reply does not match the schema."""
    repair = None if schema is None else Repair(schema)
    next_request: AnyRequest | None = request
    response = Response()
    try:
        while next_request is not None:
            response = send(next_request)
            next_request = None
            if repair is not None and not isinstance(request, DecisionRequest):
                next_request = repair.next_request(request, response)
    except CONNECTION_ERRORS as error:
        return RowResult(error=error, is_server_gone=is_gone())
    except OllamaMagicError as error:
        return RowResult(error=error)
    return RowResult(response)


def _read(stream: ReplyStream) -> Response:
    response = Response()
    with stream:
        for chunk in stream:  # one by one, since thinking is timed
            response.read([chunk])
    return response


def _is_gone(client: OllamaClient) -> bool:
    try:
        client.version()
    except CONNECTION_ERRORS:
        return True
    except OllamaMagicError:  # any reply means that the server is there
        return False
    return False
