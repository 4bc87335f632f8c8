"""What the docstring of a function says of it and of each of its parameters.

Knows the three ways that people write: numpy's, Google's and that of Sphinx
(``:param x:``). Refuses to know functions and signatures: it reads text.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_GOOGLE = re.compile(
    r"(?:args|arguments|params|parameters|keyword arg(?:ument)?s|other parameters):",
    re.I,
)
_GOOGLE_ITEM = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*))?")
_SPHINX = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+([^:]+):(.*)")
_OF_PARAMETERS = {"parameters", "other parameters", "keyword arguments"}
_NUMPY_ITEM = re.compile(r"[*\w]+(?:\s*,\s*[*\w]+)*(?=\s*(?::|$))")


@dataclass(frozen=True, slots=True)
class Docstring:
    """What a docstring says, each text on one line."""

    summary: str = ""
    """Its first paragraph."""
    parameters: dict[str, str] = field(default_factory=dict)
    """What it says of each parameter; those it does not name are not in it."""


def read_docstring(text: str) -> Docstring:
    r"""Return the first paragraph, and what is said of each parameter.

    Examples
    --------
    >>> read_docstring("Get the weather.\n\n:param city: its name").parameters
    {'city': 'its name'}
    """
    lines = inspect.cleandoc(text).splitlines()
    found: dict[str, list[str]] = {}
    for name, words in (*_sphinx(lines), *_google(lines), *_numpy(lines)):
        found.setdefault(name.lstrip("*"), []).append(words.strip())
    parameters = {name: " ".join(filter(None, found[name])) for name in found}
    return Docstring(_summary(lines), {k: v for k, v in parameters.items() if v})


def _summary(lines: list[str]) -> str:
    first = []
    for index, line in enumerate(lines):
        begins_section = _GOOGLE.fullmatch(line.strip()) or _is_underlined(lines, index)
        if not line.strip() or line.startswith(":") or begins_section:
            break
        first.append(line)
    return " ".join(" ".join(first).split())


def _is_underlined(lines: list[str], index: int) -> bool:
    below = lines[index + 1].strip() if index + 1 < len(lines) else ""
    return len(below) > 2 and not below.strip("-")


def _is_indented(line: str) -> bool:
    return not line.strip() or line[0].isspace()


def _sphinx(lines: list[str]) -> Iterator[tuple[str, str]]:
    name = ""
    for line in lines:
        match = _SPHINX.match(line)
        if match:
            name = match[1].split()[-1]
            yield name, match[2]
        elif not _is_indented(line) or not line.strip():
            name = ""
        elif name:
            yield name, line


def _google(lines: list[str]) -> Iterator[tuple[str, str]]:
    is_inside, depth, name = False, 0, ""
    for line in lines:
        if not _is_indented(line):
            is_inside, depth, name = bool(_GOOGLE.fullmatch(line.strip())), 0, ""
            continue
        if not is_inside or not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        depth = depth or indent
        match = _GOOGLE_ITEM.fullmatch(line.strip()) if indent == depth else None
        if match:
            name = match[1]
            yield name, match[2] or ""
        elif name and indent > depth:
            yield name, line


def _numpy(lines: list[str]) -> Iterator[tuple[str, str]]:
    is_inside = False
    names: list[str] = []
    for index, line in enumerate(lines):
        if _is_underlined(lines, index):
            is_inside, names = line.strip().lower() in _OF_PARAMETERS, []
        elif is_inside and not _is_indented(line):
            match = _NUMPY_ITEM.match(line)
            names = [one.strip() for one in match[0].split(",")] if match else []
        elif is_inside:
            for name in names:
                yield name, line
