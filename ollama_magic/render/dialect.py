"""A block of Markdown rewritten into the dialect that Python-Markdown reads.

``safe_html`` calls this module before each conversion. Python-Markdown expects nested
content indented by four columns per level, ``1.`` rather than ``1)``, and blank lines
around nested blocks; models (and CommonMark) indent by the width of the marker, two or
three. Link definitions are read here too, since a label in one block takes its address
from another.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ollama_magic.render.blocks import Block, ListReader, split_blocks
from ollama_magic.render.line_syntax import (
    closes_fence,
    fence_of,
    is_delimiter_row,
    item_marker,
    item_text,
    kind_of,
    takes_lazy_line,
    unquoted,
)

MAX_DEPTH = 12
"""Deeper levels of lists and quotes are shown at this level."""

_TASK = re.compile(r"\[([ xX])\](?=\s)")
_QUOTE_MARK = re.compile(r"^ {0,3}> ?")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,30}")


def python_markdown_source(block: Block) -> str:
    """Return the Markdown of a block in Python-Markdown's dialect."""
    return _rewritten(block, 0)[0]


def ends_in_code(block: Block) -> bool:
    """Return whether the last line with text in a list or quote is in a fence."""
    return _rewritten(block, 0)[1]


def language_of(info: str) -> str:
    """Return the language in a fence's info string; empty if there is none."""
    match = _LANGUAGE.match(info.strip())
    return match[0].lower() if match else ""


def fenced_code(text: str) -> tuple[str, str, list[str]]:
    """Return the marks, the language and the lines of code of a fenced block."""
    first, *lines = text.strip("\n").split("\n")
    marks, info = fence_of(first) or ("```", "")
    if lines and closes_fence(lines[-1], marks):
        lines.pop()
    margin = len(first) - len(first.lstrip(" "))
    return marks, language_of(info), [_without_margin(line, margin) for line in lines]


def _rewritten(block: Block, depth: int) -> tuple[str, bool]:
    """Return a block's Markdown, with all fences closed, and whether it ends in one."""
    text = block.shown.expandtabs(4) if block.kind == "list" else block.shown
    if depth < MAX_DEPTH:
        if block.kind == "list":
            return _ListRewriter(depth).rewrite(text)
        if block.kind == "quote":
            return _quote(text, depth)
    if block.kind == "fence":
        marks, language, code = fenced_code(text)
        return "\n".join([marks + language, *code, marks]), True
    return text.lstrip(" ") if block.kind == "heading" else text, False


def _quote(text: str, depth: int) -> tuple[str, bool]:
    inner = "".join(
        _QUOTE_MARK.sub("", line, count=1) for line in text.splitlines(keepends=True)
    )
    blocks = [_rewritten(block, depth + 1) for block in split_blocks(inner)]
    lines = "\n\n".join(source.strip("\n") for source, _ in blocks).split("\n")
    return "\n".join(f"> {line}" for line in lines), bool(blocks) and blocks[-1][1]


def _without_margin(line: str, most: int) -> str:
    margin = len(line) - len(line.lstrip(" "))
    return line[min(margin, most) :]


@dataclass
class _Code:
    """Code that is open in an item."""

    indent: str
    margin: int
    marks: str = ""
    """Those of its fence; empty for indented code."""
    language: str = ""
    lines: list[str] = field(default_factory=list)

    def fenced(self) -> list[str]:
        """Return the lines of the code as a fence, indented for its item."""
        while self.lines and not self.lines[-1].strip():
            self.lines.pop()
        marks = self.marks
        if not marks:
            bare = [line.strip() for line in self.lines]
            ticks = [len(line) for line in bare if not line.strip("`")]
            marks = "`" * max(3, 1 + max(ticks, default=0))
        lines = [marks + self.language, *self.lines, marks]
        return [self.indent + line for line in lines]


