"""The line that a cell shows about its request: while it waits, and under the reply.

``run`` and ``compare`` show a ``Waiting`` line, and call ``with_facts`` once the
responses have ended: which server and model replied, how much context there was, and
whether a part of the prompt was left out, which is an error if the options say so.
``make_reply`` makes the footer of it. A replay from the cache shows the same footer, so
what depends on the kernel or the store is left out there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby

from ollama_magic.client.background import (
    ask_in_time,
)
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import canonical, check_chats
from ollama_magic.errors import (
    CapabilityError,
    ContextExceededError,
    ServerError,
    duration_text,
    last_time_text,
    size_text,
)
from ollama_magic.generation.images import counted_kinds
from ollama_magic.generation.lookups import Lookups, asked
from ollama_magic.generation.models import server_note
from ollama_magic.generation.prepare import PreparedRequest
from ollama_magic.generation.response import Response, Result
from ollama_magic.generation.session import Session
from ollama_magic.history.turns import MAIN_CHAT, Turn, TurnPosition
from ollama_magic.history.usage import (
    COLD_S,
    expected_reading_s,
    last_load_s,
    reading_times,
)

_LOOKS_UP_AFTER_S = 1.0
_READING_WORTH_SAYING_S = 3.0
_LOAD_WORTH_SHOWING_S = 3.0
_CONTEXT_WORTH_SHOWING = 0.5
_REUSED_WORTH_SHOWING = 1000
_MAX_SPEED = 10_000
"""Tokens per second; a server that reports more has measured too short a time."""
_MARK = " (unsaved cell)"
_REASONS = {"load": "loaded", "unload": "unloaded"}


def server_of(kind: str, client: OllamaClient) -> str:
    """Return what turns store of their server; empty for an Ollama on this machine.

    Parameters
    ----------
    kind
        ``embedded``, ``loopback`` or ``remote``.
    """
    return {"embedded": kind, "remote": client.host.base_url}.get(kind, "")


def load_times(session: Session, client: OllamaClient) -> Callable[[str], float]:
    """Return what says how long a model last took to load on a server."""
    server, known = server_of(session.host_kind(client), client), session.load_times

    def last(model: str) -> float:
        here = known.get((server, model))
        return here or session.store.query(last_load_s, model, server)

    return last


def note_load(
    session: Session, client: OllamaClient, model: str, seconds: float
) -> None:
    """Remember a cold load; a reply that is in no chat is not in the store."""
    if seconds >= COLD_S:
        server = server_of(session.host_kind(client), client)
        session.load_times[server, model] = seconds


class Waiting:
    """The line of one request while nothing has arrived."""

    def __init__(
        self, session: Session, prepared: PreparedRequest, lookups: Lookups
    ) -> None:
        self._session = session
        self._prepared = prepared
        self._lookups = lookups

    def first_text(self, response: Response) -> str:
        """Return the text to show while the output is empty; else an empty text."""
        prepared = self._prepared = self._lookups.with_lists(self._prepared)
        is_hidden = prepared.options.hide_thinking and not response.has_text
        if not (response.is_empty or is_hidden):
            return ""
        model, summary = prepared.request.model, prepared.model
        if not response.is_empty:
            return f"{model} is thinking…"
        if response.total:
            return f"{model} is drawing, step {response.completed} of {response.total}…"
        size = f" ({size_text(summary.size_bytes)})" if summary else ""
        doing = f"loading {model}{size}…"
        if prepared.loaded:
            doing = f"waiting for {model}…"
        if prepared.is_unlisted:
            doing = f"contacting {prepared.client.host.base_url}…"
        if prepared.cloud_host:
            doing = f"sending to {prepared.cloud_host}…"
        fits = prepared.context.fits is not False
        return doing if fits else f"this will probably not fit the context; {doing}"

    def text(self, response: Response, seconds: float) -> str:
        """Return what to show after so many seconds; empty once text is visible."""
        waits = self.first_text(response)
        if not waits:
            return ""
        is_early = seconds < _LOOKS_UP_AFTER_S or not response.is_empty
        return f"{waits} {seconds:.0f} s{'' if is_early else self._expected}"

    @cached_property
    def _expected(self) -> str:
        """How long the model took to load, and about how long reading will take."""
        prepared, model = self._prepared, self._prepared.request.model
        if prepared.cloud_host:
            return ""
        last_s = 0.0
        if prepared.loaded is None:
            last_s = load_times(self._session, prepared.client)(model)
        return last_time_text(last_s) + self._reading()

    def _reading(self) -> str:
        prepared, check = self._prepared, self._prepared.context
        if prepared.images or prepared.left_out or not check.is_whole:
            return ""  # the tokens of images are unknown
        # The server remembers what the same model read for the turn before.
        is_remembered = prepared.loaded and check.at_least
        tokens = check.prompt if is_remembered else check.size
        tokens = min(tokens, check.length or tokens)
        session, client = self._session, prepared.client
        server = server_of(session.host_kind(client), client)
        times = session.store.query(reading_times, prepared.request.model, server)
        seconds = expected_reading_s(tokens, times)
        if seconds < _READING_WORTH_SAYING_S:
            return ""
        return f" · reading about {_rounded(tokens):,} tokens, {_about(seconds)}"


def _rounded(tokens: int) -> int:
    """Return a number with two digits that are not zero."""
    return round(tokens, 2 - len(str(tokens)))


def _about(seconds: float) -> str:
    """Return a rough duration.

    >>> _about(3.4), _about(38), _about(205)
    ('about 3 s', 'about 40 s', 'about 3 min')
    """
    if seconds >= 90:
        return f"about {duration_text(60 * round(seconds / 60)).removesuffix(' 00 s')}"
    return f"about {round(seconds, -1) if seconds >= 10 else round(seconds):.0f} s"


# -- once the responses have ended ---------------------------------------------------


def with_facts(
    session: Session,
    prepared: PreparedRequest,
    result: Result,
    lookups: Lookups,
) -> Result:
    """Return the result with what is known about its server, model and context."""
    prepared, result = _with_lists(prepared, result, lookups)
    return _with_context(prepared, _with_source(session, prepared, result, lookups))


def _with_lists(
    prepared: PreparedRequest, result: Result, lookups: Lookups
) -> tuple[PreparedRequest, Result]:
    """Return both with what the server lists, if it was asked while it replied."""
    fault, is_rejected = result.fault, isinstance(result.fault, ServerError)
    prepared = lookups.with_lists(prepared, waits=fault is None or is_rejected)
    if is_rejected and result.response.is_empty:
        try:
            check_chats(prepared.model)
        except CapabilityError as better:
            result = replace(result, fault=better)
    return prepared, result


def _with_source(
    session: Session,
    prepared: PreparedRequest,
    result: Result,
    lookups: Lookups,
) -> Result:
    cached = result.responses[0].cached
    if cached is not None:
        return replace(
            result,
            digest=cached.digest,
            host_kind=cached.host_kind,
            server_note=cached.server_note,
            context_length=cached.context_length,
        )
    client, kind = prepared.client, session.host_kind(prepared.client)
    for one in result.responses:
        loaded_s = one.stats.load_duration_s
        note_load(session, client, prepared.request.model, loaded_s)
    cloud = result.response.remote_host or prepared.cloud_host
    note = server_note(kind, client.host.base_url, cloud)
    if client.withheld_key is not None:
        note += ", without the API key"
    return replace(
        result,
        digest=prepared.digest,
        host_kind="cloud" if cloud else kind,
        server_note=note,
        context_length=_context_length(prepared, result, cloud, lookups),
    )


def _context_length(
    prepared: PreparedRequest, result: Result, cloud: str, lookups: Lookups
) -> int:
    """Return the context length of the model that replied; 0 if unknown."""
    if result.fault is not None:
        lookups.close()
        return 0
    if cloud:  # it is in the memory of no server here
        return prepared.model.context_length if prepared.model else 0
    return lookups.length(prepared, result)


def _with_context(prepared: PreparedRequest, result: Result) -> Result:
    """Return the result with what was left out of its prompt: a notice, or a fault."""
    check, length, response = prepared.context, result.context_length, result.response
    fault = result.fault
    if isinstance(fault, ContextExceededError):
        check.advise(fault)
    elif check.is_refused and fault is None and check.lost(response.stats, length):
        if not (result.is_cached or result.host_kind == "cloud"):
            knows = asked(partial(knows_truncate, prepared.client), unknown=False)
            check = replace(check, is_uncut=knows)
        fault = None if result.is_cached else check.lost(response.stats, length)
    notice = check.after(response.stats, response.done_reason, length)
    is_said = isinstance(fault, ContextExceededError)
    return replace(result, fault=fault, context_notice="" if is_said else notice)


# -- the footer ----------------------------------------------------------------------


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
        notes.append(f"previous turn: {before}")
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


_KNOWS_TRUNCATE = (0, 12, 4)


def knows_truncate(client: OllamaClient) -> bool:
    """Return whether a server refuses a long prompt if a request says so."""
    (version,) = ask_in_time(client.version)
    if not isinstance(version, str):
        return False
    numbers = version.split("-")[0].split(".")
    release = tuple(int(number) for number in numbers if number.isdecimal())
    return "embedded" in version or release >= _KNOWS_TRUNCATE
