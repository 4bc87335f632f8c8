"""Identify notebooks at paths, and cells for which the front end sends no id.

``store`` calls this module, so that a chat follows its notebook when the file is
renamed, moved or copied. A path only says where a notebook was seen last. Its identity
comes from its turns: a notebook has a turn if it has the cell that ran the prompt, or
shows the reply (``NotebookFile.has_turn``). The rules, in order:

1. The notebook that was seen at this path. But if the file changed after that
   notebook's last turn, and has none of its cells, another notebook is here now, and
   the old one loses its path. A file that is older than the turns proves nothing, nor
   does a file time in the future, or any file while a cell of the notebook is running.
2. Else the notebook that shares most turns with the file, and at least half of its own.
   If its file is gone, it was **moved** here. If not, this one is a **copy** and
   gets a copy of the chats, unless only the other file shows replies: then both were
   made from one template.
3. Else a new notebook.

A text notebook (jupytext) is the one at its path if it has one of its prompts. Its
cells get other ids whenever it is opened: ``Page.earlier_turn`` finds their turns.

The id of a cell without one is searched in the notebook file, in this order:

1. The id that was found before for this handle of this session.
2. The only code cell with this source, or the one at the index ``handle``, unless
   another handle of the session has that id.
3. Until the cell is saved, VS Code's session and handle take the place of an id;
   elsewhere there is no id.

A turn without an id gets one when the saved notebook shows its reply. Handles of
different sessions are never compared, since VS Code renumbers them. Cells have ids
since nbformat 4.5; without ids, only replies identify a notebook.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection
from typing import Literal

from ollama_magic.history import cache, rows
from ollama_magic.history.notebooks import (
    VSCODE_SCHEME,
    CellWithoutId,
    NotebookFile,
    read_notebook_file,
    read_text,
    stable_cell_id,
)
from ollama_magic.history.sqlite_file import open_memory
from ollama_magic.history.turns import Chat, Turn, utc_now

UNKNOWN_CHAT = (
    "This notebook shows replies of a chat that is not stored here; to go on with it: "
    "%ollama restore"
)
MatchKind = Literal["known", "moved", "copied", "new"]


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    key: str
    path: str | None


@dataclass(frozen=True, slots=True)
class NotebookMatch:
    """The notebook at a path, and how it was recognised."""

    key: str
    """Its key in the store."""
    how: MatchKind
    found: _Row | None = None
    """The notebook that was moved or copied."""
    displaced: _Row | None = None
    """Another notebook that was seen at this path before."""
    needs_row: bool = True
    """Whether something about it must be written to the store."""
    shows_chat: bool = False
    """Whether its file shows replies of a chat."""

    @property
    def source(self) -> str:
        """The path that it was moved or copied from, if it had one."""
        return (self.found.path if self.found else None) or ""

    def notes(self) -> list[str]:
        """Return what the user should know about where the chats come from."""
        notes = []
        if self.displaced:
            notes.append(
                "Another notebook was at this path before; its chats are kept "
                "separately and not used here."
            )
        if self.how == "moved" and self.source:
            notes.append(f"This notebook was moved from {self.source}, with its chats.")
        if self.how == "copied":
            notes.append(
                f"This notebook is a copy of {self.source} and has a copy of its chats."
            )
        if self.how == "new" and self.shows_chat:
            notes.append(UNKNOWN_CHAT)
        return notes


def match_notebook(
    database: Connection, path: str, cell_id: str | None
) -> NotebookMatch:
    """Recognise the notebook at ``path``, without writing anything.

    Parameters
    ----------
    cell_id
        The id of the running cell, if the front end sends one.
    """
    file = read_notebook_file(path)
    here = _notebook_at(database, path)
    if here and not (
        _is_another(database, here, file, cell_id)
        if file
        else _is_another_text(database, here)
    ):
        return NotebookMatch(here.key, "known", needs_row=False)
    found = _best_match(database, file, here) if file else None
    how: MatchKind = "new"
    if file and found:
        is_gone = found.path is None or not Path(found.path).exists()
        how = "moved" if is_gone else "copied"
        if how == "copied" and _is_sibling(database, found, file):
            how, found = "new", None
    if found and how == "moved":
        return NotebookMatch(found.key, how, found, here)
    find = "SELECT 1 FROM notebooks WHERE key = ?"
    is_free = rows.value_of(database, find, path) is None
    key = path if is_free else f"{path}#{uuid.uuid4().hex}"
    needs_row = bool(found or here) or not is_free
    shows_chat = bool(file and file.shows_chat)
    return NotebookMatch(key, how, found, here, needs_row, shows_chat)


def identify_notebook(
    database: Connection, path: str, cell_id: str | None
) -> NotebookMatch:
    """Recognise the notebook at ``path``, and write what has changed about it."""
    match = match_notebook(database, path, cell_id)
    if not match.needs_row:
        return match
    if match.displaced is not None:
        _set_path(database, match.displaced.id, None)
    if match.found is not None and match.how == "moved":
        _set_path(database, match.found.id, path)
        return match
    notebook_id = rows.get_or_create_notebook(database, match.key)
    _set_path(database, notebook_id, path)
    if match.found is not None:
        copy_chats(database, match.found.key, database, match.key)
    return match


# -- evidence --------------------------------------------------------------------


def _notebook_at(database: Connection, path: str) -> _Row | None:
    row = database.execute(
        "SELECT id, key, path FROM notebooks WHERE path = ? ORDER BY id DESC LIMIT 1",
        (path,),
    ).fetchone()
    return _Row(*row) if row else None


def _is_another(
    database: Connection, here: _Row, file: NotebookFile, cell_id: str | None
) -> bool:
    """Return whether the file is newer than a notebook's turns and has none of them."""
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
    is_later = last < file.changed_at <= utc_now()
    return bool(names) and not names & known and is_later


