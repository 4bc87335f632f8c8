"""A database that always works: in its file, or in memory if the file fails.

``store`` is one. All its work are functions that take a connection: after a failure the
same work is done again with another connection. The user is warned once.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Concatenate, ParamSpec, TypeVar

from ollama_magic.history.sqlite_file import (
    checkpoint,
    diagnose,
    open_file,
    open_memory,
    pragma,
)
from ollama_magic.history.untrusted_file import ANOTHER_FILE, UnusableFileError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class SafeDatabase:
    """A SQLite file that is opened or created at first use.

    If the file cannot be used (locked, disk full, read-only, from a newer version),
    work continues in memory until it is closed. A damaged file is renamed, and a new
    one is created.

    Parameters
    ----------
    path
        The file. None keeps everything in memory.
    is_self_contained
        Whether the file must be complete after each commit; see ``open_file``.
    warn
        Called once for each failure, with two lines: what happened and why, then what
        to do.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        is_self_contained: bool = False,
        warn: Callable[[str], None],
    ) -> None:
        self._path = path
        self._is_single = is_self_contained
        self._warn = warn
        self._connection: Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._is_in_memory = False
        self._has_replaced_file = False
        self._lock = threading.RLock()  # a cell may run in a thread of its own

    @property
    def path(self) -> Path | None:
        """The file; None while everything is in memory."""
        return None if self._is_in_memory else self._path

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, or in memory."""
        return self.query(pragma, "page_count") * self.query(pragma, "page_size")

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _restore(self, database: Connection) -> None:
        """Write what is in memory to a database that may lack it."""
        raise NotImplementedError

    def _on_open(self) -> None:
        """Forget what is in memory: the file may be another one than before."""
        raise NotImplementedError

    def query(
        self,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **options: _P.kwargs,
    ) -> _T:
        """Call ``work``; if the file fails, recover and call it again."""
        with self._lock:
            while True:
                try:
                    return work(self._open(), *args, **options)
                except Exception as error:
                    fault = None if self._is_in_memory else diagnose(error)
                    if fault is None:
                        raise
                    self._recover(fault)

    def commit(
        self,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **options: _P.kwargs,
    ) -> _T:
        """Call ``work`` in one transaction, and recover in the same way."""

        def transaction(database: Connection) -> _T:
            result = _transaction(database, lambda: work(database, *args, **options))
            if self._is_single and not self._is_in_memory:
                checkpoint(database)
            return result

        return self.query(transaction)

    def shrink(self) -> None:
        """Free the space of deleted rows, and erase their contents.

        This fails while another kernel reads, or without room for a copy. The space is
        then reused by later rows.
        """

        def work(database: Connection) -> None:
            with suppress(sqlite3.OperationalError):
                database.execute("VACUUM")
            checkpoint(database)

        self.query(work)

    def _open(self) -> Connection:
        if self._connection is not None and not self._is_in_memory:
            assert self._path is not None
            if _file_identity(self._path) != self._identity:
                # The file was deleted or replaced: anything written to the open one
                # would be lost with this process.
                self.close()
        if self._connection is None:
            self._connection = self._open_new_connection()
        return self._connection

    def _open_new_connection(self) -> Connection:
        if self._path is None:
            self._is_in_memory = True
            self._warn(
                "Chats are not saved: there is no home directory for their file.\n"
                f"They stay in memory until the kernel ends; next: {ANOTHER_FILE}"
            )
            return open_memory(None)
        connection = self._open_file(self._path)
        self._on_open()
        return connection

    def _open_file(self, path: Path) -> Connection:
        connection = open_file(path, is_self_contained=self._is_single)
        self._identity = _file_identity(path)
        return connection

    def _recover(self, fault: UnusableFileError) -> None:
        """Replace a file that cannot be used."""
        if fault.is_damage and not self._has_replaced_file:
            self._has_replaced_file = True
            with suppress(OSError, sqlite3.Error, UnusableFileError):
                self._start_new_file(fault)
                return
        self._continue_in_memory(fault)

    def _start_new_file(self, fault: UnusableFileError) -> None:
        assert self._path is not None
        self.close()
        renamed = _rename_damaged_file(self._path)
        self._connection = connection = self._open_file(self._path)
        _transaction(connection, lambda: self._restore(connection))
        self._warn(
            f"The file of the chats cannot be used: {fault.why}.\n"
            f"It was renamed to {renamed}, and a new one was created; "
            "`sqlite3 FILE .recover` may rescue its content"
        )

    def _continue_in_memory(self, fault: UnusableFileError) -> None:
        assert self._path is not None
        known = self._connection or self._path
        memory = open_memory(None if fault.is_damage else known)
        self.close()
        self._connection, self._is_in_memory = memory, True
        _transaction(memory, lambda: self._restore(memory))
        self._warn(
            f"Chats are not saved in {self._path}: {fault.why}.\n"
            f"They stay in memory until the kernel ends; next: {fault.next_step}"
        )


def _transaction(database: Connection, work: Callable[[], _T]) -> _T:
    try:  # including BEGIN: an interrupt may come right after it
        database.execute("BEGIN IMMEDIATE")
        result = work()
        database.execute("COMMIT")
    except BaseException:
        # NB: on a full disk SQLite may have rolled back already.
        if database.in_transaction:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
        raise
    return result


def _file_identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode, which identify a file; None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _rename_damaged_file(path: Path) -> Path:
    """Rename a damaged file and its journals, and return the new name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    renamed = path.with_name(f"{path.name}.corrupt-{stamp}")
    path.rename(renamed)
    for companion in ("-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + companion).rename(f"{renamed}{companion}")
    return renamed
