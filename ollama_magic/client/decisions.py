"""Decisions: questions with a few possible answers, and how likely each answer is.

``POST /v1/systemone`` of Ollama 0.35 answers them; its models do not chat. Source:
Ollama's documentation (``docs/capabilities/decision.mdx``); not tried on a real server.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from ollama_magic.client.json_values import JsonObject, json_int, json_object, json_text
from ollama_magic.client.types import GenerateRequest, KeepAlive, Request, set_only
from ollama_magic.errors import PromptError, ReplyDataError, quoted

FEWEST, MOST = 2, 26
YES, NO = "yes", "no"

# -- questions -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of several labels fits.

    Parameters
    ----------
    labels
        The labels, from 2 to 26, each with a description; or only the labels.
    instructions
        The question.
    """

    labels: Any
    instructions: str = "Which of these fits best?"
    kind: ClassVar[str] = "choice"

    def __post_init__(self) -> None:
        given = self.labels
        pairs = given if isinstance(given, Mapping) else dict.fromkeys(_listed(given))
        if not all(isinstance(label, str) and label.strip() for label in pairs):
            raise _invalid("Each label of a choice must be a text.", "")
        if not all(isinstance(text, str | None) for text in pairs.values()):
            raise _invalid("Each description of a label must be a text, or None.", "")
        object.__setattr__(self, "labels", dict(pairs))
        _check_count(self.names, "choice", "labels")
        _check_text(self.instructions)

    @property
    def names(self) -> tuple[str, ...]:
        """The possible answers, in order."""
        return tuple(self.labels)

    @property
    def descriptions(self) -> dict[str, str]:
        """The description of each answer; empty if it has none."""
        return {name: text or "" for name, text in self.labels.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the question as it is sent."""
        return {**_asked(self), "criteria": dict(self.labels)}


@dataclass(frozen=True, slots=True)
class YesNo:
    """Whether something is so.

    Parameters
    ----------
    instructions
        The question.
    yes, no
        What each answer means, if that is not clear.
    """

    instructions: str
    yes: str = ""
    no: str = ""
    kind: ClassVar[str] = "noul"
    names: ClassVar[tuple[str, ...]] = (YES, NO)

    def __post_init__(self) -> None:
        for text in (self.instructions, self.yes or "-", self.no or "-"):
            _check_text(text)

    @property
    def descriptions(self) -> dict[str, str]:
        """The description of each answer; empty if it has none."""
        return {YES: self.yes, NO: self.no}

    def to_json(self) -> dict[str, Any]:
        """Return the question as it is sent."""
        criteria = {"false": self.no, "true": self.yes} if self.yes or self.no else None
        return {**_asked(self), **set_only(criteria=criteria)}


@dataclass(frozen=True, slots=True)
class Score:
    """How far something goes, on a scale that begins with 0.

    Parameters
    ----------
    levels
        What each level means, from 2 to 26, the lowest first.
    instructions
        The question.
    """

    levels: Sequence[str]
    instructions: str = "Which level fits best?"
    kind: ClassVar[str] = "score"

    def __post_init__(self) -> None:
        levels = tuple(_listed(self.levels))
        for text in (*levels, self.instructions):
            _check_text(text)
        object.__setattr__(self, "levels", levels)
        _check_count(self.names, "score", "levels")

    @property
    def names(self) -> tuple[str, ...]:
        """The possible answers, in order."""
        return tuple(self.levels)

    @property
    def descriptions(self) -> dict[str, str]:
        """Empty: the levels describe themselves."""
        return dict.fromkeys(self.names, "")

    def to_json(self) -> dict[str, Any]:
        """Return the question as it is sent."""
        return {**_asked(self), "criteria": list(self.levels)}


Question = Choice | YesNo | Score
Questions = Mapping[str, Question]


def _asked(question: Question) -> dict[str, Any]:
    return {"type": question.kind, "instructions": question.instructions}


def _listed(values: object) -> Iterable[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise _invalid("Labels and levels must be a list.", f"it is {values!r}")
    return values


def _check_text(text: object) -> None:
    if not (isinstance(text, str) and text.strip()):
        raise _invalid("A question and its answers must be texts.", f"it is {text!r}")


def _check_count(names: Sequence[str], kind: str, noun: str) -> None:
    if len(set(names)) < len(names):
        raise _invalid(f"The {noun} of a {kind} must differ.", "one is given twice")
    if not FEWEST <= len(names) <= MOST:
        why = f"there are {len(names)}" if names else "there are none"
        raise _invalid(f"A {kind} needs {FEWEST} to {MOST} {noun}.", why)


def _invalid(what: str, why: str) -> PromptError:
    step = 'decide(text, {"bug": "Software errors", "billing": "Payments"})'
    return PromptError(what, why=quoted(why, limit=120), next_step=step)


# -- the request and its answers --------------------------------------------------


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """Questions about a state: a text, or any JSON."""

    path: ClassVar[str] = "/v1/systemone"
    options: ClassVar[Mapping[str, Any]] = {}
    format: ClassVar[None] = None
    truncate: ClassVar[None] = None

    model: str
    state: Any
    questions: Mapping[str, JsonObject]
    """The questions by name, as they are sent."""
    images: Sequence[str] = ()
    """Images for all questions, each as plain base64."""
    keep_alive: KeepAlive | None = None

    @property
    def prompt(self) -> str:
        """The state as text."""
        return json_text(self.state)

    def body(self) -> dict[str, Any]:
        """Return the JSON to send."""
        return {
            "model": self.model,
            "state": self.state,
            "questions": dict(self.questions),
            **set_only(images=[*self.images] or None, keep_alive=self.keep_alive),
        }

    def as_messages(self) -> list[Mapping[str, Any]]:
        """Return the state as a message."""
        return [{"role": "user", "content": self.prompt}]


RowRequest = GenerateRequest | DecisionRequest
"""What ``map_prompts`` and ``map_decisions`` send for a row."""
AnyRequest = Request | DecisionRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question."""

    value: str | bool | float
    """The label of a choice; True or False; a score, which counts from 0."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """The probability of each answer (``yes`` and ``no``, or the levels of a score);
    empty if the server does not tell."""
    confidence: float | None = None
    """From 0 (all answers are equally likely) to 1 (one is certain)."""
    unseen: tuple[str, ...] = ()
    """Answers of an estimate that were too unlikely to have a probability."""

    @property
    def probability(self) -> float | None:
        """The probability of the answer; of a score, that of its likeliest level."""
        if isinstance(self.value, bool):
            return self.probabilities.get(YES if self.value else NO)
        likeliest = max(self.probabilities.values(), default=None)
        return self.probabilities.get(str(self.value), likeliest)


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to all questions of a request, by name."""

    answers: Mapping[str, Answer]
    input_tokens: int = 0
    output_tokens: int = 0

    @classmethod
    def from_json(cls, data: JsonObject, questions: Questions) -> Self:
        """Read the response.

        Raises
        ------
        ReplyDataError
            It lacks the answer to a question.
        """
        found, usage = json_object(data.get("answers")), json_object(data.get("usage"))
        return cls(
            {n: _answer(n, q, json_object(found.get(n))) for n, q in questions.items()},
            json_int(usage.get("input_tokens")),
            json_int(usage.get("output_tokens")),
        )


def _answer(name: str, question: Question, data: JsonObject) -> Answer:
    value: Any = data.get(question.kind)
    probabilities = _probabilities(question, data.get("probabilities"))
    confidence = data.get("confidence")
    if isinstance(question, Choice):
        if value not in question.names:
            raise not_answered(f"no label for {name!r}: {data}")
    elif not _is_number(value):
        raise not_answered(f"no number for {name!r}: {data}")
    elif isinstance(question, YesNo):
        probabilities = {YES: float(value), NO: 1 - float(value)}
        value = value >= 1 / 2
    known = confidence if _is_number(confidence) else certainty(probabilities)
    return Answer(value, probabilities, known)


def not_answered(why: str) -> ReplyDataError:
    """Return the error for a reply without an answer."""
    return ReplyDataError(
        "The reply is not a decision.",
        why=quoted(why, limit=200),
        next_step="run it again, or use another model",
    )


def _probabilities(question: Question, told: Any) -> dict[str, float]:  # noqa: ANN401
    """Return them by the names of the answers; empty if they are not told clearly.

    The documentation does not show how those of a score are named.
    """
    if isinstance(told, list):
        told = {str(index): value for index, value in enumerate(told)}
    if not isinstance(told, dict) or not all(map(_is_number, told.values())):
        return {}
    keys: Sequence[str] = question.names
    if isinstance(question, Score) and not set(keys) <= set(told):
        keys = [str(index) for index in range(len(keys))]
    if set(keys) != set(told):
        return {}
    names = zip(question.names, keys, strict=True)
    return {name: float(told[key]) for name, key in names}


def _is_number(value: Any) -> bool:  # noqa: ANN401  (any JSON)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def certainty(probabilities: Mapping[str, float]) -> float | None:
    """Return the confidence as the server defines it: 1 less the relative entropy."""
    if len(probabilities) < FEWEST:
        return None
    entropy = -sum(p * math.log(p) for p in probabilities.values() if p > 0)
    return max(0.0, 1 - entropy / math.log(len(probabilities)))