def _is_another_text(database: Connection, here: _Row) -> bool:
    """Return whether a text notebook contains none of the prompts of a notebook.

    Values may have been filled in, so the ends of a prompt are enough.
    """
    text = "" if str(here.path).endswith(".ipynb") else read_text(str(here.path))
    prompts = [prompt.strip() for _, prompt, _ in _turns(database, here.id, "turns")]
    ends = [end for prompt in prompts for end in (prompt[:12], prompt[-12:])]
    return bool(text and ends) and not any(end in text for end in ends)


def _best_match(
    database: Connection, file: NotebookFile, here: _Row | None
) -> _Row | None:
    """Return the notebook that shares most turns with the file; see the rules."""
    best, best_rank = None, (0, 0, False, "")
    for row in _candidates(database, file):
        # A turn without a cell (``ask``, an import) counts only if it is shown.
        turns = [
            turn
            for turn in _turns(database, row.id, "live")
            if turn[0] or turn[2] in file.answers
        ]
        shared = sum(file.has_turn(*turn) for turn in turns)
        if (here and row.id == here.id) or not shared or 2 * shared < len(turns):
            continue
        is_gone = row.path is None or not Path(row.path).exists()
        rank = (shared, shared - len(turns), is_gone, max(turn[2] for turn in turns))
        if rank > best_rank:
            best, best_rank = row, rank
    return best


def _candidates(database: Connection, file: NotebookFile) -> list[_Row]:
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


def _is_sibling(database: Connection, match: _Row, file: NotebookFile) -> bool:
    """Return whether only the other file shows replies of its chats."""
    assert match.path is not None
    other = read_notebook_file(match.path)
    stamps = {turn[2] for turn in _turns(database, match.id, "live")}
    is_shown_there = other is not None and bool(stamps & other.answers)
    return is_shown_there and not stamps & file.answers


def _turns(
    database: Connection, notebook_id: int, table: Literal["turns", "live"]
) -> Iterator[tuple[str | None, str, str]]:
    """Yield the cell, prompt and time of each turn of a notebook."""
    return database.execute(
        f"""
        SELECT cell_id, prompt, answered_at FROM {table}
        WHERE chat_id IN (SELECT id FROM chats WHERE notebook_id = ?)
            AND model <> ''
        """,  # noqa: S608  (one of our two names)
        (notebook_id,),
    )


# -- change ----------------------------------------------------------------------


def _set_path(database: Connection, notebook_id: int, path: str | None) -> None:
    database.execute("UPDATE notebooks SET path = ? WHERE id = ?", (path, notebook_id))


