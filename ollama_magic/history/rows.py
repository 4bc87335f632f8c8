"""Turns as rows: the tables of the store, and every statement that touches them.

Knows the schema and maps turns to rows and back. Refuses to know files, faults and
caches: each function does its work inside a transaction that its caller has begun.
Every change of a chat raises its ``revision``, so that other kernels notice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from ollama_magic.conversation import Turn
from ollama_magic.wire import Stats

MAIN_CHAT = "main"

# Small columns first: SQLite reads through a long text to reach what is behind it.
# A row is live until it is replaced (its cell was run again) or removed (undone, its
# cell deleted, or run in another chat); no row is ever deleted.
SCHEMA = """
CREATE TABLE notebooks (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    current_chat TEXT NOT NULL,
    model TEXT,
    model_chosen_at TEXT
);
CREATE TABLE chats (
    id INTEGER PRIMARY KEY,
    notebook_id INTEGER NOT NULL REFERENCES notebooks,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    UNIQUE (notebook_id, name)
);
CREATE TABLE turns (
    uid TEXT PRIMARY KEY,
    chat_id INTEGER NOT NULL REFERENCES chats,
    position INTEGER NOT NULL,
    cell_id TEXT,
    replaces TEXT,
    replaced_at TEXT,
    removed_at TEXT,
    answered_at TEXT NOT NULL,
    based_on TEXT NOT NULL,
    text_hash TEXT NOT NULL,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    starts_afresh INTEGER NOT NULL,
    status TEXT NOT NULL,
    done_reason TEXT NOT NULL,
    stats TEXT NOT NULL,
    request TEXT NOT NULL,
    system TEXT,
    prompt TEXT NOT NULL,
    reply TEXT NOT NULL,
    thinking TEXT NOT NULL
);
CREATE UNIQUE INDEX live_turns ON turns (chat_id, position)
    WHERE replaced_at IS NULL AND removed_at IS NULL;
CREATE INDEX turns_of_cell ON turns (cell_id) WHERE cell_id IS NOT NULL;
CREATE VIEW live AS
    SELECT * FROM turns WHERE replaced_at IS NULL AND removed_at IS NULL;
CREATE VIEW named_chats AS
    SELECT chats.*, notebooks.key AS notebook
    FROM chats JOIN notebooks ON notebooks.id = chats.notebook_id;
"""

_FIELDS = tuple(field.name for field in fields(Turn))
_STATS = frozenset(field.name for field in fields(Stats))


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """One chat of a notebook, as a list of chats shows it."""

    name: str
    turns: int
    """Live turns that asked something."""
    last_model: str
    """The model of the last of them; empty when there is none."""
    last_answered_at: str
    """UTC, ISO 8601; empty when there is none."""


@dataclass(frozen=True, slots=True)
class LiveTurn:
    """Where a turn is."""

    uid: str
    chat_id: int
    cell_id: str


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user of a notebook has chosen for it."""

    current_chat: str = MAIN_CHAT
    model: str | None = None
    model_chosen_at: str | None = None


def utc_now() -> str:
    """Return the time as the store keeps it: UTC, ISO 8601, sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def storable(turn: Turn) -> Turn:
    """Return a turn whose texts SQLite can keep: lone surrogates become ``?``."""
    return replace(
        turn,
        prompt=_encodable(turn.prompt),
        reply=_encodable(turn.reply),
        thinking=_encodable(turn.thinking),
        system=None if turn.system is None else _encodable(turn.system),
    )


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


# -- reading -------------------------------------------------------------------


def find_chat(
    database: sqlite3.Connection, notebook: str, name: str
) -> tuple[int, int] | None:
    """Return a chat's id and revision; None when it has never been written."""
    row: tuple[int, int] | None = database.execute(
        "SELECT id, revision FROM named_chats WHERE notebook = ? AND name = ?",
        (notebook, name),
    ).fetchone()
    return row


def read_turns(database: sqlite3.Connection, chat_id: int) -> tuple[Turn, ...]:
    """Return the live turns of a chat, oldest first."""
    cursor = database.execute(
        "SELECT * FROM live WHERE chat_id = ? ORDER BY position", (chat_id,)
    )
    return tuple(_turn(columns) for columns in _by_name(cursor))


def read_summaries(database: sqlite3.Connection, notebook: str) -> list[ChatSummary]:
    """Return the chats of a notebook, oldest first."""
    rows = database.execute(
        """
        SELECT
            named_chats.name,
            (SELECT COUNT(*) FROM live
                WHERE chat_id = named_chats.id AND model <> ''),
            COALESCE(last.model, ''),
            COALESCE(last.answered_at, '')
        FROM named_chats LEFT JOIN turns AS last ON last.uid = (
            SELECT uid FROM live WHERE chat_id = named_chats.id AND model <> ''
            ORDER BY position DESC LIMIT 1)
        WHERE named_chats.notebook = ?
        ORDER BY named_chats.id
        """,
        (notebook,),
    )
    return [ChatSummary(*row) for row in rows]


def read_choices(database: sqlite3.Connection, notebook: str) -> Choices:
    """Return what was chosen for a notebook."""
    row = database.execute(
        "SELECT current_chat, model, model_chosen_at FROM notebooks WHERE key = ?",
        (notebook,),
    ).fetchone()
    return Choices(*row) if row else Choices()


