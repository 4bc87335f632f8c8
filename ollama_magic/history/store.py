"""The store of chats: the turns of all notebooks, in one SQLite file.

A session calls ``ChatStore``; nothing else writes chats. Each change is a transaction
of a function in ``rows``, ``changes``, ``identity`` or ``cache``. ``database`` handles
a file that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from ollama_magic.history import cache, changes, identity, rows
from ollama_magic.history.cache import CachedReply, UsedReplies
from ollama_magic.history.changes import PruneSummary, UndoResult
from ollama_magic.history.database import SafeDatabase
from ollama_magic.history.identity import NotebookMatch
from ollama_magic.history.notebooks import CellWithoutId, NotebookFile
from ollama_magic.history.rows import ChatSummary, NotebookState
from ollama_magic.history.turns import (
    MAIN_CHAT,
    Chat,
    Turn,
    fingerprint,
    page_order,
    utc_now,
)


class _CachedChat(NamedTuple):
    """A chat at one revision."""

    revision: int
    chat: Chat


def default_path() -> Path | None:
    """Return the chat file in the user's data directory; None without a home."""
    from platformdirs import user_data_path

    path = user_data_path("ollama_magic", appauthor=False) / "chats.sqlite"
    # Without a home directory the path begins with a literal "~".
    return path if path.is_absolute() else None


