"""Undo, rename, delete, prune, and the upgrade of older files."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from ollama_magic.history import changes, sqlite_file
from ollama_magic.history.changes import PruneSummary
from ollama_magic.history.store import ChatStore
from ollama_magic.history.turns import Chat, Turn

NB = "/home/ann/a.ipynb"
SECRET = "a secret that must not stay"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chats.sqlite"


@pytest.fixture
def open_store(path):
    stores = []

    def open_one():
        stores.append(ChatStore(path, warn=pytest.fail))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


def ask(store, prompt, cell_id=None, chat="main", notebook=NB, **more):
    turn = Turn(prompt=prompt, reply="r", model="m", cell_id=cell_id)
    return store.record(notebook, chat, turn, **more)


def prompts(store, chat="main", notebook=NB):
    return [t.prompt for t in store.load(notebook, chat).turns]


def undo(store, chat="main", notebook=NB):
    undone = store.undo(notebook, chat)
    if undone is None:
        return None
    names = [[t.prompt for t in turns] for turns in (undone.removed, undone.restored)]
    return (*names, undone.why)


# -- undo ---------------------------------------------------------------------------


def test_undo_removes_a_cached_reply_that_was_added_last(store):
    ask(store, "a")
    store.record(NB, "main", Turn(prompt="b", model="m", answered_at="2026-01-01"))
    assert undo(store) == (["b"], [], "")
    assert undo(store) == (["a"], [], "")


def test_undo_reverts_the_last_change_not_the_last_turn(store):
    for name in "abc":
        ask(store, name, name)
    ask(store, "a2", "a")
    assert undo(store) == (["a2"], ["a"], "replaced")
    assert prompts(store) == ["a", "b", "c"]
    assert undo(store) == (["c"], [], "")
    assert prompts(store) == ["a", "b"]


def test_undo_restores_a_dropped_turn_in_its_position(store):
    for name in "abc":
        ask(store, name, name)
    store.drop(store.load(NB).turns[1].uid)
    assert prompts(store) == ["a", "c"]
    assert undo(store) == ([], ["b"], "dropped")
    assert prompts(store) == ["a", "b", "c"]


def test_the_position_of_a_dropped_turn_is_not_reused(store):
    """Otherwise undo could not restore it."""
    ask(store, "a")
    ask(store, "b")
    store.drop(store.load(NB).turns[1].uid)
    ask(store, "c")
    assert undo(store) == (["c"], [], "")
    assert undo(store) == ([], ["b"], "dropped")
    ask(store, "d")
    assert prompts(store) == ["a", "b", "d"]


def test_undo_restores_all_turns_of_deleted_cells(store):
    for name in "abc":
        ask(store, name, name)
    ask(store, "side", "s", chat="side")
    store.drop_cells(NB, ["a", "c", "s"])
    assert prompts(store) == ["b"]
    assert undo(store) == ([], ["a", "c", "side"], "deleted")
    assert (prompts(store), prompts(store, "side")) == (["a", "b", "c"], ["side"])


@pytest.mark.parametrize("where", ["main", "side"])
def test_undo_returns_a_turn_that_moved_to_another_chat(store, where):
    ask(store, "a", "1")
    ask(store, "b", "2")
    ask(store, "a in side", "1", chat="side")
    assert prompts(store) == ["b"]
    assert undo(store, where) == (["a in side"], ["a"], "moved")
    assert (prompts(store), prompts(store, "side")) == (["a", "b"], [])


def test_undo_can_be_repeated_back_to_the_first_turn(store):
    ask(store, "a", "1")
    store.mark_new(NB, "main")
    ask(store, "b", "2")
    ask(store, "b2", "2")
    store.drop(store.load(NB).turns[0].uid)
    steps = []
    while (step := undo(store)) is not None:
        steps.append(step)
    assert steps == [
        ([], ["a"], "dropped"),
        (["b2"], ["b"], "replaced"),
        (["b"], [], ""),
        ([""], [], ""),
        (["a"], [], ""),
    ]
    assert prompts(store) == []


def test_all_turns_have_the_reason_why_they_are_not_live(store):
    ask(store, "a", "1")
    ask(store, "a2", "1")
    ask(store, "b", "2")
    ask(store, "c", "3")
    ask(store, "d", "4")
    ask(store, "e", "5")
    store.drop(store.load(NB).turns[1].uid)
    store.drop_cells(NB, ["3"])
    ask(store, "d", "4", chat="side")
    ask(store, "f", "6")
    undo(store)
    seen = [(turn.prompt, why) for turn, why in store.all_turns(NB, "main")]
    assert seen == [
        ("a", "replaced"),
        ("a2", ""),
        ("b", "dropped"),
        ("c", "deleted"),
        ("d", "moved"),
        ("e", ""),
        ("f", "undone"),
    ]
    assert store.all_turns(NB, "never used") == []


# -- chats --------------------------------------------------------------------------


def test_a_renamed_chat_keeps_its_turns_and_stays_current(store, open_store):
    ask(store, "a", chat="side")
    store.set_current_chat(NB, "side")
    assert store.rename_chat(NB, "side", "ideas")
    assert prompts(store, "ideas") == prompts(open_store(), "ideas") == ["a"]
    assert prompts(store, "side") == []
    assert store.current_chat(NB) == "ideas"


def test_a_chat_cannot_take_the_name_of_another(store):
    ask(store, "a")
    ask(store, "b", chat="side")
    assert not store.rename_chat(NB, "side", "main")
    assert (prompts(store), prompts(store, "side")) == (["a"], ["b"])


def test_a_deleted_chat_leaves_no_bytes(store, path):
    """No byte of it is left, in the file or its journals."""
    ask(store, "kept")
    ask(store, SECRET, "1", chat="side")
    ask(store, f"{SECRET} again", "1", chat="side")
    store.set_current_chat(NB, "side")
    store.delete_chat(NB, "side")
    assert [chat.name for chat in store.chats(NB)] == ["main"]
    assert store.current_chat(NB) == "main"
    for file in path.parent.iterdir():
        assert SECRET.encode() not in file.read_bytes(), file.name
    store.delete_chat(NB, "side")


def test_other_kernels_notice_a_chat_that_was_deleted_and_created_again(
    store, open_store
):
    ask(store, "old", chat="side")
    other = open_store()
    assert prompts(other, "side") == ["old"]
    store.delete_chat(NB, "side")
    assert prompts(other, "side") == []
    ask(store, "new", chat="side")
    assert prompts(other, "side") == ["new"]


# -- sessions without a notebook ----------------------------------------------------


def test_named_chats_of_sessions_outlive_them_and_main_does_not(store, open_store):
    ask(store, "a", notebook="session:1")
    ask(store, "b", chat="research", notebook="session:1")
    again = open_store()
    assert prompts(again, notebook="session:2") == []
    assert prompts(again, "research", "session:2") == ["b"]
    ask(again, "c", chat="research", notebook="session:2")
    assert prompts(store, "research", "session:1") == ["b", "c"]
    names = [chat.name for chat in again.chats("session:2")]
    assert names == ["research"]
    assert prompts(store, "research") == [], "each notebook has its own chats"


def test_renaming_main_keeps_the_chat_of_a_session(store):
    ask(store, "a", notebook="session:1")
    assert store.rename_chat("session:1", "main", "research")
    assert prompts(store, "research", "session:2") == ["a"]
    assert prompts(store, notebook="session:1") == []


# -- prune --------------------------------------------------------------------------


def aged(path, chat, days):
    """Make all turns of a chat older."""
    then = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "UPDATE turns SET answered_at = ?1, added_at = ?1 WHERE chat_id ="
            " (SELECT id FROM chats WHERE name = ?2)",
            (then, chat),
        )
        database.commit()


def test_prune_counts_a_reused_cached_reply_as_recent(store):
    old = (datetime.now(UTC) - timedelta(days=40)).isoformat(timespec="microseconds")
    again = Turn(prompt="a", reply="r", model="m", answered_at=old)
    for notebook in ("/b.ipynb", "session:1"):
        kept = store.record(notebook, "main", again)
        assert kept.answered_at == old < kept.added_at
    assert store.prunable(NB, 30).is_empty


def test_prune_deletes_only_discarded_turns(store, path):
    ask(store, SECRET, "1")
    ask(store, "a", "1")
    ask(store, SECRET, "2")
    undo(store)
    ask(store, "theirs", notebook="/b.ipynb")
    found = store.prunable(NB, None)
    assert (found.turns, found.chats) == (2, 0)
    assert found.size_bytes >= 2 * len(SECRET)
    assert store.prune(NB, None) == found
    assert prompts(store) == ["a"]
    assert prompts(store, notebook="/b.ipynb") == ["theirs"]
    assert store.prunable(NB, None) == PruneSummary(0, 0, 0, 0, 0)
    assert store.prunable(NB, None).is_empty
    assert undo(store) == (["a"], [], ""), "the replaced turn was deleted"
    for file in path.parent.iterdir():
        assert SECRET.encode() not in file.read_bytes()


def test_prune_deletes_old_chats_but_never_those_in_use(store, path):
    for chat, notebook in [("old", "/b.ipynb"), ("mine", NB), ("young", "/b.ipynb")]:
        ask(store, "x", chat=chat, notebook=notebook)
    aged(path, "old", 40)
    aged(path, "mine", 40)
    assert store.prunable(NB, None).is_empty
    assert store.prunable(NB, 50).is_empty
    found = store.prunable(NB, 30)
    assert (found.chats, found.chat_turns) == (1, 1)
    store.prune(NB, 30)
    assert [chat.name for chat in store.chats("/b.ipynb")] == ["young"]
    assert prompts(store, "mine") == ["x"]


def test_prune_deletes_main_of_sessions_that_ended_long_ago(store, path):
    ask(store, "x", notebook="session:1")
    ask(store, "x", chat="research", notebook="session:1")
    assert store.prunable(NB, None).is_empty
    aged(path, "main", changes.SESSION_DAYS + 1)
    aged(path, "research", changes.SESSION_DAYS + 1)
    assert store.prunable("session:1", None).is_empty, "the session is in use"
    assert store.prunable(NB, None).chats == 1
    store.prune(NB, None)
    assert prompts(store, "research", "session:2") == ["x"]


def test_prune_shrinks_the_file(store):
    for _ in range(20):
        ask(store, "x" * 100_000, "1")
    before = store.size_bytes
    assert before > 2_000_000
    store.prune(NB, None)
    assert store.size_bytes < before / 5


def test_prune_works_while_another_process_reads(store, path, monkeypatch):
    monkeypatch.setattr("ollama_magic.history.sqlite_file._BUSY_TIMEOUT_S", 0.05)
    ask(store, "a", "1")
    ask(store, "b", "1")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM turns").fetchone()
        assert store.prune(NB, None).turns == 1
    assert prompts(store) == ["b"]


# -- older versions -----------------------------------------------------------------

VERSION_1 = """
CREATE TABLE notebooks (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
    current_chat TEXT NOT NULL, model TEXT, model_chosen_at TEXT);
