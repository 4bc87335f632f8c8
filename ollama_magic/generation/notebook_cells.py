"""Cells of the notebook before a prompt: ``--cells``, ``--above`` and ``--outputs``.

``prepare`` calls :func:`with_cells` with the cells that the notebook has found. The
note for the footer is made of the very parts that are sent: it can name nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypedDict

from ollama_magic.client.images import Image
from ollama_magic.errors import PromptError
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prompt import Filled
from ollama_magic.generation.values import fenced
from ollama_magic.render.text import counted

if TYPE_CHECKING:
    from ollama_magic.generation.session import Session

MAX_CHARACTERS = 40_000
"""All sources and outputs together; about 10,000 tokens."""
MAX_SOURCE = 10_000
MAX_OUTPUT = 4_000
MAX_OUTPUTS = 20
"""Of one cell: its last ones."""
MAX_IMAGES = 4
_LEAST = 200  # characters; less of a text is not worth sending
_HEAD = 2 / 3  # of a text that is cut; its end is sent too
_MARK = 40  # characters of the mark where something was left out
_NUMBER = re.compile(r"In\[(\d+)\](, as saved)?")
_INTRODUCTION = "Cells of my Jupyter notebook:"


@dataclass(frozen=True, slots=True)
class CellOutput:
    """One output of a cell: a text, or an image."""

    text: str = ""
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class NotebookCell:
    """One cell as it was run, or as it was saved."""

    name: str
    """``In[3]``; ``In[3], as saved``, if this kernel did not run it; other words if
    none did; ``Text`` for Markdown."""
    source: str
    language: str = "python"
    outputs: tuple[CellOutput, ...] = ()

    @property
    def number(self) -> int | None:
        """The execution count; None if it was not run."""
        found = _NUMBER.fullmatch(self.name)
        return int(found[1]) if found else None

    @property
    def is_saved(self) -> bool:
        """Whether another kernel ran it."""
        found = _NUMBER.fullmatch(self.name)
        return bool(found and found[2])


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The cells that a prompt asks for, in the order in which they are sent."""

    cells: tuple[NotebookCell, ...]
    note: str = ""
    """What the footer says about their choice."""


class CellsBefore(TypedDict):
    """The cells before a prompt; stored with its turn."""

    length: int
    """The characters of the text that come from them."""
    named: str
    """The cells for the footer: ``cells 3-5 and 2 outputs``."""
    details: str
    """The rest of what the footer says: ``1,200 characters, in part``."""


class PastCells(Protocol):
    """Finds the cells of a notebook."""

    def excerpt(self, session: Session, options: ChatOptions) -> Excerpt:
        """Return the cells that ``--cells`` or ``--above`` names.

        Raises
        ------
        PromptError
            There are none.
        """


def find_cells(session: Session, options: ChatOptions) -> Excerpt:
    """Return the cells that the options name.

    Raises
    ------
    PromptError
        There are none, or this is a script.
    """
    if session.past is None:
        raise PromptError(
            "A script has no cells to send.",
            why="--cells and --above send cells of a notebook",
            next_step="put the code into the prompt",
        )
    return session.past.excerpt(session, options)


@dataclass(frozen=True, slots=True)
class _SentText:
    """One text of a cell as it is sent, under its heading."""

    heading: str
    text: str
    language: str = ""
    image: Image | None = None
    is_output: bool = False
    is_cut: bool = False

    def __str__(self) -> str:
        body = self.text if self.image else fenced(self.text, self.language)
        return f"{self.heading}:\n\n{body}"


def with_cells(
    filled: Filled,
    excerpt: Excerpt,
    *,
    sees_images: bool = True,
    hide: Callable[[str], str] = str,
) -> tuple[Filled, CellsBefore]:
    """Return a prompt with cells before it, and what they are.

    Parameters
    ----------
    filled
        The prompt, as ``compose`` returns it.
    sees_images
        Whether the model takes images. If not, those of outputs are left out.
    hide
        Removes secrets from the texts, before they are cut.
    """
    prompt, names, images = filled
    sources, budget = _sources(excerpt.cells, hide)
    sent = excerpt.cells[len(excerpt.cells) - len(sources) :]
    outputs = _outputs(sent, budget, hide, sees_images=sees_images)
    left_out = len(excerpt.cells) - len(sent)
    parts, blocks, number = [], [_INTRODUCTION], len(images)
    if left_out:
        blocks.append(f"… {counted(left_out, 'earlier cell')} left out")
    for source, following in zip(sources, outputs, strict=True):
        for part in (source, *following):
            if part.image:
                number += 1
                part = replace(part, text=f"[image {number}]")  # noqa: PLW2901
            parts.append(part)
            blocks.append(str(part))
    before = "\n\n".join(blocks) + "\n\n"
    attached = tuple(part.image for part in parts if part.image)
    is_cut = bool(left_out) or any(part.is_cut for part in parts)
    details = f"{counted(len(before), 'character')}{', in part' * is_cut}"
    details += f" ({excerpt.note})" if excerpt.note else ""
    whole = (before + prompt, names, (*images, *attached))
    named = _named(sent, parts)
    return whole, CellsBefore(length=len(before), named=named, details=details)


