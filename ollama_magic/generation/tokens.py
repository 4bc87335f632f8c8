"""Estimates how many tokens a text has, from its bytes.

Megabytes take milliseconds, and no tokenizer is needed. After a reply the server's
counts are used instead.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping
from typing import Any

# Characters per token, checked against the counts of a real server (SmolLM2, Gemma).
_PER_TOKEN_LETTERS = 4.2  # English words with their blanks
_PER_TOKEN_OTHER_SCRIPTS = 2.0  # accents, Cyrillic, Greek, Arabic, Devanagari
_PER_TOKEN_SIGNS = 1.5  # digits and punctuation: code, numbers, markup
_PER_TOKEN_WIDE = 0.8  # Chinese, Japanese, Korean: often more than one token each
_PER_TOKEN_EMOJI = 0.5  # usually a few bytes that have no token of their own

_TOKENS_PER_MESSAGE = 6  # role and marks around a message, in ChatML-like templates
_TOKENS_TO_BEGIN_REPLY = 3

# Bytes of UTF-8. The first byte of a character shows roughly which script it is in.
_SIGNS = (string.digits + string.punctuation).encode()
_AFTER_FIRST = bytes(range(0x80, 0xC0))
_WIDE = bytes([*range(0xE3, 0xEE), 0xEF])  # U+3000-DFFF, U+F000-FFFF: CJK, full width
_RARE_PLANES = bytes(range(0xF0, 0xF8))  # from U+10000: emoji, mostly
_ASCII = bytes(range(0x80))


def estimate_tokens(text: str) -> int:
    """Return the estimated number of tokens of a text; 0 if it is empty.

    Within a factor of 1.5 for prose in Latin script and for code, of 2 for others.

    Examples
    --------
    >>> estimate_tokens("What is the capital of France?")
    8
    """
    data = text.encode("utf-8", "surrogatepass")
    signs = _count(data, _SIGNS)
    blanks = data.count(b"  ")  # runs of them, as in tables and code, are few tokens
    tokens = signs / _PER_TOKEN_SIGNS
    letters = len(data) - signs - blanks
    if len(data) != len(text):  # there is more than ASCII
        firsts = data.translate(None, _ASCII + _AFTER_FIRST)
        wide, rare = _count(firsts, _WIDE), _count(firsts, _RARE_PLANES)
        others = len(firsts) - wide - rare
        letters = len(text) - len(firsts) - signs - blanks
        tokens += wide / _PER_TOKEN_WIDE + rare / _PER_TOKEN_EMOJI
        tokens += others / _PER_TOKEN_OTHER_SCRIPTS
    return math.ceil(tokens + letters / _PER_TOKEN_LETTERS)


def message_tokens(tokens: int) -> int:
    """Return the tokens of a message, with its markers, from those of its content."""
    return tokens + _TOKENS_PER_MESSAGE


def estimate_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return the estimated number of tokens of messages; 0 if there are none.

    Counts ``content`` and ``thinking``, and the marks that a template puts around
    each message. Images and tools are not counted.
    """
    total = 0
    for message in messages:
        texts = (message.get("content"), message.get("thinking"))
        total += message_tokens(sum(estimate_tokens(t) for t in texts if t))
    return total + _TOKENS_TO_BEGIN_REPLY if total else 0


def _count(data: bytes, of: bytes) -> int:
    return len(data) - len(data.translate(None, of))
