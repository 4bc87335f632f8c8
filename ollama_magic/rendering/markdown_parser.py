"""Python-Markdown, set up for the replies of models.

Raw HTML is text, images are links, ``$…$`` and its kin are math, addresses are links.
Its HTML is not safe yet: ``safe_html`` sanitises it. Not thread-safe.
"""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString

from ollama_magic.rendering.highlight import PRE_STYLE, code_html
from ollama_magic.rendering.markdown_dialect import language_of
from ollama_magic.rendering.math_text import (
    INLINE_MATH,
    MATH_CLASS,
    MATH_LINES,
    is_active,
    is_money,
    math_html,
)
from ollama_magic.rendering.visible_text import visible_text

_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_URL = r"(?<![\w/@.\"'=])https?://[^\s<>\x02\x03\"`|\\^{}]+"
_HOST_LIKE = re.compile(
    r"(?:^\W*|https?://|\b(?=www\.))((?:[\w-]+\.)+[a-z]{2,})(?=[/:?#@\s]|$)", re.I
)
_MAX_URL_SHOWN = 200


def make_parser() -> Markdown:
    """Return a new parser; it keeps link references until ``reset``."""
    return Markdown(
        extensions=[
            "tables",
            "sane_lists",
            "pymdownx.saneheaders",
            "pymdownx.tilde",
            "pymdownx.superfences",
            _ReplyExtension(),
        ],
        extension_configs={
            "pymdownx.tilde": {"subscript": False},
            "pymdownx.superfences": {
                "custom_fences": [{"name": "*", "class": "", "format": _fence}],
                "disable_indented_code_blocks": False,
            },
        },
        output_format="html",
    )


def _fence(source: str, language: str, *_: object, **__: object) -> str:
    return code_html(source, language_of(language))


class _ReplyExtension(Extension):
    """What differs from Python-Markdown's defaults."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  (its interface)
        md.preprocessors.deregister("html_block")
        md.ESCAPED_CHARS.append("$")
        patterns = md.inlinePatterns
        patterns.deregister("html")
        patterns.register(_Math(INLINE_MATH, md), "math", 189)  # code spans are at 190
        patterns.register(_Address(_URL, md), "address", 115)  # below links in <>
        patterns.register(_BackslashBreak(r"\\\n", md), "backslash_break", 181)
        md.preprocessors.register(_MathLines(md), "math_lines", 20)  # after fences
        md.treeprocessors.register(_TableCells(md), "table_cells", 30)  # before inline
        # NB: after all others, which still turn "\\#" in an address into "#".
        md.treeprocessors.register(_Elements(md), "elements", -10)


class _Math(InlineProcessor):
    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Any, int | None, int | None]:
        if is_money(m):
            return None, None, None
        element = Element("span", {"class": MATH_CLASS})
        if is_active(m[0]):
            element = Element("code")
        element.text = AtomicString(m[0])
        return element, m.start(0), m.end(0)


class _MathLines(Preprocessor):
    """Display math on lines of its own, which block syntax is not to see."""

    def run(self, lines: list[str]) -> list[str]:
        return MATH_LINES.sub(self._stash, "\n".join(lines)).split("\n")

    def _stash(self, match: re.Match[str]) -> str:
        return match["indent"] + self.md.htmlStash.store(math_html(match["math"]))


class _Address(InlineProcessor):
    ANCESTOR_EXCLUDES = ("a",)

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Element, int, int]:
        url = m[0].rstrip(".,;:!?'*_~")
        if url.endswith(")") and url.count(")") > url.count("("):
            url = url.rstrip(")")
        element = Element("a", {"href": url})
        element.text = AtomicString(url)
        return element, m.start(0), m.start(0) + len(url)


class _BackslashBreak(InlineProcessor):
    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Element, int, int]:
        return Element("br"), m.start(0), m.end(0)


class _TableCells(Treeprocessor):
    """Alignment, and the one tag that a table cell cannot do without."""

    def run(self, root: Element) -> None:
        for cell in root.iter():
            if cell.tag not in {"td", "th"}:
                continue
            align = cell.get("style") or "text-align: left;"
            cell.set("style", align.replace(": ", ":").rstrip(";"))
            cell.text = _BREAK.sub("  \n", cell.text) if cell.text else None


class _Elements(Treeprocessor):
    """No picture is fetched, no link pretends to lead elsewhere; one look of code."""

    def run(self, root: Element) -> None:
        for element in root.iter():
            if element.tag == "img":
                _image_to_link(element)
            elif element.tag == "a":
                _tell_host(element)
            elif element.tag == "pre" and len(element):
                _indented_code(element)


def _image_to_link(element: Element) -> None:
    url, name = element.get("src", ""), element.get("alt", "")
    tail = element.tail
    element.clear()
    element.tag, element.tail = "a", tail
    element.set("href", url)
    shown = url if len(url) <= _MAX_URL_SHOWN else url[:_MAX_URL_SHOWN] + "…"
    element.text = AtomicString(
        f"[image: {name} – {shown}]" if name else f"[image: {shown}]"
    )


def _indented_code(element: Element) -> None:
    """Give code that is indented in a list the look of the other blocks."""
    code = element[0]
    element.remove(code)
    element.text = code.text
    element.set("class", "highlight")
    element.set("style", PRE_STYLE)


def _tell_host(element: Element) -> None:
    """Add the true host to a link whose text names another one."""
    text = "".join(element.itertext()).strip()
    named = _HOST_LIKE.search(text)
    if named is None:
        return
    try:
        address = visible_text(html.unescape(element.get("href", "")))
        host = urlsplit(address).hostname or ""
    except ValueError:
        host = ""
    said = named[1].lower()
    if host and host.removeprefix("www.") != said.removeprefix("www."):
        element.tail = AtomicString(f" ({host})" + (element.tail or ""))
