"""What an answer becomes when it has ended: a turn to keep, a reply to show.

Knows what is worth keeping and telling of an answer; knows nothing of how it came.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ollama_magic import interrupts
from ollama_magic.answer import Answer
from ollama_magic.arrivals import in_background
from ollama_magic.client import OllamaClient
from ollama_magic.conversation import Message, Status, Turn
from ollama_magic.errors import OllamaMagicError
from ollama_magic.footer import FooterFacts, footer_parts
from ollama_magic.kept_answers import KeptAnswer, request_key
from ollama_magic.model_names import find_model
from ollama_magic.question import Asking, Question
from ollama_magic.rendering.reply_view import ReplyView, reply_plain
from ollama_magic.reply import Reply
from ollama_magic.request import Request
from ollama_magic.schemas.checking import what_is_wrong
from ollama_magic.sharing.provenance import Place, place_of, provenance
from ollama_magic.sharing.record import SETTINGS_OF_A_TURN

_KEPT_OF_A_REQUEST = (*SETTINGS_OF_A_TURN, "cached")
_PATIENCE_S = 3.0


def utc_now() -> str:
    """Return the time as turns tell it: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Round:
    """One request and what came of it."""

    request: Request
    answer: Answer
    kept: KeptAnswer | None = None
    """Set when it was answered by an earlier answer."""
    ended_at: str = field(default_factory=utc_now)
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Outcome:
    """What came of a question, and what ended it too early, if anything did."""

    rounds: tuple[Round, ...]
    fault: BaseException | None = None
    notes: tuple[str, ...] = ()
    """What the footer says of the prompt, of earlier rounds, and of what came of it."""
    steps: tuple[Message, ...] = ()
    """Messages of those rounds that belong to the turn."""

    @property
    def answer(self) -> Answer:
        """The last one; what came is not lost since a later round brought nothing."""
        answers = [one.answer for one in reversed(self.rounds)]
        return next((one for one in answers if not one.is_empty), answers[0])

    @property
    def answered_at(self) -> str:
        """When it was answered: an answer that is shown again keeps its time."""
        last = self.rounds[-1]
        return last.kept.answered_at if last.kept else last.ended_at

    @property
    def is_cached(self) -> bool:
        """Whether all of it is an answer from earlier, shown again."""
        return all(one.kept is not None for one in self.rounds)

    @property
    def ends_in_a_call(self) -> bool:
        """Whether the last answer called functions, and so is among the steps."""
        called = [step for step in self.steps if step["role"] == "assistant"]
        last = [one.answer for one in self.rounds].index(self.answer)
        return last < len(called)

    tells_all: bool = False
    """No error output follows: the notice has to tell all of a fault."""

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
        if isinstance(self.fault, OllamaMagicError) and self.tells_all:
            return "\n".join(self.fault._render_traceback_())
        if isinstance(self.fault, OllamaMagicError):
            return f"[broken off: {self.fault.what}]"
        if self.fault is not None:
            return "[interrupted]"
        if self.answer.text.strip() or self.answer.tool_calls:
            return ""
        return f"[no answer{', only thinking' if self.answer.thinking else ''}]"


@dataclass(frozen=True, slots=True)
class Source:
    """Who gave an answer, as far as it is known."""

    digest: str
    host_kind: str
    """``loopback``, ``remote``, ``embedded`` or ``cloud``."""
    note: str
    """What the footer says of the server; empty for an Ollama on this machine."""
    context_length: int
    """Tokens that the model is loaded with; 0 when nobody says."""


def find_source(asking: Asking, question: Question, outcome: Outcome) -> Source:
    """Return who answered; an answer that was kept tells it by itself."""
    kept = outcome.rounds[0].kept
    if kept is not None:
        length = kept.context_length
        return Source(kept.digest, kept.host_kind, kept.server_note, length)
    model = question.model
    is_cloud = model is not None and bool(model.remote_host)
    name = question.request.model
    return Source(
        digest=model.digest if model else "",
        host_kind="cloud" if is_cloud else asking.session.host_kind(asking.client),
        note=_server_note(asking, question),
        context_length=0 if outcome.fault else loaded_length(asking.client, name),
    )


def keep_answers(asking: Asking, outcome: Outcome, source: Source) -> None:
    """Keep the answers of all rounds for when the same is asked again."""
    for one in outcome.rounds:
        if one.kept is None:
            answer = KeptAnswer(
                model=one.request.model,
                digest=source.digest,
                text=one.answer.text,
                thinking=one.answer.thinking,
                thinking_s=one.answer.thinking_s,
                tool_calls=one.answer.tool_calls,
                done_reason=one.answer.done_reason,
                stats=one.answer.stats,
                context_length=source.context_length,
                host_kind=source.host_kind,
                server_note=source.note,
                answered_at=outcome.answered_at,
            )
            asking.session.store.keep_answer(request_key(one.request), answer)


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
        pictures=question.prompt.pictures,
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
        notes=(*outcome.notes, *_notes(question)),
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
            *turn.steps,
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


def _notes(question: Question) -> tuple[str, ...]:
    if not question.unseen:
        return ()
    return (f"sees no pictures: {question.unseen} of earlier turns left out",)


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


def loaded_length(client: OllamaClient, model: str) -> int:
    """Return the context length that a model is loaded with; 0 when nobody says.

    Asked when an answer is complete, which is kept and shown whatever comes of this: an
    interrupt that is held back stays so, and a server that is slow is not waited for.
    """
    began = time.monotonic()

    def give_up_in_time() -> None:
        if time.monotonic() - began > _PATIENCE_S:
            raise TimeoutError

    try:
        loaded = find_model(model, in_background(client.ps, on_tick=give_up_in_time))
    except (OllamaMagicError, TimeoutError):  # what it is wanted for can do without
        return 0
    except KeyboardInterrupt:
        interrupts.put_back()
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


def _as_shown(turn: Turn, view: ReplyView) -> Turn:
    """Return a turn as its output tells it."""
    # Thinking that was not to be seen is not to be in the file either.
    return replace(turn, thinking=view.thinking, steps=tuple(map(dict, view.steps)))


def shown_steps(
    steps: Sequence[Message], *, hides_thinking: bool
) -> tuple[Message, ...]:
    """Return steps as they are shown, with or without what was thought in them."""
    if not hides_thinking:
        return tuple(steps)
    return tuple({k: v for k, v in step.items() if k != "thinking"} for step in steps)
