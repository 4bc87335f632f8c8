"""The models that Tab offers: the last list of each server, refreshed in threads.

A server may be far, hang or be gone, so Tab waits a short time for a list that it does
not have, and hardly at all for a newer one. The names of one server are never offered
for another.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from ollama_magic.client.models import ModelSummary

List = Callable[[], Sequence[ModelSummary]]

_WAIT_FOR_FIRST_S = 0.12
"""How long Tab waits for a list of a server that it has none of."""
_WAIT_FOR_NEWER_S = 0.03
"""How long it waits for a newer list: a near server answers in that time."""
_HANGS_AFTER_S = 1.0
"""After this time without an answer, Tab waits no longer."""
_FRESH_S = 1.0
"""How long a list is not asked for again: some front ends complete at every key."""
_MOST_SERVERS = 32


@dataclass(slots=True)
class _Server:
    models: Sequence[ModelSummary] | None = None
    thread: threading.Thread | None = None
    asked_at: float = -math.inf


class ModelLists:
    """The lists by server.

    Parameters
    ----------
    key
        Returns what identifies the server that a host (of ``--host``, or empty) means
        now. Without delay.
    connect
        Returns the function that asks that server. It may be slow: both run in a
        thread, and only one for each server.
    """

    def __init__(
        self, key: Callable[[str], Hashable], connect: Callable[[str], List]
    ) -> None:
        self._key = key
        self._connect = connect
        self._servers: dict[Hashable, _Server] = {}
        self._lock = threading.Lock()

    def known(self, host: str = "") -> Sequence[ModelSummary]:
        """Return the last list of a server, at once; empty if there is none."""
        server = self._servers.get(self._key(host))
        return (server.models or ()) if server else ()

    def __call__(self, host: str = "") -> Sequence[ModelSummary]:
        """Return the models of a server, as far as they are known in time."""
        key = self._key(host)
        with self._lock:
            server = self._servers.pop(key, None) or _Server()
            self._servers[key] = server  # the last one used is the last one here
            if len(self._servers) > _MOST_SERVERS:
                del self._servers[next(iter(self._servers))]
            is_asked = server.thread is not None and server.thread.is_alive()
            if not is_asked and time.monotonic() - server.asked_at > _FRESH_S:
                ask = threading.Thread(
                    target=self._refresh, args=(key, host, server), daemon=True
                )
                server.thread, server.asked_at = ask, time.monotonic()
                ask.start()
            thread = server.thread
        is_first = server.models is None
        age_s = time.monotonic() - server.asked_at
        if thread and age_s < (_HANGS_AFTER_S if is_first else _WAIT_FOR_NEWER_S):
            thread.join(_WAIT_FOR_FIRST_S if is_first else _WAIT_FOR_NEWER_S)
        return server.models or ()

    def _refresh(self, key: Hashable, host: str, server: _Server) -> None:
        try:
            ask = self._connect(host)
            if self._key(host) == key:  # else the setting was changed meanwhile
                server.models = list(ask())
        except Exception:  # noqa: BLE001  (Tab shows no errors)
            return
