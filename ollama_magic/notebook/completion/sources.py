"""What Tab and Shift+Tab ask the session for; imported when they first do."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ollama_magic.errors import OllamaMagicError

if TYPE_CHECKING:
    from ollama_magic.client.models import ModelSummary
    from ollama_magic.generation.session import Session
    from ollama_magic.generation.settings import Settings


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

    def connect(self, host: str) -> Callable[[], Sequence[ModelSummary]]:
        """Return the function that asks that server for its models."""
        return self._session().client(host or None).list

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
