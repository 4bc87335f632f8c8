"""The blocks of a Markdown text as a tree, read line by line by CommonMark's rules.

``blocks`` splits streaming and complete texts with it, ``markdown`` makes elements of
the tree, and ``code`` takes the fences out of it: so fences, lists and quotes are
recognised here alone. As models write it, and unlike CommonMark, two columns of indent
are enough below a numbered item, and the end of a fence in an item may stand at the
margin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from ollama_magic.render.line_syntax import (
    Rest,
    closes_fence,
    fence_of,
    heading_of,
    html_end,
    interrupts,
    is_delimiter_row,
    is_head,
    is_rule,
    item_marker,
    math_end,
    note_marker,
    underline_level,
)

Kind = Literal[
    "blank", "document", "quote", "list", "item", "note", "paragraph", "heading",
    "rule", "fence", "indented", "table", "math", "html",
]  # fmt: skip

MAX_DEPTH = 12
"""Deeper levels of lists and quotes are shown at this level."""
_CONTAINERS = {"document", "quote", "list", "item", "note"}
_LEVELS = {"item", "quote", "note"}
VERBATIM = {"fence", "indented", "math", "html"}
_NO_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ(\"'")
"""Characters that begin a paragraph only."""
_CODE = re.compile(r"`[^`]*`")
_DEFINITION = re.compile(r"\[[^\[\]]+\]:[ \t]*\S+[ \t]*")
"""A line that defines a link: no line below it makes it a heading."""
_MAX_MATH = 1000
"""Characters of math in LaTeX's brackets that may have blank lines."""


@dataclass(slots=True)
class Node:
    """A block: a container with children, or a leaf with lines."""

    kind: Kind
    first: int
    """The number of its first line."""
    last: int = 0
    """The number of its last line that is not blank."""
    children: list[Node] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    marker: str = ""
    """The marker of an item or note; what ends a fence, math or HTML."""
    info: str = ""
    """The info string of a fence."""
    width: int = 0
    """The columns before the content of an item; the indent of a fence."""
    level: int = 0
    """The level of a heading; how many fences are open in a fence of Markdown; the
    columns that are enough for the content of a numbered item; 1 for a paragraph in
    which ``$$`` is open."""
    is_closed: bool = False
    """Whether a fence has its closing line."""
    is_continued: bool = False
    """Whether a fence is a later piece of one, for a live view."""

    @property
    def is_tight(self) -> bool:
        """Whether the items of a list have no blank lines between their blocks."""
        rows = [self.children, *(item.children for item in self.children)]
        return all(
            before.last + 1 >= after.first
            for row in rows
            for before, after in pairwise(row)
        )


def tree_of(text: str) -> Node:
    """Return the tree of a complete text."""
    parser = TreeParser()
    for line in text.removesuffix("\n").split("\n"):
        parser.take(line)
    return parser.root


