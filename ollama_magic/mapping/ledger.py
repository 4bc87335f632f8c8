"""What every row has come to: taken from earlier, kept when it comes, and counted.

Knows which reply is good and in which order things happen to it; knows nothing of
servers or of how rows reach them.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from ollama_magic.errors import (
    Interrupted,
    OllamaMagicError,
    PromptError,
    ReplyDataError,
)
from ollama_magic.mapping.course import Course, Landed
from ollama_magic.mapping.kept import Kept
from ollama_magic.mapping.progress import Tally
from ollama_magic.mapping.reading import Reading
from ollama_magic.rendering.progress_line import ProgressLine
from ollama_magic.request import GenerateRequest

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
        self._replies: dict[str, str | OllamaMagicError] = {}

    @property
    def prompts(self) -> Iterable[str]:
        """Each prompt once, in the order of its first row."""
        return self._rows

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
        try:
            missing = [r for r in requests if not self._is_settled(r, resume=resume)]
            for _ in course.run(missing):
                self._take(course.landed)
                self._show()
            end = ""
        except KeyboardInterrupt:
            end = "stopped by you"
            course.stop()
            self._take(course.landed)
            raise Interrupted(self._kept_so_far(resume=resume)) from None
        finally:
            course.stop()
            self._take(course.landed)
            if self._line is not None:
                self._line.finish(self._tally.last_line(end))

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
            landed.popleft()  # NB: last, so that an interrupt loses no answer

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
