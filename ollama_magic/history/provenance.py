"""What an output tells of its turn, in its metadata under ``ollama_magic``.

Written with every answer, and read again when a chat is rebuilt from its notebook.
Knows nothing of notebooks: an output is its metadata and its ``text/plain``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from ollama_magic import __version__
from ollama_magic.history.records import (
    Record,
    UnreadableError,
    chat_name_of,
    turn_of,
    turn_record,
)
from ollama_magic.history.turns import Chat, Turn

KEY = "ollama_magic"
"""The name in an output's metadata."""
LAYOUT = 1
"""Of the metadata; outputs of another layout are not read."""
OF_CELL = "of_cell"
"""The name in it of the cell whose turn it is, if the output is another cell's."""

# A cell id is the notebook's business; a reply that text/plain has is not kept twice.
_TOLD_BY_THE_OUTPUT = ("reply", "cell_id")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn was in its chat when it was answered."""

    chat: str
    number: int
    """From 1, marks not counted: what people are told."""
    position: int
    """From 1, marks counted."""


def place_of(chat: Chat, turn: Turn) -> Place:
    """Return where a turn is in its chat."""
    uids = [other.uid for other in chat.turns]
    index = uids.index(turn.uid) if turn.uid in uids else len(uids)
    before = sum(not other.is_mark for other in chat.turns[:index])
    return Place(chat.name, before + 1, index + 1)


def provenance(turn: Turn, place: Place | None, plain: str) -> Record:
    """Return what the output of a turn tells.

    Parameters
    ----------
    place
        None for a one-off.
    plain
        The ``text/plain`` of the output. The reply is told too when it is another
        text: with a notice under it, or with characters that are not shown.
    """
    record = turn_record(turn, with_pictures=False)
    told = {k: v for k, v in record.items() if k not in _TOLD_BY_THE_OUTPUT}
    if turn.reply != plain and not turn.is_mark:
        told["reply"] = turn.reply
    for name in ("thinking", "pictures", "steps"):
        if not told[name]:
            del told[name]
    if "steps" in told:
        # One text: notebook servers fail on metadata that are nested deeply.
        told["steps"] = json.dumps(told["steps"], ensure_ascii=False)
    return {
        "layout": LAYOUT,
        "version": __version__,
        "chat": place.chat if place else None,
        "turn": place.number if place else None,
        "position": place.position if place else None,
        **told,
    }


def read_provenance(told: object, plain: str) -> tuple[Place, Turn] | None:
    """Return the turn that an output tells of, and its place; None for a one-off.

    Raises
    ------
    UnreadableError
        The metadata is of another layout, or not as this package writes it.
    """
    if not isinstance(told, dict) or told.get("layout") != LAYOUT:
        raise UnreadableError("it has another layout")
    if told.get("chat") is None:
        return None
    turn = turn_of({"reply": "" if _is_mark(told) else plain, **told})
    number, position = told.get("turn"), told.get("position")
    if type(number) is not int or type(position) is not int or not turn.answered_at:
        raise UnreadableError("it does not tell its place")
    return Place(chat_name_of(told), number, position), replace(turn, cell_id=None)


def _is_mark(told: dict[str, Any]) -> bool:
    return told.get("model") == ""
