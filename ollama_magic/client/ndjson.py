r"""Newline-delimited JSON: pieces of bytes in, objects out, as soon as each is whole.

Knows bytes and JSON, nothing of HTTP or of what the objects mean. Lines end at
``\n`` and nowhere else: text readers also cut at U+0085, U+2028 and U+2029, which
are ordinary characters inside of a JSON string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ollama_magic.client.redaction import Redactor
from ollama_magic.errors import StreamInterruptedError, quoted

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
