"""Markdown, plain text and JSON of a model as HTML that is safe in a notebook.

The only place where HTML is made of what a model or a server wrote. Everything leaves
through ``nh3`` with the allow-list below; what is added afterwards is constant. Knows
nothing of outputs or of how a reply is laid out.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from ollama_magic.render.blocks import Block, split_blocks
from ollama_magic.render.code import CLASSES, PRE_STYLE, code_html, keep_first_newline
from ollama_magic.render.dialect import (
    MAX_DEPTH,
    References,
    definitions,
    language_of,
    linked,
    not_linked,
    python_markdown_source,
    references_in,
    split_definitions,
)
from ollama_magic.render.limits import is_too_costly, joined, max_html, without_styles
from ollama_magic.render.line_syntax import closes_fence, fence_of
from ollama_magic.render.math import MATH_CLASS, math_html
from ollama_magic.render.text import escaped, visible_text

if TYPE_CHECKING:
    from ollama_magic.render.markdown import Parser


TEXT_STYLE = "white-space:pre-wrap;margin:0"
"""The look of plain text: as wide as the page, all line breaks kept."""

_PAGE = '<div class="tex2jax_ignore mathjax_ignore">'

_TAGS = {
    "a", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div",
    "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "kbd", "li", "ol",
    "p", "pre", "s", "small", "span", "strong", "sub", "summary", "sup", "table",
    "tbody", "td", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
_ALIGNED = {"style": {f"text-align:{side}" for side in ("left", "center", "right")}}

_ADDRESS = re.compile(r"https?://[^/\\\s][^\\\s]*|mailto:[^\\\s]*", re.IGNORECASE)
"""A browser reads ``http:x`` as a place of its own page, and ``\\`` as ``/``."""

_MAX_MARKDOWN = 1_000_000
"""Characters; a longer reply is shown as plain text."""
_MAX_BLOCK = 200_000
"""Characters; a longer block is shown as plain text."""
_MAX_BRACKET_COST = 1_500_000
"""Characters; about a second of Python-Markdown's search for ends of links."""
_MAX_INLINE_COST = 100_000_000
"""Characters; about a second of Python-Markdown's copies of a text, one a mark."""
_MAX_ITEM_COST = 3_000_000_000
"""Characters; about a second of its copies of an item of a list, one a line."""
_ITEM = re.compile(r"^([ >]*)(?:[-*+]|\d{1,9}[.)])(?=\s)", re.MULTILINE)
_RUN = re.compile(r"\n(?=[ \t>]*(?:\n|[-*+|>]|\d{1,9}[.)]))")
"""Where Python-Markdown begins with another text: a paragraph, an item, a row."""
_TICK_COST = 20
_MARK = re.compile(r"[*_`\[<&\\$~:]")
_BRACKET = re.compile(r"[\[\]()]")
_MAX_RUN = re.compile(r"([*_~`!<&|\\$>(\[])\1{299}")
_NESTED = re.compile(r"^ *(?:(?:[-*+]|>|\d{1,9}[.)])[ \t]+){20}", re.MULTILINE)
"""Items in items on one line, as only a looping model writes them."""
_CACHED_BLOCK = 4000
_EMPTY_LINE = re.compile(r"(?<=\n)([ \t]*)\n")
"""Ends an HTML block in Markdown, which nbconvert makes of a notebook for one."""

_SHORTENED = "<p><em>Shown as plain text: formatted, it would be too long.</em></p>"


def markdown_html(text: str) -> str:
    """Return the Markdown of a model as sanitised HTML.

    Never fails: a block that Python-Markdown cannot take, or that would take too
    long, is shown as the text that it is.
    """
    text = visible_text(text)
    if len(text) > _MAX_MARKDOWN:
        return page_html(_plain(text))
    parts = _block_parts(split_blocks(text), max_html(len(text)))
    return page_html(within_budget(parts, text))


def text_html(text: str) -> str:
    """Return plain text as sanitised HTML, every character shown."""
    return page_html(plain_html(text))


def json_html(text: str) -> str:
    """Return JSON as highlighted, sanitised HTML; it need not be complete."""
    text = visible_text(text)
    return page_html(within_budget([sanitised(code_html(text, "json"))], text))


def code_page_html(source: str, language: str) -> str:
    """Return code as highlighted, sanitised HTML.

    Parameters
    ----------
    language
        As it stands after a fence; unknown ones stay plain.
    """
    source = visible_text(source)
    made = sanitised(code_html(source, language_of(language)))
    return page_html(within_budget([made], source))


