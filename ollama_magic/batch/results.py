"""The results of a ``map_prompts`` call: read, cached and counted as they arrive.

``map_prompts`` creates one ``Results`` and runs it. Every transaction and count
happens in a separate thread, which no interrupt reaches: a row is either cached and
counted, or it is not.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from ollama_magic.batch.dispatch import Dispatcher, FinishedRow
from ollama_magic.batch.progress import RowProgress
from ollama_magic.batch.servers import BatchServer
from ollama_magic.client.background import check_interrupt, held
from ollama_magic.client.types import GenerateRequest
from ollama_magic.errors import (
    Interrupted,
    OllamaMagicError,
    PromptError,
    ReplyDataError,
    quoted,
)
from ollama_magic.generation.schema import Schema, read_schema, what_is_wrong
from ollama_magic.generation.schema_check import read_data
from ollama_magic.history.cache import CachedReply, request_key
from ollama_magic.history.store import ChatStore
from ollama_magic.render.progress import ProgressLine

P = ParamSpec("P")
T = TypeVar("T")

_INTERVAL_S = 0.1


# -- reading ---------------------------------------------------------------------


@dataclass(frozen=True)
class ReplyReader:
    """Reads replies: as text, or as data that matches a schema."""

    schema: Schema | None = None

    @property
    def fields(self) -> Sequence[str] | None:
        """The fields of the objects in the replies; None if they are not objects."""
        return None if self.schema is None else self.schema.fields

    def check(self, text: str, done_reason: str = "") -> None:
        """Check a reply.

        Raises
        ------
        ReplyDataError
            The reply does not match the schema.
        """
        if self.schema is None:
            return
        wrong = what_is_wrong(text, self.schema)
        if wrong and done_reason == "length":
            raise ReplyDataError(
                "The reply was cut off at num_predict, so it is not valid data.",
                why=wrong,
                next_step='allow more tokens: options={"num_predict": N}',
            )
        if wrong:
            raise _mismatch(quoted(wrong))

    def value(self, text: str) -> Any:  # noqa: ANN401  (any data)
        """Return the value of a reply that was checked."""
        return text if self.schema is None else self.schema.load(read_data(text))


def _mismatch(why: str) -> ReplyDataError:
    return ReplyDataError(
        "The reply does not match its schema.",
        why=why,
        next_step="run it again to retry only the failed rows, or use a larger model",
    )


def reader_for(spec: object, namespace: Mapping[str, Any]) -> ReplyReader:
    """Return the reader for a schema; None reads text.

    Raises
    ------
    PromptError
        The schema is invalid.
    """
    if spec is None:
        return ReplyReader()
    return ReplyReader(read_schema(spec, namespace))


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
        result, server = row.result, row.server
        reply = CachedReply(
            model=row.request.model,
            digest=server.digest,
            text=result.text,
            thinking=result.thinking,
            thinking_s=result.thinking_s,
            done_reason=result.done_reason,
            stats=result.stats,
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
    """The results of one call by prompt: equal rows are asked once.

    Parameters
    ----------
    prompts
        One per row.
    progress
        Counts rows, not prompts.
    line
        Shows the progress; None shows nothing.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        reader: ReplyReader,
        cache: RowCache,
        progress: RowProgress,
        line: ProgressLine | None,
    ) -> None:
        self._row_counts = Counter(prompts)
        self._reader = reader
        self._cache = cache
        self._progress = progress
        self._line = line
        self._shown_at = 0.0
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
                    self._show()
                    check_interrupt()
                end = ""
            except KeyboardInterrupt:
                end = "stopped"
                self._end(dispatcher)
                raise Interrupted(self._interrupted_text(resume=resume)) from None
            finally:
                self._end(dispatcher)
                if self._line is not None:
                    self._line.finish(self._progress.last_line(end))

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
            self._show()
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
        prompt, result = row.request.prompt, row.result
        if prompt in self._results:
            return
        error = result.error
        if error is None:
            try:
                self._reader.check(result.text, result.done_reason)
            except ReplyDataError as mismatch:
                error = mismatch
        if error is None:
            self._cache.add(row)
            self._progress.answered += self._row_counts[prompt]
        else:
            self._progress.failed += self._row_counts[prompt]
        self._results[prompt] = result.text if error is None else error

    def _show(self) -> None:
        now = time.monotonic()
        if self._line is not None and now - self._shown_at >= _INTERVAL_S:
            self._shown_at = now
            self._line.show(self._progress.line(), self._progress.share)

    def _interrupted_text(self, *, resume: bool) -> str:
        again = "run it again" if resume else "run it again without resume=False"
        progress = self._progress
        count = progress.of_total(progress.answered + progress.cached)
        return f"stopped; {count} rows are cached: {again} to continue"
