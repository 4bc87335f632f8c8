"""The results of a ``map_prompts`` call: cached, counted and shown as they arrive.

``map_prompts`` creates one ``Results`` and runs it. Every transaction and count
happens in a separate thread, which no interrupt reaches: a row is either cached and
counted, or it is not.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

from ollama_magic.batch.dispatch import Dispatcher, FinishedRow
from ollama_magic.batch.rows import ReplyReader
from ollama_magic.batch.servers import BatchServer
from ollama_magic.client.background import check_interrupt, held
from ollama_magic.client.progress import duration_text
from ollama_magic.client.types import GenerateRequest
from ollama_magic.errors import (
    Interrupted,
    OllamaMagicError,
    PromptError,
    ReplyDataError,
)
from ollama_magic.generation.session import Session
from ollama_magic.history.cache import CachedReply, request_key
from ollama_magic.history.store import ChatStore
from ollama_magic.render.progress import (
    NotebookProgress,
    ProgressLine,
    TerminalProgress,
)

P = ParamSpec("P")
T = TypeVar("T")

_INTERVAL_S = 0.1
_WINDOW_S = 15.0
"""The rate is measured over the last seconds, so that a cold start is forgotten."""


# -- the cache -------------------------------------------------------------------


class RowCache:
    """Finds and stores the replies to rows.

    A cached reply is reused if its model has the same digest as on one of the servers.

    Parameters
    ----------
    any_digest
        No server can report its models: a reply of a model of that name is reused.
    """

    def __init__(
        self,
        store: ChatStore,
        reader: ReplyReader,
        servers: Sequence[BatchServer],
        *,
        any_digest: bool = False,
    ) -> None:
        self._store = store
        self._reader = reader
        self._any_digest = any_digest
        self._digests = {server.digest for server in servers}

    def model_of(self, requests: Iterable[GenerateRequest]) -> str:
        """Return the model of the first cached reply to one of the requests."""
        for request in requests:
            cached = self._store.find_cached_reply(request_key(request))
            if cached is not None:
                return cached.model
        return ""

    def find(self, request: GenerateRequest) -> str | None:
        """Return the cached reply to a request, if there is one."""
        key = request_key(request)
        for digest in self._digests:
            cached = self._store.find_cached_reply(key, request.model, digest)
            if cached is None:
                continue
            # NB: an empty digest finds any, but only equals an unknown one.
            is_same_model = self._any_digest or cached.digest == digest
            if is_same_model and self._is_valid(cached):
                return cached.text
        return None

    def add(self, row: FinishedRow) -> None:
        """Store a reply; it is on disk when this returns."""
        response, server = row.result.response, row.server
        reply = CachedReply(
            model=row.request.model,
            digest=server.digest,
            text=response.text,
            thinking=response.thinking,
            thinking_s=response.thinking_s,
            done_reason=response.done_reason,
            stats=response.stats,
            host_kind=server.answers_from,
            server_note=server.note,
            answered_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._store.cache_reply(request_key(row.request), reply)

    def _is_valid(self, cached: CachedReply) -> bool:
        try:
            self._reader.check(cached.text, cached.done_reason)
        except ReplyDataError:
            return False
        return True


# -- all results -----------------------------------------------------------------


class Results:
    """The results of one call by prompt: equal rows are sent once.

    Parameters
    ----------
    prompts
        One per row.
    progress
        Counts rows, not prompts.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        reader: ReplyReader,
        cache: RowCache,
        progress: RowProgress,
    ) -> None:
        self._row_counts = Counter(prompts)
        self._reader = reader
        self._cache = cache
        self._progress = progress
        self._is_ending = False
        self._results: dict[str, str | OllamaMagicError] = {}

    def values(self, prompts: Iterable[str]) -> list[object]:
        """Return the value of each row, or its error."""
        value = self._reader.value
        return [
            result if isinstance(result, OllamaMagicError) else value(result)
            for result in map(self._results.__getitem__, prompts)
        ]

    def run(
        self,
        dispatcher: Dispatcher,
        requests: Iterable[GenerateRequest],
        *,
        resume: bool,
    ) -> None:
        """Get a result for every request, from the cache or a server.

        Raises
        ------
        Interrupted
            The user pressed stop; finished rows are cached.
        """
        end = "ended early"
        with held(), ThreadPoolExecutor(1, "ollama-results") as self._thread:
            try:
                missing = self._in_thread(self._without_result, requests, resume)
                for _ in dispatcher.run(missing):
                    self._in_thread(self._add_finished, dispatcher.finished)
                    self._progress.show()
                    check_interrupt()
                end = ""
            except KeyboardInterrupt:
                end = "stopped"
                self._end(dispatcher)
                raise Interrupted(self._interrupted_text(resume=resume)) from None
            finally:
                self._end(dispatcher)
                self._progress.finish(end)

    def _end(self, dispatcher: Dispatcher) -> None:
        self._is_ending = True
        dispatcher.stop()
        self._in_thread(self._add_finished, dispatcher.finished)

    def _in_thread(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run a function in the thread, and stay interruptible while it runs.

        An interrupt in the middle of a transaction, or of a count, would leave it half
        done; Python never delivers one to this thread.
        """
        future = self._thread.submit(work, *args, **options)
        while not wait([future], _INTERVAL_S).done:
            self._progress.show()
            if not self._is_ending:
                check_interrupt()
        return future.result()

    def _without_result(
        self, requests: Iterable[GenerateRequest], resume: bool
    ) -> list[GenerateRequest]:
        """Return the requests that must be sent."""
        missing = []
        for request in requests:
            if self._is_ending:
                break
            if not self._has_result(request, resume=resume):
                missing.append(request)
        return missing

    def _has_result(self, request: GenerateRequest, *, resume: bool) -> bool:
        prompt = request.prompt
        if not prompt.strip():
            # NB: Ollama takes an empty prompt as a request to load the model.
            error = PromptError(
                "The prompt of this row is empty.",
                why="neither the template nor the row has any text",
                next_step="leave these rows out, or add words to the template",
            )
            self._progress.failed += self._row_counts[prompt]
            self._results[prompt] = error
            return True
        text = self._cache.find(request) if resume else None
        if text is None:
            return False
        self._progress.cached += self._row_counts[prompt]
        self._results[prompt] = text
        return True

    def _add_finished(self, finished: deque[FinishedRow]) -> None:
        while finished:
            self._add(finished[0])
            finished.popleft()  # last, so that an error of the store loses no reply

    def _add(self, row: FinishedRow) -> None:
        prompt, response = row.request.prompt, row.result.response
        if prompt in self._results:
            return
        error = row.result.error
        if error is None:
            try:
                self._reader.check(response.text, response.done_reason)
            except ReplyDataError as mismatch:
                error = mismatch
        if error is None:
            self._cache.add(row)
            self._progress.answered += self._row_counts[prompt]
        else:
            self._progress.failed += self._row_counts[prompt]
        self._results[prompt] = response.text if error is None else error

    def _interrupted_text(self, *, resume: bool) -> str:
        again = "run it again" if resume else "run it again without resume=False"
        progress = self._progress
        count = progress.of_total(progress.answered + progress.cached)
        return f"stopped; {count} rows are cached: {again} to continue"


# -- progress --------------------------------------------------------------------


def open_progress_line(session: Session) -> ProgressLine | None:
    """Return a line in the cell output or on a terminal; None elsewhere."""
    shell = session.shell
    if getattr(shell, "kernel", None) is not None:
        publisher, mode = shell.display_pub, session.cells.claim_output()
        return NotebookProgress(publisher.publish, publisher.clear_output, mode=mode)
    if sys.stderr is not None and sys.stderr.isatty():
        return TerminalProgress(sys.stderr.write, is_tty=True)
    return None


class RowProgress:
    """Counts finished rows and measures their rate.

    Parameters
    ----------
    name
        The start of the line: the model.
    total
        The number of rows.
    note
        The end of the line, such as where prompts go.
    output
        Shows the line; None shows nothing.
    clock
        Seconds that never go backwards.
    """

    def __init__(
        self,
        name: str,
        total: int,
        note: str = "",
        output: ProgressLine | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._total = total
        self._note = note
        self._output = output
        self._shown_at = 0.0
        self._clock = clock
        self._began = clock()
        self._seen = deque([(self._began, 0)])
        self.answered = 0
        self.failed = 0
        self.cached = 0

    @property
    def _finished(self) -> int:
        return self.answered + self.failed + self.cached

    def of_total(self, rows: int) -> str:
        """Return ``3 of 8``."""
        return f"{rows:,} of {self._total:,}"

    def show(self) -> None:
        """Show the line, at most ten times a second."""
        now = self._clock()
        if self._output is not None and now - self._shown_at >= _INTERVAL_S:
            self._shown_at = now
            self._output.show(self.line(), self._finished / self._total)

    def finish(self, end: str = "") -> None:
        """Show the line that stays."""
        if self._output is not None:
            self._output.finish(self.last_line(end))

    def line(self) -> str:
        """Return the line while rows are being sent."""
        now, asked = self._clock(), self.answered + self.failed
        self._seen.append((now, asked))
        while now - self._seen[0][0] > _WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        began, before = self._seen[0]
        rate = (asked - before) / (now - began) if now > began else 0.0
        pace = []
        if rate and self._finished < self._total:
            left_s = (self._total - self._finished) / rate
            pace = [f"{_rate_text(rate)} rows/s", f"{duration_text(left_s)} left"]
        return self._joined(*pace)

    def last_line(self, end: str = "") -> str:
        """Return the line that stays: how it ended, or how long it took."""
        return self._joined(end or duration_text(self._clock() - self._began))

    def _joined(self, *parts: str) -> str:
        failed = f"{self.failed:,} failed" if self.failed else ""
        cached = f"{self.cached:,} cached" if self.cached else ""
        head = f"{self._name} {self.of_total(self._finished)}"
        return " · ".join(filter(None, [head, *parts, failed, cached, self._note]))


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.1f}"
