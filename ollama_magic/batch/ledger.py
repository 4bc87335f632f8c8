"""What every row has come to: taken from earlier, kept when it comes, and counted.

Knows which reply is good and in which order things happen to it; knows nothing of
servers or of how rows reach them.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import ParamSpec, TypeVar

from ollama_magic.batch.dispatch import Course, Landed
from ollama_magic.batch.progress import Tally
from ollama_magic.batch.stored import Kept
from ollama_magic.batch.values import Reading
from ollama_magic.client.interrupts import held, look
from ollama_magic.client.requests import GenerateRequest
from ollama_magic.errors import (
    Interrupted,
    OllamaMagicError,
    PromptError,
    ReplyDataError,
)
from ollama_magic.render.progress import ProgressLine

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
