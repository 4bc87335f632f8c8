"""Read and write turns, chats and notebooks as rows of the store.

Each function works inside its caller's transaction. Every change of a chat raises its
``revision``, which is how other kernels notice it.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from sqlite3 import Connection
from typing import Any, Literal, NamedTuple

from ollama_magic.history.notebooks import SESSION_PREFIX
from ollama_magic.history.turns import (
    MAIN_CHAT,
    Chat,
    Turn,
    utc_now,
    without_surrogates,
)
from ollama_magic.history.untrusted_file import TURN_COLUMNS, as_turns

RemovalReason = Literal["dropped", "deleted", "moved", "undone"]
"""Why a turn was removed: by the user, with its cell, to another chat, or by undo."""


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """One entry in the list of a notebook's chats."""

    name: str
    turns: int
    """The number of live turns, without markers."""
    last_model: str
    """The model of the last turn; empty if there is none."""
    last_answered_at: str
    """UTC, ISO 8601; empty if there is no turn."""
    characters: int
    """The length of all prompts, replies and thinking."""


class TurnLocation(NamedTuple):
    """The chat and cell of a live turn."""

    uid: str
    chat_id: int
    cell_id: str


class NotebookState(NamedTuple):
    """The current chat and the chosen model of a notebook."""

    current_chat: str = MAIN_CHAT
    model: str | None = None


# -- reading -------------------------------------------------------------------


def value_of(database: Connection, statement: str, *values: object) -> Any:  # noqa: ANN401  (a column)
    """Return the first column of the first row of a statement; None without a row."""
    row = database.execute(statement, values).fetchone()
    return row[0] if row else None


def storage_key(notebook: str, chat: str) -> str:
    """Return the key of the notebook that a chat is stored under.

    Without a notebook file, a session has its own ``main`` chat, and shares named
    chats with all other such sessions.
    """
    is_named = notebook.startswith(SESSION_PREFIX) and chat != MAIN_CHAT
    return SESSION_PREFIX if is_named else notebook


def storage_keys(notebook: str) -> tuple[str, str]:
    """Return the keys that the chats of a notebook are stored under."""
    return notebook, SESSION_PREFIX if notebook.startswith(SESSION_PREFIX) else notebook


def find_chat(database: Connection, notebook: str, name: str) -> tuple[int, int] | None:
    """Return a chat's id and revision; None if it was never written."""
    row: tuple[int, int] | None = database.execute(
        "SELECT id, revision FROM named_chats WHERE notebook = ? AND name = ?",
        (storage_key(notebook, name), name),
    ).fetchone()
    return row


def read_turns(database: Connection, chat_id: int) -> tuple[Turn, ...]:
    """Return the live turns of a chat, oldest first."""
    found = database.execute(
        "SELECT * FROM live WHERE chat_id = ? ORDER BY position", (chat_id,)
    )
    return tuple(as_turns(database, found))


def read_all_turns(
    database: Connection, notebook: str, chat: str
) -> list[tuple[Turn, str]]:
    """Return every turn that a chat ever had, and why it is no longer live.

    Turns are sorted by position, then by time. The reason is empty for a live turn,
    else ``replaced`` or a ``RemovalReason``; ``removed`` if none was recorded.
    """
    found = database.execute(
        "SELECT * FROM turns WHERE chat_id IN"
        " (SELECT id FROM named_chats WHERE notebook = ? AND name = ?)"
        " ORDER BY position, COALESCE(added_at, answered_at)",
        (storage_key(notebook, chat), chat),
    ).fetchall()
    reasons = map(_removal_reason, found)
    return list(zip(as_turns(database, found), reasons, strict=True))


def _removal_reason(row: sqlite3.Row) -> str:
    if row["removed_at"] is not None:
        return str(row["removed_why"] or "removed")
    return "replaced" if row["replaced_at"] is not None else ""


def read_summaries(database: Connection, notebook: str) -> list[ChatSummary]:
    """Return the chats of a notebook, oldest first."""
    rows = database.execute(
        """
        SELECT
            named_chats.name,
            (SELECT COUNT(*) FROM live
                WHERE chat_id = named_chats.id AND model <> ''),
            COALESCE(last.model, ''),
            COALESCE(last.answered_at, ''),
            (SELECT
                COALESCE(SUM(LENGTH(prompt) + LENGTH(reply) + LENGTH(thinking)), 0)
                FROM live WHERE chat_id = named_chats.id)
        FROM named_chats LEFT JOIN turns AS last ON last.uid = (
            SELECT uid FROM live WHERE chat_id = named_chats.id AND model <> ''
            ORDER BY position DESC LIMIT 1)
        WHERE named_chats.notebook IN (?, ?)
        ORDER BY named_chats.id
        """,
        storage_keys(notebook),
    )
    return [ChatSummary(*row) for row in rows]


