"""Decides which row goes to which server, and when; nothing here waits or sends.

The workers take their rows from the dispatcher, and tell it the results. A server that
is busy, limited or gone gets no rows for a while; its rows go to the other servers, or
wait. Then single rows try it again, after growing pauses. A server that does not
recover in time is dropped, and one that refuses for good is dropped at once.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ollama_magic.batch.servers import BatchServer
from ollama_magic.client.decisions import RowRequest
from ollama_magic.errors import (
    CapabilityError,
    ConfigError,
    NotOllamaError,
    OllamaMagicError,
    ServerError,
    ServerUnreachableError,
    StreamInterruptedError,
    duration_text,
    quoted,
)
from ollama_magic.generation.response import Response

CONNECTION_ERRORS = (ServerUnreachableError, StreamInterruptedError)
"""Errors of the server or the network, not of the row: the row can be sent again."""

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.25, 30.0
"""Each pause is twice as long as the one before, unless the server names a time."""
_JITTER = 0.25
"""Pauses are longer by up to this share, so that clients do not come back together."""
_MOST_TRIES = 3
"""How often a row is sent to servers that answer other rows, but not this one."""
_BUSY = {408, 425, 429, 502, 503, 504, *range(520, 531)}
"""Statuses of a busy or limited server, and of a proxy that cannot reach it."""
_REFUSED = {401, 402, 403, 404, 405, 407, 410, 412}
_USED_UP = re.compile(
    "(usage|session|hourly|daily|weekly|monthly) limit|quota|budget|credit|billing",
    re.IGNORECASE,
)
"""In the text of a 429: more than the rate of the requests is limited."""
_CRASHED = re.compile(
    r"runner process|no longer running|running the model|CUDA error|\(500\): text/html",
    re.IGNORECASE,
)
"""In an error: the model crashed, and Ollama loads it again, or a proxy failed."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """The reply to one row, or its error; it can be pickled."""

    response: Response = field(default_factory=Response)
    error: OllamaMagicError | None = None
    is_server_gone: bool = False
    """Whether the server answered nothing at all after a connection error."""


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A request, the server that it was sent to, and the result."""

    request: RowRequest
    server: BatchServer
    result: RowResult


@dataclass(slots=True, eq=False)
class ServerLoad:
    """A server, the number of its rows in flight, and whether it is in service."""

    server: BatchServer
    limit: int
    """How many rows may be in flight; fewer while it recovers."""
    in_flight: int = 0
    error: OllamaMagicError | None = None
    """Why it is out of service."""
    failed_at: float = 0.0
    pause_s: float = 0.0
    resume_at: float = 0.0
    """It gets no row before this time."""
    has_answered: bool = False
    """Whether it answered a row. A model that crashes before never works."""

    def crashed_with(self, error: OllamaMagicError) -> bool:
        """Return whether an error says that the model crashed, which worked before."""
        return self.has_answered and _CRASHED.search(error.why) is not None

    def note(self) -> str:
        """Return why it was skipped."""
        assert self.error is not None
        return f"Server skipped: {self.server.base_url}: {_reason(self.error)}"


