"""The store of chats: turns in their positions, in a real SQLite file."""

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from ollama_magic.client.images import Image
from ollama_magic.client.types import Stats
from ollama_magic.history.rows import ChatSummary
from ollama_magic.history.store import ChatStore, default_path
from ollama_magic.history.turns import Chat, Turn
from ollama_magic.history.usage import last_load_s

NB = "/home/ann/notebook.ipynb"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "chats.sqlite"


@pytest.fixture
def open_store(path):
    """Return a function that opens another store for the file, as a kernel does."""
    stores = []

    def open_one():
        warnings = []
        stores.append((ChatStore(path, warn=warnings.append), warnings))
        return stores[-1][0]

    yield open_one
    for store, warnings in stores:
        store.close()
        assert warnings == []


@pytest.fixture
def store(open_store):
    return open_store()


def turn(prompt, cell_id=None, **more):
    return Turn(
        prompt=prompt, reply=f"re: {prompt}", model="m", cell_id=cell_id, **more
    )


def prompts(store, chat="main", notebook=NB):
    return [t.prompt for t in store.load(notebook, chat).turns]


def undone(store, chat="main"):
    """Undo, and return the prompts of removed and of restored turns."""
    change = store.undo(NB, chat)
    return [t.prompt for t in change.removed], [t.prompt for t in change.restored]


def test_a_new_chat_has_no_turns_and_writes_nothing(store, path):
    assert store.load(NB) == Chat("main")
    assert store.chats(NB) == []


def test_a_turn_is_read_as_it_was_written(open_store):
    whole = Turn(
        prompt="Why? 漢字 \x00 end",
        reply="Because.\r\n",
        thinking="hm",
        model="llama3.2:3b",
        digest="sha256:abc",
        system="Be terse.",
        starts_afresh=True,
        cell_id="c1",
        status="interrupted",
        done_reason="length",
        stats=Stats(total_duration_ns=5, eval_count=7),
        request={"options": {"seed": 1}, "think": False, "format": None},
        images=(Image(b"one"), Image(b"two"), Image(b"one")),
        steps=({"role": "tool", "content": "\ud800", "tool_name": "f"},),
    )
    stored = open_store().record(NB, "main", whole)
    (loaded,) = open_store().load(NB).turns
    assert loaded == stored
    given = {"uid", "answered_at", "added_at", "based_on", "text_hash"}
    assert all(getattr(stored, name) for name in given)
    kept, asked = asdict(loaded), asdict(whole)
    assert {k: v for k, v in kept.items() if k not in given} == {
        k: v for k, v in asked.items() if k not in given
    }


def test_images_are_stored_once_and_deleted_with_their_last_turn(open_store, path):
    store = open_store()
    for cell in ("a", "b"):
        turn = Turn(prompt=cell, model="m", images=(Image(b"x"),), cell_id=cell)
        store.record(NB, "main", turn)

    def count():
        with closing(sqlite3.connect(path)) as database:
            return database.execute("SELECT COUNT(*) FROM pictures").fetchone()[0]

    first, _ = open_store().load(NB).turns
    assert count() == 1
    store.drop(first.uid)
    store.prune(NB, None)
    assert count() == 1
    store.delete_chat(NB, "main")
    assert count() == 0


def test_a_rerun_replaces_the_turn_in_its_position(store):
    for name in "abc":
        store.record(NB, "main", turn(name, cell_id=name))
    store.record(NB, "main", turn("b again", cell_id="b"))
    assert prompts(store) == ["a", "b again", "c"]


def test_restart_and_run_all_builds_the_same_chat(open_store):
    for kernel in range(3):
        store = open_store()
        for name in "abc":
            store.record(NB, "main", turn(name, cell_id=name))
        assert prompts(store) == ["a", "b", "c"], kernel
        assert store.load(NB).stale() == frozenset()


def test_turns_after_a_rerun_are_stale_until_they_are_run_again(store):
    for name in "abc":
        store.record(NB, "main", turn(name, cell_id=name))
    store.record(NB, "main", turn("other", cell_id="a"))
    chat = store.load(NB)
    assert [t.prompt for t in chat.turns if t.uid in chat.stale()] == ["b", "c"]
    store.record(NB, "main", turn("b", cell_id="b"))
    store.record(NB, "main", turn("c", cell_id="c"))
    assert store.load(NB).stale() == frozenset()


def test_replaced_turns_stay_in_the_file(store, path):
    first = store.record(NB, "main", turn("a", cell_id="1"))
    second = store.record(NB, "main", turn("b", cell_id="1"))
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT uid, replaced_at IS NULL, replaces FROM turns")
        found = set(rows.fetchall())
    database.close()
    assert found == {(first.uid, 0, None), (second.uid, 1, first.uid)}


def test_turns_without_a_cell_are_appended(store):
    for name in "aab":
        store.record(NB, "main", turn(name))
    assert prompts(store) == ["a", "a", "b"]


