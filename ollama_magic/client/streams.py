r"""Streamed responses: bytes in, typed chunks out; any thread may close them.

The client returns them. A stream is complete at its last object (``done`` or
``success``) and not where the bytes end. Lines end at ``\n`` only: text readers also
split at U+0085, U+2028 and U+2029, which are ordinary characters in a JSON string.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

from ollama_magic.client.http import MAX_RESPONSE_BYTES, HttpExchange
from ollama_magic.client.progress import MAX_LAYERS
from ollama_magic.client.redaction import Redactor
from ollama_magic.client.server_errors import (
    error_words,
    not_ollama,
    redirected,
    response_error,
    server_error,
    signin_url,
    transfer_error,
)
from ollama_magic.client.types import Progress, ReplyChunk
from ollama_magic.errors import OllamaMagicError, StreamInterruptedError, quoted

T = TypeVar("T", ReplyChunk, Progress)
ListNames = Callable[[], Sequence[str]]
"""Returns the names of the installed models, to suggest the nearest."""

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is an error; Ollama's own client stops at 8 MiB."""
_MAX_ERROR_BYTES = 1024 * 1024


# -- status --------------------------------------------------------------------


def check_status(exchange: HttpExchange, list_names: ListNames) -> None:
    """Raise the error that the server responded with, unless the status is 2xx.

    Parameters
    ----------
    list_names
        Called if the model does not exist.
    """
    status_code = exchange.status_code
    if 200 <= status_code < 300:
        return
    info = exchange.info
    if 300 <= status_code < 400:
        raise redirected(info, exchange.location)
    body = exchange.read(max_bytes=_MAX_ERROR_BYTES)
    exchange.close()
    raise response_error(
        info,
        status_code,
        body,
        content_type=exchange.content_type,
        installed=list_names() if status_code == 404 and info.model else (),
        hide=exchange.redactor.error,
    )


# -- streams -------------------------------------------------------------------


class Stream(ABC, Generic[T]):
    """A response that is still arriving: iterate over it, and close it.

    Nothing is sent before the first ``next``. A stream is a context manager. Leaving it
    closes the connection, and the server stops its work; so does an exception inside
    ``next``, ``KeyboardInterrupt`` included.
    """

    def __init__(self, exchange: HttpExchange, list_names: ListNames) -> None:
        self._exchange = exchange
        self._list_names = list_names
        self._objects = self._read_objects()
        self._is_complete = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Return the next chunk; waits until the server has sent it.

        Raises
        ------
        ServerUnreachableError
            Nothing responded; no chunk was returned.
        ServerError
            The server rejected the request, or failed during its response.
        StreamInterruptedError
            The response was cut off, or closed on this side. Earlier chunks are valid.
        """
        if self._is_complete:
            raise StopIteration
        try:
            chunk = self._next_chunk()
            if self._is_last(chunk):
                self._is_complete = True
                self._exchange.finish()
        except BaseException:
            self.close()
            raise
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection at once; any thread may call this, also repeatedly.

        A thread that waits in ``next`` gets a ``StreamInterruptedError``, and so does
        every later ``next`` of an incomplete stream. A complete stream ends with
        ``StopIteration`` as usual.
        """
        self._exchange.close()

    def _next_chunk(self) -> T:
        data = next(self._objects, None)
        if data is None:
            raise StreamInterruptedError(
                f"The response from {self._exchange.host.base_url} was cut off.",
                why="the stream ended without its last line",
                next_step="run it again; the text so far is kept",
            )
        if data.get("error"):
            words = self._exchange.redactor.error(error_words(data["error"]))
            raise self._server_error(words, signin_url(data))
        if "choices" in data:  # from a server that has OpenAI's API at this path
            raise self._not_ollama(json.dumps(data))
        return self._decode(data)

    def _read_objects(self) -> Iterator[dict[str, Any]]:
        self._exchange.open()
        check_status(self._exchange, self._list_names)
        yield from read_objects(self._json_pieces(), redactor=self._exchange.redactor)

    def _json_pieces(self) -> Iterator[bytes]:
        """Yield the body, if it starts like a JSON object and not like a web page."""
        exchange = self._exchange
        head, pieces = b"", exchange.pieces()
        for piece in pieces:
            head = (head + piece).lstrip()
            start = head.removeprefix(BYTE_ORDER_MARK).lstrip()
            if not start or BYTE_ORDER_MARK.startswith(head):
                head = head[: len(BYTE_ORDER_MARK)]
                continue
            if not start.startswith(b"{"):
                text = exchange.redactor.error(start.decode("utf-8", "replace"))
                raise self._not_ollama(text)
            yield start
            break
        yield from pieces

    def _not_ollama(self, text: str) -> OllamaMagicError:
        exchange = self._exchange
        status_code, kind = exchange.status_code, exchange.content_type
        return not_ollama(exchange.info, status_code, text, kind)

    def _server_error(self, words: str, url: str) -> OllamaMagicError:
        return server_error(self._exchange.info, words, signin_url=url)

    @abstractmethod
    def _decode(self, data: dict[str, Any]) -> T: ...

    @abstractmethod
    def _is_last(self, chunk: T) -> bool: ...


