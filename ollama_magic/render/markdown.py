"""Python-Markdown, configured for the replies of models.

``safe_html`` imports it late, serialises the calls (it is not thread-safe) and
sanitises the result. The blocks come from ``tree`` and the inline syntax from
``inline``; raw HTML is text, and headings are two levels below those of the notebook.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement

from markdown import Markdown
from markdown.blockparser import BlockParser
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString, code_escape

from ollama_magic.render import inline
from ollama_magic.render.blocks import Block
from ollama_magic.render.code import leaf_html
from ollama_magic.render.inline import append_text
from ollama_magic.render.line_syntax import CODE, PIPE, cells_of, delimiters
from ollama_magic.render.links import LimitedReferences, note_mark, shortened
from ollama_magic.render.references import References
from ollama_magic.render.text import true_host, visible_text
from ollama_magic.render.theme import MARKDOWN_STYLES
from ollama_magic.render.tree import VERBATIM, Node

_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_ABSOLUTE = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
_HEADING_SHIFT = 2
_CALLOUT = re.compile(r"\[!(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\][ \t]*", re.IGNORECASE)
_TASK = re.compile(r"\[([ xX])\](?=\s)")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_TIGHT = "tight"
"""A paragraph of a tight list: it becomes the text of its item."""


def make_parser() -> Parser:
    """Return a new parser."""
    return Parser(extensions=[_ReplyExtension()], output_format="html")


class Parser(Markdown):
    """Python-Markdown with our blocks, and a limit on what link references add."""

    parser: _TreeBuilder
    references: LimitedReferences

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  (its interface)
        super().__init__(**settings)
        self.references = LimitedReferences()

    def convert_with(self, block: Block, references: References) -> str:
        """Return a block as HTML, with the labels of references as links."""
        self.reset()
        self.references.begin(references, len(block.source))
        self.parser.document = block.tree()
        return self.convert(block.source)


class _ReplyExtension(Extension):
    """Our blocks and inline syntax in the place of Python-Markdown's."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  (its interface)
        md.parser = _TreeBuilder(md)
        # NB: texts are made visible before, and tabs in code stay.
        md.preprocessors.deregister("normalize_whitespace")
        md.preprocessors.deregister("html_block")
        inline.register(md)
        md.treeprocessors.register(_TightItems(md), "tight_items", 12)
        md.treeprocessors.register(_Directions(md), "directions", 10)
        # NB: last, since others still turn "\\#" in an address into "#".
        md.treeprocessors.register(_ShownAddresses(md), "addresses", -10)


class _TreeBuilder(BlockParser):
    """Makes the elements of a document's tree."""

    document: Node

    def parseDocument(self, lines: Iterable[str]) -> ElementTree:  # noqa: N802
        root = Element(self.md.doc_tag)
        self._add_all(root, self.document.children)
        return ElementTree(root)

    def _add_all(self, parent: Element, nodes: Iterable[Node], tag: str = "p") -> None:
        for node in nodes:
            if node.kind == "paragraph" and _has_definition(node.lines):
                _add_definitions(parent, node.lines)
            elif node.kind == "paragraph":
                SubElement(parent, tag).text = "\n".join(node.lines).rstrip()
            elif node.kind in VERBATIM:
                stashed = self.md.htmlStash.store(leaf_html(node))
                leaf_tag = tag if node.kind == "math" else "p"
                SubElement(parent, leaf_tag).text = AtomicString(stashed)
            else:
                getattr(self, f"_add_{node.kind}")(parent, node)

    def _add_heading(self, parent: Element, node: Node) -> None:
        heading = _styled(parent, f"h{min(node.level + _HEADING_SHIFT, 6)}")
        heading.text = "\n".join(node.lines).strip()

    def _add_rule(self, parent: Element, _: Node) -> None:
        SubElement(parent, "hr")

    def _add_table(self, parent: Element, node: Node) -> None:
        head, row, *below = node.lines
        styles = [f"text-align:{_side(cell.strip())}" for cell in delimiters(row)]
        table = SubElement(parent, "table")
        _add_row(SubElement(table, "thead"), "th", head, styles)
        if below:
            body = SubElement(table, "tbody")
            for line in below:
                _add_row(body, "td", line, styles)

    def _add_quote(self, parent: Element, node: Node) -> None:
        quote = SubElement(parent, "blockquote")
        first = node.children[0] if node.children else None
        lines = first.lines if first and first.kind == "paragraph" else [""]
        if callout := _CALLOUT.match(lines[0]):
            title = SubElement(SubElement(quote, "p"), "strong")
            title.text = callout[1].capitalize()
            lines[:1] = filter(None, [lines[0][callout.end() :]])
        self._add_all(quote, node.children if lines else node.children[1:])

    def _add_note(self, parent: Element, node: Node) -> None:
        mark = note_mark(node.marker[2:-2])
        SubElement(parent, "p").append(mark)
        below = node.children
        if below and below[0].kind == "paragraph":
            mark.tail = " " + "\n".join(below[0].lines).rstrip()
            below = below[1:]
        self._add_all(parent, below)

    def _add_list(self, parent: Element, node: Node) -> None:
        tag = _TIGHT if node.is_tight else "p"
        made = SubElement(parent, "ul")
        if node.children[0].marker[0].isdigit():
            made.tag = "ol"
            start = str(int(node.children[0].marker[:-1]))
            made.attrib = {} if start == "1" else {"start": start}
        for item in node.children:
            box = _task_box(item)
            if box:
                first = item.children[0].lines
                first[0] = _TASK.sub(box, first[0], count=1)
            has_no_bullet = box and made.tag == "ul"
            added = _styled(made, "li") if has_no_bullet else SubElement(made, "li")
            self._add_all(added, item.children, tag)


