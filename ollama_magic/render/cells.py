"""The cells of a row of a table: pipes in code and in math do not end a cell."""

from __future__ import annotations

import re
from itertools import pairwise

from ollama_magic.render.math import INLINE_MATH, is_money

PIPE = "\x1f"
"""A pipe in math; never in a text: ``visible_text`` replaces control characters."""
_MATH = re.compile(INLINE_MATH)
_BARE_PIPE = re.compile(r"(?<!\\)\|")
CODE = re.compile(r"(?<!`)(`+)(?!`)(?:.*?[^`])\1(?!`)", re.DOTALL)
_SEPARATOR = re.compile(rf"{CODE.pattern}|\\.|(?P<pipe>\|)", re.DOTALL)


def count_cells(row: str, columns: int) -> int:
    """Return how many cells a row has in a table with so many columns."""
    return len(_edges(_without_math_pipes(row, columns))) - 1


def cells_of(row: str, columns: int) -> list[str]:
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
    return math[0] if is_money(math) else _BARE_PIPE.sub(PIPE, math[0])
