"""The inline syntax of replies: patterns for Python-Markdown, by CommonMark's rules.

``markdown`` registers them. Python-Markdown replaces what a pattern matches by a
placeholder, so what binds tighter comes first: code, math and escapes, then images and
links. Emphasis is read last, from the elements and the text between them;
``incremental`` closes open emphasis in the same way.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.inlinepatterns import InlineProcessor
from markdown.treeprocessors import InlineProcessor as InlineTreeprocessor
from markdown.treeprocessors import Treeprocessor
from markdown.util import (
    ETX,
    STX,
    AtomicString,
    Registry,
    code_escape,
)

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


# -- emphasis ------------------------------------------------------------------

_RUN = re.compile(r"\*+|_+|~+")
_CJK = re.compile(
    "[\u1100-\u11ff\u2e80-\u303f\u3040-\u30ff\u3100-\u318f\u31c0-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)
_NAMES = {("*", 1): "em", ("*", 2): "strong", ("_", 1): "em", ("_", 2): "strong"}
_NAMES["~", 2] = "del"


@dataclass(slots=True)
class _Run:
    """A run of equal marks, and the elements that it closes and opens."""

    mark: str
    count: int
    """How many marks are left."""
    length: int
    opens: bool
    closes: bool
    ends: list[str] = field(default_factory=list)
    begins: list[str] = field(default_factory=list)


class Emphasis(Treeprocessor):
    """Emphasis, strong text and struck text, by the rules of CommonMark and GitHub."""

    def run(self, root: Element) -> None:
        """Read the emphasis in all elements of a tree."""
        for element in list(root.iter()):
            texts = [element.text, *(child.tail for child in element)]
            if not isinstance(element.text, AtomicString) and any(
                text and _RUN.search(text) for text in texts
            ):
                self._read(element)

    def _read(self, element: Element) -> None:
        parts = list(_parts(element))
        _pair([part for part in parts if isinstance(part, _Run)])
        tail = element.tail
        attributes = dict(element.attrib)
        tag = element.tag
        element.clear()
        element.tag, element.tail = tag, tail
        element.attrib.update(attributes)
        opened = [element]
        for part in parts:
            if isinstance(part, str):
                append_text(opened[-1], part)
            elif isinstance(part, _Run):
                for _ in part.ends:
                    opened.pop()
                append_text(opened[-1], part.mark * part.count)
                for name in reversed(part.begins):
                    child = Element(name)
                    opened[-1].append(child)
                    opened.append(child)
            else:
                opened[-1].append(part)


def append_text(parent: Element, text: str) -> None:
    """Add text at the end of an element."""
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def _parts(element: Element) -> Iterator[str | _Run | Element]:
    """Yield the content of an element: runs, the text between them, and elements."""
    children = list(element)
    texts = [element.text or "", *(child.tail or "" for child in children)]
    for child in children:
        child.tail = None
    edges = [" " if child.tag == "br" else ETX for child in children]
    befores, afters = [" ", *edges], [*edges, " "]
    for text, before, after in zip(texts, befores, afters, strict=True):
        yield from _runs(text, before, after)
        if children:
            yield children.pop(0)


def _runs(text: str, before: str, after: str) -> Iterator[str | _Run]:
    start = 0
    for match in _RUN.finditer(text):
        if match.start() > start:
            yield text[start : match.start()]
        left = text[match.start() - 1] if match.start() else before
        right = text[match.end()] if match.end() < len(text) else after
        yield _run(match[0], left, right)
        start = match.end()
    if start < len(text):
        yield text[start:]


def _run(marks: str, left: str, right: str) -> _Run:
    mark, count = marks[0], len(marks)
    # NB: CJK text has no spaces: "**text（note）**text" is emphasis there.
    opens = not right.isspace() and (
        not _is_mark(right)
        or left.isspace()
        or _is_mark(left)
        or _is_cjk(left)
        or _is_cjk(right)
    )
    closes = not left.isspace() and (
        not _is_mark(left)
        or right.isspace()
        or _is_mark(right)
        or _is_cjk(right)
        or _is_cjk(left)
    )
    if mark == "_":
        opens, closes = (
            opens and (not closes or _is_mark(left)),
            closes and (not opens or _is_mark(right)),
        )
    if mark == "~" and count != 2:
        opens = closes = False
    return _Run(mark, count, count, opens, closes)


def _is_mark(character: str) -> bool:
    """Return whether a character is punctuation or a symbol."""
    if character in {STX, ETX}:  # an element or an escaped character
        return True
    return unicodedata.category(character)[0] in "PS"


def _is_cjk(character: str) -> bool:
    return _CJK.match(character) is not None


def closing_marks(text: str) -> str:
    """Return the marks that close the emphasis that is open at the end of a text."""
    opened = _pair([part for part in _runs(text, " ", " ") if isinstance(part, _Run)])
    return "".join(run.mark * run.count for run in reversed(opened))


def _pair(runs: list[_Run]) -> list[_Run]:
    """Find what each run closes and opens; return the runs that stay open."""
    opened: list[_Run] = []
    bottoms: dict[tuple[str, bool, int], int] = {}
    for run in runs:
        kind = run.mark, run.opens, run.length % 3
        while run.closes and run.count:
            index = _opener(opened, run, bottoms.get(kind, 0))
            if index < 0:
                bottoms[kind] = len(opened)
                break
            opener = opened[index]
            used = min(2, opener.count, run.count)
            name = _NAMES[run.mark, used]
            opener.begins.append(name)
            run.ends.append(name)
            opener.count -= used
            run.count -= used
            del opened[index + bool(opener.count) :]
            bottoms = {key: min(at, len(opened)) for key, at in bottoms.items()}
        if run.opens and run.count:
            opened.append(run)
    return opened


def _opener(opened: list[_Run], run: _Run, bottom: int) -> int:
    """Return the index of the run that this one closes; -1 if there is none."""
    for index in range(len(opened) - 1, bottom - 1, -1):
        opener = opened[index]
        if opener.mark != run.mark:
            continue
        is_odd = (opener.closes or run.opens) and not (opener.length + run.length) % 3
        if not is_odd or not (opener.length % 3 or run.length % 3):
            return index
    return -1
