"""How long Tab takes for names of models, with servers near, far, hanging and gone.

Each figure comes from a fresh process, in which the first press imports the client.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.server import ROOT, entry
from benchmarks.table import Row, Scale

MANY = 100
SERVERS = {"near": 0.0, "300 ms away": 0.3, "that hangs": 60.0, "that is gone": None}
PRESSES = ("first press", "second press, at once", "third press, 1 s later")
PROBE = """
import json, time
import ipykernel.zmqshell
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "ollama_magic")
shell.run_line_magic("config", "OllamaMagics.host = {url!r}")
line, found = "%%ollama mod", []
for pause_s in (0, 0, 1):
    time.sleep(pause_s)
    began = time.perf_counter()
    with provisionalcompleter():
        names = list(shell.Completer.completions(line, len(line)))
    found.append((1000 * (time.perf_counter() - began), len(names)))
print(json.dumps(found))
"""


@contextmanager
def server(delay_s: float | None) -> Iterator[str]:
    """Run a server that lists its models after a delay; None: it is gone."""
    listed = [entry(f"model-{number:03}:latest", number) for number in range(MANY)]
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if closing.wait(delay_s):
                return
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
        command = [sys.executable, "-c", PROBE.format(url=url)]
        return json.loads(subprocess.check_output(command, cwd=ROOT, text=True))


def rows(scale: Scale) -> Iterator[Row]:
    for name, delay_s in SERVERS.items():
        taken = [probe(delay_s) for _ in range(scale.runs(5))]
        for number, press in enumerate(PRESSES):
            ms = [presses[number][0] for presses in taken]
            counts = [presses[number][1] for presses in taken]
            names = f"{min(counts)} to {max(counts)} names"
            what = f"Tab with a server {name}, {press}, ms ({names})"
            yield Row(what, ms, "200", digits=0)
