"""From a prompt to a reply: the straight line that every ``%%ollama`` cell runs.

Prepare the question (nothing is sent before it is right), get the answer, keep the
turn, show the reply. Knows the order of things; each step lives elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from ollama_magic.answering import Display, FollowUp, get_answer
from ollama_magic.arrivals import in_background
from ollama_magic.errors import OllamaMagicError
from ollama_magic.handing_over import Place, hand_over
from ollama_magic.line.arguments import ChatArguments
from ollama_magic.outcome import make_reply, make_turn
from ollama_magic.question import Asking, Question, ServerModels, look_up, prepare
from ollama_magic.reply import Reply
from ollama_magic.session import Session
from ollama_magic.structured import Repair


def ask(
    session: Session,
    args: ChatArguments,
    text: str,
    display: Display,
    *,
    next_cell: Place | None = None,
    notes: Sequence[str] = (),
) -> Reply:
    """Ask a model, show its answer as it comes, keep the turn and return the reply.

    Parameters
    ----------
    next_cell
        Where code of the answer is put, when the options say so.
    notes
        What the footer says of the prompt.

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
    outcome = get_answer(asking, question, display, follow_ups(question))
    if outcome.fault is not None and outcome.answer.is_empty:
        display.discard()
        raise outcome.fault
    handed_over = hand_over(asking, question, outcome, next_cell)
    outcome = outcome.noted(*notes, handed_over.note)
    turn = make_turn(
        question,
        outcome,
        session.cells.cell_id,
        starts_afresh=args.new,
        has_code_below=handed_over.has_cell,
    )
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


def follow_ups(question: Question) -> tuple[FollowUp, ...]:
    """Return what may have to be asked after the answer to a question."""
    return (Repair(question.schema.json),) if question.schema else ()


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
