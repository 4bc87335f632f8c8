"""Which notebook of the store is the one at a path: the chat follows the notebook.

A kernel knows a path, and paths change hands: files are renamed, moved, copied and
written over. So a path is only where a notebook was seen last. What a notebook *is* is
told by its turns: a turn belongs to a notebook that has the cell that asked it, or
shows its answer (``NotebookFile.has_turn``). The rule, in order:

1. A notebook that was seen at this path is this one. Unless the file has changed since
   its last turn and has none of its cells: then another notebook is here now, and the
   old one is left aside, without a path. A file that lags behind the screen is older
   than the turns that it lacks, and proves nothing; nor does one of a clock that is
   ahead, or any while a cell is running that the notebook knows.
2. Else the notebook that shares most turns with the file, and at least half of its
   own: if nothing is at the path where it was seen last, it has **moved** here. If that
   file is still there, this one is a **copy** and gets a copy of the chats. But not if
   that file shows answers and this one none of them: both were made from one template.
3. Else it is new.

So nothing is shared on the word of a path alone where cells can speak, and what is
not recognised is kept. Ids of cells exist since nbformat 4.5; without them, and where
a front end names no cell that the file has (see ``naming``), only answers can speak.
Refuses to know what a front end is, as ``rows`` does.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ollama_magic.history import rows
from ollama_magic.history.notebook_file import NotebookFile, stable_cell_id

MatchKind = Literal["known", "moved", "copied", "new"]
ReadFile = Callable[[str], NotebookFile | None]


@dataclass(frozen=True, slots=True)
class NotebookMatch:
    """What the notebook at a path turned out to be."""

    key: str
    """What the store knows it by."""
    how: MatchKind
    source: str = ""
    """The path that it moved or was copied from, where it had one."""
    replaced_other: bool = False
    """Whether another notebook was seen at this path before."""


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    key: str
    path: str | None


@dataclass(frozen=True, slots=True)
class PlannedUpdate:
    """What is to be done about the notebook at a path."""

    how: MatchKind
    found: _Row | None = None
    aside: _Row | None = None
    has_free_key: bool = True
    """Whether no other notebook has this path for its key."""

    @property
    def changes_nothing(self) -> bool:
        """Whether nothing has to be written."""
        return self.how == "known" or (
            self.how == "new" and self.aside is None and self.has_free_key
        )

    def unchanged(self, path: str) -> NotebookMatch:
        """Return the notebook at ``path``, where nothing had to be written."""
        return NotebookMatch(self.found.key if self.found else path, self.how)


def plan_update(
    database: sqlite3.Connection, path: str, cell_id: str | None, read: ReadFile
) -> PlannedUpdate:
    """Tell which notebook is at ``path``; reads the store and files, writes nothing.

    Parameters
    ----------
    cell_id
        The cell that is running, if the front end told.
    read
        Returns what the file at a path tells.
    """
    file = read(path)
    here = _at(database, path)
    if here and not (file and _is_another(database, here, file, cell_id)):
        return PlannedUpdate("known", here)
    match = _best_match(database, file, here) if file else None
    how: MatchKind = "new"
    if file and match:
        was_left = match.path is None or not Path(match.path).exists()
        how = "moved" if was_left else "copied"
        if how == "copied" and _is_sibling(database, match, file, read):
            how, match = "new", None
    taken = database.execute("SELECT 1 FROM notebooks WHERE key = ?", (path,))
    return PlannedUpdate(how, match, here, taken.fetchone() is None)


def apply_update(
    database: sqlite3.Connection, path: str, decision: PlannedUpdate
) -> NotebookMatch:
    """Do what was decided, and return the notebook that is at ``path`` now."""
    found, aside = decision.found, decision.aside
    if decision.changes_nothing:
        return decision.unchanged(path)
    if aside is not None:
        _set_path(database, aside.id, None)
    if found is not None and decision.how == "moved":
        _set_path(database, found.id, path)
        key = found.key
    else:
        key = path if decision.has_free_key else f"{path}#{uuid.uuid4().hex}"
        notebook_id = rows.get_or_create_notebook(database, key)
        _set_path(database, notebook_id, path)
        if found is not None:
            _copy(database, found.id, notebook_id)
    source = (found.path if found else None) or ""
    return NotebookMatch(key, decision.how, source, replaced_other=aside is not None)


# -- evidence --------------------------------------------------------------------


def _at(database: sqlite3.Connection, path: str) -> _Row | None:
    row = database.execute(
        "SELECT id, key, path FROM notebooks WHERE path = ? ORDER BY id DESC LIMIT 1",
        (path,),
    ).fetchone()
    return _Row(*row) if row else None


def _is_another(
    database: sqlite3.Connection, here: _Row, file: NotebookFile, cell_id: str | None
) -> bool:
    """Tell whether the file was changed since, and has nothing of this notebook."""
    if not file.has_ids:
        return False
    names, last = set(), ""
    for turn_cell, prompt, answered_at in _turns(database, here.id, "turns"):
        names.add(stable_cell_id(turn_cell))
        last = max(last, answered_at)
        if answered_at in file.answers or (file.is_numbered and file.asks(prompt)):
            return False
    names.discard("")
    known = file.cell_ids | {stable_cell_id(cell_id)}
    is_later = last < file.changed_at <= rows.utc_now()
    return bool(names) and not names & known and is_later


def _best_match(
    database: sqlite3.Connection, file: NotebookFile, here: _Row | None
) -> _Row | None:
    """Return the notebook that shares most turns with the file, and half of its own."""
    best, best_rank = None, (0, 0, False, "")
    for row in _candidates(database, file):
        # A turn that no cell asked (``ask``, an import) speaks only where it is shown.
        turns = [
            turn
            for turn in _turns(database, row.id, "live")
            if turn[0] or turn[2] in file.answers
        ]
        shared = sum(file.has_turn(*turn) for turn in turns)
        if (here and row.id == here.id) or not shared or 2 * shared < len(turns):
            continue
        was_left = row.path is None or not Path(row.path).exists()
        rank = (shared, shared - len(turns), was_left, max(turn[2] for turn in turns))
        if rank > best_rank:
            best, best_rank = row, rank
    return best


def _candidates(database: sqlite3.Connection, file: NotebookFile) -> list[_Row]:
    found = database.execute(
        """
        SELECT DISTINCT notebooks.id, key, path FROM (
            SELECT chat_id FROM live
            WHERE cell_id IN (SELECT value FROM json_each(:cells))
            UNION
            SELECT chat_id FROM live
            WHERE answered_at IN (SELECT value FROM json_each(:answers)))
        JOIN chats ON chats.id = chat_id
        JOIN notebooks ON notebooks.id = chats.notebook_id
        WHERE key NOT LIKE 'session:%'
        """,
        {
            "cells": json.dumps(list(file.sources)),
            "answers": json.dumps(list(file.answers)),
        },
    )
    return [_Row(*row) for row in found]


def _is_sibling(
    database: sqlite3.Connection, match: _Row, file: NotebookFile, read: ReadFile
) -> bool:
    """Tell whether the other file shows answers of its chats, and this one none."""
    assert match.path is not None
    other = read(match.path)
    stamps = {turn[2] for turn in _turns(database, match.id, "live")}
    is_shown_there = other is not None and bool(stamps & other.answers)
    return is_shown_there and not stamps & file.answers


def _turns(
    database: sqlite3.Connection, notebook_id: int, table: Literal["turns", "live"]
) -> Iterator[tuple[str | None, str, str]]:
    """Yield cell, prompt and time of the turns of a notebook."""
    return database.execute(
        f"""
        SELECT cell_id, prompt, answered_at FROM {table}
        WHERE chat_id IN (SELECT id FROM chats WHERE notebook_id = ?)
            AND model <> ''
        """,  # noqa: S608  (one of two names of ours)
        (notebook_id,),
    )


# -- change ----------------------------------------------------------------------


def _set_path(database: sqlite3.Connection, notebook_id: int, path: str | None) -> None:
    database.execute("UPDATE notebooks SET path = ? WHERE id = ?", (path, notebook_id))


_COPIED = """
    position, cell_id, answered_at, added_at, based_on, text_hash, model, digest,
    starts_afresh, status, done_reason, stats, request, system, prompt, reply, thinking,
    steps, pictures, origin
