"""Links and images in a text, and what their labels stand for.

``inline`` registers the patterns. They follow CommonMark; images are links, since
nothing may be fetched without a click.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.inlinepatterns import InlineProcessor
from markdown.util import (
    ETX,
    INLINE_PLACEHOLDER_PREFIX,
    STX,
    AtomicString,
    code_escape,
)

from ollama_magic.render.references import References
from ollama_magic.render.text import address_of, decoded, normal_label, plain_text

Found = tuple[Any, int | None, int | None]
"""What Python-Markdown's patterns return: an element, and the text it replaces."""

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
_MAX_URL_SHOWN = 200
_ESCAPED = re.compile(f"{STX}(\\d+){ETX}")


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
    ) -> Found:
        if not self._is_rest(data):
            self._known = dict(self._links(data))
        self._before, self._rest = data, ""
        found = self._known.get(len(data) - m.start())
        if found is None:
            return None, None, None
        end = len(data) - found.end
        self._before, self._rest = data[: m.start()], data[end:]
        if found.label and not self._references.take(found.label):
            element = Element("span")  # the label was used too often: its source
            text = f"{'!' * self.is_image}[{self._plain(found.text)}]"
            element.text = AtomicString(code_escape(text))
            return element, m.start(), end
        return self._element(found), m.start(), end

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

    def _element(self, found: _Link) -> Element:
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
            url = plain_text(self._plain(url))  # NB: "\\(a\\)" was read as math
            return _Link(text, url, self._plain(title), len(data) - end)
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
        return decoded(text)

    def _key(self, text: str) -> str:
        # NB: labels are compared as they are written, with their backslashes.
        text = _ESCAPED.sub(lambda m: f"\\{chr(int(m[1]))}", self.unescape(text))
        return normal_label(text)


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


def link(url: str, text: str | None = None) -> Element:
    """Return a link; the text is shown unchanged."""
    element = Element("a", {"href": address_of(url).replace("&", "&amp;")})
    if text is not None:
        element.text = AtomicString(code_escape(text))
    return element


def note_mark(label: str) -> Element:
    """Return the mark of a footnote, as it stands in the text and before the note."""
    element = Element("sup")
    element.text = AtomicString(code_escape(f"[{label}]"))
    return element


class Links(_Brackets):
    """Links; the labels of notes and numbers keep their brackets."""

    def _element(self, found: _Link) -> Element:
        is_citation = found.label == self._key(found.text) and _is_citation(found.text)
        label = found.text.removeprefix("^")
        is_note = is_citation and label != found.text
        if is_note and not found.url:
            return note_mark(label)
        element = link(found.url)
        if found.title:
            element.set("title", found.title)
        element.text = found.text
        if is_citation:
            element.text = AtomicString(f"[{label}]")
        if is_note:
            mark = Element("sup")
            mark.append(element)
            return mark
        return element


class Images(_Brackets):
    """Images are links that show their address: nothing is fetched without a click."""

    is_image = True

    def _element(self, found: _Link) -> Element:
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
