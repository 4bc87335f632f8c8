"""Python-Markdown, configured for the replies of models.

``safe_html`` imports it late, serialises the calls (it is not thread-safe) and
sanitises the result. Raw HTML becomes text, images and addresses become links, and
``$…$`` and the like become math.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict, deque
from collections.abc import Iterable
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, SubElement

from markdown import Markdown
from markdown.blockparser import BlockParser
from markdown.extensions import Extension
from markdown.extensions.tables import TableProcessor
from markdown.inlinepatterns import (
    IMAGE_REFERENCE_RE,
    REFERENCE_RE,
    ImageReferenceInlineProcessor,
    InlineProcessor,
    ReferenceInlineProcessor,
    ShortReferenceInlineProcessor,
)
from markdown.preprocessors import Preprocessor
from markdown.treeprocessors import Treeprocessor
from markdown.util import ETX, AtomicString

from ollama_magic.render.code import PRE_STYLE, code_html
from ollama_magic.render.dialect import References, language_of
from ollama_magic.render.line_syntax import is_delimiter_row
from ollama_magic.render.math import (
    INLINE_MATH,
    MATH_CLASS,
    MATH_LINES,
    is_active,
    is_money,
    math_html,
)
from ollama_magic.render.text import visible_text

_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_URL = r"(?<![\w/@.\"'=])https?://[^\s<>\x02\x03\"`|\\^{}]+"
_HOST_LIKE = re.compile(
    r"(?:^\W*|https?://|\b(?=www\.))((?:[\w-]+\.)+[a-z]{2,})(?=[/:?#@\s]|$)", re.I
)
_FENCE = re.compile(r"(?P<prefix>[ >]*)(?P<marks>`{3,}|~{3,})(?P<language>[^`~]*)")
_MATH = re.compile(INLINE_MATH)
_BARE_PIPE = re.compile(r"(?<!\\)\|")
_PIPE = "\x1f"  # never in a text: ``visible_text`` replaces control characters
_CODE = re.compile(r"(?<!`)(`+)(?!`)(?:.*?[^`])\1(?!`)", re.DOTALL)
_SEPARATOR = re.compile(rf"{_CODE.pattern}|\\.|(?P<pipe>\|)", re.DOTALL)
_MAX_URL_SHOWN = 200
_REFERENCE_CHARACTERS = 10
"""Characters of addresses that references may add per character of the text."""
_REFERENCE_CHARACTERS_FREE = 20_000
_DEFINED = r"\[[^\[\]\n]{1,200}\]:\s"
"""The start of a line that looks like the definition of a link or note."""


def make_parser() -> Parser:
    """Return a new parser."""
    return Parser(
        extensions=[
            "sane_lists",
            "pymdownx.saneheaders",
            "pymdownx.tilde",
            _ReplyExtension(),
        ],
        extension_configs={"pymdownx.tilde": {"subscript": False}},
        output_format="html",
    )


class Parser(Markdown):
    """Python-Markdown with a limit on what link references add."""

    references: _References

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  (its interface)
        super().__init__(**settings)
        self.references = _References()

    def convert_with(self, source: str, references: References) -> str:
        """Return Markdown as HTML, with the labels of references as links."""
        self.reset()
        self.references.begin(references, len(source))
        return self.convert(source)


class _References(dict[str, tuple[str, str]]):
    """Addresses and titles by label, until the characters that they may add are used.

    A definition can be used thousands of times, and each use repeats all of it.
    """

    _left = 0

    def begin(self, references: References, characters: int) -> None:
        """Load the references of a text of this length."""
        self.update({label: (url, title) for label, url, title in references})
        self._left = _REFERENCE_CHARACTERS_FREE + _REFERENCE_CHARACTERS * characters

    def __contains__(self, label: object) -> bool:
        """Return whether a label may become a link at this place of the text."""
        if not super().__contains__(label):
            return False
        address, title = self[str(label)]
        self._left -= len(address) + len(title)
        return self._left >= 0


class _ReplyExtension(Extension):
    """Our changes to Python-Markdown's defaults."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  (its interface)
        md.preprocessors.deregister("html_block")
        # NB: it hides every line that looks like a definition; ``dialect`` reads them.
        md.parser.blockprocessors.deregister("reference")
        md.ESCAPED_CHARS += ["$", "|"]
        md.parser.blockprocessors.register(_Tables(md.parser), "table", 75)
        patterns = md.inlinePatterns
        patterns.deregister("html")
        patterns.register(_Math(INLINE_MATH, md), "math", 189)  # code spans are at 190
        patterns.register(_Address(_URL, md), "address", 115)  # below links in <>
        patterns.register(_Break(r"\\\n", md), "backslash_break", 181)
        patterns.register(_Break(rf"\n(?={_DEFINED})", md), "definition_break", 182)
        patterns.deregister("reference")
        patterns.register(_Reference(REFERENCE_RE, md), "reference", 170)
        patterns.deregister("image_reference")
        image = _ImageReference(IMAGE_REFERENCE_RE, md)
        patterns.register(image, "image_reference", 140)
        patterns.deregister("short_reference")
        patterns.register(_Label(REFERENCE_RE, md), "short_reference", 130)
        md.preprocessors.register(_Fences(md), "fences", 25)
        md.preprocessors.register(_MathLines(md), "math_lines", 20)  # after fences
        md.treeprocessors.register(_TableCells(md), "table_cells", 30)  # before inline
        # NB: last, since others still turn "\\#" in an address into "#".
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


