"""What models and servers write, as HTML that is safe in a notebook.

The displays, replies and tables call this module; it is the only one that makes HTML of
Markdown, JSON, code and HTML. Everything passes the allow-list of ``nh3`` as the last
step, and whatever is added afterwards is constant or escaped. A block that can't be
converted, or would cost too much (see ``limits``), is shown as its source.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Collection, Iterable
from functools import cache, lru_cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from ollama_magic.render.blocks import Block, split_blocks
from ollama_magic.render.code import (
    CLASSES,
    LABEL_STYLE,
    PRE_STYLE,
    code_html,
    keep_first_newline,
    leaf_html,
)
from ollama_magic.render.limits import (
    is_costly_html,
    is_costly_markdown,
    join_within_limit,
    max_html,
    without_styles,
)
from ollama_magic.render.math import MATH_CLASS
from ollama_magic.render.references import (
    Definition,
    References,
    link_definitions,
    references_in,
    split_definitions,
    unused_definitions,
    used_labels,
)
from ollama_magic.render.text import (
    escaped,
    language_of,
    one_line,
    visible_text,
    with_true_hosts,
    without_blank_lines,
)
from ollama_magic.render.theme import (
    MARKDOWN_STYLES,
    STYLES_OF_0_1_0,
    without_style,
)
from ollama_magic.render.tree import VERBATIM

if TYPE_CHECKING:
    from ollama_magic.render.markdown import Parser

TEXT_STYLE = "white-space:pre-wrap;margin:0"
"""Style of plain text: as wide as the page, with all its line breaks."""
DIM_STYLE = "opacity:.75"
NOTE_STYLE = f"font-size:85%;{DIM_STYLE};"
"""Style of small text beside an answer: status lines and footers."""
DETAILS_STYLE = "font-size:85%;margin:0 0 1em"
"""Style of a fold: small, but not dim, since it may hold code."""

_PAGE_CLASS = "tex2jax_ignore mathjax_ignore"
_PAGE = f'<div class="{_PAGE_CLASS}">'

_TAGS = {
    "a", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div",
    "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "kbd", "li", "ol",
    "p", "pre", "s", "small", "span", "strong", "sub", "summary", "sup", "table",
    "tbody", "td", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
_SIDES = ("start", "left", "center", "right")
_ALIGNED = {"style": {f"text-align:{side}" for side in _SIDES}}

_ADDRESS = re.compile(r"(?!.{8001})(https?://[^/\\\s]|mailto:)[^\\\s]*", re.IGNORECASE)
"""A browser reads ``http:x`` as a place in its own page, and ``\\`` as ``/``."""

_MAX_MARKDOWN = 1_000_000
"""Characters; a longer reply is shown as plain text."""
_CACHED_BLOCK = 4000
"""Characters; the HTML of longer blocks is not cached."""
_LINK_REL = "noopener noreferrer nofollow"
_WRITTEN_ALIKE = {
    "&quot;": '"',
    "&#x27;": "'",
    "&#10;": "",
    "\n": "",  # the first one in <pre> has no meaning
    "&nbsp;": "\xa0",
    f' rel="{_LINK_REL}"': "",  # before or after a title
}

SHORTENED_NOTE = "Shown as plain text: too long to format."
_SHORTENED = f"<p><em>{SHORTENED_NOTE}</em></p>"


# -- whole texts -------------------------------------------------------------------


def markdown_html(text: str) -> str:
    """Return the Markdown of a model as sanitised HTML. Never fails."""
    text = visible_text(text)
    if len(text) > _MAX_MARKDOWN:
        return page_html(_plain(text))
    parts = _block_parts(split_blocks(text), max_html(len(text)))
    return page_html(within_budget(parts, text))


def text_html(text: str) -> str:
    """Return plain text as sanitised HTML that shows every character."""
    return page_html(plain_html(text))


def json_html(text: str) -> str:
    """Return JSON, complete or not, as highlighted and sanitised HTML."""
    text = visible_text(text)
    return page_html(within_budget([sanitised(code_html(text, "json"))], text))


def code_page_html(source: str, language: str) -> str:
    """Return code as highlighted, sanitised HTML.

    Parameters
    ----------
    language
        As written after a fence; code in an unknown language stays plain.
    """
    made = fence_html(source, language)
    return page_html(within_budget([made], visible_text(source)))


def fence_html(source: str, language: str) -> str:
    """Return the code of a fence as it is in ``markdown_html``, without its label."""
    return sanitised(code_html(visible_text(source), language_of(language)))


def raw_html(text: str) -> str:
    """Return HTML that a model wrote, sanitised."""
    text = visible_text(text)
    if len(text) > _MAX_MARKDOWN:
        return page_html(_plain(text))
    parsed = without_styles(text)
    if is_costly_html(parsed):
        return page_html(_shortened_html(text))
    page = with_true_hosts(sanitised(parsed, has_math=False))
    return page_html(within_budget([page], text))


def note_html(text: str) -> str:
    """Return one small line of plain text."""
    return page_html(f'<div style="{NOTE_STYLE}">{escaped(one_line(text))}</div>')


def details_html(summary: str, safe: str, *, is_open: bool = False) -> str:
    """Return safe HTML folded under a line of plain text."""
    mark = " open" if is_open else ""
    return page_html(
        f'<details{mark} style="{DETAILS_STYLE}">'
        f"<summary>{escaped(one_line(summary))}</summary>{safe}</details>"
    )


def thinking_html(thinking: str, thinking_s: float = 0.0) -> str:
    """Return the thinking of a model, folded.

    Parameters
    ----------
    thinking_s
        How many seconds it took; 0 if unknown.
    """
    took = f" for {max(thinking_s, 1):.0f} s" if thinking_s else ""
    text = f'<div style="{DIM_STYLE}">{plain_html(thinking.strip())}</div>'
    return details_html(f"Thought{took}", text)


# -- parts of a page ---------------------------------------------------------------


def page_html(safe: str) -> str:
    """Wrap safe HTML so that MathJax typesets only what is marked as math in it."""
    return f"{_PAGE}{safe}</div>"


def within_budget(parts: Iterable[str], text: str) -> str:
    """Join the safe HTML of a text; return the plain text if it would be too long."""
    made = join_within_limit(parts, len(text))
    return _shortened_html(text) if made is None else made


def _shortened_html(text: str) -> str:
    """Return a text that is too long when formatted as plain text, with a notice."""
    return _SHORTENED + plain_html(text)


def plain_html(text: str) -> str:
    """Return ``text_html`` without ``page_html``."""
    return _plain(visible_text(text))


def block_html(block: Block, references: References = ()) -> str:
    """Return one block of ``visible_text`` as sanitised HTML, without ``page_html``.

    The HTML of finished blocks is cached: what was converted while a reply streamed
    is not converted again at its end.
    """
    if len(block.source) > _CACHED_BLOCK:
        return open_block_html(block, references)
    return _cached_block_html(block, references)


def open_block_html(block: Block, references: References = ()) -> str:
    """Return a block that still changes as sanitised HTML, uncached."""
    if not block.source.strip():
        return ""
    if block.kind in VERBATIM:
        made = leaf_html(block.tree().children[0])
        is_math = not made.endswith("</pre>")
        return sanitised(f"<p>{made}</p>" if is_math else made)
    if is_costly_markdown(block.source):
        return _plain(block.source)
    try:
        return sanitised(_converted(block, references))
    except Exception:  # noqa: BLE001  (any parser error: the text is what counts)
        return _plain(block.source)


_cached_block_html = lru_cache(maxsize=2048)(open_block_html)


def warm_up() -> None:
    """Import what the first conversion needs, and run it once."""
    block_html(Block("paragraph", "*warm*"))
    block_html(Block("fence", "```python\nwarm = 1\n```"))


def _block_parts(blocks: list[Block], limit: int) -> list[str]:
    """Return the HTML of all blocks of a text, with the links that it defines.

    Parameters
    ----------
    limit
        The length of HTML after which no more blocks are converted.
    """
    known = link_definitions(blocks)
    parts: list[str] = []
    labels: set[str] = set()
    hidden: list[
        tuple[int, list[Definition]]
    ] = []  # definitions, and the index of their part
    for whole in blocks:
        found, block = split_definitions(whole)
        references = references_in(block, known)
        if found:
            hidden.append((len(parts), found))
        parts.append(block_html(block, references))
        limit -= len(parts[-1])
        if limit < 0:
            return parts
        labels |= used_labels(references, parts[-1])
    for index, found in hidden:
        shown = unused_definitions(found, labels, known)
        parts[index] = block_html(shown) + parts[index]
    return parts


def _plain(text: str) -> str:
    text = keep_first_newline(html.escape(text))
    return sanitised(f'<pre style="{TEXT_STYLE}">{text}</pre>')


# -- reading a page back -----------------------------------------------------------


def shown_parts(page: str, styles: Collection[str]) -> list[str] | None:
    """Return the text of each part of a page that this package made, as people see it.

    White space and what is folded are left out. A page that has anything else than the
    tags, classes and styles of this package gives None: it could hide text.

    Parameters
    ----------
    styles
        The styles that may stand on parts, besides those of Markdown.
    """
    page = without_style(page)
    clean = _as_sanitised(_page_cleaner(frozenset(styles)).clean(page))
    if _comparable(clean) != _comparable(page):
        return None
    parser = _PartsParser()
    parser.feed(clean)
    parser.close()
    return parser.parts


def _comparable(page: str) -> str:
    """Return a page with some characters written alike: Python and nh3 differ."""
    for written, text in _WRITTEN_ALIKE.items():
        page = page.replace(written, text)
    return page


class _PartsParser(HTMLParser):
    """Collects the text of the outermost elements of balanced HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._depth = 0
        self._folds = 0
        self._is_label = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in {"br", "hr"}:
            return
        if attrs == [("style", LABEL_STYLE)]:  # version 0.1.0 had no labels
            self._is_label = True
            return
        if self._depth == 0:
            self.parts.append("")
        self._depth += 1
        self._folds += tag == "details"

    def handle_endtag(self, tag: str) -> None:
        if self._is_label:
            self._is_label = False
            return
        self._depth -= 1
        self._folds -= tag == "details"

    def handle_data(self, data: str) -> None:
        if self.parts and not self._folds and not self._is_label:
            # A file has a question mark in place of a lone surrogate.
            text = data.replace("\N{REPLACEMENT CHARACTER}", "?")
            self.parts[-1] += "".join(text.split())


