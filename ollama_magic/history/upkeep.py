"""Chats renamed and deleted, and the store kept small.

Here, and nowhere else, rows are deleted: when the user asked for it. Refuses to know
files and caches, as ``rows`` does.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ollama_magic.history import cache_rows as answers
from ollama_magic.history import rows
from ollama_magic.history.schema import MAIN_CHAT, SESSION

SESSION_DAYS = 7
"""After so many days without use the ``main`` chat of a session is a leftover."""


@dataclass(frozen=True, slots=True)
class Leftovers:
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
    def is_nothing(self) -> bool:
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
        _delete_pictures(database)


def _delete(database: sqlite3.Connection, chat_id: int) -> None:
    database.execute("DELETE FROM turns WHERE chat_id = ?", (chat_id,))
    database.execute("DELETE FROM chats WHERE id = ?", (chat_id,))


def _delete_pictures(database: sqlite3.Connection) -> None:
    """Delete the pictures that no turn has any more."""
    database.execute(
        "DELETE FROM pictures WHERE digest NOT IN"
        " (SELECT value FROM turns, json_each(turns.pictures))"
    )


def find_leftovers(
    database: sqlite3.Connection, notebook: str, older_than_days: float | None
) -> Leftovers:
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
        kept, kept_size = answers.measure(database, _before(older_than_days))
    return Leftovers(turns, len(old), chat_turns, kept, size + kept_size)


def prune(
    database: sqlite3.Connection, notebook: str, older_than_days: float | None
) -> Leftovers:
    """Remove turns that are in no chat, and chats not used for so many days."""
    leftovers = find_leftovers(database, notebook, older_than_days)
    for chat_id in _old_chats(database, notebook, older_than_days):
        _delete(database, chat_id)
    database.execute(
        "DELETE FROM turns WHERE replaced_at IS NOT NULL OR removed_at IS NOT NULL"
    )
    if older_than_days is not None:
        answers.forget(database, _before(older_than_days))
    _delete_pictures(database)
    database.execute(
        "DELETE FROM cell_handles WHERE cell_id NOT IN"
        " (SELECT cell_id FROM turns WHERE cell_id IS NOT NULL)"
    )
    database.execute(
        "DELETE FROM notebooks WHERE key <> ? AND id NOT IN"
        " (SELECT notebook_id FROM chats) AND model IS NULL",
        (notebook,),
    )
    return leftovers


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
