"""What an answer becomes when it has ended: a turn to keep, a reply to show.

Knows what is worth keeping and telling of an answer; knows nothing of how it came.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ollama_magic._version import __version__
from ollama_magic.answer import Answer
from ollama_magic.conversation import Status, Turn
from ollama_magic.errors import OllamaMagicError
from ollama_magic.footer import FooterFacts, footer_parts
from ollama_magic.model_names import find_model
from ollama_magic.question import Asking, Question
from ollama_magic.rendering.reply_view import ReplyView
from ollama_magic.reply import Reply
from ollama_magic.session import Session

_SETTINGS_OF_A_TURN = ("options", "format", "think", "keep_alive")


@dataclass(frozen=True)
class Outcome:
    """An answer that has ended, and what ended it too early, if anything did."""

    answer: Answer
    fault: BaseException | None = None

    @property
    def status(self) -> Status:
        """How it ended."""
        if self.fault is None:
            return "complete"
        is_interrupt = isinstance(self.fault, KeyboardInterrupt)
        return "interrupted" if is_interrupt else "broken"

    @property
    def notice(self) -> str:
        """One line that says so, under the answer; empty when it is complete."""
        if isinstance(self.fault, OllamaMagicError):
            return f"[broken off: {self.fault.what}]"
        return "" if self.fault is None else "[interrupted]"


def make_turn(
    question: Question, outcome: Outcome, cell_id: str | None, *, starts_afresh: bool
) -> Turn:
    """Return the turn to keep; the store gives it its place and time."""
    answer, body = outcome.answer, question.request.body()
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
        request={key: body[key] for key in _SETTINGS_OF_A_TURN if key in body},
        answered_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def make_reply(
    asking: Asking, question: Question, outcome: Outcome, turn: Turn
) -> Reply:
    """Return the reply as it is shown and handed to the next cell."""
    session, args = asking.session, asking.args
    answer, body = outcome.answer, question.request.body()
    number = _turn_number(session, question, turn)
    facts = FooterFacts(
        model=turn.model,
        place=f"turn {number} of {question.chat_name}" if number else "once",
        stats=turn.stats,
        done_reason=turn.done_reason,
        context_length=_context_length(asking, outcome, turn.model),
        server_note=_server_note(asking, question),
        filled=question.prompt.filled,
    )
    has_footer = session.settings.footer and not args.quiet
    view = ReplyView(
        text=turn.reply,
        thinking="" if args.hide_thinking else turn.thinking,
        thinking_s=answer.thinking_s,
        view=question.format,
        footer=footer_parts(facts) if has_footer else (),
        context_share=facts.context_share if has_footer else None,
        notice="\n".join(filter(None, [outcome.notice, *session.take_warnings()])),
    )
    return Reply(
        text=turn.reply,
        thinking=turn.thinking,
        model=turn.model,
        status=turn.status,
        done_reason=turn.done_reason,
        stats=turn.stats,
        messages=(
            *body.get("messages", ()),
            {"role": "assistant", "content": turn.reply},
        ),
        request=body,
        tool_calls=answer.tool_calls,
        view=view,
        provenance=_provenance(asking, question, turn, number),
    )


def _turn_number(session: Session, question: Question, turn: Turn) -> int | None:
    """Count the turn among those of its chat that ask; None for a one-off."""
    if question.chat_name is None:
        return None
    asked = [t for t in session.chat(question.chat_name).turns if not t.is_mark]
    uids = [other.uid for other in asked]
    return uids.index(turn.uid) + 1 if turn.uid in uids else len(asked)


def _context_length(asking: Asking, outcome: Outcome, model: str) -> int:
    """Return the tokens that the model was loaded with; 0 when nobody says."""
    if outcome.fault is not None:
        return 0
    try:
        loaded = find_model(model, asking.client.ps())
    except OllamaMagicError:  # the answer is there; its footer can do without
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
    asking: Asking, question: Question, turn: Turn, number: int | None
) -> dict[str, Any]:
    kind = asking.session.host_kind(asking.client)
    is_cloud = question.model is not None and bool(question.model.remote_host)
    return {
        "version": __version__,
        "model": turn.model,
        "digest": turn.digest,
        "host_kind": "cloud" if is_cloud else kind,
        "chat": question.chat_name,
        "turn": number,
        "prompt": turn.prompt,
        "system": turn.system,
        "starts_afresh": turn.starts_afresh,
        "status": turn.status,
        "done_reason": turn.done_reason,
        "shown_as": question.format,
        "stats": asdict(turn.stats),
        "answered_at": turn.answered_at,
        **turn.request,
    }
