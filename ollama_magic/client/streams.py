"""Answers as they arrive: lazy iterators of typed chunks that any thread may close.

Knows when an answer is complete and when it only stopped. Knows no endpoint and no
socket; the exchange with the server is :mod:`ollama_magic.client.http`.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

from ollama_magic.client.http import MAX_ANSWER_BYTES, Exchange
from ollama_magic.client.progress import MAX_LAYERS
from ollama_magic.client.redaction import Redactor
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
from ollama_magic.errors import OllamaMagicError, StreamInterruptedError, quoted

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


MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is a fault: Ollama's own client stops at 8 MiB."""

_NO_SECRETS = Redactor()
_DECODER = json.JSONDecoder()
_HAS_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATES = re.compile(
    rb"\\\\"  # an escaped backslash: the u after it starts no escape
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole pair
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def read_objects(
    pieces: Iterable[bytes],
    *,
    max_line_bytes: int = MAX_LINE_BYTES,
    redactor: Redactor = _NO_SECRETS,
) -> Iterator[dict[str, Any]]:
    r"""Yield the JSON object of each line; cost is linear however the bytes are cut.

    Blank lines and ``\r\n`` are fine; the last line may lack its newline. Bytes that
    are not UTF-8 and halves of surrogate pairs become U+FFFD, so that every string
    can be encoded again.

    Parameters
    ----------
    redactor
        Hides secrets in the objects, and in a line that an error shows.

    Raises
    ------
    StreamInterruptedError
        A line is not a JSON object, or is longer than ``max_line_bytes``.

    Examples
    --------
    >>> list(read_objects([b'{"a": 1}\n\n{"b"', b': 2}']))
    [{'a': 1}, {'b': 2}]
    """
    for number, line in enumerate(_lines(pieces, max_line_bytes), 1):
        if line and not line.isspace():
            yield parse_object(line, where=f"line {number}", redactor=redactor)


def parse_object(
    line: bytes, *, where: str, redactor: Redactor = _NO_SECRETS
) -> dict[str, Any]:
    """Return the JSON object in ``line``, without secrets.

    Raises
    ------
    StreamInterruptedError
        It is not JSON, or JSON that is no object; ``where`` names the place.
    """
    try:
        text = _without_lone_surrogates(line.strip()).decode("utf-8", "replace")
        found, end = _DECODER.raw_decode(text)  # json.loads costs twice as much
        if end != len(text):
            found = None
    except (ValueError, RecursionError):  # ValueError: also numbers of 4301 digits
        found = None
    if isinstance(found, dict):
        redactor.json(found, text)
        return found
    shown = quoted(redactor.error(line.decode("utf-8", "replace")), limit=80)
    raise StreamInterruptedError(
        "The answer broke off: the server sent something that is not its protocol.",
        why=f"{where} is not JSON: {shown}",
        next_step="run it again; if it repeats, look at what answers: %ollama version",
    )


def _lines(pieces: Iterable[bytes], max_line_bytes: int) -> Iterator[bytes]:
    """Cut at newlines; an unfinished line is kept as its pieces and joined once."""
    unfinished: list[bytes] = []
    size = 0
    for piece in pieces:
        *complete, rest = piece.split(b"\n")
        for line in complete:
            _check_size(size + len(line), max_line_bytes)
            if not unfinished:
                yield line
                continue
            yield b"".join([*unfinished, line])
            unfinished.clear()
            size = 0
        if rest:
            unfinished.append(rest)
            size += len(rest)
            _check_size(size, max_line_bytes)
    if unfinished:
        yield b"".join(unfinished)


def _check_size(size: int, max_line_bytes: int) -> None:
    if size > max_line_bytes:
        raise StreamInterruptedError(
            "The answer broke off: one line of it is over the limit.",
            why=f"a line of more than {max_line_bytes:,} bytes",
            next_step="look at what answers: %ollama version",
        )


def _without_lone_surrogates(line: bytes) -> bytes:
    if b"\\u" not in line or not _HAS_SURROGATE.search(line):
        return line
    return _SURROGATES.sub(
        lambda match: rb"\ufffd" if match["lone"] else match[0], line
    )