class TreeParser:
    """Reads the lines of a text; the tree grows with each of them."""

    def __init__(self) -> None:
        self.root = Node("document", 1)
        self.path = [self.root]
        """The open blocks, from the root to the deepest one."""
        self.number = 0
        """How many lines were read."""

    def take(self, line: str) -> None:
        """Read one line, without its line end."""
        self.number += 1
        rest = Rest(line)
        count = self._matched(rest)
        tip = self.path[-1]
        is_in_tip = count == len(self.path)
        if is_in_tip and _has_not_ended(tip) and fence_of(rest.text):
            self._leave_stray(tip)
            self._take_text(rest, count - 1)
        elif tip.kind in VERBATIM and is_in_tip:
            self._take_verbatim(tip, rest)
        elif not rest.text.strip():
            del self.path[count:]
        else:
            self._take_text(rest, count)

    def take_text(self, line: str) -> None:
        """Read the rest of a line whose begin is in the open paragraph."""
        self.number += 1
        self._touch()
        self._add_line(self.path[-1], line)

    def forget(self) -> None:
        """Forget the lines of the open leaf: they are shown already."""
        self.path[-1].lines.clear()

    def close(self) -> None:
        """Close all blocks."""
        del self.path[1:]

    def begins_with(self, line: str) -> Node | None:
        """Return the top-level block that a line would begin; None if it continues."""
        twin = TreeParser()
        twin.number = self.number
        for node in self.path[1:]:
            # NB: only the marks of the open blocks and the line above count.
            copied = Node(node.kind, node.first, node.last, [], node.lines[-1:])
            copied.marker, copied.width = node.marker, node.width
            copied.level = node.level
            twin.path[-1].children.append(copied)
            twin.path.append(copied)
        known = twin.root.children[:]
        twin.take(line)
        last = twin.root.children[-1] if twin.root.children else None
        if not known or last is not known[0]:
            return last
        if last.kind == "table" != self.path[1].kind:
            last.first = self.number
            return last
        return None

    def leaves(self, line: str) -> bool:
        """Return whether a line does not continue the deepest open block."""
        return self._matched(Rest(line)) < len(self.path)

    # -- which open blocks a line continues --------------------------------------

    def _matched(self, rest: Rest) -> int:
        """Return how many of the open blocks a line continues."""
        for count, node in enumerate(self.path):
            if node.kind == "quote":
                if not self._takes_quote_mark(rest):
                    return count
                if not rest.text.strip():
                    self._touch(count + 1)  # NB: a mark alone is not a blank line
            elif node.kind in {"item", "note"}:
                if not self._continues_item(node, rest):
                    return count
            elif node.kind == "indented":
                if rest.indent < 4 and rest.text.strip():
                    return count
            elif node.kind in {"paragraph", "table"} and not rest.text.strip():
                return count
        return len(self.path)

    def _takes_quote_mark(self, rest: Rest) -> bool:
        indent = rest.indent
        if indent > 3 or rest.text.lstrip(" \t")[:1] != ">":
            return False
        rest.skip(indent)
        rest.cut(1)
        rest.skip(1)
        return True

    def _continues_item(self, item: Node, rest: Rest) -> bool:
        text = rest.text.lstrip(" \t")
        if not text:
            rest.skip(item.width)
            return bool(item.children)
        indent = rest.indent
        if indent >= item.width:
            rest.skip(item.width)
            return True
        if item.level and indent >= item.level and not text[0].isdigit():
            rest.skip(indent)
            return True
        fence = self.path[-1]
        if fence.kind == "fence" and item is self.path[-2]:
            return closes_fence(rest.text, fence.marker)
        return False

    # -- lines of leaves -----------------------------------------------------------

    def _take_verbatim(self, leaf: Node, rest: Rest) -> None:
        text = rest.text
        if leaf.kind == "indented":
            self._take_indented(leaf, rest)
            return
        if text.strip() or leaf.kind == "fence":
            self._touch()
        if leaf.kind == "fence":
            self._take_fenced(leaf, rest)
            return
        if leaf.kind == "html":
            if not leaf.marker and not text.strip():
                self.path.pop()
                return
            leaf.lines.append(text)
            if leaf.marker and leaf.marker in text.lower():
                self.path.pop()
            return
        leaf.lines.append(text.lstrip() if text.strip() else "")
        if leaf.marker in text:
            leaf.is_closed = True
            self.path.pop()
        elif not text.strip() and _is_stray(leaf):
            self._leave_stray(leaf)

    def _leave_stray(self, leaf: Node) -> None:
        """Close a leaf whose end mark does not come."""
        self.path.pop()
        if leaf.marker == "$$":  # text, as on GitHub and in JupyterLab
            leaf.kind = "paragraph"
            leaf.lines = [line for line in leaf.lines if line]

    def _take_indented(self, leaf: Node, rest: Rest) -> None:
        if rest.text.strip():
            self._touch()
        rest.skip(4)
        leaf.lines.append(rest.text)

    def _take_fenced(self, leaf: Node, rest: Rest) -> None:
        if rest.indent < 4:
            text = rest.text.strip()
            if closes_fence(text, leaf.marker) and not leaf.level:
                leaf.is_closed = True
                self.path.pop()
                return
            leaf.level += _nesting(leaf, text)
        rest.skip(leaf.width)
        leaf.lines.append(rest.text)

    def _take_text(self, rest: Rest, count: int) -> None:
        """Open the blocks that a line begins, and add its text."""
        while True:
            tip = self.path[-1]
            in_paragraph = tip.kind == "paragraph" and count == len(self.path)
            if in_paragraph and self._becomes_other(tip, rest):
                return
            indent = rest.indent
            if indent > 3:
                if tip.kind == "paragraph":
                    break
                leaf = self._push(Node("indented", self.number), count)
                rest.skip(4)
                leaf.lines.append(rest.text)
                return
            text = rest.text.lstrip(" \t")
            if not text or text[0] in _NO_START:
                break
            if in_paragraph and tip.level and text.startswith("$$"):
                break  # NB: the end of math that began within a line
            if self._begins_leaf(text, indent, count):
                return
            if not self._begins_container(rest, count, in_paragraph=in_paragraph):
                break
            count = len(self.path)
        self._add_text(rest, count)

    def _becomes_other(self, paragraph: Node, rest: Rest) -> bool:
        """Turn the open paragraph into a heading, or its last line into a table."""
        level = underline_level(rest.text) if paragraph.lines else 0
        if level and not all(map(_DEFINITION.fullmatch, paragraph.lines)):
            self._touch()
            paragraph.kind, paragraph.level = "heading", level
            self.path.pop()
            return True
        row = rest.text
        if not paragraph.lines or not is_delimiter_row(row) or rest.indent > 3:
            return False
        head = paragraph.lines[-1]
        if not is_head(head, row):
            return False
        if len(paragraph.lines) > 1:
            paragraph.lines.pop()
            paragraph.last = self.number - 2
            table = self._push(Node("table", self.number - 1), len(self.path) - 1)
        else:
            table = paragraph
            table.kind, table.lines = "table", []
            self._touch()
        table.lines += [head, row]
        return True

    def _begins_leaf(self, text: str, indent: int, count: int) -> bool:
        number = self.number
        if heading := heading_of(text):
            leaf = Node("heading", number, level=heading[0], lines=[heading[1]])
        elif fence := fence_of(text):
            leaf = Node("fence", number, marker=fence[0], info=fence[1], width=indent)
        elif is_rule(text):
            leaf = Node("rule", number)
        elif math := math_end(text):
            leaf = Node("math", number, marker=math[0], lines=[text])
            leaf.is_closed = math[1]
        elif (end := html_end(text)) is not None:
            leaf = Node("html", number, marker=end, lines=[" " * indent + text])
            leaf.is_closed = bool(end) and end in text.lower()
        else:
            return False
        self._push(leaf, count)
        if leaf.is_closed or leaf.kind in {"heading", "rule"}:
            self.path.pop()
        return True

    def _begins_container(self, rest: Rest, count: int, *, in_paragraph: bool) -> bool:
        indent, text = rest.indent, rest.text.lstrip(" \t")
        levels = sum(node.kind in _LEVELS for node in self.path[:count])
        is_deep = levels >= MAX_DEPTH
        if text[0] == ">":
            self._takes_quote_mark(rest)
            if not is_deep:
                self._push(Node("quote", self.number), count)
            else:
                rest.text = rest.text.lstrip("> ")
            return not is_deep
        marker = item_marker(text)
        is_item = bool(marker) and (not in_paragraph or interrupts(text, marker))
        if is_item and not (is_deep and self.path[-1].first == self.number):
            rest.skip(indent)
            rest.cut(len(marker))
            self._push_item(marker, indent, rest, count, is_deep=is_deep)
            return True
        is_apart = not in_paragraph or self.path[-2].kind == "note"
        if not is_deep and is_apart and (marker := note_marker(text)):
            rest.skip(indent)
            rest.cut(len(marker))
            rest.cut(len(rest.text) - len(rest.text.lstrip()))
            note = self._push(Node("note", self.number, marker=marker), count)
            note.width = 4
            return bool(rest.text)
        return False

    def _push_item(
        self, marker: str, indent: int, rest: Rest, count: int, *, is_deep: bool
    ) -> None:
        gap = rest.indent
        gap = gap if 0 < gap < 5 and rest.text.strip() else 1
        width = indent + len(marker) + gap
        rest.skip(gap)
        while self.path[count - 1].kind not in _CONTAINERS:
            count -= 1
        if is_deep and self.path[count - 1].kind == "item":
            count -= 1
            indent += self.path[count].width
            width += self.path[count].width
        parent = self.path[count - 1]
        if parent.kind != "list" or (parent.marker != marker[-1] and not is_deep):
            self._push(Node("list", self.number, marker=marker[-1]), count)
            count = len(self.path)
        else:
            del self.path[count:]
        item = Node("item", self.number, marker=marker, width=width)
        item.level = indent + 2 if marker[0].isdigit() else 0
        self._append(item)

    def _add_text(self, rest: Rest, count: int) -> None:
        tip = self.path[-1]
        text = rest.text.lstrip(" \t")
        if tip.kind == "paragraph" and (text or count == len(self.path)):
            self._touch()  # NB: a lazy line continues all open blocks
            self._add_line(tip, text)
        elif tip.kind == "table" and count == len(self.path):
            self._touch()
            tip.lines.append(text)
        elif text:
            self._add_line(self._push(Node("paragraph", self.number), count), text)

    def _add_line(self, paragraph: Node, text: str) -> None:
        paragraph.lines.append(text)
        if "$$" in text:
            paragraph.level ^= _CODE.sub("", text).count("$$") % 2

    # -- the open path -------------------------------------------------------------

    def _push(self, node: Node, count: int) -> Node:
        """Close all blocks but the first ones; open a new one in the last of them."""
        del self.path[count:]
        while self.path[-1].kind not in _CONTAINERS or self.path[-1].kind == "list":
            self.path.pop()
        self._append(node)
        return node

    def _append(self, node: Node) -> None:
        self.path[-1].children.append(node)
        self.path.append(node)
        self._touch()

    def _touch(self, count: int | None = None) -> None:
        for node in self.path[:count]:
            node.last = self.number


def _has_not_ended(leaf: Node) -> bool:
    """Return whether a fence ends this leaf: no code is lost to a stray mark.

    CommonMark reads HTML to its end tag, if need be to the end of the text; a fence
    below a blank line is code all the same.
    """
    is_below_blank = leaf.lines != [] and not leaf.lines[-1].strip()
    return leaf.kind == "math" or (leaf.kind == "html" and is_below_blank)


def _is_stray(math: Node) -> bool:
    """Return whether math that has a blank line is a stray opening mark."""
    if math.marker == "$$":
        return any(line not in {"", "$$"} for line in math.lines)
    # NB: LaTeX's brackets are not text, and models put blank lines between them.
    return sum(map(len, math.lines)) > _MAX_MATH


def _nesting(fence: Node, text: str) -> int:
    """Return by how much a line changes the fences open in a fence of Markdown.

    Models show Markdown with fences in a fence of the same length.
    """
    if fence.info.partition(" ")[0].lower() not in {"markdown", "md"}:
        return 0
    if fence.level and closes_fence(text, fence.marker):
        return -1
    inner = fence_of(text)
    is_inner = inner is not None and inner[0] == fence.marker and bool(inner[1])
    return int(is_inner and not fence.level)