class Dispatcher:
    """Distributes requests over servers.

    The server with the fewest rows in flight gets the next row, so a fast server
    answers more of them.

    Not safe for threads: ``Workers`` calls it under a lock.

    Parameters
    ----------
    fault
        Why no server can be used, if that is known.
    rows_per_server
        How many rows a server may have at a time.
    patience_s
        How long to wait for a server that is out of service.
    clock
        Seconds that never go backwards.
    """

    def __init__(
        self,
        servers: Sequence[BatchServer],
        fault: OllamaMagicError | None = None,
        *,
        rows_per_server: int,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fault = fault
        self._limit = rows_per_server
        self._patience_s = patience_s
        self._clock = clock
        self._loads = deque(ServerLoad(one, rows_per_server) for one in servers)
        self.most_in_flight = rows_per_server * len(servers)
        """How many rows can be in flight at the same time."""
        self._new: Iterator[RowRequest] = iter(())
        self._has_new = True
        self._again: deque[RowRequest] = deque()
        self._in_flight = 0
        self._tries: Counter[str] = Counter()
        self.finished: list[FinishedRow] = []
        """Finished rows; the caller removes those that it has processed."""
        self._dropped: list[str] = []

    def begin(self, requests: Iterable[RowRequest]) -> None:
        """Set the requests to send."""
        self._new = iter(requests)

    @property
    def has_ended(self) -> bool:
        """Whether every row has finished."""
        return not (self._in_flight or self._again or self._has_new)

    @property
    def notes(self) -> list[str]:
        """Which servers were dropped or, at the end, are out of service, and why."""
        down = self._down if self.has_ended else ()
        return [*self._dropped, *(load.note() for load in down)]

    @property
    def waits_for(self) -> str:
        """The server that is waited for, and why; empty if all are in service."""
        load = min(self._down, key=lambda load: load.resume_at, default=None)
        if load is None:
            return ""
        assert load.error is not None
        left_s = load.resume_at - self._clock()
        next_try = f", next try in {duration_text(left_s)}" if left_s >= 0.5 else ""
        return f"waiting for {load.server.base_url}: {_reason(load.error)}{next_try}"

    @property
    def pause_s(self) -> float | None:
        """The time until a server may be tried again; None if none is waited for."""
        now = self._clock()
        resumed = [
            load.resume_at - now
            for load in self._loads
            if load.in_flight < load.limit and load.resume_at > now
        ]
        return min(resumed, default=None)

    @property
    def _down(self) -> list[ServerLoad]:
        return [load for load in self._loads if load.error is not None]

    def take(self) -> tuple[RowRequest, ServerLoad] | None:
        """Return the next row to send, and the server to send it to, if any.

        Raises
        ------
        OllamaMagicError
            There is a row, and no server can be used.
        """
        load = self._least_loaded()
        request = self._next_request() if load is not None else None
        if load is None or request is None:
            return None
        if self._fault is not None:
            raise self._fault
        load.in_flight += 1
        self._in_flight += 1
        return request, load

    def _next_request(self) -> RowRequest | None:
        # NB: rows that were sent before are the last ones. If one of them is the cause
        # of its error, the others need not wait for it.
        request = next(self._new, None)
        self._has_new = request is not None
        return request or (self._again.popleft() if self._again else None)

    def _least_loaded(self) -> ServerLoad | None:
        self._loads.rotate(-1)  # equally loaded servers take turns
        now = self._clock()
        free = [
            load
            for load in self._loads
            if load.in_flight < load.limit and load.resume_at <= now
        ]
        return min(free, key=lambda load: load.in_flight, default=None)

    def finish(self, request: RowRequest, load: ServerLoad, result: RowResult) -> None:
        """Note the result of a row that was taken; it may have to be sent again.

        Raises
        ------
        OllamaMagicError
            The last server refuses for good.
        """
        self._finish_or_retry(request, load, result)
        load.in_flight -= 1
        self._in_flight -= 1

    def _finish_or_retry(
        self, request: RowRequest, load: ServerLoad, result: RowResult
    ) -> None:
        error = result.error
        if error is not None and _is_final(error):
            if all(other is load for other in self._loads):
                raise error
            self._drop(load, error)
            self._again.append(request)
        elif error is not None and (_is_outage(error) or load.crashed_with(error)):
            # A row may be the reason for a broken connection or a crash.
            breaks = isinstance(error, CONNECTION_ERRORS) or load.crashed_with(error)
            is_there = breaks and not result.is_server_gone
            self._tries[request.prompt] += is_there or load.error is None
            self._hold_back(load, error)
            if self._tries[request.prompt] < _MOST_TRIES:
                self._again.append(request)
            else:
                self.finished.append(FinishedRow(request, load.server, result))
        else:
            load.has_answered |= error is None
            self._recover(load)
            self.finished.append(FinishedRow(request, load.server, result))
        while not self._loads and (row := self._next_request()):
            # No server is left: the other rows fail in the same way.
            self.finished.append(FinishedRow(row, load.server, result))

    def _hold_back(self, load: ServerLoad, error: OllamaMagicError) -> None:
        """Send no rows to a server for a while, or no more at all."""
        now = self._clock()
        if load.error is None:
            load.failed_at = now
        load.error = error
        load.limit = load.in_flight  # one row more than those that it still answers
        if now >= load.resume_at:  # otherwise several rows failed at the same time
            load.pause_s = min(2 * load.pause_s or _FIRST_PAUSE_S, _MAX_PAUSE_S)
        asked_s = error.retry_after_s if isinstance(error, ServerError) else 0.0
        pause_s = (asked_s or load.pause_s) * random.uniform(1, 1 + _JITTER)  # noqa: S311  (no secret)
        left_s = load.failed_at + self._patience_s - now
        if (left_s <= 0 or asked_s > left_s) and load.in_flight == 1:
            self._drop(load, error)
        # NB: the last try is at the end of the patience, however long a pause is.
        load.resume_at = now + (min(pause_s, left_s) if left_s > 0 else pause_s)

    def _recover(self, load: ServerLoad) -> None:
        # A row that was sent before the server failed says nothing about it now.
        if self._clock() >= load.resume_at:
            load.error, load.pause_s = None, 0.0
            load.limit = min(load.limit + 1, self._limit)

    def _drop(self, load: ServerLoad, error: OllamaMagicError) -> None:
        if load in self._loads:
            load.error = error
            self._loads.remove(load)
            self._dropped.append(load.note())


def _is_outage(error: OllamaMagicError) -> bool:
    """Return whether a server is busy, limited or gone, which may pass."""
    if isinstance(error, ServerError):
        return error.status_code in _BUSY
    return isinstance(error, CONNECTION_ERRORS)


def _is_final(error: OllamaMagicError) -> bool:
    """Return whether a server refuses every row, now and later."""
    if isinstance(error, CapabilityError | ConfigError | NotOllamaError):
        return True
    if not isinstance(error, ServerError):
        return False
    is_used_up = error.status_code == 429 and _USED_UP.search(error.why)
    return error.status_code in _REFUSED or bool(is_used_up)


def _reason(error: OllamaMagicError) -> str:
    return quoted(error.why or error.what, limit=120)
