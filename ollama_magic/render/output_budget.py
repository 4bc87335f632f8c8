"""How much HTML a text may become: an amount that grows with its length, and no faster.

A few bytes of Markdown or HTML can stand for very much: a short row of a wide table, a
link to a long address. Everything that makes HTML of a reply joins it here. Knows
lengths; makes no HTML.
"""

from __future__ import annotations

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


class GrowingBudget:
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
