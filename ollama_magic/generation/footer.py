"""The small line under a reply: model, time, speed, and what is news.

``make_reply`` calls it. A replay from the cache shows the same line, so what depends on
the kernel or the store is left out there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ollama_magic.client.models import canonical
from ollama_magic.generation.images import counted_kinds
from ollama_magic.generation.prepare import PreparedRequest
from ollama_magic.generation.response import Result
from ollama_magic.generation.session import Session
from ollama_magic.history.turns import MAIN_CHAT, Turn, TurnPosition

_LOAD_WORTH_SHOWING_S = 3.0
_CONTEXT_WORTH_SHOWING = 0.5
_REUSED_WORTH_SHOWING = 1000
_MAX_SPEED = 10_000
"""Tokens per second; a server that reports more has measured too short a time."""
_MARK = " (unsaved cell)"
_REASONS = {"load": "loaded", "unload": "unloaded"}


def footer_parts(
    turn: Turn, result: Result, *news: str, filled: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the parts of the footer: model, time, speed, and what is news.

    Parameters
    ----------
    news
        Which turn it is, if that is news.
    filled
        The placeholders that were filled in.
    """
    stats, share = turn.stats, context_share(turn, result)
    is_embedded = result.host_kind == "embedded"
    parts = [f"{turn.model} (embedded)" if is_embedded else turn.model]
    if result.took_s:
        parts.append(_seconds_text(result.took_s))
    if 0 < stats.tokens_per_second <= _MAX_SPEED:
        speed = stats.tokens_per_second
        parts.append(
            f"{speed:.2g} tokens/s" if speed < 10 else f"{speed:,.0f} tokens/s"
        )
    parts += news
    if stats.load_duration_s >= _LOAD_WORTH_SHOWING_S:
        parts.append(f"loaded in {_seconds_text(stats.load_duration_s)}")
    if share is not None and share >= _CONTEXT_WORTH_SHOWING:
        parts.append(f"context {share:.0%} of {result.context_length:,}")
    parts.append(early_end(turn))
    if filled:
        parts.append("filled in: " + ", ".join(filled))
    server = "" if is_embedded else result.server_note
    return tuple(filter(None, [*parts, *result.notes, server]))


def _seconds_text(seconds: float) -> str:
    if seconds < 0.1:
        return "<0.1 s"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def early_end(turn: Turn) -> str:
    """Return why the server ended a reply, if that is unusual."""
    reason = turn.done_reason
    is_said = reason in {"stop", "length"}  # the notice says the second
    return "" if is_said else _REASONS.get(reason, reason)


def context_share(turn: Turn, result: Result) -> float | None:
    """Return the share of the context that a turn used; None if unknown."""
    used = turn.stats.prompt_eval_count + turn.stats.eval_count
    return used / result.context_length if result.context_length and used else None


def footer_notes(
    prepared: PreparedRequest, place: TurnPosition | None, result: Result
) -> tuple[str, ...]:
    """Return what the footer says about the model, and what was not sent or told."""
    model, before, notes = (
        prepared.request.model,
        prepared.model_before,
        [*prepared.notes],
    )
    if prepared.named and canonical(prepared.named) != canonical(model):
        notes.append(f"only installed tag of {prepared.named}")
    if place is not None and before and canonical(before) != canonical(model):
        notes.append(f"now answered by {model}")
    for needs, images in groupby(prepared.left_out, lambda image: image.capability):
        (count,) = counted_kinds(images, "earlier ")
        notes.append(f"no {needs}: {count} not sent")
    response = result.response
    if prepared.request.logprobs and response.text and not response.text_logprobs:
        are_told = bool(response.logprobs)
        left_out = "log probabilities left out: they do not match the text"
        notes.append(left_out if are_told else "no log probabilities from this server")
    return tuple(notes)


def footer_news(
    session: Session,
    prepared: PreparedRequest,
    turn: Turn,
    place: TurnPosition | None,
    *,
    is_unsaved: bool,
) -> tuple[str, ...]:
    """Return which turn of which chat it is, and its version, if that is news.

    The place is news in another chat than ``main``, and at the first turn after a
    change of the chat or a restart of the kernel.
    """
    reused = _reused_text(turn) if place is None or place["turn"] == 1 else ""
    if place is None:
        return (reused,)
    chat, number = place["chat"], place["turn"]
    before, session.last_chat = session.last_chat, chat
    has_moved = number > 1 if before is None else before != chat
    # NB: a replay shows the same footer, whatever the kernel and the store had before.
    is_replay = prepared.options.cached
    is_news = chat != MAIN_CHAT or is_unsaved or (has_moved and not is_replay)
    version = 0 if is_replay else session.store.version_number(turn)
    return (
        f"turn {number} of {chat}{_MARK * is_unsaved}" if is_news else "",
        f"version {version}" if version > 1 else "",
        reused,
    )


def _reused_text(turn: Turn) -> str:
    """Return how much of a long prompt the server had read before."""
    count = turn.stats.prompt_eval_cached_count
    is_long = count >= _REUSED_WORTH_SHOWING
    of = f"{turn.stats.prompt_eval_count:,} prompt tokens"
    return f"{count:,} of {of} reused" if is_long else ""
