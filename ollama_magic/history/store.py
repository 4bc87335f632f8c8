"""The store of chats: the turns of every notebook, in one SQLite file.

Knows which turn belongs to which cell, and which notebook is at a path. Refuses to
know what happens when the file fails (``database``), and what a model is sent.
"""

from __future__ import annotations

import difflib
import sqlite3
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ollama_magic.history import cache, changes, identity, rows
from ollama_magic.history.cache import CachedReply
from ollama_magic.history.database import SafeDatabase
from ollama_magic.history.identity import CellWithoutId, Decision, NotebookMatch
from ollama_magic.history.notebook_file import NotebookFile, read_notebook_file
from ollama_magic.history.rows import ChatSummary, Choices
from ollama_magic.history.schema import MAIN_CHAT
from ollama_magic.history.turns import Chat, Turn, fingerprint

__all__ = ["MAIN_CHAT", "ChatStore", "ChatSummary", "default_path"]

_COMPARED = 1000
"""Characters of a prompt that are compared with other prompts."""


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

    Every change is one transaction. When the file cannot be used any more, the store
    goes on in memory until it is closed, with all that was known.

    It may be used from several threads; they take turns.

    Parameters
    ----------
    path
        The file; it is opened or made at the first use. None keeps chats in memory.
    is_self_contained
        Whether the file must be whole by itself after each change, so that it can be
        copied by its name.
    warn
        Called with a text of two lines, once for each thing that went wrong: what
        happened and why, then what to do.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        is_self_contained: bool = False,
        warn: Callable[[str], None],
    ) -> None:
        self._is_single = is_self_contained
        self._known: dict[tuple[str, str], _Known] = {}
        self._choices: dict[str, Choices] = {}
        self._database = SafeDatabase(
            path,
            is_self_contained=is_self_contained,
            warn=warn,
            put_back=self._put_back_what_is_known,
            forget=self._known.clear,
        )

    @property
    def path(self) -> Path | None:
        """The file that keeps the chats; None while they are only in memory."""
        return self._database.path

    @property
    def size_bytes(self) -> int:
        """How much the file takes, with what is in no chat any more."""
        return self._database.size_bytes

    def close(self) -> None:
        """Close the file; harmless a second time."""
        self._database.close()

    def identify_notebook(self, path: str, cell_id: str | None = None) -> NotebookMatch:
        """Return which notebook is at a path now; see the module ``following``.

        Parameters
        ----------
        path
            The absolute path of a notebook's file, which need not exist.
        cell_id
            The cell that is running, if the front end told.
        """

        def look(database: sqlite3.Connection) -> Decision:
            return identity.decide(database, path, cell_id, read_notebook_file)

        def work(database: sqlite3.Connection) -> NotebookMatch:
            return identity.carry_out(database, path, look(database))

        decision = self._database.run(look)  # takes no lock, and mostly is enough
        if decision.changes_nothing:
            return decision.unchanged(path)
        return self._database.run_and_commit(work)

    def identify_cell(
        self, notebook: str, cell: CellWithoutId, file: NotebookFile | None
    ) -> str | None:
        """Return the id of a cell that the front end does not name; see ``naming``.

        Parameters
        ----------
        file
            The notebook as it was saved last; None where it cannot be read.
        """
        return self._database.run_and_commit(
            lambda database: identity.identify_cell(database, notebook, cell, file)
        )

    # -- turns -----------------------------------------------------------------

    def load(self, notebook: str, chat: str = MAIN_CHAT) -> Chat:
        """Return the live turns of a chat, oldest first; none when it is new.

        They are read again only when another kernel has changed this chat.
        """
        return self._database.run(
            lambda database: self._current(database, notebook, chat).chat
        )

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
            With ``uid``, ``answered_at``, ``added_at``, ``text_hash`` and ``based_on``.
        """
        moment = rows.utc_now()
        stored = replace(
            rows.storable(turn),
            uid=uuid.uuid4().hex,
            answered_at=turn.answered_at or moment,
            added_at=moment,
        )
        stored = replace(stored, text_hash=stored.compute_text_hash())

        def work(database: sqlite3.Connection) -> tuple[Turn, _Known]:
            return self._record(database, notebook, chat, stored, append=append)

        kept, known = self._database.run_and_commit(work)
        self._known[notebook, chat] = known
        return kept

    def insert_turns(self, notebook: str, chats: Sequence[Chat]) -> None:
        """Give chats these turns, in this order; all of it happens, or nothing.

        Turns with a uid are live ones; see :func:`arranging.arrange`.
        """
        moment = rows.utc_now()

        def work(database: sqlite3.Connection) -> None:
            for chat in chats:
                changes.insert_turns(database, notebook, chat, moment)

        self._database.run_and_commit(work)

    def trust(self, notebook: str, chat: str, uids: Collection[str]) -> None:
        """Let turns of a file bring their system messages and tool results."""

        def work(database: sqlite3.Connection) -> None:
            chat_id = rows.make_chat(database, notebook, chat)
            rows.trust_turns(database, chat_id, uids)

        if uids:
            self._database.run_and_commit(work)

    def mark_new(self, notebook: str, chat: str, cell_id: str | None = None) -> Turn:
        """Leave the mark of a fresh start, as a turn of the cell that asked for it."""
        mark = Turn(starts_afresh=True, cell_id=cell_id)
        return self.record(notebook, chat, mark)

    def drop(self, notebook: str, chat: str, uid: str) -> None:
        """Take a turn out of its chat; it stays in the file."""

        def work(database: sqlite3.Connection) -> None:
            chat_id = rows.make_chat(database, notebook, chat)
            rows.remove_turn(database, uid, chat_id, why="dropped", at=rows.utc_now())

        self._database.run_and_commit(work)

    def undo(self, notebook: str, chat: str) -> changes.UndoResult | None:
        """Take the last change of a chat back; None when there is none.

        A turn that was added goes, and what it had replaced is in its place again;
        turns that were taken out come back. All of them stay in the file.
        """

        def work(database: sqlite3.Connection) -> changes.UndoResult | None:
            chat_id = rows.make_chat(database, notebook, chat)
            return changes.take_back(database, chat_id)

        return self._database.run_and_commit(work)

    def drop_cells(self, notebook: str, cell_ids: Collection[str]) -> None:
        """Take the turns of deleted cells out of their chats; they stay in the file."""

        def find(database: sqlite3.Connection) -> list[rows.LiveTurn]:
            found: list[rows.LiveTurn] = []
            for cell_id in cell_ids:
                found += rows.find_turns_of_cell(database, notebook, cell_id)
            return found

        def remove(database: sqlite3.Connection) -> None:
            now = rows.utc_now()
            for turn in find(database):
                rows.remove_turn(
                    database, turn.uid, turn.chat_id, why="deleted", at=now
                )

        if self._database.run(find):  # mostly not: cells of all kinds are named
            self._database.run_and_commit(remove)

    def all_turns(self, notebook: str, chat: str) -> list[tuple[Turn, str]]:
        """Return every turn that a chat ever had, and why it left; see ``rows``."""

        def work(database: sqlite3.Connection) -> list[tuple[Turn, str]]:
            found = rows.find_chat(database, notebook, chat)
            return rows.read_all_turns(database, found[0]) if found else []

        return self._database.run(work)

    # -- answers ---------------------------------------------------------------

    def find_cached_reply(
        self, key: str, model: str = "", digest: str = ""
    ) -> CachedReply | None:
        """Return the latest answer kept for a request; see ``kept_answers``."""
        return self._database.run(
            lambda database: cache.find_cached_reply(database, key, model, digest)
        )

    def nearest_prompt(self, prompt: str) -> str:
        """Return the prompt in a single file that is most like this one; empty if none.

        The file of all notebooks is not searched: the prompt would be shown in another
        notebook than its own. Answers are kept without prompts, so turns are searched.
        """
        if not self._is_single:
            return ""
        latest = self._database.run(cache.latest_prompts)
        found = difflib.get_close_matches(prompt[:_COMPARED], latest, n=1, cutoff=0.6)
        return found[0] if found else ""

    def cache_reply(self, key: str, answer: CachedReply) -> None:
        """Keep an answer for when the same is asked again."""
        self._database.run_and_commit(
            lambda database: cache.store_cached_reply(database, key, answer)
        )

    # -- chats and choices -----------------------------------------------------

    def chats(self, notebook: str) -> list[ChatSummary]:
        """Return the chats of a notebook, oldest first."""
        return self._database.run(
            lambda database: rows.read_summaries(database, notebook)
        )

    def current_chat(self, notebook: str) -> str:
        """Return the chat that cells go on with when they name none."""
        return self._read_choices(notebook).current_chat

    def set_current_chat(self, notebook: str, name: str) -> None:
        """Make a chat the current one, and make it when it is new."""
        self._choose(notebook, current_chat=name, makes_chat=True)

    def chosen_model(self, notebook: str) -> str | None:
        """Return the model that was chosen for a notebook; None without a choice."""
        return self._read_choices(notebook).model or None

    def choose_model(self, notebook: str, model: str) -> None:
        """Remember a model as the one that this notebook's cells ask."""
        # NB: version 0.1.0 compares the time with that of the last turn.
        self._choose(notebook, model=model, model_chosen_at=rows.utc_now())

    def rename_chat(self, notebook: str, chat: str, name: str) -> bool:
        """Give a chat another name; False when that one is taken."""

        def work(database: sqlite3.Connection) -> bool:
            return changes.rename_chat(database, notebook, chat, name)

        is_renamed = self._database.run_and_commit(work)
        if is_renamed:
            self._forget_chat(notebook, chat)
            if self.current_chat(notebook) == chat:
                self._choose(notebook, current_chat=name)
        return is_renamed

    def delete_chat(self, notebook: str, chat: str) -> None:
        """Delete a chat with all its turns, for good."""
        self._database.run_and_commit(
            lambda database: changes.delete_chat(database, notebook, chat)
        )
        self._forget_chat(notebook, chat)
        if self.current_chat(notebook) == chat:
            self._choose(notebook, current_chat=MAIN_CHAT)
        self._database.shrink()

    def prunable(
        self, notebook: str, older_than_days: float | None
    ) -> changes.PruneSummary:
        """Return what ``prune`` would remove."""
        return self._database.run(
            lambda database: changes.find_prunable(database, notebook, older_than_days)
        )

    def prune(
        self, notebook: str, older_than_days: float | None
    ) -> changes.PruneSummary:
        """Remove for good what is in no chat any more, in all notebooks.

        Parameters
        ----------
        notebook
            The one in use, whose chats stay.
        older_than_days
            Remove also chats that were last used before so many days; None: none.
        """
        removed = self._database.run_and_commit(
            lambda database: changes.prune(database, notebook, older_than_days)
        )
        self._known.clear()
        self._database.shrink()
        return removed

    def _forget_chat(self, notebook: str, chat: str) -> None:
        self._known.pop((notebook, chat), None)

    def _read_choices(self, notebook: str) -> Choices:
        choices = self._database.run(
            lambda database: rows.read_choices(database, notebook)
        )
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

        self._database.run_and_commit(work)
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
                    rows.remove_turn(
                        database,
                        other.uid,
                        other.chat_id,
                        why="moved",
                        at=turn.added_at or turn.answered_at,
                    )
        in_use = () if turn.starts_afresh else before.turns
        # A turn that was answered earlier says itself what it was answered on.
        turn = replace(turn, based_on=turn.based_on or fingerprint(in_use))
        revision = rows.add_turn(database, chat_id, turn, replaces=replaces)
        after = chat.turns[len(before.turns) + (replaces is not None) :]
        return turn, _Known(revision, Chat(name, (*before.turns, turn, *after)))

    def _put_back_what_is_known(self, database: sqlite3.Connection) -> None:
        for (notebook, name), (revision, chat) in self._known.items():
            rows.put_back(database, notebook, name, chat.turns, revision)
        for notebook, choices in self._choices.items():
            rows.write_choices(database, notebook, choices)
