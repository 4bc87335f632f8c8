"""The inline syntax of replies: patterns for Python-Markdown, by CommonMark's rules.

``markdown`` registers them. Python-Markdown replaces what a pattern matches by a
placeholder, so what binds tighter comes first: code, math and escapes, then images and
links. Emphasis is read last, from the elements and the text between them.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.inlinepatterns import InlineProcessor
from markdown.treeprocessors import InlineProcessor as InlineTreeprocessor
from markdown.treeprocessors import Treeprocessor
from markdown.util import (
    ETX,
    INLINE_PLACEHOLDER_PREFIX,
    STX,
    AtomicString,
    Registry,
    code_escape,
)

from ollama_magic.render.math import INLINE_MATH, MATH_CLASS, is_active, is_money
from ollama_magic.render.references import References
from ollama_magic.render.text import address_of, entity_text, normal_label, plain_text

_Found = tuple[Any, int | None, int | None]

_LITERAL = (
    rf"(?P<ticks>(?<!`)`+)|(?P<math>{INLINE_MATH})"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?<!\]\()<(?P<url>[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*)>"
    r"|(?<!\]\()<(?P<mail>[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)>"
)
_ENTITY = r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z0-9]+);"
_ESCAPED = re.compile(f"{STX}(\\d+){ETX}")
# No CJK punctuation: it follows addresses without a space.
_URL_CHARACTERS = r"[^\s<>\x02\x03\"`|\\^{}\u3000-\u303f\uff00-\uffef]"
_ADDRESS = (
    rf"(?<![A-Za-z0-9_/@.\"'=])(?:https?://|www\.(?=[\w-])){_URL_CHARACTERS}+"
    r"|(?<![\w/@.+-])[A-Za-z0-9][\w.+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?![\w@-])"
)
_DEFINED = r"\[[^\[\]\n]{1,200}\]:\s"
"""The start of a line that looks like the definition of a link or note."""
_MAX_URL_SHOWN = 200


def register(md: Markdown) -> None:
    """Replace the inline syntax of Python-Markdown."""
    md.inlinePatterns = Registry()
    patterns = [
        _Literal(_LITERAL, md),
        _Break(rf"\n(?={_DEFINED})", md),
        _Images(r"!\[", md),
        _Links(r"(?<!!)\[|(?<=!)\[", md),
        _Address(_ADDRESS, md),
        _Break(r"(?: {2,}|\\)\n", md),
        _Entity(_ENTITY, md),
    ]
    for number, pattern in enumerate(patterns):
        md.inlinePatterns.register(pattern, f"reply {number}", 100 - number)
    md.treeprocessors.register(InlineTreeprocessor(md), "inline", 20)
    md.treeprocessors.register(_Emphasis(md), "emphasis", 15)


class _Literal(InlineProcessor):
    """Code, math, escapes and addresses in angle brackets, from left to right."""

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> _Found:
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

    def _code(self, m: re.Match[str], data: str) -> _Found:
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
    """Return a character that is no syntax; it is put back after emphasis was read."""
    # NB: the serialiser takes "&lt;" in a text as an entity.
    return "&amp;" if character == "&" else f"{STX}{ord(character)}{ETX}"


def link(url: str, text: str | None = None) -> Element:
    """Return a link; the text is shown unchanged."""
    element = Element("a", {"href": address_of(url).replace("&", "&amp;")})
    if text is not None:
        element.text = AtomicString(code_escape(text))
    return element


class _Entity(InlineProcessor):
    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> _Found:
        text = entity_text(m[0]) or code_escape(m[0])
        if len(text) == 1 and text in string.punctuation:
            text = escaped(text)
        return text, m.start(), m.end()


class _Break(InlineProcessor):
    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> _Found:
        return Element("br"), m.start(), m.end()


class _Address(InlineProcessor):
    """Addresses that stand in a text without any marks."""

    ANCESTOR_EXCLUDES = ("a",)

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> _Found:
        text = m[0].rstrip("?!.,:;*_~'")
        while text.endswith(")") and text.count(")") > text.count("("):
            text = text[:-1]
        scheme = "" if "://" in text else "http://"
        if not scheme or text.startswith("www."):
            return link(scheme + text, text), m.start(), m.start() + len(text)
        return link(f"mailto:{text}", text), m.start(), m.start() + len(text)


# -- images and links --------------------------------------------------------------

_REFERENCE_CHARACTERS = 10
"""Characters of addresses that references may add per character of the text."""
_REFERENCE_CHARACTERS_FREE = 20_000
_BRACKET = re.compile(r"!?\[|\]")
_LABEL = re.compile(r"\[([^\[\]]{0,999})\]")
_ANGLED = re.compile(r"\([ \t\n]*<([^<>\n]*)>")
_OPENING = re.compile(r"\([ \t\n]*")
_STOP = re.compile(r"[() \t\n]")
_AFTER = re.compile(r"(?:[ \t\n]+(?P<title>\"[^\"]*\"|'[^']*'|\([^()]*\)))?[ \t\n]*\)")
_PLACEHOLDER = re.compile(INLINE_PLACEHOLDER_PREFIX + "\\d+" + ETX)
_MAX_PARENTHESES = 32


class LimitedReferences(dict[str, tuple[str, str]]):
    """Addresses and titles by label, until the characters that they may add are used.

    A definition can be used thousands of times, and each use repeats all of it.
    """

    _left = 0

    def begin(self, references: References, characters: int) -> None:
        """Load the references of a text of this length."""
        self.update({label: (url, title) for label, url, title in references})
        self._left = _REFERENCE_CHARACTERS_FREE + _REFERENCE_CHARACTERS * characters

    def take(self, label: str) -> bool:
        """Return whether a label may become a link once more."""
        self._left -= sum(map(len, self[label]))
        return self._left >= 0


@dataclass(frozen=True, slots=True)
class _Link:
    """A link or an image in a text; all places are counted from the text's end."""

    text: str
    url: str
    title: str
    end: int
    label: str = ""
    """The label of its definition, if it has one."""


