"""The open end of a text that is still being written, made fit to be shown.

What has begun and not ended (emphasis, code, links, math, a table) is closed or held
back, so that it does not flash as raw syntax and then change. Nothing is held back for
more than ``_MAX_HELD`` characters: it may never end. Only for live views; the text
itself is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ollama_magic.render.blocks import Block
from ollama_magic.render.dialect import ends_in_code
from ollama_magic.render.line_syntax import is_delimiter_row
from ollama_magic.render.math import INLINE_MATH, MATH_LINES, is_money

_MAX_HELD = 300
"""Characters."""

# A last line of nothing but marks may turn out to be anything; so may "12.".
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
    rf"(?P<ticks>`+)|(?P<math>{INLINE_MATH})|(?P<opening>\$\$?|\\[\[(])|\\."
    r"|(?P<mark>\*{1,3}|~~|(?<!\w)__?(?=\w)|(?<=\w)__?(?!\w))",
    re.DOTALL,
)
_PARAGRAPH_START = re.compile(
    r"\n[ \t>]*(?:(?=\n)|(?:[-*+]|\d{1,9}[.)])[ \t]+|(?:`{3,}|~{3,})[^`\n]*(?=\n))"
)


def shown_block(block: Block) -> Block:
    """Return an open block as it is to be shown now."""
    if block.kind == "fence":
        return replace(block, source=_HALF_FENCE.sub("", block.source))
    if block.kind in {"indented", "html", "blank"}:
        return block
    if block.kind == "math":
        return _math_in_progress(block)
    if block.kind in {"list", "quote"} and ends_in_code(block):
        return replace(block, source=_HALF_QUOTED_FENCE.sub("", block.source))
    return _text_in_progress(block)


def _text_in_progress(block: Block) -> Block:
    source = _without_last_marks(block.source)
    if block.kind == "table":
        cell = max(source.rfind("|"), source.rfind("\n")) + 1
        return replace(block, source=_closed(source, cell))
    head, row = _table_head(source)
    if row:
        return Block("table", f"{head}\n{row}\n")
    start = _last_paragraph(source)
    return replace(block, source=_closed(_without_halves(source, start), start))


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


def _last_paragraph(source: str) -> int:
    """Return where the last paragraph, item or text below code or math begins."""
    ends = [0]
    for begin in (MATH_LINES, _PARAGRAPH_START):
        ends += [match.end() for match in begin.finditer(source)]
    return max(ends)


def _without_halves(source: str, start: int) -> str:
    """Hold back what only makes sense when it is complete."""
    for token in _tokens(source, start):
        if token["opening"] and _is_half_math(source, token.start()):
            source = source[: token.start()]
            break
    match = _HALF_TAG.search(source, start)
    if match and not _is_in_code(source, start, match.start()):
        source = source[: match.start()]
    match = _HALF_LINK.search(source, start)
    if match and not _is_in_code(source, start, match.start()):
        held = "" if match["image"] else match["text"]
        if len(match[0]) - len(held) <= _MAX_HELD:
            source = source[: match.start()] + held
    return source


def _is_half_math(source: str, index: int) -> bool:
    if len(source) - index > _MAX_HELD:
        return False
    is_single = source[index] == "$" and source[index : index + 2] != "$$"
    return not is_single or _HALF_MATH.match(source, index) is not None


def _tokens(source: str, start: int) -> Iterator[re.Match[str]]:
    """Yield what opens or closes something, outside of code and of complete math.

    The last one yielded may be the ticks that open code which does not end.
    """
    while token := _TOKEN.search(source, start):
        start = token.end()
        if token["math"] and is_money(token):
            start = token.start() + 1
        elif token["ticks"]:
            ticks = re.compile(rf"(?<!`){token[0]}(?!`)")
            end = ticks.search(source, start)
            if end is None:
                yield token
                return
            start = end.end()
        else:
            yield token


def _is_in_code(source: str, start: int, index: int) -> bool:
    return source.count("`", start, index) % 2 == 1


def _closed(source: str, start: int) -> str:
    """End the emphasis and code that are open in the last paragraph."""
    source = _TRAILING_MARKS.sub("", source.rstrip())
    opened: list[str] = []
    code = ""
    for token in _tokens(source, start):
        mark = token["mark"]
        code = token["ticks"] or ""
        if mark and mark in opened:
            del opened[opened.index(mark) :]
        elif mark and _can_open(source, token.end()):
            opened.append(mark)
    return source + code + "".join(reversed(opened))


def _can_open(source: str, end: int) -> bool:
    return source[end : end + 1].strip() != ""


def _math_in_progress(block: Block) -> Block:
    """Show display math as code until it can be typeset."""
    return Block(
        "paragraph", "`" + " ".join(block.source.replace("`", "'").split()) + "`"
    )
