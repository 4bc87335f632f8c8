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
    Answer,
    Answers,
    DecisionRequest,
    Question,
    Questions,
    Score,
)
from ollama_magic.client.models import (
    ModelSummary,
    find_model,
    is_decider,
    local_decider,
)
from ollama_magic.errors import ConfigError, PromptError, ReplyDataError, quoted
from ollama_magic.generation.dry_run import body_text, request_text
from ollama_magic.generation.front_end import NoDisplay, ReplyDisplay
from ollama_magic.generation.models import (
    ask_for_models,
    cached_reply,
    check_cloud,
    cloud_host,
    explained,
    model_to_ask,
    server_note,
)
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prompt import Filled, compose
from ollama_magic.generation.questions import (
    question_text,
    read_answers,
    read_choices,
    schema_of,
)
from ollama_magic.generation.response import Response, receive
from ollama_magic.generation.run import ask, discarded_on_error
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import merged
from ollama_magic.history.cache import CachedReply, request_key
from ollama_magic.history.records import METADATA_KEY, METADATA_LAYOUT
from ollama_magic.render.logprobs import AnswerRow, AnswerView, decision_bundle

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
    asked = merged(session.settings, options)
    models = ask_for_models(client, asked, False)
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
        asked.keep_alive,
    )
    is_sent = bool(name) and is_decider(model, name)
    # Without a server that says who decides, a cached decision may do.
    if not (is_sent or (models.fault and cached_reply(session, asked, request))):
        return prepared
    _check_effect(options, name)
    check_cloud(session.settings, client, name, cloud_host(name, model))
    return replace(prepared, request=request)


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
        session.store.cache_replies([(request_key(request), kept)])
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


# -- the result -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, repr=False)
class Decision:
    """The answers to the questions of a decision; shown as bars."""

    answers: Mapping[str, Answer]
    """The answers by the names of the questions."""
    questions: Questions
    """The questions, by name."""
    model: str
    """The model that decided."""
    is_estimate: bool = False
    """Whether the model was not made for decisions: the probabilities, if any, are
    estimated from the tokens of its reply."""
    footer: tuple[str, ...] = ()
    """Parts of the small line under it."""
    provenance: Mapping[str, Any]
    """The output's metadata under ``ollama_magic``."""

    def __getitem__(self, name: str) -> Answer:
        return self.answers[name]

    @property
    def choice(self) -> str | bool | float:
        """The answer to the only question: a label, True or False, or a score."""
        return self._only.value

    @property
    def probabilities(self) -> Mapping[str, float]:
        """The probability of each answer to the only question; empty if unknown."""
        return self._only.probabilities

    @property
    def confidence(self) -> float | None:
        """How clear the only answer is, from 0 to 1; None if unknown."""
        return self._only.confidence

    @property
    def _only(self) -> Answer:
        if len(self.answers) > 1:
            names = ", ".join(map(repr, self.answers))
            raise ReplyDataError(
                f"The decision has {len(self.answers)} answers.",
                why=f"they are named {names}",
                next_step=f"decision[{next(iter(self.answers))!r}].value",
            )
        return next(iter(self.answers.values()))

    def to_frame(self) -> Any:  # noqa: ANN401  (pandas is not imported here)
        """Return a ``pandas.DataFrame`` with a row for each possible answer.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        import pandas

        rows = [
            {
                "question": name,
                "answer": label,
                "probability": self.answers[name].probabilities.get(label),
                "chosen": label == _label(question, self.answers[name]),
            }
            for name, question in self.questions.items()
            for label in question.names
        ]
        return pandas.DataFrame(rows)

    def bundle(self) -> dict[str, str]:
        """Return ``text/html`` and ``text/plain``."""
        views = [
            _view(name, question, self.answers[name], is_estimate=self.is_estimate)
            for name, question in self.questions.items()
        ]
        return decision_bundle(views, self.footer)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the output."""
        return {METADATA_KEY: dict(self.provenance)}

    def __repr__(self) -> str:
        return self.bundle()["text/plain"]

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        return self.bundle(), self.metadata

    def _repr_html_(self) -> str:
        return self.bundle()["text/html"]


def _label(question: Question, answer: Answer) -> str:
    """Return the possible answer that was given, or the nearest level."""
    if isinstance(answer.value, bool):
        return question.names[not answer.value]
    if isinstance(question, Score):
        return question.names[min(round(float(answer.value)), len(question.names) - 1)]
    return str(answer.value)


def _view(
    name: str, question: Question, answer: Answer, *, is_estimate: bool
) -> AnswerView:
    chosen, known = _label(question, answer), answer.probabilities
    given = chosen
    if isinstance(question, Score):
        given = f"{answer.value:.2f} of {len(question.names) - 1}: {chosen}"
    notes = ["probabilities unknown"] if not known else []
    if answer.confidence is not None:
        told = f"{answer.confidence:.0%}".replace("%", " %")
        notes.append(f"confidence {told}{' (estimated)' if is_estimate else ''}")
    if answer.unseen:
        notes.append(f"not among the likeliest tokens: {', '.join(answer.unseen)}")
    return AnswerView(
        f"{name}: {given}",
        [
            AnswerRow(label, text, known.get(label), label == chosen)
            for label, text in question.descriptions.items()
        ],
        "; ".join(notes),
    )