class _Brackets(InlineProcessor):
    """Finds the links of a text in one pass, as CommonMark does.

    NB: Python-Markdown replaces one link at a time, so the places of the others are
    kept as long as the rest of the text stays the same.
    """

    is_image = False

    def __init__(self, pattern: str, md: Markdown) -> None:
        super().__init__(pattern, md)
        self._before = self._rest = ""
        self._known: dict[int, _Link] = {}

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> _Found:
        if not self._is_rest(data):
            self._known = dict(self._links(data))
        self._before, self._rest = data, ""
        found = self._known.get(len(data) - m.start())
        if found is None:
            return None, None, None
        end = len(data) - found.end
        self._before, self._rest = data[: m.start()], data[end:]
        return self.element(found), m.start(), end

    def _is_rest(self, data: str) -> bool:
        """Return whether a text is the last one, with its link replaced."""
        if data is self._before:
            return True
        size = len(self._before), len(data) - len(self._rest)
        return (
            _PLACEHOLDER.fullmatch(data, *size) is not None
            and data.startswith(self._before)
            and data.endswith(self._rest)
        )

    def element(self, found: _Link) -> Element:
        raise NotImplementedError

    def _links(self, data: str) -> Iterator[tuple[int, _Link]]:
        opened: list[tuple[int, int, bool]] = []
        inactive = 0  # of the opened brackets: no link is in another
        at = 0
        while bracket := _BRACKET.search(data, at):
            at = bracket.end()
            if bracket[0] != "]":
                opened.append((bracket.start(), at, bracket[0] == "!["))
                continue
            if not opened:
                continue
            start, inner, is_image = opened.pop()
            is_inactive = len(opened) < inactive and not is_image
            inactive = min(inactive, len(opened))
            if is_inactive:
                continue
            found = self._target(data, start, inner, bracket.start())
            if found is None:
                continue
            at = len(data) - found.end
            if not is_image:
                inactive = len(opened)
            if is_image == self.is_image:
                yield len(data) - start, found

    def _target(self, data: str, start: int, inner: int, close: int) -> _Link | None:
        text, after = data[inner:close], close + 1
        if data[after : after + 1] == "(" and (found := _inline_target(data, after)):
            url, title, end = found
            return _Link(text, self._plain(url), self._plain(title), len(data) - end)
        label = _LABEL.match(data, after)
        key = ""
        if label and label[1].strip():
            key = self._key(label[1])
            if _is_citation(text) and (
                self._key(text) in self._references or _is_citation(label[1])
            ):
                label, key = None, ""
            after = label.end() if label else after
        elif label:
            after = label.end()
        elif data[after : after + 1] == ":" and data[start - 1 : start] in _LINE_STARTS:
            return None  # NB: a definition; line breaks end with ETX at this stage
        if not key:
            key = self._key(text) if _LABEL.match(f"[{text}]") else ""
        if key not in self._references:
            return None
        url, title = self._references[key]
        return _Link(text, url, title, len(data) - after, key)

    @property
    def _references(self) -> LimitedReferences:
        assert isinstance(self.md.references, LimitedReferences)
        return self.md.references

    def _plain(self, text: str) -> str:
        """Return a text without placeholders and entities."""
        text = _ESCAPED.sub(lambda m: chr(int(m[1])), self.unescape(text))
        return plain_text(text)

    def _key(self, text: str) -> str:
        return normal_label(self._plain(text))


