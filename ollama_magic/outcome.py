"""What an answer becomes when it has ended: a turn to keep, a reply to show.

Knows what is worth keeping and telling of an answer; knows nothing of how it came.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ollama_magic.answer import Answer
from ollama_magic.client import OllamaClient
from ollama_magic.conversation import Status, Turn
from ollama_magic.errors import OllamaMagicError
from ollama_magic.footer import FooterFacts, footer_parts
from ollama_magic.model_names import find_model
from ollama_magic.question import Asking, Question
from ollama_magic.rendering.reply_view import ReplyView, reply_plain
from ollama_magic.reply import Reply
from ollama_magic.sharing.provenance import Place, place_of, provenance
from ollama_magic.sharing.record import SETTINGS_OF_A_TURN
from ollama_magic.structured import what_is_wrong


@dataclass(frozen=True)
class Outcome:
    """An answer that has ended, and what ended it too early, if anything did."""

    answer: Answer
    """The last one, where it took several rounds."""
    fault: BaseException | None = None
    notes: tuple[str, ...] = ()
    """What the footer says of the prompt, of earlier rounds, and of what came of it."""

    @property
    def status(self) -> Status:
        """How it ended."""
        if self.fault is None:
            return "complete"
        is_interrupt = isinstance(self.fault, KeyboardInterrupt)
        return "interrupted" if is_interrupt else "broken"

    def noted(self, *notes: str) -> Outcome:
        """Return it with more for the footer to say."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))

    @property
    def notice(self) -> str:
        """One line under the answer that says so; empty when there is a whole one."""
        if isinstance(self.fault, OllamaMagicError):
            return f"[broken off: {self.fault.what}]"
        if self.fault is not None:
            return "[interrupted]"
        if self.answer.text.strip() or self.answer.tool_calls:
            return ""
        return f"[no answer{', only thinking' if self.answer.thinking else ''}]"


def make_turn(
    question: Question,
    outcome: Outcome,
    cell_id: str | None,
    *,
    starts_afresh: bool,
    has_code_below: bool = False,
) -> Turn:
    """Return the turn to keep; the store gives it its place and time."""
    answer, body = outcome.answer, question.request.body()
    if has_code_below:
        body["extract"] = True
    return Turn(
        prompt=question.prompt.text,
        reply=answer.text,
        thinking=answer.thinking,
        model=question.request.model,
        digest=question.model.digest if question.model else "",
        system=question.system,
        starts_afresh=starts_afresh,
        cell_id=cell_id,
        status=outcome.status,
        done_reason=answer.done_reason,
        stats=answer.stats,
        request={key: body[key] for key in SETTINGS_OF_A_TURN if key in body},
        answered_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def make_reply(
    asking: Asking, question: Question, outcome: Outcome, turn: Turn
) -> Reply:
    """Return the reply as it is shown and handed to the next cell."""
    body, place = question.request.body(), None
    if question.chat_name is not None:
        place = place_of(asking.session.chat(question.chat_name), turn)
    length = 0 if outcome.fault else loaded_length(asking.client, turn.model)
    facts = FooterFacts(
        model=turn.model,
        place=f"turn {place.number} of {place.chat}" if place else "once",
        stats=turn.stats,
        done_reason=turn.done_reason,
        context_length=length,
        server_note=_server_note(asking, question),
        filled=question.prompt.filled,
        notes=outcome.notes,
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
            {"role": "assistant", "content": turn.reply},
        ),
        request=body,
        tool_calls=outcome.answer.tool_calls,
        schema=question.schema,
        view=view,
        provenance={
            **_provenance(asking, question, turn, place, view),
            "context_length": length or None,
        },
    )


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


def loaded_length(client: OllamaClient, model: str) -> int:
    """Return the context length that a model is loaded with; 0 when nobody says."""
    try:
        loaded = find_model(model, client.ps())
    except OllamaMagicError:  # what it is wanted for can do without
        return 0
    return loaded.context_length if loaded else 0


def _server_note(asking: Asking, question: Question) -> str:
    """Name where the prompt went, unless to an Ollama on this machine."""
    if question.model is not None and question.model.remote_host:
        return f"cloud model, answered at {question.model.remote_host}"
    kind = asking.session.host_kind(asking.client)
    if kind == "embedded":
        return "embedded engine, a tiny model for trying out"
    return "" if kind == "loopback" else f"answered at {asking.client.host.base_url}"


def _provenance(
    asking: Asking, question: Question, turn: Turn, place: Place | None, view: ReplyView
) -> dict[str, Any]:
    kind = asking.session.host_kind(asking.client)
    is_cloud = question.model is not None and bool(question.model.remote_host)
    # Thinking that was not to be seen is not to be in the file either.
    shown = replace(turn, thinking=view.thinking)
    return {
        **provenance(shown, place, reply_plain(view)),
        "host_kind": "cloud" if is_cloud else kind,
        "shown_as": question.format,
    }
