"""One decision: which model decides, how it is asked, and the result.

A cell with ``--choose`` and the function ``decide`` call ``decide``. A decision belongs
to no chat. A model without the capability ``decision`` is asked for JSON, and the
probabilities are estimated from its tokens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ollama_magic import __version__
from ollama_magic.client.background import held
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.decisions import (
    Answers,
    DecisionRequest,
    Questions,
)
from ollama_magic.client.models import ModelSummary, find_model
from ollama_magic.errors import ConfigError, PromptError, quoted
from ollama_magic.generation.cached import cached_reply, explained
from ollama_magic.generation.deciders import is_decider, local_decider
from ollama_magic.generation.decision import Decision
from ollama_magic.generation.dry_run import body_text, request_text
from ollama_magic.generation.models import (
    ServerModels,
    check_cloud,
    cloud_host,
    model_to_ask,
    server_note,
)
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prepare import ask_for_models
from ollama_magic.generation.prompt import Filled, compose
from ollama_magic.generation.questions import (
    question_text,
    read_answers,
    read_choices,
    schema_of,
)
from ollama_magic.generation.response import Response, receive
from ollama_magic.generation.run import (
    NoDisplay,
    ReplyDisplay,
    ask,
    discarded_on_error,
)
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import merged
from ollama_magic.history.cache import CachedReply, request_key
from ollama_magic.history.records import METADATA_LAYOUT

MOST_ALTERNATIVES = 20
_WITHOUT_EFFECT = ("system", "options", "think")
_ESTIMATED = "estimated from log probabilities of {model}"
_UNKNOWN = "{model} does not tell how likely its answers are"


@dataclass(frozen=True)
class PreparedDecision:
    """What will be sent: a request for a model that decides, or a prompt."""

    client: OllamaClient
    options: ChatOptions
    questions: Questions
    filled: Filled
    request: DecisionRequest | None
    """None if the model chats."""
    model: ModelSummary | None = None


def prepare_decision(
    session: Session,
    options: ChatOptions,
    state: object,
    display: ReplyDisplay,
) -> PreparedDecision:
    """Return what a decision would send.

    Parameters
    ----------
    options
        Those of the cell, not merged with the settings.
    state
        What the questions are about: a text, or a dict or list.

    Raises
    ------
    OllamaMagicError
        As ``prepare``, and ConfigError for an option that would have no effect.
    """
    client, names = session.client(options.host), session.namespace
    questions = read_choices(options.choose, names)
    text = state if isinstance(state, str) else _as_json(state)
    filled = compose(
        text,
        names,
        files=options.files,
        images=options.images,
        raw=options.raw or not isinstance(state, str),
        hide=session.redactor_for(client).text,
    )
    display.waiting(f"contacting {client.host.base_url}…")
    models = ask_for_models(client, merged(session.settings, options), False)
    allow_cloud = session.settings.allow_cloud
    named = options.model or local_decider(models.installed, allow_cloud=allow_cloud)
    name = model_to_ask(named, models, allow_cloud=allow_cloud) if named else ""
    model = find_model(name, models.installed)
    prepared = PreparedDecision(client, options, questions, filled, None, model)
    request = DecisionRequest(
        name,
        filled[0] if isinstance(state, str) else json.loads(filled[0]),
        {name: question.to_json() for name, question in questions.items()},
        [image.base64 for image in filled[2]],
        merged(session.settings, options).keep_alive,
    )
    is_sent = bool(name) and is_decider(model, name)
    if not (is_sent or _is_cached_alone(session, options, request, models)):
        return prepared
    _check_effect(options, name)
    check_cloud(session.settings, client, name, cloud_host(name, model))
    return replace(prepared, request=request)


def _is_cached_alone(
    session: Session,
    options: ChatOptions,
    request: DecisionRequest,
    models: ServerModels,
) -> bool:
    """Return whether the decision is cached, and no server can say who decides."""
    if models.fault is None:
        return False
    return cached_reply(session, merged(session.settings, options), request) is not None


def _as_json(state: object) -> str:
    try:
        if isinstance(state, dict | list):
            return json.dumps(state, ensure_ascii=False, allow_nan=False)
        why = f"it is of type {type(state).__name__}"
    except (TypeError, ValueError) as error:
        why = f"it is not JSON: {error}"
    raise PromptError(
        "No decision can be made about this value.",
        why=quoted(why, limit=200),
        next_step="pass a text, or a dict or list of texts and numbers",
    )


def _check_effect(options: ChatOptions, model: str) -> None:
    given = [name for name in _WITHOUT_EFFECT if getattr(options, name)]
    if given:
        raise ConfigError(
            f"{' and '.join(given)} would have no effect.",
            why=f"{model!r} decides and does not chat: it takes a text, questions and "
            "images",
            next_step=f"leave out {' and '.join(given)}, or name a model that chats",
        )


def decision_text(session: Session, options: ChatOptions, state: object) -> str:
    """Return the request that ``decide`` would send."""
    prepared = prepare_decision(session, options, state, NoDisplay())
    if prepared.request is None:
        return request_text(session, _chat_options(prepared), prepared.filled[0])
    body = {**prepared.request.body()}
    if "images" in body:
        body["images"] = [f"<{len(one):,} characters>" for one in body["images"]]
    shown = body_text(body, options)
    url = f"{prepared.client.host.base_url}{prepared.request.path}"
    return f"POST {url}\n{shown}\nnothing was sent"


def decide(
    session: Session,
    options: ChatOptions,
    state: object,
    display: ReplyDisplay,
) -> Decision:
    """Return the answers to the questions of ``options.choose`` about a state.

    Raises
    ------
    OllamaMagicError
        As ``prepare_decision``, or there is no answer.
    """
    with held(), discarded_on_error(display):
        prepared = prepare_decision(session, options, state, display)
        if prepared.request is None:
            decision = _estimated(session, prepared, display)
        else:
            decision = _decided(session, prepared, prepared.request, display)
    display.finish(decision.bundle(), decision.metadata)
    return decision


def _decided(
    session: Session,
    prepared: PreparedDecision,
    request: DecisionRequest,
    display: ReplyDisplay,
) -> Decision:
    options = merged(session.settings, prepared.options)
    digest = prepared.model.digest if prepared.model else ""
    cached = cached_reply(session, options, request, digest)
    began_s = time.monotonic()
    response = Response() if cached is None else Response.of(cached)
    if cached is None:
        tick = partial(display.waiting, f"waiting for {request.model}…")
        nothing = lambda *_: None  # noqa: E731
        stream = prepared.client.send(request)
        receive([stream], [response], nothing, tick, hz=session.settings.update_hz)
        if fault := response.fault:
            raise explained(session, options, request, fault) or fault
    answers = Answers.from_json(json.loads(response.text), prepared.questions)
    cloud = cloud_host(request.model, prepared.model)
    kind = session.host_kind(prepared.client)
    kept = cached or CachedReply(
        model=request.model,
        digest=digest,
        text=response.text,
        done_reason=response.done_reason,
        host_kind="cloud" if cloud else kind,
        server_note=server_note(kind, prepared.client.host.base_url, cloud),
        answered_at=response.ended_at,
        took_s=time.monotonic() - began_s,
    )
    if options.cached and cached is None:
        session.store.cache_reply(request_key(request), kept)
    filled = ", ".join(prepared.filled[1])
    withheld = cached is None and prepared.client.withheld_key is not None
    facts = (
        kept.model,
        f"{max(kept.took_s, 0.1):.1f} s",
        f"filled in: {filled}" if filled else "",
        kept.server_note,
        "without the API key" if withheld else "",
    )
    return _made(prepared, kept.model, answers, facts, kept)


def _made(
    prepared: PreparedDecision,
    model: str,
    answers: Answers,
    facts: Sequence[str],
    kept: CachedReply | None = None,
    *,
    provenance: Mapping[str, Any] | None = None,
    is_estimate: bool = False,
) -> Decision:
    told = {
        name: {"value": one.value, "probabilities": dict(one.probabilities)}
        for name, one in answers.answers.items()
    }
    made = {
        "layout": METADATA_LAYOUT,
        "version": __version__,
        "chat": None,
        "model": model,
        "digest": kept.digest if kept else "",
        "host_kind": kept.host_kind if kept else "",
        "answered_at": kept.answered_at if kept else "",
        "prompt": prepared.filled[0],
    }
    is_quiet = prepared.options.quiet
    return Decision(
        answers=answers.answers,
        questions=prepared.questions,
        model=model,
        is_estimate=is_estimate,
        footer=() if is_quiet else tuple(filter(None, facts)),
        provenance={**(provenance or made), "decision": json.dumps(told)},
    )


def _chat_options(prepared: PreparedDecision) -> ChatOptions:
    """Return the options for a model that chats."""
    options, asked = prepared.options, question_text(prepared.questions)
    return replace(
        options,
        once=True,
        raw=True,
        quiet=False,
        system="\n\n".join(filter(None, [options.system, asked])),
        schema=schema_of(prepared.questions),
        logprobs=MOST_ALTERNATIVES,
        options={"temperature": 0, **options.options},
        files=(),
        images=prepared.filled[2],
        choose=None,
    )


def _estimated(
    session: Session, prepared: PreparedDecision, display: ReplyDisplay
) -> Decision:
    display.waiting("waiting for the model…")
    options = _chat_options(prepared)
    reply = ask(session, options, prepared.filled[0], NoDisplay())
    answers = read_answers(reply.data, reply.logprobs, prepared.questions)
    is_told = any(one.probabilities for one in answers.answers.values())
    note = (_ESTIMATED if is_told else _UNKNOWN).format(model=reply.model)
    filled = ", ".join(prepared.filled[1])
    facts = (*reply.footer, f"filled in: {filled}" if filled else "", note)
    return _made(
        prepared,
        reply.model,
        answers,
        facts,
        provenance=reply.provenance,
        is_estimate=True,
    )
