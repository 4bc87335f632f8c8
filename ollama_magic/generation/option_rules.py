"""The rules of options: how their values are read, and which can be used together.

The table in ``options`` names one of the functions that read a value for each option:
text in, a typed value or ValueError out, whose message says what the value must be.
``LineReader`` calls ``check_together`` when a line was read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ollama_magic.errors import usage_error

THINK_LEVELS = ("low", "medium", "high", "max")
"""Levels of servers that do not list those of a model (Ollama ``api/types.go``)."""

# The grammar of Go's time.ParseDuration, which reads keep_alive on the server.
_DURATION = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+", re.A)
_LONGEST_S = 2**63 / 1e9  # Go counts nanoseconds in 64 bits
_RANGE = re.compile(r"(\d{1,9})(?:\s*[-\u2013]\s*(\d{1,9}))?", re.A)
_MAX_ALTERNATIVES = 20
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.A)


def is_number(word: str) -> bool:
    """Return whether a word is a number, which may begin with ``-`` and be a value."""
    return _NUMBER.fullmatch(word) is not None


def read_text(text: str) -> str:
    """Return the text; raise if it is empty."""
    if not text.strip():
        raise ValueError("it cannot be empty")
    return text


def read_models(text: str) -> tuple[str, ...]:
    """Return the names of models in a comma-separated text."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError("it must be model names, separated by commas without spaces")
    return names


def read_count(text: str) -> int:
    """Return a whole number, 0 or more."""
    if not re.fullmatch(r"\d+", text, re.A):
        raise ValueError("it must be a whole number, 0 or more")
    return int(text)


def read_alternatives(text: str) -> int:
    """Return how many alternatives each token comes with: 0 to 20."""
    if not re.fullmatch(r"\d{1,2}", text, re.A) or int(text) > _MAX_ALTERNATIVES:
        raise ValueError(
            f"it must be a whole number of alternatives, 0 to {_MAX_ALTERNATIVES}"
        )
    return int(text)


def read_cells(text: str) -> tuple[tuple[int, int], ...]:
    """Return ranges of execution counts, each with its first and last.

    >>> read_cells("3,5-7")
    ((3, 3), (5, 7))
    """
    found = []
    for part in text.removesuffix(",").split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 0 < first <= last:
            raise ValueError("it must be numbers of cells, as in 3-7 or 3,5,7-9")
        found.append((first, last))
    return tuple(found)


def read_keep_alive(text: str) -> str | int | float:
    """Return seconds as a number, or a duration as text.

    Notes
    -----
    Ollama rejects a number that is sent as text, such as ``"10"`` (no unit).
    """
    if is_number(text) and abs(seconds := float(text)) < _LONGEST_S:
        return int(seconds) if seconds.is_integer() else seconds
    if _DURATION.fullmatch(text):
        return text
    raise ValueError(
        "it must be a duration (10m, 1h30m) or seconds; 0 unloads, -1 is for ever"
    )


def read_think(text: str) -> bool | str:
    """Return True or False, or a level, which depends on the model."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if not re.fullmatch(r"[\w.-]+", text):
        raise ValueError("it must be true, false, or a level such as low or high")
    return text


# -- which can be used together ------------------------------------------------------

_CONTRADICTIONS = (
    (
        "once",
        ("chat", "new", "append", "last"),
        "--once neither reads nor changes the chat",
    ),
    (
        "choose",
        (
            *("compare", "chat", "new", "append", "last", "schema", "format", "tools"),
            *("extract", "logprobs", "hide_thinking", "cells", "above"),
        ),
        "--choose makes a decision, which belongs to no chat",
    ),
    ("new", ("last",), "--new sends no earlier turns"),
    ("schema", ("tools",), "a reply with a schema cannot call tools"),
    (
        "compare",
        ("append",),
        "a comparison adds no turn; %ollama keep MODEL does it afterwards",
    ),
    ("above", ("cells",), "--above sends all cells above this one"),
    ("compare", ("tools", "extract"), "compared models answer in a single round"),
)
"""An option, others that can't be used with it, and why."""

_NEEDS = (
    ("yes", {"tools"}, "-T NAME", "-T NAME"),
    ("outputs", {"cells", "above"}, "--cells or --above", "--above"),
)
"""An option, those without which it has no effect, their name and an example."""

_NAMES_CELLS = "%ollama explain"
"""The line whose operands are cells, so that ``--outputs`` needs no other option."""


def check_together(
    fields: Mapping[str, Any], flags: Mapping[str, str], magic: str
) -> None:
    """Raise an error for options that cannot be used together, or need another.

    Parameters
    ----------
    fields
        The values of the options by their fields.
    flags
        The flags that set them, as they were typed.
    magic
        How errors name the line.

    Raises
    ------
    UsageError
        As above.
    """
    models = (fields.get("model"), *fields.get("compare", ()))
    level = next((name for name in models if name in THINK_LEVELS), None)
    if level is not None and fields.get("think") is True:
        raise usage_error(
            f"{level!r} was read as the name of a model.",
            why="a thinking level is written with =",
            next_step=f"{magic} --think={level}",
        )
    number = next((name for name in models if name and name.isdecimal()), None)
    if number is not None and "cells" in fields:
        ranges = [f"{a}" if a == b else f"{a}-{b}" for a, b in fields["cells"]]
        raise usage_error(
            f"{number!r} was read as the name of a model.",
            why="numbers of cells have commas and no blanks between them",
            next_step=f"{magic} --cells {','.join([*ranges, number])}",
        )
    for one, others, why in _CONTRADICTIONS:
        for other in others:
            if fields.get(one) and other in fields and fields[other] != 0:
                raise usage_error(
                    f"{flags[one]} and {flags[other]} cannot be used together.",
                    why=why,
                    next_step=f"remove {flags[one]} or {flags[other]}",
                )
    for one, needed, named, example in _NEEDS:
        names_cells = magic == _NAMES_CELLS and one == "outputs"
        if one in fields and not (needed & fields.keys() or names_cells):
            raise usage_error(
                f"{flags[one]} has no effect without {named}.",
                next_step=f"{magic} {example} {flags[one]}",
            )
