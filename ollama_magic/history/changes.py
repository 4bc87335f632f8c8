"""Change chats in ways other than adding a turn: rename, delete, insert, undo, prune.

``store`` calls these functions inside a transaction. Only ``delete_chat`` and
``prune`` delete rows, when the user asks for it; the other functions only mark turns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection

from ollama_magic.history import cache, rows
from ollama_magic.history.notebooks import SESSION_PREFIX
from ollama_magic.history.rows import find_versions
from ollama_magic.history.turns import MAIN_CHAT, Chat, Turn, utc_now
from ollama_magic.history.untrusted_file import as_turns

SESSION_DAYS = 7
"""After so many days without use, the ``main`` chat of a session can be pruned."""

_OF_NOTEBOOK = """
chat_id IN (SELECT id FROM chats WHERE notebook_id =
    (SELECT notebook_id FROM chats WHERE id = :chat))
"""


@dataclass(frozen=True, slots=True)
class UndoResult:
    """The turns that an undo removed or restored."""

    removed: tuple[Turn, ...] = ()
    restored: tuple[Turn, ...] = ()
    why: str = ""
    """Why the restored turns were not live: ``replaced``, or a ``RemovalReason``."""


@dataclass(frozen=True, slots=True)
class PruneSummary:
    """What ``prune`` can delete, or has deleted."""

    turns: int
    """Discarded turns: replaced, dropped, undone, or of deleted cells."""
    chats: int
    """Chats that have not been used for a while."""
    chat_turns: int
    """Live turns in those chats."""
    answers: int
    """Cached replies of the same age."""
    size_bytes: int
    """The approximate size of all of it."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to delete."""
        return not (self.turns or self.chats or self.answers)


def rename_chat(database: Connection, notebook: str, chat: str, name: str) -> bool:
    """Rename a chat; return False if the name is taken."""
    if rows.find_chat(database, notebook, name) is not None:
        return False
    chat_id = rows.get_or_create_chat(database, notebook, chat)
    # Without a known notebook, named chats have another key than ``main``.
    key = rows.storage_key(notebook, name)
    notebook_id = rows.get_or_create_notebook(database, key)
    database.execute(
        "UPDATE chats SET name = ?, notebook_id = ?, revision = revision + 1"
        " WHERE id = ?",
        (name, notebook_id, chat_id),
    )
    _replace_current(database, notebook, chat, name)
    return True


def delete_chat(database: Connection, notebook: str, chat: str) -> None:
    """Delete a chat with all its turns, if it exists."""
    found = rows.find_chat(database, notebook, chat)
    if found is not None:
        _delete_chat(database, found[0])
        _delete_images(database)
    _replace_current(database, notebook, chat, MAIN_CHAT)


def _replace_current(database: Connection, notebook: str, chat: str, name: str) -> None:
    database.execute(
        "UPDATE notebooks SET current_chat = ? WHERE key = ? AND current_chat = ?",
        (name, notebook, chat),
    )


def _delete_chat(database: Connection, chat_id: int) -> None:
    database.execute("DELETE FROM turns WHERE chat_id = ?", (chat_id,))
    database.execute("DELETE FROM chats WHERE id = ?", (chat_id,))


def _delete_images(database: Connection) -> None:
    """Delete images that no turn has any more."""
    database.execute(
        "DELETE FROM pictures WHERE digest NOT IN"
        " (SELECT value FROM turns, json_each(turns.pictures))"
    )


def trust_turns(database: Connection, uids: Collection[str]) -> None:
    """Mark turns from a file as trusted by the user."""
    for uid in uids:
        database.execute(
            "UPDATE turns SET origin = 'trusted' WHERE uid = ? AND origin = 'file'",
            (uid,),
        )
        rows.bump_revision(database, uid)


def drop_cells(database: Connection, notebook: str, cell_ids: Collection[str]) -> None:
    """Remove the turns of deleted cells from all chats of a notebook."""
    now = utc_now()
    for cell_id in cell_ids:
        for turn in rows.find_turns_of_cell(database, notebook, cell_id):
            rows.remove_turn(database, turn.uid, why="deleted", at=now)


def insert_turns(database: Connection, notebook: str, chats: Iterable[Chat]) -> None:
    """Set the turns of chats, in this order, as one change that undo can revert.

    Turns with a uid are live turns of their chat. The others are added; each replaces
    the live turn of its cell, unless that is among the turns too, and removes it from
    other chats of the notebook. Other live turns of the chat stay, at the front.
    """
    moment = utc_now()
    for chat in chats:
        _insert_turns(database, notebook, chat, moment)


