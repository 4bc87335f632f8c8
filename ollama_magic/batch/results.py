"""From the text of a reply to the value of a row.

Knows the schema that replies have to follow, if there is one.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from ollama_magic.batch.dispatch import Course, Landed
from ollama_magic.batch.progress import Tally
from ollama_magic.batch.servers import Server
from ollama_magic.client.interrupts import held, look
from ollama_magic.client.types import GenerateRequest
from ollama_magic.errors import (
    Interrupted,
    OllamaMagicError,
    PromptError,
    ReplyDataError,
    quoted,
)
from ollama_magic.generation.schema import Schema, read_schema
from ollama_magic.generation.schema_check import check_schema, read_data, what_is_wrong
from ollama_magic.history.cache import Answers, KeptAnswer, request_key
from ollama_magic.render.progress import ProgressLine


@dataclass(frozen=True)
class Reading:
    """How replies are read: as text, or as data that follows a schema."""

    schema: Schema | None = None

    @property
    def fields(self) -> Sequence[str] | None:
        """The fields of the objects that replies are; None: they are none."""
        if self.schema is None or self.schema.json.get("type") != "object":
            return None
        return tuple(self.schema.json.get("properties", ())) or None

    def check(self, text: str, done_reason: str = "") -> None:
        """Refuse a reply that is not what it has to be.

        Raises
        ------
        ReplyDataError
            It does not follow the schema, or its class does not take it.
        """
        if self.schema is None:
            return
        wrong = what_is_wrong(text, self.schema.json)
        if wrong and done_reason == "length":
            raise ReplyDataError(
                "The reply was cut at a length limit, so it is no data.",
                why=wrong,
                next_step='allow more: options={"num_predict": N}',
            )
        if wrong:
            raise _unfit(wrong)
        try:
            self.value(text)
        except (ValueError, TypeError) as error:  # also what pydantic raises
            raise _unfit(quoted(str(error))) from error

    def value(self, text: str) -> Any:  # noqa: ANN401  (any data)
        """Return what a reply that was checked says: text, or data."""
        return text if self.schema is None else self.schema.make(read_data(text))


def _unfit(why: str) -> ReplyDataError:
    return ReplyDataError(
        "The reply does not follow its schema.",
        why=why,
        next_step="run it again: only such rows are asked anew; or use a larger model",
    )


def read_as(spec: object, namespace: Mapping[str, Any]) -> Reading:
    """Return how replies are read by a schema, or as text where it is None.

    Raises
    ------
    PromptError
        The schema cannot be used.
    """
    if spec is None:
        return Reading()
    schema = read_schema(spec, namespace)
    check_schema(schema.json)
    return Reading(schema)


class Kept:
    """The answers of earlier calls, and where those of this one are kept.

    Parameters
    ----------
    servers
        An answer counts when the model that gave it is, to the byte, that of one of
        these.
    of_any_digest
        None of them can tell its models: an answer of the model's name counts.
    """

    def __init__(
        self,
        answers: Answers,
        reading: Reading,
        servers: Sequence[Server],
        *,
        of_any_digest: bool = False,
    ) -> None:
        self._answers = answers
        self._reading = reading
        self._of_any_digest = of_any_digest
        self._digests = {server.digest for server in servers}

    def model_of(self, requests: Iterable[GenerateRequest]) -> str:
        """Return the model that answered the first of these that was answered."""
        for request in requests:
            kept = self._answers.find_answer(request_key(request))
            if kept is not None:
                return kept.model
        return ""

    def find(self, request: GenerateRequest) -> str | None:
        """Return the text that this very request was answered with, if it was."""
        key = request_key(request)
        for digest in self._digests:
            kept = self._answers.find_answer(key, request.model, digest)
            # NB: an empty digest asks for any, and only an unknown one is its equal.
            is_its = self._of_any_digest or (kept is not None and kept.digest == digest)
            if kept is not None and is_its and self._is_fit(kept):
                return kept.text
        return None

    def keep(self, landed: Landed) -> None:
        """Keep an answer; it is on disk when this returns."""
        answered, server = landed.answered, landed.server
        answer = KeptAnswer(
            model=landed.request.model,
            digest=server.digest,
            text=answered.text,
            thinking=answered.thinking,
            thinking_s=answered.thinking_s,
            done_reason=answered.done_reason,
            stats=answered.stats,
            host_kind=server.answers_from,
            server_note=server.note,
            answered_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._answers.keep_answer(request_key(landed.request), answer)

    def _is_fit(self, kept: KeptAnswer) -> bool:
        try:
            self._reading.check(kept.text, kept.done_reason)
        except ReplyDataError:
            return False
        return True


P = ParamSpec("P")
T = TypeVar("T")

_INTERVAL_S = 0.1


class Ledger:
    """The replies of one call, by prompt: equal rows are asked once.

    Parameters
    ----------
    prompts
        One per row.
    tally
        Counts rows, not prompts.
    line
        Where progress is shown; None: nowhere.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        reading: Reading,
        kept: Kept,
        tally: Tally,
        line: ProgressLine | None,
    ) -> None:
        self._rows = Counter(prompts)
        self._reading = reading
        self._kept = kept
        self._tally = tally
        self._line = line
        self._shown_at = 0.0
        self._is_ending = False
        self._replies: dict[str, str | OllamaMagicError] = {}

    def values(self, prompts: Iterable[str]) -> list[object]:
        """Return what each row has come to: what its reply says, or an error."""
        replies, value = self._replies, self._reading.value
        return [
            reply if isinstance(reply, OllamaMagicError) else value(reply)
            for reply in map(replies.__getitem__, prompts)
        ]

    def go(
        self, course: Course, requests: Iterable[GenerateRequest], *, resume: bool
    ) -> None:
        """Answer all requests, by what is kept or by asking.

        Raises
        ------
        Interrupted
            The user pressed stop; all that has come is kept.
        """
        end = "ended early"
        with held(), ThreadPoolExecutor(1, "ollama-keeper") as self._keeper:
            try:
                missing = self._by_keeper(self._unsettled, requests, resume)
                for _ in course.run(missing):
                    self._by_keeper(self._take, course.landed)
                    self._show()
                    look()
                end = ""
            except KeyboardInterrupt:
                end = "stopped by you"
                self._end(course)
                raise Interrupted(self._kept_so_far(resume=resume)) from None
            finally:
                self._end(course)
                if self._line is not None:
                    self._line.finish(self._tally.last_line(end))

    def _end(self, course: Course) -> None:
        self._is_ending = True
        course.stop()
        self._by_keeper(self._take, course.landed)

    def _by_keeper(self, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Have the keeper do something, and wait for it where we can be interrupted.

        An interrupt that came into the middle of a transaction, or of a count, would
        leave it half done; it never comes into this thread.
        """
        future = self._keeper.submit(work, *args, **more)
        while not wait([future], _INTERVAL_S).done:
            self._show()
            if not self._is_ending:
                look()
        return future.result()

    def _unsettled(
        self, requests: Iterable[GenerateRequest], resume: bool
    ) -> list[GenerateRequest]:
        """Return what must be asked, and settle the rest."""
        missing = []
        for request in requests:
            if self._is_ending:
                break
            if not self._is_settled(request, resume=resume):
                missing.append(request)
        return missing

    def _is_settled(self, request: GenerateRequest, *, resume: bool) -> bool:
        """Answer a request without asking, if it can be."""
        if not request.prompt.strip():
            # NB: Ollama would take it for a wish to load the model.
            error = PromptError(
                "The prompt of this row is empty.",
                why="the template has no text, and the row no value",
                next_step="leave such rows out, or put words into the template",
            )
            self._tally.failed += self._rows[request.prompt]
            self._replies[request.prompt] = error
            return True
        text = self._kept.find(request) if resume else None
        if text is None:
            return False
        self._tally.earlier += self._rows[request.prompt]
        self._replies[request.prompt] = text
        return True

    def _take(self, landed: deque[Landed]) -> None:
        while landed:
            self._settle(landed[0])
            landed.popleft()  # last, so that an error of the store loses no answer

    def _settle(self, landed: Landed) -> None:
        prompt, answered = landed.request.prompt, landed.answered
        if prompt in self._replies:
            return
        error = answered.error
        if error is None:
            try:
                self._reading.check(answered.text, answered.done_reason)
            except ReplyDataError as unfit:
                error = unfit
        if error is None:
            self._kept.keep(landed)
            self._tally.answered += self._rows[prompt]
        else:
            self._tally.failed += self._rows[prompt]
        self._replies[prompt] = answered.text if error is None else error

    def _show(self) -> None:
        now = time.monotonic()
        if self._line is not None and now - self._shown_at >= _INTERVAL_S:
            self._shown_at = now
            self._line.show(self._tally.line(), self._tally.share)

    def _kept_so_far(self, *, resume: bool) -> str:
        again = "run it again" if resume else "run it again without resume=False"
        tally = self._tally
        count = tally.of_all(tally.answered + tally.earlier)
        return f"stopped by you; {count} rows are kept: {again} to go on"
