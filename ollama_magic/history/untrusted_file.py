"""Checks a chat file before it is used: it may be from somebody else, or damaged.

A SQLite file can hold what runs when it is read: views, triggers, expressions. Its
values can have any type and size, which SQLite does not check, nor the JSON in them. A
row that no version of this package wrote is a damaged file: ``database`` puts it aside
and creates a new one. ``sqlite_file``, ``rows`` and ``changes`` call this module.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import fields
from functools import cache
from sqlite3 import Connection
from typing import Any, get_args

from ollama_magic.client.images import Image
from ollama_magic.client.types import Stats
from ollama_magic.errors import quoted
from ollama_magic.history.turns import Origin, Status, Turn

ANOTHER_FILE = 'choose another file: %config OllamaMagics.history_file = "FILE"'
_MAX_VALUE_BYTES = 256 * 2**20
"""More than any turn or image has; SQLite's own limit is a gigabyte."""
_SCHEMA = """
SELECT type, lower(name), lower(tbl_name), sql FROM sqlite_master WHERE sql IS NOT NULL
"""


class UnusableFileError(Exception):
    """A chat file cannot be used; nothing of it was changed.

    Parameters
    ----------
    why, next_step
        Text for the user.
    is_damage
        Whether the file is damaged, so that a new one can take its place.
    """

    def __init__(self, why: str, next_step: str, *, is_damage: bool = False) -> None:
        super().__init__(why)
        self.why, self.next_step, self.is_damage = why, next_step, is_damage


def damage(why: object) -> UnusableFileError:
    """Return the error for content that no version of this package wrote."""
    text = f"it is damaged ({why})"
    return UnusableFileError(text, "restart the kernel", is_damage=True)


def restrict(database: Connection) -> None:
    """Limit what the contents of a file can do, for one connection."""
    database.execute("PRAGMA trusted_schema=OFF")
    database.execute("PRAGMA cell_size_check=ON")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)


def checked_row(cursor: sqlite3.Cursor, values: tuple[object, ...]) -> sqlite3.Row:
    """Return a row of which no text is bytes; for ``row_factory``."""
    # SQLite stores bytes in any column; only images are bytes.
    if bytes in map(type, values) and cursor.description[0][0] != "data":
        raise damage("a text is bytes")
    return sqlite3.Row(cursor, values)


def check_tables(database: Connection, migrations: tuple[str, ...]) -> None:
    """Raise UnusableFileError if something in a file would run with our statements.

    Triggers, views and expressions do, also in indexes and defaults. So what belongs to
    our tables must be exactly what the migrations create. Other tables are not used.
    """
    ours = _tables_of(migrations)
    names = {name for _, name, *_ in ours}
    for one in _tables_in(database):
        kind, name, table, *_ = one
        runs = kind in {"trigger", "view"} or name in names or table in names
        if runs and one not in ours:
            why = f"its {kind} {name} is not from ollama_magic"
            raise UnusableFileError(quoted(why, limit=120), ANOTHER_FILE)
        ours -= {one}
    if ours:
        raise damage("a table is missing")


@cache
def _tables_of(migrations: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.executescript(";".join(migrations))
        return frozenset(_tables_in(memory))


def _tables_in(database: Connection) -> Iterator[tuple[str, ...]]:
    """Yield type, name, table and definition of everything in a schema.

    The order of columns is not compared: a migration adds them at the end.
    """
    for kind, name, table, sql in database.execute(_SCHEMA):
        head, _, rest = "".join(sql.split()).partition("(")
        columns = sorted(rest.removesuffix(")").split(","))
        yield kind, name, table, head, *columns


# -- turns ---------------------------------------------------------------------

# NB: the column of `images` is called `pictures`, as in files of earlier versions.
TURN_COLUMNS = tuple(field.name for field in fields(Turn) if field.name != "images")
_STATS = frozenset(field.name for field in fields(Stats))
_INVALID = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


def as_turns(database: Connection, found: Iterable[sqlite3.Row]) -> list[Turn]:
    """Return the turns of rows, with their images; equal images are one object.

    Raises
    ------
    UnusableFileError
        A row is not a turn.
    """

    @cache
    def image(digest: str) -> Image | None:
        find = "SELECT data FROM pictures WHERE digest = ?"
        row = database.execute(find, (digest,)).fetchone()
        return Image(bytes(memoryview(row[0]))) if row else None

    turns = []
    for row in list(map(dict, found)):
        try:
            values = _values(row)
            digests = json.loads(row["pictures"]) if row["pictures"] else ()
            images = tuple(one for one in map(image, digests) if one is not None)
            turns.append(Turn(**values, images=images))
        except _INVALID as error:
            raise damage("a turn is invalid") from error
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
