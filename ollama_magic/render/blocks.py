"""A Markdown text split into top-level blocks, while it grows or as a whole.

``incremental`` feeds the splitter with a streaming reply; ``safe_html`` splits complete
texts. Each line is read once, and the split is lossless: the sources of the blocks,
joined, are the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from ollama_magic.render.line_syntax import (
    Kind,
    closes_fence,
    end_of_html,
    end_of_math,
    fence_of,
    interrupts_paragraph,
    is_delimiter_row,
    is_underline,
    item_content_column,
    item_marker,
    item_text,
    kind_of,
    may_become_item,
    takes_lazy_line,
    unquoted,
)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=\S)")

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


def split_blocks(text: str) -> list[Block]:
    r"""Split a complete text into its blocks.

    >>> [block.kind for block in split_blocks("# A\ntext:\n- one\n\n```\nx\n```")]
    ['heading', 'paragraph', 'list', 'fence']
    """
    splitter = BlockSplitter()
    blocks = splitter.feed(text) + splitter.feed("\n") + splitter.open_blocks()
    last = blocks.pop()
    source = last.source.removesuffix("\n")
    return [*blocks, replace(last, source=source)] if source else blocks


LineRole = Literal["blank", "item", "text", "fence", "code", "end", "indented"]
"""What a line of a list is: ``fence`` opens, ``end`` closes; ``code`` is between."""


class ListReader:
    """Reads a list line by line: its open items, and the code in them.

    ``dialect`` uses it too, so that both agree on where code begins and ends. An item
    contains what is indented by two columns, as models write it, or more.
    """

    def __init__(self) -> None:
        self.fence = ""
        """The marks of the open fence."""
        self._items: list[tuple[int, str]] = []  # the column of the marker, the line
        self._after_blank = True
        self._is_indented = False  # whether indented code is open

    @property
    def depth(self) -> int:
        """How many items are open."""
        return len(self._items)

    @property
    def code_column(self) -> int:
        """The column at which indented code in the last open item begins."""
        return 4 + (item_content_column(self._items[-1][1]) if self._items else 0)

    @property
    def takes_lazy_line(self) -> bool:
        """Whether text at the margin would continue the last item."""
        return not (self._after_blank or self.fence or self._is_indented)

    def leaves_fence(self, line: str) -> bool:
        """Return whether a line ends the open fence because it ends its item."""
        if not self.fence or not self._items or not line.strip():
            return False
        if closes_fence(line, self.fence):
            return False
        return _column(line.expandtabs(4)) < self._items[-1][0] + 2

    def take(self, line: str) -> LineRole:
        """Read the next line; return what it is."""
        line = line.expandtabs(4)
        after_blank, self._after_blank = self._after_blank, not line.strip()
        if self.fence and not self.leaves_fence(line):
            if not closes_fence(line, self.fence):
                return "code"
            self.fence = ""
            return "end"
        if not line.strip():
            return "blank"
        if self._is_indented and _column(line) >= self.code_column:
            return "indented"
        is_apart = after_blank or bool(self.fence) or self._is_indented
        self.fence, self._is_indented = "", False
        return self._take_text(line, is_apart=is_apart)

    def _take_text(self, line: str, *, is_apart: bool) -> LineRole:
        """Read a line that is not in code.

        Parameters
        ----------
        is_apart
            Whether the line can't continue a paragraph.
        """
        column = _column(line)
        is_item = item_marker(line) is not None
        has_marks = "```" in line or "~~~" in line
        fence = fence_of(item_text(line)) if has_marks else None
        if is_item or fence or is_apart:
            while self._items and column < self._items[-1][0] + 2:
                self._items.pop()
        if is_item:
            self._items.append((column, line))
        if fence:
            self.fence = fence[0]
            return "fence"
        if is_item:
            return "item"
        self._is_indented = is_apart and column >= self.code_column
        return "indented" if self._is_indented else "text"


def _column(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


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
        self._done: list[Block] = []
        self._lines: list[str] = []
        self._size = 0
        self._unfinished: list[str] = []
        self._kind: Kind = "blank"
        self._ends_with = ""  # what ends a fence, math or verbatim HTML block
        self._list = ListReader()
        self._quoted = ListReader()  # reads the lines of a quote, without the marks
        self._is_ordered = False
        self._prefix = ""
        self._head = ""  # starts each later piece: a fence, the head of a table

    def feed(self, text: str) -> list[Block]:
        """Add new text; return the blocks that it finishes."""
        *lines, rest = text.split("\n")
        for line in lines:
            self._unfinished.append(line)
            self._take("".join(self._unfinished) + "\n")
            self._unfinished.clear()
        self._unfinished.append(rest)
        self._close_if_left()
        if self._cap is not None and self._kind in {"blank", "paragraph"}:
            self._cut_sentences(self._cap)
        done, self._done = self._done, []
        return done

    def open_blocks(self) -> list[Block]:
        """Return the unfinished blocks: none, one or two.

        There are two if the unfinished line seems to begin a new one.
        """
        rest = "".join(self._unfinished)
        whole = "".join(self._lines)
        if not whole + rest:
            return []
        if not rest.strip() or self._continues(rest):
            is_first = self._kind == "blank" and rest.strip()
            kind = kind_of(rest) if is_first else self._kind
            return [Block(kind, whole + rest, self._prefix)]
        return [Block(self._kind, whole, self._prefix), Block(kind_of(rest), rest)]

    # -- one complete line -----------------------------------------------------

    def _take(self, line: str) -> None:
        if self._list.fence and not self._list.leaves_fence(line):
            self._append(line)  # NB: an item in code is not a place to cut
            self._list.take(line)
        elif self._ends_with:
            self._append(line)
            self._take_verbatim(line)
        elif not line.strip():
            self._append(line)
            self._list.take(line)
            if self._kind in {"paragraph", "quote", "table", "html"}:
                self._close()
        else:
            self._take_text(line)

    def _take_text(self, line: str) -> None:
        if self._kind == "paragraph" and self._becomes_table(line):
            return
        if not self._continues(line):
            self._close()
        is_first = self._kind == "blank"
        if is_first:
            self._kind = kind_of(line)
        self._append(line)
        self._after_line(line, is_first=is_first)

    def _close_if_left(self) -> None:
        """Close a list as soon as the unfinished line can't become an item.

        Otherwise a whole paragraph below it would be unfinished together with it.
        """
        if self._kind != "list" or self._list.takes_lazy_line:
            return
        rest = "".join(self._unfinished)
        self._unfinished = [rest]
        may_end_fence = self._list.fence and not rest.strip().strip(self._list.fence)
        if not rest.strip() or may_end_fence or may_become_item(rest):
            return
        if not self._continues(rest):
            self._close()

    def _append(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line)

    def _continues(self, line: str) -> bool:
        """Return whether a line with text belongs to the open block."""
        kind = self._kind
        if kind == "list":
            return self._continues_list(line)
        if kind == "indented":
            return line.startswith(("    ", "\t"))
        if kind == "paragraph":
            return not interrupts_paragraph(line)
        if kind == "quote":
            return self._continues_quote(line)
        if kind == "table":
            return kind_of(line) in {kind, "paragraph", "indented"}
        return True  # nothing is open, or only its own end mark closes it

    def _continues_list(self, line: str) -> bool:
        if self._list.fence and not self._list.leaves_fence(line):
            return True
        if line.startswith(("  ", "\t")):
            return True
        if marker := item_marker(line):
            return marker[1][0].isdigit() == self._is_ordered
        # NB: "lazy" lines: text at the margin continues the item.
        return self._list.takes_lazy_line and kind_of(line) == "paragraph"

    def _continues_quote(self, line: str) -> bool:
        kind = kind_of(line)
        if self._prefix and self._quoted.leaves_fence(unquoted(line)):
            return False  # NB: the fence that each piece repeats has no item
        is_lazy = kind in {"paragraph", "indented"} and not self._quoted.fence
        before = self._lines[-1] if self._lines else ""  # of a quote that was cut
        return kind == "quote" or (is_lazy and (not before or takes_lazy_line(before)))

    def _becomes_table(self, line: str) -> bool:
        """Start a table at the previous line if this one is its delimiter row."""
        before = self._lines[-1] if self._lines else ""  # of a paragraph that was cut
        if not (is_delimiter_row(line) and "|" in before):
            return False
        head = self._lines.pop()
        self._close()
        self._kind = "table"
        self._head = head + line
        self._append(head)
        self._append(line)
        return True

    # -- what a line changes ---------------------------------------------------

    def _after_line(self, line: str, *, is_first: bool) -> None:
        kind = self._kind
        if kind in {"heading", "rule"}:
            self._close()
        elif kind == "fence":
            fence = fence_of(line)
            self._ends_with, self._head = (fence[0] if fence else ""), line
        elif kind == "math":
            self._ends_with = end_of_math(line)
            if not self._ends_with:
                self._close()
        elif kind == "html" and is_first:
            self._ends_with = end_of_html(line)
        elif kind == "list":
            self._after_item_line(line, is_first=is_first)
        elif kind == "quote":
            self._after_quote_line(line)
        elif kind == "paragraph" and not is_first and is_underline(line):
            self._close()
        self._cut_lines()

    def _after_item_line(self, line: str, *, is_first: bool) -> None:
        marker = item_marker(line)
        if is_first and marker:
            self._is_ordered = marker[1][0].isdigit()
        self._list.take(line)

    def _after_quote_line(self, line: str) -> None:
        if self._quoted.take(unquoted(line)) == "fence":
            self._head = line

    def _take_verbatim(self, line: str) -> None:
        if self._kind == "fence":
            if closes_fence(line, self._ends_with):
                self._close()
        elif self._ends_with in line.lower():
            self._close()
        elif self._kind == "math" and not line.strip() and len(self._lines) > 2:
            self._close()  # TeX has no empty lines: this was a stray opening
        self._cut_lines()

    def _close(self, suffix: str = "") -> None:
        if self._lines:
            source = "".join(self._lines)
            self._done.append(Block(self._kind, source, self._prefix, suffix))
        kind, self._kind = self._kind, "blank"
        self._lines, self._size = [], 0
        self._ends_with = self._prefix = self._head = ""
        if kind in {"list", "quote"}:
            self._list, self._quoted = ListReader(), ListReader()

    # -- pieces for a live view ------------------------------------------------

    def _cut_lines(self) -> None:
        """Cut a piece off an open block that has become too long."""
        if self._cap is None or self._size <= self._cap:
            return
        kind, head, end = self._kind, self._head, self._ends_with
        if kind == "list":
            self._cut_items()
        elif kind == "fence":
            self._close(end + "\n")
            self._kind, self._head, self._ends_with = kind, head, end
            self._prefix = head
        elif kind == "table" and len(head) <= self._cap // 2:
            self._close()
            self._kind = kind
            self._prefix = self._head = head
        elif kind == "quote":
            quoted = self._quoted
            self._close()
            self._kind, self._quoted = kind, quoted
            is_repeated = quoted.fence and len(head) <= self._cap // 2
            self._prefix = self._head = head if is_repeated else ""
        elif kind in {"html", "indented", "paragraph"}:
            self._close()
            self._kind, self._ends_with = kind, end

    def _cut_items(self) -> None:
        """Cut off the items before the one that begins at the last line."""
        line = self._lines[-1]
        marker = item_marker(line)
        if marker and marker[0] < 2 and len(self._lines) > 1:
            items = self._list
            self._lines.pop()
            self._close()
            self._kind, self._list = "list", items
            self._append(line)

    def _cut_sentences(self, cap: int) -> None:
        """Cut the complete sentences off one long line."""
        if sum(map(len, self._unfinished)) <= cap:
            return
        rest = "".join(self._unfinished)
        self._unfinished = [rest]
        if self._kind == "blank" and kind_of(rest) != "paragraph":
            return
        cuts = [match.end() for match in _SENTENCE_END.finditer(rest)]
        if cuts:
            self._kind = "paragraph"
            self._append(rest[: cuts[-1]])
            self._close()
            self._kind = "paragraph"
            self._unfinished = [rest[cuts[-1] :]]