def _styled(parent: Element, tag: str) -> Element:
    """Add an element with the style that it needs in JupyterLab."""
    style = MARKDOWN_STYLES.get(tag)
    return SubElement(parent, tag, {"style": style} if style else {})


def _has_definition(lines: list[str]) -> bool:
    return len(lines) > 1 and lines[1].startswith(": ") and lines[0][0] != ":"


def _add_definitions(parent: Element, lines: list[str]) -> None:
    """Add lines such as ``term`` and ``: definition`` as a definition list."""
    made = _styled(parent, "dl")
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith(": "):
            _styled(made, "dd").text = line[2:].strip()
        elif below.startswith(": "):
            _styled(made, "dt").text = line.rstrip()
        else:
            made[-1].text = f"{made[-1].text}\n{line.rstrip()}"


def _task_box(item: Node) -> str:
    """Return the box of a task; empty if an item is none."""
    first = item.children[0] if item.children else None
    match = _TASK.match(first.lines[0]) if first and first.kind == "paragraph" else None
    return ("☐" if match[1] == " " else "☑") if match else ""


def _side(delimiter: str) -> str:
    """Return the alignment that the delimiter of a column, such as ``:--``, sets."""
    if not delimiter.endswith(":"):
        return "left" if delimiter.startswith(":") else "start"
    return "center" if delimiter.startswith(":") else "right"


def _add_row(parent: Element, tag: str, line: str, styles: list[str]) -> None:
    """Add a row with the cells that were written.

    NB: if rows were filled to the width of the head, n bytes would make n² cells.
    """
    row = SubElement(parent, "tr")
    for text, style in zip(cells_of(line, len(styles)), styles, strict=False):
        cell = text.strip(" ").replace(PIPE, "|")
        if "\\|" in cell:
            cell = CODE.sub(lambda code: code[0].replace("\\|", "|"), cell)
        SubElement(row, tag, {"style": style}).text = _BREAK.sub("  \n", cell)


class _TightItems(Treeprocessor):
    """The paragraphs of tight lists become the text of their items."""

    def run(self, root: Element) -> None:
        for parent in root.iter():
            if any(child.tag == _TIGHT for child in parent):
                _unwrap(parent)


def _unwrap(parent: Element) -> None:
    children = list(parent)
    tail = parent.tail
    tag, attributes = parent.tag, dict(parent.attrib)
    parent.clear()
    parent.tag, parent.tail = tag, tail
    parent.attrib.update(attributes)
    is_below_text = False
    for child in children:
        if child.tag != _TIGHT:
            parent.append(child)
            is_below_text = False
            continue
        append_text(parent, ("\n" if is_below_text else "") + (child.text or ""))
        is_below_text = True
        for part in list(child):
            parent.append(part)


class _Directions(Treeprocessor):
    """Blocks in Arabic or Hebrew begin at the right, and code in them at the left."""

    def run(self, root: Element) -> None:
        if not _RIGHT_TO_LEFT.search("".join(root.itertext())):
            return
        for element in root.iter():
            if element.tag == "code":
                element.set("dir", "ltr")
            elif element.tag == "p" and not _is_stashed(element):
                element.set("style", MARKDOWN_STYLES["p"])
        for block in root:
            if not _is_stashed(block):
                block.set("dir", "auto")


def _is_stashed(element: Element) -> bool:
    """Return whether an element will be replaced by code or math."""
    return isinstance(element.text, AtomicString)


class _ShownAddresses(Treeprocessor):
    """Links show their true host, and addresses that are not links are text."""

    def run(self, root: Element) -> None:
        for element in list(root.iter("a")):
            address = visible_text(html.unescape(element.get("href", "")))
            if element.tag != "a" or element.attrib.pop("class", ""):
                shown = ""  # an image: it shows its address itself
            elif _ABSOLUTE.match(address):
                _unlink_images(element)
                shown = true_host("".join(element.itertext()).strip(), address)
            else:
                title = element.get("title", "")
                shown = shortened(address) + (f' "{title}"' if title else "")
            if shown:
                element.tail = code_escape(f" ({shown})") + (element.tail or "")


def _unlink_images(link: Element) -> None:
    """Make the images in a link its text: HTML has no link in another."""
    for inner in list(link.iter("a"))[1:]:
        if inner.get("class") == "image":
            inner.tag = "span"
            inner.attrib.clear()
