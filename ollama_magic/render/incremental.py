"""A reply that is still being written, converted to safe HTML step by step.

The live displays call ``ReplyConverter``: it returns finished segments, which never
change again, and the open end, which is converted again at each paint. Syntax that has
begun and not ended (emphasis, code, links, math, a table) is closed or held back in the
open end, so that it does not flash as raw text first. Nothing is held back for more
than ``_MAX_HELD`` characters, since it may never end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ollama_magic.render.blocks import CAP_CHARACTERS, Block, BlockSplitter
from ollama_magic.render.code import code_html
from ollama_magic.render.limits import HtmlBudget
from ollama_magic.render.line_syntax import count_cells, delimiters, is_delimiter_row
from ollama_magic.render.math import INLINE_MATH, MATH_LINES, is_money
from ollama_magic.render.safe_html import (
    block_html,
    closing_marks,
    open_block_html,
    plain_html,
    sanitised,
)
from ollama_magic.render.text import VisiblePieces

_MAX_OPEN = 5 * CAP_CHARACTERS
"""Characters; a longer open block stays plain: each paint converts all of it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished part of a reply: converted once, and never changed again."""

    characters: int
    """How many characters of the reply it shows."""
    html: str


class MarkdownConverter:
    """Converts Markdown, one segment per block."""

    def __init__(self) -> None:
        self._splitter = BlockSplitter(CAP_CHARACTERS)
        self._budget = HtmlBudget()

    def take(self, text: str) -> Iterator[Segment]:
        """Return the segments that new text finishes."""
        self._budget.grow(len(text))
        for block in self._splitter.feed(text):
            made = block_html(block)
            fits = self._budget.take(made)
            yield Segment(len(block.source), made if fits else plain_html(block.source))

    def open_html(self) -> str:
        """Return the open end; empty if there is nothing to see."""
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


class TextConverter:
    """Converts lines of plain text or JSON.

    Parameters
    ----------
    is_json
        Whether to highlight the text.
    """

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._open = ""

    def take(self, text: str) -> Iterator[Segment]:
        """Return the segments that new text finishes."""
        self._open += text
        while len(self._open) > CAP_CHARACTERS:
            end = self._open.rfind("\n", 0, CAP_CHARACTERS) + 1 or CAP_CHARACTERS
            lines, self._open = self._open[:end], self._open[end:]
            yield Segment(len(lines), self._html(lines))

    def open_html(self) -> str:
        """Return the open end; empty if there is nothing to see."""
        return self._html(self._open) if self._open.strip() else ""

    def _html(self, text: str) -> str:
        if self._is_json:
            return sanitised(code_html(text, "json"))
        return plain_html(text)


class ReplyConverter:
    """Converts the chunks of a reply as they arrive.

    Parameters
    ----------
    view
        ``markdown`` or ``json``; anything else is plain text.
    """

    def __init__(self, view: str) -> None:
        self._converter = (
            MarkdownConverter()
            if view == "markdown"
            else TextConverter(is_json=view == "json")
        )
        self._visible = VisiblePieces()
        self._pending: list[str] = []

    @property
    def has_pending(self) -> bool:
        """Whether text was added since ``finished`` was called."""
        return bool(self._pending)

    def add(self, text: str) -> None:
        """Add new text; it is not converted yet."""
        self._pending.append(text)

    def finished(self) -> Iterator[Segment]:
        """Return the segments that the added text finishes."""
        text = "".join(self._pending)
        self._pending.clear()
        return self._converter.take(self._visible.add(text))

    def open_html(self) -> str:
        """Return the open end; empty if there is nothing to see."""
        return self._converter.open_html()


# -- the open end of a text --------------------------------------------------------

_MAX_HELD = 300
"""Characters."""

# A last line of marks alone may become anything; so may "12.".
_LONE_MARKS = re.compile(
    r"(?:^|(?<=\n))[ \t>]*(?:[-=+*_#|~`$<>!\[:]+|\d{1,9}[.)])[ \t]*\Z"
)
_HALF_FENCE = re.compile(r"(?<=\n)[ \t]*[`~]+\Z")
_HALF_QUOTED_FENCE = re.compile(r"(?<=\n)[ \t>]*[`~]+\Z")
_HALF_LINK = re.compile(
    r"(?P<image>!?)\[(?!\^)(?P<text>[^\[\]\n]{0,300})(?:\]\([^()\s]{0,300}|\]?)\Z"
)
_HALF_TAG = re.compile(r"<[a-z/!][^<>\s]{0,200}\Z", re.IGNORECASE)
_HALF_MATH = re.compile(r"(?<![\\$\w])\$(?![\s\d$])(?=[^$]*[\\_^{=])[^$]*\Z")
_TRAILING_MARKS = re.compile(
    r"(?<=[\s(\"'])(?:\*{1,3}|_{1,3}|~~|`+|\\|\$\$?|!|<)\Z|\\\Z"
)
_TOKEN = re.compile(
    rf"(?P<ticks>`+)|(?P<math>{INLINE_MATH})|(?P<opening>\$\$?|\\[\[(])|\\.",
    re.DOTALL,
)
_PARAGRAPH_START = re.compile(
    r"\n[ \t>]*(?:(?=\n)|(?:[-*+]|\d{1,9}[.)])[ \t]+|(?:`{3,}|~{3,})[^`\n]*(?=\n))"
)


def shown_block(block: Block) -> Block:
    """Return an open block as it should be shown now."""
    if block.kind == "fence":
        return replace(block, source=_HALF_FENCE.sub("", block.source))
    if block.kind in {"indented", "html", "math", "blank"}:
        return block
    if block.kind in {"list", "quote", "note"} and _ends_in_code(block):
        return replace(block, source=_HALF_QUOTED_FENCE.sub("", block.source))
    return _text_in_progress(block)


def _ends_in_code(block: Block) -> bool:
    """Return whether the last line with text is in code or in display math."""
    node = block.tree()
    while node.children:
        node = node.children[-1]
    return node.kind in {"fence", "indented", "math"}


def _text_in_progress(block: Block) -> Block:
    head, row = _table_head(block.source)
    if row:
        return Block("table", f"{head}\n{row}\n")
    source = _LONE_MARKS.sub("", block.source)
    if block.kind == "table":
        cell = max(source.rfind("|"), source.rfind("\n")) + 1
        return replace(block, source=_closed(source, cell))
    start = _last_paragraph(source)
    return replace(block, source=_closed(_without_halves(source, start), start))


def _table_head(source: str) -> tuple[str, str]:
    """Return a table's head and a delimiter row, if there are no other rows yet."""
    head, end, rest = source.lstrip("\n").partition("\n")
    columns = count_cells(head, 1)
    is_row = head.startswith("|") and head.rstrip().endswith("|")
    is_row = is_row or is_delimiter_row(rest)
    if not end or columns < 2 or not is_row or rest.strip("|:- \t\n"):
        return "", ""
    cells = delimiters(rest)[:columns] if rest.strip("\n") else []
    known = [cell if is_delimiter_row(f"|{cell}|") else "---" for cell in cells]
    return head, "|" + "|".join([*known, *["---"] * (columns - len(cells))]) + "|"


