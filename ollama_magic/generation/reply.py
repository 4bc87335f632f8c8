"""The Reply: what a cell got, as a value for the next cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ollama_magic.client.models import canonical
from ollama_magic.client.types import Stats, ToolCall
from ollama_magic.errors import ReplyDataError, quoted
from ollama_magic.generation.outcome import Outcome, shown_steps
from ollama_magic.generation.prepare import Asking, Question
from ollama_magic.generation.schema import Schema, plain, what_is_wrong
from ollama_magic.generation.schema_check import MismatchError, read_data
from ollama_magic.generation.source import Source
from ollama_magic.history.records import (
    RECORDED_SETTINGS,
    TurnPosition,
    output_metadata,
    position_in_chat,
)
from ollama_magic.history.turns import Message, Status, Turn, without_outcome
from ollama_magic.render.code import CodeBlock, code_blocks
from ollama_magic.render.reply import (
    FooterFacts,
    ReplyView,
    footer_parts,
    reply_bundle,
    reply_plain,
)

_ASK_AGAIN = "ask again, or with a larger model; reply.text has the text"


@dataclass(frozen=True)
class Reply:
    """An answer of a model, complete or as far as it came.

    It shows itself like the output of the cell that asked; ``str(reply)`` is the text.
    """

    text: str
    """The answer, Markdown as the model wrote it, without thinking."""
    thinking: str
    model: str
    status: Status
    done_reason: str
    stats: Stats
    """Counts of tokens, durations in nanoseconds, tokens per second."""
    messages: tuple[Message, ...]
    """The messages as they were sent, calls of functions with what they gave, and the
    answer as the last one."""
    request: Mapping[str, Any]
    """The body of the request, exactly as it was sent."""
    tool_calls: tuple[ToolCall, ...]
    """All that the model asked to be called, in order."""
    schema: Schema | None
    """What it had to look like; None: nothing was said."""
    is_cached: bool
    """Whether this is an earlier answer to the same request, shown again."""
    view: ReplyView
    """How the answer is shown."""
    provenance: Mapping[str, Any]
    """The output's metadata under ``ollama_magic``: who answered what, and how."""

    @property
    def code(self) -> tuple[CodeBlock, ...]:
        """The fenced code blocks, in order, each with ``language`` and ``source``."""
        return code_blocks(self.text)

    @property
    def data(self) -> Any:  # noqa: ANN401  (any JSON value)
        """The text read as JSON; what the model wrote around it is left out.

        With a schema that is a type (a dataclass, a pydantic model, ``list[str]``), a
        value of that type; a field that the reply leaves out has its default.

        Raises
        ------
        ReplyDataError
            The text is not JSON, for example cut off at a length limit; or it does not
            match its schema.
        """
        try:
            value = read_data(self.text)
        except ValueError as error:
            raise ReplyDataError(
                "The reply is not JSON.",
                why=f"{error}; done reason: {self.done_reason or self.status}",
                next_step=self._next_step_to_data(),
            ) from error
        if self.schema is None:
            return value
        try:
            return self.schema.load(value)
        except MismatchError as error:
            raise ReplyDataError(
                "The reply does not match its schema.",
                why=quoted(str(error)),
                next_step=_ASK_AGAIN,
            ) from error

    def _next_step_to_data(self) -> str:
        if self.done_reason == "length":
            return "ask with a larger -o num_predict N: the reply was cut"
        return _ASK_AGAIN if self.request.get("format") else "ask with -f json"

    def to_frame(self) -> Any:  # noqa: ANN401  (pandas is not imported here)
        """Return the data as a ``pandas.DataFrame``: a row for each object of a list.

        Raises
        ------
        ReplyDataError
            As ``data`` does.
        ImportError
            pandas is not installed.
        """
        import pandas

        value = self.data if self.schema is None else plain(self.data)
        return pandas.DataFrame(value if isinstance(value, list) else [value])

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        model = quoted(self.model, limit=200)
        return f"<Reply of {model}, {self.status}: {self.text[:60]!r}>"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        return reply_bundle(self.view), {"ollama_magic": dict(self.provenance)}


_KEPT_OF_A_REQUEST = (*RECORDED_SETTINGS, "cached")