class ReplyStream(Stream[ReplyChunk]):
    """A model's reply, chunk by chunk; the last chunk has ``done`` true.

    Secrets are hidden, even one that is split between chunks: text that may be the
    start of a secret is delivered with the next chunk.
    """

    _size = 0

    def __init__(self, exchange: HttpExchange, list_names: ListNames) -> None:
        super().__init__(exchange, list_names)
        self._content = exchange.redactor.fragments()
        self._thinking = exchange.redactor.fragments()

    def complete(self) -> ReplyChunk:
        """Wait for the end and return the whole reply as one chunk.

        Raises
        ------
        OllamaMagicError
            As iteration does; an incomplete reply is never returned.
        """
        with self:
            return ReplyChunk.joined(self)

    def _decode(self, data: dict[str, Any]) -> ReplyChunk:
        if "answers" in data:  # a decision is one chunk, whose content is its JSON
            told = {name: data[name] for name in ("answers", "usage") if name in data}
            text = json.dumps(told, ensure_ascii=False)
            return ReplyChunk(content=text, done=True, done_reason="stop")
        chunk = ReplyChunk.from_json(data)
        self._size += len(chunk.content) + len(chunk.thinking)
        if chunk.tool_calls:
            self._size += sum(len(str(call.arguments)) for call in chunk.tool_calls)
        if self._size > MAX_RESPONSE_BYTES:
            raise StreamInterruptedError(
                "The reply was cut off: it is too long.",
                why=f"more than {MAX_RESPONSE_BYTES:,} characters",
                next_step="limit its length: -o num_predict N",
            )
        return self._redacted(chunk)

    def _redacted(self, chunk: ReplyChunk) -> ReplyChunk:
        """Hide secrets that are split; those in one chunk are hidden already."""
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
    """The progress of a pull, push or creation; the last ``status`` is ``success``.

    Any other end is a ``ModelTransferError`` that says how far it got.
    """

    def __init__(
        self,
        exchange: HttpExchange,
        list_names: ListNames,
        note_change: Callable[[], object],
    ) -> None:
        super().__init__(exchange, list_names)
        self._note_change = note_change
        self._layers: dict[str, Progress] = {}

    def _next_chunk(self) -> Progress:
        try:
            return super()._next_chunk()
        except StreamInterruptedError as exc:
            if self._exchange.is_closed:
                raise
            raise transfer_error(
                self._exchange.info, why=exc.why, progress=self._so_far()
            ) from exc

    def _server_error(self, words: str, url: str) -> OllamaMagicError:
        info, progress = self._exchange.info, self._so_far()
        return server_error(info, words, progress=progress, signin_url=url)

    def _decode(self, data: dict[str, Any]) -> Progress:
        progress = Progress.from_json(data)
        is_known = progress.digest in self._layers
        if progress.digest and (is_known or len(self._layers) < MAX_LAYERS):
            self._layers[progress.digest] = progress
        return progress

    def _is_last(self, chunk: Progress) -> bool:
        is_last = chunk.status == "success"
        if is_last:
            self._note_change()
        return is_last

    def _so_far(self) -> str:
        """Return ``12.4 of 42.5 GB``, or nothing if no bytes were reported."""
        total = sum(layer.total_bytes for layer in self._layers.values())
        if not total:
            return ""
        completed = sum(layer.completed_bytes for layer in self._layers.values())
        unit, size = ("GB", 1e9) if total >= 1e9 else ("MB", 1e6)
        return f"{completed / size:.1f} of {total / size:.1f} {unit}"