# -- conversion and sanitising -----------------------------------------------------

_lock = threading.Lock()


def _converted(block: Block, references: References) -> str:
    with _lock:
        return _parser().convert_with(block, references)


@cache
def _parser() -> Parser:
    from ollama_magic.render.markdown import make_parser

    return make_parser()


def closing_marks(text: str) -> str:
    """Return the marks that close the emphasis that is open at the end of a text."""
    # NB: while another thread imports Markdown, this one would get half of the package.
    with _lock:
        from ollama_magic.render import inline
    return inline.closing_marks(text)


def sanitised(unsafe: str, *, has_math: bool = True) -> str:
    """Return HTML reduced to the allow-list.

    Parameters
    ----------
    has_math
        Whether the classes that mark math are allowed: only our own code sets them.
    """
    return _as_sanitised(_cleaner(has_math=has_math).clean(unsafe))


def _as_sanitised(clean: str) -> str:
    # NB: "&#x202e;" was still text when hidden characters were removed.
    return without_blank_lines(visible_text(clean))


def _allowed(tag: str, name: str, value: str) -> str | None:
    """Return an attribute's value; None for a link to anything but an address."""
    if name == "dir":
        return value if value in {"auto", "ltr"} else None
    if name != "href":
        return value
    value = visible_text(value)
    return value if _ADDRESS.fullmatch(value) else None


