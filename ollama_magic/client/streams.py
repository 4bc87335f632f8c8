"""Answers as they arrive: lazy iterators of typed chunks that any thread may close.

Knows when an answer is complete and when it only stopped. Knows no endpoint and no
socket; the exchange with the server is :mod:`ollama_magic.client.exchange`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

from ollama_magic.client.exchange import MAX_ANSWER_BYTES, Exchange
from ollama_magic.client.ndjson import read_objects
from ollama_magic.client.progress import MAX_LAYERS
from ollama_magic.client.server_errors import (
    Attempt,
    error_words,
    not_ollama,
    redirected,
    refusal,
    server_error,
    transfer_error,
)
from ollama_magic.client.types import Progress, ReplyChunk, ToolCall
from ollama_magic.errors import OllamaMagicError, StreamInterruptedError

T = TypeVar("T", ReplyChunk, Progress)
Names = Callable[[], Sequence[str]]

_MAX_REFUSAL_BYTES = 1024 * 1024


def check_status(exchange: Exchange, attempt: Attempt, installed: Names) -> None:
    """Return if the server took the request (status 200 to 299), else raise.

    Parameters
    ----------
    installed
        Asked for the names of the installed models when this one is not there.
    """
    status_code = exchange.status_code
    if 200 <= status_code < 300:
        return
    if 300 <= status_code < 400:
        raise redirected(attempt, exchange.location)
    body = exchange.read(max_bytes=_MAX_REFUSAL_BYTES)
    exchange.close()
    error = refusal(
        attempt,
        status_code,
        body,
        content_type=exchange.content_type,
        installed=installed() if status_code == 404 and attempt.model else (),
        hide=exchange.redactor.error,
    )
    if attempt.withheld_key is not None and status_code in {401, 403}:
        error.next_step = f"the API key stayed here; {attempt.withheld_key.next_step}"
    raise error


class Stream(ABC, Generic[T]):
    """An answer in the making: iterate over it, and close it.

    Nothing is sent before the first ``next``. The stream is a context manager, and
    leaving it ends the connection, upon which the server stops its work; so does an
    exception inside of ``next``, ``KeyboardInterrupt`` included.
    """

    def __init__(self, exchange: Exchange, attempt: Attempt, installed: Names) -> None:
        self._exchange = exchange
        self._attempt = attempt
        self._installed = installed
        self._objects = self._answered_objects()
        self._is_complete = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Return the next chunk; waits until the server has sent it.

        Raises
        ------
        ServerUnreachableError
            Nothing answered; no chunk was returned.
        ServerError
            The server refused, or failed while it answered.
        StreamInterruptedError
            The answer broke off, or was closed on this side. What came stands.
        """
        if self._is_complete:
            raise StopIteration
        try:
            chunk = self._take()
            self._is_complete = self._is_last(chunk)
        except BaseException:
            self.close()
            raise
        if self._is_complete:
            self.close()
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection at once; may be called from any thread, and again.

        A thread that waits in ``next`` wakes up with ``StreamInterruptedError``, and
        so does every later ``next`` of an answer that was not complete. A complete
        one ends with ``StopIteration`` as ever.
        """
        self._exchange.close()

    def _take(self) -> T:
        data = next(self._objects, None)
        if data is None:
            raise StreamInterruptedError(
                f"The answer from {self._attempt.base_url} broke off before its end.",
                why="the stream ended without its last line",
                next_step="run it again; what came before stands",
            )
        if data.get("error"):
            words = self._exchange.redactor.error(error_words(data["error"]))
            raise self._failed(words)
        return self._decoded(data)

    def _answered_objects(self) -> Iterator[dict[str, Any]]:
        self._exchange.open()
        check_status(self._exchange, self._attempt, self._installed)
        yield from read_objects(self._json_pieces(), redactor=self._exchange.redactor)

    def _json_pieces(self) -> Iterator[bytes]:
        """Pass the body on, if it begins like an object and not like a web page."""
        exchange = self._exchange
        pieces = exchange.pieces()
        for piece in pieces:
            begin = piece.lstrip()
            if begin and not begin.startswith(b"{"):
                said = exchange.redactor.error(begin.decode("utf-8", "replace"))
                raise not_ollama(
                    self._attempt, exchange.status_code, said, exchange.content_type
                )
            yield piece
            if begin:
                break
        yield from pieces

    def _failed(self, words: str) -> OllamaMagicError:
        return server_error(self._attempt, words)

    @abstractmethod
    def _decoded(self, data: dict[str, Any]) -> T: ...

    @abstractmethod
    def _is_last(self, chunk: T) -> bool: ...


class ReplyStream(Stream[ReplyChunk]):
    """What a model writes, fragment by fragment; the last chunk has ``done`` true.

    Secrets are hidden, also one that is cut in two: an end of a fragment that may begin
    one comes with the next fragment.
    """

    _size = 0

    def __init__(self, exchange: Exchange, attempt: Attempt, installed: Names) -> None:
        super().__init__(exchange, attempt, installed)
        self._content = exchange.redactor.fragments()
        self._thinking = exchange.redactor.fragments()

    def complete(self) -> ReplyChunk:
        """Wait for the end and return the whole reply as one chunk.

        Raises
        ------
        OllamaMagicError
            As iteration does; a reply that broke off is never returned.
        """
        content: list[str] = []
        thinking: list[str] = []
        tool_calls: list[ToolCall] = []
        last = ReplyChunk()
        with self:
            for last in self:
                content.append(last.content)
                thinking.append(last.thinking)
                tool_calls.extend(last.tool_calls)
        return replace(
            last,
            content="".join(content),
            thinking="".join(thinking),
            tool_calls=tuple(tool_calls),
        )

    def _decoded(self, data: dict[str, Any]) -> ReplyChunk:
        chunk = ReplyChunk.from_json(data)
        self._size += len(chunk.content) + len(chunk.thinking)
        if chunk.tool_calls:
            self._size += sum(len(str(call.arguments)) for call in chunk.tool_calls)
        if self._size > MAX_ANSWER_BYTES:
            raise StreamInterruptedError(
                "The answer broke off: it is over the limit.",
                why=f"more than {MAX_ANSWER_BYTES:,} characters",
                next_step="limit it: -o num_predict N",
            )
        return self._redacted(chunk)

    def _redacted(self, chunk: ReplyChunk) -> ReplyChunk:
        """Hide secrets that are cut in two; those in one chunk are hidden already."""
        if self._content is None or self._thinking is None:
            return chunk
        is_last = chunk.done or bool(chunk.tool_calls)
        has_thought = is_last or (bool(chunk.content) and not chunk.thinking)
        return replace(
            chunk,
            content=self._content.add(chunk.content, is_last=is_last),
            thinking=self._thinking.add(chunk.thinking, is_last=has_thought),
        )

    def _is_last(self, chunk: ReplyChunk) -> bool:
        return chunk.done


class ProgressStream(Stream[Progress]):
    """The course of a pull, push or creation; the last ``status`` is ``success``.

    Whatever else ends it is a ``ModelTransferError`` that says how far it came.
    """

    def __init__(self, exchange: Exchange, attempt: Attempt, installed: Names) -> None:
        super().__init__(exchange, attempt, installed)
        self._layers: dict[str, Progress] = {}

    def _take(self) -> Progress:
        try:
            return super()._take()
        except StreamInterruptedError as exc:
            if self._exchange.is_closed:
                raise
            raise transfer_error(
                self._attempt, why=exc.why, progress=self._so_far()
            ) from exc

    def _failed(self, words: str) -> OllamaMagicError:
        return server_error(self._attempt, words, progress=self._so_far())

    def _decoded(self, data: dict[str, Any]) -> Progress:
        progress = Progress.from_json(data)
        is_known = progress.digest in self._layers
        if progress.digest and (is_known or len(self._layers) < MAX_LAYERS):
            self._layers[progress.digest] = progress
        return progress

    def _is_last(self, chunk: Progress) -> bool:
        return chunk.status == "success"

    def _so_far(self) -> str:
        """Return ``12.4 of 42.5 GB``, or nothing when no bytes were counted."""
        total = sum(layer.total_bytes for layer in self._layers.values())
        if not total:
            return ""
        completed = sum(layer.completed_bytes for layer in self._layers.values())
        unit, size = ("GB", 1e9) if total >= 1e9 else ("MB", 1e6)
        return f"{completed / size:.1f} of {total / size:.1f} {unit}"
