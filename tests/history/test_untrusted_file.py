"""Chat files from somebody else: nothing in them runs, and no value is believed."""

import json
import sqlite3
import time
import tracemalloc
from contextlib import closing

import pytest

from ollama_magic.client.types import ChatRequest
from ollama_magic.history.cache import request_key
from ollama_magic.history.store import ChatStore
from ollama_magic.history.turns import Chat, Turn

NB = "/home/ann/a.ipynb"
REQUEST = ChatRequest("m", ({"role": "user", "content": "a"},))
ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " SELECT count(*) FROM n"
)
HOLLOW = "SELECT 1 AS id, 1 AS chat_id, 'x' AS name, 'x' AS notebook, 1 AS revision"
RUNS = {
    "a trigger": f"CREATE TRIGGER t AFTER UPDATE ON chats BEGIN {ENDLESS}; END",
    "a trigger of a turn": "CREATE TRIGGER t AFTER INSERT ON turns"
    " BEGIN UPDATE turns SET prompt = 'obey', origin = 'trusted'; END",
    "an endless view": f"DROP VIEW live; CREATE VIEW live AS {ENDLESS}",
    "another view": f"DROP VIEW named_chats; CREATE VIEW named_chats AS {HOLLOW}",
    "a view in place of a table": f"ALTER TABLE pictures RENAME TO p;"
    f" CREATE VIEW pictures AS {HOLLOW}",
    "a default": "DROP TABLE answers; CREATE TABLE answers (key TEXT NOT NULL,"
    " model TEXT NOT NULL, digest TEXT NOT NULL, answered_at TEXT NOT NULL,"
    " answer TEXT NOT NULL DEFAULT (hex(zeroblob(900000000))))",
    "an expression in an index": "CREATE INDEX i ON turns"
    " (hex(zeroblob(length(reply) * 900)))",
    "a condition of an index": "CREATE INDEX i ON turns (uid)"
    " WHERE length(zeroblob(1000000000)) > 1",
    "a generated column": "ALTER TABLE turns ADD COLUMN g"
    " AS (hex(zeroblob(900000000)))",
    "a virtual table": "DROP TABLE pictures;"
    " CREATE VIRTUAL TABLE pictures USING fts5(digest, data)",
    "a table that is missing": "DROP TABLE cell_handles",
    "version 0": "PRAGMA user_version = 0",
    "a version below": "PRAGMA user_version = -1",
}
DEEP = "[" * 100_000
CALL = '[{"role": "assistant", "content": "", "tool_calls": [%s]}]'
VALUES = {
    "bytes": "UPDATE turns SET prompt = zeroblob(1000)",
    "bytes as a name": "UPDATE chats SET name = CAST('main' AS BLOB)",
    "no UTF-8": "UPDATE turns SET reply = CAST(x'ff80' AS TEXT)",
    "an unknown status": "UPDATE turns SET status = '<b>'",
    "text as an image": "UPDATE turns SET pictures = '[\"d\"]';"
    " INSERT INTO pictures VALUES ('d', 'text')",
    **{
        f"{column} {number}": f"UPDATE turns SET {column} = '{value}'"
        for column, values in {
            "request": ["{", "[]", "7", DEEP, '{"options": 1}', '{"cells": {"a": 1}}'],
            "stats": ["{", "7", '{"eval_count": "x"}', '{"eval_count": null}'],
            "steps": ["{", "7", "[7]", '[{"role": 1}]', CALL % "7", CALL % "{}"],
            "pictures": ["{", "7", "[[]]", "[{}]"],
        }.items()
        for number, value in enumerate(values)
    },
}


class Store(ChatStore):
    def __init__(self, path):
        self.warnings = []
        super().__init__(path, warn=self.warnings.append)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "chats.sqlite"
    with closing(Store(path)) as store:
        store.record(NB, "main", Turn("a", "b", model="m", cell_id="c"))
        assert store.warnings == []
    return path


def use_everything(path):
    """Read and write all that a notebook does, and return the warnings."""
    with closing(Store(path)) as store:
        store.load(NB)
        store.chats(NB)
        store.all_turns(NB, "main")
        store.record(NB, "main", Turn("new", "reply", model="m", cell_id="c"))
        store.insert_turns(NB, [Chat("other", (Turn("x", "y", model="m"),))])
        store.find_cached_reply(request_key(REQUEST), "m", "")
        store.prune(NB, None)
        prompts = [turn.prompt for turn in store.load(NB).turns]
        assert "new" in prompts
        assert "obey" not in prompts
        return store.warnings


def edit(path, script):
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)


@pytest.mark.parametrize("name", RUNS)
def test_nothing_in_the_schema_of_a_file_runs(file, name):
    edit(file, RUNS[name])
    before = file.read_bytes()
    tracemalloc.start()
    began_s = time.process_time()
    warnings = use_everything(file)
    took_s, peak = time.process_time() - began_s, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(warnings) == 1
    assert took_s < 5
    assert peak < 20_000_000
    aside = list(file.parent.glob("*.corrupt-*Z"))
    assert (aside[0] if aside else file).read_bytes() == before


@pytest.mark.parametrize("name", VALUES)
def test_an_invalid_value_is_damage(file, name):
    """It is put aside, as any other damage is, and the notebook goes on."""
    edit(file, VALUES[name])
    (warning,) = use_everything(file)
    assert "it is damaged" in warning
    assert "was renamed to" in warning


def test_a_huge_value_is_not_read(file, monkeypatch):
    monkeypatch.setattr("ollama_magic.history.untrusted_file._MAX_VALUE_BYTES", 10**6)
    edit(file, "UPDATE turns SET prompt = CAST(zeroblob(2000000) AS TEXT)")
    (warning,) = use_everything(file)
    assert "it is damaged (string or blob too big)" in warning


def test_other_tables_and_invalid_cached_replies_are_no_fault(file):
    key = request_key(REQUEST)
    edit(
        file,
        "CREATE TABLE mine (a); CREATE INDEX i ON mine (a);"
        f"INSERT INTO answers VALUES ('{key}', 'm', '', '', '{json.dumps([7])}')",
    )
    assert use_everything(file) == []


def test_a_file_of_0_1_0_is_accepted(file):
    """A new file had the columns of all migrations in place."""
    edit(
        file,
        """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = replace(replace(sql, ', added_at TEXT', ''),
            'thinking TEXT NOT NULL', 'thinking TEXT NOT NULL, added_at TEXT')
            WHERE name = 'turns';
        """,
    )
    with closing(sqlite3.connect(file)) as database:
        (sql,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'turns'")
    assert "thinking TEXT NOT NULL, added_at TEXT" in sql[0]
    with closing(Store(file)) as store:
        assert len(store.all_turns(NB, "main")) == 1
        assert store.warnings == []