def _last_paragraph(source: str) -> int:
    """Return the start of the last paragraph, item, or text below code or math."""
    ends = [0]
    for begin in (MATH_LINES, _PARAGRAPH_START):
        ends += [match.end() for match in begin.finditer(source)]
    return max(ends)


def _without_halves(source: str, start: int) -> str:
    """Return a text without the links, tags and math that have not ended."""
    oldest = len(source) - _MAX_HELD
    for token, _ in _tokens(source, start):
        if token["opening"] and _is_half_math(source, token.start()):
            source = source[: token.start()]
            break
    match = _HALF_TAG.search(source, max(start, oldest))
    if match and not _is_in_code(source, start, match.start()):
        source = source[: match.start()]
    match = _HALF_LINK.search(source, start)
    if match and not _is_in_code(source, start, match.start()):
        held = "" if match["image"] else match["text"]
        if match.start() + len(held) >= oldest:
            source = source[: match.start()] + held
    return source


def _is_half_math(source: str, index: int) -> bool:
    if len(source) - index > _MAX_HELD:
        return False
    is_single = source[index] == "$" and source[index : index + 2] != "$$"
    return not is_single or _HALF_MATH.match(source, index) is not None


def _tokens(source: str, start: int) -> Iterator[tuple[re.Match[str], int]]:
    """Yield code, math, escapes and the marks that open math, and where each ends.

    The last one may be the backticks of code that does not end.
    """
    while token := _TOKEN.search(source, start):
        start = token.end()
        if token["math"] and is_money(token):
            start = token.start() + 1
            continue
        if token["ticks"]:
            ticks = re.compile(rf"(?<!`){token[0]}(?!`)")
            end = ticks.search(source, start)
            start = end.end() if end else len(source)
        yield token, start


def _is_in_code(source: str, start: int, index: int) -> bool:
    return source.count("`", start, index) % 2 == 1


def _closed(source: str, start: int) -> str:
    """Close the emphasis and code that are open in the last paragraph."""
    source = _TRAILING_MARKS.sub("", source.rstrip())
    text = code = ""
    for token, end in _tokens(source, start):
        text += source[start : token.start()] + "."
        start = end
        is_open = token["ticks"] and not source.endswith(token[0], token.end())
        code = token[0] if is_open and end == len(source) else ""
    return source + code + closing_marks(text + source[start:])
