"""How likely each token of a reply was: ``logprobs`` of a response, and what they tell.

``types`` reads them from the chunks of a reply. Ollama sends them for every token that
the model wrote, so those of thinking and of tags are left out by ``of_text``.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from ollama_magic.client.json_values import (
    JsonObject,
    json_ints,
    json_objects,
    json_text,
)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a reply and its log probability."""

    token: str
    logprob: float
    """Natural logarithm of the probability: 0 is certain."""
    bytes: tuple[int, ...] = ()
    """The token in UTF-8, which may be a part of a character."""
    top_logprobs: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens at this position, if they were requested."""

    @classmethod
    def list_from_json(cls, value: object, depth: int = 1) -> tuple[Self, ...]:
        """Read ``logprobs`` of a response; leaves out tokens without a number."""
        return tuple(
            cls(
                json_text(data.get("token")),
                float(data["logprob"]),
                _bytes_of(data),
                cls.list_from_json(data.get("top_logprobs"), depth - 1),
            )
            for data in (json_objects(value) if depth >= 0 else ())
            if _is_logprob(data.get("logprob"))
        )

    @property
    def probability(self) -> float:
        """The probability of the token, between 0 and 1."""
        return math.exp(min(self.logprob, 0.0))

    @property
    def utf8(self) -> builtins.bytes:
        """The token in UTF-8, also if the server did not send its bytes."""
        return bytes(self.bytes) or self.token.encode("utf-8", "replace")

    @property
    def text(self) -> str:
        r"""The token as text; a part of a character is written as ``\xf0``."""
        return self.utf8.decode("utf-8", "backslashreplace")


def _bytes_of(data: JsonObject) -> tuple[int, ...]:
    """Return the bytes of a token; none where the text hides a secret in them."""
    text, found = json_text(data.get("token")), json_ints(data.get("bytes"))
    if not all(0 <= byte < 256 for byte in found):
        return ()
    is_part = "\N{REPLACEMENT CHARACTER}" in text
    return found if is_part or bytes(found) == text.encode("utf-8", "replace") else ()


def _is_logprob(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(float(str(value))) < math.inf


@dataclass(frozen=True, slots=True)
class Piece:
    """One token, or several that are one text only together."""

    text: str
    tokens: tuple[TokenLogprob, ...]

    @property
    def probability(self) -> float:
        """The probability that all of its tokens were written."""
        return math.prod(token.probability for token in self.tokens)


class Logprobs(tuple[TokenLogprob, ...]):
    """The tokens of a reply with their log probabilities; empty if there are none."""

    __slots__ = ()

    @property
    def confidence(self) -> float | None:
        """The geometric mean of the probabilities; None if there are none."""
        if not self:
            return None
        return math.exp(sum(min(token.logprob, 0.0) for token in self) / len(self))

    def of_text(self, text: str) -> Logprobs:
        """Return the tokens of the text alone; none if they do not have this text.

        What stands before it is thinking, and after it a tag or an end of turn. A text
        in which a secret was hidden is not found, since its tokens would show it.
        """
        whole, wanted = b"".join(token.utf8 for token in self), text.strip()
        start = whole.rfind(wanted.encode("utf-8", "replace")) if wanted else -1
        if start < 0:
            return Logprobs()
        end, found, at = start + len(wanted.encode("utf-8", "replace")), [], 0
        for token in self:
            at += len(token.utf8)
            if at > start and at - len(token.utf8) < end:
                found.append(token)
        return Logprobs(found)

    def pieces(self) -> Iterator[Piece]:
        """Yield the tokens; those that are parts of one character are joined."""
        held: list[TokenLogprob] = []
        data = b""
        for token in self:
            held.append(token)
            data += token.utf8
            if len(held) < _MAX_PARTS and _is_open(data):
                continue
            yield Piece(data.decode("utf-8", "replace"), tuple(held))
            held, data = [], b""
        if held:
            yield Piece(data.decode("utf-8", "replace"), tuple(held))

    def to_frame(self) -> Any:  # noqa: ANN401  (pandas is not imported here)
        """Return a ``pandas.DataFrame`` with a row for each token.

        Its columns are ``token``, ``probability``, ``logprob`` and ``alternatives``: a
        dict of the likeliest tokens and their probabilities.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        import pandas

        return pandas.DataFrame(
            [
                {
                    "token": token.text,
                    "probability": token.probability,
                    "logprob": token.logprob,
                    "alternatives": {
                        one.text: one.probability for one in token.top_logprobs
                    },
                }
                for token in self
            ],
            columns=["token", "probability", "logprob", "alternatives"],
        )


NO_LOGPROBS = Logprobs()

_MAX_PARTS = 4
"""Bytes of the longest character of UTF-8."""


def _is_open(data: bytes) -> bool:
    r"""Return whether the last character lacks bytes, or ``\r`` its ``\n``."""
    if data.endswith(b"\r"):
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False