# -- the budget ------------------------------------------------------------------


def _sources(
    cells: Sequence[NotebookCell], hide: Callable[[str], str]
) -> tuple[list[_SentText], int]:
    """Return the sources of the last cells that fit, and what is left of the budget.

    A quarter of it is kept for outputs, if there are any.
    """
    parts: list[_SentText] = []
    reserved = MAX_CHARACTERS // 4 if any(cell.outputs for cell in cells) else 0
    budget = MAX_CHARACTERS - reserved
    for cell in reversed(cells):
        source = hide(cell.source.strip("\n"))
        if budget < _LEAST and len(source) > budget:
            break
        text = shortened(source, min(MAX_SOURCE, budget))
        is_cut = text is not source
        parts.append(_SentText(cell.name, text, cell.language, is_cut=is_cut))
        budget -= min(len(str(parts[-1])), budget)
    return parts[::-1], budget + reserved


def _outputs(
    cells: Sequence[NotebookCell],
    budget: int,
    hide: Callable[[str], str],
    *,
    sees_images: bool,
) -> list[list[_SentText]]:
    """Return the outputs of each cell; those of the last cells come first to fit."""
    found: list[list[_SentText]] = []
    images_left = MAX_IMAGES if sees_images else 0
    why = "too many images" if sees_images else "you cannot see images"
    for cell in reversed(cells):
        heading, parts = f"Output of {cell.name}", list[_SentText]()
        for count, output in enumerate(reversed(cell.outputs)):
            image, text = output.image, hide(output.text.strip("\n"))
            fits = budget >= _LEAST or (image is None and len(text) <= budget)
            if count == MAX_OUTPUTS or not fits:
                noun = "earlier output" if count else "output"
                rest = counted(len(cell.outputs) - count, noun)
                parts.append(_SentText(heading, f"… {rest} left out", is_cut=True))
                break
            if image is None:
                short = shortened(text, min(MAX_OUTPUT, budget))
                is_cut = short is not text
                part = _SentText(heading, short, is_output=True, is_cut=is_cut)
            elif images_left:
                images_left -= 1
                part = _SentText(heading, "", image=image, is_output=True)
            else:
                text = f"… an image left out: {why}"
                part = _SentText(heading, text, is_cut=True)
            parts.append(part)
            budget -= min(len(str(part)), budget)
        found.append(parts[::-1])
    return found[::-1]


def shortened(text: str, limit: int) -> str:
    r"""Return a text without lines of its middle, which are counted in their place.

    The same text if it is short enough.

    >>> shortened("\n".join(map(str, range(100, 200))), 60)
    '100\n101\n102\n… 95 lines left out\n198\n199'
    """
    if len(text) <= limit:
        return text
    room = max(limit - _MARK, 0)
    lines = text.split("\n")
    head = _fitting(lines, int(room * _HEAD))
    tail = _fitting(lines[:0:-1], room - sum(len(line) + 1 for line in head))[::-1]
    if not (head or tail):
        at = int(room * _HEAD)
        end = text[len(text) - (room - at) :]
        return (
            f"{text[:at]}\n… {counted(len(text) - room, 'character')} left out\n{end}"
        )
    count = len(lines) - len(head) - len(tail)
    return "\n".join([*head, f"… {counted(count, 'line')} left out", *tail])


def _fitting(lines: Iterable[str], room: int) -> list[str]:
    found = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        found.append(line)
    return found


# -- the footer ------------------------------------------------------------------


def _named(cells: Sequence[NotebookCell], parts: Sequence[_SentText]) -> str:
    """Return what is sent: ``cells 3-5, 1 text and 2 outputs``."""
    run, saved = (
        {one.number for one in cells if one.number and one.is_saved is is_saved}
        for is_saved in (False, True)
    )
    texts = sum(cell.language == "markdown" for cell in cells)
    unrun = sum(cell.number is None for cell in cells) - texts
    outputs = sum(part.is_output for part in parts)
    names = [
        _numbered(run),
        f"{_numbered(saved)} as saved" if saved else "",
        counted(texts, "text") if texts else "",
        f"{counted(unrun, 'cell')} not run" if unrun else "",
        counted(outputs, "output") if outputs else "",
    ]
    *others, last = filter(None, names)
    return f"{', '.join(others)} and {last}" if others else last


def _numbered(numbers: Collection[int]) -> str:
    noun = "cells" if len(numbers) > 1 else "cell"
    return f"{noun} {ranges_text(sorted(numbers))}" if numbers else ""


def ranges_text(numbers: Sequence[int]) -> str:
    """Return sorted numbers as ranges.

    >>> ranges_text([3, 4, 5, 8])
    '3-5, 8'
    """
    return ", ".join(
        f"{first}" if first == last else f"{first}-{last}"
        for first, last in _runs(numbers)
    )


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    first: int | None = None
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        first = number if first is None else first
        if following != number + 1:
            yield first, number
            first = None
