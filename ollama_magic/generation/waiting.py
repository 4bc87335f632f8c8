"""What a cell says while it waits for a reply: what happens, and about how long.

``run`` and ``compare`` show it. What earlier replies took is looked up while the cell
waits, so that no reply starts later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.progress import duration_text, last_time_text, size_text
from ollama_magic.generation.prepare import PreparedRequest
from ollama_magic.generation.response import Response
from ollama_magic.generation.session import Session
from ollama_magic.history.durations import (
    COLD_S,
    expected_reading_s,
    last_load_s,
    reading_times,
)

_LOOKS_UP_AFTER_S = 1.0
_READING_WORTH_SAYING_S = 3.0


def server_of(kind: str, client: OllamaClient) -> str:
    """Return what turns store of their server; empty for an Ollama on this machine.

    Parameters
    ----------
    kind
        ``embedded``, ``loopback`` or ``remote``.
    """
    return {"embedded": kind, "remote": client.host.base_url}.get(kind, "")


def load_times(session: Session, client: OllamaClient) -> Callable[[str], float]:
    """Return what says how long a model last took to load on a server."""
    server, known = server_of(session.host_kind(client), client), session.load_times

    def last(model: str) -> float:
        here = known.get((server, model))
        return here or session.store.query(last_load_s, model, server)

    return last


def note_load(
    session: Session, client: OllamaClient, model: str, seconds: float
) -> None:
    """Remember a cold load; a reply that is in no chat is not in the store."""
    if seconds >= COLD_S:
        server = server_of(session.host_kind(client), client)
        session.load_times[server, model] = seconds


class Waiting:
    """The line of one request while nothing has arrived."""

    def __init__(self, session: Session, prepared: PreparedRequest) -> None:
        self._session = session
        self._prepared = prepared

    def first_text(self, response: Response) -> str:
        """Return the text to show while the output is empty; else an empty text."""
        prepared = self._prepared
        is_hidden = prepared.options.hide_thinking and not response.has_text
        if not (response.is_empty or is_hidden):
            return ""
        model, summary = prepared.request.model, prepared.model
        if not response.is_empty:
            return f"{model} is thinking…"
        if response.total:
            return f"{model} is drawing, step {response.completed} of {response.total}…"
        size = f" ({size_text(summary.size_bytes)})" if summary else ""
        doing = f"loading {model}{size}…"
        if prepared.loaded:
            doing = f"waiting for {model}…"
        if prepared.cloud_host:
            doing = f"sending to {prepared.cloud_host}…"
        fits = prepared.context.fits is not False
        return doing if fits else f"this will probably not fit the context; {doing}"

    def text(self, response: Response, seconds: float) -> str:
        """Return what to show after so many seconds; empty once text is visible."""
        waits = self.first_text(response)
        if not waits:
            return ""
        is_early = seconds < _LOOKS_UP_AFTER_S or not response.is_empty
        return f"{waits} {seconds:.0f} s{'' if is_early else self._expected}"

    @cached_property
    def _expected(self) -> str:
        """How long the model took to load, and about how long reading will take."""
        prepared, model = self._prepared, self._prepared.request.model
        if prepared.cloud_host:
            return ""
        last_s = 0.0
        if prepared.loaded is None:
            last_s = load_times(self._session, prepared.client)(model)
        return last_time_text(last_s) + self._reading()

    def _reading(self) -> str:
        prepared, check = self._prepared, self._prepared.context
        if prepared.images or prepared.left_out or not check.is_whole:
            return ""  # the tokens of images are unknown
        # The server remembers what the same model read for the turn before.
        is_remembered = prepared.loaded and check.at_least
        tokens = check.prompt if is_remembered else check.size
        tokens = min(tokens, check.length or tokens)
        session, client = self._session, prepared.client
        server = server_of(session.host_kind(client), client)
        times = session.store.query(reading_times, prepared.request.model, server)
        seconds = expected_reading_s(tokens, times)
        if seconds < _READING_WORTH_SAYING_S:
            return ""
        return f" · reading about {_rounded(tokens):,} tokens, {_about(seconds)}"


def _rounded(tokens: int) -> int:
    """Return a number with two digits that are not zero."""
    return round(tokens, 2 - len(str(tokens)))


def _about(seconds: float) -> str:
    """Return a rough duration.

    >>> _about(3.4), _about(38), _about(205)
    ('about 3 s', 'about 40 s', 'about 3 min')
    """
    if seconds >= 90:
        return f"about {duration_text(60 * round(seconds / 60)).removesuffix(' 00 s')}"
    return f"about {round(seconds, -1) if seconds >= 10 else round(seconds):.0f} s"
