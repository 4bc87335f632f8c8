"""Whether a chat fits into the context of its model: what is said before and after.

Ollama leaves out the beginning of a chat that is too long, and does not say so. Knows
what can be concluded from an estimate, from the counts of the server and from the
context length; unknown stays unknown. Asks nobody and changes nothing.

Sources: Ollama ``server/prompt.go`` (whole messages are left out, oldest first; system
messages and the last one stay) and recordings of a real server: a single message of 410
tokens for a context of 128 was cut to 66, half of the context and two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ollama_magic.client.types import Stats

_TOO_LOW = 0.75
"""Of recorded prompts no estimate was off by more than a quarter: what is estimated at
less than this share of the context did fit."""
_TOO_HIGH = 0.7
"""A count below this share of the estimate is no error of the estimate, probably."""
_FAR_TOO_HIGH = 0.5
"""... and below this share surely not."""
_SMALLEST_DEFAULT = 2048
"""No Ollama takes less when nobody chose a context length."""

_ROOM_TO_AIM_AT = 0.8
"""What is advised fills this share of the context: a reply must fit in as well."""
_RUNNER_STEP = 256
"""llama.cpp rounds a context up to a multiple of this, which shows in small ones."""
_AT_THE_END = 8
"""So many tokens around its end a context counts as full."""


@dataclass(frozen=True, slots=True)
class ContextCheck:
    """What is about to be sent, and the room that there is for it, in tokens."""

    turns: Sequence[int]
    """The turns that are sent, newest first, as far as they were looked at."""
    rest: int
    """What is sent besides: system message, prompt, and what a template adds."""
    is_whole: bool = True
    """False when there are more turns than were looked at."""
    prompt: int = 0
    """The new prompt alone."""
    at_least: int = 0
    """What the server counted of all before it at the last turn; 0 when unknown."""
    length: int = 0
    """The context length in force; 0 when unknown."""
    trained: int = 0
    """The context length that the model was trained for; 0 when unknown."""
    num_predict: int = 0
    """The limit that was set on the reply; 0 when none was."""

    @property
    def size(self) -> int:
        """About how many tokens are sent."""
        return self.rest + sum(self.turns)

    @property
    def fits(self) -> bool | None:
        """Whether it will fit, probably; None when nobody can tell."""
        limit = self.length or self.trained
        if limit and self.size > limit:
            return False
        return True if self.length else None

    def describe(self) -> str:
        """Return the size in words, and of what."""
        of = f" of {self.length:,}" if self.length else ""
        return f"{self.size_text}{of} tokens (an estimate)"

    def verdict(self) -> str:
        """Say whether it will fit."""
        if self.fits is None:
            return "whether it fits is not known before the model is loaded"
        return self.before() or "it fits into the context"

    def before(self) -> str:
        """Say that it will probably not fit, and what helps; empty when it may fit."""
        if self.fits is not False:
            return ""
        room = f"the context has room for {self.length:,}"
        if not self.length:
            room = f"the model was trained for {self.trained:,}"
        return (
            f"This {self._noun} will probably not fit: {self.size_text} tokens, and "
            f"{room}. The server leaves out {self._beginning}. "
            f"{self._advice(self.length or self.trained)}"
        )

    def after(self, stats: Stats, done_reason: str, length: int = 0) -> str:
        """Say what the server left out or cut, and what helps; empty when nothing.

        Parameters
        ----------
        stats
            The counts of the server.
        done_reason
            Why the reply ended, in the server's word.
        length
            The context length that the model has now; 0 when nobody says.
        """
        counted = stats.prompt_eval_count
        if not counted:
            return self.before()
        length = length or self.length
        left_out = self._left_out(counted, length)
        outgrown = "" if left_out else self._outgrown(stats, length)
        cut = "" if outgrown else self._cut(stats, done_reason, length)
        facts = [fact for fact in (left_out, outgrown, cut) if fact]
        return " ".join([*facts, self._advice(length or counted)]) if facts else ""

    def _left_out(self, counted: int, length: int) -> str:
        size = self.size
        if size <= _TOO_LOW * (length or _SMALLEST_DEFAULT):
            return ""
        if self._has_grown(counted, length):
            return ""
        is_sure = counted < max(self.at_least, _FAR_TOO_HIGH * size)
        is_probable = counted < _TOO_HIGH * size or size > max(length, counted)
        if not (is_sure or (length and is_probable)):
            return ""
        of_context = f" (context {length:,})" if length else ""
        return (
            f"The server {'' if is_sure else 'probably '}left out {self._beginning}: "
            f"{self.size_text} tokens were sent, and {counted:,} were read{of_context}."
        )

    def _has_grown(self, counted: int, length: int) -> bool:
        """Whether the server read what fitted at the last turn, and the prompt too."""
        if not self.at_least or self.size - self.prompt > length:
            return False
        return counted >= self.at_least + _TOO_LOW * self.prompt

    def _outgrown(self, stats: Stats, length: int) -> str:
        used = stats.prompt_eval_count + stats.eval_count
        runner_length = -(-length // _RUNNER_STEP) * _RUNNER_STEP
        if not length or used <= runner_length + _AT_THE_END:
            return ""
        return (
            f"{self._noun.capitalize()} and reply outgrew the context of {length:,} "
            "tokens: the beginning was forgotten while the reply was written."
        )

    def _cut(self, stats: Stats, done_reason: str, length: int) -> str:
        used = stats.prompt_eval_count + stats.eval_count
        by_num_predict = 0 < self.num_predict <= stats.eval_count
        if done_reason != "length" or by_num_predict:
            return ""
        if not length or used < length - _AT_THE_END:
            return ""
        return f"The reply was cut: the context of {length:,} tokens is full."

    @property
    def _noun(self) -> str:
        return "chat" if self.turns else "prompt"

    @property
    def _beginning(self) -> str:
        # NB: a single message is not left out but cut, and not at its beginning alone.
        return "the beginning of the chat" if self.turns else "a part of the prompt"

    @property
    def size_text(self) -> str:
        """The size, and whether it is more than that."""
        return f"{'about' if self.is_whole else 'over'} {self.size:,}"

    def _advice(self, length: int) -> str:
        """Say what to do about it."""
        steps = ["a shorter prompt"]
        if self.turns and self.rest <= length:
            count = self._turns_that_fit(length)
            steps = [*([f"--last {count}"] if count else []), "--new"]
        if num_ctx := self._larger(length):
            steps.append(f"-o num_ctx {num_ctx}")
        *others, last = steps
        choice = f"{', '.join(others)} or {last}" if others else last
        return f"Run the cell again with {choice}."

    def _turns_that_fit(self, length: int) -> int:
        """Return how many of the newest turns leave room for a reply."""
        # The smaller of both: the estimate is too low when less than it did not fit.
        budget = _ROOM_TO_AIM_AT * min(length, self.size) - self.rest
        return sum(taken <= budget for taken in accumulate(self.turns))

    def _larger(self, length: int) -> int:
        """Return a context length that would do; 0 when the model has no such."""
        needed = max(self.size, length) / _ROOM_TO_AIM_AT
        larger = 1 << int(needed).bit_length()
        if not self.trained:
            return larger
        is_enough = self.is_whole and self.size < self.trained > length
        return min(larger, self.trained) if is_enough else 0
