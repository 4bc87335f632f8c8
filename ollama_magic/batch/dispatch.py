"""How rows are spread over servers, and what becomes of a row that is lost.

Knows which server has room, when one is given up, and who is asked again. Refuses to
know what a row says, where answers are kept and what is shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ollama_magic.batch.servers import Server
from ollama_magic.batch.workers import LOST, Answered, Crew
from ollama_magic.client.requests import GenerateRequest
from ollama_magic.errors import ConfigError, OllamaMagicError


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
