"""Sends rows to servers: workers that send one row, and the dispatcher above them.

``map_prompts`` opens the workers (threads of this process, or a given executor) and
runs the dispatcher. A server that stops answering is dropped, and its rows go to the
others; a row that is lost while its server still answers is retried once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Protocol

from ollama_magic.batch.servers import BatchServer
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.streams import ReplyStream
from ollama_magic.client.types import GenerateRequest, Request
from ollama_magic.errors import (
    ConfigError,
    OllamaMagicError,
    ServerUnreachableError,
    StreamInterruptedError,
)
from ollama_magic.generation.response import Response
from ollama_magic.generation.schema import Repair, Schema
from ollama_magic.generation.schema_check import Json

_CONNECTION_ERRORS = (ServerUnreachableError, StreamInterruptedError)
"""Errors of the server or the network, not of the row: the row can be retried."""

_AHEAD = 4
"""Rows per worker that wait in an executor, so that no worker is idle."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """The reply to one row, or its error; it can be pickled."""

    response: Response = field(default_factory=Response)
    error: OllamaMagicError | None = None
    is_server_gone: bool = False


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A request, the server that it was sent to, and the result."""

    request: GenerateRequest
    server: BatchServer
    result: RowResult


# -- the dispatcher --------------------------------------------------------------


class Workers(Protocol):
    """Sends requests in the background."""

    rows_per_server: int
    """How many rows may be sent to a server, or wait for it, at a time."""

    def submit(
        self, server: BatchServer, request: GenerateRequest
    ) -> Future[RowResult]:
        """Send a request to a server."""

    def stop(self) -> None:
        """End the requests in flight, as far as this process can."""


@dataclass(slots=True, eq=False)
class _ServerLoad:
    """A server and the number of its rows in flight."""

    server: BatchServer
    in_flight: int = 0


class Dispatcher:
    """Distributes requests over servers.

    The server with the fewest rows in flight gets the next row, so a fast server
    answers more of them.

    Parameters
    ----------
    fault
        Why no server can be used, if that is known.
    """

    def __init__(
        self,
        workers: Workers,
        servers: Sequence[BatchServer],
        fault: OllamaMagicError | None = None,
    ) -> None:
        self._workers = workers
        self._fault = fault
        self._loads = deque(_ServerLoad(server) for server in servers)
        self._waiting: deque[GenerateRequest] = deque()
        self._in_flight: dict[
            Future[RowResult], tuple[GenerateRequest, _ServerLoad]
        ] = {}
        self._done: SimpleQueue[Future[RowResult]] = SimpleQueue()
        self._retried: set[str] = set()
        self.finished: deque[FinishedRow] = deque()
        """Finished rows; the caller removes those that it has processed."""
        self.notes: list[str] = []
        """Which servers were dropped, and why."""

    def run(
        self, requests: Iterable[GenerateRequest], tick_s: float = 0.1
    ) -> Iterator[None]:
        """Send all requests; yield when rows have finished, and at every tick.

        Raises
        ------
        ConfigError
            The executor accepts no more work.
        OllamaMagicError
            There are requests, and no server can be used.
        """
        self._waiting.extend(requests)
        if self._waiting and self._fault is not None:
            raise self._fault
        self._send()
        while self._in_flight:
            self._collect(tick_s)
            self._send()  # before the caller stores results, so no worker is idle
            yield

    def stop(self) -> None:
        """End the requests in flight; complete replies are in ``finished``."""
        self._waiting.clear()
        for future in list(self._in_flight):
            future.cancel()
        self._workers.stop()
        self.finished += [
            FinishedRow(request, load.server, future.result())
            for future, (request, load) in self._in_flight.items()
            if _is_answered(future)
        ]
        self._in_flight.clear()

    def _send(self) -> None:
        while self._waiting and (load := self._least_loaded()):
            request = self._waiting.popleft()
            try:
                future = self._workers.submit(load.server, request)
            except RuntimeError as error:  # the executor is shut down or broken
                raise _unusable_executor(error) from error
            load.in_flight += 1
            self._in_flight[future] = (request, load)
            future.add_done_callback(self._done.put)

    def _least_loaded(self) -> _ServerLoad | None:
        if not self._loads:
            return None
        self._loads.rotate(-1)  # equally loaded servers take turns
        load = min(self._loads, key=lambda load: load.in_flight)
        return load if load.in_flight < self._workers.rows_per_server else None

    def _collect(self, tick_s: float) -> None:
        futures: list[Future[RowResult]] = []
        with suppress(Empty):
            futures.append(self._done.get(timeout=tick_s))
            while True:
                futures.append(self._done.get_nowait())
        for future in futures:
            result = _result_of(future)
            request, load = self._in_flight[future]
            self._finish_or_retry(request, load, result)
            # NB: removed last, so that an interrupt above loses no reply.
            del self._in_flight[future]
            load.in_flight -= 1

    def _finish_or_retry(
        self, request: GenerateRequest, load: _ServerLoad, result: RowResult
    ) -> None:
        if result.is_server_gone and result.error is not None:
            self._drop(load, result.error)
        is_lost = isinstance(result.error, _CONNECTION_ERRORS)
        is_first_time = request.prompt not in self._retried
        if is_lost and (load not in self._loads or is_first_time):
            if load in self._loads:
                self._retried.add(request.prompt)
            self._waiting.appendleft(request)
        else:
            self.finished.append(FinishedRow(request, load.server, result))
        if not self._loads:  # no server is left: the other rows fail in the same way
            while self._waiting:
                row = FinishedRow(self._waiting[0], load.server, result)
                self.finished.append(row)
                self._waiting.popleft()

    def _drop(self, load: _ServerLoad, error: OllamaMagicError) -> None:
        if load in self._loads:
            self._loads.remove(load)
            url = load.server.base_url
            self.notes.append(f"Server skipped: {url}: {error.why or error.what}")


