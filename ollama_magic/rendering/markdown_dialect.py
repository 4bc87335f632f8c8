"""Markdown as models write it, put into the dialect that Python-Markdown reads.

Python-Markdown wants nested content indented by four columns per level, ``1.`` and not
``1)``, and blank lines around what is nested. Models (and CommonMark) indent by the
width of the marker: two or three. Knows line syntax; makes no HTML.
"""

from __future__ import annotations

import re

from ollama_magic.rendering.blocks import Block, split_blocks
from ollama_magic.rendering.line_syntax import (
    closes_fence,
    fence_of,
    is_delimiter_row,
    item_marker,
    item_text,
)

MAX_DEPTH = 12
"""Deeper levels of lists and quotes are shown at this one."""

_TASK = re.compile(r"\[([ xX])\](?=\s)")
_QUOTE_MARK = re.compile(r"^ {0,3}> ?")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,30}")


def python_markdown_source(block: Block, depth: int = 0) -> str:
    """Return the Markdown of a block as Python-Markdown is to read it."""
    text = block.shown.expandtabs(4) if block.kind == "list" else block.shown
    if depth < MAX_DEPTH:
        if block.kind == "list":
            return _Items().rewrite(text)
        if block.kind == "quote":
            return _quote(text, depth)
    return text


def language_of(info: str) -> str:
    """Return the language that a fence's info string names; empty when none."""
    match = _LANGUAGE.match(info.strip())
    return match[0].lower() if match else ""


def _quote(text: str, depth: int) -> str:
    inner = "".join(
        _QUOTE_MARK.sub("", line, count=1) for line in text.splitlines(keepends=True)
    )
    blocks = (python_markdown_source(b, depth + 1) for b in split_blocks(inner))
    lines = "\n\n".join(block.strip("\n") for block in blocks).split("\n")
    return "\n".join(f"> {line}" for line in lines)


class _Items:
    """Rewrites the lines of one list."""

    def __init__(self) -> None:
        self._markers: list[int] = []  # columns of the open items' markers
        self._fence = ""
        self._fence_column = 0
        self._after_blank = True
        self._depth = 0  # of the line before
        self._is_loose = False  # whether a blank line came since that depth or above
        self._lines: list[str] = []

    def rewrite(self, text: str) -> str:
        lines = text.split("\n")
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            if self._fence:
                self._take_fenced(line)
            elif not line.strip():
                self._lines.append("")
                self._is_loose = True
            elif item_marker(line):
                self._take_item(line)
            else:
                self._take_text(line, is_head=is_delimiter_row(following))
            self._after_blank = not line.strip()
        return "\n".join(self._lines)

    def _indent(self) -> str:
        return "    " * min(len(self._markers), MAX_DEPTH)

    def _take_item(self, line: str) -> None:
        marker = item_marker(line)
        assert marker
        column, mark = marker
        self._leave_items(column)
        depth = len(self._markers)
        if self._is_loose and depth < self._depth and self._lines[-1]:
            # NB: after a blank line Python-Markdown reads on at the level it is at.
            self._lines.append("")
        self._is_loose = self._is_loose and depth > 0
        self._depth = depth + 1
        mark = mark.replace(")", ".")
        text = _TASK.sub(_task_box, item_text(line), count=1)
        indent = self._indent()
        self._markers.append(column)
        fence = fence_of(text)
        if fence:  # the fence needs a line of its own
            self._lines.append(f"{indent}{mark} ")
            self._open_fence(fence, column + len(mark) + 1)
        else:
            self._lines.append(f"{indent}{mark} {text}")

    def _take_text(self, line: str, *, is_head: bool) -> None:
        text = line.lstrip(" ")
        column = len(line) - len(text)
        if self._after_blank:
            self._leave_items(max(column, 2))
        fence = fence_of(text)
        if fence:
            self._open_fence(fence, column)
            return
        extra = column - self._content_column() if self._after_blank else 0
        is_code = extra >= 4
        is_quote = text.startswith(">") and not self._lines[-1].lstrip().startswith(">")
        if (is_head or is_quote) and not self._after_blank:
            self._lines.append("")
            self._is_loose = True
        self._lines.append(self._indent() + (" " * extra if is_code else "") + text)

    def _content_column(self) -> int:
        return self._markers[-1] + 2 if self._markers else 0

    def _leave_items(self, column: int) -> None:
        """Leave the items that a line at this column is not inside of."""
        while self._markers and column < self._markers[-1] + 2:
            self._markers.pop()

    def _open_fence(self, fence: tuple[str, str], column: int) -> None:
        marks, info = fence
        self._fence, self._fence_column, self._is_loose = marks, column, True
        if self._lines and self._lines[-1].strip():
            self._lines.append("")
        self._lines.append(f"{self._indent()}{marks}{language_of(info)}")

    def _take_fenced(self, line: str) -> None:
        if closes_fence(line, self._fence):
            self._lines.extend([f"{self._indent()}{self._fence}", ""])
            self._fence = ""
            return
        margin = len(line) - len(line.lstrip(" "))
        self._lines.append(self._indent() + line[min(margin, self._fence_column) :])


def _task_box(match: re.Match[str]) -> str:
    return "☐" if match[1] == " " else "☑"
