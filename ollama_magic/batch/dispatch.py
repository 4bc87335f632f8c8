"""Who asks: threads of this process, or an executor whose workers are elsewhere.

Knows how one row is asked, and what is known of it then. Knows nothing of the other
rows, and never shows or keeps anything.
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

from ollama_magic.batch.servers import Server
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.streams import ReplyStream
from ollama_magic.client.types import GenerateRequest, Request, Stats
from ollama_magic.errors import (
    ConfigError,
    OllamaMagicError,
    ServerUnreachableError,
    StreamInterruptedError,
)
from ollama_magic.generation.answer import Answer
from ollama_magic.generation.schema import Json
from ollama_magic.generation.schema_check import Repair

LOST = (ServerUnreachableError, StreamInterruptedError)
"""Errors that say nothing of the row: the server went away, or the way to it."""

_AHEAD = 4
"""Rows per worker that wait in an executor, so that no worker waits for one."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of asking one row; it can be sent between processes."""

    text: str = ""
    thinking: str = ""
    thinking_s: float = 0.0
    done_reason: str = ""
    stats: Stats = field(default_factory=Stats)
    error: OllamaMagicError | None = None
    is_gone: bool = False
    """Whether the server does not answer any more."""


class Workers(Protocol):
    """Who takes requests and answers them some time later."""

    def submit(self, server: Server, request: GenerateRequest) -> Future[Answered]:
        """Have a request sent to a server."""

    def stop(self) -> None:
        """End what is under way, as far as it can be ended from here."""


@dataclass(frozen=True)
class Crew:
    """Workers, and how many rows they are given."""

    workers: Workers
    rows_per_server: int
    """Rows that may be under way at each server, or wait for that, at a time."""


@contextmanager
def crew_for(
    executor: Executor | None, schema: Json | None, concurrency: int, servers: int
) -> Iterator[Crew]:
    """Give workers: threads of our own, or those of an executor."""
    if executor is None:
        threads = ThreadPoolExecutor(concurrency * servers, "ollama-map")
        try:
            yield Crew(Threads(threads, schema), concurrency)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    elif isinstance(executor, ThreadPoolExecutor):
        yield Crew(Threads(executor, schema), _AHEAD * concurrency)
    else:
        yield Crew(Processes(executor, schema), _AHEAD * concurrency)


# -- threads of this process -----------------------------------------------------


class Threads:
    """Workers that share our clients, and whose connections we can close."""

    def __init__(self, executor: Executor, schema: Json | None) -> None:
        self._executor = executor
        self._schema = schema
        self._lock = threading.Lock()
        self._streams: set[ReplyStream] = set()
        self._is_stopped = False

    def submit(self, server: Server, request: GenerateRequest) -> Future[Answered]:
        """Have a thread ask; see :class:`Workers`."""
        return self._executor.submit(self._ask, server.client, request)

    def stop(self) -> None:
        """Close all connections; what is begun from now on ends at once."""
        with self._lock:
            self._is_stopped = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()

    def _ask(self, client: OllamaClient, request: GenerateRequest) -> Answered:
        def send(request: Request) -> Answer:
            stream = client.send(request)
            with self._lock:
                self._streams.add(stream)
                if self._is_stopped:
                    stream.close()
            try:
                return _complete(stream)
            finally:
                with self._lock:
                    self._streams.discard(stream)

        def is_gone() -> bool:
            return not self._is_stopped and _is_gone(client)

        return _ask(send, is_gone, request, self._schema)


# -- workers elsewhere -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """One row as it travels to a worker; no secret is in it."""

    base_url: str
    uses_key: bool
    """Whether the server is the configured one, to which ``OLLAMA_API_KEY`` belongs."""
    request: GenerateRequest
    schema: Json | None
    insecure_hosts: tuple[str, ...] = ()
    """Machines that may get the key of the worker over plain http."""


class Processes:
    """Workers of an executor in other processes, perhaps on other machines.

    Nothing can be closed from here: a worker ends the row that it is at.
    """

    def __init__(self, executor: Executor, schema: Json | None) -> None:
        self._executor = executor
        self._schema = schema

    def submit(self, server: Server, request: GenerateRequest) -> Future[Answered]:
        """Send a job; see :class:`Workers`."""
        host = server.client.host
        if host.user or host.password:
            raise ConfigError(
                f"The password of {host.base_url} was not given to other processes.",
                why="a row travels to the workers of an executor without any secret",
                next_step="leave the executor out, or set OLLAMA_API_KEY where the "
                "workers run",
            )
        job = Job(
            host.base_url,
            server.is_configured,
            request,
            self._schema,
            server.client.insecure_hosts,
        )
        return self._executor.submit(ask_job, job)

    def stop(self) -> None:
        """Do nothing."""


def ask_job(job: Job) -> Answered:
    """Ask one row in the process of a worker; errors are part of what is returned."""
    try:
        client = OllamaClient(
            job.base_url,
            api_key=None if job.uses_key else "",
            insecure_hosts=job.insecure_hosts,
        )
    except ConfigError as error:  # the worker's own key
        return Answered(error=error)
    return _ask(
        lambda request: _complete(client.send(request)),
        lambda: _is_gone(client),
        job.request,
        job.schema,
    )


# -- one row -------------------------------------------------------------------


def _ask(
    send: Callable[[Request], Answer],
    is_gone: Callable[[], bool],
    request: GenerateRequest,
    schema: Json | None,
) -> Answered:
    """Ask one row, and once more when its reply does not follow the schema."""
    repair = None if schema is None else Repair(schema)
    following: Request | None = request
    answer = Answer()
    try:
        while following is not None:
            answer = send(following)
            following = repair.next_request(request, answer) if repair else None
    except LOST as error:
        return Answered(error=error, is_gone=is_gone())
    except OllamaMagicError as error:
        return Answered(error=error)
    return Answered(
        answer.text,
        answer.thinking,
        answer.thinking_s,
        answer.done_reason,
        answer.stats,
    )


