"""How much HTML a text may become: an amount that grows with its length, and no faster.

A few bytes of Markdown or HTML can stand for very much: a short row of a wide table, a
link to a long address. Everything that makes HTML of a reply joins it here. Knows
lengths; makes no HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PER_CHARACTER = 40
"""Bytes of HTML; an empty cell of a table takes 34 and its text one character."""
_BASE = 50_000
"""Bytes that every text may take, so that short ones are never in question."""
_MAX_MARKUP = 5_000_000
"""Bytes; a front end takes seconds for more."""
_PER_PLAIN_CHARACTER = 6
"""Bytes of HTML that escaped text takes at most."""


def max_html(characters: int) -> int:
    """Return how long the HTML of a text of this length may be.

    >>> max_html(100), max_html(200_000), max_html(2_000_000)
    (54000, 5000000, 12050000)
    """
    plain = _BASE + _PER_PLAIN_CHARACTER * characters
    return max(plain, min(_BASE + _PER_CHARACTER * characters, _MAX_MARKUP))


def joined(parts: Iterable[str], characters: int) -> str | None:
    """Join the HTML of a text; None as soon as it is too long for that text.

    Parameters
    ----------
    parts
        Made one at a time: no more of them are asked for once there are too many.
    characters
        The length of the text.
    """
    made: list[str] = []
    left = max_html(characters)
    for part in parts:
        left -= len(part)
        if left < 0:
            return None
        made.append(part)
    return "".join(made)


class HtmlBudget:
    """The same for a text that is still being written."""

    def __init__(self) -> None:
        self._characters = 0
        self._used = 0

    def grow(self, characters: int) -> None:
        """Note how much text came."""
        self._characters += characters

    def take(self, html: str) -> bool:
        """Return whether this HTML may still be shown, and count it if so."""
        fits = self.fits(html)
        self._used += len(html) if fits else 0
        return fits

    def fits(self, html: str) -> bool:
        """Return whether this HTML may still be shown; it is not counted."""
        return self._used + len(html) <= max_html(self._characters)


_FORMATTING = "b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u"
_ATTRIBUTES = (
    r"(?:\s++[\w:.-]++(?:=(?:\"[^\"<>]*+\"|'[^'<>]*+'|[^\s\"'<>=`]++))?+)*+\s*+"
)
"""Attributes that a parser reads as they look."""
_STYLED = re.compile(rf"<({_FORMATTING})(?=\s){_ATTRIBUTES}>", re.IGNORECASE)
_CLOSED = re.compile(rf"<({_FORMATTING}|a){_ATTRIBUTES}>[^<]*+</\1>", re.IGNORECASE)
_OPEN = re.compile(rf"<({_FORMATTING})(?=([\s/>]))", re.IGNORECASE)
_LINK = re.compile(rf"<a(?=[\s/>])({_ATTRIBUTES}>)?+", re.IGNORECASE)
_NESTED_CLOSINGS = 3
"""How often what is closed where it was opened is looked for: ``<a><b>x</b></a>``."""
_SAME_OPEN = 3
"""How many equal formatting elements HTML opens again."""
_REOPENED_BYTES = 20
_REOPENED_LINK_BYTES = 50

_MAX_STEPS = 100_000_000
"""Looks of the parser at open elements; about half a second."""
_MAX_DEPTH = 500
"""Elements in elements; browsers stop here."""
_FLAT = "p|li|d[dt]|br|hr|img|meta|embed"
_NESTING = re.compile(
    rf"<(/?)(?!(?:{_FLAT}|t[dhr]|tbody|thead|tfoot|option|input|link)[\s/>])[a-z]",
    re.IGNORECASE,
)
_NESTING_IN_SVG = re.compile(rf"<(/?)(?!(?:{_FLAT})[\s/>])[a-z]", re.IGNORECASE)
"""Nothing in SVG or MathML is closed by what comes next."""
_SVG = re.compile(r"<(?:svg|math)", re.IGNORECASE)


def without_styles(text: str) -> str:
    """Return HTML whose formatting elements have no attributes.

    None of these is shown, and those that are equal are opened again three times only.
    """
    return _STYLED.sub(r"<\1>", text)


def is_too_costly(text: str) -> bool:
    """Whether HTML (``without_styles``) makes much more of itself, or takes seconds."""
    tags = text.count("<")
    return (
        tags * _reopened(text) > max_html(len(text))
        or tags * _nesting_tags(text) > _MAX_STEPS
        or _depth(text) > _MAX_DEPTH
    )


def _reopened(text: str) -> int:
    """Return how many bytes are opened again at one tag, at most."""
    for _ in range(_NESTED_CLOSINGS):
        text = _CLOSED.sub(" ", text)
    found = _OPEN.findall(text)
    bare = {name.lower() for name, end in found if end == ">"}
    styled = sum(end != ">" for _, end in found)
    links = [len(match[0]) if match[1] else len(text) for match in _LINK.finditer(text)]
    link = max(links) + _REOPENED_LINK_BYTES if links else 0
    styles: int = _SAME_OPEN * len(bare) + styled
    return link + _REOPENED_BYTES * styles


def _nesting_tags(text: str) -> int:
    """Return how deep elements can be in one another if none of them is closed."""
    nesting = _NESTING_IN_SVG if _SVG.search(text) else _NESTING
    return sum(not slash for slash in nesting.findall(text))


def _depth(text: str) -> int:
    """Return how deep the elements of HTML seem to be in one another."""
    depth = deepest = 0
    for slash in _NESTING.findall(text):
        depth = max(depth - 1, 0) if slash else depth + 1
        deepest = max(depth, deepest)
    return deepest
