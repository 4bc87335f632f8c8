"""A reply that grows, as safe HTML in pieces: finished ones and an open end.

One class for each view of a reply. Knows nothing of outputs, ids or time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ollama_magic.render.blocks import CAP_CHARACTERS, Block, BlockSplitter
from ollama_magic.render.half_written import shown_block
from ollama_magic.render.highlight import code_html
from ollama_magic.render.output_budget import GrowingBudget
from ollama_magic.render.safe_html import (
    block_html,
    open_block_html,
    plain_html,
    sanitised,
)
from ollama_magic.render.text import visible_text

_MAX_OPEN = 5 * CAP_CHARACTERS
"""A block that could not be cut is plain above this: each paint converts all of it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Finished: it is converted once and does not change any more."""

    characters: int
    """How many of the reply's characters it shows."""
    html: str


class Pieces(Protocol):
    """Takes the visible text of a reply as it comes."""

    def take(self, text: str) -> Iterator[Piece]:
        """Return the pieces that the next characters finished."""

    def open_html(self) -> str:
        """Return what is not finished; empty when there is nothing to see."""


class MarkdownPieces:
    """Blocks of Markdown; half-written syntax is shown sanely."""

    def __init__(self) -> None:
        self._splitter = BlockSplitter(CAP_CHARACTERS)
        self._budget = GrowingBudget()

    def take(self, text: str) -> Iterator[Piece]:
        """Return the pieces that the next characters finished."""
        self._budget.grow(len(text))
        for block in self._splitter.feed(text):
            made = block_html(block)
            fits = self._budget.take(made)
            yield Piece(len(block.source), made if fits else plain_html(block.source))

    def open_html(self) -> str:
        """Return what is not finished; empty when there is nothing to see."""
        blocks = self._splitter.open_blocks()
        made = map(_open_html, [*blocks[:-1], *map(shown_block, blocks[-1:])])
        page = "".join(made)
        if self._budget.fits(page):
            return page
        return plain_html("".join(block.source for block in blocks))


def _open_html(block: Block) -> str:
    if len(block.source) > _MAX_OPEN:
        return plain_html(block.source)
    return open_block_html(block)


class PlainPieces:
    """Lines of plain text or JSON.

    Parameters
    ----------
    is_json
        Highlight it.
    """

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._open = ""

    def take(self, text: str) -> Iterator[Piece]:
        """Return the pieces that the next characters finished."""
        self._open += text
        while len(self._open) > CAP_CHARACTERS:
            end = self._open.rfind("\n", 0, CAP_CHARACTERS) + 1 or CAP_CHARACTERS
            piece, self._open = self._open[:end], self._open[end:]
            yield Piece(len(piece), self._html(piece))

    def open_html(self) -> str:
        """Return what is not finished; empty when there is nothing to see."""
        return self._html(self._open) if self._open.strip() else ""

    def _html(self, text: str) -> str:
        if self._is_json:
            return sanitised(code_html(text, "json"))
        return plain_html(text)


class Intake:
    """Takes what came of a reply, as it came, and gives its pieces.

    Parameters
    ----------
    view
        ``markdown`` or ``json``; anything else is plain text.
    """

    def __init__(self, view: str) -> None:
        self._pieces: Pieces = (
            MarkdownPieces()
            if view == "markdown"
            else PlainPieces(is_json=view == "json")
        )
        self._pending: list[str] = []

    @property
    def has_pending(self) -> bool:
        """Whether something came since the pieces were asked for."""
        return bool(self._pending)

    def add(self, text: str) -> None:
        """Take the next characters; nothing is converted yet."""
        self._pending.append(text)

    def finished(self) -> Iterator[Piece]:
        """Return the pieces that were finished by what came."""
        text = "".join(self._pending)
        self._pending.clear()
        if text.endswith("\r"):  # the first half of a line's end
            self._pending.append("\r")
            text = text[:-1]
        return self._pieces.take(visible_text(text))

    def open_html(self) -> str:
        """Return what is not finished; empty when there is nothing to see."""
        return self._pieces.open_html()
