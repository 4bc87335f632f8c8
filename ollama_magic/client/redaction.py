"""Replaces known secrets by ``***`` in text and in decoded JSON.

The client redacts what a server says, a cell redacts what it fills into a prompt. A
secret is found in its usual spellings too: JSON and Python escapes, percent encoding,
HTML entities, also for some of its characters only. Redaction comes after decoding and
before anything is cut: an escape hides a secret from a search, and so does a cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from html.entities import codepoint2name
from typing import Any

_MASK = "***"
_SHORTEST = 4
"""Characters; what is shorter stands in many words by chance."""
_SHORTEST_IN_TEXT = 8
_LONGEST_WORD = 12
_SPELLED_OUT = 48
"""Characters that are matched in every spelling; a longer pattern is slow to build."""

_ESCAPES = "\\%&+"
"""Each way to spell a character, other than the plain one, has one of these in it."""


class Redactor:
    r"""Hides secrets in text.

    A secret that may be a word (fewer than 8 characters, or up to 12 letters, such as
    the key ``ollama`` that some programs want) is hidden in errors only: replies and
    names of models would be full of holes.

    Parameters
    ----------
    secrets
        Plain, as they are sent or typed; those of fewer than 4 characters are dropped.

    Examples
    --------
    >>> hidden = Redactor(["p&ss<w>rd"])
    >>> hidden.text(r'"p\u0026ss\u003cw\u003erd"'), hidden.text("p%26ss%3Cw%3erd")
    ('"***"', '***')
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        unique = {secret for secret in secrets if len(secret) >= _SHORTEST}
        # The longest first: a secret may be a part of another.
        self._all = tuple(sorted(unique, key=lambda one: (-len(one), one)))
        self._distinct = tuple(one for one in self._all if not _may_be_a_word(one))

    def __bool__(self) -> bool:
        return bool(self._all)

    def __repr__(self) -> str:
        return f"Redactor({len(self._all)} secrets)"

    def joined(self, *others: Redactor) -> Redactor:
        """Return one that hides the secrets of all."""
        return Redactor(one for each in (self, *others) for one in each._all)

    def text(self, text: str) -> str:
        """Return text for a reply, a listing, a prompt or the store."""
        return _masked(self._distinct, text)

    def error(self, text: str) -> str:
        """Return text for an error: words are hidden too, and a secret that is cut."""
        if not self._all:
            return text
        text = _masked(self._all, text)
        begun = _begun(self._all, text)
        return text[:-begun] + _MASK if begun >= _SHORTEST else text

    def json(self, data: Any, source: str) -> None:  # noqa: ANN401  (any JSON)
        """Redact decoded JSON in place.

        Parameters
        ----------
        source
            The JSON text; where no secret is in it, ``data`` is not walked. The pattern
            matches escapes as well, so nothing is missed.
        """
        if _masked(self._distinct, source) is not source:
            _walk(data, self.text)

    def fragments(self) -> Fragments | None:
        """Return what redacts a text that comes in pieces; None without a secret."""
        return Fragments(self.text, self._distinct) if self._distinct else None


class Fragments:
    """Redacts text that comes in pieces, also a secret that is cut in two.

    An end that may begin a secret is held back until the next piece. If none comes, as
    when a stream breaks off, it is dropped.
    """

    def __init__(self, redact: Callable[[str], str], secrets: tuple[str, ...]) -> None:
        self._redact = redact
        self._secrets = secrets
        self._held = ""

    def add(self, piece: str, *, is_last: bool) -> str:
        """Return the text that is certain by now."""
        text = self._redact(self._held + piece)
        certain = len(text) - (0 if is_last else _begun(self._secrets, text))
        self._held = text[certain:]
        return text[:certain]


def _may_be_a_word(secret: str) -> bool:
    is_short_word = secret.isalpha() and len(secret) <= _LONGEST_WORD
    return is_short_word or len(secret) < _SHORTEST_IN_TEXT


def _begun(secrets: Iterable[str], text: str) -> int:
    """Return how many characters at the end of ``text`` begin one of the secrets."""
    longest = 0
    for secret in secrets:
        tail = text[-(len(secret) - 1) :]
        at = tail.find(secret[0])
        while at >= 0 and not secret.startswith(tail[at:]):
            at = tail.find(secret[0], at + 1)
        longest = max(longest, len(tail) - at) if at >= 0 else longest
    return longest


def _masked(secrets: tuple[str, ...], text: str) -> str:
    """Return the text with the secrets masked; the same object if there is none."""
    if not secrets:
        return text
    is_plain = not any(char in text for char in _ESCAPES)
    if is_plain and not any(secret in text for secret in secrets):
        return text  # the usual case, and much faster than the pattern
    masked, count = _pattern(secrets).subn(_MASK, text)
    return masked if count else text


def _walk(data: Any, redact: Callable[[str], str]) -> None:  # noqa: ANN401
    """Redact all strings in lists and dicts; no recursion, for it may be deep."""
    waiting = [data]
    while waiting:
        container = waiting.pop()
        is_dict = isinstance(container, dict)
        for key, value in list(container.items() if is_dict else enumerate(container)):
            if isinstance(value, str):
                container[key] = redact(value)
            elif isinstance(value, dict | list):
                waiting.append(value)
        if is_dict and any(redact(key) != key for key in container):
            renamed = {redact(key): value for key, value in container.items()}
            container.clear()
            container.update(renamed)


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_secret_pattern, secrets)))


def _secret_pattern(secret: str) -> str:
    spelled, rest = secret[:_SPELLED_OUT], secret[_SPELLED_OUT:]
    pattern = "".join(map(_spellings, spelled))
    # So many characters are no chance: what follows belongs to it, however it is spelt.
    return (
        f"{pattern}(?:{re.escape(rest)}|\\S{{0,{6 * len(rest)}}})" if rest else pattern
    )


# NB: every repeat has an upper bound, so that hostile text costs no more than its
# length; four backslashes are JSON within JSON within JSON.
@lru_cache(maxsize=256)
def _spellings(char: str) -> str:
    """Return a pattern for one character, plain or escaped in one of the usual ways."""
    code, plain = ord(char), re.escape(char)
    utf_16, utf_8 = char.encode("utf-16-be", "replace"), char.encode("utf-8", "replace")
    units = [utf_16[at : at + 2].hex() for at in range(0, len(utf_16), 2)]
    escapes = [
        "".join(rf"\\{{1,4}}u{unit}" for unit in units),
        "".join(f"%(?:25){{0,2}}{byte:02x}" for byte in utf_8),
        f"&(?:amp;)?#0{{0,4}}{code};",
        f"&(?:amp;)?#x0{{0,4}}{code:x};",
    ]
    if code < 256:
        escapes.append(rf"\\{{1,4}}x{code:02x}")
    if code in codepoint2name:
        escapes.append(f"&(?:amp;)?{codepoint2name[code]};")
    if char == " ":
        escapes.append(r"\+")
    if not char.isalnum():
        plain = rf"\\{{0,4}}{plain}"
    return f"(?:{plain}|(?i:{'|'.join(escapes)}))"