def _complete(stream: ReplyStream) -> Answer:
    answer = Answer()
    with stream:
        for chunk in stream:
            answer.add(chunk)
    return answer


def _is_gone(client: OllamaClient) -> bool:
    """Ask for a sign of life."""
    try:
        client.version()
    except LOST:
        return True
    except OllamaMagicError:  # whatever it says, it is there
        return False
    return False


@dataclass(frozen=True, slots=True)
class Landed:
    """A request, and what came of it."""

    request: GenerateRequest
    server: Server
    answered: Answered


@dataclass(slots=True, eq=False)
class _Lane:
    """A server, and how many rows it has been given."""

    server: Server
    under_way: int = 0


class Course:
    """Requests on their way, from the first one to the last.

    Parameters
    ----------
    servers
        The one with the fewest rows under way gets the next row, so that a fast one
        does more. One that goes away is given up, and its rows are asked elsewhere.
    fault
        Why none of them can be asked, if that is known.
    """

    def __init__(
        self,
        crew: Crew,
        servers: Sequence[Server],
        fault: OllamaMagicError | None = None,
    ) -> None:
        self._crew = crew
        self._fault = fault
        self._lanes = deque(_Lane(server) for server in servers)
        self._waiting: deque[GenerateRequest] = deque()
        self._under_way: dict[Future[Answered], tuple[GenerateRequest, _Lane]] = {}
        self._done: SimpleQueue[Future[Answered]] = SimpleQueue()
        self._asked_again: set[str] = set()
        self.landed: deque[Landed] = deque()
        """What has come; whoever has dealt with the first one takes it away."""
        self.notes: list[str] = []
        """Which servers were given up, and why."""

    def run(
        self, requests: Iterable[GenerateRequest], tick_s: float = 0.1
    ) -> Iterator[None]:
        """Send all requests; yield when something has landed, and at every tick.

        Raises
        ------
        ConfigError
            The executor takes no more work.
        OllamaMagicError
            There are requests, and nobody can be asked.
        """
        self._waiting.extend(requests)
        if self._waiting and self._fault is not None:
            raise self._fault
        self._send()
        while self._under_way:
            self._gather(tick_s)
            self._send()  # first, so that nobody waits while the caller keeps these
            yield

    def stop(self) -> None:
        """Begin nothing more, end what is under way; what is complete has landed."""
        self._waiting.clear()
        for future in list(self._under_way):
            future.cancel()
        self._crew.workers.stop()
        self.landed += [
            Landed(request, lane.server, future.result())
            for future, (request, lane) in self._under_way.items()
            if _is_answered(future)
        ]
        self._under_way.clear()

    def _send(self) -> None:
        while self._waiting and (lane := self._lane_with_room()):
            request = self._waiting.popleft()
            try:
                future = self._crew.workers.submit(lane.server, request)
            except RuntimeError as error:  # it is shut down, or broken
                raise _unusable(error) from error
            lane.under_way += 1
            self._under_way[future] = (request, lane)
            future.add_done_callback(self._done.put)

    def _lane_with_room(self) -> _Lane | None:
        if not self._lanes:
            return None
        self._lanes.rotate(-1)  # of equals, take turns
        lane = min(self._lanes, key=lambda lane: lane.under_way)
        return lane if lane.under_way < self._crew.rows_per_server else None

    def _gather(self, tick_s: float) -> None:
        futures: list[Future[Answered]] = []
        with suppress(Empty):
            futures.append(self._done.get(timeout=tick_s))
            while True:
                futures.append(self._done.get_nowait())
        for future in futures:
            answered = _result(future)
            request, lane = self._under_way[future]
            self._deal_with(request, lane, answered)
            # NB: last, so that an interrupt in here loses no answer.
            del self._under_way[future]
            lane.under_way -= 1

    def _deal_with(
        self, request: GenerateRequest, lane: _Lane, answered: Answered
    ) -> None:
        """Take an answer, or have a row asked again that its server has lost."""
        if answered.is_gone and answered.error is not None:
            self._give_up(lane, answered.error)
        is_lost = isinstance(answered.error, LOST)
        is_first_time = request.prompt not in self._asked_again
        if is_lost and (lane not in self._lanes or is_first_time):
            if lane in self._lanes:
                self._asked_again.add(request.prompt)
            self._waiting.appendleft(request)
        else:
            self.landed.append(Landed(request, lane.server, answered))
        if not self._lanes:  # nobody is left to be asked
            while self._waiting:
                self.landed.append(Landed(self._waiting[0], lane.server, answered))
                self._waiting.popleft()

    def _give_up(self, lane: _Lane, error: OllamaMagicError) -> None:
        if lane in self._lanes:
            self._lanes.remove(lane)
            url = lane.server.base_url
            self.notes.append(f"Given up on the way: {url}: {error.why or error.what}")


def _is_answered(future: Future[Answered]) -> bool:
    if not future.done() or future.cancelled() or future.exception() is not None:
        return False
    return future.result().error is None


def _result(future: Future[Answered]) -> Answered:
    try:
        return future.result()
    except BrokenExecutor as error:
        raise _unusable(error) from error


def _unusable(error: RuntimeError) -> ConfigError:
    return ConfigError(
        "The executor takes no more work.",
        why=str(error) or type(error).__name__,
        next_step="make a new one and run it again: what was answered is kept",
    )
