"""The workers of ``map_prompts``: threads that take a row, send it, and take the next.

A row is sent by the thread itself, or by an executor for which the thread waits. The
dispatcher decides which row goes to which server, and when. No other thread is involved
until a row has its result, so a row costs little more than its request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from ollama_magic.batch.dispatch import (
    CONNECTION_ERRORS,
    Dispatcher,
    FinishedRow,
    RowResult,
    ServerLoad,
)
from ollama_magic.batch.servers import BatchServer
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.decisions import AnyRequest, DecisionRequest, RowRequest
from ollama_magic.client.streams import ReplyStream
from ollama_magic.errors import ConfigError, OllamaMagicError
from ollama_magic.generation.response import Response
from ollama_magic.generation.schema import Repair, Schema, with_format_in_words
from ollama_magic.generation.schema_check import Json

_PAUSE_S = 0.01
"""How long rows are collected: waking a thread for one costs more than storing it."""


class Workers:
    """The threads that send the rows of a dispatcher.

    They are daemons: the interpreter can exit while a row cannot be stopped.
    """

    def __init__(self, dispatcher: Dispatcher, sender: Sender) -> None:
        self._dispatcher = dispatcher
        self._sender = sender
        self._lock = threading.Lock()
        self._may_take = threading.Condition(self._lock)
        self._has_finished = threading.Condition(self._lock)
        self._is_ending = threading.Event()
        self._error: BaseException | None = None
        self._is_stopped = False

    @property
    def waits_for(self) -> str:
        """The server that is waited for, and why; empty if all are in service."""
        with self._lock:
            return self._dispatcher.waits_for

    def run(
        self, requests: Iterable[RowRequest], count: int
    ) -> Iterator[list[FinishedRow]]:
        """Send ``count`` requests (at least one), and yield rows as they finish.

        Raises
        ------
        ConfigError
            The executor accepts no more work.
        OllamaMagicError
            There are requests, and no server can be used, or the last one refuses for
            good.
        """
        self._dispatcher.begin(requests)
        for number in range(min(count, self._dispatcher.most_in_flight)):
            name = f"ollama-map-{number}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        try:
            while rows := self._wait_for_rows():
                yield rows
                self._is_ending.wait(_PAUSE_S)
        finally:
            self.stop()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the rows in flight; ``run`` yields those that have finished, and ends."""
        with self._lock:
            self._is_stopped = True
            self._wake_all()
        self._sender.stop()

    @property
    def _has_ended(self) -> bool:
        is_cut_short = self._is_stopped or self._error is not None
        return is_cut_short or self._dispatcher.has_ended

    def _wake_all(self) -> None:
        self._is_ending.set()
        self._may_take.notify_all()
        self._has_finished.notify_all()

    def _wait_for_rows(self) -> list[FinishedRow]:
        with self._lock:
            while not (self._dispatcher.finished or self._has_ended):
                self._has_finished.wait()
            rows, self._dispatcher.finished = self._dispatcher.finished, []
            return rows

    def _work(self) -> None:
        try:
            taken = self._take(None)
            while taken is not None:
                request, load = taken
                sent = _as_sent(request, load.server)
                result = self._sender.send(load.server, sent)
                taken = self._take((request, load, result))
        except BaseException as error:  # noqa: BLE001  (raised again by `run`)
            with self._lock:
                self._error = self._error or error
                self._wake_all()

    def _take(
        self, finished: tuple[RowRequest, ServerLoad, RowResult] | None
    ) -> tuple[RowRequest, ServerLoad] | None:
        """Note the row that has finished, and wait for the next one to send."""
        with self._lock:
            if finished is not None and not self._is_stopped:
                self._dispatcher.finish(*finished)
                if self._dispatcher.finished:
                    self._has_finished.notify()
            while not self._has_ended:
                if (taken := self._dispatcher.take()) is not None:
                    self._may_take.notify()  # there may be one more
                    return taken
                if not self._has_ended:
                    self._may_take.wait(self._dispatcher.pause_s)
            self._wake_all()
            return None


# -- how a row is sent -------------------------------------------------------------


class Sender:
    """Sends rows from many threads at a time.

    Parameters
    ----------
    executor
        Sends the rows instead of the calling threads, which wait for it. Threads share
        the clients; workers in other processes get tasks, and finish their row when
        the call is stopped.
    """

    def __init__(
        self, schema: Schema | None = None, executor: Executor | None = None
    ) -> None:
        self._schema = schema
        self._executor = executor
        self._stops: set[Callable[[], object]] = set()
        self._is_stopped = False

    def send(self, server: BatchServer, request: RowRequest) -> RowResult:
        """Send a row to a server, and return its reply or error.

        Raises
        ------
        ConfigError
            The executor accepts no more work, or the server needs a secret that other
            processes do not get.
        """
        if self._executor is None:
            return self._ask(server.client, request)
        if isinstance(self._executor, ThreadPoolExecutor):
            call = partial(self._ask, server.client, request)
        else:
            call = partial(run_task, _task_for(server, request, self._schema))
        try:
            future = self._executor.submit(call)
        except RuntimeError as error:  # it is shut down or broken
            raise _unusable_executor(error) from error
        try:
            with self._stoppable(future.cancel):
                return future.result()
        except BrokenExecutor as error:
            raise _unusable_executor(error) from error

    def stop(self) -> None:
        """Close all connections, and those that are opened later; cancel all tasks."""
        self._is_stopped = True
        for stop in self._stops.copy():
            stop()

    @contextmanager
    def _stoppable(self, stop: Callable[[], object]) -> Iterator[None]:
        # NB: needs no lock: `stop` sets the mark first, and here it is read last.
        self._stops.add(stop)
        try:
            if self._is_stopped:
                stop()
            yield
        finally:
            self._stops.discard(stop)

    def _ask(self, client: OllamaClient, request: RowRequest) -> RowResult:
        def send(request: AnyRequest) -> Response:
            stream = client.send(request)
            with self._stoppable(stream.close):
                return _read(stream)

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


def _task_for(
    server: BatchServer, request: RowRequest, schema: Schema | None
) -> RowTask:
    host = server.client.host
    has_password = bool(host.user or host.password)
    if has_password or server.client.header_names:
        secret = "password" if has_password else "secret in headers"
        raise ConfigError(
            f"The {secret} for {host.base_url} was not sent to other processes.",
            why="rows are sent to the workers of an executor without any secret",
            next_step="leave executor out, or set OLLAMA_API_KEY where the workers run",
        )
    return RowTask(
        host.base_url,
        server.is_configured,
        request,
        None if schema is None else schema.json,
        server.client.insecure_hosts,
    )


def _unusable_executor(error: RuntimeError) -> ConfigError:
    return ConfigError(
        "The executor accepts no more work.",
        why=str(error) or type(error).__name__,
        next_step="create a new executor",
    )


def _as_sent(request: RowRequest, server: BatchServer) -> RowRequest:
    if not server.cloud_host or isinstance(request, DecisionRequest):
        return request
    return replace(request, prompt=with_format_in_words(request.prompt, request.format))


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