@cache
def _cleaner(*, has_math: bool) -> Any:  # noqa: ANN401  (nh3 is imported late)
    return _make_cleaner(
        {
            "span": {"class": {*CLASSES, MATH_CLASS} if has_math else CLASSES},
            "div": {"style": {LABEL_STYLE}},
        }
    )


@cache
def _page_cleaner(styles: frozenset[str]) -> Any:  # noqa: ANN401
    """Return a cleaner that keeps all that this package puts around text."""
    return _make_cleaner(
        {
            "span": {"class": {*CLASSES, MATH_CLASS}, "style": styles},
            "div": {
                "class": {_PAGE_CLASS},
                "style": {
                    *styles,
                    LABEL_STYLE,
                    NOTE_STYLE,
                    DIM_STYLE,
                    *STYLES_OF_0_1_0,
                },
            },
            "details": {"style": {DETAILS_STYLE, *STYLES_OF_0_1_0}, "open": {""}},
        },
        pre_styles={PRE_STYLE, TEXT_STYLE, *STYLES_OF_0_1_0},
    )


def _make_cleaner(
    values: dict[str, Any],
    pre_styles: Collection[str] = (PRE_STYLE, TEXT_STYLE),
) -> Any:  # noqa: ANN401
    import nh3

    return nh3.Cleaner(
        tags=_TAGS,
        # NB: without "*", nh3 allows lang and title on every tag.
        attributes={"*": {"dir"}, "a": {"href", "title"}, "ol": {"start"}},
        attribute_filter=_allowed,
        tag_attribute_values={
            **values,
            **{tag: {"style": {style}} for tag, style in MARKDOWN_STYLES.items()},
            "pre": {"class": {"highlight"}, "style": set(pre_styles)},
            "td": _ALIGNED,
            "th": _ALIGNED,
        },
        clean_content_tags={"script", "style"},
        link_rel=_LINK_REL,
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
    )
