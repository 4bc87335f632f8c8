"""The inline syntax of replies: patterns for Python-Markdown, by CommonMark's rules.

``markdown`` registers them. Python-Markdown replaces what a pattern matches by a
placeholder, so what binds tighter comes first: code, math and escapes, then images and
links. Emphasis is read last, from the elements and the text between them.
"""

from __future__ import annotations

import re
import string
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.inlinepatterns import InlineProcessor
from markdown.treeprocessors import InlineProcessor as InlineTreeprocessor
from markdown.util import (
    ETX,
    STX,
    AtomicString,
    Registry,
    code_escape,
)

from ollama_magic.render.emphasis import Emphasis
from ollama_magic.render.links import Found, Images, Links, link, note_mark
from ollama_magic.render.math import INLINE_MATH, MATH_CLASS, is_active, is_money
from ollama_magic.render.text import entity_text

_LITERAL = (
    rf"(?P<ticks>(?<!`)`+)|(?P<math>{INLINE_MATH})"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?<!\]\()<(?P<url>[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*)>"
    r"|(?<!\]\()<(?P<mail>[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)>"
)
_ENTITY = r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z0-9]+);"
# No CJK punctuation: it follows addresses without a space.
_URL_CHARACTERS = r"[^\s<>\x02\x03\"`|\\^{}\u3000-\u303f\uff00-\uffef]"
# Models write the number of a note right after an address.
_NOTE = r"\[\^?[\w-]{1,40}\](?![^\s.,;:!?)\[])"
_ADDRESS = (
    r"(?<![A-Za-z0-9_/@.\"'=])(?:https?://|www\.(?=[\w-]))"
    rf"(?:(?!{_NOTE}){_URL_CHARACTERS})+"
    r"|(?<![\w/@.+-])[A-Za-z0-9][\w.+-]*"
    r"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]*[A-Za-z0-9])+(?![\w@-])"
)
_LAST_ENTITY = re.compile(r"&[A-Za-z0-9]+;$")
_OWN_LINE = (
    r"\[[^\[\]\n]{1,200}\]:\s|\[\d{1,3}\]\s"
    r"|[^\w\s\x00-\x7f]{1,8} |\(?(?:[A-Za-z]|[ivx]{1,4})[.)] "
    r"|\*\*[^*\n]{1,60}(?::\*\*|\*\*:)"
)
"""What begins a line of its own: a definition of a link or note, a source, an item
that Markdown does not know, as in ``a) yes`` and ``→ so``, or a label."""


def register(md: Markdown) -> None:
    """Replace the inline syntax of Python-Markdown."""
    md.inlinePatterns = Registry()
    patterns = [
        _Literal(_LITERAL, md),
        _Break(rf"\n(?={_OWN_LINE})", md),
        Images(r"!\[", md),
        Links(r"\[", md),
        _Note(r"\[\^(\d{1,3})\]", md),
        _Address(_ADDRESS, md),
        _Break(r"(?:(?<! ) {2,}+|\\)\n", md),
        _Entity(_ENTITY, md),
    ]
    for number, pattern in enumerate(patterns):
        md.inlinePatterns.register(pattern, f"reply {number}", 100 - number)
    md.treeprocessors.register(InlineTreeprocessor(md), "inline", 20)
    md.treeprocessors.register(Emphasis(md), "emphasis", 15)


class _Literal(InlineProcessor):
    """Code, math, escapes and addresses in angle brackets, from left to right."""

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> Found:
        if m["ticks"]:
            return self._code(m, data)
        if m["escaped"]:
            return escaped(m["escaped"]), m.start(), m.end()
        if m["math"]:
            if is_money(m):
                return None, m.start(), m.start() + 1
            element = Element("code" if is_active(m[0]) else "span")
            if element.tag == "span":
                element.set("class", MATH_CLASS)
            element.text = AtomicString(code_escape(m[0]))
            return element, m.start(), m.end()
        url = m["url"] or f"mailto:{m['mail']}"
        return link(url, m["url"] or m["mail"]), m.start(), m.end()

    def _code(self, m: re.Match[str], data: str) -> Found:
        marks = m["ticks"]
        end = re.compile(rf"(?<!`){marks}(?!`)").search(data, m.end())
        if end is None:
            return None, m.start(), m.end()
        code = data[m.end() : end.start()].replace("\n", " ")
        if code.strip() and code[0] == code[-1] == " ":
            code = code[1:-1]
        element = Element("code")
        element.text = AtomicString(code_escape(code))
        return element, m.start(), end.end()


def escaped(character: str) -> str:
    """Return a character that is not syntax; it is put back after emphasis was read."""
    # NB: the serialiser takes "&lt;" in a text as an entity.
    return "&amp;" if character == "&" else f"{STX}{ord(character)}{ETX}"


class _Entity(InlineProcessor):
    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> Found:
        text = entity_text(m[0]) or code_escape(m[0])
        if len(text) == 1 and text in string.punctuation:
            text = escaped(text)
        return text, m.start(), m.end()


class _Break(InlineProcessor):
    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> Found:
        return Element("br"), m.start(), m.end()


class _Note(InlineProcessor):
    """The numbers of footnotes whose text has no address, or has not arrived yet."""

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> Found:
        return note_mark(m[1]), m.start(), m.end()


class _Address(InlineProcessor):
    """Addresses that stand in a text without any marks."""

    ANCESTOR_EXCLUDES = ("a",)

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> Found:
        text = _LAST_ENTITY.sub("", m[0]).rstrip("?!.,:;*_~'")
        surplus = text.count(")") - text.count("(")
        last = len(text) - len(text.rstrip(")"))
        text = text[: len(text) - max(0, min(surplus, last))]
        scheme = "" if "://" in text else "http://"
        if not scheme or text.startswith("www."):
            return link(scheme + text, text), m.start(), m.start() + len(text)
        return link(f"mailto:{text}", text), m.start(), m.start() + len(text)
