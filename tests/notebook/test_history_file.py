"""A ``history_file`` is complete in one file, in real kernels."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from kernel import Kernel

from ollama_magic.history.store import ChatStore

pytestmark = pytest.mark.slow

SETTINGS = """
%load_ext ollama_magic
%config OllamaMagics.cached = True
%config OllamaMagics.history_file = "answers.sqlite"
%config OllamaMagics.host = {host!r}
"""
NOWHERE = "127.0.0.1:9"
ASKS = ["%%ollama llama3.2:3b\nWhat is a vowel?", "%%ollama\nName one."]


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "class3"
    folder.mkdir()
    return folder


@pytest.fixture
def elsewhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def write_notebook(folder, host):
    cells = [
        {
            "id": f"5e1f0c3{number}",
            "cell_type": "code",
            "metadata": {},
            "execution_count": None,
            "source": source,
            "outputs": [],
        }
        for number, source in enumerate([SETTINGS.format(host=host), *ASKS])
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernel},
        "cells": cells,
    }
    (folder / "t.ipynb").write_text(json.dumps(content))


def execute(folder):
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", "t.ipynb"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def answers(folder):
    cells = json.loads((folder / "t.ipynb").read_text())["cells"]
    return ["".join(cell["outputs"][0]["data"]["text/plain"]) for cell in cells[1:]]


def replayed(folder):
    """Return the replies of another kernel that has no server."""
    kernel = Kernel(cwd=folder)
    try:
        assert kernel.run(SETTINGS.format(host=NOWHERE)).status == "ok"
        return [kernel.run(code, f"c{n}").text for n, code in enumerate(ASKS)]
    finally:
        kernel.close()


@pytest.fixture
def asked(home, fake_ollama):
    """Provide a kernel with one turn, and the folder of its file."""
    kernel = Kernel(cwd=home)
    kernel.run(SETTINGS.format(host=fake_ollama.url))
    for number, code in enumerate(ASKS):
        assert kernel.run(code, f"c{number}").status == "ok"
    yield kernel
    kernel.close()


def test_after_jupyter_execute_the_one_file_replays_everything(
    home, elsewhere, fake_ollama
):
    write_notebook(home, fake_ollama.url)
    ran = execute(home)
    assert ran.returncode == 0, ran.stderr
    shutil.copy(home / "answers.sqlite", elsewhere)
    write_notebook(elsewhere, NOWHERE)
    ran = execute(elsewhere)
    assert ran.returncode == 0, ran.stderr
    assert answers(elsewhere) == answers(home) == ["Hello!", "Hello!"]


def test_after_kill_9_the_one_file_replays_everything(asked, home, elsewhere):
    asked.kill()
    shutil.copy(home / "answers.sqlite", elsewhere)
    assert replayed(elsewhere) == ["Hello!", "Hello!"]


def test_a_file_that_an_older_version_left_in_two_parts_becomes_one_file(
    asked, home, elsewhere
):
    """Two kernels that use WAL held it open, and were killed."""
    with closing(sqlite3.connect(home / "answers.sqlite")) as older:
        assert older.execute("PRAGMA journal_mode=wal").fetchone() == ("wal",)
        older.execute(
            "UPDATE answers SET answer = replace(answer, 'Hello', 'Howdy')"
            " WHERE answered_at = (SELECT MAX(answered_at) FROM answers)"
        )
        older.commit()
        for suffix in ("", "-wal"):
            shutil.copy(home / f"answers.sqlite{suffix}", elsewhere)
    assert replayed(elsewhere) == ["Hello!", "Howdy!"]
    assert [path.name for path in elsewhere.iterdir()] == ["answers.sqlite"]


def test_a_file_that_another_program_keeps_in_wal_is_whole_after_each_turn(
    asked, home, elsewhere, fake_ollama
):
    """Its mode cannot be changed, so new data are moved into the file."""
    with closing(sqlite3.connect(home / "answers.sqlite")) as other:
        assert other.execute("PRAGMA journal_mode=wal").fetchone() == ("wal",)
        fake_ollama.reply("Goodbye!")
        asked.run("%%ollama\nAnd a consonant?", "c2")
        shutil.copy(home / "answers.sqlite", elsewhere)
    with closing(sqlite3.connect(elsewhere / "answers.sqlite")) as copy:
        found = copy.execute("SELECT reply FROM turns ORDER BY position").fetchall()
    assert found == [("Hello!",), ("Hello!",), ("Goodbye!",)]


def test_two_kernels_on_one_file_lose_nothing(tmp_path):
    """One by its setting, one by default: they change the mode under each other."""
    path, warnings = tmp_path / "chats.sqlite", []
    stores = [
        ChatStore(path, is_self_contained=is_self_contained, warn=warnings.append)
        for is_self_contained in (True, False, True, False)
    ]
    for number in range(40):
        store = stores[number % len(stores)]
        store.mark_new("notebook", f"chat {number}")
        if number % 10 == 9:
            store.close()
    names = {chat.name for chat in stores[0].chats("notebook")}
    assert names == {f"chat {number}" for number in range(40)}
    assert warnings == []


@pytest.mark.parametrize("is_renamed", [True, False])
def test_a_sync_folder_that_brings_another_copy_damages_nothing(tmp_path, is_renamed):
    """It replaces the file, or writes into it, while two kernels have it open."""
    path, warnings = tmp_path / "answers.sqlite", []
    first, second = (
        ChatStore(path, is_self_contained=True, warn=warnings.append) for _ in "ab"
    )
    first.mark_new("notebook", "kept")
    copy = shutil.copy(path, tmp_path / "from elsewhere")
    with closing(ChatStore(copy, is_self_contained=True, warn=warnings.append)) as one:
        one.mark_new("notebook", "elsewhere")
    second.mark_new("notebook", "lost")
    (copy.replace if is_renamed else lambda to: shutil.copyfile(copy, to))(path)
    first.mark_new("notebook", "later")
    second.mark_new("notebook", "last")
    for store in (first, second):
        names = [chat.name for chat in store.chats("notebook")]
        assert names == ["kept", "elsewhere", "later", "last"]
        store.close()
    with closing(sqlite3.connect(path)) as whole:
        assert whole.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert warnings == []


def test_the_error_for_a_missing_reply_says_that_none_is_cached(asked, elsewhere, home):
    shutil.copy(home / "answers.sqlite", elsewhere)
    kernel = Kernel(cwd=elsewhere)
    try:
        kernel.run(SETTINGS.format(host=NOWHERE))
        error = kernel.run("%%ollama llama3.2:3b\nWhat is a vowell?", "c0").error
        assert "No reply to this prompt is cached." in error
        assert "--cached is on, and answers.sqlite has no reply" in error
        assert "'What is a vowel?'" in error
        assert "No Ollama server answered" in error
    finally:
        kernel.close()


# -- only what one notebook needs ----------------------------------------------------

CACHED = "%load_ext ollama_magic\n%config OllamaMagics.cached = True\n"
FROM_FILE = f"{CACHED}%config OllamaMagics.history_file = 'given.sqlite'"
CELLS = {
    "7c1d92aa": "%%ollama llama3.2:3b\nWhat is a vowel?",
    "7c1d92ab": "%%ollama\nName one.",
    "7c1d92ac": "%%ollama -1\nA one-off.",
    "7c1d92ad": "from ollama_magic import map_prompts\nmap_prompts('Say {}', [1, 2])",
}


def run_all(kernel):
    """Run the cells, and return the last output of each."""
    shown = []
    for cell, code in CELLS.items():
        ran = kernel.run(code, cell)
        assert ran.status == "ok", ran
        shown.append([ran.outputs[-1][key] for key in ("data", "metadata")])
    return shown


def test_an_export_has_what_one_notebook_needs_and_nothing_else(
    home, elsewhere, fake_ollama, monkeypatch
):
    monkeypatch.setenv("OLLAMA_API_KEY", "key-9e55c1")
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    fake_ollama.reply("Blue.")
    kernels = [Kernel(f"{home}/t.ipynb", cwd=home), Kernel(f"{home}/u.ipynb", cwd=home)]
    try:
        teacher, other = kernels
        other.run(CACHED)
        other.run("%%ollama\nOf another notebook.", "other-cell")
        teacher.run(CACHED)
        teacher.run("%%ollama\nAn earlier wording.", "7c1d92aa")
        shown = run_all(teacher)
        ran = teacher.run("%ollama export --answers given.sqlite", "e")
        assert "Exported 2 turns and 5 cached replies to" in ran.text
        assert "server" not in ran.text
        assert (
            "already exists"
            in teacher.run("%ollama export --answers given.sqlite").error
        )
        teacher.run("%%ollama\nWhat is a word?", "7c1d92aa")
        ran = teacher.run("%ollama export --answers --force late.sqlite", "e")
        assert "1 turn may need a server" in ran.text
    finally:
        for kernel in kernels:
            kernel.close()
    asked = len(fake_ollama.bodies("/api/chat"))
    (home / "given.sqlite").rename(elsewhere / "given.sqlite")
    kept = (elsewhere / "given.sqlite").read_bytes()
    for text in ("another", "earlier", "key-9e55c1", str(home), "t.ipynb"):
        assert text.encode() not in kept
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    cells = [
        {"cell_type": "code", "id": cell, "source": code, "outputs": []}
        for cell, code in CELLS.items()
    ]
    content = {"nbformat": 4, "nbformat_minor": 5, "cells": cells}
    (elsewhere / "t.ipynb").write_text(json.dumps(content))
    pupil = Kernel(f"{elsewhere}/t.ipynb", cwd=elsewhere)
    try:
        assert pupil.run(FROM_FILE).outputs == []
        assert run_all(pupil) == shown
        assert run_all(pupil) == shown
    finally:
        pupil.close()
    assert len(fake_ollama.bodies("/api/chat")) == asked


def test_without_cached_replies_nothing_is_exported(asked, home):
    for code, error in {
        "%ollama export --answers answers.sqlite": "is the file of the chats in use",
        "%reload_ext ollama_magic\n%ollama export --answers a.db": "no cached replies",
    }.items():
        assert error in asked.run(code).error
    assert not (home / "a.db").exists()