def read_notebook_state(database: Connection, notebook: str) -> NotebookState:
    """Return the state of a notebook."""
    row = database.execute(
        "SELECT current_chat, model FROM notebooks WHERE key = ?",
        (notebook,),
    ).fetchone()
    return NotebookState(*row) if row else NotebookState()


def find_turns_of_cell(
    database: Connection, notebook: str, cell_id: str
) -> list[TurnLocation]:
    """Return the live turns of a cell, in all chats of its notebook.

    Several turns from one run of a cell have the ids ``ID``, ``ID 2``, ...
    """
    rows = database.execute(
        # "!" sorts after the blank: the range is the id, and the id with a blank.
        # The plus stops SQLite from searching by chat, which would read all turns.
        """
        SELECT uid, chat_id, cell_id FROM live
        WHERE cell_id >= :id AND cell_id < :id || '!'
            AND +chat_id IN
                (SELECT id FROM named_chats WHERE notebook IN (:own, :shared))
        """,
        {"id": cell_id, "own": notebook, "shared": storage_keys(notebook)[1]},
    )
    return [TurnLocation(*row) for row in rows]


# -- writing -------------------------------------------------------------------

_LAST_POSITION = "SELECT COALESCE(MAX(position), 0) FROM turns WHERE chat_id = ?"


def update_notebook(
    database: Connection, /, notebook: str, **values: str | None
) -> NotebookState:
    """Set columns of a notebook, and return its new state."""
    columns = ", ".join(f"{name} = :{name}" for name in values)
    database.execute(
        f"UPDATE notebooks SET {columns} WHERE id = :id",  # noqa: S608  (our own names)
        {**values, "id": get_or_create_notebook(database, notebook)},
    )
    return read_notebook_state(database, notebook)


def set_current_chat(database: Connection, notebook: str, name: str) -> NotebookState:
    """Make a chat the current one of a notebook; create it if it is new."""
    get_or_create_chat(database, notebook, name)
    return update_notebook(database, notebook, current_chat=name)


def get_or_create_notebook(database: Connection, key: str) -> int:
    """Return the id of a notebook; a new one is created with its key as its path."""
    path = None if key.startswith(SESSION_PREFIX) else key
    database.execute(
        "INSERT OR IGNORE INTO notebooks (key, current_chat, path) VALUES (?, ?, ?)",
        (key, MAIN_CHAT, path),
    )
    return int(value_of(database, "SELECT id FROM notebooks WHERE key = ?", key))


