"""What a long chat costs: a turn among 10,000, first load, a huge reply, a listing.

``python benchmarks/history.py [TURNS]`` prints a Markdown table. Cells are run by a
real shell against a server on loopback, in a process of its own, which answers at
once; a cell is run again and again, so that each time it replaces the last turn of its
chat. The ratio to the same cell in an empty chat is what can be compared between
machines.
"""

import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

from ollama_magic.conversation import Turn
from ollama_magic.history import rows
from ollama_magic.history.store import ChatStore
from ollama_magic.wire import Stats

RUNS = 15
MODEL = {
    "name": "m:1b",
    "model": "m:1b",
    "modified_at": "2026-11-22T20:00:00Z",
    "size": 1,
    "digest": "0" * 64,
    "details": {},
    "context_length": 131_072,
    "size_vram": 0,
    "expires_at": "2026-11-22T20:00:00Z",
}
TEXT = "What a chat is made of: words, and now and then `code` and a figure of 42. "


class Handler(BaseHTTPRequestHandler):
    """Answers as Ollama does, without looking at what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        known = {"/api/version": {"version": "0.12.0"}}
        self._send(known.get(self.path, {"models": [MODEL]}))

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": "Yes."}
        self._send({"model": "m:1b", "message": message, "done": True, "eval_count": 1})

    def _send(self, value):
        data = json.dumps(value).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args):
        pass


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def fill(path, notebook, count):
    """Write a chat of so many turns, as if each had been asked in its cell."""
    store = ChatStore(path, warn=print)

    def work(database):
        chat_id = rows.make_chat(database, notebook, "main")
        for number in range(count):
            turn = Turn(
                prompt=f"{number}: {TEXT}",
                reply=TEXT * 2,
                model="m:1b",
                cell_id=f"cell{number}",
                uid=f"{notebook}{number}",
                answered_at=rows.utc_now(),
                stats=Stats(eval_count=40, prompt_eval_count=70),
            )
            turn = replace(turn, text_hash=turn.compute_text_hash())
            rows.add_turn(database, chat_id, turn)

    store._database.run_and_commit(work)
    store.close()


class Bench:
    def __init__(self, folder, port):
        self.path = folder / "chats.sqlite"
        self.folder = folder
        self.shell = InteractiveShell.instance()
        self.shell.history_manager.enabled = False
        self.run("%load_ext ollama_magic")
        self.run(f"%config OllamaMagics.host = '127.0.0.1:{port}'")
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

    def compare(self, cell):
        """Return the medians of a cell in the empty chat and in the long one."""
        times = {"empty": [], "long": []}
        for notebook in times:
            self.open(notebook)
            self.run(cell)
        for _ in range(RUNS):
            for notebook, taken in times.items():  # by turns: the machine is shared
                self.open(notebook)
                taken.append(self.run(cell))
        return [statistics.median(taken) for taken in times.values()]


def seconds(work):
    began = time.perf_counter()
    value = work()
    return time.perf_counter() - began, value


def store_alone(path, notebook):
    """Return the seconds of the calls to the store that one turn makes."""
    store = ChatStore(path, warn=print)
    turn = Turn(prompt="Q", reply="A", model="m:1b", cell_id="alone")
    store.load(notebook)

    def one():
        store.current_chat(notebook)
        chat = store.load(notebook).before("alone")
        chat.messages("Q")
        store.record(notebook, "main", turn)
        store.load(notebook)

    one()
    took_s = statistics.median(seconds(one)[0] for _ in range(RUNS))
    store.close()
    return took_s


def floor(path, notebook, port):
    """Return the seconds of a bare request with the messages of a chat."""
    store = ChatStore(path, warn=print)
    chat = store.load(notebook)
    store.close()

    def one():
        body = {"model": "m:1b", "messages": chat.messages("Why?")}
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/api/chat", json.dumps(body).encode())
        connection.getresponse().read()
        connection.close()

    one()
    return statistics.median(seconds(one)[0] for _ in range(RUNS))


def huge_reply(path, megabytes):
    reply = "word " * (megabytes * 200_000)
    store = ChatStore(path, warn=print)
    turn = Turn(prompt="Q", reply=reply, model="m:1b", cell_id="huge")
    record_s = seconds(lambda: store.record("huge", "main", turn))[0]
    store.close()
    store = ChatStore(path, warn=print)
    load_s = seconds(lambda: store.load("huge"))[0]
    store.close()
    return record_s, load_s


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    child = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name), int(child.stdout.readline()), count)
    finally:
        child.kill()
        child.wait()


def measure(folder, port, count):
    path = folder / "chats.sqlite"
    fill(path, str(folder / "long"), count)
    size_mb = path.stat().st_size / 1e6
    bench = Bench(folder, port)
    rows_ = []

    def compare(what, cell):
        empty_s, long_s = bench.compare(cell)
        rows_.append((what, empty_s, long_s))

    compare("a turn, all turns sent", "%%ollama m:1b\nWhy?")
    compare("a turn, `--last 20`", "%%ollama m:1b --last 20\nWhy?")
    compare("`%ollama history`", "%ollama history")
    compare("`%ollama chats`", "%ollama chats")
    notebooks = [str(folder / name) for name in ("empty", "long")]
    bare = [floor(path, notebook, port) for notebook in notebooks]
    rows_.append(("the same request alone, without a cell", *bare))
    alone = [store_alone(path, notebook) for notebook in notebooks]
    rows_.append(("the store's part of a turn", *alone))
    compare("a turn after a fresh start", "%%ollama m:1b --new\nWhy?")
    store = ChatStore(path, warn=print)
    load_s, chat = seconds(lambda: store.load(str(folder / "long")))
    stale_s, _ = seconds(chat.stale)
    store.close()
    record_s, huge_s = huge_reply(path, 10)
    print(f"{count:,} turns, {size_mb:.0f} MB; medians of {RUNS}\n")
    print("| | empty chat, ms | long chat, ms | more, ms | ratio |")
    print("| --- | --: | --: | --: | --: |")
    for what, empty_s, long_s in rows_:
        more_s = long_s - empty_s
        print(
            f"| {what} | {empty_s * 1e3:.1f} | {long_s * 1e3:.1f} "
            f"| {more_s * 1e3:.1f} | {long_s / empty_s:.1f} |"
        )
    print(f"\nfirst load of the long chat: {load_s * 1e3:.0f} ms")
    print(f"which of its turns are stale: {stale_s * 1e3:.0f} ms")
    print(f"a reply of 10 MB: kept in {record_s * 1e3:.0f} ms, read in", end=" ")
    print(f"{huge_s * 1e3:.0f} ms")


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()
