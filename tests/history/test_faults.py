"""Whatever happens to the chat file, cells keep running and nothing is deleted."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ollama_magic.history import sqlite_file
from ollama_magic.history.store import ChatStore
from ollama_magic.history.turns import Turn

pytestmark = pytest.mark.slow

NB = "notebook"
KILLS = int(os.environ.get("KILLS", "30"))
"""How often a process is killed; set KILLS to some hundreds for a long run."""

PREAMBLE = """
import json, os, sys
from pathlib import Path
from ollama_magic.history.turns import Turn
from ollama_magic.history.store import ChatStore
# before setuid:
import ollama_magic.history.sqlite_file, platformdirs, sqlite3, urllib.parse
path = Path(sys.argv[1])
warnings = []
store = ChatStore(path, warn=warnings.append)
def turn(prompt, **more):
    return Turn(prompt=prompt, reply="r" * 2000, model="m", **more)
def prompts():
    return [t.prompt for t in store.load("notebook").turns]
def report(**more):
    print(json.dumps({"prompts": prompts(), "warnings": warnings, **more}))
"""


def start(code, path):
    """Run code in another process, with a store for ``path``."""
    script = PREAMBLE + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(code, path):
    """Run code in another process to its end, and return what it reported."""
    process = start(code, path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def turn(prompt, **more):
    return Turn(prompt=prompt, reply="r", model="m", **more)


class Store(ChatStore):
    """A store that records its warnings."""

    def __init__(self, path):
        self.warnings = []
        super().__init__(path, warn=self.warnings.append)

    def prompts(self):
        return [t.prompt for t in self.load(NB).turns]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chats.sqlite"


@pytest.fixture
def store(path):
    store = Store(path)
    yield store
    store.close()


def fill(path, *names):
    with closing(Store(path)) as store:
        for name in names:
            store.record(NB, "main", turn(name))
        assert store.warnings == []


def in_file(path):
    with closing(Store(path)) as store:
        found = store.prompts()
        assert store.warnings == []
    return found


# -- processes -----------------------------------------------------------------


def test_kill_9_loses_no_committed_turn(path):
    """At most the turn in progress is lost, and the file is never damaged."""
    code = """
    for number in range(100_000):
        store.record("notebook", "main", turn(sys.stdin.readline().strip()))
        print(number, flush=True)
    """
    chance, acknowledged = random.Random(7), []
    for life in range(KILLS):
        process = start(code, path)
        turns = chance.randrange(1, 12)
        for number in range(turns):
            process.stdin.write(f"{life}.{number}\n")
            process.stdin.flush()
            process.stdout.readline()
            acknowledged.append(f"{life}.{number}")
        # Up to two more turns are in progress when the process dies.
        process.stdin.write(f"{life}.x\n{life}.y\n")
        process.stdin.flush()
        for _ in range(chance.randrange(200_000)):
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept = in_file(path)
    assert [name for name in kept if name[-1] not in "xy"] == acknowledged


def test_four_kernels_on_one_chat_lose_no_turn(path):
    code = """
    sys.stdin.readline()
    for number in range(50):
        store.record("notebook", "main", turn(f"{sys.argv[0]}{os.getpid()} {number}"))
    report()
    """
    processes = [start(code, path) for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    reports = [json.loads(p.communicate(timeout=120)[0]) for p in processes]
    assert [r["warnings"] for r in reports] == [[]] * 4
    kept = in_file(path)
    assert len(kept) == len(set(kept)) == 200


def test_a_file_that_another_kernel_creates_at_this_moment_is_ours(path, monkeypatch):
    read, others = sqlite_file.pragma, []

    def read_slowly(database, name):
        found = read(database, name)
        if name == "user_version" and not others:
            others.append(sqlite_file._connect(path))
            others[0].execute("PRAGMA busy_timeout=0")
            with suppress(sqlite3.OperationalError):  # it has to wait
                sqlite_file._migrate(others[0])
        return found

    monkeypatch.setattr(sqlite_file, "pragma", read_slowly)
    with closing(Store(path)) as store:
        store.record(NB, "main", turn("kept"))
        assert store.warnings == []
    others[0].close()
    assert in_file(path) == ["kept"]


# -- a file that cannot be written -----------------------------------------------


def test_chats_continue_in_memory_when_the_disk_is_full(path):
    fill(path, "before")
    report = run(
        """
        import resource
        store.record("notebook", "main", turn("fits"))
        size = path.with_name(path.name + "-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5000, size + 5000))
        for number in range(9):
            store.record("notebook", "main", turn(f"turn {number}"))
        report(path=str(store.path))
        """,
        path,
    )
    expected = ["before", "fits", *(f"turn {number}" for number in range(9))]
    assert report["prompts"] == expected
    assert report["path"] == "None"
    assert len(report["warnings"]) == 1
    kept = in_file(path)
    assert kept == expected[: len(kept)], "a turn from after the failure was stored"
    assert len(kept) < len(expected)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
def test_chats_in_a_read_only_folder_can_be_read():
    # NB: not tmp_path, which the user nobody cannot enter.
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "chats.sqlite"
        fill(path, "before")
        path.chmod(0o644)
        folder.chmod(0o555)
        report = run(
            """
            if os.geteuid() == 0:  # root may write anywhere
                os.setuid(65534)
            store.record("notebook", "main", turn("after"))
            store.choose_model("notebook", "m")
            report(path=str(store.path))
            """,
            path,
        )
        assert report["prompts"] == ["before", "after"]
        assert report["path"] == "None"
        assert len(report["warnings"]) == 1
        path.chmod(0o600)
        folder.chmod(0o700)
        assert in_file(path) == ["before"]
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["file/chats.sqlite", "folder"])
def test_chats_continue_in_memory_where_no_file_can_be_created(tmp_path, place):
    (tmp_path / "file").write_text("a file, no folder")
    (tmp_path / "folder").mkdir()
    store = Store(tmp_path / place)
    store.record(NB, "main", turn("a"))
    store.set_current_chat(NB, "side")
    assert store.prompts() == ["a"]
    assert store.current_chat(NB) == "side"
    (warning,) = store.warnings
    assert str(tmp_path / place) in warning
    assert "%config OllamaMagics.history_file" in warning


@pytest.fixture
def lock(path):
    """Return a function that lets another process lock the file."""
    processes = []

    def take(how):
        code = f"""
        database = sqlite3.connect(path, isolation_level=None)
        {how}
        print("locked", flush=True)
        sys.stdin.readline()
        """
        processes.append(start(code, path))
        assert processes[-1].stdout.readline() == "locked\n"

    yield take
    for process in processes:
        process.communicate("done\n")


LOCKS = [
    'database.execute("BEGIN IMMEDIATE")',
    'database.execute("PRAGMA locking_mode=EXCLUSIVE"); '
    'database.execute("PRAGMA journal_mode=DELETE"); '
    'database.execute("BEGIN EXCLUSIVE")',
]


@pytest.fixture
def impatient(monkeypatch):
    """Wait only a moment for locks, instead of five seconds."""
    monkeypatch.setattr("ollama_magic.history.sqlite_file._BUSY_TIMEOUT_S", 0.05)


def test_chats_continue_in_memory_when_the_file_stays_locked(
    store, path, lock, impatient
):
    fill(path, "before")
    lock(LOCKS[0])
    store.record(NB, "main", turn("after"))
    assert store.prompts() == ["before", "after"]
    assert store.path is None
    store.record(NB, "main", turn("and on"))
    (warning,) = store.warnings
    assert warning == (
        f"Chats are not saved in {path}: database is locked.\n"
        "They stay in memory until the kernel ends; "
        "next: close the program that holds it, then restart the kernel"
    )


def test_an_unreadable_file_does_not_stop_cells(store, path, lock, impatient):
    fill(path, "before")
    lock(LOCKS[1])
    store.record(NB, "main", turn("after"))
    assert "after" in store.prompts()
    assert len(store.warnings) == 1


def test_chats_in_memory_survive_a_lock(path, lock, impatient):
    with closing(Store(path)) as store:
        store.record(NB, "main", turn("a", cell_id="1"))
        store.record(NB, "side", turn("b", cell_id="2"))
        store.choose_model(NB, "chosen")
        lock(LOCKS[0])
        store.record(NB, "main", turn("c", cell_id="1"))
        assert store.prompts() == ["c"]
        assert [t.prompt for t in store.load(NB, "side").turns] == ["b"]
        assert store.chosen_model(NB) == "chosen"


def test_nothing_is_written_to_the_file_after_a_failure(store, path, impatient):
    fill(path, "before")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.record(NB, "main", turn("in memory"))
        other.execute("ROLLBACK")
    store.record(NB, "main", turn("in memory too"))
    assert store.prompts() == ["before", "in memory", "in memory too"]
    assert in_file(path) == ["before"]


def test_chats_in_memory_survive_if_the_file_is_too_large_to_copy(
    path, lock, monkeypatch
):
    monkeypatch.setattr("ollama_magic.history.sqlite_file._BUSY_TIMEOUT_S", 0.05)
    monkeypatch.setattr("ollama_magic.history.sqlite_file._MAX_COPIED_BYTES", 1)
    with closing(Store(path)) as store:
        store.record(NB, "main", turn("known"))
        fill(path, "seen")
        assert store.prompts() == ["known", "seen"]
        lock(LOCKS[0])
        store.record(NB, "main", turn("after"))
        assert store.prompts() == ["known", "seen", "after"]


# -- a file that is damaged, or not ours -----------------------------------------


def damage_header(path):
    data = bytearray(path.read_bytes())
    data[:16] = b"not a database!!"
    path.write_bytes(data)


def damage_by_text(path):
    path.write_text("these are my notes, and no chats\n" * 100)


def damage_by_truncation(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def damage_pages(path):
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


DAMAGES = [damage_header, damage_by_text, damage_by_truncation, damage_pages]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_renamed_and_a_new_one_created(store, path, damage):
    fill(path, *(f"turn {number}" for number in range(30)))
    damage(path)
    damaged = path.read_bytes()
    store.record(NB, "main", turn("new"))
    assert store.prompts() == ["new"]
    (aside,) = path.parent.glob("chats.sqlite.corrupt-*Z")
    assert aside.read_bytes() == damaged
    (warning,) = store.warnings
    assert str(aside) in warning
    assert store.path == path
    store.close()
    assert in_file(path) == ["new"]


def test_chats_in_memory_are_written_to_the_new_file_after_damage(store, path):
    for name in "abc":
        store.record(NB, "main", turn(name, cell_id=name))
    store.choose_model(NB, "chosen")
    kept = store.load(NB)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    with path.open("r+b") as file:  # the same inode, so that the store keeps it open
        file.seek(4096)
        file.write(b"\xa5" * (len(data) - 4096))
    store.record(NB, "main", turn("b again", cell_id="b"))
    assert "was renamed to" in store.warnings[0]
    assert store.prompts() == ["a", "b again", "c"]
    assert store.chosen_model(NB) == "chosen"
    assert kept.turns[0] in store.load(NB).turns


def test_an_empty_file_becomes_a_store(store, path):
    path.touch()
    store.record(NB, "main", turn("a"))
    assert store.warnings == []
    assert list(path.parent.glob("*.corrupt-*")) == []


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_the_file_of_a_newer_version_is_not_touched(store, path, journal):
    fill(path, "before")
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA journal_mode={journal}")
        other.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    store.record(NB, "main", turn("after"))
    assert store.prompts() == ["after"]
    store.close()
    assert path.read_bytes() == before
    (warning,) = store.warnings
    assert "schema 99" in warning
    assert "pip install -U ollama-magic" in warning


def test_the_database_of_another_program_is_not_touched(store, path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE turns (speed)")
        other.commit()
    before = path.read_bytes()
    store.record(NB, "main", turn("a"))
    assert store.prompts() == ["a"]
    store.close()
    assert path.read_bytes() == before
    assert "another program" in store.warnings[0]


def test_chats_continue_in_memory_if_a_damaged_file_cannot_be_renamed(store, path):
    """After a second damage in one session, the disk may be failing."""
    damage_by_text(path)
    store.record(NB, "main", turn("a"))
    store.close()
    damage_by_text(path)
    store.record(NB, "main", turn("b"))
    assert "b" in store.prompts()
    assert len(store.warnings) == 2
    assert store.path is None
    assert len(list(path.parent.glob("*.corrupt-*Z"))) == 1


def test_the_rollback_journal_is_used_where_wal_is_not_possible(
    store, path, monkeypatch
):
    """On a network file system, two machines would break a WAL."""
    monkeypatch.setattr(
        "ollama_magic.history.sqlite_file._is_on_network", lambda _: True
    )
    store.record(NB, "main", turn("a"))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert store.warnings == []
    assert store.prompts() == ["a"]


def test_an_interrupt_leaves_the_chat_unchanged(store, monkeypatch):
    store.record(NB, "main", turn("a", cell_id="1"))

    def interrupted(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ollama_magic.history.rows.set_order", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.record(NB, "main", turn("b", cell_id="1"))
    assert store.prompts() == ["a"]
    store.record(NB, "main", turn("c", cell_id="1"))
    assert store.prompts() == ["c"]
    assert store.warnings == []
