"""What came of a question, in one round or several, and what ended it too early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ollama_magic.client.types import Request
from ollama_magic.errors import OllamaMagicError
from ollama_magic.generation.answer import Answer
from ollama_magic.history.cache import CachedReply
from ollama_magic.history.turns import Message, Status


def utc_now() -> str:
    """Return the time as turns tell it: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Round:
    """One request and what came of it."""

    request: Request
    answer: Answer
    kept: CachedReply | None = None
    """Set when it was answered by an earlier answer."""
    ended_at: str = field(default_factory=utc_now)
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Outcome:
    """What came of a question, and what ended it too early, if anything did."""

    rounds: tuple[Round, ...]
    fault: BaseException | None = None
    notes: tuple[str, ...] = ()
    """What the footer says of the prompt, of earlier rounds, and of what came of it."""
    steps: tuple[Message, ...] = ()
    """Messages of those rounds that belong to the turn."""

    @property
    def answer(self) -> Answer:
        """The last one; what came is not lost since a later round brought nothing."""
        answers = [one.answer for one in reversed(self.rounds)]
        return next((one for one in answers if not one.is_empty), answers[0])

    @property
    def answered_at(self) -> str:
        """When it was answered: an answer that is shown again keeps its time."""
        last = self.rounds[-1]
        return last.kept.answered_at if last.kept else last.ended_at

    @property
    def is_cached(self) -> bool:
        """Whether all of it is an answer from earlier, shown again."""
        return all(one.kept is not None for one in self.rounds)

    @property
    def ends_in_a_call(self) -> bool:
        """Whether the last answer called functions, and so is among the steps."""
        called = [step for step in self.steps if step["role"] == "assistant"]
        last = [one.answer for one in self.rounds].index(self.answer)
        return last < len(called)

    tells_all: bool = False
    """No error output follows: the notice has to tell all of a fault."""

    @property
    def status(self) -> Status:
        """How it ended."""
        if self.fault is None:
            return "complete"
        is_interrupt = isinstance(self.fault, KeyboardInterrupt)
        return "interrupted" if is_interrupt else "broken"

    def noted(self, *notes: str) -> Outcome:
        """Return it with more for the footer to say."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))

    @property
    def notice(self) -> str:
        """One line under the answer that says so; empty when there is a whole one."""
        if isinstance(self.fault, OllamaMagicError) and self.tells_all:
            return "\n".join(self.fault._render_traceback_())
        if isinstance(self.fault, OllamaMagicError):
            return f"[broken off: {self.fault.what}]"
        if self.fault is not None:
            return "[interrupted]"
        if self.answer.text.strip() or self.answer.tool_calls:
            return ""
        return f"[no answer{', only thinking' if self.answer.thinking else ''}]"


def shown_steps(
    steps: Sequence[Message], *, hides_thinking: bool
) -> tuple[Message, ...]:
    """Return steps as they are shown, with or without what was thought in them."""
    if not hides_thinking:
        return tuple(steps)
    return tuple({k: v for k, v in step.items() if k != "thinking"} for step in steps)