CREATE TABLE chats (id INTEGER PRIMARY KEY,
    notebook_id INTEGER NOT NULL REFERENCES notebooks, name TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0, UNIQUE (notebook_id, name));
CREATE TABLE turns (uid TEXT PRIMARY KEY, chat_id INTEGER NOT NULL REFERENCES chats,
    position INTEGER NOT NULL, cell_id TEXT, replaces TEXT, replaced_at TEXT,
    removed_at TEXT, answered_at TEXT NOT NULL, based_on TEXT NOT NULL,
    text_hash TEXT NOT NULL, model TEXT NOT NULL, digest TEXT NOT NULL,
    starts_afresh INTEGER NOT NULL, status TEXT NOT NULL, done_reason TEXT NOT NULL,
    stats TEXT NOT NULL, request TEXT NOT NULL, system TEXT, prompt TEXT NOT NULL,
    reply TEXT NOT NULL, thinking TEXT NOT NULL);
CREATE UNIQUE INDEX live_turns ON turns (chat_id, position)
    WHERE replaced_at IS NULL AND removed_at IS NULL;
CREATE INDEX turns_of_cell ON turns (cell_id) WHERE cell_id IS NOT NULL;
CREATE VIEW live AS
    SELECT * FROM turns WHERE replaced_at IS NULL AND removed_at IS NULL;
