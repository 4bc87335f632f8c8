"""What a request, a row and a cell cost, compared with the ``ollama`` package.

Both ask the same server by turns: on this machine, behind TLS, and far away. ``ollama``
keeps its connections as well. The part needs ``pip install ollama``.
"""

import contextlib
import io
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

from benchmarks.server import ollama as server
from benchmarks.table import Row, Scale, interleaved
from ollama_magic import ask, map_prompts
from ollama_magic.client.client import OllamaClient

try:
    import ollama
except ImportError:
    ollama = None

MODEL, SLOW = "yes:1b", "60-100:1b"
PLACES = {  # what a row of the table says: has_tls, delay_ms
    "http": (False, 0),
    "https": (True, 0),
    "http, 50 ms away": (False, 50),
    "https, 50 ms away": (True, 50),
}
FRESH = count()


def cpu_ms(call, times):
    """Return a way that makes a call so often: the CPU of one."""

    def way():
        began_s = time.process_time()
        for _ in range(times):
            call(f"prompt {next(FRESH)}")
        return {"cpu": 1000 * (time.process_time() - began_s) / times}

    return way


def requests(scale, url, place):
    ours, theirs = OllamaClient(url), ollama.Client(url)
    os.environ["OLLAMA_HOST"] = url
    ways = {
        "client": lambda text: ours.generate(MODEL, text).complete(),
        "theirs": lambda text: theirs.generate(MODEL, text),
    }
    if place == "http":
        ways["ask"] = lambda text: ask(text, model=MODEL)
    for call in ways.values():
        call("imports")
    times = 50 if scale.is_quick else 200
    ways = {name: cpu_ms(call, times) for name, call in ways.items()}
    taken = interleaved(scale.runs(5), ways)
    limit = taken["theirs"]["cpu"]
    what = f"a request, {place}, CPU ms (limit: `ollama.Client`)"
    yield Row(what, taken["client"]["cpu"], "1.5 x", limit=limit)
    if "ask" in taken:
        what = "`ask` in a loop, CPU ms (limit: `ollama.generate`)"
        yield Row(what, taken["ask"]["cpu"], "3 x", limit=limit)


def rows_per_s(scale, url, place, at_once):
    """Return the rows a second, and their CPU, of ``map_prompts`` and of a pool."""
    theirs = ollama.Client(url)
    is_near = "away" not in place
    many = 1500 if is_near else 40 * min(at_once, 16)
    many = many // 4 if scale.is_quick else many

    def prompts():
        return [f"row {next(FRESH)}" for _ in range(many)]

    def ours():
        options = {"model": MODEL, "hosts": url, "concurrency": at_once}
        map_prompts("{}", prompts(), progress=False, **options)

    def pool():
        def one(text):
            messages = [{"role": "user", "content": text}]
            return theirs.chat(MODEL, messages).message.content

        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(one, prompts()))

    def timed(call):
        began_s, cpu_s = time.perf_counter(), time.process_time()
        call()
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        return {"rows": many / took_s, "cpu": 1000 * cpu_s / many}

    ours()
    ways = {"ours": lambda: timed(ours), "pool": lambda: timed(pool)}
    taken = interleaved(scale.runs(5), ways)
    mine, limit = taken["ours"], taken["pool"]
    what = f"`map_prompts`, {at_once} at once, {place}"
    peer = "(limit: a thread pool with `ollama.chat`)"
    name = f"{what}, rows/s {peer}"
    yield Row(name, mine["rows"], "0.9 x", limit=limit["rows"], digits=0)
    if is_near:
        yield Row(f"{what}, CPU ms a row {peer}", mine["cpu"], limit=limit["cpu"])


def cells(scale, delay_ms, *, is_first):
    """Return what a cell costs that names its model: 60 tokens, 100 a second.

    Both make new connections in the first cell, and keep them for the next one.
    """
    from ollama_magic.client import connection
    from ollama_magic.generation.options import ChatOptions
    from ollama_magic.generation.run import ask as run_cell
    from ollama_magic.generation.session import current_session

    class Shown:
        """Notes when the first text comes."""

        first_s = 0.0

        def feed(self, content, thinking=""):
            self.first_s = self.first_s or (time.perf_counter() if content else 0.0)

        def __getattr__(self, name):
            return lambda *_, **__: None

    with server(delay_ms=delay_ms) as url:
        os.environ["OLLAMA_HOST"] = url
        kept = ollama.Client(url)

        def ours():
            if is_first:
                OllamaClient(url).close()
                connection._lists.clear()
            display, began_s = Shown(), time.perf_counter()
            options = ChatOptions(model=SLOW)
            run_cell(current_session(), options, "Hi", display)
            whole_s = time.perf_counter() - began_s
            return {"first": display.first_s - began_s, "whole": whole_s}

        def by_hand():
            theirs = ollama.Client(url) if is_first else kept
            began_s, first_s = time.perf_counter(), 0.0
            messages = [{"role": "user", "content": "Hi"}]
            for _ in theirs.chat(SLOW, messages, stream=True):
                first_s = first_s or time.perf_counter() - began_s
            return {"first": first_s, "whole": time.perf_counter() - began_s}

        ours()
        by_hand()
        taken = interleaved(scale.runs(5), {"ours": ours, "by hand": by_hand})
    for key, what in (("first", "the first text"), ("whole", "the whole cell")):
        mine, limit = ([1000 * s for s in taken[k][key]] for k in ("ours", "by hand"))
        cell = "the first cell" if is_first else "a later cell"
        name = f"{cell}, {delay_ms} ms away, {what}, ms (limit: `ollama.chat`)"
        yield Row(name, mine, "1.1 x" if delay_ms else "", limit=limit, digits=0)


def memory_of_turns(url, home, turns):
    """Return how many MB so many cells take, all in one chat."""
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False

    def run(code, cell_id="one"):
        with contextlib.redirect_stdout(io.StringIO()):
            shell.run_cell(code, cell_id=cell_id).raise_error()

    def resident_mb():
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    run("%load_ext ollama_magic")
    run(f"%config OllamaMagics.host = {url!r}")
    run(f"%config OllamaMagics.history_file = {home + '/chats.sqlite'!r}")
    for number in range(20):
        run(f"%%ollama {MODEL}\nhi", f"warm{number}")
    before, kept = resident_mb(), []  # as `Out` of a notebook keeps them
    for number in range(turns):
        run(f"%%ollama {MODEL}\nhi", f"cell{number}")
        kept.append(shell.meta["ollama_magic"].session.last_reply)
    return resident_mb() - before


def rows(scale: Scale):
    if ollama is None:
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        for place, (has_tls, delay_ms) in PLACES.items():
            with server(has_tls=has_tls, delay_ms=delay_ms) as url:
                if not delay_ms:
                    yield from requests(scale, url, place)
                for at_once in (1, 2, 8, 32):
                    yield from rows_per_s(scale, url, place, at_once)
        for delay_ms in (0, 50, 200):
            for is_first in (True, False):
                yield from cells(scale, delay_ms, is_first=is_first)
        turns = 200 if scale.is_quick else 800
        with server() as url, ProcessPoolExecutor(1, get_context("spawn")) as pool:
            taken = pool.submit(memory_of_turns, url, home, turns).result()
        yield Row(f"{turns} short turns in one chat, MB", [taken], "25", digits=1)
