"""Replaces known secrets with ``***`` in text, decoded JSON and extra headers.

The client redacts what a server sends, a cell redacts the values in its prompt. Secrets
are also found in their usual encodings: JSON and Python escapes, percent encoding, HTML
entities, even for some characters only. Redaction comes after decoding and before
truncation, since an escape or a cut hides a secret from a search.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from html.entities import codepoint2name
from typing import Any

from ollama_magic.errors import ConfigError

_MASK = "***"
_SHORTEST = 4
"""Characters; shorter secrets occur in many words by chance."""
_SHORTEST_IN_TEXT = 8
_LONGEST_WORD = 12
_SPELLED_OUT = 48
"""Characters matched in every encoding; longer patterns are slow to build."""

_SEPARATORS = "\0\t\n\r "
"""Between the characters of a secret in a page that is wrapped, or in UTF-16."""
_WITHOUT_SEPARATORS = str.maketrans("", "", _SEPARATORS)
_ESCAPES = "\\%&+"
"""Every encoding of a character contains one of these."""

_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[ -~\t]*")
_OWN_HEADERS = frozenset(
    ["connection", "content-length", "content-type", "host", "transfer-encoding"]
)


class Redactor:
    r"""Hides secrets in text.

    A secret that may be a word (fewer than 8 characters, or up to 12 letters, such as
    the key ``ollama`` that some programs require) is hidden in errors only: otherwise
    replies and model names would be full of holes.

    Parameters
    ----------
    secrets
        As they are sent or typed; those with fewer than 4 characters are ignored.

    Examples
    --------
    >>> hidden = Redactor(["p&ss<w>rd"])
    >>> hidden.text(r'"p\u0026ss\u003cw\u003erd"'), hidden.text("p%26ss%3Cw%3erd")
    ('"***"', '***')
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        unique = {secret for secret in secrets if len(secret) >= _SHORTEST}
        # The longest first: a secret may be part of another.
        self._all = tuple(sorted(unique, key=lambda one: (-len(one), one)))
        self._distinct = tuple(one for one in self._all if not _may_be_a_word(one))

    def __bool__(self) -> bool:
        return bool(self._all)

    def __repr__(self) -> str:
        return f"Redactor({len(self._all)} secrets)"

    def joined(self, *others: Redactor) -> Redactor:
        """Return a redactor that hides the secrets of all of these."""
        return Redactor(one for each in (self, *others) for one in each._all)

    def text(self, text: str) -> str:
        """Redact text of a reply, a listing, a prompt or the history."""
        return _masked(self._distinct, text)

    def error(self, text: str) -> str:
        """Redact text of an error: also words, and a secret that is cut or wrapped."""
        if not self._all:
            return text
        text = _masked(self._all, text)
        joined = text.translate(_WITHOUT_SEPARATORS)
        if joined != text:
            secrets = tuple(
                one.translate(_WITHOUT_SEPARATORS) for one in self._distinct
            )
            if _masked(secrets, joined) is not joined:
                text = _pattern(secrets, is_wrapped=True).sub(_MASK, text)
        partial = _partial_length(self._all, text)
        return text[:-partial] + _MASK if partial >= _SHORTEST else text

    def json(self, data: Any, source: str) -> None:  # noqa: ANN401  (any JSON)
        """Redact decoded JSON in place.

        Parameters
        ----------
        source
            The JSON text; if it contains no secret, ``data`` is not searched. The
            pattern also matches escapes, so nothing is missed.
        """
        if _masked(self._distinct, source) is not source:
            _walk(data, self.text)

    def fragments(self) -> FragmentRedactor | None:
        """Return a redactor of text in pieces; None if there are no secrets."""
        return FragmentRedactor(self.text, self._distinct) if self._distinct else None


class FragmentRedactor:
    """Redacts text that arrives in pieces, even a secret that is split.

    The end of a piece is held back if it may start a secret. If no piece follows, as
    when a stream is cut off, it is dropped.
    """

    def __init__(self, redact: Callable[[str], str], secrets: tuple[str, ...]) -> None:
        self._redact = redact
        self._secrets = secrets
        self._held = ""

    def add(self, piece: str, *, is_last: bool) -> str:
        """Return the text that is safe to show."""
        text = self._redact(self._held + piece)
        safe = len(text) - (0 if is_last else _partial_length(self._secrets, text))
        self._held = text[safe:]
        return text[:safe]


def _may_be_a_word(secret: str) -> bool:
    is_short_word = secret.isalpha() and len(secret) <= _LONGEST_WORD
    return is_short_word or len(secret) < _SHORTEST_IN_TEXT


def _partial_length(secrets: Iterable[str], text: str) -> int:
    """Return how many characters at the end of ``text`` may start a secret."""
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
    """Redact all strings in lists and dicts; no recursion, as they may be deep."""
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
def _pattern(secrets: tuple[str, ...], *, is_wrapped: bool = False) -> re.Pattern[str]:
    between = f"[{_SEPARATORS}]{{0,20}}" if is_wrapped else ""
    return re.compile("|".join(_secret_pattern(one, between) for one in secrets))


def _secret_pattern(secret: str, between: str) -> str:
    spelled, rest = secret[:_SPELLED_OUT], secret[_SPELLED_OUT:]
    pattern = between.join(map(_spellings, spelled))
    # So many characters are no coincidence: the rest is part of it in any encoding.
    end = f"(?:{re.escape(rest)}|\\S{{0,{6 * len(rest)}}})" if rest else ""
    return f"{pattern}{end}"


# NB: every repetition is bounded, so that the cost of hostile text is linear; four
# backslashes are JSON in JSON in JSON.
@lru_cache(maxsize=256)
def _spellings(char: str) -> str:
    """Return a pattern for one character, plain or in one of the usual encodings."""
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


class Headers(dict[str, str]):
    """Extra headers of each request; their values are secret.

    Raises
    ------
    ConfigError
        A name or a value cannot be sent, or the client sets that header itself.

    Examples
    --------
    >>> Headers({"X-API-Key": "s3cret"})
    {'X-API-Key': '***'}
    """

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(headers or {})
        for name, value in self.items():
            is_text = isinstance(name, str) and isinstance(value, str)
            is_valid = (
                is_text
                and _HEADER_NAME.fullmatch(name)
                and _HEADER_VALUE.fullmatch(value)
            )
            if not is_valid or name.lower() in _OWN_HEADERS:
                # NB: neither part is shown, as they may have been confused.
                raise ConfigError(
                    "A header in `headers` is invalid.",
                    why="a name is letters, digits and dashes, a value is ASCII text; "
                    f"the client sets {', '.join(sorted(_OWN_HEADERS))} itself",
                    next_step='%config OllamaMagics.headers = {"NAME": "VALUE"}',
                )

    @property
    def secrets(self) -> list[str]:
        """Text that must not be shown: each value, and each part of it."""
        values = list(self.values())
        return values + [part for one in values for part in re.split("[ ;,=]+", one)]

    def __repr__(self) -> str:
        return repr(dict.fromkeys(self, "***"))