def test_append_keeps_the_other_turns_of_its_cell(store):
    store.record(NB, "main", turn("a", cell_id="1"))
    store.record(NB, "main", turn("b", cell_id="2"))
    store.record(NB, "main", turn("c", cell_id="1"), append=True)
    assert prompts(store) == ["a", "b", "c"]
    store.record(NB, "main", turn("d", cell_id="1"))
    assert prompts(store) == ["a", "b", "d"]


def test_a_cell_that_moves_to_another_chat_leaves_the_first(store):
    store.record(NB, "main", turn("a", cell_id="1"))
    store.record(NB, "main", turn("b", cell_id="2"))
    store.record(NB, "side", turn("a", cell_id="1"))
    assert prompts(store) == ["b"]
    assert prompts(store, "side") == ["a"]
    store.record(NB, "main", turn("a", cell_id="1"))
    assert prompts(store) == ["b", "a"]
    assert prompts(store, "side") == []


def test_the_second_turn_of_a_cell_keeps_its_position(store):
    """A cell with prompts in two chats has turns with ``ID`` and ``ID 2``."""
    store.record(NB, "main", turn("one", cell_id="1"))
    store.record(NB, "side", turn("two", cell_id="1 2"))
    store.record(NB, "main", turn("one", cell_id="1"))
    assert (prompts(store), prompts(store, "side")) == (["one"], ["two"])


def test_equal_cell_ids_of_other_notebooks_are_different_cells(store):
    store.record(NB, "main", turn("a", cell_id="1"))
    store.record("copy", "main", turn("b", cell_id="1"))
    store.drop_cells("copy", ["1"])
    assert prompts(store) == ["a"]
    assert prompts(store, notebook="copy") == []


def test_undo_removes_the_last_turn(store):
    store.record(NB, "main", turn("a", cell_id="1"))
    store.record(NB, "main", turn("b", cell_id="2"))
    assert undone(store) == (["b"], [])
    assert prompts(store) == ["a"]
    assert undone(store) == (["a"], [])
    assert store.undo(NB, "main") is None
    assert store.undo(NB, "never used") is None
    store.record(NB, "main", turn("c", cell_id="3"))
    assert prompts(store) == ["c"]


def test_undo_of_a_rerun_restores_the_replaced_turn(store):
    store.record(NB, "main", turn("first", cell_id="1"))
    store.record(NB, "main", turn("second", cell_id="1"))
    assert undone(store) == (["second"], ["first"])
    assert prompts(store) == ["first"]
    assert undone(store) == (["first"], [])
    assert prompts(store) == []


def test_a_turn_can_replace_another_whatever_its_cell(store):
    for name in ["one", "two"]:
        first = store.record(NB, "main", turn(name))
        store.record(NB, "main", turn("three"))
        store.record(NB, "main", turn(f"{name}, longer"), replaces=first.uid)
    assert prompts(store) == ["one, longer", "three", "two, longer", "three"]
    assert undone(store) == (["two, longer"], ["two"])


def test_the_versions_of_a_turn_are_what_it_replaced_and_what_was_undone(store):
    for text in ["one", "two", "two"]:
        store.record(NB, "main", turn(text, cell_id="1"))
    store.record(NB, "main", turn("of another cell", cell_id="2"))
    undone(store)
    undone(store)
    (live,) = store.load(NB).turns
    assert [one.prompt for one in store.versions(live)] == ["one", "two"]
    assert store.version_number(live) == 1
    latest = store.record(NB, "main", turn("three", cell_id="1"))
    assert [one.prompt for one in store.versions(latest)] == ["one", "two", "three"]
    assert store.version_number(latest) == 3
    alone = store.record(NB, "main", turn("alone"))
    assert store.version_number(alone) == 0


def test_undo_skips_versions_with_the_same_text(store):
    for text in ["old", "same", "same", "same"]:
        store.record(NB, "main", turn(text, cell_id="1"))
    store.undo(NB, "main")
    assert prompts(store) == ["old"]


def test_a_new_conversation_belongs_to_its_cell_and_can_be_undone(store):
    store.record(NB, "main", turn("a", cell_id="1"))
    for _rerun in range(2):
        store.mark_new(NB, "main", "2")
    store.record(NB, "main", turn("b", cell_id="3"))
    assert [t.is_mark for t in store.load(NB).turns] == [False, True, False]
    assert [t.prompt for t in store.load(NB).in_use()] == ["b"]
    store.undo(NB, "main")
    assert store.undo(NB, "main").removed[0].is_mark
    assert [t.prompt for t in store.load(NB).in_use()] == ["a"]


def test_turns_of_deleted_cells_are_removed_from_every_chat(store):
    for chat, cell_id in [
        ("main", "1"),
        ("main", "1 2"),
        ("main", "11"),
        ("side", "2"),
    ]:
        store.record(NB, chat, turn(cell_id, cell_id=cell_id))
    store.drop_cells(NB, ["1", "2", "never seen"])
    assert (prompts(store), prompts(store, "side")) == (["11"], [])


def test_chats_are_listed_with_their_turns_and_last_model(store):
    store.record(NB, "main", turn("a"))
    last = store.record(NB, "main", Turn(prompt="b", reply="x", model="big"))
    store.mark_new(NB, "main")
    store.set_current_chat(NB, "empty")
    store.record("other", "theirs", turn("c"))
    assert store.chats(NB) == [
        ChatSummary("main", 2, "big", last.answered_at, 8),
        ChatSummary("empty", 0, "", "", 0),
    ]


