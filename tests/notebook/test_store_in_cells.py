"""A cell whose chat file fails still replies, and says so once."""

import os
import sqlite3
from contextlib import closing

import pytest

on_posix = pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")


@pytest.fixture
def asked(kernel, tmp_path):
    """Give a kernel whose chat has one turn, and the chat file."""
    kernel.run("import os, ollama_magic.history.sqlite_file as file")
    ran = kernel.run("%%ollama\nBefore?", "before")
    assert ran.place == "turn 1 of main"
    kernel.run("get_ipython().meta['ollama_magic'].session.close()")
    return kernel, tmp_path / "chats.sqlite"


def check_that_cells_reply(kernel, warning, turns=1):
    """Check that the next cells reply, and that only the first reports the problem."""
    first = kernel.run("%%ollama\nOne?", "one")
    assert first.status == "ok", first.error
    assert first.text.startswith("Hello!")
    assert warning in first.text
    assert "Traceback" not in first.text
    assert first.text.count("next:") + first.text.count("sqlite3 FILE") == 1
    assert len([o for o in first.outputs if "data" in o]) == 1
    second = kernel.run("%%ollama\nTwo?", "two")
    assert second.status == "ok"
    assert second.text == "Hello!"
    assert second.place == f"turn {turns + 2} of main"


def prompts(file):
    with closing(sqlite3.connect(file)) as database:
        return [row[0] for row in database.execute("SELECT prompt FROM turns")]


@on_posix
def test_cells_reply_on_a_full_disk(asked):
    """A limit on the size of files has the same effect: writes are incomplete."""
    kernel, file = asked
    kernel.run("%%ollama\nMore?", "more")
    kernel.run(
        "import resource\nlimits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))"
    )
    try:
        check_that_cells_reply(kernel, "Chats are not saved in", turns=2)
    finally:
        kernel.run("resource.setrlimit(resource.RLIMIT_FSIZE, limits)")
    assert prompts(file) == ["Before?", "More?"]


def test_cells_reply_while_another_program_holds_the_file(asked):
    """Shorter waits than the usual five seconds, by the same rule."""
    kernel, file = asked
    kernel.run("was = file._BUSY_TIMEOUT_S\nfile._BUSY_TIMEOUT_S = 0.05")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        check_that_cells_reply(kernel, "database is locked")
    kernel.run("file._BUSY_TIMEOUT_S = was")
    assert prompts(file) == ["Before?"]


def test_cells_reply_when_the_file_is_damaged(asked):
    kernel, file = asked
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    file.write_bytes(data)
    check_that_cells_reply(kernel, "was renamed to", turns=0)
    (aside,) = file.parent.glob("chats.sqlite.corrupt-*Z")
    assert aside.read_bytes() == bytes(data)
    assert prompts(file) == ["One?", "Two?"]


def test_cells_reply_when_the_file_is_removed(asked):
    """The turns of the session are not lost."""
    kernel, file = asked
    kernel.run("%%ollama\nOne?", "one")
    for companion in file.parent.glob("chats.sqlite*"):
        companion.unlink()
    ran = kernel.run("%%ollama\nTwo?", "two")
    assert ran.status == "ok", ran.error
    assert ran.text.startswith("Hello!")
    assert file.exists()
