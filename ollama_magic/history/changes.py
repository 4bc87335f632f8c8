"""Turns from elsewhere, put among those of a chat: of a file, of a notebook.

Refuses to know where they come from, and files and caches, as ``rows`` does.
"""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

from ollama_magic.history import cache, rows
from ollama_magic.history.schema import MAIN_CHAT, SESSION
from ollama_magic.history.turns import Chat, Turn


def insert_turns(
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


@dataclass(frozen=True, slots=True)
class UndoResult:
    """What taking back a change came to."""

    removed: tuple[Turn, ...] = ()
    """Turns that left their chat."""
    restored: tuple[Turn, ...] = ()
    """Turns that are in their chat again."""
    why: str = ""
    """What had happened to them: ``replaced``, or one of ``rows.Why``."""


def take_back(database: sqlite3.Connection, chat_id: int) -> UndoResult | None:
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
    return UndoResult(tuple(removed), tuple(restored), why)


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


SESSION_DAYS = 7
"""After so many days without use the ``main`` chat of a session is a leftover."""


@dataclass(frozen=True, slots=True)
class PruneSummary:
    """What can be removed for good, or was."""

    turns: int
    """Turns in no chat any more: replaced, dropped, undone, of deleted cells."""
    chats: int
    """Chats that were not used for long."""
    chat_turns: int
    """Live turns in those."""
    answers: int
    """Answers that were kept for the same request, and are as old."""
    size_bytes: int
    """About how much all of it takes."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.turns or self.chats or self.answers)


def rename_chat(
    database: sqlite3.Connection, notebook: str, chat: str, name: str
) -> bool:
    """Give a chat another name; False when that one is taken."""
    if rows.find_chat(database, notebook, name) is not None:
        return False
    chat_id = rows.make_chat(database, notebook, chat)
    # Where the notebook is not known, a chat with a name is kept apart from ``main``.
    notebook_id = rows.make_notebook(database, rows.home(notebook, name))
    database.execute(
        "UPDATE chats SET name = ?, notebook_id = ? WHERE id = ?",
        (name, notebook_id, chat_id),
    )
    rows.raise_revision(database, chat_id)
    return True


def delete_chat(database: sqlite3.Connection, notebook: str, chat: str) -> None:
    """Delete a chat with all its turns; harmless when there is none."""
    found = rows.find_chat(database, notebook, chat)
    if found is not None:
        _delete(database, found[0])
        _delete_images(database)


def _delete(database: sqlite3.Connection, chat_id: int) -> None:
    database.execute("DELETE FROM turns WHERE chat_id = ?", (chat_id,))
    database.execute("DELETE FROM chats WHERE id = ?", (chat_id,))


def _delete_images(database: sqlite3.Connection) -> None:
    """Delete the images that no turn has any more."""
    database.execute(
        "DELETE FROM pictures WHERE digest NOT IN"
        " (SELECT value FROM turns, json_each(turns.pictures))"
    )


def find_prunable(
    database: sqlite3.Connection, notebook: str, older_than_days: float | None
) -> PruneSummary:
    """Return what ``prune`` would remove."""
    old = _old_chats(database, notebook, older_than_days)
    marks = ", ".join("?" * len(old))
    turns, chat_turns, size = database.execute(
        f"""
        SELECT
            COALESCE(SUM(replaced_at IS NOT NULL OR removed_at IS NOT NULL), 0),
            COALESCE(SUM(
                replaced_at IS NULL AND removed_at IS NULL AND model <> ''), 0),
            COALESCE(SUM(
                LENGTH(CAST(prompt AS BLOB)) + LENGTH(CAST(reply AS BLOB))
                + LENGTH(CAST(thinking AS BLOB)) + LENGTH(CAST(request AS BLOB))), 0)
        FROM turns
        WHERE replaced_at IS NOT NULL OR removed_at IS NOT NULL
            OR chat_id IN ({marks})
        """,  # noqa: S608  (question marks)
        old,
    ).fetchone()
    kept, kept_size = 0, 0
    if older_than_days is not None:
        kept, kept_size = cache.measure_old_replies(database, _before(older_than_days))
    return PruneSummary(turns, len(old), chat_turns, kept, size + kept_size)


def prune(
    database: sqlite3.Connection, notebook: str, older_than_days: float | None
) -> PruneSummary:
    """Remove turns that are in no chat, and chats not used for so many days."""
    removed = find_prunable(database, notebook, older_than_days)
    for chat_id in _old_chats(database, notebook, older_than_days):
        _delete(database, chat_id)
    database.execute(
        "DELETE FROM turns WHERE replaced_at IS NOT NULL OR removed_at IS NOT NULL"
    )
    if older_than_days is not None:
        cache.delete_old_replies(database, _before(older_than_days))
    _delete_images(database)
    database.execute(
        "DELETE FROM cell_handles WHERE cell_id NOT IN"
        " (SELECT cell_id FROM turns WHERE cell_id IS NOT NULL)"
    )
    database.execute(
        "DELETE FROM notebooks WHERE key <> ? AND id NOT IN"
        " (SELECT notebook_id FROM chats) AND model IS NULL",
        (notebook,),
    )
    return removed


def _old_chats(
    database: sqlite3.Connection, notebook: str, older_than_days: float | None
) -> list[int]:
    """Return chats that were not used for long; never those of ``notebook``.

    Always those that no session can reach any more: the ``main`` of terminals and
    scripts that were left a week ago.
    """
    never = "0000"
    found = database.execute(
        """
        SELECT id FROM named_chats
        WHERE notebook <> :notebook
            AND COALESCE(
                (SELECT MAX(COALESCE(added_at, answered_at)) FROM turns
                    WHERE chat_id = named_chats.id),
                '') < CASE
                    WHEN notebook LIKE :session AND name = :main THEN :left
                    ELSE :old END
        """,
        {
            "notebook": notebook,
            "session": f"{SESSION}_%",
            "main": MAIN_CHAT,
            "left": _before(SESSION_DAYS),
            "old": never if older_than_days is None else _before(older_than_days),
        },
    )
    return [chat_id for (chat_id,) in found]


def _before(days: float) -> str:
    moment = datetime.now(UTC) - timedelta(days=days)
    return moment.isoformat(timespec="microseconds")
