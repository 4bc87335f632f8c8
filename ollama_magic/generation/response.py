"""One response of a model, while it streams and when it is complete.

Cells, comparisons, ``map_prompts`` and ``stream`` all read with ``Response.read``, and
``ReplyChunk.joined`` adds up chunks for them as for the client. Some models
write their thinking into the text, between ``<think>`` tags; it is kept apart here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from ollama_magic.client.background import BackgroundReader, ClosableStream
from ollama_magic.client.types import ReplyChunk, Stats, ToolCall
from ollama_magic.errors import Interrupted, OllamaMagicError
from ollama_magic.history.cache import CachedReply
from ollama_magic.history.turns import utc_now

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Separates ``<think>…</think>`` at the start of a response from its text.

    Later tags are text: a model may write about them.
    """

    def __init__(self) -> None:
        self._state = "start"
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Return the text and thinking known so far; hold back what is undecided."""
        if self._state == "text":
            return text, ""
        if self._state == "after":
            return self._after(text), ""
        self._held += text
        if self._state == "start":
            seen = self._held.lstrip()
            if not seen.startswith(_OPEN):
                return ("", "") if _OPEN.startswith(seen) else self.flush()
            self._state, self._held = "thinking", seen.removeprefix(_OPEN).lstrip()
        thinking, tag, rest = self._held.partition(_CLOSE)
        if tag:
            self._state, self._held = "after", ""
            return self._after(rest), thinking
        certain = len(thinking) - _overlap(thinking, _CLOSE)
        self._held = thinking[certain:]
        return "", thinking[:certain]

    def _after(self, text: str) -> str:
        """Remove blank lines between the tag and the text."""
        text = text.lstrip()
        self._state = "text" if text else "after"
        return text

    def flush(self) -> tuple[str, str]:
        """Return what was held back."""
        held, self._held = self._held, ""
        if self._state == "thinking":
            return "", held
        self._state = "text"
        return held, ""


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of ``text`` could begin ``tag``."""
    return next((n for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), 0)


class Response:
    """The response to one request, as far as it has arrived.

    Parameters
    ----------
    clock
        Seconds, monotonic; measures the time of thinking.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tags = ThinkTags()
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._thinking_began: float | None = None
        self.thinking_s = 0.0
        self._tool_calls: list[ToolCall] = []
        self.done_reason = ""
        self.remote_host = ""
        """The host that ran a cloud model, if the server says so."""
        self.stats = Stats()
        self.cached: CachedReply | None = None
        """The cached reply that this is, if any."""
        self.fault: BaseException | None = None
        """The error that ended it early."""
        self.ended_at = ""
        """UTC, ISO 8601; empty while the response streams."""

    @classmethod
    def of(cls, cached: CachedReply) -> Self:
        """Return the response for a cached reply; it keeps its time."""
        response = cls()
        response._text, response._thinking = [cached.text], [cached.thinking]
        response.thinking_s, response._tool_calls = (
            cached.thinking_s,
            [*cached.tool_calls],
        )
        response.done_reason, response.stats = cached.done_reason, cached.stats
        response.cached, response.ended_at = cached, cached.answered_at
        return response

    @property
    def text(self) -> str:
        """The text, without thinking."""
        return "".join(self._text)

    @property
    def thinking(self) -> str:
        """The thinking before the text."""
        return "".join(self._thinking)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, in order."""
        return tuple(self._tool_calls)

    @property
    def size(self) -> int:
        """Number of characters of text and thinking."""
        return len(self.text) + len(self.thinking)

    @property
    def has_text(self) -> bool:
        """Whether some text has arrived."""
        return bool(self._text)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has arrived that is worth keeping."""
        return not (self._text or self._thinking or self._tool_calls)

    @property
    def has_ended(self) -> bool:
        """Whether the response is complete or was ended early."""
        return self.cached is not None or bool(self.ended_at)

    def read(self, chunks: Iterable[ReplyChunk]) -> tuple[str, str]:
        """Read chunks of a stream; return the text and the thinking that they add."""
        chunk = ReplyChunk.joined(chunks)
        text, thinking = self._tags.feed(chunk.content) if chunk.content else ("", "")
        if chunk.done:
            more_text, more_thinking = self._tags.flush()
            text, thinking = text + more_text, thinking + more_thinking
            self.done_reason, self.stats = chunk.done_reason, chunk.stats
        self._tool_calls += chunk.tool_calls
        self.remote_host = chunk.remote_host or self.remote_host
        return self._keep(text, chunk.thinking + thinking)

    def end(self, fault: BaseException | None = None) -> tuple[str, str]:
        """End the response; return the text and the thinking that were held back."""
        self.fault, self.ended_at = fault, utc_now()
        return self._keep(*self._tags.flush())

    def _keep(self, text: str, thinking: str) -> tuple[str, str]:
        if thinking:
            now = self._clock()
            began = self._thinking_began = self._thinking_began or now
            self._thinking.append(thinking)
            self.thinking_s = now - began
        if text:
            self._text.append(text)
        return text, thinking


def receive(
    streams: Sequence[ClosableStream[ReplyChunk]],
    responses: Sequence[Response],
    show: Callable[[Response, str, str], object],
    tick: Callable[[], object],
    *,
    hz: float,
) -> None:
    """Read each stream into its response, all at the same time, until all have ended.

    A server error, or an interrupt by the user, becomes the ``fault`` of a response.

    Parameters
    ----------
    show
        Called with a response and its new text and thinking.
    tick
        Called after that, and every tenth of a second while nothing arrives.
    hz
        Screen updates per second.
    """
    try:
        with BackgroundReader(*streams, hz=hz) as reader:
            for arrived, ended in reader:
                for number in sorted({*arrived, *ended}):
                    response = responses[number]
                    text, thinking = response.read(arrived.get(number, ()))
                    if number in ended:
                        error = ended[number]
                        if not isinstance(error, OllamaMagicError | None):
                            raise error  # a bug keeps its traceback
                        more_text, more_thinking = response.end(error)
                        text, thinking = text + more_text, thinking + more_thinking
                    show(response, text, thinking)
                tick()
    except KeyboardInterrupt:
        for response in responses:
            if not response.has_ended:
                response.end(Interrupted())