def raw_html(text: str) -> str:
    """Return HTML that a model wrote, with nothing left but what is harmless."""
    text = visible_text(text)
    if len(text) > _MAX_MARKDOWN:
        return page_html(_plain(text))
    parsed = without_styles(text)
    if is_too_costly(parsed):
        return page_html(shortened_html(text))
    return page_html(within_budget([sanitised(parsed, has_math=False)], text))


def within_budget(parts: Iterable[str], text: str) -> str:
    """Join the safe HTML made of a text; the plain text where it would be too long."""
    made = joined(parts, len(text))
    return shortened_html(text) if made is None else made


def shortened_html(text: str) -> str:
    """Return a text that would be too long when formatted as the text that it is."""
    return _SHORTENED + plain_html(text)


def plain_html(text: str) -> str:
    """Return ``text_html`` without ``page_html``."""
    return _plain(visible_text(text))


def warm_up() -> None:
    """Import what the first conversion needs, and use it once."""
    block_html(Block("paragraph", "*warm*"))
    block_html(Block("fence", "```python\nwarm = 1\n```"))


def page_html(safe: str) -> str:
    """Wrap safe HTML so that MathJax typesets in it what is marked as math, only."""
    return f"{_PAGE}{safe}</div>"


def block_html(block: Block, references: References = ()) -> str:
    """Return one block of ``visible_text`` as sanitised HTML, without ``page_html``.

    Finished blocks are remembered for a while: what was converted while a reply came
    is not converted again for its end.
    """
    if len(block.source) > _CACHED_BLOCK:
        return open_block_html(block, references)
    return _cached_block_html(block, references)


def sanitised(unsafe: str, *, has_math: bool = True) -> str:
    """Return HTML with nothing in it but what the allow-list has.

    Parameters
    ----------
    has_math
        Whether what is marked as math was marked here, and is typeset.
    """
    clean: str = _cleaner(has_math=has_math).clean(unsafe)
    # NB: "&#x202e;" was text when the text was made visible; by now it is not.
    return _EMPTY_LINE.sub(r"\1&#10;", visible_text(clean))


def open_block_html(block: Block, references: References = ()) -> str:
    """Return a block that still changes as sanitised HTML; it is not remembered."""
    if not block.source.strip():
        return ""
    if block.kind in {"fence", "indented", "html", "math"}:
        return sanitised(_verbatim_html(block))
    if _is_too_costly(block.source):
        return _plain(block.source)
    try:
        return sanitised(_converted(block, references))
    except Exception:  # noqa: BLE001  (any fault of a parser: the text is what counts)
        return _plain(block.source)


def _block_parts(blocks: list[Block], limit: int) -> list[str]:
    """Return the blocks of a whole text, linked to the definitions in all of them.

    Parameters
    ----------
    limit
        The HTML that is wanted at most: none is made once there is more.
    """
    known = definitions(blocks)
    parts: list[str] = []
    labels: set[str] = set()
    hidden: list[tuple[int, list[str]]] = []  # definitions, and their part's number
    for whole in blocks:
        lines, block = split_definitions(whole)
        references = references_in(block, known)
        if lines:
            hidden.append((len(parts), lines))
        parts.append(block_html(block, references))
        limit -= len(parts[-1])
        if limit < 0:
            return parts
        labels |= linked(references, parts[-1])
    for number, lines in hidden:
        parts[number] = block_html(not_linked(lines, labels)) + parts[number]
    return parts


_cached_block_html = lru_cache(maxsize=2048)(open_block_html)


def _plain(text: str) -> str:
    text = keep_first_newline(html.escape(text))
    return sanitised(f'<pre style="{TEXT_STYLE}">{text}</pre>')


def _verbatim_html(block: Block) -> str:
    """Return a block in which no Markdown is read."""
    text = block.shown
    if block.kind == "math":
        return f"<p>{math_html(text.strip())}</p>"
    if block.kind == "html":
        return code_html(text.rstrip(), "html")
    lines = text.strip("\n").split("\n")
    if block.kind == "indented":
        return code_html("\n".join(_outdented(line) for line in lines).rstrip())
    fence = fence_of(lines[0])
    marks, info = fence or ("```", "")
    if len(lines) > 1 and closes_fence(lines[-1], marks):
        lines.pop()
    return code_html("\n".join(lines[1:]), language_of(info))


def _outdented(line: str) -> str:
    return line.expandtabs(4).removeprefix("    ")


_lock = threading.Lock()


