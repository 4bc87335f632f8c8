"""What is known about a result once its responses have ended.

``run`` and ``compare`` call ``with_facts``: which server and model replied, how much
context there was, and whether a part of the prompt was left out, which is an error if
the options say so.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ollama_magic.client.background import (
    OpenConnections,
    defer_interrupt,
    run_in_background,
    start_call,
)
from ollama_magic.errors import ContextExceededError
from ollama_magic.generation.models import knows_truncate, length_in_memory, server_note
from ollama_magic.generation.prepare import PreparedRequest
from ollama_magic.generation.response import Result
from ollama_magic.generation.session import Session
from ollama_magic.generation.waiting import note_load

T = TypeVar("T")

_TOKENS_WORTH_CHECKING = 256
"""Half of the smallest context that is in use."""


class LengthInMemory:
    """The context length that a model is loaded with, as the server says.

    It is requested when the reply begins, since the model is loaded by then, so that a
    complete reply need not wait for it; it waits only if its context may be too short.
    """

    def __init__(self, prepared: PreparedRequest) -> None:
        self._prepared = prepared
        self._requested: Future[int] | None = None
        self._connections = OpenConnections()

    def request(self) -> None:
        """Request it, unless that was done."""
        prepared = self._prepared
        if self._requested is None and not prepared.is_slow:
            call = partial(length_in_memory, prepared.client, prepared.request.model)
            with self._connections.tracked():
                self._requested = start_call(call)

    def of(self, result: Result) -> int:
        """Return the length for a result; 0 if unknown."""
        stats, check = result.response.stats, self._prepared.context
        used = stats.prompt_eval_count + stats.eval_count
        if max(used, check.size) >= _TOKENS_WORTH_CHECKING:
            self.request()
            try:
                return _asked(self._wait, unknown=0)
            finally:
                self.close()
        is_known = self._requested is not None and self._requested.done()
        return self._wait() if is_known else check.length

    def close(self) -> None:
        """Give up; the connection is closed."""
        self._connections.close()

    def _wait(self) -> int:
        return 0 if self._requested is None else self._requested.result()


def with_facts(
    session: Session,
    prepared: PreparedRequest,
    result: Result,
    length: LengthInMemory,
) -> Result:
    """Return the result with what is known about its server, model and context."""
    return _with_context(prepared, _with_source(session, prepared, result, length))


def _with_source(
    session: Session,
    prepared: PreparedRequest,
    result: Result,
    length: LengthInMemory,
) -> Result:
    cached = result.responses[0].cached
    if cached is not None:
        return replace(
            result,
            digest=cached.digest,
            host_kind=cached.host_kind,
            server_note=cached.server_note,
            context_length=cached.context_length,
        )
    client, kind = prepared.client, session.host_kind(prepared.client)
    for one in result.responses:
        loaded_s = one.stats.load_duration_s
        note_load(session, client, prepared.request.model, loaded_s)
    cloud = result.response.remote_host or prepared.cloud_host
    note = server_note(kind, client.host.base_url, cloud)
    if client.withheld_key is not None:
        note += ", without the API key"
    return replace(
        result,
        digest=prepared.digest,
        host_kind="cloud" if cloud else kind,
        server_note=note,
        context_length=_context_length(prepared, result, cloud, length),
    )


def _context_length(
    prepared: PreparedRequest, result: Result, cloud: str, length: LengthInMemory
) -> int:
    """Return the context length of the model that replied; 0 if unknown."""
    if result.fault is not None:
        length.close()
        return 0
    if cloud:  # it is in the memory of no server here
        return prepared.model.context_length if prepared.model else 0
    return length.of(result)


def _with_context(prepared: PreparedRequest, result: Result) -> Result:
    """Return the result with what was left out of its prompt: a notice, or a fault."""
    check, length, response = prepared.context, result.context_length, result.response
    fault = result.fault
    if isinstance(fault, ContextExceededError):
        check.advise(fault)
    elif check.is_refused and fault is None and check.lost(response.stats, length):
        if not (result.is_cached or result.host_kind == "cloud"):
            knows = _asked(partial(knows_truncate, prepared.client), unknown=False)
            check = replace(check, is_uncut=knows)
        fault = None if result.is_cached else check.lost(response.stats, length)
    notice = check.after(response.stats, response.done_reason, length)
    is_said = isinstance(fault, ContextExceededError)
    return replace(result, fault=fault, context_notice="" if is_said else notice)


def _asked(call: Callable[[], T], unknown: T) -> T:
    """Return what a server says when a reply is complete.

    The reply is kept and shown in any case: an interrupt is raised later, and a slow
    server is abandoned after a short time.
    """
    try:
        return run_in_background(call)
    except KeyboardInterrupt:
        defer_interrupt()
        return unknown
