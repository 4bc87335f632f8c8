"""How long Tab takes for names of models, with servers near, far, hanging and gone.

Each figure comes from a fresh kernel, whose user needs two seconds to type the line.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from jupyter_client.manager import start_new_kernel

from benchmarks.server import ROOT, entry
from benchmarks.table import Row, Scale

MANY = 100
SERVERS = {"near": 0.0, "300 ms away": 0.3, "that hangs": 60.0, "that is gone": None}
PRESSES = {"first press": 2, "second press, at once": 0, "third press, 1 s later": 1}
"""The seconds before each press."""
LINE = "%%ollama mod"


@contextmanager
def server(delay_s: float | None) -> Iterator[str]:
    """Run a server that lists its models after a delay; None: it is gone."""
    listed = [entry(f"model-{number:03}:latest", number) for number in range(MANY)]
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if closing.wait(delay_s):
                return
            with suppress(BrokenPipeError):  # the kernel has ended
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"models": listed}).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        url = f"http://127.0.0.1:{http.server_port}"
        if delay_s is None:
            http.server_close()
            yield url
            return
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield url
        closing.set()
        http.shutdown()


def probe(delay_s: float | None) -> list[tuple[float, int]]:
    with server(delay_s) as url:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "OLLAMA_HOST": url, "PYTHONPATH": path}
        manager, client = start_new_kernel(kernel_name="python3", env=environment)
        try:
            client.execute_interactive(
                "%load_ext ollama_magic", allow_stdin=True, output_hook=lambda _: None
            )
            return [press(client, pause_s) for pause_s in PRESSES.values()]
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def press(client, pause_s: float) -> tuple[float, int]:
    time.sleep(pause_s)
    began_s = time.perf_counter()
    reply = client.complete(LINE, len(LINE), reply=True, timeout=60)
    taken_ms = 1000 * (time.perf_counter() - began_s)
    return taken_ms, len(reply["content"]["matches"])


def rows(scale: Scale) -> Iterator[Row]:
    for name, delay_s in SERVERS.items():
        taken = [probe(delay_s) for _ in range(scale.runs(5))]
        for number, when in enumerate(PRESSES):
            ms = [presses[number][0] for presses in taken]
            counts = [presses[number][1] for presses in taken]
            names = f"{min(counts)} to {max(counts)} names"
            what = f"Tab, server {name}, {when}, ms ({names})"
            target = "500" if number == 0 else "200"
            yield Row(what, ms, target, digits=0)
