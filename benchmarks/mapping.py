"""The cost of ``map_prompts``, compared with a bare ``requests`` loop.

The server replies to each row at once. Then 10,000 rows are sent in one call, which
also measures memory, and the same call is made again with all rows cached.
"""

import json
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count as numbers
from multiprocessing import get_context

import requests

from benchmarks.server import ollama
from benchmarks.table import Row, Scale, interleaved
from ollama_magic import map_prompts

ROWS, CONCURRENCY = 500, 4
SCHEMA = "label: one of pos, neg"


def prompts(many, run):
    return [f"run {run}, row {n}: the words of a customer" for n in range(many)]


def ours(url, texts, **options):
    options |= {"model": "label:1b", "hosts": url, "concurrency": CONCURRENCY}
    map_prompts("{}", texts, **options)


def bare(url, texts):
    def ask(text):
        asked = {"model": "label:1b", "prompt": text, "stream": True}
        address = f"{url}/api/generate"
        with requests.post(address, json=asked, stream=True, timeout=60) as response:
            lines = response.iter_lines(chunk_size=None)
            return "".join(json.loads(line)["response"] for line in lines)

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(ask, texts))


def cost(call, *args, **options):
    began, cpu = time.perf_counter(), time.process_time()
    call(*args, **options)
    return {"time": time.perf_counter() - began, "cpu": time.process_time() - cpu}


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def many(url, texts):
    """Return what many rows cost, and the same again; in a process of their own."""
    ours(url, ["imports"], schema=SCHEMA)
    before = peak_mb()
    first = cost(ours, url, texts, schema=SCHEMA)["time"]
    taken = peak_mb() - before
    return taken, first, cost(ours, url, texts, schema=SCHEMA)["time"]


def rows(scale: Scale):
    with tempfile.TemporaryDirectory() as home, ollama() as url:
        os.environ["XDG_DATA_HOME"] = home
        fresh = numbers()
        ours(url, ["imports"], schema=SCHEMA)

        def way(call, **options):
            return lambda: cost(call, url, prompts(ROWS, next(fresh)), **options)

        ways = {
            "bare": way(bare),
            "ours": way(ours),
            "schema": way(ours, schema=SCHEMA),
        }
        taken = interleaved(scale.runs(5), ways)
        for name, what in (("ours", ""), ("schema", ", with a schema")):
            for key, unit in (("time", "ms"), ("cpu", "ms of CPU")):
                mine, limit = (
                    [1000 * one / ROWS for one in taken[way][key]]
                    for way in (name, "bare")
                )
                what_ = f"`map_prompts`{what}, {unit} a row (limit: bare `requests`)"
                yield Row(what_, mine, limit=limit)
        count = 1000 if scale.is_quick else 10_000
        # A process's peak never falls: what was measured before would hide it.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            work = pool.submit(many, url, prompts(count, "many"))
            taken_mb, first_s, again_s = work.result()
        yield Row(f"`map_prompts`, {count:,} rows, MB of memory", [taken_mb], digits=1)
        what = "the same again, all cached, s (naive: the first time)"
        yield Row(what, [again_s], naive=[first_s])
