"""Whether a request fits into the context of its model: an estimate, and the advice.

Ollama drops the beginning of a chat that is too long, without saying so. Tokens are
estimated from bytes: megabytes take milliseconds, and no tokenizer is needed. After a
reply the server's counts are used instead. Unknown values are not guessed.

Sources: Ollama ``server/prompt.go`` (whole messages are dropped, oldest first; system
messages and the last one stay) and recordings of a real server: a single message of 410
tokens for a context of 128 was cut to 66, half of the context and two.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Self

from ollama_magic.client.types import Stats
from ollama_magic.errors import ContextExceededError
from ollama_magic.history.turns import Message, Turn, fingerprint

_TOO_LOW = 0.75
"""No estimate of a recorded prompt was off by more than a quarter: an estimate below
this share of the context means that the request did fit."""
_TOO_HIGH = 0.7
"""A count below this share of the estimate is probably not an estimation error."""
_FAR_TOO_HIGH = 0.5
"""... and below this share certainly not."""
SMALLEST_DEFAULT = 2048
"""The smallest default context length of any Ollama version."""

_ROOM_TO_AIM_AT = 0.8
"""The advice fills this share of the context, to leave room for the reply."""
_RUNNER_STEP = 256
"""llama.cpp rounds a context length up to a multiple of this."""
_AT_THE_END = 8
"""A context counts as full this many tokens around its end."""
_MIN_MEASURED = 32_768
"""A chat is measured, latest turn first, up to this or twice what could fit."""
_MOST_MEASURED = 100_000
_measured: dict[str, int] = {}
"""Tokens of turns by uid and origin: a stored turn does not change."""

# Characters per token, checked against the counts of a real server (SmolLM2, Gemma).
_PER_TOKEN_LETTERS = 4.2  # English words with their blanks
_PER_TOKEN_OTHER_SCRIPTS = 2.0  # accents, Cyrillic, Greek, Arabic, Devanagari
_PER_TOKEN_SIGNS = 1.5  # digits and punctuation: code, numbers, markup
_PER_TOKEN_WIDE = 0.8  # Chinese, Japanese, Korean: often more than one token each
_PER_TOKEN_EMOJI = 0.5  # usually a few bytes that have no token of their own

_TOKENS_PER_MESSAGE = 6  # role and marks around a message, in ChatML-like templates
_TOKENS_TO_BEGIN_REPLY = 3

# Bytes of UTF-8. The first byte of a character shows roughly which script it is in.
_SIGNS = (string.digits + string.punctuation).encode()
_AFTER_FIRST = bytes(range(0x80, 0xC0))
_WIDE = bytes([*range(0xE3, 0xEE), 0xEF])  # U+3000-DFFF, U+F000-FFFF: CJK, full width
_RARE_PLANES = bytes(range(0xF0, 0xF8))  # from U+10000: emoji, mostly
_ASCII = bytes(range(0x80))


@dataclass(frozen=True, slots=True)
class ContextCheck:
    """The size of a request and of its context, in tokens."""

    turns: Sequence[int]
    """Sizes of the turns that are sent, newest first, as far as they were measured."""
    rest: int
    """The rest: system message, prompt, and what the template adds."""
    is_whole: bool = True
    """False if there are more turns than were measured."""
    prompt: int = 0
    """The new prompt alone."""
    at_least: int = 0
    """The server's count of everything before the prompt; 0 if unknown."""
    length: int = 0
    """The current context length; 0 if unknown."""
    trained: int = 0
    """The context length that the model was trained for; 0 if unknown."""
    num_predict: int = 0
    """The token limit of the reply; 0 if there is none."""
    is_refused: bool = False
    """Whether the request asks the server to refuse it if it does not fit."""
    is_uncut: bool = False
    """Whether the server is known to have left nothing out of the request."""

    @property
    def size(self) -> int:
        """The estimated number of tokens of the request."""
        return self.rest + sum(self.turns)

    @property
    def fits(self) -> bool | None:
        """Whether the request probably fits; None if unknown."""
        limit = self.length or self.trained
        if limit and self.size > limit:
            return False
        return True if self.length else None

    def verdict(self) -> str:
        """Return one sentence on whether the request fits."""
        if self.fits is None:
            return "whether it fits is unknown until the model is loaded"
        return self.before() or "it fits into the context"

    def before(self) -> str:
        """Return a warning with advice if it probably does not fit; else empty."""
        if self.fits is not False:
            return ""
        room = f"the context holds {self.length:,}"
        if not self.length:
            room = f"the model was trained for {self.trained:,}"
        return (
            f"This {self._noun} will probably not fit: {self.size_text} tokens, and "
            f"{room}. The server will "
            f"{'refuse it' if self.is_refused else f'drop {self._beginning}'}. "
            f"{self._advice(self.length or self.trained)}"
        )

    def after(self, stats: Stats, done_reason: str, length: int = 0) -> str:
        """Return what the server dropped or cut, with advice; empty if nothing.

        Parameters
        ----------
        stats
            The counts of the server.
        done_reason
            Why the reply ended, as the server reports it.
        length
            The context length that the model is loaded with; 0 if unknown.
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

    def num_ctx_for(self, stats: Stats) -> int:
        """Return a sufficient context length if the server dropped a part; else 0."""
        counted = stats.prompt_eval_count
        is_cut = counted and self._left_out(counted, self.length)
        return self._larger(self.length or counted) if is_cut else 0

    def lost(self, stats: Stats, length: int = 0) -> ContextExceededError | None:
        """Return an error if the server left something out for certain; else None."""
        counted, length = stats.prompt_eval_count, length or self.length
        why, tokens = self._outgrown(stats, length), counted + stats.eval_count
        if self._is_left_out(counted, length):
            why, tokens = self._left_out(counted, length), self.size
        if not (counted and why):
            return None
        error = ContextExceededError(f"A part of the {self._noun} was lost.", why=why)
        error.prompt_tokens, error.context_length = tokens, length or counted
        self.advise(error)
        return error

    def advise(self, error: ContextExceededError) -> None:
        """Say in an error how many tokens are too many, and what would fit."""
        length = error.context_length or self.length or self.trained
        too_many = error.prompt_tokens - length
        is_exact = error.status_code and length and too_many > 0
        known = f"{too_many:,} tokens too many; " if is_exact else ""
        fitted = self._of_size(error.prompt_tokens)
        choice = fitted._choice(length or fitted.size)
        error.next_step = f"{known}run the cell again with {choice}"

    def sufficient_length(self, error: ContextExceededError) -> int:
        """Return a context length for which an error would not occur; else 0."""
        return self._of_size(error.prompt_tokens)._larger(error.context_length)

    def _of_size(self, tokens: int) -> Self:
        """Return the check with the server's count of the request, if it is known."""
        if not tokens:
            return self
        rest = max(self.rest + tokens - self.size, 0)
        return replace(self, rest=rest, is_whole=True)

    def _is_left_out(self, counted: int, length: int) -> bool | None:
        """Return whether a part was left out, for certain; None if probably."""
        size = self.size
        if self.is_uncut or size <= _TOO_LOW * (length or SMALLEST_DEFAULT):
            return False
        if self._has_grown(counted, length):
            return False
        if counted < max(self.at_least, _FAR_TOO_HIGH * size):
            return True
        is_probable = counted < _TOO_HIGH * size or size > max(length, counted)
        return None if length and is_probable else False

    def _left_out(self, counted: int, length: int) -> str:
        is_left_out = self._is_left_out(counted, length)
        if is_left_out is False:
            return ""
        of_context = f" (context {length:,})" if length else ""
        return (
            f"The server {'' if is_left_out else 'probably '}dropped "
            f"{self._beginning}: "
            f"{self.size_text} tokens were sent, but only {counted:,} were "
            f"read{of_context}."
        )

    def _has_grown(self, counted: int, length: int) -> bool:
        """Whether the server read all that fitted at the last turn, and the prompt."""
        if not self.at_least or self.size - self.prompt > length:
            return False
        return counted >= self.at_least + _TOO_LOW * self.prompt

    def _outgrown(self, stats: Stats, length: int) -> str:
        used = stats.prompt_eval_count + stats.eval_count
        runner_length = -(-length // _RUNNER_STEP) * _RUNNER_STEP
        if not length or used <= runner_length + _AT_THE_END:
            return ""
        return (
            f"{self._noun.capitalize()} and reply exceeded the context of {length:,} "
            "tokens: the beginning was dropped while the reply was written."
        )

    def _cut(self, stats: Stats, done_reason: str, length: int) -> str:
        used = stats.prompt_eval_count + stats.eval_count
        by_num_predict = 0 < self.num_predict <= stats.eval_count
        if done_reason != "length" or by_num_predict:
            return ""
        if not length or used < length - _AT_THE_END:
            return ""
        return f"The reply was cut off: the context of {length:,} tokens is full."

    @property
    def _noun(self) -> str:
        return "chat" if self.turns else "prompt"

    @property
    def _beginning(self) -> str:
        # NB: a single message is not left out but cut, and not at its beginning alone.
        return "the beginning of the chat" if self.turns else "part of the prompt"

    @property
    def size_text(self) -> str:
        """The size, marked if it is a lower bound."""
        return f"{'about' if self.is_whole else 'over'} {self.size:,}"

    def _advice(self, length: int) -> str:
        """Return what to type to make it fit."""
        return f"Run the cell again with {self._choice(length)}."

    def _choice(self, length: int) -> str:
        steps = ["a shorter prompt"]
        if self.turns and self.rest <= length:
            count = self._turns_that_fit(length)
            steps = [*([f"--last {count}"] if count else []), "--new"]
        if num_ctx := self._larger(length):
            steps.append(f"-o num_ctx {num_ctx}")
        *others, last = steps
        return f"{', '.join(others)} or {last}" if others else last

    def _turns_that_fit(self, length: int) -> int:
        """Return how many of the latest turns leave room for a reply."""
        # The smaller of both: the estimate is too low when less than it did not fit.
        budget = _ROOM_TO_AIM_AT * min(length, self.size) - self.rest
        return sum(taken <= budget for taken in accumulate(self.turns))

    def _larger(self, length: int) -> int:
        """Return a sufficient context length; 0 if the model has none."""
        needed = max(self.size, length) / _ROOM_TO_AIM_AT
        larger = 1 << int(needed).bit_length()
        if not self.trained:
            return larger
        is_enough = self.is_whole and self.size < self.trained > length
        return min(larger, self.trained) if is_enough else 0


def check_context(
    turns: Sequence[Turn],
    others: Sequence[Message],
    *,
    options: Mapping[str, Any],
    length: int = 0,
    trained: int = 0,
    counted: Turn | None = None,
    is_refused: bool = False,
) -> ContextCheck:
    """Return the size of a request, measured as far as it matters.

    Parameters
    ----------
    turns
        The turns that are sent, oldest first.
    others
        The other messages: the system message, if any, and the prompt last.
    options
        The model options of the request.
    length, trained, is_refused
        As in ``ContextCheck``.
    counted
        The last turn, if the new request repeats and extends its request to the same
        model: its counts are more accurate than an estimate.
    """
    sizes = _sizes(turns, enough=max(2 * length, 2 * trained, _MIN_MEASURED))
    total = sum(sizes)
    rest, prompt = estimate_messages(others), estimate_messages(others[-1:])
    at_least = 0
    is_whole = len(sizes) == len(turns)
    # A chat that is larger than what could fit needs no better evidence.
    if counted is not None and is_whole and _is_sound(counted, turns):
        at_least = counted.stats.prompt_eval_count
        at_least += 0 if counted.thinking else counted.stats.eval_count
        # A template adds to what is sent, and only the server's counts show it.
        rest = max(rest, at_least - total + prompt)
    return ContextCheck(
        turns=tuple(sizes),
        rest=rest,
        is_whole=is_whole,
        prompt=prompt,
        at_least=at_least,
        length=length,
        trained=trained,
        num_predict=_number(options, "num_predict"),
        is_refused=is_refused,
    )


def length_in_force(
    options: Mapping[str, Any],
    *,
    loaded: int,
    trained: int,
    asked_with: Mapping[str, Any],
) -> int:
    """Return the context length of the next request; 0 if unknown.

    Parameters
    ----------
    options
        The model options of the request.
    loaded
        The context length that the model is loaded with; 0 if it is not loaded.
    trained
        The context length that the model was trained for; 0 if unknown.
    asked_with
        The model options of the previous request, if they are known.
    """
    if num_ctx := _number(options, "num_ctx"):
        return min(num_ctx, trained) if trained else num_ctx
    # A num_ctx of an earlier cell does not apply to this one: the server loads the
    # model again, with a default that depends on its memory and is not reported.
    return 0 if loaded == _number(asked_with, "num_ctx") else loaded


def _sizes(turns: Sequence[Turn], *, enough: int) -> list[int]:
    """Return the tokens of turns, latest first, until ``enough`` is exceeded."""
    sizes: list[int] = []
    total = 0
    for turn in reversed(turns):
        sizes.append(_turn_tokens(turn))
        total += sizes[-1]
        if total > enough:
            break
    return sizes


def _turn_tokens(turn: Turn) -> int:
    """Return the estimated tokens of a turn; a stored turn is measured once."""
    key = f"{turn.uid} {turn.origin}"  # trust in a file changes what is sent
    if not turn.uid:
        return _measure(turn)
    if key not in _measured:
        if len(_measured) >= _MOST_MEASURED:
            _measured.clear()
        _measured[key] = _measure(turn)
    return _measured[key]


def _measure(turn: Turn) -> int:
    # NB: the server counted the reply; it counted thinking too, which is not sent. The
    # counts of a file may be invented.
    counted = 0 if turn.thinking or turn.is_from_file else turn.stats.eval_count
    reply = counted or estimate_tokens(turn.reply)
    messages = [turn.prompt, *(step["content"] for step in turn.sent_steps)]
    calls = [json.dumps(step.get("tool_calls", "")) for step in turn.sent_steps]
    tokens = sum(map(estimate_tokens, [*messages, *calls]))
    return tokens + reply + _TOKENS_PER_MESSAGE * (len(messages) + 1)


def _is_sound(turn: Turn, turns: Sequence[Turn]) -> bool:
    """Whether the counts of the last turn are valid for the new request."""
    if not turn.stats.prompt_eval_count or turn.status not in {"complete", "cut"}:
        return False
    if turn.is_from_file:
        return False
    before = () if turn.starts_afresh else turns[:-1]
    return turn.based_on in {"", fingerprint(before)}


def _number(options: Mapping[str, Any], name: str) -> int:
    value = options.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return max(value, 0)


# -- estimates ----------------------------------------------------------------------


def estimate_tokens(text: str) -> int:
    """Return the estimated number of tokens of a text; 0 if it is empty.

    Within a factor of 1.5 for prose in Latin script and for code, of 2 for others.

    Examples
    --------
    >>> estimate_tokens("What is the capital of France?")
    8
    """
    data = text.encode("utf-8", "surrogatepass")
    signs = _count(data, _SIGNS)
    blanks = data.count(b"  ")  # runs of them, as in tables and code, are few tokens
    tokens = signs / _PER_TOKEN_SIGNS
    letters = len(data) - signs - blanks
    if len(data) != len(text):  # there is more than ASCII
        firsts = data.translate(None, _ASCII + _AFTER_FIRST)
        wide, rare = _count(firsts, _WIDE), _count(firsts, _RARE_PLANES)
        others = len(firsts) - wide - rare
        letters = len(text) - len(firsts) - signs - blanks
        tokens += wide / _PER_TOKEN_WIDE + rare / _PER_TOKEN_EMOJI
        tokens += others / _PER_TOKEN_OTHER_SCRIPTS
    return math.ceil(tokens + letters / _PER_TOKEN_LETTERS)


def estimate_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return the estimated number of tokens of messages; 0 if there are none.

    Counts ``content`` and ``thinking``, and the marks that a template puts around
    each message. Images and tools are not counted.
    """
    total = 0
    for message in messages:
        texts = (message.get("content"), message.get("thinking"))
        total += _TOKENS_PER_MESSAGE + sum(estimate_tokens(t) for t in texts if t)
    return total + _TOKENS_TO_BEGIN_REPLY if total else 0


def _count(data: bytes, of: bytes) -> int:
    return len(data) - len(data.translate(None, of))