CREATE VIEW named_chats AS SELECT chats.*, notebooks.key AS notebook
    FROM chats JOIN notebooks ON notebooks.id = chats.notebook_id;
INSERT INTO notebooks VALUES (1, '/home/ann/a.ipynb', 'main', NULL, NULL);
INSERT INTO chats VALUES (1, 1, 'main', 3);
INSERT INTO turns VALUES ('u', 1, 1, 'c1', NULL, NULL, NULL, '2026-01-01', '', 'h',
    'm', '', 0, 'complete', 'stop', '{}', '{}', NULL, 'before?', 'yes', '');
INSERT INTO turns VALUES ('v', 1, 2, 'c2', NULL, NULL, '2026-01-03', '2026-01-02', '',
    'h', 'm', '', 0, 'complete', 'stop', '{}', '{}', NULL, 'gone?', 'yes', '');
PRAGMA user_version = 1;
PRAGMA application_id = 0x6F6C6D67;
"""


def test_the_file_of_an_older_version_is_upgraded_with_all_its_turns(path, open_store):
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
    store = open_store()
    assert store.identify_notebook(NB).how == "known"
    assert prompts(store) == ["before?"]
    ask(store, "after?", "c3")
    assert prompts(open_store()) == ["before?", "after?"]
    whys = [why for _, why in store.all_turns(NB, "main")]
    assert whys == ["", "removed", ""]
    with closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    assert version == sqlite_file.SCHEMA_VERSION


def test_an_upgraded_file_has_the_tables_of_a_new_one(tmp_path):
    made = []
    for script in (VERSION_1, ""):
        file = tmp_path / f"{len(made)}.sqlite"
        with closing(sqlite3.connect(file)) as database:
            database.executescript(script)
        with closing(ChatStore(file, warn=pytest.fail)) as store:
            store.load(NB)
        with closing(sqlite3.connect(file)) as database:
            columns = {
                table: {
                    row[1] for row in database.execute(f"PRAGMA table_info({table})")
                }
                for table in ("notebooks", "chats", "turns", "live", "named_chats")
            }
            indices = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name"
            ).fetchall()
        made.append((columns, indices))
    assert made[0] == made[1]


def test_the_origin_of_a_turn_is_stored_and_can_be_trusted(store, path, open_store):
    imported = Turn(prompt="a", reply="b", model="m", system="obey", origin="file")
    store.insert_turns(NB, [Chat("main", (imported,))])
    ask(store, "mine?", "c1")
    chat = open_store().load(NB)
    assert [turn.origin for turn in chat.turns] == ["file", "here"]
    assert chat.system() is None
    store.trust([turn.uid for turn in chat.turns])
    chat = open_store().load(NB)
    assert [turn.origin for turn in chat.turns] == ["trusted", "here"]
    assert chat.system() == "obey"


def test_turns_of_older_versions_have_the_origin_here(path, open_store):
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
    (turn,) = open_store().load(NB).turns
    assert turn.origin == "here"


def test_an_unknown_origin_is_not_trusted(store, path, open_store):
    ask(store, "a?", "c1")
    store.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE turns SET origin = 'elsewhere'")
        database.commit()
    (turn,) = open_store().load(NB).turns
    assert turn.origin == "file"
