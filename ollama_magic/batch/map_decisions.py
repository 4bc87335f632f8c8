"""``map_decisions``: the same questions about each of many rows.

It is ``map_prompts`` with another request: rows, servers, workers, results and the
cache are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ollama_magic.batch.map_prompts import (
    Arguments,
    RequestOf,
    checked,
    notes_about,
    prompt_requests,
    run_rows,
    warning_at_the_end,
)
from ollama_magic.batch.rows import ReplyReader, Rows, parse_template, read_rows
from ollama_magic.batch.servers import UsableServers
from ollama_magic.client.decisions import Answer, Answers, DecisionRequest, Questions
from ollama_magic.client.logprobs import Logprobs
from ollama_magic.client.models import is_decider
from ollama_magic.client.types import KeepAlive, Options, Think
from ollama_magic.errors import ConfigError
from ollama_magic.generation.decisions import MOST_ALTERNATIVES
from ollama_magic.generation.questions import (
    question_text,
    read_answers,
    read_questions,
    schema_of,
)
from ollama_magic.generation.response import Response
from ollama_magic.generation.schema import Schema
from ollama_magic.generation.session import Session, current_session
from ollama_magic.history.cache import CachedReply

_ALONE = {"choice": "choice", "noul": "yes", "score": "score"}
"""The column of the answer to a single question."""


def map_decisions(
    data: Any,  # noqa: ANN401  (a list, or of pandas)
    questions: object,
    *,
    template: str | None = None,
    model: str | None = None,
    options: Options | None = None,
    think: Think | None = None,
    keep_alive: KeepAlive | None = None,
    truncate: str | None = None,
    concurrency: int = 4,
    hosts: str | Sequence[str] | None = None,
    patience: float = 600.0,
    executor: Executor | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Any:  # noqa: ANN401  (as data)
    """Answer the same questions about each of many rows, several at a time, in order.

    The other parameters, and what is cached and resumed, are those of ``map_prompts``.

    Parameters
    ----------
    data
        The rows, as for ``map_prompts``.
    questions
        As for ``decide``.
    template
        What the questions are about, with ``{name}`` where the value of a column
        belongs; None: all columns, or the value itself.
    model
        A model that decides, or one that chats, whose probabilities are estimated from
        its tokens. None: a local model that decides if the first server has one, or
        else as in ``map_prompts``.
    options, think, truncate
        For a model that chats alone: with one that decides, ``options`` and ``think``
        are errors.

    Returns
    -------
    list or DataFrame
        For pandas, a DataFrame with the same index: for a single question the columns
        ``choice`` (``yes``, ``score``), ``probability`` and ``confidence``; for several
        ``NAME``, ``NAME_probability`` and ``NAME_confidence`` for each; and ``error``.
        For a list, a list of dicts of these, or errors.

    Raises
    ------
    OllamaMagicError
        As ``map_prompts``.

    Examples
    --------
    ::

        map_decisions(df, {"bug": "Software errors", "billing": "Payments"},
                      template="{subject}: {text}")
    """
    asked, rows = read_questions(questions), read_rows(data)
    parsed = parse_template(_template(rows) if template is None else template)
    prompts, without_value = rows.prompts(parsed)
    given = {
        "model": model,
        "system": None,
        "options": options,
        "think": think,
        "keep_alive": keep_alive,
        "truncate": truncate,
    }
    arguments = Arguments(
        **checked(given),
        concurrency=concurrency,
        hosts=hosts,
        patience=patience,
        executor=executor,
        resume=resume,
        progress=progress,
    )
    arguments.check()
    notes = notes_about(without_value, parsed, len(prompts))
    with warning_at_the_end(notes):
        session = current_session()
        plan = partial(_plan, session, arguments, asked)
        values = run_rows(prompts, arguments, session, notes, plan, decides=True)
    return rows.arranged(values, DecisionReader(questions=asked).fields)


def _template(rows: Rows) -> str:
    """Return the template that has all columns, or the value itself."""
    if rows.names is None:
        return "{}"
    return "\n".join(f"{_literal(name)}: {{{name}}}" for name in rows.names)


def _literal(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}")


def _plan(
    session: Session, arguments: Arguments, questions: Questions, usable: UsableServers
) -> tuple[ReplyReader, RequestOf]:
    """Return what is sent, which depends on the model, and how replies are read."""
    model = usable.servers[0].model
    if is_decider(model, usable.model):
        given = [name for name in ("options", "think") if getattr(arguments, name)]
        if given:
            raise ConfigError(
                f"{' and '.join(given)} would have no effect.",
                why=f"{usable.model!r} decides and does not chat",
                next_step=f"leave out {' and '.join(given)}",
            )
        asked = {name: question.to_json() for name, question in questions.items()}

        def decision_of(prompt: str, model: str) -> DecisionRequest:
            return DecisionRequest(
                model, prompt, asked, keep_alive=arguments.keep_alive
            )

        return DecisionReader(questions=questions), decision_of
    schema = Schema(schema_of(questions))
    asking = replace(arguments, system=question_text(questions), logprobs=True)
    top = MOST_ALTERNATIVES
    request_of = prompt_requests(session, asking, schema.json, top_logprobs=top)
    return DecisionReader(schema, questions=questions, is_estimate=True), request_of


@dataclass(frozen=True)
class DecisionReader(ReplyReader):
    """Reads decisions, or estimates them from the tokens of a reply."""

    questions: Questions = field(default_factory=dict)
    is_estimate: bool = False

    @property
    def fields(self) -> Sequence[str]:
        """The columns of the answers."""
        return [name for one in self.questions for name in self._names(one)]

    def _names(self, name: str) -> tuple[str, str, str]:
        if len(self.questions) > 1:
            return name, f"{name}_probability", f"{name}_confidence"
        return _ALONE[self.questions[name].kind], "probability", "confidence"

    def check(self, reply: Response | CachedReply) -> None:
        """Check a reply; as that of ``ReplyReader``."""
        super().check(reply)
        self.kept(reply)

    def kept(self, reply: Response | CachedReply) -> Mapping[str, Answer]:
        """Return the answers."""
        if self.schema is None:
            return Answers.from_json(json.loads(reply.text), self.questions).answers
        tokens = Logprobs(reply.logprobs).of_text(reply.text)
        data = self.schema.read(reply.text)
        return read_answers(data, tokens, self.questions).answers

    def value(self, kept: Mapping[str, Answer]) -> dict[str, Any]:
        """Return the answers by the names of their columns."""
        return {
            column: value
            for name, one in kept.items()
            for column, value in zip(
                self._names(name),
                (one.value, one.probability, one.confidence),
                strict=True,
            )
        }

    def notes(self, values: Sequence[Any]) -> list[str]:
        """Return a note if the probabilities are estimates, or unknown."""
        answered = [value for value in values if isinstance(value, dict)]
        if not (self.is_estimate and answered):
            return []
        if any(v is not None for one in answered for v in [*one.values()][1::3]):
            return [
                "The probabilities are estimated from log probabilities: this model "
                "was not made for decisions"
            ]
        return ["This server does not tell how likely the answers are"]
