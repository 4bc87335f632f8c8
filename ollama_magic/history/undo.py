"""Taking back the last change of a chat, whatever it was.

A change is what was done at one moment: a turn that was added (perhaps in the place of
another, or of one in another chat), or turns that were removed. Refuses to know files
and caches, as ``rows`` does.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from ollama_magic.history import rows
from ollama_magic.history.turns import Turn


@dataclass(frozen=True, slots=True)
class Undone:
    """What taking back a change came to."""

    removed: tuple[Turn, ...] = ()
    """Turns that left their chat."""
    restored: tuple[Turn, ...] = ()
    """Turns that are in their chat again."""
    why: str = ""
    """What had happened to them: ``replaced``, or one of ``rows.Why``."""


def take_back(database: sqlite3.Connection, chat_id: int) -> Undone | None:
    """Take the last change of a chat back; None when there was none.

    What the change did to other chats of the notebook is taken back too: a turn that
    had moved to this one returns to where it was.
    """
    moment = _last_moment(database, chat_id)
    if moment is None:
        return None
    removed, restored, why = [], [], ""
    for row in _added(database, chat_id, moment):
        rows.remove_turn(
            database, row["uid"], row["chat_id"], why="undone", at=rows.utc_now()
        )
        removed.append(rows.read_turn(row))
        earlier = _earlier_version(database, row["uid"], row["text_hash"])
        if earlier is not None:
            restored.append(_revive(database, earlier))
            why = "replaced"
    for uid, reason in _removed(database, chat_id, moment):
        restored.append(_revive(database, uid))
        why = reason
    return Undone(tuple(removed), tuple(restored), why)


_OF_NOTEBOOK = """
chat_id IN (SELECT id FROM chats WHERE notebook_id =
    (SELECT notebook_id FROM chats WHERE id = :chat))
"""


def _last_moment(database: sqlite3.Connection, chat_id: int) -> str | None:
    moment: str | None = database.execute(
        """
        SELECT MAX(moment) FROM (
            SELECT COALESCE(added_at, answered_at) AS moment FROM live
            WHERE chat_id = :chat
            UNION ALL
            SELECT removed_at FROM turns
            WHERE chat_id = :chat AND removed_why <> 'undone')
        """,
        {"chat": chat_id},
    ).fetchone()[0]
    return moment


def _added(
    database: sqlite3.Connection, chat_id: int, moment: str
) -> list[dict[str, Any]]:
    cursor = database.execute(
        f"""
        SELECT * FROM live
        WHERE COALESCE(added_at, answered_at) = :moment AND {_OF_NOTEBOOK}
        """,  # noqa: S608  (our own constant)
        {"chat": chat_id, "moment": moment},
    )
    return list(rows.by_name(cursor))


def _removed(
    database: sqlite3.Connection, chat_id: int, moment: str
) -> list[tuple[str, str]]:
    return database.execute(
        f"""
        SELECT uid, removed_why FROM turns
        WHERE removed_at = :moment AND removed_why <> 'undone' AND {_OF_NOTEBOOK}
        ORDER BY chat_id, position
        """,  # noqa: S608  (our own constant)
        {"chat": chat_id, "moment": moment},
    ).fetchall()


def _revive(database: sqlite3.Connection, uid: str) -> Turn:
    database.execute(
        "UPDATE turns SET replaced_at = NULL, removed_at = NULL, removed_why = NULL"
        " WHERE uid = ?",
        (uid,),
    )
    (row,) = rows.by_name(database.execute("SELECT * FROM turns WHERE uid = ?", (uid,)))
    rows.raise_revision(database, row["chat_id"])
    return rows.read_turn(row)


def _earlier_version(
    database: sqlite3.Connection, uid: str, text_hash: str
) -> str | None:
    """Return the last version of a turn with another text; None when there is none.

    A version with the same text is passed over: it came from running all cells again,
    and to see it come back would look as if nothing had been taken back.
    """
    row = database.execute(
        """
        WITH RECURSIVE versions (uid, text_hash, replaces, age) AS (
            SELECT uid, text_hash, replaces, 0 FROM turns WHERE uid = :uid
            UNION ALL
            SELECT turns.uid, turns.text_hash, turns.replaces, age + 1
            FROM turns JOIN versions ON turns.uid = versions.replaces)
        SELECT uid FROM versions WHERE text_hash <> :text_hash ORDER BY age LIMIT 1
        """,
        {"uid": uid, "text_hash": text_hash},
    ).fetchone()
    return row[0] if row else None
