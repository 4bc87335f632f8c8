"""Turns from elsewhere, put among those of a chat: of a file, of a notebook.

Refuses to know where they come from, and files and caches, as ``rows`` does.
"""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import replace
from itertools import takewhile

from ollama_magic.history import rows
from ollama_magic.history.turns import Chat, Turn


def arrange(
    database: sqlite3.Connection, notebook: str, chat: Chat, moment: str
) -> None:
    """Give a chat these turns, in this order.

    Those with a uid are live in it already. The others are added as they are; one
    whose cell has a live turn that is not among them replaces that, or takes it out of
    another chat of the notebook. Live turns that are not among them stay, in front.

    Parameters
    ----------
    moment
        When this is done: the time of turns that bring none.
    """
    chat_id = rows.make_chat(database, notebook, chat.name)
    live = rows.read_turns(database, chat_id)
    pairs = zip(live, chat.turns, strict=False)
    in_place = len(list(takewhile(lambda pair: pair[0].uid == pair[1].uid, pairs)))
    named = {turn.uid for turn in chat.turns}
    replaced = {t.cell_id: t.uid for t in live if t.cell_id and t.uid not in named}
    for turn in chat.turns[in_place:]:
        uid = turn.uid
        if not uid:
            _take_from_other_chats(database, notebook, turn.cell_id, chat_id, moment)
            added = _stored(turn, moment)
            replaces = replaced.get(turn.cell_id or "")
            rows.add_turn(database, chat_id, added, replaces=replaces)
            uid = added.uid
        rows.move_to_end(database, uid, chat_id)


def _stored(turn: Turn, moment: str) -> Turn:
    stored = replace(
        rows.storable(turn),
        uid=uuid.uuid4().hex,
        answered_at=turn.answered_at or moment,
        added_at=moment,
    )
    return replace(stored, text_hash=stored.compute_text_hash())


def _take_from_other_chats(
    database: sqlite3.Connection,
    notebook: str,
    cell_id: str | None,
    chat_id: int,
    moment: str,
) -> None:
    if cell_id is None:
        return
    for other in rows.find_turns_of_cell(database, notebook, cell_id):
        if other.chat_id != chat_id and other.cell_id == cell_id:
            rows.remove_turn(database, other.uid, other.chat_id, why="moved", at=moment)
