"""The results of a ``map_prompts`` call: cached and counted as they arrive.

``map_prompts`` creates one ``Results`` and runs it. Every transaction and count
happens in a separate thread, which no interrupt reaches: a row is either cached and
counted, or it is not. The main thread only shows the progress.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import Any

from ollama_magic.batch.dispatch import FinishedRow
from ollama_magic.batch.progress import INTERVAL_S, RowProgress
from ollama_magic.batch.rows import ReplyReader, positions_text
from ollama_magic.batch.servers import BatchServer
from ollama_magic.batch.workers import Workers
from ollama_magic.client.background import check_interrupt, held
from ollama_magic.client.decisions import RowRequest
from ollama_magic.errors import (
    ContextExceededError,
    Interrupted,
    OllamaMagicError,
    PromptError,
    ReplyDataError,
    quoted,
)
from ollama_magic.generation.context import (
    SMALLEST_DEFAULT,
    ContextCheck,
    check_context,
    length_in_force,
)
from ollama_magic.generation.lookups import length_in_memory
from ollama_magic.generation.response import Response
from ollama_magic.generation.status_line import knows_truncate
from ollama_magic.history.cache import CachedReply, request_key
from ollama_magic.history.store import ChatStore
from ollama_magic.history.turns import utc_now

# -- doubtful replies --------------------------------------------------------------

_CUT_AT_NUM_PREDICT = (
    'the reply was cut off at num_predict: raise it with options={"num_predict": N}'
)
_CUT = (
    "the reply was cut off at a length limit of the server: "
    'options={"num_predict": N} or {"num_ctx": N} changes it'
)


def _doubt_about(request: RowRequest, reply: Response | CachedReply) -> str:
    """Return what is wrong with a reply that has text; empty if nothing is known."""
    is_checked = isinstance(reply, Response) and request.truncate is False
    if is_checked and reply.done_reason != "length":
        return ""
    check, stats = _context_of(request), reply.stats
    if num_ctx := 0 if is_checked else check.num_ctx_for(stats):
        return (
            "the server read only a part of the prompt, which is longer than the "
            f'context: options={{"num_ctx": {num_ctx}}} makes room'
        )
    if reply.done_reason != "length":
        return ""
    is_asked_for = 0 < check.num_predict <= stats.eval_count
    return _CUT_AT_NUM_PREDICT if is_asked_for else _CUT


def _context_of(request: RowRequest, trained: int = 0) -> ContextCheck:
    options = request.options
    length = length_in_force(options, loaded=0, trained=trained, asked_with={})
    messages = [*map(dict, request.as_messages())]
    return check_context((), messages, options=options, length=length, trained=trained)


def _is_kept(doubt: str) -> bool:
    # The same request would be cut off again at the num_predict that it asks for.
    return doubt in {"", _CUT_AT_NUM_PREDICT}


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

    def model_of(self, requests: Iterable[RowRequest]) -> str:
        """Return the model of the first cached reply to one of the requests."""
        for request in requests:
            cached = self._store.find_cached_reply(request_key(request))
            if cached is not None:
                return cached.model
        return ""

    def find(self, request: RowRequest) -> tuple[CachedReply, str] | None:
        """Return the cached reply to a request, and a doubt about it, if any."""
        key = request_key(request)
        for digest in self._digests:
            cached = self._store.find_cached_reply(key, request.model, digest)
            if cached is None:
                continue
            # NB: an empty digest finds any, but only equals an unknown one.
            is_same_model = self._any_digest or cached.digest == digest
            if is_same_model and self._is_valid(cached):
                doubt = _doubt_about(request, cached)
                if _is_kept(doubt):
                    return cached, doubt
        return None

    def add(self, rows: Sequence[FinishedRow]) -> None:
        """Store replies; they are on disk when this returns."""
        self._store.cache_replies(
            [(request_key(row.request), _stored(row)) for row in rows]
        )

    def _is_valid(self, cached: CachedReply) -> bool:
        try:
            self._reader.check(cached)
        except ReplyDataError:
            return False
        return True


def _stored(row: FinishedRow) -> CachedReply:
    response, server = row.result.response, row.server
    return CachedReply(
        model=row.request.model,
        digest=server.digest,
        text=response.text,
        thinking=response.thinking,
        thinking_s=response.thinking_s,
        logprobs=response.text_logprobs,
        done_reason=response.done_reason,
        stats=response.stats,
        host_kind=server.answers_from,
        server_note=server.note,
        answered_at=utc_now(),
    )


# -- all results -----------------------------------------------------------------


class Results:
    """The results of one call by prompt: equal rows are sent once.

    Parameters
    ----------
    prompts
        One per row.
    progress
        Counts rows, not prompts.
    resume
        Whether cached replies are used.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        reader: ReplyReader,
        cache: RowCache,
        progress: RowProgress,
        *,
        resume: bool,
    ) -> None:
        self._prompts = prompts
        self._row_counts = Counter(prompts)
        self._reader = reader
        self._cache = cache
        self._progress = progress
        self._resume = resume
        self._is_ending = False
        self._asked: dict[tuple[str, str], int] = {}
        """What servers said about truncation and the context, by question and URL."""
        self._results: dict[str, Any] = {}
        """What the reader keeps of each reply, or the error of the row."""
        self._doubts: dict[str, str] = {}

    def values(self) -> list[object]:
        """Return the value of each row, or its error."""
        value = self._reader.value
        return [
            result if isinstance(result, OllamaMagicError) else value(result)
            for result in map(self._results.__getitem__, self._prompts)
        ]

    def notes(self) -> list[str]:
        """Return a note for each kind of error or doubt, with the rows that have it."""
        rows: dict[tuple[str, str], list[int]] = {}
        for position, prompt in enumerate(self._prompts):
            result = self._results[prompt]
            if isinstance(result, OllamaMagicError):
                rows.setdefault((" failed", result.what), []).append(position)
            elif doubt := self._doubts.get(prompt):
                rows.setdefault(("", doubt), []).append(position)
        notes = [
            f"{self._progress.of_total(len(found))} rows{verb} "
            f"({positions_text(found)}): {self._with_reason(what, found)}"
            for (verb, what), found in rows.items()
        ]
        advice = self._advice()
        return notes if self._progress.is_shown else [*notes, *filter(None, [advice])]

    def _with_reason(self, what: str, positions: Sequence[int]) -> str:
        results = [self._results[self._prompts[position]] for position in positions]
        too_long = [one for one in results if isinstance(one, ContextExceededError)]
        longest = max(too_long, key=lambda one: one.prompt_tokens, default=None)
        result = longest or results[0]
        why = result.why if isinstance(result, OllamaMagicError) else ""
        reason = f"{what.rstrip('.')} ({quoted(why, limit=200)})" if why else what
        return f"{reason}: {longest.next_step}" if longest else reason

    def run(self, workers: Workers, request_of: Callable[[str], RowRequest]) -> None:
        """Get a result for every prompt, from the cache or a server.

        Parameters
        ----------
        request_of
            Makes the request for a prompt. Called when it is needed, so that not all
            requests are in memory.

        Raises
        ------
        Interrupted
            The user pressed stop; finished rows are cached.
        OllamaMagicError
            No server can be used, or the last one refused for good; finished rows are
            cached.
        """
        end = "ended early"
        with held(), ThreadPoolExecutor(1, "ollama-results") as thread:
            work = thread.submit(self._run, workers, request_of)
            try:
                self._watch(work, workers)
                end = ""
            except KeyboardInterrupt:
                end = "stopped"
                self._stop(work, workers)
                raise Interrupted(self._interrupted_text()) from None
            except OllamaMagicError as error:
                advice = self._advice(self._progress.in_cache)
                error.next_step = "; then ".join(
                    filter(None, [error.next_step, advice])
                )
                raise
            finally:
                self._stop(work, workers)
                self._progress.finish(end, "" if end else self._advice())

    def _watch(self, work: Future[None], workers: Workers) -> None:
        """Show the progress until the thread has ended, and stay interruptible."""
        while not wait([work], INTERVAL_S).done:
            self._progress.waits_for = workers.waits_for
            self._progress.show()
            check_interrupt()
        work.result()

    def _stop(self, work: Future[None], workers: Workers) -> None:
        self._is_ending = True
        workers.stop()
        wait([work])

    def _run(self, workers: Workers, request_of: Callable[[str], RowRequest]) -> None:
        """Find, send, store and count all rows, in a thread that nothing interrupts.

        An interrupt in the middle of a transaction, or of a count, would leave it half
        done; Python delivers one to the main thread only.
        """
        self._find_cached(request_of)
        missing = [one for one in self._row_counts if one not in self._results]
        if missing:
            for rows in workers.run(map(request_of, missing), len(missing)):
                self._add(rows)

    def _find_cached(self, request_of: Callable[[str], RowRequest]) -> None:
        """Add the results that are known before anything is sent."""
        for prompt in self._row_counts:
            if self._is_ending:
                break
            self._find_result(request_of(prompt))

    def _find_result(self, request: RowRequest) -> None:
        prompt = request.prompt
        rows = self._row_counts[prompt]
        if not prompt.strip():
            # NB: Ollama takes an empty prompt as a request to load the model.
            self._results[prompt] = PromptError(
                "The prompt of this row is empty.",
                why="neither the template nor the row has any text",
                next_step="leave these rows out, or add words to the template",
            )
            self._progress.failed += rows
            self._progress.unsendable += rows
        elif self._resume and (found := self._cache.find(request)):
            self._progress.cached += rows
            cached, doubt = found
            self._set(prompt, self._reader.kept(cached), doubt)

    def _add(self, rows: Sequence[FinishedRow]) -> None:
        """Add rows that have finished, and store their replies together."""
        errors = [self._error_of(row) for row in rows]
        answered = [
            (row, _doubt_about(row.request, row.result.response))
            for row, error in zip(rows, errors, strict=True)
            if error is None
        ]
        self._cache.add([row for row, doubt in answered if _is_kept(doubt)])
        for row, doubt in answered:
            prompt = row.request.prompt
            self._progress.answered += self._row_counts[prompt]
            if not _is_kept(doubt):
                self._progress.unkept += self._row_counts[prompt]
            self._set(prompt, self._reader.kept(row.result.response), doubt)
        for row, error in zip(rows, errors, strict=True):
            if error is not None:
                count = self._row_counts[row.request.prompt]
                self._progress.failed += count
                if isinstance(error, ContextExceededError):  # the same call fails again
                    self._progress.unsendable += count
                self._results[row.request.prompt] = error

    def _error_of(self, row: FinishedRow) -> OllamaMagicError | None:
        error = self._context_error(row)
        if error is None:
            try:
                self._reader.check(row.result.response)
            except ReplyDataError as mismatch:
                return mismatch
        return error

    def _context_error(self, row: FinishedRow) -> OllamaMagicError | None:
        """Return the error of a row, also if a part of its prompt was lost unseen."""
        error, server, request = row.result.error, row.server, row.request
        check = _context_of(request, server.model.context_length if server.model else 0)
        if error is None and request.truncate is False:
            stats, length = row.result.response.stats, check.length
            if stats.prompt_eval_count + stats.eval_count > SMALLEST_DEFAULT:
                ask = partial(length_in_memory, server.client, request.model)
                length = length or self._ask_once("length", server, ask)
            error = check.lost(stats, length)
            knows = partial(knows_truncate, server.client)
            is_local = error is not None and not server.cloud_host
            if is_local and self._ask_once("truncate", server, knows):
                error = replace(check, is_uncut=True).lost(stats, length)
        if isinstance(error, ContextExceededError):
            num_ctx = check.sufficient_length(error)
            more = f'options={{"num_ctx": {num_ctx}}} makes room'
            error.next_step = more if num_ctx else "shorten these rows"
        return error

    def _ask_once(
        self, question: str, server: BatchServer, ask: Callable[[], int]
    ) -> int:
        key = question, server.base_url
        if key not in self._asked:
            self._asked[key] = ask()
        return self._asked[key]

    def _set(self, prompt: str, kept: Any, doubt: str) -> None:  # noqa: ANN401
        self._results[prompt] = kept
        if doubt:
            self._doubts[prompt] = doubt

    def _advice(self, done: int | None = None) -> str:
        """Return what to do about the rows that are left; empty if none is."""
        progress = self._progress
        if done is None:
            done = progress.answered + progress.cached
        left = progress.left_text(done)
        again = "" if self._resume else " without resume=False"
        return f"run the same call again{again}: {left}" if left else ""

    def _interrupted_text(self) -> str:
        again = "run it again" if self._resume else "run it again without resume=False"
        count = self._progress.of_total(self._progress.in_cache)
        return f"stopped; {count} rows are cached: {again} to continue"
