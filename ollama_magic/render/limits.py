"""How much HTML a text may become, and what it may cost to make it.

A few bytes of Markdown or HTML can stand for very much: a short row of a wide table, a
link to a long address, marks that a parser searches for again and again. ``safe_html``
and the displays ask here before they convert and while they join; a text over a limit
is shown as plain text. All costs are upper bounds, counted before a parser runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# -- the length of the HTML --------------------------------------------------------

_PER_CHARACTER = 40
"""Bytes of HTML; an empty cell of a table takes 34 and its text one character."""
_BASE = 50_000
"""Bytes that every text may take, so that short texts never reach the limit."""
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


def join_within_limit(parts: Iterable[str], characters: int) -> str | None:
    """Join the HTML of a text; return None if it is too long for that text.

    Parameters
    ----------
    parts
        Read lazily, and only up to the limit.
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
    """The same limit for a text that is still being written."""

    def __init__(self) -> None:
        self._characters = 0
        self._used = 0

    def grow(self, characters: int) -> None:
        """Add the length of new text."""
        self._characters += characters

    def take(self, html: str) -> bool:
        """Return whether this HTML fits, and count it if it does."""
        fits = self.fits(html)
        self._used += len(html) if fits else 0
        return fits

    def fits(self, html: str) -> bool:
        """Return whether this HTML fits, without counting it."""
        return self._used + len(html) <= max_html(self._characters)


# -- the cost of Markdown ----------------------------------------------------------

_MAX_BLOCK = 150_000
"""Characters of a block."""
_MAX_INLINE_COST = 100_000_000
"""Characters; Python-Markdown copies a text at each mark: about a second."""
_RUN = re.compile(r"\n(?=[ \t>]*(?:\n|[-*+|>]|\d{1,9}[.)]))")
"""Where Python-Markdown begins with another text: a paragraph, an item, a row."""
_TICK_COST = 20
_MARK = re.compile(r"[*_`\[<&\\$~:]")
_MAX_RUN = re.compile(r"([*_~`!<&|\\$>(\[])\1{299}")


def is_costly_markdown(text: str) -> bool:
    """Return whether Python-Markdown would need seconds for a block."""
    if len(text) > _MAX_BLOCK or _MAX_RUN.search(text):
        return True
    return _inline_cost(text) > _MAX_INLINE_COST


def _inline_cost(text: str) -> int:
    """Return the characters copied when each mark splits the text around it.

    Backticks cost more: Python-Markdown searches for the end of each of them, and of
    each shorter run inside it.
    """
    return sum(
        len(run) * (len(_MARK.findall(run)) + _TICK_COST * run.count("`"))
        for run in _RUN.split(text)
    )


# -- the cost of HTML that a model wrote -------------------------------------------

# A parser reopens a formatting element in every paragraph until it is closed, and
# searches all open elements at every tag. The bounds hold however quotes and comments
# are read.
_FORMATTING = "b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u"
_ATTRIBUTES = (
    r"(?:\s++[\w:.-]++(?:=(?:\"[^\"<>]*+\"|'[^'<>]*+'|[^\s\"'<>=`]++))?+)*+\s*+"
)
"""Attributes that every parser reads alike."""
_STYLED = re.compile(rf"<({_FORMATTING})(?=\s){_ATTRIBUTES}>", re.IGNORECASE)
_CLOSED = re.compile(rf"<({_FORMATTING}|a){_ATTRIBUTES}>[^<]*+</\1>", re.IGNORECASE)
_OPEN = re.compile(rf"<({_FORMATTING})(?=([\s/>]))", re.IGNORECASE)
_LINK = re.compile(rf"<a(?=[\s/>])({_ATTRIBUTES}>)?+", re.IGNORECASE)
_NESTED_CLOSINGS = 3
"""How many levels of closed elements are removed: ``<a><b>x</b></a>`` has two."""
_SAME_OPEN = 3
"""How many equal formatting elements HTML reopens."""
_REOPENED_BYTES = 20
_REOPENED_LINK_BYTES = 50

_MAX_STEPS = 100_000_000
"""Open elements that the parser looks at; about half a second."""
_MAX_DEPTH = 500
"""Nested elements; browsers stop here."""
_FLAT = "p|li|d[dt]|br|hr|img|meta|embed"
_NESTING = re.compile(
    rf"<(/?)(?!(?:{_FLAT}|t[dhr]|tbody|thead|tfoot|option|input|link)[\s/>])[a-z]",
    re.IGNORECASE,
)
_NESTING_IN_SVG = re.compile(rf"<(/?)(?!(?:{_FLAT})[\s/>])[a-z]", re.IGNORECASE)
"""In SVG and MathML no element is closed by the next one."""
_SVG = re.compile(r"<(?:svg|math)", re.IGNORECASE)


def without_styles(text: str) -> str:
    """Return HTML whose formatting elements have no attributes.

    The allow-list drops these attributes anyway, and HTML reopens equal elements
    three times only.
    """
    return _STYLED.sub(r"<\1>", text)


def is_costly_html(text: str) -> bool:
    """Return whether HTML (``without_styles``) grows far too long, or takes seconds."""
    tags = text.count("<")
    return (
        tags * _reopened(text) > max_html(len(text))
        or tags * _nesting_tags(text) > _MAX_STEPS
        or _depth(text) > _MAX_DEPTH
    )


def _reopened(text: str) -> int:
    """Return how many bytes are reopened at one tag, at most."""
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
    """Return how deeply elements would nest if none of them were closed."""
    nesting = _NESTING_IN_SVG if _SVG.search(text) else _NESTING
    return sum(not slash for slash in nesting.findall(text))


def _depth(text: str) -> int:
    """Return how deeply the elements seem to nest."""
    depth = deepest = 0
    for slash in _NESTING.findall(text):
        depth = max(depth - 1, 0) if slash else depth + 1
        deepest = max(depth, deepest)
    return deepest
