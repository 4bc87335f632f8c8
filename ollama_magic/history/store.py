"""The store of chats: the turns of every notebook, in one SQLite file.

Knows which turn belongs to which cell, and that whatever happens to the file, a cell
goes on: then chats live in memory, and the user is told once. Refuses to know how a
notebook is recognised (its key is a text), and what a model is sent.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from ollama_magic.conversation import Chat, Turn, fingerprint
from ollama_magic.history import rows
from ollama_magic.history.file import (
    NAME_ANOTHER,
    Fault,
    UnusableFileError,
    diagnose,
    identity,
    open_file,
    open_memory,
    set_aside,
)
from ollama_magic.history.rows import MAIN_CHAT, ChatSummary, Choices

__all__ = ["MAIN_CHAT", "ChatStore", "ChatSummary", "default_path"]

_T = TypeVar("_T")


class _Known(NamedTuple):
    """A chat as it was when the file had this revision of it."""

    revision: int
    chat: Chat


def default_path() -> Path | None:
    """Return the file of chats in the user's data directory; None without a home."""
    from platformdirs import user_data_path

    path = user_data_path("ollama_magic", appauthor=False) / "chats.sqlite"
    # Without a home directory the path begins with a literal "~".
    return path if path.is_absolute() else None


class ChatStore:
    """The chats of all notebooks of a user.

    Every change is one transaction. When the file cannot be used any more (locked,
    full, read-only, made by a newer version), the store goes on in memory until it is
    closed, with all that was known; a damaged file is set aside and a new one begun.

    Use it from the thread that made it.

    Parameters
    ----------
    path
        The file; it is opened or made at the first use. None keeps chats in memory.
    warn
        Called with a text of two lines, once for each thing that went wrong: what
        happened and why, then what to do.
    """

    def __init__(self, path: Path | None, *, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._database: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._is_in_memory = False
        self._has_set_aside = False
        self._known: dict[tuple[str, str], _Known] = {}
        self._choices: dict[str, Choices] = {}

    @property
    def path(self) -> Path | None:
        """The file that keeps the chats; None while they are only in memory."""
        return None if self._is_in_memory else self._path

    def close(self) -> None:
        """Close the file; harmless a second time."""
        if self._database is not None:
            self._database.close()
            self._database = None

    # -- turns -----------------------------------------------------------------

    def load(self, notebook: str, chat: str = MAIN_CHAT) -> Chat:
        """Return the live turns of a chat, oldest first; none when it is new.

        They are read again only when another kernel has changed this chat.
        """
        return self._run(lambda database: self._current(database, notebook, chat).chat)

    def record(
        self, notebook: str, chat: str, turn: Turn, *, append: bool = False
    ) -> Turn:
        """Keep a turn, and return it with what the store gave it.

        A live turn of the same cell is replaced, in its place; the old one stays in
        the file and not in the chat. One that the cell has in another chat of this
        notebook leaves that chat.

        Parameters
        ----------
        append
            Add the turn at the end, and leave those of its cell alone.

        Returns
        -------
        Turn
            With ``uid``, ``answered_at``, ``text_hash`` and ``based_on``.
        """
        stored = replace(
            rows.storable(turn),
            uid=uuid.uuid4().hex,
            answered_at=rows.utc_now(),
        )
        stored = replace(stored, text_hash=stored.compute_text_hash())

        def work(database: sqlite3.Connection) -> tuple[Turn, _Known]:
            return self._record(database, notebook, chat, stored, append=append)

        kept, known = self._run_and_commit(work)
        self._known[notebook, chat] = known
        return kept

    def mark_new(self, notebook: str, chat: str, cell_id: str | None = None) -> Turn:
        """Leave the mark of a fresh start, as a turn of the cell that asked for it."""
        mark = Turn(starts_afresh=True, cell_id=cell_id)
        return self.record(notebook, chat, mark)

    def undo(self, notebook: str, chat: str) -> Turn | None:
        """Take the last live turn back and return it; None when there is none.

        What it had replaced takes its place again. Both stay in the file.
        """

        def work(database: sqlite3.Connection) -> Turn | None:
            return rows.take_back(database, rows.make_chat(database, notebook, chat))

        return self._run_and_commit(work)

    def drop_cells(self, notebook: str, cell_ids: Collection[str]) -> None:
        """Take the turns of deleted cells out of their chats; they stay in the file."""

        def find(database: sqlite3.Connection) -> list[rows.LiveTurn]:
            found: list[rows.LiveTurn] = []
            for cell_id in cell_ids:
                found += rows.find_turns_of_cell(database, notebook, cell_id)
            return found

        def remove(database: sqlite3.Connection) -> None:
            for turn in find(database):
                rows.remove_turn(database, turn.uid, turn.chat_id)

        if self._run(find):  # mostly not: the front end names cells of all kinds
            self._run_and_commit(remove)

    # -- chats and choices -----------------------------------------------------

    def chats(self, notebook: str) -> list[ChatSummary]:
        """Return the chats of a notebook, oldest first."""
        return self._run(lambda database: rows.read_summaries(database, notebook))

    def current_chat(self, notebook: str) -> str:
        """Return the chat that cells go on with when they name none."""
        return self._read_choices(notebook).current_chat

    def set_current_chat(self, notebook: str, name: str) -> None:
        """Make a chat the current one, and make it when it is new."""
        self._choose(notebook, current_chat=name, makes_chat=True)

    def chosen_model(self, notebook: str) -> tuple[str, str] | None:
        """Return the model chosen for a notebook and when (UTC, ISO 8601)."""
        choices = self._read_choices(notebook)
        if not choices.model:
            return None
        return choices.model, choices.model_chosen_at or ""

    def choose_model(self, notebook: str, model: str) -> None:
        """Remember a model as the one that this notebook's cells ask."""
        self._choose(notebook, model=model, model_chosen_at=rows.utc_now())

    def _read_choices(self, notebook: str) -> Choices:
        choices = self._run(lambda database: rows.read_choices(database, notebook))
        self._choices[notebook] = choices
        return choices

    def _choose(
        self, notebook: str, *, makes_chat: bool = False, **changes: str
    ) -> None:
        choices = replace(self._read_choices(notebook), **changes)

        def work(database: sqlite3.Connection) -> None:
            rows.write_choices(database, notebook, choices)
            if makes_chat:
                rows.make_chat(database, notebook, choices.current_chat)

        self._run_and_commit(work)
        self._choices[notebook] = choices

    # -- inside a transaction --------------------------------------------------

    def _current(
        self, database: sqlite3.Connection, notebook: str, name: str
    ) -> _Known:
        """Return a chat as the file has it now, read only if it has changed."""
        found = rows.find_chat(database, notebook, name)
        if found is None:
            return _Known(0, Chat(name))
        chat_id, revision = found
        known = self._known.get((notebook, name))
        if known is None or known.revision != revision:
            known = _Known(revision, Chat(name, rows.read_turns(database, chat_id)))
            self._known[notebook, name] = known
        return known

    def _record(
        self,
        database: sqlite3.Connection,
        notebook: str,
        name: str,
        turn: Turn,
        *,
        append: bool,
    ) -> tuple[Turn, _Known]:
        chat_id = rows.make_chat(database, notebook, name)
        chat = self._current(database, notebook, name).chat
        replaces = None
        before = chat
        if turn.cell_id is not None and not append:
            before = chat.before(turn.cell_id)
            if before is not chat:
                replaces = chat.turns[len(before.turns)].uid
            for other in rows.find_turns_of_cell(database, notebook, turn.cell_id):
                if other.chat_id != chat_id and other.cell_id == turn.cell_id:
                    rows.remove_turn(database, other.uid, other.chat_id)
        in_use = () if turn.starts_afresh else before.turns
        turn = replace(turn, based_on=fingerprint(in_use))
        revision = rows.add_turn(database, chat_id, turn, replaces=replaces)
        after = chat.turns[len(before.turns) + (replaces is not None) :]
        return turn, _Known(revision, Chat(name, (*before.turns, turn, *after)))

    # -- the file, and what happens without it ---------------------------------

    def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do some work; when the file fails, recover and do it on what is left."""
        while True:
            try:
                return work(self._open())
            except Exception as error:
                fault = None if self._is_in_memory else diagnose(error)
                if fault is None:
                    raise
                self._recover(fault)

    def _run_and_commit(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return self._run(lambda database: _transaction(database, work))

    def _open(self) -> sqlite3.Connection:
        if self._database is not None and not self._is_in_memory:
            assert self._path is not None
            if identity(self._path) != self._identity:
                # The file was deleted, or another one put in its place: what is
                # written to it from now on would be lost with this process.
                self.close()
        if self._database is None:
            self._database = self._open_anew()
        return self._database

    def _open_anew(self) -> sqlite3.Connection:
        if self._path is None:
            self._is_in_memory = True
            self._warn(
                "Chats are not saved: there is no home directory for their file.\n"
                f"They go on in memory until the kernel ends; next: {NAME_ANOTHER}"
            )
            return open_memory(None)
        database = open_file(self._path)
        self._identity = identity(self._path)
        self._known.clear()
        return database

    def _recover(self, fault: Fault) -> None:
        """Put something that works in the place of a file that does not."""
        if fault.is_damage and not self._has_set_aside:
            self._has_set_aside = True
            with suppress(OSError, sqlite3.Error, UnusableFileError):
                self._begin_anew(fault)
                return
        self._go_on_in_memory(fault)

    def _begin_anew(self, fault: Fault) -> None:
        assert self._path is not None
        self.close()
        aside = set_aside(self._path)
        self._database = open_file(self._path)
        self._identity = identity(self._path)
        self._put_back_what_is_known(self._database)
        self._warn(
            f"The file of chats was set aside: {fault.why}. A new one is begun.\n"
            f"The old one is {aside}; `sqlite3 FILE .recover` may save what is in it"
        )

    def _go_on_in_memory(self, fault: Fault) -> None:
        assert self._path is not None
        memory = open_memory(None if fault.is_damage else self._database or self._path)
        self.close()
        self._database, self._is_in_memory = memory, True
        self._put_back_what_is_known(memory)
        self._warn(
            f"Chats are not saved in {self._path}: {fault.why}.\n"
            f"They go on in memory until the kernel ends; next: {fault.next_step}"
        )

    def _put_back_what_is_known(self, database: sqlite3.Connection) -> None:
        def work(database: sqlite3.Connection) -> None:
            for (notebook, name), (revision, chat) in self._known.items():
                rows.put_back(database, notebook, name, chat.turns, revision)
            for notebook, choices in self._choices.items():
                rows.write_choices(database, notebook, choices)

        _transaction(database, work)


def _transaction(
    database: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]
) -> _T:
    database.execute("BEGIN IMMEDIATE")
    try:
        result = work(database)
        database.execute("COMMIT")
    except BaseException:
        # NB: on a full disk SQLite may have rolled back by itself.
        if database.in_transaction:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
        raise
    return result
