"""From a prompt to a reply: the straight line that every ``%%ollama`` cell runs.

Prepare the question (nothing is sent before it is right), get the answer, keep the
turn, show the reply. Knows the order of things; each step lives elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ollama_magic.client.images import without_images
from ollama_magic.client.interrupts import held, let_through, look
from ollama_magic.errors import Interrupted, OllamaMagicError
from ollama_magic.generation.code_cell import Place, hand_over
from ollama_magic.generation.generate import Display, FollowUp, get_answer
from ollama_magic.generation.models import ServerModels
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.outcome import Outcome, shown_steps
from ollama_magic.generation.prepare import Asking, Question, prepare
from ollama_magic.generation.reply import Reply, make_reply, make_turn
from ollama_magic.generation.schema import Repair
from ollama_magic.generation.session import Session
from ollama_magic.generation.source import find_source, keep_answers
from ollama_magic.generation.tool_calls import AskBeforeCall, ToolLoop, always_yes
from ollama_magic.history.turns import Message


def ask(
    session: Session,
    args: ChatOptions,
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
        The user interrupted; likewise. A complete answer is kept and shown before.
    """
    asking = Asking(session, session.client(args.host), args)
    with held():  # what was begun is brought to an end: stored, and shown as it stays
        question = _prepared(asking, text, display)
        follow_ups = _follow_ups(asking, question, display)
        outcome = get_answer(asking, question, display, follow_ups)
        if outcome.fault is not None and outcome.answer.is_empty:
            display.discard()
            raise outcome.fault
        handed_over = hand_over(asking, question, outcome, next_cell)
        outcome = outcome.noted(*notes, handed_over.note)
        if question.chat_name is not None:
            outcome = outcome.noted(session.take_footnote())
        reply = _kept(asking, question, outcome, has_code_below=handed_over.has_cell)
        display.finish(*reply._repr_mimebundle_(), reply.view.footer)
        if outcome.fault is not None:
            raise outcome.fault
        _stop_if_wanted()
    return reply


def _prepared(asking: Asking, text: str, display: Display) -> Question:
    """Return what is to be sent; takes away what was shown when nothing is."""

    def look_up_models(must_list: bool) -> ServerModels:
        display.waiting(f"asking {asking.client.host.base_url}…")
        return asking.look_up(must_list)

    try:
        with let_through():  # values of the user's are looked at
            return prepare(asking, text, look_up_models)
    except BaseException:
        display.discard()
        raise


def _stop_if_wanted() -> None:
    """Raise the interrupt that came too late to stop the answer."""
    try:
        look()
    except KeyboardInterrupt:
        what = "stopped by you; the answer was complete, and is kept"
        raise Interrupted(what) from None


def _kept(
    asking: Asking, question: Question, outcome: Outcome, *, has_code_below: bool
) -> Reply:
    """Keep what came, and return it as it is shown."""
    session, args = asking.session, asking.args
    source = find_source(asking, question, outcome)
    turn = make_turn(
        question,
        outcome,
        source,
        session.cells.cell_id,
        starts_afresh=args.new,
        has_code_below=has_code_below,
    )
    if question.chat_name is not None:
        store, notebook = session.store, session.notebook.key
        turn = store.record(notebook, question.chat_name, turn, append=args.append)
        session.cells.turn_kept()
    if asking.is_cached and outcome.fault is None:
        keep_answers(asking, outcome, source)
    reply = make_reply(asking, question, outcome, source, turn)
    session.last_reply = reply
    return reply


def _follow_ups(
    asking: Asking, question: Question, display: Display
) -> tuple[FollowUp, ...]:
    """Return what may have to be asked after the answer to a question."""
    if question.schema:
        return (Repair(question.schema),)
    if not question.tools:
        return ()
    hides = asking.args.hide_thinking

    def show(steps: Sequence[Message]) -> None:
        display.again(shown_steps(steps, hides_thinking=hides))

    approve = always_yes if asking.args.yes else AskBeforeCall()
    rounds = asking.session.settings.tool_rounds
    hide = asking.redactor.text
    return (ToolLoop(question.tools, approve, show, rounds, hide=hide),)


def request_text(session: Session, args: ChatOptions, text: str) -> str:
    """Return the request that ``ask`` would send, as JSON, with an estimate.

    Where a model is named, no server is needed; one that answers tells the context.

    Raises
    ------
    OllamaMagicError
        As ``ask`` does before it sends anything.
    """
    client = session.client(args.host)
    asking = Asking(session, client, args)

    def look_up_models(must_list: bool) -> ServerModels:
        try:
            return asking.look_up(must_list)
        except OllamaMagicError:
            if must_list:
                raise
            return ServerModels()

    question = prepare(asking, text, look_up_models)
    cloud = question.cloud_host
    goes_on = f"\na cloud model: this server sends it on to {cloud}" if cloud else ""
    request, images = question.request, question.prompt.images
    body = json.dumps(without_images(request.body()), indent=2, ensure_ascii=False)
    counted = f"{len(images)} image{'' if len(images) == 1 else 's'}"
    beside = f" and {counted}" if images else ""
    return (
        f"POST {client.host.base_url}{request.path}\n"
        f"{body}\n"
        f"{question.context.describe()}{beside}; nothing was sent\n"
        f"{question.context.verdict()}{goes_on}"
    )
