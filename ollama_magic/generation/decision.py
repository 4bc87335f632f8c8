"""A decision, as a value for the next cell; ``decisions`` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_magic.client.decisions import Answer, Question, Questions, Score
from ollama_magic.errors import ReplyDataError
from ollama_magic.history.records import METADATA_KEY
from ollama_magic.render.decisions import AnswerRow, AnswerView, decision_bundle


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