class _ListRewriter:
    """Rewrites the lines of one list."""

    def __init__(self, depth: int) -> None:
        self._depth_outside = depth
        self._list = ListReader()
        self._code: _Code | None = None
        self._quoted: list[str] = []  # lines of the quote that is open in an item
        self._quote = ListReader()  # reads them, without the marks
        self._depth = 0  # of the previous line
        self._is_loose = False  # whether a blank line followed that depth or above
        self._lines: list[str] = []
        self._is_code = False  # whether the last line with text was code

    def rewrite(self, text: str) -> tuple[str, bool]:
        lines = text.split("\n")
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            if self._continues_quote(line):
                self._take_quoted(line)
            else:
                self._end_quote()
                self._take(line, following)
        self._end_quote()
        self._end_code()
        return "\n".join(self._lines), self._is_code

    def _take(self, line: str, following: str) -> None:
        role = self._list.take(line)
        if self._code and (
            role in {"code", "indented"} or (role == "blank" and not self._code.marks)
        ):
            self._code.lines.append(_without_margin(line, self._code.margin))
            return
        self._end_code()
        if role == "end":
            return
        if role == "blank":
            self._lines.append("")
            self._is_loose = True
            return
        self._is_code = role in {"fence", "indented"}
        if item_marker(line) and role != "indented":
            self._take_item(line)
        elif role == "indented":
            margin = self._list.code_column
            self._code = _Code(self._indent(), margin)
            self._code.lines.append(_without_margin(line, margin))
            self._is_loose = True
        elif role == "fence":
            text = line.lstrip(" ")
            self._open_fence(text, len(line) - len(text))
        else:
            self._take_text(line, is_head=is_delimiter_row(following))

    def _indent(self, *, outside: int = 0) -> str:
        """Return the indent of content in the last item, or outside of that item."""
        return "    " * min(self._list.depth - outside, MAX_DEPTH)

    def _take_item(self, line: str) -> None:
        marker = item_marker(line)
        assert marker
        column, mark = marker
        depth = self._list.depth - 1
        if self._is_loose and depth < self._depth and self._lines[-1]:
            # NB: after a blank line Python-Markdown stays at its level.
            self._lines.append("")
        self._is_loose = self._is_loose and depth > 0
        self._depth = depth + 1
        mark = mark.replace(")", ".")
        text = _TASK.sub(_task_box, item_text(line), count=1)
        indent = self._indent(outside=1)
        if fence_of(text):  # a fence needs a line of its own
            self._lines.append(f"{indent}{mark} ")
            self._open_fence(text, column + len(mark) + 1)
        elif text.startswith(">"):  # and so does a quote
            self._lines.append(f"{indent}{mark} ")
            self._take_quoted(text)
        else:
            self._lines.append(f"{indent}{mark} {text}")

    def _take_text(self, line: str, *, is_head: bool) -> None:
        text = line.lstrip(" ")
        if text.startswith(">"):
            self._take_quoted(line)
            return
        is_block = is_head or kind_of(text) == "heading"
        if (is_block or self._is_below_quote()) and self._lines[-1]:
            self._lines.append("")
            self._is_loose = True
        self._lines.append(self._indent() + text)

    def _open_fence(self, text: str, column: int) -> None:
        fence = fence_of(text)
        assert fence
        marks, info = fence
        self._code = _Code(self._indent(), column, marks, language_of(info))
        self._is_loose = True

    def _end_code(self) -> None:
        if self._code is None:
            return
        if self._lines and self._lines[-1].strip():
            self._lines.append("")
        self._lines += [*self._code.fenced(), ""]
        self._code = None

    def _continues_quote(self, line: str) -> bool:
        """Whether a line belongs to the open quote: by its mark, or as a lazy line."""
        text = line.lstrip(" ")
        if not self._quoted or text.startswith(">"):
            return bool(self._quoted)
        if self._quote.fence or item_marker(line) or not text:
            return False
        return kind_of(text) == "paragraph" and takes_lazy_line(self._quoted[-1])

    def _take_quoted(self, line: str) -> None:
        text = line.lstrip(" ")
        self._quoted.append(text)
        self._quote.take(unquoted(text))

    def _end_quote(self) -> None:
        if not self._quoted:
            return
        block = Block("quote", "\n".join(self._quoted))
        source, self._is_code = _rewritten(block, self._depth_outside + 1)
        if self._lines[-1].strip():
            self._lines.append("")
        self._is_loose = True
        self._lines.extend(self._indent() + line for line in source.split("\n"))
        self._quoted, self._quote = [], ListReader()

    def _is_below_quote(self) -> bool:
        return self._lines[-1].lstrip().startswith(">")