def _is_answered(future: Future[RowResult]) -> bool:
    if not future.done() or future.cancelled() or future.exception() is not None:
        return False
    return future.result().error is None


def _result_of(future: Future[RowResult]) -> RowResult:
    try:
        return future.result()
    except BrokenExecutor as error:
        raise _unusable_executor(error) from error


def _unusable_executor(error: RuntimeError) -> ConfigError:
    return ConfigError(
        "The executor accepts no more work.",
        why=str(error) or type(error).__name__,
        next_step="create a new executor and run it again: finished rows are cached",
    )


# -- workers ---------------------------------------------------------------------


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

    def submit(
        self, server: BatchServer, request: GenerateRequest
    ) -> Future[RowResult]:
        """Send a request in a thread."""
        return self._executor.submit(self._ask, server.client, request)

    def stop(self) -> None:
        """Close all connections, and those that are opened later."""
        with self._lock:
            self._is_stopped = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()

    def _ask(self, client: OllamaClient, request: GenerateRequest) -> RowResult:
        def send(request: Request) -> Response:
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
    request: GenerateRequest
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

    def submit(
        self, server: BatchServer, request: GenerateRequest
    ) -> Future[RowResult]:
        """Send a task to a worker."""
        host = server.client.host
        if host.user or host.password:
            raise ConfigError(
                f"The password of {host.base_url} was not sent to other processes.",
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
    send: Callable[[Request], Response],
    is_gone: Callable[[], bool],
    request: GenerateRequest,
    schema: Schema | None,
) -> RowResult:
    """Send one row, and once more if its reply does not match the schema."""
    repair = None if schema is None else Repair(schema)
    next_request: Request | None = request
    response = Response()
    try:
        while next_request is not None:
            response = send(next_request)
            next_request = repair.next_request(request, response) if repair else None
    except _CONNECTION_ERRORS as error:
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
    except _CONNECTION_ERRORS:
        return True
    except OllamaMagicError:  # any reply means that the server is there
        return False
    return False
