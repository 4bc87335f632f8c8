"""Create, open and upgrade the SQLite file of the chats.

``database`` calls this module, and ``identity`` for an export: tables, permissions,
journals and locks are handled here. A new file and an old one take the same migrations,
so each table is described once.

Sources: SQLite's documentation of WAL, of its result codes and of its locks. WAL with
``synchronous=NORMAL`` loses nothing when a process is killed; it needs shared memory,
which network file systems do not have. It also leaves the latest transactions in a
second file (``-wal``), so a file that the user may copy, send or commit by its name
(``is_self_contained``) has the rollback journal: it is whole after each commit.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from sqlite3 import Connection

from ollama_magic.history.untrusted_file import (
    ANOTHER_FILE,
    UnusableFileError,
    check_tables,
    checked_row,
    damage,
    restrict,
)

_APPLICATION_ID = 0x6F6C6D67  # "olmg": marks our files
_BUSY_TIMEOUT_S = 5.0
_MAX_COPIED_BYTES = 256 * 2**20  # into memory, when a file cannot be written

# WAL is accepted on some of these, and breaks when two machines write.
_NETWORK_FILE_SYSTEMS = {"9p", "afs", "ceph", "cifs", "lustre", "ncpfs", "nfs", "nfs4"}
_NETWORK_FILE_SYSTEMS |= {"glusterfs", "smb3", "smbfs", "fuse.sshfs", "virtiofs"}

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG}
_NEXT_STEPS = {
    sqlite3.SQLITE_BUSY: "close the program that holds it, then restart the kernel",
    sqlite3.SQLITE_LOCKED: "close the program that holds it, then restart the kernel",
    sqlite3.SQLITE_FULL: "free disk space, then restart the kernel",
    sqlite3.SQLITE_IOERR: "check the disk, then restart the kernel",
    sqlite3.SQLITE_READONLY: ANOTHER_FILE,
    sqlite3.SQLITE_CANTOPEN: ANOTHER_FILE,
    sqlite3.SQLITE_PERM: ANOTHER_FILE,
    sqlite3.SQLITE_PROTOCOL: ANOTHER_FILE,
    sqlite3.SQLITE_NOLFS: ANOTHER_FILE,
}


_SQL = Path(__file__).with_name("migrations.sql").read_text("utf-8")
_MIGRATIONS = tuple(
    re.sub("^--.*\n", "", part, flags=re.MULTILINE)
    for part in re.split("^-- version .*\n", _SQL, flags=re.MULTILINE)[1:]
)
"""The statements that upgrade each version of the file to the next, from 0 (empty)."""
SCHEMA_VERSION = len(_MIGRATIONS)


_UNREADABLE = (sqlite3.Error, OSError, UnusableFileError)


# -- opening -------------------------------------------------------------------


def open_file(path: Path, *, is_self_contained: bool = False) -> Connection:
    """Open the chat file at ``path``, or create it.

    A new file has mode 0600 and a new folder 0700, whatever the umask; SQLite copies
    the mode to ``-wal`` and ``-shm``.

    Parameters
    ----------
    is_self_contained
        Whether the file must be complete without its ``-wal`` after each commit.

    Raises
    ------
    UnusableFileError
        The file belongs to another program or a newer version; it is unchanged.
    sqlite3.DatabaseError, OSError
        It is damaged, or it cannot be created, read, written or locked.
    """
    _make_private_folder(path.parent)
    _make_private_file(path)
    if path.is_dir():  # SQLite would report a "disk I/O error"
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with closing(_connect_to_read(path)) as database:
        _check_owner(database)  # before any byte of the file may change
    if stat.S_IMODE(path.stat().st_mode) != 0o600:
        path.chmod(0o600)
    database = _connect(path)
    try:
        _choose_journal(
            database, uses_wal=not (is_self_contained or _is_on_network(path))
        )
        _migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def open_memory(source: Connection | Path | None) -> Connection:
    """Open a database in memory, with everything that can be read from ``source``."""
    if isinstance(source, Path):
        with suppress(*_UNREADABLE), closing(_open_to_read(source)) as database:
            return _copy_in_memory(database)
    elif source is not None:
        with suppress(*_UNREADABLE):
            return _copy_in_memory(source)
    return _connect_memory()


def _open_to_read(path: Path) -> Connection:
    # NB: a file in WAL mode cannot be opened in a read-only folder without its -wal,
    # unless it is declared immutable. Without -wal and -journal, no process is writing.
    companions = (path.with_name(f"{path.name}{end}") for end in ("-wal", "-journal"))
    is_idle = not any(companion.exists() for companion in companions)
    return _connect_to_read(path, "&immutable=1" if is_idle else "")


def _connect_to_read(path: Path, options: str = "") -> Connection:
    uri = f"{path.resolve().as_uri()}?mode=ro{options}"
    database = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S)
    restrict(database)
    return database


def _copy_in_memory(database: Connection) -> Connection:
    database.execute("PRAGMA busy_timeout=0")  # the user has waited long enough
    _check_owner(database)
    size = pragma(database, "page_count") * pragma(database, "page_size")
    if size > _MAX_COPIED_BYTES:
        raise sqlite3.DataError("too large for memory")
    return _connect_memory(database)


def _connect_memory(source: Connection | None = None) -> Connection:
    memory = _connect(":memory:")
    try:
        if source is not None:
            source.backup(memory, progress=_do_not_wait)
        _migrate(memory)
    except BaseException:
        memory.close()
        raise
    return memory


def _connect(file: Path | str) -> Connection:
    database = sqlite3.connect(
        file,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,  # ``SafeDatabase`` has a lock
    )
    database.row_factory = checked_row
    restrict(database)
    return database


def _do_not_wait(status: int, _remaining: int, _total: int) -> None:
    # Otherwise ``backup`` waits for as long as the file is locked.
    if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        raise sqlite3.OperationalError("locked")


def _make_private_folder(folder: Path) -> None:
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another kernel was faster
            folder.mkdir(mode=0o700)
            folder.chmod(0o700)  # the umask may have removed bits


def _make_private_file(path: Path) -> None:
    # NB: an existing file is never opened here. Closing it would drop the locks that
    # this process has on it through SQLite (a rule of POSIX).
    with suppress(FileExistsError):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.close(file)
        path.chmod(0o600)  # the umask may have removed bits


def _check_owner(database: Connection) -> None:
    """Raise UnusableFileError if another program or a newer version has the file."""
    if not database.in_transaction:  # all of it is read at once: see ``_migrate``
        database.execute("BEGIN")
        try:
            _check_owner(database)
        finally:
            database.rollback()
        return
    owner, version = (
        pragma(database, "application_id"),
        pragma(database, "user_version"),
    )
    has_tables = database.execute("SELECT 1 FROM sqlite_master").fetchone()
    is_empty = not (owner or version or has_tables)
    has_version = owner == _APPLICATION_ID and (version > 0 or not has_tables)
    if not (is_empty or has_version):
        raise UnusableFileError("it belongs to another program", ANOTHER_FILE)
    if version > SCHEMA_VERSION:
        raise UnusableFileError(
            f"a newer version of ollama_magic created it (schema {version}, "
            f"this version supports up to {SCHEMA_VERSION})",
            "pip install -U ollama-magic, then restart the kernel",
        )
    check_tables(database, _MIGRATIONS[:version])


def _choose_journal(database: Connection, *, uses_wal: bool) -> None:
    """Choose WAL, or the rollback journal with ``synchronous=FULL``."""
    journal = "wal" if uses_wal else "delete"
    try:
        (answer,) = database.execute(f"PRAGMA journal_mode={journal}").fetchone()
    except sqlite3.OperationalError as error:
        # Another kernel has the file open, and uses WAL or is changing the mode. The
        # mode belongs to the file, so it also applies to this connection.
        if _primary_code(error) != sqlite3.SQLITE_BUSY:
            raise
        answer = "unknown"
    level = "NORMAL" if answer == "wal" else "FULL"
    database.execute(f"PRAGMA synchronous={level}")


def checkpoint(database: Connection) -> None:
    """Copy the contents of ``-wal`` to the file, if another kernel uses WAL.

    With the rollback journal this does nothing. What a reader delays is copied at the
    next commit, or when the last kernel closes the file.
    """
    with suppress(sqlite3.Error):  # nothing is lost: the -wal has it
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _migrate(database: Connection) -> None:
    """Create the tables, or upgrade those of an older version."""
    if pragma(database, "user_version") == SCHEMA_VERSION:
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        version = pragma(database, "user_version")
        if version < SCHEMA_VERSION:  # no other kernel was faster
            for statement in ";".join(_MIGRATIONS[version:]).split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id={_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def pragma(database: Connection, name: str) -> int:
    """Return the value of a pragma that is a number."""
    value: int = database.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _is_on_network(path: Path) -> bool:
    """Return whether a file is on a network file system; Linux only."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace")
    except OSError:
        return False
    return file_system(path.resolve(), mounts) in _NETWORK_FILE_SYSTEMS