def find_turns_of_cell(
    database: sqlite3.Connection, notebook: str, cell_id: str
) -> list[LiveTurn]:
    """Return the live turns of a cell, in all chats of its notebook.

    A cell that asked several times in one run has them under ``ID``, ``ID 2``, ...
    """
    rows = database.execute(
        # "!" comes after the blank: the range is the id, and the id with a blank.
        # The plus keeps SQLite from searching by chat, which would read all turns.
        """
        SELECT uid, chat_id, cell_id FROM live
        WHERE cell_id >= :id AND cell_id < :id || '!'
            AND +chat_id IN (SELECT id FROM named_chats WHERE notebook = :notebook)
        """,
        {"id": cell_id, "notebook": notebook},
    )
    return [LiveTurn(*row) for row in rows]


# -- writing -------------------------------------------------------------------


def write_choices(
    database: sqlite3.Connection, notebook: str, choices: Choices
) -> None:
    """Keep what was chosen for a notebook."""
    database.execute(
        "UPDATE notebooks SET current_chat = ?, model = ?, model_chosen_at = ?"
        " WHERE id = ?",
        (
            choices.current_chat,
            choices.model,
            choices.model_chosen_at,
            _make_notebook(database, notebook),
        ),
    )


def make_chat(database: sqlite3.Connection, notebook: str, name: str) -> int:
    """Return the id of a chat, made when it is new."""
    notebook_id = _make_notebook(database, notebook)
    database.execute(
        "INSERT OR IGNORE INTO chats (notebook_id, name) VALUES (?, ?)",
        (notebook_id, name),
    )
    chat_id: int = database.execute(
        "SELECT id FROM chats WHERE notebook_id = ? AND name = ?", (notebook_id, name)
    ).fetchone()[0]
    return chat_id


def add_turn(
    database: sqlite3.Connection, chat_id: int, turn: Turn, *, replaces: str | None
) -> int:
    """Add a turn at the end, or in the place of one; return the new revision."""
    if replaces is None:
        (position,) = database.execute(
            "SELECT COALESCE(MAX(position), 0) + 1 FROM live WHERE chat_id = ?",
            (chat_id,),
        ).fetchone()
    else:
        (position,) = database.execute(
            "SELECT position FROM turns WHERE uid = ?", (replaces,)
        ).fetchone()
        database.execute(
            "UPDATE turns SET replaced_at = ? WHERE uid = ?",
            (turn.answered_at, replaces),
        )
    database.execute(
        """
        INSERT INTO turns VALUES (
            :uid, :chat_id, :position, :cell_id, :replaces, NULL, NULL, :answered_at,
            :based_on, :text_hash, :model, :digest, :starts_afresh, :status,
            :done_reason, :stats, :request, :system, :prompt, :reply, :thinking)
        """,
        {
            **{name: getattr(turn, name) for name in _FIELDS},
            "stats": json.dumps(asdict(turn.stats)),
            "request": json.dumps(dict(turn.request), default=str),
            "chat_id": chat_id,
            "position": position,
            "replaces": replaces,
        },
    )
    return _raise_revision(database, chat_id)


def remove_turn(database: sqlite3.Connection, uid: str, chat_id: int) -> None:
    """Take a turn out of its chat."""
    database.execute("UPDATE turns SET removed_at = ? WHERE uid = ?", (utc_now(), uid))
    _raise_revision(database, chat_id)


def take_back(database: sqlite3.Connection, chat_id: int) -> Turn | None:
    """Remove the last turn, let what it replaced live again, and return it.

    A version with the same text is passed over: it came from running all cells again,
    and to see it come back would look as if nothing had been taken back.
    """
    cursor = database.execute(
        "SELECT * FROM live WHERE chat_id = ? ORDER BY position DESC LIMIT 1",
        (chat_id,),
    )
    for columns in _by_name(cursor):
        remove_turn(database, columns["uid"], chat_id)
        earlier = _earlier_version(database, columns["uid"], columns["text_hash"])
        database.execute(
            "UPDATE turns SET replaced_at = NULL WHERE uid = ?", (earlier,)
        )
        return _turn(columns)
    return None


def _earlier_version(
    database: sqlite3.Connection, uid: str, text_hash: str
) -> str | None:
    """Return the last version of a turn with another text; None when there is none."""
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


def put_back(
    database: sqlite3.Connection,
    notebook: str,
    name: str,
    turns: Iterable[Turn],
    revision: int,
) -> None:
    """Write a chat as it was known, into a database that may not have it."""
    if find_chat(database, notebook, name) is not None:
        return
    chat_id = make_chat(database, notebook, name)
    for turn in turns:
        add_turn(database, chat_id, turn, replaces=None)
    database.execute("UPDATE chats SET revision = ? WHERE id = ?", (revision, chat_id))


def _make_notebook(database: sqlite3.Connection, key: str) -> int:
    database.execute(
        "INSERT OR IGNORE INTO notebooks (key, current_chat) VALUES (?, ?)",
        (key, MAIN_CHAT),
    )
    notebook_id: int = database.execute(
        "SELECT id FROM notebooks WHERE key = ?", (key,)
    ).fetchone()[0]
    return notebook_id


def _raise_revision(database: sqlite3.Connection, chat_id: int) -> int:
    database.execute(
        "UPDATE chats SET revision = revision + 1 WHERE id = ?", (chat_id,)
    )
    revision: int = database.execute(
        "SELECT revision FROM chats WHERE id = ?", (chat_id,)
    ).fetchone()[0]
    return revision


def _by_name(cursor: sqlite3.Cursor) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor.fetchall())


def _turn(columns: Mapping[str, Any]) -> Turn:
    # A newer version may count more than this one knows.
    stats = {k: v for k, v in json.loads(columns["stats"]).items() if k in _STATS}
    return Turn(
        **{
            **{name: columns[name] for name in _FIELDS},
            "stats": Stats(**stats),
            "request": json.loads(columns["request"]),
            "starts_afresh": bool(columns["starts_afresh"]),
        }
    )
