"""Emphasis, strong text and struck text, by the rules of CommonMark and GitHub.

``inline`` registers this after all patterns, so it reads the elements that they made
and the text between them. ``incremental`` closes open emphasis with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from markdown.treeprocessors import Treeprocessor
from markdown.util import ETX, STX, AtomicString

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
