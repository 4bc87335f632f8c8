"""One prompt, from its options to its reply: what every ``%%ollama`` cell runs.

Cells, ``%ollama ask``, ``fix`` and ``explain``, and the functions ``ask`` and ``chat``
call ``ask``. An error before the first token leaves the chat unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol

from ollama_magic.client.background import check_interrupt, held, let_through
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import find_model, has_tag, matching_names
from ollama_magic.client.types import Request
from ollama_magic.errors import Interrupted, ModelNotFoundError, OllamaMagicError
from ollama_magic.generation.front_end import NoDisplay, ReplyDisplay
from ollama_magic.generation.lookups import Lookups
from ollama_magic.generation.models import (
    ServerModels,
    ask_for_models,
    cached_reply,
    explained,
    installed_name,
)
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prepare import PreparedRequest, prepare
from ollama_magic.generation.reply import Reply, make_reply, make_turn, shown_steps
from ollama_magic.generation.response import Response, Result, added_stats, receive
from ollama_magic.generation.schema import Repair
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import merged
from ollama_magic.generation.status_line import Waiting, with_facts
from ollama_magic.generation.tool_calls import AskBeforeCall, ToolLoop, always_yes
from ollama_magic.history.cache import CachedReply, request_key
from ollama_magic.history.turns import Chat, Message, Turn, utc_now
from ollama_magic.render.code import CodeToRun, code_blocks, code_to_run
from ollama_magic.render.text import counted

PUT_BEFORE = "code already inserted below by an earlier run"
_ANOTHER_CELL = "for another cell: %ollama code"
_NO_CELL = "no cell can be inserted here: copy the code above"


def ask(
    session: Session,
    options: ChatOptions,
    text: str,
    display: ReplyDisplay,
    *,
    notes: Sequence[str] = (),
    begun: Turn | None = None,
) -> Reply:
    """Ask a model, show its reply while it streams, keep the turn, return the reply.

    Parameters
    ----------
    notes
        Notes about the prompt, for the footer.
    begun
        The turn whose reply is continued, and which the whole reply replaces.

    Raises
    ------
    OllamaMagicError
        Before the first token, the chat is unchanged. Later, the partial reply is
        shown, and kept as a turn with its status.
    Interrupted
        The user interrupted; likewise. A complete reply is shown and kept first.
    """
    options, client = merged(session.settings, options), session.client(options.host)
    with held():  # an interrupt ends the reply, whose text so far is kept and shown
        with discarded_on_error(display):
            prepared = _prepare(session, client, options, text, display, begun=begun)
        follow_ups = _follow_ups(session, prepared, display)
        result = generate(session, prepared, display, follow_ups)
        if result.fault is not None and result.response.is_empty:
            display.discard()
            raise result.fault
        before = code_below(session, prepared)
        result = replace(result.noted(*notes), code_below=before)
        if options.extract and result.fault is None:
            result = put_code_below(session, prepared, result)
        if prepared.chat_name is not None and begun is None:
            result = result.noted(session.take_footnote())
        turn = make_turn(prepared, result, session.cells.cell_id)
        turn = _record(session, prepared, turn)
        fill_cache(session, prepared, result)
        reply = make_reply(session, prepared, result, turn)
        session.last_reply = reply
        display.finish_reply(reply, reply.metadata)
        if result.fault is not None:
            if isinstance(result.fault, Interrupted):
                result.fault.is_shown = True
            raise result.fault
        _raise_late_interrupt()
    return reply


class _Discards(Protocol):
    def discard(self) -> None:
        """Remove what was shown."""


@contextmanager
def discarded_on_error(display: _Discards) -> Iterator[None]:
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
    *,
    begun: Turn | None,
) -> PreparedRequest:
    def look_up(must_list: bool) -> ServerModels:
        display.waiting(f"contacting {client.host.base_url}…")
        if not isinstance(display, NoDisplay):
            return ask_for_models(client, options, must_list)
        known = client.recent_models()
        names = [model.name for model in known]
        if options.model and matching_names(options.model, names) and not must_list:
            return ServerModels(known)
        return ask_for_models(client, options, must_list)

    is_shown = not isinstance(display, NoDisplay)
    known = partial(known_model, session, client, options, is_shown=is_shown)
    with let_through():  # a placeholder may run code of the user
        return prepare(
            session, client, options, text, look_up, begun=begun, known=known
        )


def known_model(
    session: Session,
    client: OllamaClient,
    options: ChatOptions,
    before: Chat,
    *,
    is_shown: bool = False,
) -> tuple[str, ServerModels] | None:
    """Return the model and the models of the last minute, if they say enough.

    A name with a tag needs no list, and one without needs a list that says which tag it
    means. A prompt that names no model needs a new list: the default may be in the
    cloud by now.

    Parameters
    ----------
    is_shown
        Whether the lists are requested with the prompt even if the model is in them.
    """
    name, models = options.model, client.recent_models()
    needs_list = options.cached or options.truncate == "error" or options.template_use
    has_images = any(turn.sent_images for turn in before.sent(options.last))
    if not name or needs_list or has_images or session.settings.allow_cloud is False:
        return None
    try:
        is_listed = find_model(installed_name(name, models), models) is not None
    except ModelNotFoundError:
        return None
    if not (is_listed or has_tag(name)):
        return None
    return name, ServerModels(models, is_late=is_shown or not is_listed)


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
        # Front ends that send no cell ids may show plain text, which live output lacks.
        return is_shown and session.cells.is_identified

    approve = always_yes if prepared.options.yes else AskBeforeCall(prepared.tools)
    rounds = session.settings.tool_rounds
    hide = session.redactor_for(prepared.client).text
    return (ToolLoop(prepared.tools, approve, show, rounds, hide=hide),)


def _record(session: Session, prepared: PreparedRequest, turn: Turn) -> Turn:
    """Store a turn in its chat, if it belongs to one."""
    if prepared.chat_name is None:
        return turn
    turn = session.store.record(
        session.notebook.key,
        prepared.chat_name,
        turn,
        append=prepared.options.append,
        replaces=prepared.begun.uid if prepared.begun else "",
        cells=session.chat(prepared.chat_name).page,
    )
    if prepared.begun is None:
        session.cells.count_turn()
    return turn


def _raise_late_interrupt() -> None:
    """Raise the interrupt that came too late to stop the reply."""
    try:
        check_interrupt()
    except KeyboardInterrupt:
        what = "stopped; the reply was complete and is kept"
        raise Interrupted(what) from None


# -- from a request to its result -----------------------------------------------------


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
    lookups = Lookups(prepared)
    while len(responses) < len(requests):
        steps = shown_steps(_steps(follow_ups), prepared)
        if responses:
            display.again(steps)
        response = _response(
            session, prepared, requests[-1], display, steps, lookups=lookups
        )
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
    return with_facts(session, prepared, result, lookups)


def fill_cache(session: Session, prepared: PreparedRequest, result: Result) -> None:
    """Cache the responses of a complete result, if the options say so."""
    if not prepared.options.cached or result.fault is not None:
        return
    for request, response in zip(result.requests, result.responses, strict=True):
        if response.cached is None and not response.images:
            kept = CachedReply(
                model=request.model,
                digest=result.digest,
                text=response.text,
                thinking=response.thinking,
                thinking_s=response.thinking_s,
                tool_calls=response.tool_calls,
                logprobs=response.text_logprobs,
                done_reason=response.done_reason,
                stats=response.stats,
                context_length=result.context_length,
                host_kind=result.host_kind,
                server_note=result.server_note,
                answered_at=result.answered_at,
                took_s=response.took_s,
            )
            session.store.cache_replies([(request_key(request), kept)])


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
    session: Session,
    prepared: PreparedRequest,
    request: Request,
    display: ReplyDisplay,
    steps: Sequence[Message],
    *,
    lookups: Lookups,
) -> Response:
    """Return one response, from the cache or the server, and show it meanwhile.

    Parameters
    ----------
    steps
        The tool calls before it, which stay visible.
    lookups
        Asked for the context length when the response has begun, if it is shown.
    """
    options, began_s = prepared.options, time.monotonic()
    cached = cached_reply(session, options, request, prepared.digest)
    if cached is not None:
        display.feed(cached.text, "" if options.hide_thinking else cached.thinking)
        return Response.of(cached)
    begun = prepared.begun
    response = Response() if begun is None else Response.continuing(begun)

    def show(response: Response, text: str, thinking: str) -> None:
        if response.has_restarted:
            response.has_restarted = False
            display.again(steps)
        if text and not (response.done_reason or isinstance(display, NoDisplay)):
            lookups.request_length()
        display.feed(text, "" if options.hide_thinking else thinking)

    waiting = Waiting(session, prepared, lookups)

    def tick() -> None:
        if text := waiting.text(response, time.monotonic() - began_s):
            display.waiting(text)
        display.feed("")

    if begun is not None:
        show(response, begun.reply, begun.thinking)
    display.waiting(waiting.first_text(response))
    stream = prepared.client.send(request)
    receive([stream], [response], show, tick, hz=session.settings.update_hz)
    if begun is not None:
        response.stats = added_stats(begun.stats, response.stats)
    response.fault = explained(session, options, request, response.fault)
    if isinstance(response.fault, Interrupted) and response.size:
        response.fault = Interrupted(
            f"stopped; partial reply kept ({counted(response.size, 'character')})"
        )
    return response


class FollowUp(Protocol):
    """May send another request after a complete response."""

    @property
    def notes(self) -> Sequence[str]:
        """What the footer says about its requests."""

    @property
    def steps(self) -> tuple[Message, ...]:
        """Messages of its requests that belong to the turn."""

    def next_request(self, request: Request, response: Response) -> Request | None:
        """Return the request to send next; None if the response is the last one.

        Raises
        ------
        OllamaMagicError
            The turn ends here and is kept, with this error as its fault.
        KeyboardInterrupt
            The user interrupted; likewise.
        """


# -- the code of a reply, for review in the cell below; it is not run ------------------
#
# A cell that is run again inserts a second cell only if the code is another.


def put_code_below(
    session: Session, prepared: PreparedRequest, result: Result
) -> Result:
    """Insert the code of a complete reply into the cell below.

    Returns
    -------
    Result
        The result, with a note for the footer.
    """
    options = prepared.options
    code = code_to_run(code_blocks(result.response.text))
    if not code.source:
        return result.noted(f"no code in this reply{code.remark}")
    if result.code_below == code.hash and not options.append:
        return result.noted(f"{PUT_BEFORE}; {_ANOTHER_CELL}")
    where = insert_below(session, code)
    if not where:
        return result.noted(_NO_CELL)
    put = f"code in {where}, for review{code.remark}"
    if result.code_below:
        put = f"new {put}; the earlier code is below it"
    return replace(result, code_below=code.hash).noted(put)


def insert_below(session: Session, code: CodeToRun) -> str:
    """Insert code into a cell below; return where it is, empty if there is no place."""
    where = session.cells.put_below(code.source)
    if where and (cell_id := session.cells.cell_id):
        put = session.code_below.setdefault(cell_id, {})
        put.pop(code.hash, None)  # the last one is the one that was put last
        put[code.hash] = utc_now()
    return where


def code_below(session: Session, prepared: PreparedRequest) -> str:
    """Return the hash of the code that was last inserted below the cell of a prompt.

    It is empty if none was.
    """
    cell_id = session.cells.cell_id
    turns = session.chat(prepared.chat_name).turns if cell_id else ()
    if prepared.begun is not None:
        turns, cell_id = (prepared.begun,), prepared.begun.cell_id
    elif cell_id in session.code_below:
        return next(reversed(session.code_below[cell_id]))
    for turn in reversed(turns):
        if turn.cell_id == cell_id and turn.request.get("extract"):
            # A turn of an earlier version has no hash, but its code.
            of_reply = code_to_run(code_blocks(turn.reply)).hash
            return str(turn.request.get("code_below", of_reply))
    return ""
