"""Estimates how many tokens a text will be, without the model's tokenizer.

Knows rules of thumb and no model. Good enough to say "this will not fit" before a
prompt is sent; the server's ``prompt_eval_count`` tells the truth afterwards.
"""

from __future__ import annotations

import math
import re
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

# CJK, kana, hangul and full-width forms; then emoji and other rare planes.
_WIDE = re.compile("[\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_EMOJI = re.compile("[\U00010000-\U0001ffff]")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_SIGNS = re.compile(r"[!-@\[-`{-~]")


def estimate_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is; 0 for an empty text.

    Within a factor of 1.5 for prose in Latin script and for code, of 2 for others.

    Examples
    --------
    >>> estimate_tokens("What is the capital of France?")
    8
    """
    wide = _count(_WIDE, text)
    emoji = _count(_EMOJI, text)
    other = _count(_NON_ASCII, text) - wide - emoji
    signs = _count(_SIGNS, text)
    letters = len(text) - wide - emoji - other - signs
    return math.ceil(
        letters / _PER_TOKEN_LETTERS
        + other / _PER_TOKEN_OTHER_SCRIPTS
        + signs / _PER_TOKEN_SIGNS
        + wide / _PER_TOKEN_WIDE
        + emoji / _PER_TOKEN_EMOJI
    )


def estimate_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens a chat request's messages are; 0 for none.

    Counts ``content`` and ``thinking``, and the marks that a template puts around
    each message. Images and tools are not counted.
    """
    total = 0
    for message in messages:
        texts = (message.get("content"), message.get("thinking"))
        total += _TOKENS_PER_MESSAGE + sum(estimate_tokens(t) for t in texts if t)
    return total + _TOKENS_TO_BEGIN_REPLY if total else 0


def _count(pattern: re.Pattern[str], text: str) -> int:
    return 0 if text.isascii() and pattern is not _SIGNS else len(pattern.findall(text))
