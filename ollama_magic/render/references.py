"""Link definitions (``[1]: https://a.example``) of a text; which of them are hidden.

``safe_html`` calls this module for a complete text, since a label in one block takes
its address from another. A definition is hidden only if it is one in CommonMark (it
begins a top-level paragraph) and the page has its link; every other line stays text.
Notes (``[^1]: …``) are always shown, and their labels become links.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ollama_magic.render.blocks import Block

References = tuple[tuple[str, str, str], ...]
"""Label (lower case), address and title of each link definition."""

_DEFINITION = re.compile(
    r"^[ \t>]*(?:[-*+][ \t]+)?\[(?P<label>[^\[\]\n]{1,200})\]:[ \t]*"
    r"<?(?P<url>(?:https?://|mailto:)[^\s<>]{1,1000})>?[ \t]*"
    r"(?:(?<=[ \t])(?P<title>\"[^\"\n]{0,300}\"|'[^'\n]{0,300}'|\([^()\n]{0,300}\))"
    r"[ \t]*)?$",
    re.IGNORECASE | re.MULTILINE,
)
_HIDEABLE = re.compile(r" {0,3}\[(?!\^)")
_LABEL = re.compile(r"\[([^\[\]]{1,200})\]")
_SPACE = re.compile(r"\s+")
_HREF = re.compile(r'href="([^"]*)"')
_MAX_DEFINITIONS = 1000
"""Labels of one text; those after them stay text."""
_TEXT_KINDS = {"paragraph", "list", "quote", "table", "heading"}


def definitions(blocks: Iterable[Block]) -> dict[str, tuple[str, str]]:
    """Return address and title of each label that a text defines."""
    found: dict[str, tuple[str, str]] = {}
    for block in blocks:
        if block.kind in _TEXT_KINDS and "]:" in block.source:
            for match in _DEFINITION.finditer(block.source):
                title = (match["title"] or "")[1:-1]
                found.setdefault(_normal(match["label"]), (match["url"], title))
                if len(found) >= _MAX_DEFINITIONS:
                    return found
    return found


def references_in(block: Block, known: Mapping[str, tuple[str, str]]) -> References:
    """Return those of the known definitions whose labels stand in a block."""
    if not known or block.kind not in _TEXT_KINDS:
        return ()
    labels = dict.fromkeys(map(_normal, _LABEL.findall(block.source)))
    return tuple((label, *known[label]) for label in labels if label in known)


def split_definitions(block: Block) -> tuple[list[str], Block]:
    """Return the definitions that a paragraph begins with, by line, and the rest."""
    if block.kind != "paragraph":
        return [], block
    lines = block.source.splitlines(keepends=True)
    count = 0
    while count < len(lines) and _is_definition(lines[count]):
        count += 1
    return lines[:count], replace(block, source="".join(lines[count:]))


def linked(references: References, page: str) -> set[str]:
    """Return the labels whose addresses are links in the HTML of a block."""
    if not references:
        return set()
    links = {html.unescape(link) for link in _HREF.findall(page)}
    return {label for label, url, _ in references if url in links}


def not_linked(lines: Iterable[str], labels: set[str]) -> Block:
    """Return the definitions that no link uses, as a paragraph to be shown."""
    return Block(
        "paragraph", "".join(one for one in lines if _label(one) not in labels)
    )


def _is_definition(line: str) -> bool:
    is_hideable = _HIDEABLE.match(line) is not None
    return is_hideable and _DEFINITION.match(line) is not None


def _label(line: str) -> str:
    match = _DEFINITION.match(line)
    return _normal(match["label"]) if match else ""


def _normal(label: str) -> str:
    return _SPACE.sub(" ", label).lower()
