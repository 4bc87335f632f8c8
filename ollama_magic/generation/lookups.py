"""Looks up facts on a server during a request, which never waits for them.

``run`` and ``compare`` have a ``Lookups`` for each request; ``status_line`` collects
what has arrived. A far server needs a round trip for each answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from ollama_magic.client.background import (
    OpenConnections,
    ask_in_time,
    defer_interrupt,
    run_in_background,
)
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import find_model
from ollama_magic.generation.models import ServerModels
from ollama_magic.generation.prepare import PreparedRequest
from ollama_magic.generation.response import Result

T = TypeVar("T")

_TOKENS_WORTH_CHECKING = 256
"""Half of the smallest context that is in use."""


class Lookups:
    """The models of a server, and the context length that one is loaded with.

    The models are requested at once, if the request was prepared without them, and the
    length when the reply begins, since the model is loaded by then.
    """

    def __init__(self, prepared: PreparedRequest) -> None:
        self._prepared = prepared
        self._connections = OpenConnections()
        self._length: Future[int] | None = None
        client = prepared.client
        calls = [client.list, client.ps] if prepared.is_unlisted else []
        start = self._connections.start
        self._lists = [start(partial(ask_in_time, call)) for call in calls]

    def request_length(self) -> None:
        """Request the length, unless that was done."""
        prepared = self._prepared
        if self._length is None and not prepared.is_slow:
            self._length = self._connections.start(self._ask_length)

    def _ask_length(self) -> int:
        # NB: a server that keeps silent about its models is not asked again.
        if any(isinstance(one.result()[0], TimeoutError) for one in self._lists):
            return 0
        prepared = self._prepared
        return length_in_memory(prepared.client, prepared.request.model)

    def with_lists(
        self, prepared: PreparedRequest, *, waits: bool = False
    ) -> PreparedRequest:
        """Return the request with the models of the server, if they have arrived.

        Parameters
        ----------
        waits
            Whether to wait for the installed models, as long as before a request that
            needs them.
        """
        if not prepared.is_unlisted:
            return prepared
        installed, loaded = self._lists
        if waits and not installed.done():
            asked(installed.result, unknown=[])
        elif not (waits or (installed.done() and loaded.done())):
            return prepared
        found = ServerModels(_arrived(installed), _arrived(loaded))
        return prepared.with_models(found)

    def length(self, prepared: PreparedRequest, result: Result) -> int:
        """Return the length for a result; 0 if unknown.

        The result waits for it only if the server did not say it before the reply, and
        the context may be too short.
        """
        stats, check = result.response.stats, prepared.context
        used = stats.prompt_eval_count + stats.eval_count
        if not check.length and max(used, check.size) >= _TOKENS_WORTH_CHECKING:
            self.request_length()
            try:
                return asked(self._wait, unknown=0)
            finally:
                self.close()
        is_known = self._length is not None and self._length.done()
        return (self._wait() if is_known else 0) or check.length

    def close(self) -> None:
        """Give up what has not arrived; the connections are closed."""
        self._connections.close()

    def _wait(self) -> int:
        return 0 if self._length is None else self._length.result()


def _arrived(call: Future[list[Any]]) -> Sequence[Any]:
    """Return a list that was requested; empty if it has not arrived."""
    found = call.result()[0] if call.done() else ()
    return () if isinstance(found, Exception) else found


def length_in_memory(client: OllamaClient, model_name: str) -> int:
    """Return the context length that a model is loaded with; 0 if unknown."""
    (loaded,) = ask_in_time(client.ps)
    model = None if isinstance(loaded, Exception) else find_model(model_name, loaded)
    return model.context_length if model else 0


def asked(call: Callable[[], T], unknown: T) -> T:
    """Return what a server says when a reply is complete.

    The reply is kept and shown in any case: an interrupt is raised later, and a slow
    server is abandoned after a short time.
    """
    try:
        return run_in_background(call)
    except KeyboardInterrupt:
        defer_interrupt()
        return unknown
