"""Line syntax of Markdown: what a single line opens, closes or underlines.

``tree`` builds the blocks of a text from it; ``code`` and ``sharing`` read fences with
it. It follows CommonMark 0.31, GitHub's tables, and display math as models write it.
"""

from __future__ import annotations

import re
from itertools import pairwise

from ollama_magic.render.math import INLINE_MATH, is_money

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`\n]*$)|~{3,})\s*(.*)")
_ITEM = re.compile(r"([-*+]|\d{1,9}[.)])(?=[ \t]|$)")
_HEADING = re.compile(r"(#{1,6})(?:[ \t]+(.*))?$")
_CLOSING_MARKS = re.compile(r"(?:^|(?<![ \t])[ \t]++)#+[ \t]*$")
_RULE = re.compile(r"([-*_])[ \t]*(?:\1[ \t]*){2,}$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NOTE = re.compile(r"\[\^[^\[\]\s]{1,100}\]:(?=[ \t]|$)")
_MATH = re.compile(r"(\$\$|\\\[|\\begin\{([a-z]{1,20}\*?)\})")
_HTML_NAMES = (
    "address|article|aside|blockquote|body|button|canvas|center|details|dialog|div|dl"
    "|fieldset|figure|footer|form|h[1-6]|head|header|hr|html|iframe|li|link|main|meta"
    "|nav|ol|p|pre|script|section|style|summary|svg|table|tbody|td|template|textarea"
    "|tfoot|th|thead|title|tr|ul|video"
)
_HTML = re.compile(rf"<(?:!--|!doctype|/?({_HTML_NAMES})(?=[\s/>]|$))", re.I)
_VERBATIM_HTML = {"pre", "script", "style", "textarea", "svg"}


class Rest:
    """What is left of a line after the markers of its containers."""

    __slots__ = ("column", "text")

    def __init__(self, line: str) -> None:
        self.text = line
        self.column = 0

    @property
    def indent(self) -> int:
        """The columns of white space before the text."""
        bare = self.text.lstrip(" ")
        if bare[:1] != "\t":
            return len(self.text) - len(bare)
        column = self.column
        for char in self.text:
            if char == " ":
                column += 1
            elif char == "\t":
                column += 4 - column % 4
            else:
                break
        return column - self.column

    def skip(self, columns: int) -> None:
        """Remove columns of white space, or fewer if the text begins before."""
        if self.text[:columns] == " " * columns:
            self.cut(columns)
            return
        while columns and self.text[:1] in {" ", "\t"}:
            width = 1 if self.text[0] == " " else 4 - self.column % 4
            if width > columns:  # a part of a tab: the rest becomes spaces
                self.text = " " * width + self.text[1:]
                continue
            self.text = self.text[1:]
            self.column += width
            columns -= width

    def cut(self, count: int) -> None:
        """Remove characters that are not tabs."""
        self.text = self.text[count:]
        self.column += count


def is_delimiter_row(line: str) -> bool:
    """Return whether a line is the ``|---|:-:|`` under a table's head."""
    bare = line.strip()
    if "|" not in bare or "-" not in bare:
        return False
    return all(_is_dashes(cell.strip()) for cell in delimiters(bare))


def delimiters(row: str) -> list[str]:
    """Return the cells of a delimiter row."""
    return row.strip().removeprefix("|").removesuffix("|").split("|")


def is_head(line: str, row: str) -> bool:
    """Return whether a line is the head of a table with this delimiter row."""
    columns = len(delimiters(row))
    return "|" in line and count_cells(line, columns) == columns


def _is_dashes(cell: str) -> bool:
    dashes = cell.removeprefix(":").removesuffix(":")
    return bool(dashes) and not dashes.strip("-")


def fence_of(line: str) -> tuple[str, str] | None:
    """Return the marks and the info string of a fence's first line, or None."""
    match = _FENCE.match(line.rstrip("\r\n"))
    return (match[1], match[2].strip()) if match else None


def closes_fence(line: str, marks: str) -> bool:
    """Return whether a line closes the fence that ``marks`` opened."""
    bare = line.strip()
    return len(bare) >= len(marks) and not bare.strip(marks[0])


# The functions below read a line without its indent.


def item_marker(text: str) -> str:
    """Return the marker of a list item; empty if the line is not an item."""
    match = None if is_rule(text) else _ITEM.match(text)
    return match[1] if match else ""


def interrupts(text: str, marker: str) -> bool:
    """Return whether an item may begin directly below a paragraph."""
    is_first = not marker[0].isdigit() or int(marker[:-1]) == 1
    return is_first and bool(text[len(marker) :].strip())


def note_marker(text: str) -> str:
    """Return the ``[^1]:`` of a footnote; empty if the line is none."""
    match = _NOTE.match(text)
    return match[0] if match else ""


def heading_of(text: str) -> tuple[int, str] | None:
    """Return the level and the text of a heading, or None."""
    match = _HEADING.match(text)
    if match is None:
        return None
    return len(match[1]), _CLOSING_MARKS.sub("", (match[2] or "").strip())


def is_rule(text: str) -> bool:
    """Return whether a line is a thematic break."""
    return _RULE.match(text) is not None


def underline_level(line: str) -> int:
    """Return the level of the heading that a line underlines; 0 if it does not."""
    match = _UNDERLINE.match(line)
    return (1 if match[1][0] == "=" else 2) if match else 0


def math_end(text: str) -> tuple[str, bool] | None:
    """Return the end mark of the display math that a line opens, or None.

    The second value tells whether the math ends on the same line; with text after the
    end, it is not display math.
    """
    match = _MATH.match(text)
    if match is None:
        return None
    ends = {"$$": "$$", "\\[": "\\]"}
    end = ends.get(match[1], f"\\end{{{match[2]}}}")
    rest = text[match.end() :].rstrip()
    if end not in rest:
        is_text = rest.count("]") > rest.count("[")  # NB: "\\[a](b)" is an escape
        return None if is_text else (end, False)
    return (end, True) if rest.endswith(end) else None


def html_end(text: str) -> str | None:
    """Return the end mark of the raw HTML that a line opens, or None.

    It is empty if the HTML ends at a blank line.
    """
    match = _HTML.match(text)
    if match is None:
        return None
    if text.startswith("<!--"):
        return "-->"
    name = (match[1] or "").lower()
    is_verbatim = name in _VERBATIM_HTML and not text.startswith("</")
    return f"</{name}>" if is_verbatim else ""


# -- cells of a table ----------------------------------------------------------

PIPE = "\x1f"
"""A pipe in math; never in a text: ``visible_text`` replaces control characters."""
_INLINE_MATH = re.compile(INLINE_MATH)
_BARE_PIPE = re.compile(r"(?<!\\)\|")
CODE = re.compile(r"(?<!`)(`+)(?!`)(?:.*?[^`])\1(?!`)", re.DOTALL)
_SEPARATOR = re.compile(rf"{CODE.pattern}|\\.|(?P<pipe>\|)", re.DOTALL)


def count_cells(row: str, columns: int) -> int:
    """Return how many cells a row has in a table with so many columns."""
    return len(_edges(_without_math_pipes(row, columns))) - 1


def cells_of(row: str, columns: int) -> list[str]:
    """Return the cells of a row; surplus cells stay in the last one."""
    row = _without_math_pipes(row, columns)
    edges = _edges(row)
    del edges[columns:-1]
    return [row[left + 1 : right] for left, right in pairwise(edges)]


def _without_math_pipes(row: str, columns: int) -> str:
    """Hide the pipes in math if the row then has as many cells as columns."""
    if len(_edges(row)) - 1 <= columns:
        return row
    hidden = _INLINE_MATH.sub(_without_pipes, row)
    return hidden if len(_edges(hidden)) - 1 == columns else row


def _edges(row: str) -> list[int]:
    """Return where the cells of a row begin and end: at its pipes, or its edges."""
    start, end = len(row) - len(row.lstrip(" ")), len(row.rstrip(" "))
    pipes = [match.start() for match in _SEPARATOR.finditer(row) if match["pipe"]]
    inner = [pipe for pipe in pipes if start < pipe < end - 1]
    first = start if pipes[:1] == [start] else start - 1
    last = end - 1 if pipes[-1:] == [end - 1] and first < end - 1 else end
    return [first, *inner, last]


def _without_pipes(math: re.Match[str]) -> str:
    return math[0] if is_money(math) else _BARE_PIPE.sub(PIPE, math[0])
