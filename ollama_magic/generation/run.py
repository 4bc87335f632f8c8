"""One prompt, from its options to its reply: what every ``%%ollama`` cell runs.

Cells, ``%ollama ask``, ``fix`` and ``explain``, and the functions ``ask`` and ``chat``
call ``ask``. An error before the first token leaves the chat unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ollama_magic.client.background import check_interrupt, held, let_through
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.images import without_images
from ollama_magic.errors import Interrupted, OllamaMagicError
from ollama_magic.generation.code_cell import put_code_below
from ollama_magic.generation.generate import (
    FollowUp,
    ReplyDisplay,
    fill_cache,
    generate,
    shown_steps,
)
from ollama_magic.generation.models import ServerModels
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prepare import PreparedRequest, ask_for_models, prepare
from ollama_magic.generation.reply import Reply, make_reply, make_turn
from ollama_magic.generation.schema import Repair
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import merged
from ollama_magic.generation.tool_calls import AskBeforeCall, ToolLoop, always_yes
from ollama_magic.history.turns import Message, Turn
from ollama_magic.render.text import counted


def ask(
    session: Session,
    options: ChatOptions,
    text: str,
    display: ReplyDisplay,
    *,
    notes: Sequence[str] = (),
) -> Reply:
    """Ask a model, show its reply while it streams, keep the turn, return the reply.

    Parameters
    ----------
    notes
        Notes about the prompt, for the footer.

    Raises
    ------
    OllamaMagicError
        Before the first token, the chat is unchanged. Later, the partial reply is
        shown, and kept as a turn with its status.
    Interrupted
        The user interrupted; likewise. A complete reply is shown and kept first.
    """
    options, client = merged(session.settings, options), session.client(options.host)
    with held():  # an interrupt ends the reply, and what came is still kept and shown
        with discarded_on_error(display):
            prepared = _prepare(session, client, options, text, display)
        follow_ups = _follow_ups(session, prepared, display)
        result = generate(session, prepared, display, follow_ups)
        if result.fault is not None and result.response.is_empty:
            display.discard()
            raise result.fault
        result = put_code_below(session, prepared, result.noted(*notes))
        if prepared.chat_name is not None:
            result = result.noted(session.take_footnote())
        turn = make_turn(prepared, result, session.cells.cell_id)
        turn = _record(session, prepared, turn)
        fill_cache(session, prepared, result)
        reply = make_reply(session, prepared, result, turn)
        session.last_reply = reply
        display.finish_reply(reply.view, reply.metadata)
        if result.fault is not None:
            raise result.fault
        _raise_late_interrupt()
    return reply


def request_text(session: Session, options: ChatOptions, text: str) -> str:
    """Return the request that ``ask`` would send, as JSON, with an estimate.

    Where a model is named, no server is needed.

    Raises
    ------
    OllamaMagicError
        As ``ask`` does before it sends anything.
    """
    options, client = merged(session.settings, options), session.client(options.host)

    def look_up(must_list: bool) -> ServerModels:
        try:
            return ask_for_models(client, options, must_list)
        except OllamaMagicError:
            if must_list:
                raise
            return ServerModels()

    prepared = prepare(session, client, options, text, look_up)
    cloud, context = prepared.cloud_host, prepared.context
    sent_on = (
        f"\na cloud model: this server forwards the prompt to {cloud}" if cloud else ""
    )
    request, count = prepared.request, len(prepared.prompt.images)
    body = json.dumps(without_images(request.body()), indent=2, ensure_ascii=False)
    images = f" and {counted(count, 'image')}" if count else ""
    return (
        f"POST {client.host.base_url}{request.path}\n"
        f"{body}\n"
        f"{context.describe()}{images}; nothing was sent\n"
        f"{context.verdict()}{sent_on}"
    )


@contextmanager
def discarded_on_error(display: ReplyDisplay) -> Iterator[None]:
    """Remove what a display shows if this block raises an error."""
    try:
        yield
    except BaseException:
        display.discard()
        raise


def _prepare(
    session: Session,
    client: OllamaClient,
    options: ChatOptions,
    text: str,
    display: ReplyDisplay,
) -> PreparedRequest:
    def look_up(must_list: bool) -> ServerModels:
        display.waiting(f"contacting {client.host.base_url}…")
        return ask_for_models(client, options, must_list)

    with let_through():  # a placeholder may run code of the user
        return prepare(session, client, options, text, look_up)


def _follow_ups(
    session: Session, prepared: PreparedRequest, display: ReplyDisplay
) -> tuple[FollowUp, ...]:
    """Return the follow-ups that the options and the schema call for."""
    if prepared.schema:
        return (Repair(prepared.schema),)
    if not prepared.tools:
        return ()

    def show(steps: Sequence[Message]) -> bool:
        is_shown = display.again(shown_steps(steps, prepared))
        # Front ends that tell no cell ids may show text alone: no live output has any.
        return is_shown and session.cells.is_identified

    approve = always_yes if prepared.options.yes else AskBeforeCall()
    rounds, hide = (
        session.settings.tool_rounds,
        session.redactor_for(prepared.client).text,
    )
    return (ToolLoop(prepared.tools, approve, show, rounds, hide=hide),)


def _record(session: Session, prepared: PreparedRequest, turn: Turn) -> Turn:
    """Store a turn in its chat, if it belongs to one."""
    if prepared.chat_name is None:
        return turn
    notebook, append = session.notebook.key, prepared.options.append
    turn = session.store.record(notebook, prepared.chat_name, turn, append=append)
    session.cells.count_turn()
    return turn


def _raise_late_interrupt() -> None:
    """Raise the interrupt that came too late to stop the reply."""
    try:
        check_interrupt()
    except KeyboardInterrupt:
        what = "stopped; the reply was complete and is kept"
        raise Interrupted(what) from None
