"""From a request to its result: one response, or as many as it takes.

Each response is shown while it streams. After it, a follow-up (the model called tools,
or the reply does not match its schema) may send another request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ollama_magic.client.types import Request
from ollama_magic.errors import Interrupted, OllamaMagicError
from ollama_magic.generation.models import loaded_length, server_note
from ollama_magic.generation.prepare import PreparedRequest, cached_reply, explained
from ollama_magic.generation.response import Response, receive
from ollama_magic.generation.session import Session
from ollama_magic.history.cache import CachedReply, request_key
from ollama_magic.history.turns import Message, Status
from ollama_magic.render.reply import ReplyView


class ReplyDisplay(Protocol):
    """Where a reply is shown while it streams and when it is complete."""

    def waiting(self, text: str) -> None:
        """Show why there is nothing to see yet."""

    def feed(self, content: str, thinking: str = "") -> None:
        """Show new text and thinking, maybe none; redraw what is due."""

    def finish_reply(self, view: ReplyView, metadata: Mapping[str, Any]) -> None:
        """Show the complete reply as the one output."""

    def discard(self) -> None:
        """Remove what was shown: an error takes its place."""

    def again(self, steps: Sequence[Message] = ()) -> bool:
        """Start over: what was shown is not the reply, and another response follows.

        Parameters
        ----------
        steps
            The tool calls so far, which stay visible; see ``Turn.steps``.

        Returns
        -------
        bool
            Whether they are visible now, and not only with the complete reply.
        """


class NoDisplay:
    """Shows nothing: the caller gets the reply."""

    def waiting(self, text: str) -> None:
        """Show nothing."""

    def feed(self, content: str, thinking: str = "") -> None:
        """Show nothing."""

    def finish_reply(self, view: ReplyView, metadata: Mapping[str, Any]) -> None:
        """Show nothing."""

    def discard(self) -> None:
        """Show nothing."""

    def again(self, steps: Sequence[Message] = ()) -> bool:
        """Show nothing."""
        return False


class FollowUp(Protocol):
    """May send another request after a complete response."""

    @property
    def notes(self) -> Sequence[str]:
        """What the footer says about its requests."""

    @property
    def steps(self) -> tuple[Message, ...]:
        """Messages of its requests that belong to the turn."""

    def next_request(self, request: Request, response: Response) -> Request | None:
        """Return the request to send next; None when there is none.

        Raises
        ------
        OllamaMagicError
            The turn ends here and is kept, with this error as its fault.
        KeyboardInterrupt
            The user interrupted; likewise.
        """


@dataclass(frozen=True)
class Result:
    """The responses to a request, and the error that ended them early, if any."""

    requests: tuple[Request, ...]
    responses: tuple[Response, ...]
    """One for each request; usually the last one is the reply."""
    fault: BaseException | None = None
    notes: tuple[str, ...] = ()
    """Notes for the footer."""
    steps: tuple[Message, ...] = ()
    """Messages between the prompt and the reply that belong to the turn."""
    digest: str = ""
    """The digest of the model; empty when it is unknown."""
    host_kind: str = ""
    """``loopback``, ``remote``, ``embedded`` or ``cloud``."""
    server_note: str = ""
    """The server, for the footer; empty for an Ollama on this machine."""
    context_length: int = 0
    """Tokens that the model is loaded with; 0 when unknown."""
    has_code_below: bool = False
    """Whether code from this cell was inserted into the cell below, now or before."""

    @property
    def response(self) -> Response:
        """The last response that is not empty, or else the last one."""
        filled = [one for one in reversed(self.responses) if not one.is_empty]
        return filled[0] if filled else self.responses[-1]

    @property
    def answered_at(self) -> str:
        """When the last response ended; a cached reply keeps its time."""
        return self.responses[-1].ended_at

    @property
    def is_cached(self) -> bool:
        """Whether every response comes from the cache."""
        return all(one.cached is not None for one in self.responses)

    @property
    def ends_in_a_call(self) -> bool:
        """Whether the last response called tools, and so is one of the steps."""
        called = [step for step in self.steps if step["role"] == "assistant"]
        return self.responses.index(self.response) < len(called)

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
        """Return the notice under an incomplete reply; empty if it is complete.

        Parameters
        ----------
        tells_all
            Include all of the error: no error output follows.
        """
        if isinstance(self.fault, OllamaMagicError):
            if tells_all:
                return "\n".join(self.fault._render_traceback_())
            return f"[incomplete: {self.fault.what}]"
        if self.fault is not None:
            return "[interrupted]"
        if self.response.text.strip() or self.response.tool_calls:
            return ""
        return f"[no reply{', only thinking' if self.response.thinking else ''}]"


def generate(
    session: Session,
    prepared: PreparedRequest,
    display: ReplyDisplay,
    follow_ups: Sequence[FollowUp] = (),
) -> Result:
    """Send a request, show its response while it streams, and return the result.

    Parameters
    ----------
    follow_ups
        Called in order after each complete response; the first request is sent.
    """
    requests: list[Request] = [prepared.request]
    responses: list[Response] = []
    fault: BaseException | None = None
    while len(responses) < len(requests):
        if responses:
            display.again(shown_steps(_steps(follow_ups), prepared))
        response = _response(session, prepared, requests[-1], display)
        responses.append(response)
        fault = response.fault
        if fault is None:
            following, fault = _next_request(follow_ups, requests[-1], response)
            requests += [following] if following else []
    result = Result(
        tuple(requests),
        tuple(responses),
        fault,
        notes=tuple(note for one in follow_ups for note in one.notes),
        steps=_steps(follow_ups),
    )
    return with_source(session, prepared, result)


def with_source(session: Session, prepared: PreparedRequest, result: Result) -> Result:
    """Return the result with what is known about its server and model."""
    cached = result.responses[0].cached
    if cached is not None:
        return replace(
            result,
            digest=cached.digest,
            host_kind=cached.host_kind,
            server_note=cached.server_note,
            context_length=cached.context_length,
        )
    client, kind = prepared.client, session.host_kind(prepared.client)
    cloud = result.response.remote_host or prepared.cloud_host
    model = prepared.request.model
    return replace(
        result,
        digest=prepared.digest,
        host_kind="cloud" if cloud else kind,
        server_note=server_note(kind, client.host.base_url, cloud),
        context_length=0 if result.fault else loaded_length(client, model),
    )


def fill_cache(session: Session, prepared: PreparedRequest, result: Result) -> None:
    """Cache the responses of a complete result, if the options say so."""
    if not prepared.options.cached or result.fault is not None:
        return
    for request, response in zip(result.requests, result.responses, strict=True):
        if response.cached is None:
            kept = CachedReply(
                model=request.model,
                digest=result.digest,
                text=response.text,
                thinking=response.thinking,
                thinking_s=response.thinking_s,
                tool_calls=response.tool_calls,
                done_reason=response.done_reason,
                stats=response.stats,
                context_length=result.context_length,
                host_kind=result.host_kind,
                server_note=result.server_note,
                answered_at=result.answered_at,
            )
            session.store.cache_reply(request_key(request), kept)


def shown_steps(
    steps: Sequence[Message], prepared: PreparedRequest
) -> tuple[Message, ...]:
    """Return the steps to show: without thinking, if it is hidden."""
    if not prepared.options.hide_thinking:
        return tuple(steps)
    return tuple({k: v for k, v in step.items() if k != "thinking"} for step in steps)


def _steps(follow_ups: Sequence[FollowUp]) -> tuple[Message, ...]:
    return tuple(step for one in follow_ups for step in one.steps)


def _next_request(
    follow_ups: Sequence[FollowUp], request: Request, response: Response
) -> tuple[Request | None, BaseException | None]:
    try:
        for one in follow_ups:
            following = one.next_request(request, response)
            if following is not None:
                return following, None
    except KeyboardInterrupt:
        return None, Interrupted()
    except OllamaMagicError as error:
        return None, error
    return None, None


def _response(
    session: Session, prepared: PreparedRequest, request: Request, display: ReplyDisplay
) -> Response:
    """Return one response, from the cache or the server, and show it meanwhile."""
    options, began_s = prepared.options, time.monotonic()
    cached = cached_reply(session, options, request, prepared.digest)
    if cached is not None:
        display.feed(cached.text, "" if options.hide_thinking else cached.thinking)
        return Response.of(cached)
    response = Response()

    def show(_: Response, text: str, thinking: str) -> None:
        display.feed(text, "" if options.hide_thinking else thinking)

    def tick() -> None:
        if waits_for := prepared.waits_for(response):
            display.waiting(f"{waits_for} {time.monotonic() - began_s:.0f} s")
        display.feed("")

    display.waiting(prepared.waits_for(response))
    stream = prepared.client.send(request)
    receive([stream], [response], show, tick, hz=session.settings.update_hz)
    response.fault = explained(session, options, request, response.fault)
    if isinstance(response.fault, Interrupted):
        response.fault = Interrupted(
            f"stopped; partial reply kept ({response.size:,} characters)"
        )
    return response