_LINE_STARTS = {"", "\n", ETX}


def _is_citation(label: str) -> bool:
    return label.startswith("^") or label.isdecimal()


def _inline_target(data: str, start: int) -> tuple[str, str, int] | None:
    """Return address and title in the parentheses at a place, and where they end."""
    if angled := _ANGLED.match(data, start):
        url, at = angled[1], angled.end()
    else:
        opening = _OPENING.match(data, start)
        assert opening
        at = _end_of_address(data, opening.end())
        url = data[opening.end() : at]
        if at < 0 or url.startswith("<"):
            return None
    after = _AFTER.match(data, at)
    if after is None:
        return None
    return url, (after["title"] or "")[1:-1], after.end()


def _end_of_address(data: str, start: int) -> int:
    depth = 0
    for stop in _STOP.finditer(data, start):
        if stop[0] == "(":
            depth += 1
            if depth > _MAX_PARENTHESES:
                break
        elif stop[0] == ")" and depth:
            depth -= 1
        else:
            return -1 if depth else stop.start()
    return -1


class _Links(_Brackets):
    """Links; the labels of notes and numbers keep their brackets."""

    def element(self, found: _Link) -> Element:
        if found.label and not self._references.take(found.label):
            element = Element("span")
            element.text = AtomicString(code_escape(f"[{self._plain(found.text)}]"))
            return element
        element = link(found.url)
        if found.title:
            element.set("title", found.title)
        element.text = found.text
        if found.label == self._key(found.text) and _is_citation(found.text):
            element.text = AtomicString(f"[{found.text}]")
        return element


class _Images(_Brackets):
    """Images are links that show their address: nothing is fetched without a click."""

    is_image = True

    def element(self, found: _Link) -> Element:
        if found.label and not self._references.take(found.label):
            element = Element("span")
            element.text = AtomicString(code_escape(f"![{self._plain(found.text)}]"))
            return element
        name = _words(self._plain(found.text))
        shown = shortened(address_of(found.url))
        shown += f' "{found.title}"' if found.title else ""
        text = f"[image: {name} – {shown}]" if name else f"[image: {shown}]"
        element = link(found.url, text)
        element.set("class", "image")
        return element


def shortened(url: str) -> str:
    """Return an address as it is shown."""
    return url if len(url) <= _MAX_URL_SHOWN else f"{url[:_MAX_URL_SHOWN]}…"


def _words(text: str) -> str:
    """Return the text of an image without links and emphasis in it."""
    text = re.sub(r"!?\[([^\[\]]*)\](?:\([^()\s]*\)|\[[^\[\]]*\])?", r"\1", text)
    return re.sub(r"(?<!\w)[*_]{1,3}|[*_]{1,3}(?!\w)", "", text)


# -- emphasis ----------------------------------------------------------------------

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


class _Emphasis(Treeprocessor):
    """Emphasis, strong text and struck text, by the rules of CommonMark and GitHub."""

    def run(self, root: Element) -> None:
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