def _insert_turns(database: Connection, notebook: str, chat: Chat, moment: str) -> None:
    chat_id = rows.get_or_create_chat(database, notebook, chat.name)
    live = rows.read_turns(database, chat_id)
    named = {turn.uid for turn in chat.turns}
    replaced = {t.cell_id: t.uid for t in live if t.cell_id and t.uid not in named}
    turns = []
    for turn in chat.turns:
        if not turn.uid:
            turn = rows.new_turn(turn, moment)  # noqa: PLW2901
            rows.remove_from_other_chats(database, notebook, turn, chat_id)
            replaces = replaced.get(turn.cell_id or "")
            rows.add_turn(database, chat_id, turn, replaces=replaces)
        turns.append(turn)
    rows.set_order(database, chat_id, live, turns)


def undo_last_change(
    database: Connection, notebook: str, chat: str
) -> UndoResult | None:
    """Undo the last change of a chat; return None if there is none.

    A change is everything that happened at one moment, in other chats of the notebook
    too: a turn that had moved to this chat returns to where it was.
    """
    chat_id, _ = rows.find_chat(database, notebook, chat) or (0, 0)
    moment = _last_moment(database, chat_id)
    if moment is None:
        return None
    restored, why = [], ""
    removed = _turns_added(database, chat_id, moment)
    for turn in removed:
        rows.remove_turn(database, turn.uid, why="undone", at=utc_now())
        earlier = _earlier_version(database, turn)
        if earlier is not None:
            restored.append(_restore_turn(database, earlier))
            why = "replaced"
    for uid, reason in _turns_removed(database, chat_id, moment):
        restored.append(_restore_turn(database, uid))
        why = reason
    return UndoResult(tuple(removed), tuple(restored), why)


def _last_moment(database: Connection, chat_id: int) -> str | None:
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


def _turns_added(database: Connection, chat_id: int, moment: str) -> list[Turn]:
    found = database.execute(
        f"""
        SELECT * FROM live
        WHERE COALESCE(added_at, answered_at) = :moment AND {_OF_NOTEBOOK}
        """,  # noqa: S608  (our own constant)
        {"chat": chat_id, "moment": moment},
    )
    return as_turns(database, found)


def _turns_removed(
    database: Connection, chat_id: int, moment: str
) -> list[tuple[str, str]]:
    return database.execute(
        f"""
        SELECT uid, removed_why FROM turns
        WHERE removed_at = :moment AND removed_why <> 'undone' AND {_OF_NOTEBOOK}
        ORDER BY chat_id, position
        """,  # noqa: S608  (our own constant)
        {"chat": chat_id, "moment": moment},
    ).fetchall()


def _restore_turn(database: Connection, uid: str) -> Turn:
    database.execute(
        "UPDATE turns SET replaced_at = NULL, removed_at = NULL, removed_why = NULL"
        " WHERE uid = ?",
        (uid,),
    )
    rows.bump_revision(database, uid)
    found = database.execute("SELECT * FROM turns WHERE uid = ?", (uid,))
    return as_turns(database, found)[0]


def _earlier_version(database: Connection, turn: Turn) -> str | None:
    """Return the latest version of a turn with another text, if there is one.

    Versions with the same text come from running all cells again; restoring one would
    look as if nothing had been undone.
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
        {"uid": turn.uid, "text_hash": turn.text_hash},
    ).fetchone()
    return row[0] if row else None


def read_versions(database: Connection, turn: Turn) -> list[Turn]:
    """Return the versions of a turn, oldest first."""
    uids = list(find_versions(database, turn).values())
    marks = ", ".join("?" * len(uids))
    found = database.execute(
        f"SELECT * FROM turns WHERE uid IN ({marks})",  # noqa: S608  (question marks)
        uids,
    )
    return sorted(as_turns(database, found), key=lambda one: uids.index(one.uid))


def find_prunable(
    database: Connection, notebook: str, older_than_days: float | None
) -> PruneSummary:
    """Return what ``prune`` would delete."""
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
    database: Connection, notebook: str, older_than_days: float | None
) -> PruneSummary:
    """Delete discarded turns, and chats and replies older than so many days."""
    summary = find_prunable(database, notebook, older_than_days)
    for chat_id in _old_chats(database, notebook, older_than_days):
        _delete_chat(database, chat_id)
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
    return summary


def _old_chats(
    database: Connection, notebook: str, older_than_days: float | None
) -> list[int]:
    """Return chats that have not been used for so long; never those of ``notebook``.

    This always includes chats that no session can reach any more: the ``main`` of
    terminals and scripts that ended a week ago.
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
            "session": f"{SESSION_PREFIX}_%",
            "main": MAIN_CHAT,
            "left": _before(SESSION_DAYS),
            "old": never if older_than_days is None else _before(older_than_days),
        },
    )
    return [chat_id for (chat_id,) in found]


def _before(days: float) -> str:
    moment = datetime.now(UTC) - timedelta(days=days)
    return moment.isoformat(timespec="microseconds")
