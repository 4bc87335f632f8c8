"""The line that ``%load_ext ollama_magic`` shows if a server answers at once.

It is said once in a kernel, to a user who can type: not in scripts, nbclient or a
replay, whose outputs must not depend on a server. Only this machine is asked. All this
happens after the cell, so that loading stays fast; what is imported here is what the
first prompt needs.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ollama_magic.errors import ConfigError, quoted
from ollama_magic.notebook.compat import harmless_handler, is_terminal

if TYPE_CHECKING:
    from ollama_magic.client.host import Host

_KEY = "ollama_magic.greeted"
_LOADS = re.compile(r"(?<!\w)load_ext\s+ollama_magic\b")
_CONNECT_S = 0.05
PATIENCE_S = 0.15
"""Time limit for the answer of a server."""


class Greeting:
    """Shows the line after the cell that has loaded the extension.

    Parameters
    ----------
    magics
        The :class:`~ollama_magic.notebook.magics.OllamaMagics` that were loaded.
    import_all
        Called after it in a thread, in a terminal: imports what the first Tab needs.
    """

    def __init__(
        self,
        magics: Any,  # noqa: ANN401  (traits are not typed)
        import_all: Callable[[], object],
    ) -> None:
        self._magics = magics
        self._import_all = import_all
        self._shell = magics.shell

    def register(self) -> None:
        """Wait for the end of the cell, unless this was done before in this shell."""
        if not self._shell.meta.get(_KEY):
            self._shell.meta[_KEY] = True
            self._shell.events.register("post_run_cell", self._after_cell)

    @harmless_handler
    def _after_cell(self, result: Any) -> None:  # noqa: ANN401  (as above)
        self._shell.events.unregister("post_run_cell", self._after_cell)
        is_typed = result.info.store_history and result.success
        if not (is_typed and _LOADS.search(result.info.raw_cell or "")):
            return
        if self._is_wanted():
            if line := self._line():
                sys.stdout.write(f"{line}\n")
            if is_terminal(self._shell):
                threading.Thread(target=self._import_all, daemon=True).start()

    def _is_wanted(self) -> bool:
        magics = self._magics
        if magics not in self._shell.configurables or magics.is_in_use or magics.cached:
            return False
        if is_terminal(self._shell):
            return sys.stdin.isatty()
        return bool(magics.cells.is_interactive)

    def _line(self) -> str:
        """Ask the server; return an empty text if it does not answer in time."""
        from ollama_magic.client.host import parse_host

        host = parse_host(self._magics.host or os.environ.get("OLLAMA_HOST"))
        if not (host.is_loopback and _accepts(host)):
            return ""
        from ollama_magic.client.background import ask_in_time
        from ollama_magic.generation.models import (
            ServerModels,
            chosen_model,
            model_to_ask,
        )

        session = self._magics.session
        client = session.client()
        calls = client.version, client.list, client.ps
        version, installed, loaded = ask_in_time(*calls, patience_s=PATIENCE_S)
        if isinstance(version, Exception) or isinstance(installed, Exception):
            return ""
        loaded = [] if isinstance(loaded, Exception) else loaded
        chosen = chosen_model(session, session.chat(), installed)
        models, allow_cloud = (
            ServerModels(installed, loaded),
            session.settings.allow_cloud,
        )
        try:
            named = chosen.name if chosen else ""
            name = named or model_to_ask("", models, allow_cloud=allow_cloud)
        except ConfigError:  # there is none
            name = ""
        return greeting_line(version, len(installed), name)


def _accepts(host: Host) -> bool:
    """Return whether something on this machine accepts a connection now."""
    import socket
    from urllib.parse import urlsplit

    url = urlsplit(host.base_url)
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    try:
        socket.create_connection((url.hostname or "", port), _CONNECT_S).close()
    except OSError:
        return False
    return True


def greeting_line(version: str, count: int, name: str) -> str:
    """Return the line about a server, its number of models, and the default model."""
    from ollama_magic.render.text import counted

    facts = f"ollama_magic: Ollama {quoted(version, limit=40)}"
    if not count:
        return f"{facts}, no models · %ollama pull smollm2:135m, %ollama help"
    facts += f", {counted(count, 'model')}"
    if not name:
        return f"{facts}, none selected · %ollama use NAME, %ollama help"
    using = quoted(name, limit=100)
    return f"{facts}, using {using} · %%ollama to ask, %ollama help"