def file_system(path: Path, mounts: str) -> str:
    r"""Return the type of file system of a path, from a table of mounts.

    Examples
    --------
    >>> table = "disk / ext4 rw 0 0\nhub:/x /home/my\\040files nfs4 rw 0 0\n"
    >>> file_system(Path("/home/my files/a"), table), file_system(Path("/b"), table)
    ('nfs4', 'ext4')
    """
    kinds: dict[Path, str] = {}
    for line in mounts.splitlines():
        _device, mounted_at, kind, *_options = line.split(" ")
        kinds[Path(mounted_at.replace("\\040", " "))] = kind  # the last mount wins
    folders = [folder for folder in (path, *path.parents) if folder in kinds]
    return kinds[folders[0]] if folders else ""


# -- faults --------------------------------------------------------------------


def diagnose(error: Exception) -> UnusableFileError | None:
    """Return what is wrong with the file, or None if the error is a bug of ours."""
    if isinstance(error, UnusableFileError):
        return error
    if isinstance(error, OSError):
        return UnusableFileError(error.strerror or str(error), ANOTHER_FILE)
    if not isinstance(error, sqlite3.DatabaseError):
        return None
    code = _primary_code(error)
    is_text = not str(error).startswith("Could not decode")  # Python gives it no code
    if code in _DAMAGE or not is_text:
        return damage(error)
    if code in _NEXT_STEPS:
        return UnusableFileError(str(error), _NEXT_STEPS[code])
    return None


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