def make_turn(
    question: Question,
    outcome: Outcome,
    source: Source,
    cell_id: str | None,
    *,
    starts_afresh: bool,
    has_code_below: bool = False,
) -> Turn:
    """Return the turn to keep; the store gives it its place and time."""
    answer, body = outcome.answer, question.request.body()
    if has_code_below:
        body["extract"] = True
    if outcome.is_cached:
        body["cached"] = True
    return Turn(
        prompt=question.prompt.text,
        reply="" if outcome.ends_in_a_call else answer.text,
        thinking="" if outcome.ends_in_a_call else answer.thinking,
        model=question.request.model,
        digest=source.digest,
        system=question.system,
        images=question.prompt.images,
        steps=outcome.steps,
        starts_afresh=starts_afresh,
        cell_id=cell_id,
        status=outcome.status,
        done_reason=answer.done_reason,
        stats=answer.stats,
        request={key: body[key] for key in _KEPT_OF_A_REQUEST if key in body},
        answered_at=outcome.answered_at,
    )


def make_reply(
    asking: Asking,
    question: Question,
    outcome: Outcome,
    source: Source,
    turn: Turn,
    *,
    is_kept: bool = True,
) -> Reply:
    """Return the reply as it is shown and handed to the next cell.

    Parameters
    ----------
    is_kept
        Whether the chat has the turn, if the question was one of a chat.
    """
    body, place = question.request.body(), None
    if question.chat_name is not None and is_kept:
        place = position_in_chat(asking.session.chat(question.chat_name), turn)
    facts = FooterFacts(
        model=turn.model,
        place=_place_text(question, place),
        stats=turn.stats,
        done_reason=turn.done_reason,
        context_length=source.context_length,
        server_note=source.note,
        filled=question.prompt.filled,
        notes=(*outcome.notes, *_notes(question, place)),
    )
    view = _view(asking, question, outcome, turn, facts)
    return Reply(
        text=turn.reply,
        thinking=turn.thinking,
        model=turn.model,
        status=turn.status,
        done_reason=turn.done_reason,
        stats=turn.stats,
        messages=(
            *map(dict, question.request.as_messages()),
            *map(without_outcome, turn.steps),
            {"role": "assistant", "content": turn.reply},
        ),
        request=body,
        tool_calls=tuple(
            call for one in outcome.rounds for call in one.answer.tool_calls
        ),
        schema=question.schema,
        is_cached=outcome.is_cached,
        view=view,
        provenance={
            **output_metadata(_as_shown(turn, view), place, reply_plain(view)),
            "host_kind": source.host_kind,
            "shown_as": question.format,
            "context_length": source.context_length or None,
        },
    )


def _notes(question: Question, place: TurnPosition | None) -> tuple[str, ...]:
    model, before, notes = question.request.model, question.model_before, []
    if question.named and canonical(question.named) != canonical(model):
        notes.append(f"{model} is the only {question.named} here")
    if place is not None and before and canonical(before) != canonical(model):
        notes.append(f"now answered by {model}")
    if question.unseen:
        notes.append(f"sees no pictures: {question.unseen} of earlier turns left out")
    return tuple(notes)


def _place_text(question: Question, place: TurnPosition | None) -> str:
    if place is not None:
        return f"turn {place.number} of {place.chat}"
    return "once" if question.chat_name is None else ""


def _view(
    asking: Asking, question: Question, outcome: Outcome, turn: Turn, facts: FooterFacts
) -> ReplyView:
    """Choose what is shown of the answer, and what must be told with it."""
    session, args = asking.session, asking.args
    has_footer = session.settings.footer and not args.quiet
    length = facts.context_length
    notices = [
        outcome.notice,
        _schema_notice(question, outcome),
        question.context.after(turn.stats, turn.done_reason, length),
        *session.take_warnings(),
    ]
    return ReplyView(
        text=turn.reply,
        thinking="" if args.hide_thinking else turn.thinking,
        steps=shown_steps(turn.steps, hides_thinking=args.hide_thinking),
        thinking_s=outcome.answer.thinking_s,
        view=question.format,
        footer=footer_parts(facts) if has_footer else (),
        context_share=facts.context_share if has_footer else None,
        notice="\n".join(filter(None, notices)),
    )


def _schema_notice(question: Question, outcome: Outcome) -> str:
    """Say that a complete reply does not follow its schema."""
    if question.schema is None or outcome.fault is not None:
        return ""
    if outcome.answer.done_reason == "length":
        return "[cut at a length limit, so it is no JSON: -o num_predict N gives more]"
    wrong = what_is_wrong(outcome.answer.text, question.schema)
    return f"[does not match its schema: {wrong}]" if wrong else ""


def _as_shown(turn: Turn, view: ReplyView) -> Turn:
    """Return a turn as its output tells it."""
    # Thinking that was not to be seen is not to be in the file either.
    return replace(turn, thinking=view.thinking, steps=tuple(map(dict, view.steps)))