def _task_box(match: re.Match[str]) -> str:
    return "☐" if match[1] == " " else "☑"


# -- link definitions (``[1]: https://a.example``) ----------------------------------

# A definition is hidden only if CommonMark takes it as one (it begins a top-level
# paragraph) and the page has its link; every other line stays text. Footnotes
# (``[^1]: …``) are always shown, and their labels become links.

References = tuple[tuple[str, str, str], ...]
"""Label (lower case), address and title of each link definition."""

_DEFINITION = re.compile(
    r"^[ \t>]*(?:[-*+][ \t]+)?\[(?P<label>[^\[\]\n]{1,200})\]:[ \t]*"
    r"<?(?P<url>(?:https?://|mailto:)[^\s<>]{1,1000})>?[ \t]*"
    r"(?:(?<=[ \t])(?P<title>\"[^\"\n]{0,300}\"|'[^'\n]{0,300}'|\([^()\n]{0,300}\))"
    r"[ \t]*)?$",
    re.IGNORECASE | re.MULTILINE,
)
_HIDEABLE = re.compile(r" {0,3}\[(?!\^)")
_LABEL = re.compile(r"\[([^\[\]]{1,200})\]")
_SPACE = re.compile(r"\s+")
_HREF = re.compile(r'href="([^"]*)"')
_MAX_DEFINITIONS = 1000
"""Labels per text; later definitions stay text."""
_TEXT_KINDS = {"paragraph", "list", "quote", "table", "heading"}


def link_definitions(blocks: Iterable[Block]) -> dict[str, tuple[str, str]]:
    """Return the address and title of each label that a text defines."""
    found: dict[str, tuple[str, str]] = {}
    for block in blocks:
        if block.kind in _TEXT_KINDS and "]:" in block.source:
            for match in _DEFINITION.finditer(block.source):
                title = (match["title"] or "")[1:-1]
                found.setdefault(_normal(match["label"]), (match["url"], title))
                if len(found) >= _MAX_DEFINITIONS:
                    return found
    return found


def references_in(block: Block, known: Mapping[str, tuple[str, str]]) -> References:
    """Return the known definitions whose labels occur in a block."""
    if not known or block.kind not in _TEXT_KINDS:
        return ()
    labels = dict.fromkeys(map(_normal, _LABEL.findall(block.source)))
    return tuple((label, *known[label]) for label in labels if label in known)


def split_definitions(block: Block) -> tuple[list[str], Block]:
    """Return the definitions at the start of a paragraph, by line, and the rest."""
    if block.kind != "paragraph":
        return [], block
    lines = block.source.splitlines(keepends=True)
    count = 0
    while count < len(lines) and _is_definition(lines[count]):
        count += 1
    return lines[:count], replace(block, source="".join(lines[count:]))


def linked_labels(references: References, page: str) -> set[str]:
    """Return the labels whose addresses are links in the HTML of a block."""
    if not references:
        return set()
    links = {html.unescape(link) for link in _HREF.findall(page)}
    return {label for label, url, _ in references if url in links}


def unlinked_definitions(lines: Iterable[str], labels: set[str]) -> Block:
    """Return the definitions that no link uses, as a paragraph to show."""
    return Block(
        "paragraph", "".join(one for one in lines if _label(one) not in labels)
    )


def _is_definition(line: str) -> bool:
    is_hideable = _HIDEABLE.match(line) is not None
    return is_hideable and _DEFINITION.match(line) is not None


def _label(line: str) -> str:
    match = _DEFINITION.match(line)
    return _normal(match["label"]) if match else ""


def _normal(label: str) -> str:
    return _SPACE.sub(" ", label).lower()