def _converted(block: Block, references: References) -> str:
    source = python_markdown_source(block)
    with _lock:
        return _parser().convert_with(source, references)


@cache
def _parser() -> Parser:
    from ollama_magic.render.markdown import make_parser

    return make_parser()


def _link(tag: str, name: str, value: str) -> str | None:
    """Return an attribute's value; None for a link to anything but an address."""
    if name != "href":
        return value
    value = visible_text(value)
    return value if _ADDRESS.fullmatch(value) else None


@cache
def _cleaner(*, has_math: bool) -> Any:  # noqa: ANN401  (nh3 is imported late)
    import nh3

    return nh3.Cleaner(
        tags=_TAGS,
        # NB: without "*" it would let lang and title through on every tag.
        attributes={"*": set(), "a": {"href", "title"}, "ol": {"start"}},
        attribute_filter=_link,
        tag_attribute_values={
            "span": {"class": {*CLASSES, MATH_CLASS} if has_math else CLASSES},
            "pre": {"class": {"highlight"}, "style": {PRE_STYLE, TEXT_STYLE}},
            "td": _ALIGNED,
            "th": _ALIGNED,
        },
        clean_content_tags={"script", "style"},
        link_rel="noopener noreferrer nofollow",
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
    )


def _is_too_costly(text: str) -> bool:
    """Whether Python-Markdown would need seconds for a block."""
    if len(text) > _MAX_BLOCK or _MAX_RUN.search(text) or _NESTED.search(text):
        return True
    return (
        _inline_cost(text) > _MAX_INLINE_COST
        or _bracket_cost(text) > _MAX_BRACKET_COST
        or _item_cost(text) > _MAX_ITEM_COST
    )


def _inline_cost(text: str) -> int:
    """Return the characters copied when each mark cuts the text that it stands in.

    Those of code count more: for each of them, and for each shorter run in it, the end
    is looked for.
    """
    return sum(
        len(run) * (len(_MARK.findall(run)) + _TICK_COST * run.count("`"))
        for run in _RUN.split(text)
    )


def _item_cost(text: str) -> int:
    """Return the characters copied when each line is put to the item that it is in.

    That is done at each level, and all lines are indented for the deepest.
    """
    levels = (len(match[1]) // 2 + 1 for match in _ITEM.finditer(text))
    depth = min(max(levels, default=0), MAX_DEPTH)
    runs = ((run.count("\n"), len(run)) for run in _RUN.split(text))
    return depth * sum(lines * (size + 4 * depth * lines) for lines, size in runs)


def _bracket_cost(text: str) -> int:
    """Return the characters read when each ``[`` and ``](`` looks for its end."""
    cost = 0
    opened: dict[str, list[int]] = {"]": [], ")": []}
    for match in _BRACKET.finditer(text):
        mark, start = match[0], match.start()
        if mark in "[(":
            opened["]" if mark == "[" else ")"].append(start)
        elif opened[mark]:
            cost += _distance(text, opened[mark].pop(), start)
    unclosed = opened["]"] + opened[")"]
    return cost + sum(_distance(text, start, len(text)) for start in unclosed)


def _distance(text: str, start: int, end: int) -> int:
    is_searched = text[start] == "[" or text[start - 1 : start] == "]"
    return end - start if is_searched else 0


DIM_STYLE = "opacity:.75"
NOTE_STYLE = f"font-size:85%;{DIM_STYLE};"
"""The look of it."""
DETAILS_STYLE = "font-size:85%;margin:0 0 1em"
"""The look of a fold: small, and not dim, since what is folded may be code."""


def note_html(text: str) -> str:
    """Return one small line of plain text."""
    return page_html(f'<div style="{NOTE_STYLE}">{escaped(text)}</div>')


def details_html(summary: str, safe: str, *, is_open: bool = False) -> str:
    """Return safe HTML under a line of text that opens and closes it."""
    mark = " open" if is_open else ""
    return page_html(
        f'<details{mark} style="{DETAILS_STYLE}">'
        f"<summary>{escaped(summary)}</summary>{safe}</details>"
    )


def thinking_html(thinking: str, thinking_s: float = 0.0) -> str:
    """Return what a model thought, folded.

    Parameters
    ----------
    thinking_s
        For how many seconds; 0 when it is not known.
    """
    took = f" for {max(thinking_s, 1):.0f} s" if thinking_s else ""
    text = f'<div style="{DIM_STYLE}">{plain_html(thinking.strip())}</div>'
    return details_html(f"Thought{took}", text)
