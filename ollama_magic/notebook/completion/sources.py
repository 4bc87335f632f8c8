"""What Tab and Shift+Tab ask the session and the servers for, when they first do.

The last list of models of each server is kept, and refreshed in threads. A server may
be far, hang or be gone, so Tab waits a short time for a list that nothing in this
kernel has got, and never for a newer one. The names of one server are never offered for
another.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ollama_magic.errors import OllamaMagicError

if TYPE_CHECKING:
    from ollama_magic.client.client import OllamaClient
    from ollama_magic.client.models import ModelSummary
    from ollama_magic.generation.session import Session
    from ollama_magic.generation.settings import Settings

_WAIT_FOR_FIRST_S = 0.5
"""How long after a first request Tab waits for its list; JupyterLab waits for 1 s."""
_FRESH_S = 1.0
"""How long a list is not asked for again: some front ends complete at every key."""
_MOST_SERVERS = 32


class Sources:
    """Names of the notebook, the store and the server.

    Parameters
    ----------
    shell
        The IPython shell.
    session
        Returns the session, and makes it if need be, which takes time.
    made
        Returns the session if there is one.
    settings
        Returns the settings as they are now.
    """

    def __init__(
        self,
        shell: Any,  # noqa: ANN401  (IPython is not typed)
        session: Callable[[], Session],
        made: Callable[[], Session | None],
        settings: Callable[[], Settings],
    ) -> None:
        self._shell = shell
        self._session = session
        self._made = made
        self._settings = settings
        self._thinking: dict[Hashable, Sequence[bool | str]] = {}

    def server(self, host: str) -> Hashable:
        """Return what identifies the server that a host means now, without delay."""
        session = self._made()
        server = session.server if session else None
        url = server.base_url if server else ""
        return host, self._settings().host, os.environ.get("OLLAMA_HOST"), url

    def connect(self, host: str) -> OllamaClient:
        """Return the client of that server."""
        return self._session().client(host or None)

    def thinking(self, model: str, host: str) -> Sequence[bool | str]:
        """Return the values of ``think`` that a model takes; none for a cloud model.

        An empty name is the default model. The server is asked once for each model.
        """
        from ollama_magic.client.models import is_cloud_name
        from ollama_magic.generation.models import chosen_model, thinking_values

        session = self._session()
        if not model and (chosen := chosen_model(session, session.chat())):
            model = chosen.name
        key = self.server(host), model
        if model and not is_cloud_name(model) and not self._thinking.get(key):
            client = session.client(host or None)
            self._thinking[key] = thinking_values(client, model)
        return self._thinking.get(key, ())

    def chats(self) -> Iterator[tuple[str, str]]:
        """Yield the names of chats and a note on each."""
        session = self._session()
        for chat in session.store.chats(session.notebook.key):
            yield chat.name, f"turns: {chat.turns}"

    def templates(self) -> Iterator[tuple[str, str]]:
        """Yield the names of templates and their prompts."""
        from ollama_magic.notebook import templates

        for name, (path, is_shared) in templates.by_name(self._session()).items():
            with suppress(OllamaMagicError, OSError):
                yield name, templates.read(path, is_shared=is_shared).text

    def compared(self) -> Sequence[str]:
        """Return the models of the last comparison."""
        compared = self._session().compared
        return compared.models if compared else ()

    def values(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the namespace, and the part of it that IPython made."""
        return self._shell.user_ns, self._shell.user_ns_hidden

    def hide(self, text: str) -> str:
        """Remove the secrets that this kernel knows from a text."""
        return self._session().redactor.text(text)


# -- lists of models ------------------------------------------------------------------


@dataclass(slots=True)
class _Server:
    models: Sequence[ModelSummary] | None = None
    client: OllamaClient | None = None
    thread: threading.Thread | None = None
    asked_at: float = -math.inf
    has_names: threading.Event = field(default_factory=threading.Event)
    """Whether there are names to offer, or will be none."""

    def is_outdated(self) -> bool:
        """Return whether this kernel has changed the models of the server since."""
        return self.client is not None and self.client.models_changed_s > self.asked_at

    def names(self) -> Sequence[ModelSummary]:
        """Return the last list that anything in this kernel has got."""
        return (self.client and self.client.recent_models()) or self.models or ()


class ModelLists:
    """The lists of models by server.

    Parameters
    ----------
    key
        Returns what identifies the server that a host (of ``--host``, or empty) means
        now. Without delay.
    connect
        Returns the client of that server. It may be slow: it runs in a thread, as the
        request does, and only one for each server.
    """

    def __init__(
        self, key: Callable[[str], Hashable], connect: Callable[[str], OllamaClient]
    ) -> None:
        self._key = key
        self._connect = connect
        self._servers: dict[Hashable, _Server] = {}
        self._lock = threading.Lock()

    def known(self, host: str = "") -> Sequence[ModelSummary]:
        """Return the last list of a server, at once; empty if there is none."""
        server = self._servers.get(self._key(host))
        return server.names() if server else ()

    def __call__(self, host: str = "") -> Sequence[ModelSummary]:
        """Return the models of a server, as far as they are known in time."""
        key = self._key(host)
        with self._lock:
            server = self._servers.pop(key, None) or _Server()
            self._servers[key] = server  # the last one used is the last one here
            if len(self._servers) > _MOST_SERVERS:
                del self._servers[next(iter(self._servers))]
            is_asked = server.thread is not None and server.thread.is_alive()
            is_old = time.monotonic() - server.asked_at > _FRESH_S
            if server.is_outdated() or (is_old and not is_asked):
                self._ask(key, host, server)
        waits_until = server.asked_at + _WAIT_FOR_FIRST_S
        server.has_names.wait(max(0.0, waits_until - time.monotonic()))
        return server.names()

    def _ask(self, key: Hashable, host: str, server: _Server) -> None:
        if server.models is None or server.is_outdated():
            server.has_names = threading.Event()
        server.asked_at = time.monotonic()
        server.thread = threading.Thread(
            target=self._refresh,
            args=(key, host, server, server.has_names),
            daemon=True,
        )
        server.thread.start()

    def _refresh(
        self, key: Hashable, host: str, server: _Server, has_names: threading.Event
    ) -> None:
        try:
            client = self._connect(host)
            if self._key(host) != key:  # the setting was changed meanwhile
                return
            server.client = client
            if recent := client.recent_models():  # a cell has got it, for example
                server.models = recent
                has_names.set()
            server.models = client.list()
        except Exception:  # noqa: BLE001  (Tab shows no errors)
            return
        finally:
            has_names.set()