class _Fences(Preprocessor):
    """Fences as ``dialect`` writes them: closed, with one prefix before all lines.

    NB: superfences takes quadratic time for many fences.
    """

    def run(self, lines: list[str]) -> list[str]:
        bare = [line.rstrip() for line in lines]
        ends: dict[str, deque[int]] = defaultdict(deque)
        for number, line in enumerate(bare):
            ends[line].append(number)
        written: list[str] = []
        number = 0
        while number < len(lines):
            match = _FENCE.fullmatch(bare[number])
            end = match and _next(ends[match["prefix"] + match["marks"]], number)
            if match and end:
                code = lines[number + 1 : end]
                written.append(self._stash(match["prefix"], match["language"], code))
                number = end
            else:
                written.append(lines[number])
            number += 1
        return written

    def _stash(self, prefix: str, language: str, lines: list[str]) -> str:
        code = "\n".join(line[len(prefix) :] for line in lines)
        return prefix + self.md.htmlStash.store(code_html(code, language_of(language)))


def _next(numbers: deque[int], after: int) -> int | None:
    while numbers and numbers[0] <= after:
        numbers.popleft()
    return numbers[0] if numbers else None


class _MathLines(Preprocessor):
    """Display math on its own lines, hidden from block syntax."""

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


# NB: Python-Markdown's own pattern allows a space before the label.
_NEXT_LABEL = re.compile(r"\[([^\]]*)\]")


class _Reference(ReferenceInlineProcessor):
    """A text and a label (``[text][label]``); ``[1][2]`` are two citations."""

    RE_LINK = _NEXT_LABEL

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Any, int | None, int | None]:
        text, after, is_closed = self.getText(data, m.end())
        label = _NEXT_LABEL.match(data, after) if is_closed else None
        if label is None:
            return None, None, None
        if label[1] and _is_citation(text):
            is_defined = dict.__contains__(self.md.references, text.lower())
            if is_defined or _is_citation(label[1]):
                return None, m.start(), after
        element, start, _ = found = super().handleMatch(m, data)
        return found if element is not None else (None, start, after)


class _ImageReference(ImageReferenceInlineProcessor):
    RE_LINK = _NEXT_LABEL


def _is_citation(label: str) -> bool:
    return label.startswith("^") or label.isdecimal()


class _Label(ShortReferenceInlineProcessor):
    """A label without an address; footnotes and numbers keep their brackets."""

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Any, int | None, int | None]:
        element, start, end = super().handleMatch(m, data)
        before = data[m.start() - 1 : m.start()]
        if end and data[end : end + 1] == ":" and before in {"", "\n", ETX}:
            return (
                None,
                start,
                end,
            )  # NB: a definition; line breaks end with ETX at this stage
        return element, start, end

    def makeTag(self, href: str, title: str, text: str) -> Element:  # noqa: N802
        element = super().makeTag(href, title, text)
        if _is_citation(text):
            element.text = AtomicString(f"[{text}]")
        return element


