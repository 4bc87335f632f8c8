"""Turns from rows of the store. The file may be from somebody else, or damaged.

SQLite checks neither the types of values nor the JSON in them. A row that no version of
this package wrote is a damaged file: ``database`` puts it aside and creates a new one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from typing import Any, get_args

from ollama_magic.client.images import Image
from ollama_magic.client.types import Stats
from ollama_magic.history.turns import Origin, Status, Turn
from ollama_magic.history.untrusted_file import invalid_content

# NB: the column of `images` is called `pictures`, as in files of earlier versions.
TURN_COLUMNS = tuple(field.name for field in fields(Turn) if field.name != "images")
_STATS = frozenset(field.name for field in fields(Stats))
_INVALID = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


def as_turns(database: sqlite3.Connection, found: Iterable[sqlite3.Row]) -> list[Turn]:
    """Return the turns of rows, with their images; equal images are one object.

    Raises
    ------
    UnusableFileError
        A row is not a turn.
    """

    @cache
    def image(digest: str) -> Image | None:
        row = database.execute(
            "SELECT data FROM pictures WHERE digest = ?", (digest,)
        ).fetchone()
        return Image(bytes(memoryview(row[0]))) if row else None

    turns = []
    for row in list(map(dict, found)):
        try:
            values = _values(row)
            digests = json.loads(row["pictures"]) if row["pictures"] else ()
            images = tuple(one for one in map(image, digests) if one is not None)
            turns.append(Turn(**values, images=images))
        except _INVALID as error:
            raise invalid_content("a turn is invalid") from error
    return turns


def _values(row: dict[str, Any]) -> dict[str, Any]:
    values = {name: row[name] for name in TURN_COLUMNS}
    stats = json.loads(row["stats"])
    values |= {
        # Ignore counts of newer versions.
        "stats": Stats(**{k: _number(v) for k, v in stats.items() if k in _STATS}),
        "request": _request(json.loads(row["request"])),
        "steps": tuple(_steps(row["steps"])),
        "starts_afresh": bool(row["starts_afresh"]),
        "origin": _origin(row["origin"]),
    }
    if values["status"] not in get_args(Status):
        raise ValueError(values["status"])
    return values


def _origin(kept: str | None) -> Origin:
    """Return the origin of a row; ``here`` for rows of older versions."""
    if kept is None:
        return "here"
    return next((known for known in get_args(Origin) if kept == known), "file")


def _number(value: object) -> Any:  # noqa: ANN401  (as Stats has it)
    if not isinstance(value, int | float):
        raise TypeError(value)
    return value


def _request(value: Any) -> dict[str, Any]:  # noqa: ANN401  (any JSON)
    request: dict[str, Any] = {**value}
    for name, kind in (("options", dict), ("cells", dict), ("typed", str)):
        if not isinstance(request.get(name, kind()), kind):
            raise TypeError(name)
    if cells := request.get("cells"):
        _number(cells["length"])
        str.strip(cells["named"])
    return request


def _steps(stored: str | None) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = json.loads(stored) if stored else []
    for step in steps:
        str.strip(step["role"]), str.strip(step["content"])
        for call in step.get("tool_calls") or ():
            str.strip(call["function"]["name"])
            dict.keys(call["function"]["arguments"])
    return steps
