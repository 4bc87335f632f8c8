"""The fenced code blocks of a Markdown text, by a real scan of its lines.

Knows CommonMark's fences (backticks and tildes, any length from three, indented in
lists); knows nothing of rendering. A block that is never closed runs to the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"(?P<indent>[ \t]*(?:>[ \t]?)*)(?P<fence>`{3,}|~{3,})(?P<info>.*)")


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One fenced block: its language as the model wrote it, and its source."""

    language: str
    source: str

    def __str__(self) -> str:
        return self.source


def code_blocks(text: str) -> tuple[CodeBlock, ...]:
    r"""Return the fenced blocks of ``text``, in order.

    Examples
    --------
    >>> code_blocks("Try:\n```python\nprint(1)\n```\nDone.")
    (CodeBlock(language='python', source='print(1)\n'),)
    """
    return tuple(_scan(text.split("\n")))


def _scan(lines: list[str]) -> Iterator[CodeBlock]:
    rest = iter(lines)
    for line in rest:
        opening = _FENCE.fullmatch(line)
        # NB: an info string with a backtick is an inline code span, not a fence.
        if opening and not (opening["fence"][0] == "`" and "`" in opening["info"]):
            words = opening["info"].split()
            body = "".join(_until_closed(rest, opening))
            yield CodeBlock(words[0] if words else "", body)


def _until_closed(rest: Iterator[str], opening: re.Match[str]) -> Iterator[str]:
    mark, least = opening["fence"][0], len(opening["fence"])
    indent = len(opening["indent"])
    for line in rest:
        bare = line.strip(" \t>")
        if len(bare) >= least and not bare.strip(mark):
            return
        removable = len(line) - len(line.lstrip(" \t>"))
        yield line[min(indent, removable) :] + "\n"
