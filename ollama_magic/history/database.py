"""A database that always works: in its file, or in memory when the file fails.

Knows what to do about a fault, and that the user is told once. Refuses to know what
is kept: what a session must not lose is put back by a callable.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ollama_magic.history.sqlite_file import (
    NAME_ANOTHER,
    Fault,
    UnusableFileError,
    diagnose,
    identity,
    make_whole,
    open_file,
    open_memory,
    set_aside,
)

_T = TypeVar("_T")
Work = Callable[[sqlite3.Connection], _T]


class SafeDatabase:
    """A SQLite file that is opened or made at first use.

    When it cannot be used any more (locked, full, read-only, made by a newer version),
    all goes on in memory until it is closed; a damaged file is set aside and a new one
    begun.

    Parameters
    ----------
    path
        The file. None keeps everything in memory.
    is_self_contained
        Whether the file must be whole by itself after each commit; see ``file``.
    warn
        Called with a text of two lines, once for each thing that went wrong: what
        happened and why, then what to do.
    put_back
        Writes what the session knows into a database that may lack it.
    forget
        Called when a file was opened: what was read before may be of another one.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        is_self_contained: bool = False,
        warn: Callable[[str], None],
        put_back: Work[None],
        forget: Callable[[], None],
    ) -> None:
        self._path = path
        self._is_single = is_self_contained
        self._warn = warn
        self._put_back = put_back
        self._forget = forget
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._is_in_memory = False
        self._has_set_aside = False
        self._lock = threading.RLock()  # a cell may ask in a thread of its own

    @property
    def path(self) -> Path | None:
        """The file; None while everything is in memory."""
        return None if self._is_in_memory else self._path

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, or in memory."""

        def count(database: sqlite3.Connection) -> int:
            (pages,) = database.execute("PRAGMA page_count").fetchone()
            (page,) = database.execute("PRAGMA page_size").fetchone()
            return int(pages * page)

        return self.run(count)

    def close(self) -> None:
        """Close the file; harmless a second time."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, work: Work[_T]) -> _T:
        """Do some work; when the file fails, recover and do it on what is left."""
        with self._lock:
            while True:
                try:
                    return work(self._open())
                except Exception as error:
                    fault = None if self._is_in_memory else diagnose(error)
                    if fault is None:
                        raise
                    self._recover(fault)

    def run_and_commit(self, work: Work[_T]) -> _T:
        """Do some work in one transaction, likewise."""

        def commit(database: sqlite3.Connection) -> _T:
            result = _transaction(database, work)
            if self._is_single and not self._is_in_memory:
                make_whole(database)
            return result

        return self.run(commit)

    def shrink(self) -> None:
        """Give the space of deleted rows back, and leave no trace of what they were.

        Not done while another kernel reads, or where there is no room for a copy; then
        the space is used again by what is written next.
        """

        def work(database: sqlite3.Connection) -> None:
            with suppress(sqlite3.OperationalError):
                database.execute("VACUUM")
            make_whole(database)

        self.run(work)

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and not self._is_in_memory:
            assert self._path is not None
            if identity(self._path) != self._identity:
                # The file was deleted, or another one put in its place: what is
                # written to it from now on would be lost with this process.
                self.close()
        if self._connection is None:
            self._connection = self._open_anew()
        return self._connection

    def _open_anew(self) -> sqlite3.Connection:
        if self._path is None:
            self._is_in_memory = True
            self._warn(
                "Chats are not saved: there is no home directory for their file.\n"
                f"They go on in memory until the kernel ends; next: {NAME_ANOTHER}"
            )
            return open_memory(None)
        connection = self._open_file(self._path)
        self._identity = identity(self._path)
        self._forget()
        return connection

    def _open_file(self, path: Path) -> sqlite3.Connection:
        return open_file(path, is_self_contained=self._is_single)

    def _recover(self, fault: Fault) -> None:
        """Put something that works in the place of a file that does not."""
        if fault.is_damage and not self._has_set_aside:
            self._has_set_aside = True
            with suppress(OSError, sqlite3.Error, UnusableFileError):
                self._begin_anew(fault)
                return
        self._go_on_in_memory(fault)

    def _begin_anew(self, fault: Fault) -> None:
        assert self._path is not None
        self.close()
        aside = set_aside(self._path)
        self._connection = self._open_file(self._path)
        self._identity = identity(self._path)
        _transaction(self._connection, self._put_back)
        self._warn(
            f"The file of chats was set aside: {fault.why}. A new one is begun.\n"
            f"The old one is {aside}; `sqlite3 FILE .recover` may save what is in it"
        )

    def _go_on_in_memory(self, fault: Fault) -> None:
        assert self._path is not None
        known = self._connection or self._path
        memory = open_memory(None if fault.is_damage else known)
        self.close()
        self._connection, self._is_in_memory = memory, True
        _transaction(memory, self._put_back)
        self._warn(
            f"Chats are not saved in {self._path}: {fault.why}.\n"
            f"They go on in memory until the kernel ends; next: {fault.next_step}"
        )


def _transaction(database: sqlite3.Connection, work: Work[_T]) -> _T:
    try:  # also around the beginning: an interrupt may come right after it
        database.execute("BEGIN IMMEDIATE")
        result = work(database)
        database.execute("COMMIT")
    except BaseException:
        # NB: on a full disk SQLite may have rolled back by itself.
        if database.in_transaction:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
        raise
    return result