def copy_chats(source: Connection, notebook: str, target: Connection, key: str) -> None:
    """Copy the chats, live turns, current chat and model of a notebook.

    Parameters
    ----------
    target
        The database to copy to; it may be the same.
    key
        The key of the notebook there.
    """
    state = rows.read_notebook_state(source, notebook)
    rows.update_notebook(target, key, **state._asdict())
    chats = source.execute(
        "SELECT id, name FROM named_chats WHERE notebook = ? ORDER BY id", (notebook,)
    ).fetchall()
    for chat_id, name in chats:
        turns = rows.read_turns(source, chat_id)
        copies = (replace(turn, uid=uuid.uuid4().hex) for turn in turns)
        rows.write_chat(target, key, Chat(name, tuple(copies)))


def extract_notebook(
    database: Connection,
    notebook: str,
    replies: Iterable[tuple[str, str, str]],
) -> bytes:
    """Return a store file with the chats of a notebook, and these cached replies."""
    with closing(open_memory(None)) as extract:
        # NB: a path would name the user, and no notebook was moved from it.
        copy_chats(database, notebook, extract, uuid.uuid4().hex)
        extract.execute("UPDATE notebooks SET path = NULL")
        cache.copy_cached_replies(database, extract, replies)
        return extract.serialize()


# -- cells -----------------------------------------------------------------------


def identify_cell(
    database: Connection,
    notebook: str,
    cell: CellWithoutId,
    file: NotebookFile | None,
) -> str | None:
    """Return the id of a cell, and give it to the turns that the cell has."""
    if file is not None:
        _name_shown_turns(database, notebook, file)
    known = _known_id(database, cell)
    if known:
        return known
    found = file.find_cell(cell.source, cell.index) if file else ""
    if not found or _is_at_another_handle(database, cell, found):
        return cell.address or None
    if cell.address:
        _store_handle(database, cell.session, cell.handle, found)
        for turn in rows.find_turns_of_cell(database, notebook, cell.address):
            number = turn.cell_id.removeprefix(cell.address)
            _rename(database, notebook, turn.uid, turn.chat_id, f"{found}{number}")
    return found


def _name_shown_turns(database: Connection, notebook: str, file: NotebookFile) -> None:
    """Give turns without an id the id of the cell that shows their reply."""
    found = database.execute(
        f"""
        SELECT uid, chat_id, cell_id, answered_at FROM live
        WHERE (cell_id IS NULL OR cell_id LIKE '{VSCODE_SCHEME}%'
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
        if address.startswith(VSCODE_SCHEME):
            session, _, handle = address.removeprefix(VSCODE_SCHEME).rpartition(":")
            _store_handle(database, session, handle, shown_in.partition(" ")[0])
        _rename(database, notebook, uid, chat_id, shown_in)


def name_turn(database: Connection, turn: Turn, cell_id: str) -> None:
    """Set the cell id of a turn; the cell has no other turn."""
    database.execute("UPDATE turns SET cell_id = ? WHERE uid = ?", (cell_id, turn.uid))
    rows.bump_revision(database, turn.uid)


def _rename(
    database: Connection, notebook: str, uid: str, chat_id: int, cell_id: str
) -> None:
    """Set the cell id of a turn, which replaces an earlier turn of the cell."""
    for earlier in rows.find_turns_of_cell(database, notebook, cell_id):
        if earlier.cell_id != cell_id or earlier.uid == uid:
            continue
        if earlier.chat_id == chat_id:
            rows.replace_turn(database, uid, of=earlier.uid)
        else:
            rows.remove_turn(database, earlier.uid, why="moved", at=utc_now())
    database.execute("UPDATE turns SET cell_id = ? WHERE uid = ?", (cell_id, uid))
    rows.bump_revision(database, uid)


def _known_id(database: Connection, cell: CellWithoutId) -> str | None:
    find = "SELECT cell_id FROM cell_handles WHERE session = ? AND handle = ?"
    found: str | None = rows.value_of(database, find, cell.session, cell.handle)
    return found


def _is_at_another_handle(
    database: Connection, cell: CellWithoutId, cell_id: str
) -> bool:
    find = "SELECT 1 FROM cell_handles WHERE session = ? AND cell_id = ?"
    return rows.value_of(database, find, cell.session, cell_id) is not None


def _store_handle(
    database: Connection, session: str, handle: str, cell_id: str
) -> None:
    database.execute(
        "INSERT OR REPLACE INTO cell_handles (session, handle, cell_id)"
        " VALUES (?, ?, ?)",
        (session, handle, cell_id),
    )
