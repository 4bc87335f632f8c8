"""What an answer becomes when it has ended: a turn to keep, a reply to show.

Knows what is worth keeping and telling of an answer; knows nothing of how it came.
"""

from __future__ import annotations

from dataclasses import replace

from ollama_magic.client.models import canonical
from ollama_magic.generation.outcome import Outcome, shown_steps
from ollama_magic.generation.prepare import Asking, Question
from ollama_magic.generation.reply import Reply
from ollama_magic.generation.schema_check import what_is_wrong
from ollama_magic.generation.source import Source
from ollama_magic.history.records import SETTINGS_OF_A_TURN, Place, place_of, provenance
from ollama_magic.history.turns import Turn, without_outcome
from ollama_magic.render.reply import FooterFacts, ReplyView, footer_parts, reply_plain

_KEPT_OF_A_REQUEST = (*SETTINGS_OF_A_TURN, "cached")


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
        place = place_of(asking.session.chat(question.chat_name), turn)
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
            **provenance(_as_shown(turn, view), place, reply_plain(view)),
            "host_kind": source.host_kind,
            "shown_as": question.format,
            "context_length": source.context_length or None,
        },
    )


def _notes(question: Question, place: Place | None) -> tuple[str, ...]:
    model, before, notes = question.request.model, question.model_before, []
    if question.named and canonical(question.named) != canonical(model):
        notes.append(f"{model} is the only {question.named} here")
    if place is not None and before and canonical(before) != canonical(model):
        notes.append(f"now answered by {model}")
    if question.unseen:
        notes.append(f"sees no images: {question.unseen} of earlier turns left out")
    return tuple(notes)


def _place_text(question: Question, place: Place | None) -> str:
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
    wrong = what_is_wrong(outcome.answer.text, question.schema.json)
    return f"[does not follow its schema: {wrong}]" if wrong else ""


def _as_shown(turn: Turn, view: ReplyView) -> Turn:
    """Return a turn as its output tells it."""
    # Thinking that was not to be seen is not to be in the file either.
    return replace(turn, thinking=view.thinking, steps=tuple(map(dict, view.steps)))
