"""Line syntax of Markdown: what a single line opens, continues or ends.

``blocks``, ``dialect`` and ``code`` share it, so that fences, lists and quotes are
recognised in one place. It follows CommonMark 0.31, GitHub's tables, and display math
as models write it.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal[
    "blank", "paragraph", "heading", "rule", "fence", "indented", "list", "quote",
    "table", "math", "html",
]  # fmt: skip

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`\n]*$)|~{3,})\s*(.*)")
_QUOTE_MARKS = re.compile(r"(?: {0,3}> ?)+")
_ITEM = re.compile(r"( *)([-*+]|\d{1,9}[.)])(?=\s|$)")
_CONTENT = re.compile(r" *(?:[-*+]|\d{1,9}[.)])( {1,4}(?=\S)| ?)")
_MAY_BE_ITEM = re.compile(r"[ \t]|[-*+](\s|$)|\d{1,9}([.)](\s|$)|$)")
_HEADING = re.compile(r" {0,3}#{1,6}(\s|$)")
_RULE = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_MATH = re.compile(r" {0,3}(\$\$|\\\[|\\begin\{([a-z]{1,20}\*?)\})")
_HTML_NAMES = (
    "address|article|aside|blockquote|body|button|canvas|center|details|dialog|div|dl"
    "|fieldset|figure|footer|form|h[1-6]|head|header|hr|html|iframe|li|link|main|meta"
    "|nav|ol|p|pre|script|section|style|summary|svg|table|tbody|td|template|textarea"
    "|tfoot|th|thead|title|tr|ul|video"
)
_HTML = re.compile(rf" {{0,3}}<(?:!--|!doctype|/?({_HTML_NAMES})(?=[\s/>]|$))", re.I)
_VERBATIM_HTML = {"pre", "script", "style", "textarea", "svg"}


def item_marker(line: str) -> tuple[int, str] | None:
    """Return the indent and the marker of a list item's first line, or None."""
    match = _ITEM.match(line)
    if match is None or _RULE.match(line):
        return None
    return len(match[1]), match[2]


def is_delimiter_row(line: str) -> bool:
    """Return whether a line is the ``|---|:-:|`` under a table's head."""
    bare = line.strip()
    if "|" not in bare or "-" not in bare:
        return False
    cells = bare.removeprefix("|").removesuffix("|").split("|")
    return all(_is_dashes(cell.strip()) for cell in cells)


def fence_of(line: str) -> tuple[str, str] | None:
    """Return the marks and the info string of a fence's first line, or None."""
    match = _FENCE.match(line.rstrip("\r\n"))
    return (match[1], match[2].strip()) if match else None


def closes_fence(line: str, marks: str) -> bool:
    """Return whether a line closes the fence that ``marks`` opened."""
    bare = line.strip()
    return len(bare) >= len(marks) and not bare.strip(marks[0])


def unquoted(line: str) -> str:
    """Return a line without the ``>`` marks at its start."""
    match = _QUOTE_MARKS.match(line)
    return line[match.end() :] if match else line


def takes_lazy_line(quoted: str) -> bool:
    """Return whether text without a ``>`` continues the quoted line above it.

    Valid only while no fence is open in the quote.
    """
    text = unquoted(quoted).strip()
    return bool(text) and kind_of(text) in {"paragraph", "list"}


def kind_of(line: str) -> Kind:  # noqa: PLR0911  (a table, in order of precedence)
    """Return which kind of block a line would begin."""
    bare = line.rstrip("\r\n")
    if bare.startswith(("    ", "\t")):
        return "indented"
    if _FENCE.match(bare):
        return "fence"
    if _RULE.match(bare):
        return "rule"
    if _HEADING.match(bare):
        return "heading"
    if bare.lstrip().startswith(">"):
        return "quote"
    if _ITEM.match(bare):
        return "list"
    if _is_math(bare):
        return "math"
    return "html" if _HTML.match(bare) else "paragraph"


def interrupts_paragraph(line: str) -> bool:
    """Return whether a line ends the paragraph directly above it."""
    kind = kind_of(line)
    if kind == "rule" and _UNDERLINE.match(line.rstrip()):
        return False  # a heading's underline
    if kind == "list":
        match = _ITEM.match(line)
        assert match
        has_text = bool(line[match.end() :].strip())
        return has_text and match[2] in {"-", "*", "+", "1.", "1)"}
    return kind not in {"paragraph", "indented"}


def _is_dashes(cell: str) -> bool:
    dashes = cell.removeprefix(":").removesuffix(":")
    return bool(dashes) and not dashes.strip("-")


def _math_ends(line: str) -> tuple[str, str]:
    """Return the end mark of the math that a line opens, and the rest of the line."""
    match = _MATH.match(line)
    assert match
    ends = {"$$": "$$", "\\[": "\\]"}
    return ends.get(match[1], f"\\end{{{match[2]}}}"), line[match.end() :].rstrip()


def _is_math(line: str) -> bool:
    """Return whether a line opens display math, with no text after the math."""
    if not _MATH.match(line):
        return False
    end, rest = _math_ends(line)
    return end not in rest or rest.endswith(end)


def end_of_math(line: str) -> str:
    """Return the end mark of the math that a line opens; empty if it ends there."""
    end, rest = _math_ends(line)
    return "" if end in rest else end


def end_of_html(line: str) -> str:
    """Return the end mark of verbatim HTML; empty if it ends here or at a blank."""
    match = _HTML.match(line)
    assert match
    name = (match[1] or "").lower()
    end = f"</{name}>" if name in _VERBATIM_HTML else ""
    if line.lstrip().startswith("<!--"):
        end = "-->"
    return "" if end in line.lower() or line.lstrip().startswith("</") else end


def item_content_column(line: str) -> int:
    """Return the column at which the content of a list item's first line begins."""
    match = _CONTENT.match(line)
    assert match
    return match.end() if match[1] else match.end() + 1


def item_text(line: str) -> str:
    """Return a list item's first line without its marker; other lines unchanged."""
    match = _ITEM.match(line)
    return (line[match.end() :] if match else line).lstrip()


def may_become_item(line: str) -> bool:
    """Return whether an unfinished line may still belong to a list."""
    return _MAY_BE_ITEM.match(line) is not None


def is_underline(line: str) -> bool:
    """Return whether a line turns the paragraph line above it into a heading."""
    return _UNDERLINE.match(line.rstrip()) is not None