def test_each_notebook_has_its_own_chat_and_model(open_store):
    store = open_store()
    assert store.current_chat(NB) == "main"
    assert store.chosen_model(NB) is None
    store.set_current_chat(NB, "side")
    store.choose_model(NB, "llama3.2:3b")
    again = open_store()
    assert again.current_chat(NB) == "side"
    assert again.chosen_model(NB) == "llama3.2:3b"
    assert again.chosen_model("other") is None
    assert again.current_chat("other") == "main"


def test_kernels_see_the_writes_of_other_kernels(open_store):
    one, two = open_store(), open_store()
    one.record(NB, "main", turn("a", cell_id="1"))
    assert prompts(two) == ["a"]
    two.record(NB, "main", turn("b", cell_id="2"))
    one.record(NB, "main", turn("a2", cell_id="1"))
    assert prompts(one) == prompts(two) == ["a2", "b"]
    two.undo(NB, "main")
    assert prompts(one) == ["a", "b"]


def test_a_chat_is_read_again_only_when_it_has_changed(open_store):
    one, two = open_store(), open_store()
    one.record(NB, "main", turn("a"))
    before = one.load(NB)
    two.record(NB, "side", turn("elsewhere"))
    assert one.load(NB).turns[0] is before.turns[0]
    two.record(NB, "main", turn("here"))
    assert prompts(one) == ["a", "here"]


def test_a_deleted_file_is_created_again(store, path):
    """Writes to a file without a name would be lost silently."""
    store.record(NB, "main", turn("a"))
    for file in path.parent.iterdir():
        file.unlink()
    assert prompts(store) == []
    store.record(NB, "main", turn("b"))
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT prompt FROM turns").fetchall() == [("b",)]
    database.close()


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_only_the_user_may_read_the_files(tmp_path, umask):
    path = tmp_path / "ollama_magic" / "chats.sqlite"
    store = ChatStore(path, warn=pytest.fail)
    before = os.umask(umask)
    try:
        store.record(NB, "main", turn("a"))
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    store.close()
    assert modes["chats.sqlite"] == 0o600
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3, "no -wal and -shm to look at"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_can_read_is_made_private(store, open_store, path):
    store.record(NB, "main", turn("a"))
    store.close()
    path.chmod(0o644)
    open_store().load(NB)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_of_the_user_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    store = ChatStore(tmp_path / "chats.sqlite", warn=pytest.fail)
    store.record(NB, "main", turn("a"))
    store.close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_the_default_file_is_in_the_data_directory_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path().name == "chats.sqlite"
    assert default_path().parent.name == "ollama_magic"


def test_without_a_home_there_is_no_default_file(monkeypatch):
    import platformdirs

    # What platformdirs returns if there is no home directory.
    nowhere = Path("~/.local/share/ollama_magic")
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: nowhere)
    assert default_path() is None
    warnings = []
    store = ChatStore(None, warn=warnings.append)
    store.record(NB, "main", turn("a"))
    assert prompts(store) == ["a"]
    assert store.path is None
    assert len(warnings) == 1
    assert "no home directory" in warnings[0]


def test_a_lone_surrogate_does_not_stop_a_turn(store):
    store.record(NB, "main", Turn(prompt="half \ud83d", reply="é\udfff", model="m"))
    (kept,) = store.load(NB).turns
    assert (kept.prompt, kept.reply) == ("half ?", "é?")


def test_a_reply_of_ten_megabytes_is_stored(open_store):
    reply = "long é " * 1_500_000
    open_store().record(NB, "main", Turn(prompt="a", reply=reply, model="m"))
    assert open_store().load(NB).turns[0].reply == reply


def test_a_bug_is_not_mistaken_for_a_damaged_file(store, path):
    with pytest.raises(sqlite3.Error):
        store.record(
            NB, "main", Turn(prompt="a", digest=object(), reply="x", model="m")
        )
    assert store.path == path


def test_adding_a_turn_to_a_long_chat_reads_no_other_turn(store, path):
    """The cost of a turn must not grow with the length of the chat.

    Counted in statements, so that the test does not depend on the machine's speed.
    """
    for number in range(300):
        store.record(NB, "main", turn(f"{number}", cell_id=f"c{number}"))
    store.load(NB)
    statements = []
    store._connection.set_trace_callback(statements.append)
    store.record(NB, "main", turn("again", cell_id="c150"))
    store.load(NB)
    reads = [s for s in statements if "SELECT * FROM" in s]
    assert reads == []
    assert len(statements) < 20


def test_the_last_cold_load_of_a_model_is_known(store):
    for seconds in (21.4, 0.05):
        stats = Stats(load_duration_ns=int(seconds * 1e9))
        store.record(NB, "main", turn(f"{seconds}", stats=stats))
    assert store.query(last_load_s, "m") == pytest.approx(21.4)
    assert store.query(last_load_s, "other") == 0.0
