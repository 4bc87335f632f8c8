"""``%ollama keep MODEL``: one of the replies that were compared becomes the turn."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NoReturn

from ollama_magic.errors import ConfigError, nearest
from ollama_magic.generation.compare import Candidate, Compared
from ollama_magic.generation.record import make_reply, make_turn
from ollama_magic.generation.reply import Reply
from ollama_magic.generation.session import Session
from ollama_magic.history.notebook_file import cell_name
from ollama_magic.history.records import OF_CELL


def keep(session: Session, model: str) -> Reply:
    """Keep the reply of a model as the turn of the cell that compared.

    One that was kept before of the same comparison is replaced, in its place.

    Returns
    -------
    Reply
        With its place in the chat.

    Raises
    ------
    ConfigError
        Nothing was compared, or not this model; its reply is empty; or the
        comparison was a one-off, outside of any chat.
    """
    compared = session.compared
    if compared is None:
        raise ConfigError(
            "There is nothing to keep.",
            why="no models were compared since this kernel started",
            next_step="%%ollama --compare MODEL,MODEL   with a prompt under it",
        )
    candidate = compared.find(model)
    if candidate is None:
        _refuse_model(compared, model)
    chat = candidate.question.chat_name
    if chat is None:
        raise ConfigError(
            "A one-off is in no chat, and no turn can be made of it.",
            why="it was compared with --once",
            next_step="compare again without it",
        )
    if candidate.outcome.answer.is_empty:
        _refuse_empty(compared, candidate)
    return _kept(session, compared, candidate, chat)


def _kept(
    session: Session, compared: Compared, candidate: Candidate, chat: str
) -> Reply:
    if compared.cell_id is None:
        # Without a cell, the comparison itself has the turn, so that another choice
        # replaces it. NB: the colon keeps it from being taken for the id of a cell.
        compared = replace(compared, cell_id=f"comparison:{uuid.uuid4().hex}")
    compared = replace(compared, times_kept=compared.times_kept + 1)
    session.compared = compared
    session.chat(chat)  # turns of deleted cells leave now, and not this one later
    asking, question, outcome = candidate.asking, candidate.question, candidate.outcome
    source, fresh = candidate.source, asking.args.new
    turn = make_turn(question, outcome, source, compared.cell_id, starts_afresh=fresh)
    turn = replace(turn, based_on=compared.based_on, answered_at=_answered_at(compared))
    turn = session.store.record(session.notebook.key, chat, turn)
    others = [name for name in compared.models if name != candidate.model]
    note = f"compared with {', '.join(others)}"
    outcome = replace(outcome, notes=(*outcome.notes, note))
    asking = replace(asking, args=replace(asking.args, quiet=False))
    reply = make_reply(asking, question, outcome, source, turn)
    if cell_name(compared.cell_id):  # a name that the notebook's file knows too
        told = {**reply.provenance, OF_CELL: compared.cell_id}
        reply = replace(reply, provenance=told)
    if not reply.view.footer:  # it is off, and yet it has to be said
        place = f"turn {reply.provenance['turn']} of {chat}"
        reply = replace(reply, view=replace(reply.view, footer=(place,)))
    session.last_reply = reply
    return reply


def _answered_at(compared: Compared) -> str:
    """Return the time of the turn that is kept now: that of the comparison.

    So a notebook that is run again from earlier answers tells the same. Each that is
    kept is a microsecond later, since of several the last one counts.
    """
    last = max(candidate.outcome.answered_at for candidate in compared.candidates)
    moment = datetime.fromisoformat(last) + timedelta(microseconds=compared.times_kept)
    return moment.isoformat(timespec="microseconds")


def _refuse_model(compared: Compared, model: str) -> NoReturn:
    likely = nearest(model, compared.models) or compared.models[0]
    raise ConfigError(
        f"{model!r} was not among the models that were compared.",
        why=f"these were: {', '.join(compared.models)}",
        next_step=f"%ollama keep {likely}",
    )


def _refuse_empty(compared: Compared, candidate: Candidate) -> NoReturn:
    others = [
        one.model for one in compared.candidates if not one.outcome.answer.is_empty
    ]
    raise ConfigError(
        f"Nothing came of {candidate.model!r} that could be kept.",
        why=candidate.outcome.notice.strip("[]"),
        next_step=f"%ollama keep {others[0]}" if others else "compare again",
    )