class _Break(InlineProcessor):
    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Element, int, int]:
        return Element("br"), m.start(0), m.end(0)


class _Tables(TableProcessor):
    """Tables whose rows may have a pipe in math, or surplus cells.

    A row has only the cells that were written: Python-Markdown fills rows to the width
    of the head, so a table of n bytes has n² cells.
    """

    def __init__(self, parser: BlockParser) -> None:
        super().__init__(parser, {"use_align_attribute": False})

    def test(self, parent: Element, block: str) -> bool:
        return super().test(parent, _with_fitted_head(block))

    def run(self, parent: Element, blocks: list[str]) -> None:
        head, _, *below = blocks.pop(0).split("\n")
        styles = [f"text-align:{_side(cell.strip())}" for cell in self.separator]
        rows = [_cells(row, len(styles)) for row in below] or [[""] * len(styles)]
        table = SubElement(parent, "table")
        _add_row(SubElement(table, "thead"), "th", _cells(head, len(styles)), styles)
        body = SubElement(table, "tbody")
        for row in rows:
            _add_row(body, "td", row, styles)


def _with_fitted_head(source: str) -> str:
    head, *below = source.split("\n")
    if not below or not is_delimiter_row(below[0]):
        return source
    columns = len(_edges(below[0])) - 1
    return "\n".join([_without_math_pipes(head, columns), *below])


def _side(delimiter: str) -> str:
    """Return the alignment that the delimiter of a column, such as ``:--``, sets."""
    if not delimiter.endswith(":"):
        return "left"
    return "center" if delimiter.startswith(":") else "right"


def _add_row(
    parent: Element, tag: str, cells: Iterable[str], styles: Iterable[str]
) -> None:
    row = SubElement(parent, "tr")
    for text, style in zip(cells, styles, strict=False):
        SubElement(row, tag, {"style": style}).text = text.strip(" ")


def _cells(row: str, columns: int) -> list[str]:
    """Return the cells of a row; surplus cells stay in the last one."""
    row = _without_math_pipes(row, columns)
    edges = _edges(row)
    del edges[columns:-1]
    return [row[left + 1 : right] for left, right in pairwise(edges)]


def _without_math_pipes(row: str, columns: int) -> str:
    """Hide the pipes in math if the row then has as many cells as columns."""
    if len(_edges(row)) - 1 <= columns:
        return row
    hidden = _MATH.sub(_without_pipes, row)
    return hidden if len(_edges(hidden)) - 1 == columns else row


def _edges(row: str) -> list[int]:
    """Return where the cells of a row begin and end: at its pipes, or its edges."""
    start, end = len(row) - len(row.lstrip(" ")), len(row.rstrip(" "))
    pipes = [match.start() for match in _SEPARATOR.finditer(row) if match["pipe"]]
    inner = [pipe for pipe in pipes if start < pipe < end - 1]
    first = start if pipes[:1] == [start] else start - 1
    last = end - 1 if pipes[-1:] == [end - 1] and first < end - 1 else end
    return [first, *inner, last]


def _without_pipes(math: re.Match[str]) -> str:
    return math[0] if is_money(math) else _BARE_PIPE.sub(_PIPE, math[0])


class _TableCells(Treeprocessor):
    """Pipes in code, and ``<br>``, the only way to break a line in a cell."""

    def run(self, root: Element) -> None:
        for cell in root.iter():
            if cell.tag not in {"td", "th"}:
                continue
            if text := (cell.text or "").replace(_PIPE, "|"):
                if "\\|" in text:
                    text = _CODE.sub(lambda code: code[0].replace("\\|", "|"), text)
                cell.text = _BREAK.sub("  \n", text)


class _Elements(Treeprocessor):
    """Images become links, links show their true host, code blocks look alike."""

    def run(self, root: Element) -> None:
        for element in root.iter():
            if element.tag == "img":
                _image_to_link(element)
            elif element.tag == "a":
                _show_host(element)
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
    """Style indented code in a list like the other code blocks."""
    code = element[0]
    element.remove(code)
    element.text = code.text
    element.set("class", "highlight")
    element.set("style", PRE_STYLE)


def _show_host(element: Element) -> None:
    """Add the true host to a link whose text names another host."""
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