# -- newline-delimited JSON ----------------------------------------------------

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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
    r"""Yield the JSON object of each line; the cost is linear however bytes are split.

    Blank lines and ``\r\n`` are accepted, the last line may lack its newline, a line
    may hold several objects, and an object may be indented over several lines. Invalid
    UTF-8 and lone surrogates become U+FFFD, so that every string can be encoded again.

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
    lines = _joined(_lines(pieces, max_line_bytes), max_line_bytes)
    for number, line in enumerate(lines, 1):
        if line and not line.isspace():
            yield from _objects(line, f"line {number}", redactor)


def parse_object(
    line: bytes, *, where: str, redactor: Redactor = _NO_SECRETS
) -> dict[str, Any]:
    """Return the only JSON object in ``line``, without secrets.

    Raises
    ------
    StreamInterruptedError
        It is not one JSON object; the error names ``where``.
    """
    found = list(_objects(line, where, redactor))
    if len(found) != 1:
        raise _not_json(line, where, redactor)
    return found[0]


def _objects(line: bytes, where: str, redactor: Redactor) -> Iterator[dict[str, Any]]:
    text = _without_lone_surrogates(line.strip()).decode("utf-8", "replace")
    start, length = 0, len(text)
    while start < length:
        try:
            # NB: json.loads costs twice as much.
            found, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):  # ValueError: also numbers of 4301 digits
            found, end = None, 0
        if not isinstance(found, dict):
            raise _not_json(line, where, redactor)
        redactor.json(found, text if end - start == length else text[start:end])
        yield found
        start = end
        while start < length and text[start].isspace():
            start += 1


def _not_json(line: bytes, where: str, redactor: Redactor) -> StreamInterruptedError:
    shown = quoted(redactor.error(line.decode("utf-8", "replace")), limit=80)
    return StreamInterruptedError(
        "The response was cut off: it is not valid JSON.",
        why=f"{where} is not JSON: {shown}",
        next_step="run it again; if the error repeats, check which server this is: "
        "%ollama version",
    )


def _joined(lines: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Join the lines of each object that is indented, from ``{`` to ``}``."""
    parts: list[bytes] = []
    size = 0
    for line in lines:
        if not parts and line.rstrip() != b"{":
            yield line
            continue
        parts.append(line)
        size += len(line)
        _check_size(size, max_bytes)
        if line.startswith(b"}"):
            yield b"\n".join(parts)
            parts.clear()
            size = 0
    if parts:
        yield b"\n".join(parts)


def _lines(pieces: Iterable[bytes], max_line_bytes: int) -> Iterator[bytes]:
    """Split at newlines; an unfinished line is kept in pieces and joined once."""
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
            "The response was cut off: one of its lines is too long.",
            why=f"a line of more than {max_line_bytes:,} bytes",
            next_step="check which server this is: %ollama version",
        )


def _without_lone_surrogates(line: bytes) -> bytes:
    if b"\\u" not in line or not _HAS_SURROGATE.search(line):
        return line
    return _SURROGATES.sub(
        lambda match: rb"\ufffd" if match["lone"] else match[0], line
    )
