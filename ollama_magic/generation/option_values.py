"""Reads the values of options: text in, a typed value or ValueError out.

The table in ``options`` names one of these functions for each option; the message of
the error says what the value must be.
"""

from __future__ import annotations

import re

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
