"""Questions of a decision: how they are written, and how a model answers that chats.

A model that chats gets the questions in its prompt and a schema that allows only their
answers. How likely each answer was is estimated from the tokens of the reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ollama_magic.client.decisions import (
    Answer,
    Answers,
    Choice,
    Question,
    Questions,
    Score,
    YesNo,
    certainty,
)
from ollama_magic.client.logprobs import Logprobs, TokenLogprob
from ollama_magic.errors import PromptError, quoted
from ollama_magic.generation.prompt import find_value

_SINGLE = {Choice: "choice", YesNo: "yes", Score: "score"}
"""The name of a question that has none."""
_FORMS = (
    'decide(text, {"bug": "Software errors", "billing": "Payments"}), '
    'decide(text, "Is it urgent?"), or several: '
    'decide(text, {"label": Choice([…]), "urgent": YesNo("Is it urgent?")})'
)
_KINDS = {"choice": Choice, "noul": YesNo, "score": Score}

# -- how they are written ----------------------------------------------------------


def read_questions(given: object) -> dict[str, Question]:
    """Return questions by name.

    Parameters
    ----------
    given
        A text is a question of yes or no; a dict of descriptions, or a list, the labels
        of a choice; a dict of questions several questions, each an object of the
        classes above, or as Ollama's API writes it.

    Raises
    ------
    PromptError
        It is none of these, or has too few or too many answers.
    """
    if isinstance(given, Choice | YesNo | Score):
        return {_SINGLE[type(given)]: given}
    if isinstance(given, str):
        return read_questions(YesNo(given))
    if isinstance(given, Sequence | Set) and not isinstance(given, bytes):
        return read_questions(Choice(list(given)))
    if isinstance(given, Mapping) and given:
        if all(text is None or isinstance(text, str) for text in given.values()):
            return read_questions(Choice(given))
        return {_name(name): _question(one) for name, one in given.items()}
    raise PromptError(
        f"A value of type {type(given).__name__} is not a question.",
        why="it has no answers to choose from",
        next_step=_FORMS,
    )


def read_choices(spec: object, namespace: Mapping[str, Any]) -> dict[str, Question]:
    """Return the questions of ``--choose``: labels in short, or a name of the notebook.

    >>> [*read_choices("bug: errors; billing", {})["choice"].labels.items()]
    [('bug', 'errors'), ('billing', None)]
    """
    if not isinstance(spec, str):
        return read_questions(spec)
    if spec.partition(".")[0].partition("[")[0].strip() in namespace:
        return read_questions(find_value(spec, namespace))
    mark = ";" if ";" in spec or ":" in spec else ","
    pairs = [part.partition(":") for part in spec.split(mark) if part.strip()]
    return read_questions(
        {name.strip(): text.strip() or None for name, _, text in pairs}
    )


def _name(name: object) -> str:
    if not (isinstance(name, str) and name.strip()):
        raise PromptError(
            f"A question cannot be named {quoted(repr(name), limit=60)}.",
            why="the name must be a text",
            next_step=_FORMS,
        )
    return name


def _question(given: object) -> Question:
    """Return one of several questions."""
    kind = _KINDS.get(given.get("type", "")) if isinstance(given, Mapping) else None
    if kind is None:
        (question,) = read_questions(given).values()
        return question
    assert isinstance(given, Mapping)
    asked, criteria = given.get("instructions"), given.get("criteria")
    words = {"instructions": asked} if asked else {}
    if kind is YesNo:
        told = criteria if isinstance(criteria, Mapping) else {}
        return YesNo(str(asked or ""), told.get("true", ""), told.get("false", ""))
    made: Question = kind(criteria, **words)
    return made


# -- for a model that chats ----------------------------------------------------------


def answers_of(question: Question) -> tuple[str, ...]:
    """Return the texts that a model answers with; levels are numbered."""
    if isinstance(question, Score):
        return tuple(map(str, range(len(question.levels))))
    return question.names


def question_text(questions: Questions) -> str:
    """Return questions as a system message: it is the same for many texts."""
    lines = [
        "Decide about the text of the user. Answer in JSON, each question with exactly "
        "one of its answers."
    ]
    for name, question in questions.items():
        lines.append(f"\n{name}: {question.instructions}")
        described = zip(answers_of(question), question.names, strict=True)
        for answer, label in described:
            text = question.descriptions[label] or (label if answer != label else "")
            lines.append(
                f"- {json.dumps(answer, ensure_ascii=False)}: {text}".rstrip(": ")
            )
    return "\n".join(lines)


def schema_of(questions: Questions) -> dict[str, Any]:
    """Return the JSON Schema of the answers."""
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "enum": list(answers_of(question))}
            for name, question in questions.items()
        },
        "required": list(questions),
        "additionalProperties": False,
    }


def read_answers(data: object, tokens: Logprobs, questions: Questions) -> Answers:
    """Return the answers in a reply that matches ``schema_of``, with estimates.

    Parameters
    ----------
    tokens
        Those of the reply; if there are none, nothing is estimated.
    """
    assert isinstance(data, Mapping)
    return Answers({n: _answer(n, q, data[n], tokens) for n, q in questions.items()})


def _answer(name: str, question: Question, text: str, tokens: Logprobs) -> Answer:
    told = _estimated(name, answers_of(question), tokens)
    names = zip(question.names, told, strict=True) if told else ()
    probabilities = {label: told[answer] for label, answer in names}
    unseen = tuple(label for label, p in probabilities.items() if not p)
    value: str | bool | float = text
    if isinstance(question, YesNo):
        value = text == question.names[0]
    elif isinstance(question, Score):
        levels = enumerate(probabilities.values())
        value = sum(level * p for level, p in levels) if told else float(text)
    return Answer(value, probabilities, certainty(probabilities), unseen)


def _estimated(name: str, answers: Sequence[str], tokens: Logprobs) -> dict[str, float]:
    """Return the probability of each answer; empty if it cannot be told.

    The tokens of the value are followed. An alternative counts for the only answer that
    it can begin; one that can begin several counts only if it was chosen, and then the
    next token decides. What begins no answer is left out, and the rest adds up to 1.
    """
    whole = b"".join(token.utf8 for token in tokens)
    key = re.escape(json.dumps(name, ensure_ascii=False).encode())
    match = re.search(key + rb"\s*:\s*", whole)
    if match is None:
        return {}
    targets = {one: json.dumps(one, ensure_ascii=False).encode() for one in answers}
    found = dict.fromkeys(answers, 0.0)
    path, at, prefix = 1.0, 0, b""
    for token in tokens:
        begin, at = at, at + len(token.utf8)
        if at <= match.end():
            continue
        if not token.top_logprobs:
            return {}
        before = token.utf8[: max(0, match.end() - begin)]
        for one in _distinct(token):
            fits = _fitting(targets, prefix, one.utf8, before)
            if len(fits) == 1:
                found[fits[0]] += path * one.probability
        if len(_fitting(targets, prefix, token.utf8, before)) < 2:
            break
        path *= token.probability
        prefix += token.utf8[len(before) :]
    total = sum(found.values())
    return {one: p / total for one, p in found.items()} if total else {}


def _distinct(token: TokenLogprob) -> list[TokenLogprob]:
    """Return a token and its alternatives, each once."""
    return [*{one.utf8: one for one in (*token.top_logprobs, token)}.values()]


def _fitting(
    targets: Mapping[str, bytes], prefix: bytes, data: bytes, before: bytes
) -> list[str]:
    """Return the answers that a token can continue, after what stands before them."""
    if not data.startswith(before) or len(data) == len(before):
        return []
    reached = prefix + data[len(before) :]
    return [
        answer
        for answer, target in targets.items()
        if target.startswith(reached) or reached.startswith(target)
    ]
