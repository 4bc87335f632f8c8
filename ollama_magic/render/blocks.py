"""A Markdown text split into top-level blocks, while it grows or as a whole.

``incremental`` feeds the splitter with a streaming reply; ``safe_html`` splits complete
texts. Each line is read once, and the split is lossless: the sources of the blocks,
joined, are the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ollama_magic.render.line_syntax import (
    Kind,
    closes_fence,
    end_of_html,
    end_of_math,
    fence_after_quoted,
    fence_of,
    interrupts_paragraph,
    is_delimiter_row,
    is_underline,
    item_marker,
    item_text,
    kind_of,
    may_become_item,
    takes_lazy_line,
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
        self._after_blank = False
        self._ends_with = ""  # what ends a fence, math or verbatim HTML block
        self._nested_fence = ""  # marks of a fence that is open inside a list
        self._quoted_fence = ""  # marks of a fence that is open inside a quote
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
        if self._ends_with or self._nested_fence:
            self._append(line)
            self._take_verbatim(line)
        elif not line.strip():
            self._append(line)
            self._after_blank = True
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
        self._after_blank = False
        self._append(line)
        self._after_line(line, is_first=is_first)

    def _close_if_left(self) -> None:
        """Close a list as soon as the unfinished line can't become an item.

        Otherwise a whole paragraph below it would be unfinished together with it.
        """
        if self._kind != "list" or not self._after_blank or self._nested_fence:
            return
        rest = "".join(self._unfinished)
        if rest.strip() and not (may_become_item(rest) or self._continues(rest)):
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
        if line.startswith(("  ", "\t")):
            return True
        if marker := item_marker(line):
            return marker[1][0].isdigit() == self._is_ordered
        # NB: "lazy" lines: text at the margin continues the item.
        return not self._after_blank and kind_of(line) == "paragraph"

    def _continues_quote(self, line: str) -> bool:
        kind = kind_of(line)
        is_lazy = kind in {"paragraph", "indented"} and not self._quoted_fence
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
        fence = fence_of(item_text(line))
        self._nested_fence = fence[0] if fence else ""

    def _after_quote_line(self, line: str) -> None:
        is_outside = not self._quoted_fence
        self._quoted_fence = fence_after_quoted(line, self._quoted_fence)
        if is_outside and self._quoted_fence:
            self._head = line

    def _take_verbatim(self, line: str) -> None:
        if self._nested_fence:
            if closes_fence(line, self._nested_fence):
                self._nested_fence = ""
            return  # NB: what looks like an item in code is not a place to cut
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
        self._lines, self._size, self._kind = [], 0, "blank"
        self._after_blank, self._ends_with, self._nested_fence = False, "", ""
        self._quoted_fence = ""
        self._prefix = self._head = ""

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
            fence = self._quoted_fence
            self._close()
            self._kind, self._quoted_fence = kind, fence
            is_repeated = fence and len(head) <= self._cap // 2
            self._prefix = self._head = head if is_repeated else ""
        elif kind in {"html", "indented", "paragraph"}:
            self._close()
            self._kind, self._ends_with = kind, end

    def _cut_items(self) -> None:
        """Cut off the items before the one that begins at the last line."""
        line = self._lines[-1]
        marker = item_marker(line)
        if marker and marker[0] < 2 and len(self._lines) > 1:
            nested_fence = self._nested_fence
            self._lines.pop()
            self._close()
            self._kind, self._nested_fence = "list", nested_fence
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
