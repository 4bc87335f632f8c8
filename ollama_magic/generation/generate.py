"""From a request to its result: one answer, or as many as it takes.

An answer is shown while it streams. A follow-up (tools that the model called, a reply
that does not match its schema) may send one more request after it, until none does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ollama_magic.client.types import Request
from ollama_magic.errors import Interrupted, OllamaMagicError
from ollama_magic.generation.answer import Answer, receive
from ollama_magic.generation.models import loaded_length, server_note
from ollama_magic.generation.prepare import PreparedRequest, cached_answer, explained
from ollama_magic.generation.session import Session
from ollama_magic.history.cache import CachedReply, request_key
from ollama_magic.history.turns import Message, Status
from ollama_magic.render.reply import ReplyView


class ReplyDisplay(Protocol):
    """Where a reply is shown while it streams and when it is complete."""

    def waiting(self, text: str) -> None:
        """Say that there is nothing to see yet, and why."""

    def feed(self, content: str, thinking: str = "") -> None:
        """Show what has come, maybe nothing."""

    def finish_reply(self, view: ReplyView, metadata: Mapping[str, Any]) -> None:
        """Show the complete reply as the one output."""

    def discard(self) -> None:
        """Take away what was shown: no reply came."""

    def again(self, steps: Sequence[Message] = ()) -> None:
        """Begin anew: what was shown is not the reply, and another answer follows.

        Parameters
        ----------
        steps
            What led to it and stays to be seen; see ``Turn.steps``.
        """


class NoDisplay:
    """Shows nothing: the caller gets the reply, and shows it or not."""

    def waiting(self, text: str) -> None:
        """Show nothing."""

    def feed(self, content: str, thinking: str = "") -> None:
        """Show nothing."""

    def finish_reply(self, view: ReplyView, metadata: Mapping[str, Any]) -> None:
        """Show nothing."""

    def discard(self) -> None:
        """Show nothing."""

    def again(self, steps: Sequence[Message] = ()) -> None:
        """Show nothing."""


class FollowUp(Protocol):
    """What may send another request after a complete answer."""

    @property
    def notes(self) -> Sequence[str]:
        """What the footer says of its requests."""

    @property
    def steps(self) -> tuple[Message, ...]:
        """Messages of its requests that belong to the turn."""

    def next_request(self, request: Request, answer: Answer) -> Request | None:
        """Return the request to send next; None when there is none.

        Raises
        ------
        OllamaMagicError
            The turn ends here; what came is kept, with this as its fault.
        KeyboardInterrupt
            The user interrupted; likewise.
        """


@dataclass(frozen=True)
class Result:
    """What came of a request, and what ended it too early, if anything did."""

    requests: tuple[Request, ...]
    answers: tuple[Answer, ...]
    """One for each request; the last one is the reply, mostly."""
    fault: BaseException | None = None
    notes: tuple[str, ...] = ()
    """What the footer says of how the reply came about."""
    steps: tuple[Message, ...] = ()
    """Messages between the prompt and the reply that belong to the turn."""
    digest: str = ""
    """The digest of the model; empty when it is unknown."""
    host_kind: str = ""
    """``loopback``, ``remote``, ``embedded`` or ``cloud``."""
    server_note: str = ""
    """What the footer says of the server; empty for an Ollama on this machine."""
    context_length: int = 0
    """Tokens that the model is loaded with; 0 when unknown."""
    has_code_below: bool = False
    """Whether code of this cell's replies was put into a cell below."""

    @property
    def answer(self) -> Answer:
        """The last answer that is not empty: it is not lost when a later one is."""
        filled = [one for one in reversed(self.answers) if not one.is_empty]
        return filled[0] if filled else self.answers[-1]

    @property
    def answered_at(self) -> str:
        """When it was answered: a cached answer keeps its time."""
        return self.answers[-1].ended_at

    @property
    def is_cached(self) -> bool:
        """Whether every answer comes from the cache."""
        return all(one.cached is not None for one in self.answers)

    @property
    def ends_in_a_call(self) -> bool:
        """Whether the last answer called tools, and so is among the steps."""
        called = [step for step in self.steps if step["role"] == "assistant"]
        return self.answers.index(self.answer) < len(called)

    @property
    def status(self) -> Status:
        """How it ended."""
        if self.fault is None:
            return "complete"
        is_interrupt = isinstance(self.fault, KeyboardInterrupt)
        return "interrupted" if is_interrupt else "broken"

    def noted(self, *notes: str) -> Result:
        """Return the result with more notes for the footer; empty ones are left out."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))

    def notice(self, *, tells_all: bool = False) -> str:
        """Return what a reply that is not complete says under it; empty when it is.

        Parameters
        ----------
        tells_all
            No error output follows, so the notice has all of the fault.
        """
        if isinstance(self.fault, OllamaMagicError):
            if tells_all:
                return "\n".join(self.fault._render_traceback_())
            return f"[broken off: {self.fault.what}]"
        if self.fault is not None:
            return "[interrupted]"
        if self.answer.text.strip() or self.answer.tool_calls:
            return ""
        return f"[no answer{', only thinking' if self.answer.thinking else ''}]"


def generate(
    session: Session,
    prepared: PreparedRequest,
    display: ReplyDisplay,
    follow_ups: Sequence[FollowUp] = (),
) -> Result:
    """Send a request, show its answer while it streams, and return the result.

    Parameters
    ----------
    follow_ups
        Are asked in order after each complete answer; the first request counts.
    """
    requests: list[Request] = [prepared.request]
    answers: list[Answer] = []
    fault: BaseException | None = None
    while len(answers) < len(requests):
        if answers:
            display.again(shown_steps(_steps(follow_ups), prepared))
        answer = _answer(session, prepared, requests[-1], display)
        answers.append(answer)
        fault = answer.fault
        if fault is None:
            following, fault = _next_request(follow_ups, requests[-1], answer)
            requests += [following] if following else []
    result = Result(
        tuple(requests),
        tuple(answers),
        fault,
        notes=tuple(note for one in follow_ups for note in one.notes),
        steps=_steps(follow_ups),
    )
    return with_source(session, prepared, result)


def with_source(session: Session, prepared: PreparedRequest, result: Result) -> Result:
    """Return a result that says which server and model it comes from."""
    cached = result.answers[0].cached
    if cached is not None:
        return replace(
            result,
            digest=cached.digest,
            host_kind=cached.host_kind,
            server_note=cached.server_note,
            context_length=cached.context_length,
        )
    client, kind = prepared.client, session.host_kind(prepared.client)
    cloud = result.answer.remote_host or prepared.cloud_host
    model = prepared.request.model
    return replace(
        result,
        digest=prepared.digest,
        host_kind="cloud" if cloud else kind,
        server_note=server_note(kind, client.host.base_url, cloud),
        context_length=0 if result.fault else loaded_length(client, model),
    )


def fill_cache(session: Session, prepared: PreparedRequest, result: Result) -> None:
    """Keep the answers of a complete result, if the options ask for the cache."""
    if not prepared.options.cached or result.fault is not None:
        return
    for request, answer in zip(result.requests, result.answers, strict=True):
        if answer.cached is None:
            kept = CachedReply(
                model=request.model,
                digest=result.digest,
                text=answer.text,
                thinking=answer.thinking,
                thinking_s=answer.thinking_s,
                tool_calls=answer.tool_calls,
                done_reason=answer.done_reason,
                stats=answer.stats,
                context_length=result.context_length,
                host_kind=result.host_kind,
                server_note=result.server_note,
                answered_at=result.answered_at,
            )
            session.store.cache_reply(request_key(request), kept)


def shown_steps(
    steps: Sequence[Message], prepared: PreparedRequest
) -> tuple[Message, ...]:
    """Return steps as they are shown: without thinking, if that is hidden."""
    if not prepared.options.hide_thinking:
        return tuple(steps)
    return tuple({k: v for k, v in step.items() if k != "thinking"} for step in steps)


def _steps(follow_ups: Sequence[FollowUp]) -> tuple[Message, ...]:
    return tuple(step for one in follow_ups for step in one.steps)


def _next_request(
    follow_ups: Sequence[FollowUp], request: Request, answer: Answer
) -> tuple[Request | None, BaseException | None]:
    try:
        for one in follow_ups:
            following = one.next_request(request, answer)
            if following is not None:
                return following, None
    except KeyboardInterrupt:
        return None, Interrupted()
    except OllamaMagicError as error:
        return None, error
    return None, None


def _answer(
    session: Session, prepared: PreparedRequest, request: Request, display: ReplyDisplay
) -> Answer:
    """Show one answer, from the cache or while it streams, and return it."""
    options, began_s = prepared.options, time.monotonic()
    cached = cached_answer(session, options, request, prepared.digest)
    if cached is not None:
        display.feed(cached.text, "" if options.hide_thinking else cached.thinking)
        return Answer.of(cached)
    answer = Answer()

    def show(_: Answer, text: str, thinking: str) -> None:
        display.feed(text, "" if options.hide_thinking else thinking)

    def tick() -> None:
        if waits_for := prepared.waits_for(answer):
            display.waiting(f"{waits_for} {time.monotonic() - began_s:.0f} s")
        display.feed("")

    display.waiting(prepared.waits_for(answer))
    stream = prepared.client.send(request)
    receive([stream], [answer], show, tick, hz=session.settings.update_hz)
    answer.fault = explained(session, options, request, answer.fault)
    if isinstance(answer.fault, Interrupted):
        answer.fault = Interrupted(f"stopped by you; {answer.size:,} characters kept")
    return answer
