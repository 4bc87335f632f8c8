"""The cost of a long chat: a turn among 10,000, the first load, a listing, 10 MB.

A real shell runs the cells against a server that replies at once. A cell is run
repeatedly, so that it replaces the last turn of its chat each time. The limit is the
same cell in an empty chat.
"""

import contextlib
import io
import json
import tempfile
import time
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from IPython.core.interactiveshell import InteractiveShell

from benchmarks.server import ollama
from benchmarks.table import Row, Scale, interleaved
from ollama_magic.client.types import Stats
from ollama_magic.history import rows as turn_rows
from ollama_magic.history.store import ChatStore
from ollama_magic.history.turns import Turn, utc_now

TEXT = "What a chat is made of: words, and now and then `code` and a figure of 42. "
ALL_TURNS = "%%ollama yes:1b\nWhy?"
CELLS = {
    "a turn, `--last 20`": ("%%ollama yes:1b --last 20\nWhy?", 20),
    "`%ollama history`": ("%ollama history", None),
    "`%ollama chats`": ("%ollama chats", None),
    # The last one: what is before a fresh start is not listed any more.
    "a turn after a fresh start": ("%%ollama yes:1b --new\nWhy?", 20),
}


def fill(path, notebook, count):
    """Write a chat of so many turns, as if each had been asked in its cell."""
    store = ChatStore(path, warn=print)

    def work(database):
        chat_id = turn_rows.get_or_create_chat(database, notebook, "main")
        for number in range(count):
            turn = Turn(
                prompt=f"{number}: {TEXT}",
                reply=TEXT * 2,
                model="m:1b",
                cell_id=f"cell{number}",
                uid=f"{notebook}{number}",
                answered_at=utc_now(),
                stats=Stats(eval_count=40, prompt_eval_count=70),
            )
            turn = replace(turn, text_hash=turn.compute_text_hash())
            turn_rows.add_turn(database, chat_id, turn)

    store._database.run_and_commit(work)
    store.close()


class Bench:
    def __init__(self, folder, url):
        self.path = folder / "chats.sqlite"
        self.folder = folder
        self.shell = InteractiveShell.instance()
        self.shell.history_manager.enabled = False
        self.run("%load_ext ollama_magic")
        self.run(f"%config OllamaMagics.host = {url!r}")
        self.run(f"%config OllamaMagics.history_file = {str(self.path)!r}")

    def run(self, code, cell_id="bench"):
        """Return the seconds that a cell takes."""
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            result = self.shell.run_cell(code, cell_id=cell_id)
            if result.result is not None:
                repr(result.result)
        took_s = time.perf_counter() - began
        result.raise_error()
        return took_s

    def open(self, notebook):
        path = str(self.folder / notebook)
        self.run(f"%config OllamaMagics.notebook = {path!r}")

    def both(self, cell):
        """Return what measures a cell in the empty chat and in the long one."""

        def way(notebook):
            self.open(notebook)
            return {"ms": 1000 * self.run(cell)}

        for notebook in ("empty", "long"):
            way(notebook)
        return {name: lambda name=name: way(name) for name in ("empty", "long")}


def milliseconds(work):
    began = time.perf_counter()
    value = work()
    return 1000 * (time.perf_counter() - began), value


def bare_request(path, notebook, url):
    """Return what sends the messages of a chat and does nothing else."""
    store = ChatStore(path, warn=print)
    chat = store.load(notebook)
    store.close()

    def one():
        body = {"model": "yes:1b", "messages": chat.messages("RemovalReason?")}
        connection = HTTPConnection(urlsplit(url).netloc)
        connection.request("POST", "/api/chat", json.dumps(body).encode())
        connection.getresponse().read()
        connection.close()

    return lambda: {"ms": milliseconds(one)[0]}


def load_ms(path, notebook):
    store = ChatStore(path, warn=print)
    took_ms, _ = milliseconds(lambda: store.load(notebook))
    store.close()
    return took_ms


def huge_reply_ms(path):
    """Return the milliseconds of storing a 10 MB reply, and of reading it again."""
    store = ChatStore(path, warn=print)
    turn = Turn(prompt="Q", reply="word " * 2_000_000, model="m:1b", cell_id="huge")
    kept_ms, _ = milliseconds(lambda: store.record("huge", "main", turn))
    store.close()
    return kept_ms, load_ms(path, "huge")


def rows(scale: Scale):
    count, runs = (1000, 5) if scale.is_quick else (10_000, 15)
    with tempfile.TemporaryDirectory() as name, ollama() as url:
        folder = Path(name)
        path = folder / "chats.sqlite"
        fill(path, str(folder / "long"), count)
        bench = Bench(folder, url)
        of = f"in a chat of {count:,} turns"
        long_chat = str(folder / "long")
        ways = bench.both(ALL_TURNS) | {"bare": bare_request(path, long_chat, url)}
        taken = {name: one["ms"] for name, one in interleaved(runs, ways).items()}
        both = zip(taken["empty"], taken["bare"], strict=True)
        yield Row(
            f"a turn, all turns sent, ms, {of} (limit: empty, and the bare request)",
            taken["long"],
            "limit + 20",
            limit=[empty + bare for empty, bare in both],
            digits=1,
        )
        for what, (cell, more_ms) in CELLS.items():
            taken = interleaved(runs, bench.both(cell))
            target = f"limit + {more_ms}" if more_ms else ""
            yield Row(
                f"{what}, ms, {of} (limit: empty)",
                taken["long"]["ms"],
                target,
                limit=taken["empty"]["ms"],
                digits=1,
            )
        loads = [load_ms(path, str(folder / "long")) for _ in range(scale.runs(5))]
        yield Row(f"the first load of {count:,} turns, ms", loads, digits=0)
        kept_ms, read_ms = huge_reply_ms(path)
        yield Row("storing a reply of 10 MB, ms", [kept_ms], digits=0)
        yield Row("reading it again, ms", [read_ms], digits=0)
