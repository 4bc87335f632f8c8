"""From a prompt to a reply: the straight line that every ``%%ollama`` cell runs.

Prepare the question (nothing is sent before it is right), stream the answer, keep
the turn, show the reply. Knows the order of things; each step lives elsewhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from ollama_magic.answer import Answer
from ollama_magic.arrivals import Arrivals, in_background
from ollama_magic.errors import Interrupted, OllamaMagicError
from ollama_magic.line.arguments import ChatArguments
from ollama_magic.outcome import Outcome, make_reply, make_turn
from ollama_magic.question import (
    Asking,
    Question,
    ServerModels,
    look_up,
    prepare,
)
from ollama_magic.reply import Reply
from ollama_magic.session import Session


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


def ask(session: Session, args: ChatArguments, text: str, display: Display) -> Reply:
    """Ask a model, show its answer as it comes, keep the turn and return the reply.

    Raises
    ------
    OllamaMagicError
        Before anything came: the chat is as it was. In the middle of an answer:
        what came is shown, and kept as a turn with its status.
    Interrupted
        The user interrupted; likewise.
    """
    client = session.client(args.host)
    asking = Asking(session, client, args)

    def look_up_models(must_list: bool) -> ServerModels:
        display.waiting(f"asking {client.host.base_url}…")
        return in_background(partial(look_up, client, must_list=must_list))

    try:
        question = prepare(asking, text, look_up_models)
    except BaseException:
        display.discard()
        raise
    outcome = _stream(asking, question, display)
    if outcome.fault is not None and outcome.answer.is_empty:
        display.discard()
        raise outcome.fault
    turn = make_turn(question, outcome, session.cells.cell_id, starts_afresh=args.new)
    if question.chat_name is not None:
        store, notebook = session.store, session.notebook.key
        turn = store.record(notebook, question.chat_name, turn, append=args.append)
        session.cells.turn_kept()
    reply = make_reply(asking, question, outcome, turn)
    session.last_reply = reply
    display.finish(*reply._repr_mimebundle_(), reply.view.footer)
    if outcome.fault is not None:
        raise outcome.fault
    return reply


def request_text(session: Session, args: ChatArguments, text: str) -> str:
    """Return the request that ``ask`` would send, as JSON, with an estimate.

    Where a model is named, no server is needed; one that answers tells the context.

    Raises
    ------
    OllamaMagicError
        As ``ask`` does before it sends anything.
    """
    client = session.client(args.host)

    def look_up_models(must_list: bool) -> ServerModels:
        try:
            return in_background(partial(look_up, client, must_list=must_list))
        except OllamaMagicError:
            if must_list:
                raise
            return ServerModels()

    question = prepare(Asking(session, client, args), text, look_up_models)
    request = question.request
    return (
        f"POST {client.host.base_url}{request.path}\n"
        f"{json.dumps(request.body(), indent=2, ensure_ascii=False)}\n"
        f"{question.context.describe()}; nothing was sent\n"
        f"{question.context.verdict()}"
    )


def _stream(asking: Asking, question: Question, display: Display) -> Outcome:
    """Show the answer while it comes; return it with what ended it too early."""
    answer, hides = Answer(), asking.args.hide_thinking
    model, began = question.request.model, time.monotonic()
    waits_for = f"{'waiting for' if question.loaded else 'loading'} {model}…"
    if question.context.fits is False:
        waits_for = f"this will probably not fit; {waits_for}"
    display.waiting(waits_for)
    fault: BaseException | None = None
    try:
        with Arrivals(asking.client.send(question.request)) as arrivals:
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
    return Outcome(answer, fault)