def get_or_create_chat(database: Connection, notebook: str, name: str) -> int:
    """Return the id of a chat, which is created if it is new."""
    notebook_id = get_or_create_notebook(database, storage_key(notebook, name))
    # NB: revisions begin with the time. A chat that was deleted and created again must
    # not look like the old one to a kernel that has that in memory.
    database.execute(
        "INSERT OR IGNORE INTO chats (notebook_id, name, revision) VALUES (?, ?, ?)",
        (notebook_id, name, time.time_ns() // 1_000_000),
    )
    find = "SELECT id FROM chats WHERE notebook_id = ? AND name = ?"
    return int(value_of(database, find, notebook_id, name))


def storable(turn: Turn) -> Turn:
    """Return a turn with texts that SQLite can store: lone surrogates become ``?``."""
    return replace(
        turn,
        prompt=without_surrogates(turn.prompt),
        reply=without_surrogates(turn.reply),
        thinking=without_surrogates(turn.thinking),
        system=None if turn.system is None else without_surrogates(turn.system),
    )


def new_turn(turn: Turn, moment: str) -> Turn:
    """Return a turn that can be added: with uid, times and text hash."""
    stored = replace(
        storable(turn),
        uid=uuid.uuid4().hex,
        answered_at=turn.answered_at or moment,
        added_at=moment,
    )
    return replace(stored, text_hash=stored.compute_text_hash())


def add_turn(
    database: Connection,
    chat_id: int,
    turn: Turn,
    *,
    replaces: str | None = None,
) -> None:
    """Add a turn at the end, or in place of another.

    Parameters
    ----------
    replaces
        The uid of the live turn to replace.
    """
    if replaces is None:
        # Removed turns keep their positions: undo may restore them.
        position = value_of(database, _LAST_POSITION, chat_id) + 1
    else:
        find = "SELECT position FROM turns WHERE uid = ?"
        position = value_of(database, find, replaces)
        database.execute(
            "UPDATE turns SET replaced_at = ? WHERE uid = ?",
            (turn.added_at or turn.answered_at, replaces),
        )
    database.execute(
        """
        INSERT INTO turns VALUES (
            :uid, :chat_id, :position, :cell_id, :replaces, NULL, NULL, :answered_at,
            :based_on, :text_hash, :model, :digest, :starts_afresh, :status,
            :done_reason, :stats, :request, :system, :prompt, :reply, :thinking, NULL,
            :added_at, :steps, :pictures, :origin)
        """,
        {
            **{name: getattr(turn, name) for name in TURN_COLUMNS},
            "stats": json.dumps(asdict(turn.stats)),
            "request": json.dumps(dict(turn.request), default=str),
            "steps": json.dumps(turn.steps) if turn.steps else None,
            "pictures": _store_images(database, turn),
            "chat_id": chat_id,
            "position": position,
            "replaces": replaces,
        },
    )
    _bump_chat(database, chat_id)


def set_order(
    database: Connection,
    chat_id: int,
    present: Sequence[Turn],
    wanted: Sequence[Turn],
) -> int:
    """Set the order of the live turns of a chat, and return the new revision.

    Turns are moved to the end, apart from those that ``present`` and ``wanted`` begin
    with.
    """
    pairs = zip(present, wanted, strict=False)
    in_place = len(list(takewhile(lambda pair: pair[0].uid == pair[1].uid, pairs)))
    last = value_of(database, _LAST_POSITION, chat_id)
    # The earlier versions of a turn have its position, and move with it.
    database.executemany(
        "UPDATE turns SET position = ? WHERE chat_id = ? AND position ="
        " (SELECT position FROM turns WHERE uid = ?)",
        [
            (place, chat_id, turn.uid)
            for place, turn in enumerate(wanted[in_place:], last + 1)
        ],
    )
    return _bump_chat(database, chat_id)


def _store_images(database: Connection, turn: Turn) -> str | None:
    """Store the images of a turn, each once, and return their digests as JSON."""
    database.executemany(
        "INSERT OR IGNORE INTO pictures (digest, data) VALUES (?, ?)",
        [(image.digest, image.data) for image in turn.images],
    )
    digests = [image.digest for image in turn.images]
    return json.dumps(digests) if digests else None


def replace_turn(database: Connection, uid: str, *, of: str) -> None:
    """Replace a turn by another turn of the same chat, in its position."""
    database.execute("UPDATE turns SET replaced_at = ? WHERE uid = ?", (utc_now(), of))
    database.execute(
        "UPDATE turns SET replaces = :of,"
        " position = (SELECT position FROM turns WHERE uid = :of) WHERE uid = :uid",
        {"of": of, "uid": uid},
    )
    bump_revision(database, uid)


def remove_turn(database: Connection, uid: str, *, why: RemovalReason, at: str) -> None:
    """Remove a turn from its chat; its row stays."""
    database.execute(
        "UPDATE turns SET removed_at = ?, removed_why = ? WHERE uid = ?", (at, why, uid)
    )
    bump_revision(database, uid)


def remove_from_other_chats(
    database: Connection, notebook: str, turn: Turn, chat_id: int
) -> None:
    """Remove turns of the cell of a new turn from all chats of its notebook but one."""
    if turn.cell_id is None:
        return
    at = turn.added_at or turn.answered_at
    for other in find_turns_of_cell(database, notebook, turn.cell_id):
        if other.chat_id != chat_id and other.cell_id == turn.cell_id:
            remove_turn(database, other.uid, why="moved", at=at)


def write_chat(database: Connection, notebook: str, chat: Chat) -> int:
    """Write a chat that the database does not have, and return its id."""
    chat_id = get_or_create_chat(database, notebook, chat.name)
    for turn in chat.turns:
        add_turn(database, chat_id, turn)
    return chat_id


def restore_chat(
    database: Connection, notebook: str, chat: Chat, revision: int
) -> None:
    """Write a chat from memory, unless the database has it."""
    if find_chat(database, notebook, chat.name) is None:
        chat_id = write_chat(database, notebook, chat)
        database.execute(
            "UPDATE chats SET revision = ? WHERE id = ?", (revision, chat_id)
        )


def bump_revision(database: Connection, uid: str) -> None:
    """Raise the revision of the chat whose turn has changed."""
    find = "SELECT chat_id FROM turns WHERE uid = ?"
    _bump_chat(database, value_of(database, find, uid))


def _bump_chat(database: Connection, chat_id: int) -> int:
    database.execute(
        "UPDATE chats SET revision = revision + 1 WHERE id = ?", (chat_id,)
    )
    return int(value_of(database, "SELECT revision FROM chats WHERE id = ?", chat_id))


def find_versions(database: Connection, turn: Turn) -> dict[str, str]:
    """Return the versions of a turn, oldest first: their uids by the hash of the text.

    They are the turns that it replaced, and those that an undo removed.
    """
    found = database.execute(
        """
        WITH RECURSIVE versions (uid, replaces) AS (
            SELECT uid, replaces FROM turns WHERE uid = :uid
            UNION
            SELECT turns.uid, turns.replaces FROM versions JOIN turns
            ON turns.uid = versions.replaces
                OR (turns.cell_id = :cell_id AND turns.replaces = versions.uid))
        SELECT text_hash, turns.uid FROM turns JOIN versions USING (uid)
        WHERE model <> '' ORDER BY COALESCE(added_at, answered_at)
        """,
        {"uid": turn.uid, "cell_id": turn.cell_id},
    )
    versions: dict[str, str] = {}
    for text_hash, uid in found:
        versions.setdefault(text_hash, uid)
    return versions
