"""The open end of a text that is still being written, made fit to be shown.

What has begun and not ended (emphasis, code, links, math, a table) is closed or held
back, so that it does not flash as raw syntax and then change. Only for live views;
the text itself is never changed.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ollama_magic.rendering.blocks import Block
from ollama_magic.rendering.line_syntax import is_delimiter_row

# A last line of nothing but marks may turn out to be anything; so may "12.".
_LONE_MARKS = re.compile(
    r"(?:^|(?<=\n))[ \t>]*(?:[-=+*_#|~`$<>!\[:]+|\d{1,9}[.)])[ \t]*\Z"
)
_HALF_FENCE = re.compile(r"(?<=\n)[ \t]*[`~]+\Z")
_HALF_LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>[^\[\]\n]{0,300})(?:\]\([^()\s]{0,2000}|\]?)\Z"
)
_HALF_TAG = re.compile(r"<[a-z/!][^<>\s]{0,200}\Z", re.IGNORECASE)
_HALF_MATH = re.compile(r"(?<![\\$\w])\$(?![\s\d$])(?=[^$]*[\\_^{=])[^$]{0,300}\Z")
_HALF_BRACKETS = re.compile(r"\\[(\[](?:(?!\\[()\[\]]).)*\Z", re.DOTALL)
_HALF_DISPLAY = re.compile(r"\$\$(?:(?!\$\$).)*\Z", re.DOTALL)
_TRAILING_MARKS = re.compile(
    r"(?<=[\s(\"'])(?:\*{1,3}|_{1,3}|~~|`+|\\|\$\$?|!|<)\Z|\\\Z"
)
_MARK = re.compile(
    r"\\.|(`+)|(\*{1,3}|~~|(?<!\w)__?(?=\w)|(?<=\w)__?(?!\w))", re.DOTALL
)
_PARAGRAPH_START = re.compile(
    r"\n[ \t>]*(?:\n|(?:[-*+]|\d{1,9}[.)])[ \t]+)|\|(?=[^|]*\Z)"
)


def shown_block(block: Block) -> Block:
    """Return an open block as it is to be shown now."""
    if block.kind == "fence":
        return replace(block, source=_HALF_FENCE.sub("", block.source))
    if block.kind in {"indented", "html", "blank"}:
        return block
    if block.kind == "math":
        return _math_in_progress(block)
    if block.kind == "table":
        return replace(block, source=_closed(_without_last_marks(block.source)))
    source = _without_last_marks(block.source)
    head, row = _table_head(source)
    if row:
        return Block("table", f"{head}\n{row}\n")
    return replace(block, source=_closed(_without_halves(source)))


def _without_last_marks(source: str) -> str:
    return _LONE_MARKS.sub("", source)


def _table_head(source: str) -> tuple[str, str]:
    """Return a table's head and a delimiter row for it, when only these have come."""
    head, _, rest = source.strip("\n").partition("\n")
    is_row = (
        head.startswith("|") and head.rstrip().endswith("|") and head.count("|") > 2
    )
    if not is_row or rest.strip("|:- \t\n") or is_delimiter_row(rest):
        return "", ""
    return head, "|" + "---|" * (head.count("|") - 1)


def _without_halves(source: str) -> str:
    """Hold back what only makes sense when it is complete."""
    for half in (_HALF_DISPLAY, _HALF_BRACKETS, _HALF_MATH, _HALF_TAG):
        match = half.search(source)
        if match and not _is_in_code(source, match.start()):
            source = source[: match.start()]
    match = _HALF_LINK.search(source)
    if match and not _is_in_code(source, match.start()):
        source = source[: match.start()] + ("" if match["image"] else match["text"])
    return source


def _is_in_code(source: str, index: int) -> bool:
    start = max(
        (m.end() for m in _PARAGRAPH_START.finditer(source, 0, index)), default=0
    )
    return source.count("`", start, index) % 2 == 1


def _closed(source: str) -> str:
    """End the emphasis and code that are open in the last paragraph."""
    source = _TRAILING_MARKS.sub("", source.rstrip())
    starts = [match.end() for match in _PARAGRAPH_START.finditer(source)]
    start = starts[-1] if starts else 0
    opened: list[str] = []
    code = ""
    for match in _MARK.finditer(source, start):
        ticks, mark = match[1], match[2]
        if code:
            code = "" if ticks == code else code
        elif ticks:
            code = ticks
        elif mark and mark in opened:
            del opened[opened.index(mark) :]
        elif mark and _can_open(source, match.end()):
            opened.append(mark)
    return source + code + "".join(reversed(opened))


def _can_open(source: str, end: int) -> bool:
    return source[end : end + 1].strip() != ""


def _math_in_progress(block: Block) -> Block:
    """Show display math as code until it can be typeset."""
    return Block(
        "paragraph", "`" + " ".join(block.source.replace("`", "'").split()) + "`"
    )
