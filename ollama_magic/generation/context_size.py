"""How large a chat is, and how much room its model has, as far as it can be known.

Knows what counts as evidence: the counts of the server before an estimate, and newer
evidence before older. Measures from the newest turn back and no further than it may
matter, so that a chat of thousands of turns costs no more than what would fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ollama_magic.generation.context import ContextCheck
from ollama_magic.generation.tokens import (
    estimate_messages,
    estimate_tokens,
    message_tokens,
)
from ollama_magic.history.turns import Chat, Message, Turn, fingerprint

_LOOKED_AT_LEAST = 32_768
"""A chat is measured, newest turn first, to this size or twice what could fit."""
_MOST_MEASURED = 100_000
_measured: dict[str, int] = {}
"""Tokens of turns by uid and origin: a turn that was kept does not change."""


def check_context(
    turns: Sequence[Turn],
    others: Sequence[Message],
    *,
    options: Mapping[str, Any],
    length: int = 0,
    trained: int = 0,
    counted: Turn | None = None,
) -> ContextCheck:
    """Measure what is sent, as far as it may matter.

    Parameters
    ----------
    turns
        The turns that are sent, oldest first.
    others
        What is sent besides: the system message, if any, and last the new prompt.
    options
        The model options of the request.
    length, trained
        As in ``ContextCheck``.
    counted
        The last turn, when all that it was sent is sent again now, to the same model;
        its counts are better evidence than an estimate.
    """
    sizes = _sizes(turns, enough=max(2 * length, 2 * trained, _LOOKED_AT_LEAST))
    total = sum(sizes)
    rest, prompt, at_least = (
        estimate_messages(others),
        estimate_messages(others[-1:]),
        0,
    )
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
    )


def length_in_force(
    options: Mapping[str, Any],
    *,
    loaded: int,
    trained: int,
    asked_with: Mapping[str, Any],
) -> int:
    """Return the context length that the next request gets; 0 when unknown.

    Parameters
    ----------
    options
        The model options of the request.
    loaded
        The context length that the model is loaded with; 0 when it is not.
    trained
        The context length that the model was trained for; 0 when unknown.
    asked_with
        The model options of the request before this one, if they are known.
    """
    if num_ctx := _number(options, "num_ctx"):
        return min(num_ctx, trained) if trained else num_ctx
    # A num_ctx of an earlier cell does not hold for this one: the server loads the
    # model again, with a default that it chooses by its memory and does not tell.
    return 0 if loaded == _number(asked_with, "num_ctx") else loaded


def describe_use(chat: Chat, length: int) -> str:
    """Return how much context a chat takes, in words; empty before its first turn.

    Parameters
    ----------
    length
        The context length that its last model has now; 0 when unknown.
    """
    turns = chat.sent()
    if not turns:
        return ""
    stats = turns[-1].stats
    used = stats.prompt_eval_count + stats.eval_count
    of = f" of {length:,}" if length else ""
    share = f" ({used / length:.0%})" if length else ""
    at_last = f"{used:,}{of} tokens{share} at the last turn; " if used else ""
    system = [{"content": text}] if (text := chat.system()) else []
    now = check_context(turns, system, options={}, length=length, counted=turns[-1])
    return f"{at_last}the chat now: {now.size_text} (an estimate)"


def _sizes(turns: Sequence[Turn], *, enough: int) -> list[int]:
    """Return the tokens of turns, newest first, until there are more than enough."""
    sizes: list[int] = []
    total = 0
    for turn in reversed(turns):
        sizes.append(_turn_tokens(turn))
        total += sizes[-1]
        if total > enough:
            break
    return sizes


def _turn_tokens(turn: Turn) -> int:
    """Return about how many tokens a turn is sent as; a kept one is measured once."""
    key = f"{turn.uid} {turn.origin}"  # trust in a file changes what is sent
    known = _measured.get(key) if turn.uid else None
    if known is not None:
        return known
    tokens = _measure(turn)
    if turn.uid:
        if len(_measured) >= _MOST_MEASURED:
            _measured.clear()
        _measured[key] = tokens
    return tokens


def _measure(turn: Turn) -> int:
    # NB: the server counted the reply; it counted thinking too, which is not sent. The
    # counts of a file may be invented.
    counted = 0 if turn.thinking or turn.is_from_file else turn.stats.eval_count
    reply = counted or estimate_tokens(turn.reply)
    steps = sum(
        message_tokens(estimate_tokens(step["content"]))
        + estimate_tokens(json.dumps(step.get("tool_calls", "")))
        for step in turn.sent_steps
    )
    return message_tokens(estimate_tokens(turn.prompt)) + steps + message_tokens(reply)


def _is_sound(turn: Turn, turns: Sequence[Turn]) -> bool:
    """Whether what ``turn``, the last one, was sent is what is sent before it now."""
    if not turn.stats.prompt_eval_count or turn.status != "complete":
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