class ChatStore(SafeDatabase):
    """The chats of all notebooks of a user.

    Every change is one transaction. If the file fails, the store continues in memory
    until it is closed, with everything it has read. Several threads can use it; their
    calls run one after the other.

    Parameters
    ----------
    path
        The file, opened or created at the first use. None keeps chats in memory.
    is_self_contained
        Whether the file must be complete without its ``-wal`` after each change, so
        that it can be copied.
    warn
        Called once for each failure, with two lines: what happened and why, then what
        to do.
    running
        The running cell, for ``UsedReplies``.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        is_self_contained: bool = False,
        warn: Callable[[str], None],
        running: Callable[[], tuple[str, str]] = lambda: ("", ""),
    ) -> None:
        super().__init__(path, is_self_contained=is_self_contained, warn=warn)
        self.used_replies = UsedReplies(running)
        self._cached: dict[tuple[str, str], _CachedChat] = {}
        self._states: dict[str, NotebookState] = {}

    def identify_notebook(self, path: str, cell_id: str | None = None) -> NotebookMatch:
        """Return the notebook at a path; see ``identity``.

        Parameters
        ----------
        path
            The absolute path of a notebook file, which need not exist.
        cell_id
            The id of the running cell, if the front end sends one.
        """
        # Takes no lock, and is usually enough.
        match = self.query(identity.match_notebook, path, cell_id)
        if not match.needs_row:
            return match
        return self.commit(identity.identify_notebook, path, cell_id)

    def identify_cell(
        self, notebook: str, cell: CellWithoutId, file: NotebookFile | None
    ) -> str | None:
        """Return the id of a cell for which the front end sends none; see ``identity``.

        Parameters
        ----------
        file
            The notebook file; None if it cannot be read.
        """
        return self.commit(identity.identify_cell, notebook, cell, file)

    # -- turns -----------------------------------------------------------------

    def load(self, notebook: str, chat: str = MAIN_CHAT) -> Chat:
        """Return the live turns of a chat in their order; a new chat has none.

        They are read again only if another kernel has changed the chat.
        """
        return self.query(self._current, notebook, chat)

    def load_ordered(self, notebook: str, chat: str, cells: tuple[str, ...]) -> Chat:
        """Return a chat in the order of the cells of the page, and keep that order.

        Undo does not revert it, since the page is still the same.
        """
        turns = self.load(notebook, chat).turns
        if page_order(turns, cells) != turns:
            self._cached[notebook, chat] = self.commit(
                self._order, notebook, chat, cells
            )
        return replace(self.load(notebook, chat), page=cells)

    def record(
        self,
        notebook: str,
        chat: str,
        turn: Turn,
        *,
        append: bool = False,
        replaces: str = "",
        cells: tuple[str, ...] = (),
    ) -> Turn:
        """Add a turn, and return it as stored.

        It replaces a live turn of the same cell, in its position; the old turn stays in
        the file. A turn of the cell in another chat of the notebook is removed. The
        turn of a new cell follows the turns of the cells above it.

        Parameters
        ----------
        append
            Keep the turn of the cell, if it has one, and add this one at the end.
        replaces
            The uid of the turn to replace, whatever its cell.
        cells
            The ids of the cells in the order of the page, as far as it is known.

        Returns
        -------
        Turn
            With ``uid``, ``answered_at``, ``added_at``, ``text_hash`` and ``based_on``.
        """
        stored = rows.new_turn(turn, utc_now())
        recorded, cached = self.commit(
            self._record,
            notebook,
            chat,
            stored,
            append=append,
            replaces=replaces,
            cells=cells,
        )
        self._cached[notebook, chat] = cached
        return recorded

    def insert_turns(self, notebook: str, chats: Sequence[Chat]) -> None:
        """Set the turns of chats, in this order, in one transaction.

        Turns with a uid are live turns; see ``changes.insert_turns``.
        """
        self.commit(changes.insert_turns, notebook, chats)

    def name_turn(self, turn: Turn, cell_id: str) -> None:
        """Give a turn to another cell, which has none."""
        self.commit(identity.name_turn, turn, cell_id)

    def trust(self, uids: Collection[str]) -> None:
        """Send system messages and tool results of turns from a file from now on."""
        if uids:
            self.commit(changes.trust_turns, uids)

    def mark_new(
        self,
        notebook: str,
        chat: str,
        cell_id: str | None = None,
        cells: tuple[str, ...] = (),
    ) -> Turn:
        """Add a marker of a new conversation, as a turn of the running cell."""
        mark = Turn(starts_afresh=True, cell_id=cell_id)
        return self.record(notebook, chat, mark, cells=cells)

    def drop(self, uid: str) -> None:
        """Remove a turn from its chat; it stays in the file."""
        self.commit(rows.remove_turn, uid, why="dropped", at=utc_now())

    def undo(self, notebook: str, chat: str) -> UndoResult | None:
        """Undo the last change of a chat; return None if there is none.

        An added turn is removed, and the turn it replaced is restored; removed turns
        are restored. All of them stay in the file.
        """
        return self.commit(changes.undo_last_change, notebook, chat)

    def drop_cells(self, notebook: str, cell_ids: Collection[str]) -> None:
        """Remove the turns of deleted cells from their chats; they stay in the file."""
        self.used_replies.forget(cell_ids)
        found = (
            self.query(rows.find_turns_of_cell, notebook, cell_id)
            for cell_id in cell_ids
        )
        if any(found):  # usually not: most cells have no turns
            self.commit(changes.drop_cells, notebook, cell_ids)

    def all_turns(self, notebook: str, chat: str) -> list[tuple[Turn, str]]:
        """Return every turn that a chat ever had; see ``rows.read_all_turns``."""
        return self.query(rows.read_all_turns, notebook, chat)

    def versions(self, turn: Turn) -> list[Turn]:
        """Return the replies that a turn has had, oldest first; equal ones once."""
        return self.query(changes.read_versions, turn)

    def version_number(self, turn: Turn) -> int:
        """Return the number of a turn among its versions; 0 if it has no others."""
        hashes = list(self.query(rows.find_versions, turn))
        is_known = len(hashes) > 1 and turn.text_hash in hashes
        return hashes.index(turn.text_hash) + 1 if is_known else 0

    # -- cached replies --------------------------------------------------------

    def find_cached_reply(
        self, key: str, model: str = "", digest: str = ""
    ) -> CachedReply | None:
        """Return the latest cached reply to a request, if there is one.

        Parameters
        ----------
        key
            The ``request_key`` of the request.
        model
            The model; empty for any.
        digest
            The digest of the model; empty for any.
        """
        found = self.query(cache.find_cached_reply, key, model, digest)
        if found is not None:
            self.used_replies.add(key, found)
        return found

    def nearest_prompt(self, prompt: str) -> str:
        """Return the stored prompt that is most similar; empty if there is none.

        Only a self-contained file is searched; in the file of all notebooks the prompt
        could come from another notebook.
        """
        if not self._is_single:
            return ""
        return self.query(cache.nearest_prompt, prompt)

    def cache_replies(self, replies: Sequence[tuple[str, CachedReply]]) -> None:
        """Store replies by their keys, in place of earlier ones of the same model."""
        self.commit(cache.store_cached_replies, replies)
        for key, reply in replies:
            self.used_replies.add(key, reply)

    def extract(self, notebook: str) -> bytes:
        """Return a store file with the chats of a notebook, and the replies in use."""
        return self.query(
            identity.extract_notebook, notebook, self.used_replies.replies
        )

    # -- chats and notebooks ---------------------------------------------------

    def chats(self, notebook: str) -> list[ChatSummary]:
        """Return the chats of a notebook, oldest first."""
        return self.query(rows.read_summaries, notebook)

    def current_chat(self, notebook: str) -> str:
        """Return the chat of cells that name none."""
        return self._read_state(notebook).current_chat

    def set_current_chat(self, notebook: str, name: str) -> None:
        """Make a chat the current one; create it if it is new."""
        self._states[notebook] = self.commit(rows.set_current_chat, notebook, name)

    def chosen_model(self, notebook: str) -> str | None:
        """Return the default model of a notebook; None if none was chosen."""
        return self._read_state(notebook).model or None

    def choose_model(self, notebook: str, model: str) -> None:
        """Set the default model of a notebook."""
        self._states[notebook] = self.commit(
            rows.update_notebook, notebook, model=model
        )

    def rename_chat(self, notebook: str, chat: str, name: str) -> bool:
        """Rename a chat; return False if the name is taken."""
        is_renamed = self.commit(changes.rename_chat, notebook, chat, name)
        if is_renamed:
            self._forget_chat(notebook, chat)
        return is_renamed

    def delete_chat(self, notebook: str, chat: str) -> None:
        """Delete a chat with all its turns, permanently."""
        self.commit(changes.delete_chat, notebook, chat)
        self._forget_chat(notebook, chat)
        self.shrink()

    def prunable(self, notebook: str, older_than_days: float | None) -> PruneSummary:
        """Return what ``prune`` would delete."""
        return self.query(changes.find_prunable, notebook, older_than_days)

    def prune(self, notebook: str, older_than_days: float | None) -> PruneSummary:
        """Permanently delete discarded turns, in all notebooks.

        Parameters
        ----------
        notebook
            The notebook in use, whose chats stay.
        older_than_days
            Also delete chats and cached replies that are older; None keeps them.
        """
        removed = self.commit(changes.prune, notebook, older_than_days)
        self._cached.clear()
        self.shrink()
        return removed

    # -- the copy in memory ------------------------------------------------

    def _forget_chat(self, notebook: str, chat: str) -> None:
        """Forget a chat that was renamed or deleted, and read which chat is current."""
        self._cached.pop((notebook, chat), None)
        self._read_state(notebook)

    def _read_state(self, notebook: str) -> NotebookState:
        state = self.query(rows.read_notebook_state, notebook)
        self._states[notebook] = state
        return state

    def _current(self, database: Connection, notebook: str, name: str) -> Chat:
        """Return a chat, read from the file only if it has changed."""
        found = rows.find_chat(database, notebook, name)
        if found is None:
            return Chat(name)
        chat_id, revision = found
        known = self._cached.get((notebook, name))
        if known is None or known.revision != revision:
            chat = Chat(name, rows.read_turns(database, chat_id))
            self._cached[notebook, name] = known = _CachedChat(revision, chat)
        return known.chat

    def _order(
        self,
        database: Connection,
        notebook: str,
        name: str,
        cells: tuple[str, ...],
    ) -> _CachedChat:
        chat_id = rows.get_or_create_chat(database, notebook, name)
        turns = self._current(database, notebook, name).turns
        ordered = page_order(turns, cells)
        revision = rows.set_order(database, chat_id, turns, ordered)
        return _CachedChat(revision, Chat(name, ordered))

    def _record(
        self,
        database: Connection,
        notebook: str,
        name: str,
        turn: Turn,
        *,
        append: bool,
        replaces: str,
        cells: tuple[str, ...],
    ) -> tuple[Turn, _CachedChat]:
        chat_id = rows.get_or_create_chat(database, notebook, name)
        chat = replace(self._current(database, notebook, name), page=cells)
        earlier = next((one for one in chat.turns if one.uid == replaces), None)
        if earlier is None and not append:
            earlier = chat.turn_of(turn.cell_id)
        before = chat.before(turn.cell_id, append=append).turns
        if earlier is not None:
            before = chat.before_turn(earlier.uid).turns
        if not append:
            rows.remove_from_other_chats(database, notebook, turn, chat_id)
        in_use = () if turn.starts_afresh else before
        # The prompt, or a file, may say what the turn is based on.
        turn = replace(turn, based_on=turn.based_on or fingerprint(in_use))
        rows.add_turn(
            database, chat_id, turn, replaces=earlier.uid if earlier else None
        )
        turns = tuple(turn if one is earlier else one for one in chat.turns)
        turns = turns if earlier else (*turns, turn)
        ordered = page_order(turns, cells)
        revision = rows.set_order(database, chat_id, turns, ordered)
        return turn, _CachedChat(revision, Chat(name, ordered))

    def _on_open(self) -> None:
        self._cached.clear()

    def _restore(self, database: Connection) -> None:
        for (notebook, _), (revision, chat) in self._cached.items():
            rows.restore_chat(database, notebook, chat, revision)
        for notebook, state in self._states.items():
            rows.update_notebook(database, notebook, **state._asdict())