"""


def _copy(database: sqlite3.Connection, source: int, target: int) -> None:
    """Give a notebook the live turns, the chats and the choices of another."""
    database.execute(
        "UPDATE notebooks SET (current_chat, model, model_chosen_at) = "
        "(SELECT current_chat, model, model_chosen_at FROM notebooks WHERE id = ?)"
        " WHERE id = ?",
        (source, target),
    )
    chats = database.execute(
        "SELECT id, name, revision FROM chats WHERE notebook_id = ? ORDER BY id",
        (source,),
    ).fetchall()
    for chat_id, name, revision in chats:
        cursor = database.execute(
            "INSERT INTO chats (notebook_id, name, revision) VALUES (?, ?, ?)",
            (target, name, revision),
        )
        database.execute(
            f"""
            INSERT INTO turns (uid, chat_id, {_COPIED})
            SELECT lower(hex(randomblob(16))), ?, {_COPIED}
            FROM live WHERE chat_id = ?
            """,  # noqa: S608  (our own constant)
            (cursor.lastrowid, chat_id),
        )


_SCHEME = "vscode:"


@dataclass(frozen=True, slots=True)
class CellWithoutId:
    """A running cell without a lasting id."""

    source: str
    session: str = ""
    """The opening of the notebook in VS Code; empty elsewhere."""
    handle: str = ""
    """VS Code's name for the cell in that session; mostly a number."""

    @property
    def address(self) -> str:
        """What stands in for an id in this session; empty where nothing can."""
        if not (self.session and self.handle):
            return ""
        return f"{_SCHEME}{self.session}:{self.handle}"

    @property
    def index(self) -> int | None:
        """Where the cell was when the notebook was opened, if it was there."""
        return int(self.handle) if self.handle.isdecimal() else None


