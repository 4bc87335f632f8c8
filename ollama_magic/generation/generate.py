"""From a request to its answer, in as many rounds as it takes.

One round sends a request and shows the answer while it comes. Whoever follows it up
(tools that were called, an answer that misses its schema) gives the request of the
next round, until nobody does. Knows rounds; what a follow-up is about, it does not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ollama_magic.client.background import Arrivals
from ollama_magic.client.types import Request
from ollama_magic.errors import Interrupted, OllamaMagicError
from ollama_magic.generation.answer import Answer
from ollama_magic.generation.outcome import Outcome, Round, shown_steps
from ollama_magic.generation.prepare import Asking, Question
from ollama_magic.history.turns import Message


class Display(Protocol):
    """Where an answer is shown while it comes and when it is complete."""

    def waiting(self, text: str) -> None:
        """Say that nothing has come yet, and why."""

    def feed(self, content: str, thinking: str = "") -> None:
        """Take a fragment, or the passing of a moment."""

    def finish(
        self,
        data: Mapping[str, str],
        metadata: Mapping[str, Any],
        footer: Sequence[str] = (),
    ) -> None:
        """Show the complete answer as the one output."""

    def discard(self) -> None:
        """Take away what was shown: no answer came."""

    def again(self, steps: Sequence[Message] = ()) -> None:
        """Begin anew: what was shown is not the answer, and another round follows.

        Parameters
        ----------
        steps
            What led to it and stays to be seen; see ``Turn.steps``.
        """


class NoDisplay:
    """Shows nothing: whoever asked gets the reply, and shows it or not."""

    def waiting(self, text: str) -> None:
        """Show nothing."""

    def feed(self, content: str, thinking: str = "") -> None:
        """Show nothing."""

    def finish(
        self,
        data: Mapping[str, str],
        metadata: Mapping[str, Any],
        footer: Sequence[str] = (),
    ) -> None:
        """Show nothing."""

    def discard(self) -> None:
        """Show nothing."""

    def again(self, steps: Sequence[Message] = ()) -> None:
        """Show nothing."""


class FollowUp(Protocol):
    """What may have to be asked after a complete answer."""

    @property
    def notes(self) -> Sequence[str]:
        """What the footer says of its rounds."""

    @property
    def steps(self) -> tuple[Message, ...]:
        """Messages of its rounds that belong to the turn."""

    def next_request(self, request: Request, answer: Answer) -> Request | None:
        """Return the request of the next round; None when there is none.

        Raises
        ------
        OllamaMagicError
            The rounds end here; what came is kept, with this as its fault.
        KeyboardInterrupt
            The user interrupted; likewise.
        """


def get_answer(
    asking: Asking,
    question: Question,
    display: Display,
    follow_ups: Sequence[FollowUp] = (),
) -> Outcome:
    """Return what came of a question, and what ended it too early.

    Parameters
    ----------
    follow_ups
        Are asked in order after each complete answer; the first request counts.
    """
    request: Request | None = question.request
    rounds: list[Round] = []
    fault: BaseException | None = None
    while request is not None and fault is None:
        if rounds:
            hides = asking.args.hide_thinking
            display.again(shown_steps(_steps(follow_ups), hides_thinking=hides))
        one, fault = _one_round(asking, question, request, display)
        rounds.append(one)
        if fault is None:
            request, fault = _next_request(follow_ups, request, one.answer)
    return Outcome(
        tuple(rounds),
        fault,
        notes=tuple(note for one in follow_ups for note in one.notes),
        steps=_steps(follow_ups),
    )


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


def _one_round(
    asking: Asking, question: Question, request: Request, display: Display
) -> tuple[Round, BaseException | None]:
    """Show one answer; return it with what ended it too early."""
    digest = question.model.digest if question.model else ""
    kept = asking.kept_answer(request, digest)
    if kept is None:
        answer, fault = _arriving(asking, question, request, display)
        return Round(request, answer), asking.explained(fault, request)
    thinking = "" if asking.args.hide_thinking else kept.thinking
    display.feed(kept.text, thinking)
    return Round(request, Answer.of(kept), kept), None


def _arriving(
    asking: Asking, question: Question, request: Request, display: Display
) -> tuple[Answer, BaseException | None]:
    """Show one answer while it comes; return it with what ended it too early."""
    answer, hides = Answer(), asking.args.hide_thinking
    model, began = request.model, time.monotonic()
    hz = asking.session.settings.update_hz
    waits_for = f"{'waiting for' if question.loaded else 'loading'} {model}…"
    if question.cloud_host:
        waits_for = f"sending to {question.cloud_host}…"
    if question.context.fits is False:
        waits_for = f"this will probably not fit; {waits_for}"
    display.waiting(waits_for)
    fault: BaseException | None = None
    try:
        with Arrivals(asking.send(request), hz=hz) as arrivals:
            for chunks in arrivals:
                fragments = [answer.add(chunk) for chunk in chunks]
                content = "".join(fragment.text for fragment in fragments)
                thinking = "".join(fragment.thinking for fragment in fragments)
                if not answer.has_text and (hides or answer.is_empty):
                    doing = waits_for if answer.is_empty else f"{model} thinks…"
                    display.waiting(f"{doing} {time.monotonic() - began:.0f} s")
                display.feed(content, "" if hides else thinking)
    except KeyboardInterrupt:
        fault = Interrupted()
    except OllamaMagicError as error:
        fault = error
    answer.end()
    if isinstance(fault, Interrupted):
        kept = len(answer.text) + len(answer.thinking)
        fault = Interrupted(f"stopped by you; {kept:,} characters kept")
    return answer, fault
