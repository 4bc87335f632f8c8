"""What a call from Python finds around it: a session of the magics, or nothing.

Knows where the default server, the store and the front end come from. To be used
wherever Python is the door and not a magic.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ollama_magic.client import OllamaClient
from ollama_magic.errors import OllamaMagicError
from ollama_magic.history.store import ChatStore, default_path
from ollama_magic.host import parse_host
from ollama_magic.kept_answers import Answers
from ollama_magic.rendering.progress_line import (
    NotebookProgress,
    ProgressLine,
    TerminalProgress,
)

if TYPE_CHECKING:
    from ollama_magic.session import Session


@dataclass(frozen=True)
class Surroundings:
    """Who is asked by default, where answers are kept, and who looks on."""

    answers: Answers
    session: Session | None = None
    """Of the extension, where it is loaded."""
    shell: Any = field(default=None, repr=False)
    """Of IPython, where there is one."""

    @property
    def namespace(self) -> Mapping[str, Any]:
        """The user namespace; empty outside of IPython."""
        namespace: Mapping[str, Any] = self.shell.user_ns if self.shell else {}
        return namespace

    def client(self, host: str | None = None) -> OllamaClient:
        """Return a client for a host, or for the one that is configured.

        The API key goes to the configured host and to no other.
        """
        if host is not None and not self._is_configured(host):
            if self.session is not None:
                return self.session.client(host)
            return OllamaClient(host, api_key="")
        return self.session.client() if self.session else OllamaClient(None)

    def is_configured(self, client: OllamaClient) -> bool:
        """Tell whether a client's host is the one that is configured."""
        return not client.host.user and self._is_configured(client.host.base_url)

    def kind(self, client: OllamaClient) -> str:
        """Return ``embedded``, ``loopback`` or ``remote``."""
        if self.session is not None:
            return self.session.host_kind(client)
        return "loopback" if client.host.is_loopback else "remote"

    def progress_line(self) -> ProgressLine | None:
        """Return where progress is shown; None where nobody would see it."""
        if getattr(self.shell, "kernel", None) is not None:
            return NotebookProgress(self.shell.display_pub.publish)
        if sys.stderr is not None and sys.stderr.isatty():
            return TerminalProgress(sys.stderr.write, is_tty=True)
        return None

    def _is_configured(self, host: str) -> bool:
        named = parse_host(host)
        with suppress(OllamaMagicError):  # a wrong setting is told when it is used
            return not named.user and named.base_url == self.client().host.base_url
        return False


@contextmanager
def surroundings(warn: Callable[[str], None]) -> Iterator[Surroundings]:
    """Give what is around, and take back what was only made for this call.

    Parameters
    ----------
    warn
        Called with what the user must be told of the store.
    """
    ipython: Any = sys.modules.get("IPython")  # who has not imported it has no shell
    shell = ipython.get_ipython() if ipython is not None else None
    magics = shell.meta.get("ollama_magic") if shell is not None else None
    if magics is not None:
        yield Surroundings(magics.session.store, magics.session, shell)
        return
    with closing(ChatStore(default_path(), warn=warn)) as store:
        yield Surroundings(store, None, shell)
