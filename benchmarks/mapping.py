"""What `map_prompts` costs beside a bare ``requests`` loop with the same concurrency.

A server in another process answers each row at once, in three lines. Time and CPU of
this process are counted, medians of interleaved runs; then 10,000 rows in one call,
with the memory they take, and the same call again, answered by what was kept.

Run: ``python benchmarks/mapping.py``.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from ollama_magic import map_prompts

RUNS, ROWS, MANY, CONCURRENCY = 5, 500, 10_000, 4
SERVER = """
import http.server, json
def line(text, **end):
    made = {"model": "m:1b", "created_at": "2026-11-22T20:47:14.374163823Z"}
    return json.dumps(made | {"response": text, "done": bool(end)} | end) + "\\n"
lines = [line('{"label": '), line('"pos"}'), line("", done_reason="stop", eval_count=2)]
reply = b"".join(b"%x\\r\\n%b\\r\\n" % (len(l), l.encode()) for l in lines)
entry = {"name": "m:1b", "model": "m:1b", "digest": "0" * 64, "details": {},
    "modified_at": "2026-11-22T20:00:00Z", "size": 1, "capabilities": ["completion"]}
models = json.dumps({"models": [entry]}).encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(models)))
        self.end_headers()
        self.wfile.write(models)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(reply + b"0\\r\\n\\r\\n")
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
SCHEMA = "label: one of pos, neg"


def rows(count, run):
    return [f"run {run}, row {n}: the words of a customer" for n in range(count)]


def ours(url, prompts, **options):
    map_prompts("{}", prompts, hosts=url, concurrency=CONCURRENCY, **options)


def bare(url, prompts):
    def ask(prompt):
        asked = {"model": "m:1b", "prompt": prompt, "stream": True}
        address = f"{url}/api/generate"
        with requests.post(address, json=asked, stream=True, timeout=60) as response:
            lines = response.iter_lines(chunk_size=None)
            return "".join(json.loads(line)["response"] for line in lines)

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(ask, prompts))


def cost(call, *args, **options):
    """Return seconds of time and of CPU."""
    began, cpu = time.perf_counter(), time.process_time()
    call(*args, **options)
    return time.perf_counter() - began, time.process_time() - cpu


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def medians(pairs):
    return [statistics.median(column) for column in zip(*pairs, strict=True)]


def beside(url):
    ways = {
        "bare requests": lambda prompts: cost(bare, url, prompts),
        "ours": lambda prompts: cost(ours, url, prompts),
        "ours, with a schema": lambda prompts: cost(ours, url, prompts, schema=SCHEMA),
    }
    taken = {name: [] for name in ways}
    for run in range(RUNS + 1):
        for name, way in ways.items():
            figures = way(rows(ROWS, f"{run} {name}"))
            if run:  # the first one imports
                taken[name].append(figures)
    print(f"{ROWS} rows, {CONCURRENCY} at a time, medians of {RUNS}:")
    for name, figures in taken.items():
        pairs = zip(figures, taken["bare requests"], strict=True)
        ratios = [(a / b, c / d) for (a, c), (b, d) in pairs]
        time_ms, cpu_ms = (1000 * one / ROWS for one in medians(figures))
        by_time, by_cpu = medians(ratios)
        print(
            f"  {name:22} {time_ms:6.2f} ms a row (x{by_time:.2f})"
            f"  {cpu_ms:6.2f} ms CPU (x{by_cpu:.2f})"
        )


def many(url):
    before = peak_mb()
    first, _ = cost(ours, url, rows(MANY, "many"), schema=SCHEMA)
    taken = peak_mb() - before
    again, _ = cost(ours, url, rows(MANY, "many"), schema=SCHEMA)
    print(f"{MANY:,} rows with a schema: {first:.1f} s, {taken:.1f} MB at the peak")
    print(f"  again, all of them kept: {again:.1f} s")


def main():
    command = [sys.executable, "-c", SERVER]
    with (
        tempfile.TemporaryDirectory() as home,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        os.environ["XDG_DATA_HOME"] = home
        try:
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            beside(url)
            many(url)
        finally:
            server.kill()


if __name__ == "__main__":
    main()
