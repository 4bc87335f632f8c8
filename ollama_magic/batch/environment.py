"""What a call of ``map_prompts`` finds around it: whose servers, and who looks on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import parse_host
from ollama_magic.client.options import check_options
from ollama_magic.errors import OllamaMagicError
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import chosen_model
from ollama_magic.render.progress import (
    NotebookProgress,
    ProgressLine,
    TerminalProgress,
)


@dataclass(frozen=True)
class Surroundings:
    """Who is asked by default, and who looks on."""

    session: Session

    @property
    def model(self) -> str | None:
        """The model that this notebook asks; None leaves it to the server's list."""
        before = self.session.chat().before(self.session.cells.cell_id)
        chosen = chosen_model(self.session, before)
        return chosen.name if chosen else None

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What the settings say of each request: ``system`` and ``options``."""
        settings = self.session.settings
        return {
            "system": settings.system or None,
            "options": check_options(settings.options),
        }

    def client(self, host: str | None = None) -> OllamaClient:
        """Return a client for a host, or for the one that is configured.

        The API key goes to the configured host and to no other.
        """
        is_other = host is not None and not self._is_configured(host)
        return self.session.client(host if is_other else None)

    def is_configured(self, client: OllamaClient) -> bool:
        """Tell whether a client's host is the one that is configured."""
        return not client.host.user and self._is_configured(client.host.base_url)

    def progress_line(self) -> ProgressLine | None:
        """Return where progress is shown; None where nobody would see it."""
        shell = self.session.shell
        if getattr(shell, "kernel", None) is not None:
            published, mode = shell.display_pub, self.session.cells.claim_output()
            return NotebookProgress(
                published.publish, published.clear_output, mode=mode
            )
        if sys.stderr is not None and sys.stderr.isatty():
            return TerminalProgress(sys.stderr.write, is_tty=True)
        return None

    def _is_configured(self, host: str) -> bool:
        named = parse_host(host)
        with suppress(OllamaMagicError):  # a wrong setting is told when it is used
            return not named.user and named.base_url == self.client().host.base_url
        return False
