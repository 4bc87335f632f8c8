"""The definitions of links in a text (``[1]: https://a.example``).

``safe_html`` reads them before it converts the blocks, since a label in one block takes
its address from another. A definition is hidden only if CommonMark takes it as one (it
begins a top-level paragraph) and the page has its link; every other line stays text.
Footnotes (``[^1]: …``) are always shown; their labels in the text are raised, and links
if the note is an address.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ollama_magic.render.blocks import Block
from ollama_magic.render.text import address_of, normal_label, plain_text

References = tuple[tuple[str, str, str], ...]
"""Label (as labels are compared), address and title of each link definition."""

_TITLE = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\((?:\\.|[^()\\])*\)"
_DEFINITION = re.compile(
    r"\s*\[(?P<label>(?:\\.|[^\[\]\\]){1,999})\]:[ \t]*\n?[ \t]*"
    r"(?P<url><(?:\\.|[^<>\n\\])*>|[^\s<]\S*)"
    rf"(?:(?:[ \t]+|[ \t]*\n[ \t]*)(?P<title>{_TITLE}))?[ \t]*(?:\n|\Z)",
    re.DOTALL,
)
# In other places an address alone is taken as one, not any word.
_SOURCE = re.compile(
    r"^[ \t>]*(?:[-*+][ \t]+)?\[(?P<label>[^\[\]\n]{1,200})\]:[ \t]*"
    r"<?(?P<url>(?:https?://|mailto:)[^\s<>]{1,1000})>?[ \t]*"
    r"(?:(?<=[ \t])(?P<title>\"[^\"\n]{0,300}\"|'[^'\n]{0,300}'|\([^()\n]{0,300}\))"
    r"[ \t]*)?$",
    re.IGNORECASE | re.MULTILINE,
)
_NOTE = re.compile(r"^[ \t>]*\[(?P<label>\^[^\[\]\s]{1,100})\]:", re.MULTILINE)
_LABEL = re.compile(r"\[((?:\\.|[^\[\]\\]){1,999})\]")
_HREF = re.compile(r'href="([^"]*)"')
_SHOWN = ("(", "– ", "image: ")
"""What stands before an address that is text."""
_MAX_DEFINITIONS = 1000
"""Labels per text; later definitions stay text."""
_TEXT_KINDS = {"paragraph", "list", "quote", "table", "heading", "note"}


@dataclass(frozen=True, slots=True)
class Definition:
    """What a label stands for."""

    label: str
    url: str
    title: str
    source: str


def link_definitions(blocks: Iterable[Block]) -> dict[str, Definition]:
    """Return what each label of a text stands for: its first definition."""
    found: dict[str, Definition] = {}
    for block in blocks:
        if block.kind not in _TEXT_KINDS or "]:" not in block.source:
            continue
        sources = map(_definition, _SOURCE.finditer(block.source))
        notes = map(_note, _NOTE.finditer(block.source))
        for one in (*split_definitions(block)[0], *sources, *notes):
            found.setdefault(one.label, one)
            if len(found) >= _MAX_DEFINITIONS:
                return found
    return found


def references_in(block: Block, known: Mapping[str, Definition]) -> References:
    """Return the known definitions whose labels occur in a block."""
    if not known or block.kind not in _TEXT_KINDS:
        return ()
    labels = dict.fromkeys(map(_normal, _LABEL.findall(block.source)))
    found = (known[label] for label in labels if label in known)
    return tuple((one.label, one.url, one.title) for one in found)


def split_definitions(block: Block) -> tuple[list[Definition], Block]:
    """Return the definitions at the start of a paragraph, and the rest."""
    if block.kind not in {"paragraph", "heading"} or "]:" not in block.source:
        return [], block
    found = list(_leading(block.source))
    size = sum(len(one.source) for one in found)
    return found, replace(block, source=block.source[size:])


def used_labels(references: References, page: str) -> set[str]:
    """Return the labels whose addresses are on the page of a block."""
    if not references:
        return set()
    links = {html.unescape(link) for link in _HREF.findall(page)}
    shown = html.unescape(page)
    addresses = {label: address_of(url) for label, url, _ in references}
    return {
        label
        for label, url in addresses.items()
        if url in links or not url or any(f"{mark}{url}" in shown for mark in _SHOWN)
    }


def unused_definitions(
    found: Iterable[Definition],
    labels: Collection[str],
    known: Mapping[str, Definition],
) -> Block:
    """Return the definitions that no link uses, as a paragraph to show."""
    shown = (
        one.source
        for one in found
        if one.label not in labels or known.get(one.label) != one
    )
    return Block("paragraph", "".join(shown))


def _leading(source: str) -> Iterator[Definition]:
    at = 0
    while match := _DEFINITION.match(source, at):
        if match["label"].startswith("^") or not match["label"].strip():
            return
        yield _definition(match)
        at = match.end()


def _definition(match: re.Match[str]) -> Definition:
    url = match["url"]
    url = plain_text(url[1:-1] if url.startswith("<") else url)
    title = plain_text((match["title"] or "")[1:-1])
    return Definition(_normal(match["label"]), url, title, match[0])


def _note(match: re.Match[str]) -> Definition:
    """Return a footnote that has no address."""
    return Definition(_normal(match["label"]), "", "", match[0])


def _normal(label: str) -> str:
    return normal_label(label.replace("`", ""))