def identify_cell(
    database: sqlite3.Connection,
    notebook: str,
    cell: CellWithoutId,
    file: NotebookFile | None,
) -> str | None:
    """Return the id of a cell, and give it to the turns that the cell has already."""
    if file is not None:
        _name_shown_turns(database, notebook, file)
    known = _id_at(database, cell)
    if known:
        return known
    found = file.find_cell(cell.source, cell.index) if file else ""
    if not found or _is_at_another_handle(database, cell, found):
        return cell.address or None
    if cell.address:
        _note(database, cell.session, cell.handle, found)
        for turn in rows.find_turns_of_cell(database, notebook, cell.address):
            number = turn.cell_id.removeprefix(cell.address)
            _rename(database, notebook, turn.uid, turn.chat_id, f"{found}{number}")
    return found


def _name_shown_turns(
    database: sqlite3.Connection, notebook: str, file: NotebookFile
) -> None:
    """Give turns without a lasting id that of the cell that shows their answer."""
    found = database.execute(
        f"""
        SELECT uid, chat_id, cell_id, answered_at FROM live
        WHERE (cell_id IS NULL OR cell_id LIKE '{_SCHEME}%'
                OR cell_id LIKE 'vscode-notebook-cell:%')
            AND answered_at IN (SELECT value FROM json_each(:stamps))
            AND chat_id IN (SELECT id FROM named_chats WHERE notebook = :notebook)
        ORDER BY answered_at
        """,  # noqa: S608  (our own constant)
        {"stamps": json.dumps(list(file.shown_in)), "notebook": notebook},
    ).fetchall()
    for uid, chat_id, cell_id, answered_at in found:
        shown_in = file.shown_in[answered_at]
        address = (cell_id or "").partition(" ")[0]
        if address.startswith(_SCHEME):
            session, _, handle = address.removeprefix(_SCHEME).rpartition(":")
            _note(database, session, handle, shown_in.partition(" ")[0])
        _rename(database, notebook, uid, chat_id, shown_in)


def _rename(
    database: sqlite3.Connection, notebook: str, uid: str, chat_id: int, cell_id: str
) -> None:
    """Give a turn its id; an earlier turn of that cell gives up its place."""
    for earlier in rows.find_turns_of_cell(database, notebook, cell_id):
        if earlier.cell_id != cell_id or earlier.uid == uid:
            continue
        if earlier.chat_id == chat_id:
            rows.replace_turn(database, uid, chat_id, of=earlier.uid)
        else:
            now = rows.utc_now()
            rows.remove_turn(
                database, earlier.uid, earlier.chat_id, why="moved", at=now
            )
    database.execute("UPDATE turns SET cell_id = ? WHERE uid = ?", (cell_id, uid))
    rows.bump_revision(database, chat_id)


def _id_at(database: sqlite3.Connection, cell: CellWithoutId) -> str | None:
    row = database.execute(
        "SELECT cell_id FROM cell_handles WHERE session = ? AND handle = ?",
        (cell.session, cell.handle),
    ).fetchone()
    return row[0] if row else None


def _is_at_another_handle(
    database: sqlite3.Connection, cell: CellWithoutId, cell_id: str
) -> bool:
    row = database.execute(
        "SELECT 1 FROM cell_handles WHERE session = ? AND cell_id = ?",
        (cell.session, cell_id),
    ).fetchone()
    return row is not None


def _note(
    database: sqlite3.Connection, session: str, handle: str, cell_id: str
) -> None:
    database.execute(
        "INSERT OR REPLACE INTO cell_handles (session, handle, cell_id)"
        " VALUES (?, ?, ?)",
        (session, handle, cell_id),
    )
