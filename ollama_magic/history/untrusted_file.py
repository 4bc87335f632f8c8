"""Checks a chat file before it is used: it may be from somebody else, or damaged.

A SQLite file can hold what runs when it is read: views, triggers, expressions. Its
values can have any type and size. ``sqlite_file`` calls this module, and
``stored_turns`` checks the turns themselves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache

from ollama_magic.errors import quoted

ANOTHER_FILE = 'choose another file: %config OllamaMagics.history_file = "FILE"'
_MAX_VALUE_BYTES = 256 * 2**20
"""More than any turn or image has; SQLite's own limit is a gigabyte."""
_SCHEMA = """
SELECT type, lower(name), lower(tbl_name), sql FROM sqlite_master WHERE sql IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a chat file cannot be used, as text for the user."""

    why: str
    next_step: str
    is_damage: bool = False
    """Whether the file is damaged, so that a new one can take its place."""


class UnusableFileError(Exception):
    """The file can be read, but must not be written."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.why)
        self.fault = fault


def invalid_content(why: str) -> UnusableFileError:
    """Return the error for content that no version of this package wrote."""
    fault = Fault(f"it is damaged ({why})", "restart the kernel", is_damage=True)
    return UnusableFileError(fault)


def restrict(database: sqlite3.Connection) -> None:
    """Limit what the contents of a file can do, for one connection."""
    database.execute("PRAGMA trusted_schema=OFF")
    database.execute("PRAGMA cell_size_check=ON")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)


def checked_row(cursor: sqlite3.Cursor, values: tuple[object, ...]) -> sqlite3.Row:
    """Return a row of which no text is bytes; for ``row_factory``."""
    # SQLite stores bytes in any column; only images are bytes.
    if bytes in map(type, values) and cursor.description[0][0] != "data":
        raise invalid_content("a text is bytes")
    return sqlite3.Row(cursor, values)


def check_tables(database: sqlite3.Connection, migrations: tuple[str, ...]) -> None:
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
            raise UnusableFileError(Fault(quoted(why, limit=120), ANOTHER_FILE))
        ours -= {one}
    if ours:
        raise invalid_content("a table is missing")


@cache
def _tables_of(migrations: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.executescript(";".join(migrations))
        return frozenset(_tables_in(memory))


def _tables_in(database: sqlite3.Connection) -> Iterator[tuple[str, ...]]:
    """Yield type, name, table and definition of everything in a schema.

    The order of columns is not compared: a migration adds them at the end.
    """
    for kind, name, table, sql in database.execute(_SCHEMA):
        head, _, rest = "".join(sql.split()).partition("(")
        columns = sorted(rest.removesuffix(")").split(","))
        yield kind, name, table, head, *columns
