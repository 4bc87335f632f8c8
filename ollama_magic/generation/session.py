"""The state of one kernel: settings, server, store, notebook, chat, last reply.

The magics have one session for their shell; a script has one for its process.
Everything is created at first use, so that loading the extension stays fast.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import parse_host
from ollama_magic.client.redaction import Headers, Redactor
from ollama_magic.errors import ConfigError
from ollama_magic.generation.front_end import Cells, NoCells
from ollama_magic.generation.settings import Settings
from ollama_magic.history.notebooks import (
    CellWithoutId,
    Notebook,
    NotebookFile,
    find_notebook,
)
from ollama_magic.history.page import Page
from ollama_magic.history.store import ChatStore, default_path
from ollama_magic.history.turns import Chat, base_id
from ollama_magic.server.launch import RunningServer, crash_report, started_for

if TYPE_CHECKING:
    from ollama_magic.generation.compare import Compared
    from ollama_magic.generation.notebook_cells import PastCells
    from ollama_magic.generation.reply import Reply


_NO_CELL_IDS = "this front end sends no cell ids: re-running a cell adds a turn"
_IN_TEXT = (
    "text notebooks have no cell ids: if this cell was edited, its old turn stays"
)
_NOT_SAVED = "the notebook is not saved yet: this chat is lost when the kernel stops"


class Session:
    """The state behind the magics of one shell.

    Parameters
    ----------
    shell
        The IPython shell.
    read_settings
        Called at each use, so that ``%config`` takes effect at once.
    cells
        Identifies the running cell.
    past
        Finds other cells of the notebook; None in a script.
    """

    holds_secrets: ClassVar[bool] = True
    """Placeholders of a prompt cannot read its attributes."""

    def __init__(
        self,
        shell: Any,  # noqa: ANN401  (IPython is not typed)
        read_settings: Callable[[], Settings],
        cells: Cells,
        past: PastCells | None = None,
    ) -> None:
        self.shell = shell
        self._read_settings = read_settings
        self.cells = cells
        self.past = past
        cells.find_with(self._find_cell)
        self.last_reply: Reply | None = None
        self.last_chat: str | None = None
        """The chat of the last turn of this kernel."""
        self.compared: Compared | None = None
        """The last comparison, for ``%ollama keep``."""
        self.code_below: dict[str, dict[str, str]] = {}
        """The hashes of the code inserted below cells, and when, by cell id."""
        # Tab completion may use the session from another thread (VS Code does).
        self._lock = threading.RLock()
        self._server = started_for()  # by the session before ``%reload_ext``
        self._store: ChatStore | None = None
        self._store_file = ""
        self._warnings: list[str] = []
        self.page = Page()
        self._saved_at_drop: NotebookFile | None = None
        """The file whose deleted cells have left the chat already."""
        self._footnote = ""
        self._footnotes_shown: set[str] = set()
        self._keys: dict[tuple[str, str], str] = {}
        self._warned_of_key: set[str] = set()
        self.load_times: dict[tuple[str, str], float] = {}
        """Seconds that loads by this kernel took, by server and model."""

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return self._read_settings()

    # -- server ------------------------------------------------------------

    def client(self, host: str | None = None) -> OllamaClient:
        """Return a client for ``host``, or for the host of this session.

        API key and headers belong to the configured host and go to no other.

        Raises
        ------
        ConfigError
            The host cannot be used.
        EngineError
            The server that was started here has crashed.
        """
        if host:
            return self._make_client(host, api_key="")
        server = self.server
        if server is None or server.kind == "found":
            return self.configured_client()
        report = crash_report()
        if report is not None:
            raise report
        if server.api_key is None:
            return self.configured_client()
        return self._make_client(server.base_url, api_key=server.api_key)

    def configured_client(self) -> OllamaClient:
        """Return a client for the configured host, also after ``%ollama serve``.

        A warning says once per host that the API key is not sent to it.
        """
        host, headers = self.settings.host or None, self.settings.headers
        client = self._make_client(host, headers=headers)
        error, url = client.withheld_key, client.host.base_url
        if error is not None and url not in self._warned_of_key:
            self._warned_of_key.add(url)
            self._warnings.append(str(error))
        return client

    def take_key_warning(self, client: OllamaClient) -> ConfigError | None:
        """Return why the key is not sent, and drop the warning: the caller shows it."""
        error = client.withheld_key
        if error is not None and str(error) in self._warnings:
            self._warnings.remove(str(error))
        return error

    def _make_client(
        self,
        host: str | None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> OllamaClient:
        return OllamaClient(
            host,
            api_key=api_key,
            headers=headers,
            idle_timeout_s=self.settings.timeout or None,
            insecure_hosts=self.settings.insecure_hosts,
        )

    @property
    def redactor(self) -> Redactor:
        """Hides all secrets that this kernel knows."""
        secrets = [os.environ.get("OLLAMA_API_KEY", "").strip()]
        if self.server is not None:
            secrets.append(self.server.api_key or "")
        secrets += Headers(self.settings.headers).secrets
        for address in (self.settings.host, os.environ.get("OLLAMA_HOST")):
            with suppress(ConfigError):  # reported when it is used
                secrets += parse_host(address).secrets
        return Redactor(secrets)

    def redactor_for(self, client: OllamaClient) -> Redactor:
        """Hides all secrets that this kernel or a client knows."""
        return client.redactor.joined(self.redactor)

    @property
    def server(self) -> RunningServer | None:
        """The server of ``%ollama serve``, while the configured host is the same."""
        if self._server is None or self._server[0] != self.configured_url:
            return None
        return self._server[1]

    @server.setter
    def server(self, server: RunningServer | None) -> None:
        self._server = None if server is None else (self.configured_url, server)

    @property
    def configured_url(self) -> str:
        """Base URL of the configured host, or of ``OLLAMA_HOST``."""
        configured = self.settings.host or os.environ.get("OLLAMA_HOST")
        return parse_host(configured).base_url

    def host_kind(self, client: OllamaClient) -> str:
        """Return ``embedded``, ``loopback`` or ``remote``."""
        server = self.server
        is_ours = server is not None and client.host.base_url == server.base_url
        if server is not None and is_ours and server.kind == "embedded":
            return "embedded"
        return "loopback" if client.host.is_loopback else "remote"

    # -- chat --------------------------------------------------------------

    @property
    def store(self) -> ChatStore:
        """The store of chats, opened at first use and when its file changes."""
        with self._lock:
            file = self.settings.history_file
            if self._store is None or self._store_file != file:
                self.close()
                self._store_file = file
                path = Path(file).expanduser() if file else None
                self._store = ChatStore(
                    path or default_path(),
                    # NB: a file of the user's may be copied, sent or committed.
                    is_self_contained=path is not None,
                    warn=self._warnings.append,
                    running=self._running_cell,
                )
            return self._store

    @property
    def notebook(self) -> Notebook:
        """The notebook of this kernel, if it can be detected.

        The notebook at a path is identified once; this kernel keeps to it, even if the
        file is moved or replaced.
        """
        found = find_notebook(
            self.shell,
            self.settings.notebook,
            is_in_notebook=self.cells.is_in_notebook,
        )
        if found.path is None:
            return found
        place = (found.path, self.settings.history_file)
        with self._lock:
            if place not in self._keys:
                followed = self.store.identify_notebook(
                    found.path, self.cells.permanent_id
                )
                self._keys[place] = followed.key
                self._warnings += followed.notes()
        return replace(found, key=self._keys[place])

    @property
    def chat_name(self) -> str:
        """The chat of cells that name none."""
        return self.store.current_chat(self.notebook.key)

    def chat(self, name: str | None = None, *, asked: str | None = None) -> Chat:
        """Return a chat in the order of the page, without turns of deleted cells.

        The running cell is about to get a turn for the prompt ``asked``; an empty one
        is for the marker of a new conversation.
        """
        notebook, store = self.notebook, self.store
        key, name = notebook.key, name or store.current_chat(notebook.key)
        cell_id = self.cells.cell_id  # may give turns of this chat the id of the cell
        if deleted := self.cells.deleted_cells:
            store.drop_cells(key, deleted)
            self.cells.forget_deleted()
        with self._lock:
            self.page.read(notebook.path)
            if notebook.is_text:
                self._read_text_notebook(store.load(key, name), cell_id, asked)
            if asked is not None:
                turns = store.load(key, name).turns
                self.page.follow(turns, cell_id, *self.cells.sent_together)
            return store.load_ordered(key, name, self.page.cells)

    def _read_text_notebook(
        self, chat: Chat, cell_id: str | None, asked: str | None
    ) -> None:
        """Give a cell the turn that it had before, and find the cells of the chat."""
        prompts = [(t.cell_id, t.prompt) for t in chat.turns if t.cell_id]
        if cell_id and asked is not None:
            earlier = self.page.earlier_turn(chat.turns, cell_id, asked)
            if earlier is not None:
                self.store.name_turn(earlier, cell_id)
                named = (cell_id, earlier.prompt)
                prompts[prompts.index((earlier.cell_id or "", earlier.prompt))] = named
            elif chat.turn_of(cell_id) is None:
                prompts.append((cell_id, asked))
                if self.page.earlier(chat.numbered):
                    self._footnote = _IN_TEXT
        assert self.notebook.path is not None
        self.page.read_text(self.notebook.path, prompts)

    def _running_cell(self) -> tuple[str, str]:
        return base_id(self.cells.cell_id), self.cells.sent_together[0]

    def _find_cell(self, cell: CellWithoutId) -> str | None:
        """Return the id of the running cell, if the front end sends none."""
        notebook = self.notebook
        before, saved = self._saved_at_drop, self.page.read(notebook.path)
        name = None
        if cell.address or saved is not None:
            name = self.store.identify_cell(notebook.key, cell, saved)
        if saved is not None:
            # The file shows deleted cells only if it has the running one: a newer file
            # without it waits for a cell that it has.
            is_in_file = name in saved.cell_ids
            if is_in_file and before is not None:
                self.store.drop_cells(notebook.key, saved.deleted_since(before))
            if is_in_file or before is None or before.path != saved.path:
                self._saved_at_drop = saved
        if notebook.path is None:
            self._footnote = _NOT_SAVED if cell.address else ""
        elif cell.source:
            self._footnote = "" if name else _NO_CELL_IDS
        return name

    def take_footnote(self) -> str:
        """Return the note about cell ids that one footer shows, and forget it."""
        note, self._footnote = self._footnote, ""
        return self.once(note)

    def once(self, note: str) -> str:
        """Return a note that was not shown in this kernel; else an empty text."""
        if note in self._footnotes_shown:
            return ""
        self._footnotes_shown.add(note)
        return note

    # -- the rest ----------------------------------------------------------

    @property
    def namespace(self) -> Mapping[str, Any]:
        """The user namespace."""
        namespace: Mapping[str, Any] = self.shell.user_ns
        return namespace

    def take_warnings(self) -> list[str]:
        """Return the warnings that were not shown yet, and forget them."""
        # NB: another thread may add one meanwhile.
        return [self._warnings.pop(0) for _ in range(len(self._warnings))]

    def close(self) -> None:
        """Close the store. A server that was started is stopped elsewhere."""
        if self._store is not None:
            self._store.close()
            self._store = None


_KEY = "ollama_magic"
_LOCK = threading.Lock()


def current_session() -> Session:
    """Return the session of this notebook, if the extension is loaded.

    Elsewhere return the session of this process. It has the default settings, and the
    server and model of the environment; its chats last as long as the process unless
    they are named.
    """
    # NB: without a shell this must not import IPython: it takes as long as the rest.
    ipython = sys.modules.get("IPython.core.getipython")
    shell = ipython.get_ipython() if ipython is not None else None
    magics = shell.meta.get(_KEY) if shell is not None else None
    if magics is not None:
        session: Session = magics.session
        return session
    with _LOCK:  # without the lock, two threads could make one each
        return _of_this_process()


def close_own_session() -> None:
    """Close the session of this process, if any; the next call makes a new one.

    For long-lived programs, and for tests.
    """
    if _of_this_process.cache_info().currsize:
        _of_this_process().close()
        _of_this_process.cache_clear()


@cache
def _of_this_process() -> Session:
    return Session(SimpleNamespace(user_ns={}, meta={}), Settings, NoCells())
