"""A Markdown text split into top-level blocks, while it grows or as a whole.

``incremental`` feeds the splitter with a streaming reply; ``safe_html`` splits complete
texts. Each line is read once, and the split is lossless: the sources of the blocks,
joined, are the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ollama_magic.render.tree import Kind, Node, TreeParser, tree_of

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=\S)")
_UNDECIDED = re.compile(r"[ \t>]*(?:[-*+_=`~#|$\\<]*|\d{1,9}[.)]?|\[\^?[^\]]*)[ \t]*")
"""An unfinished line that may become any block."""

CAP_CHARACTERS = 2000
"""How long an open block may grow in a live view before it is cut into pieces."""


@dataclass(frozen=True, slots=True)
class Block:
    """A top-level block, or a piece of a block that was too long."""

    kind: Kind
    source: str
    """Its part of the text, unchanged."""
    prefix: str = ""
    """For display only: what a later piece needs before it (a fence, a table head)."""
    suffix: str = ""
    """For display only: what an earlier piece needs after it (the end of a fence)."""

    @property
    def shown(self) -> str:
        """The Markdown to display."""
        return self.prefix + self.source + self.suffix

    def tree(self) -> Node:
        """Return the tree of this block."""
        if self.kind not in {"paragraph", "indented", "html"}:
            tree = node = tree_of(self.shown)
            while node.children:
                node = node.children[0]
            node.is_continued = bool(self.prefix)
            return tree
        # NB: the line of a later piece may look like the start of another block.
        lines = self.shown.strip("\n").split("\n")
        if self.kind == "paragraph":
            lines = [line.lstrip(" \t") for line in lines if line.strip()]
        elif self.kind == "indented":
            lines = [line.expandtabs(4).removeprefix("    ") for line in lines]
        leaf = Node(self.kind, 1, lines=lines)
        return Node("document", 1, children=[leaf])


def split_blocks(text: str) -> list[Block]:
    r"""Split a complete text into its blocks.

    >>> [block.kind for block in split_blocks("# A\ntext:\n- one\n\n```\nx\n```")]
    ['heading', 'paragraph', 'list', 'fence']
    """
    splitter = BlockSplitter()
    blocks = splitter.feed(text) + splitter.feed("\n") + splitter.open_blocks()
    last = blocks.pop()
    if last.kind == "blank" and blocks:
        last = replace(blocks[-1], source=blocks.pop().source + last.source)
    source = last.source.removesuffix("\n")
    return [*blocks, replace(last, source=source)] if source else blocks


class BlockSplitter:
    """Splits a text as it streams into blocks that can't change any more.

    Parameters
    ----------
    cap
        For a live view: the characters after which an open block is cut at a line,
        item, row or sentence. None never cuts.
    """

    def __init__(self, cap: int | None = None) -> None:
        self._cap = cap
        self._tree = TreeParser()
        self._done: list[Block] = []
        self._lines: list[str] = []  # of the open block, and blank lines before it
        self._first = 1  # the number of the first of them
        self._size = 0
        self._unfinished: list[str] = []
        self._continues = False  # whether the unfinished line surely continues a block
        self._is_mid_line = False  # whether the begin of that line was cut off
        self._prefix = ""
        self._repeated: Node | None = None  # the fence in a quote that it opens

    def feed(self, text: str) -> list[Block]:
        """Add new text; return the blocks that it finishes."""
        *lines, rest = text.split("\n")
        for line in lines:
            self._unfinished.append(line)
            self._take("".join(self._unfinished), "\n")
            self._unfinished.clear()
            self._continues = self._is_mid_line = False
        self._unfinished.append(rest)
        self._close_if_left()
        if self._cap is not None:
            self._cut_sentences(self._cap)
        done, self._done = self._done, []
        return done

    def open_blocks(self) -> list[Block]:
        """Return the unfinished blocks: none, one or two.

        There are two if the unfinished line seems to begin a new one.
        """
        rest = "".join(self._unfinished)
        whole = "".join(self._lines) + rest
        if not whole:
            return []
        top = self._top
        new = None
        if rest.strip() and not self._is_mid_line:
            new = self._tree.begins_with(rest)
        if self._repeated and top and new is None and self._tree.leaves(rest):
            code = Block(top.kind, "".join(self._lines), self._prefix)
            return [code, Block(top.kind, rest)]
        if top is None or new is None:
            kind = (new or top or Node("blank", 1)).kind
            return [Block(kind, whole, self._prefix)]
        count = new.first - self._first
        above = "".join(self._lines[:count])
        blocks = [Block(top.kind, above, self._prefix)] if above else []
        return [*blocks, Block(new.kind, "".join(self._lines[count:]) + rest)]

    @property
    def _top(self) -> Node | None:
        """The top-level block that is open."""
        children = self._tree.root.children
        return children[-1] if children else None

    def _take(self, line: str, end: str = "") -> None:
        if self._is_mid_line:
            self._tree.take_text(line)
        else:
            self._tree.take(line)
        self._lines.append(line + end)
        self._size += len(line + end)
        self._finish()
        self._end_repeated()
        self._cut_lines()

    def _finish(self) -> None:
        """Take the blocks that were closed."""
        children = self._tree.root.children
        while len(children) > 1:
            self._emit(children.pop(0).kind, children[0].first - self._first)
        if children and len(self._tree.path) == 1:
            self._emit(children.pop().kind, len(self._lines))

    def _end_repeated(self) -> None:
        """Take the piece that ends with the code of its first line."""
        fence, top = self._repeated, self._top
        if fence and top and all(node is not fence for node in self._tree.path):
            self._emit(top.kind, len(self._lines) - (not fence.is_closed))

    def _emit(self, kind: Kind, count: int, suffix: str = "") -> None:
        source = "".join(self._lines[:count])
        if source:
            self._done.append(Block(kind, source, self._prefix, suffix))
        del self._lines[:count]
        self._first += count
        self._size -= len(source)
        self._prefix, self._repeated = "", None

    def _close_if_left(self) -> None:
        """Close a list as soon as the unfinished line can't become an item.

        Otherwise a whole paragraph below it would be unfinished together with it.
        """
        top = self._top
        if self._continues or top is None or top.kind not in {"list", "quote", "note"}:
            return
        rest = "".join(self._unfinished)
        self._unfinished = [rest]
        if _UNDECIDED.fullmatch(rest):
            return
        self._continues = self._tree.begins_with(rest) is None
        if not self._continues:
            self._tree.close()
            self._finish()

    # -- pieces for a live view ------------------------------------------------

    def _cut_lines(self) -> None:
        """Cut a piece off an open block that has become too long."""
        top = self._top
        if top is None or self._cap is None or self._size <= self._cap:
            return
        tip = self._tree.path[-1]
        head = suffix = ""
        if top.kind in {"math", "note"}:
            return
        if top.kind == "list":
            self._cut_items(top)
            return
        if top.kind == "table":
            head = self._prefix or "".join(self._lines).lstrip("\n")
            head = "".join(head.splitlines(keepends=True)[:2])
            if len(head) > self._cap // 2:
                return
        elif tip.kind == "fence":
            head = self._fence_head()
            suffix = tip.marker + "\n" if top is tip else ""
            if top is not tip and len(head) > self._cap // 2:
                head = ""
        self._emit(top.kind, len(self._lines), suffix)
        self._prefix, self._repeated = head, tip if head and tip is not top else None
        self._tree.forget()

    def _fence_head(self) -> str:
        """Return what makes the next line code again."""
        starts = {"quote": "> "}
        *above, fence = self._tree.path[1:]
        start = "".join(starts.get(node.kind, " " * node.width) for node in above)
        return f"{start}{' ' * fence.width}{fence.marker}{fence.info}\n"

    def _cut_items(self, top: Node) -> None:
        """Cut off the items before the one that begins at the last line."""
        item = top.children[-1]
        if item.first == self._tree.number and len(self._lines) > 1:
            del top.children[:-1]
            self._emit("list", item.first - self._first)

    def _cut_sentences(self, cap: int) -> None:
        """Cut the complete sentences off one long line."""
        if sum(map(len, self._unfinished)) <= cap or len(self._tree.path) > 2:
            return
        rest = "".join(self._unfinished)
        self._unfinished = [rest]
        if not self._is_mid_line:
            top = self._tree.begins_with(rest) or self._top
            if top is None or top.kind != "paragraph":
                return
        cuts = [match.end() for match in _SENTENCE_END.finditer(rest)]
        if cuts:
            self._take(rest[: cuts[-1]])
            if self._lines:
                self._emit("paragraph", len(self._lines))
                self._tree.forget()
            self._is_mid_line = True
            self._unfinished = [rest[cuts[-1] :]]
