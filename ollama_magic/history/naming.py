"""The lasting id of a cell that its front end does not name.

VS Code tells a cell's position within one opening of the notebook, server-side
execution and some kernels tell nothing. The id that lasts is the one in the saved
notebook (nbformat 4.5), so ``name_cell`` looks for the cell there. In order:

1. The cell at this handle of this session had an id before: it still has it.
2. The saved notebook has exactly one code cell with this source, or the one at the
   index ``handle`` has it, and no other handle of the session has that id.
3. Not saved yet: VS Code's session and handle stand in; elsewhere there is no id.

A turn that was kept without a lasting id gets it as soon as the saved notebook shows
its answer. Handles of another session are never compared: they are numbered anew.
Like ``rows``, this module works inside its caller's transaction and reads no files.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from ollama_magic.history import rows
from ollama_magic.history.notebook_file import NotebookFile

_SCHEME = "vscode:"


@dataclass(frozen=True, slots=True)
class UnnamedCell:
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


def name_cell(
    database: sqlite3.Connection,
    notebook: str,
    cell: UnnamedCell,
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
            rows.take_place(database, uid, chat_id, of=earlier.uid)
        else:
            now = rows.utc_now()
            rows.remove_turn(
                database, earlier.uid, earlier.chat_id, why="moved", at=now
            )
    database.execute("UPDATE turns SET cell_id = ? WHERE uid = ?", (cell_id, uid))
    rows.raise_revision(database, chat_id)


def _id_at(database: sqlite3.Connection, cell: UnnamedCell) -> str | None:
    row = database.execute(
        "SELECT cell_id FROM cell_handles WHERE session = ? AND handle = ?",
        (cell.session, cell.handle),
    ).fetchone()
    return row[0] if row else None


def _is_at_another_handle(
    database: sqlite3.Connection, cell: UnnamedCell, cell_id: str
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
