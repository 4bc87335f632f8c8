"""What a short outage costs a ``map_prompts`` call: ``python -m benchmarks.outages``.

The server is out of service once, after a quarter of the rows. The table shows how many
rows have no reply at the end, how many requests were sent, and how long it took.
"""

import os
import socket
import struct
import tempfile
import threading
import time
import warnings

from benchmarks.server import MODELS, Handler, Server, entry
from ollama_magic import map_prompts
from ollama_magic.errors import OllamaMagicError

ROWS = 400
OUTAGE_S, RESTART_S = 2.0, 1.5
PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class Outage(Handler):
    """Answers after some milliseconds, and for a while as the outage wants."""

    kind = ""
    requests = 0
    began_at = 0.0
    lock = threading.Lock()

    def do_POST(self):  # noqa: N802  (the name of its base)
        with Outage.lock:
            Outage.requests += 1
            if Outage.requests == ROWS // 4:
                Outage.began_at = time.monotonic()
                if self.kind == "restart":
                    threading.Thread(target=restart, args=[self.server]).start()
        if Outage.began_at and time.monotonic() - Outage.began_at < OUTAGE_S:
            self.refuse()
        else:
            time.sleep(0.01)
            super().do_POST()

    def do_GET(self):  # noqa: N802
        if self.kind == "reset" and 0 < time.monotonic() - Outage.began_at < OUTAGE_S:
            self.reset()
        else:
            super().do_GET()

    def refuse(self):
        if self.kind == "busy":
            self.answer(503, b'{"error":"server busy, please try again"}')
        elif self.kind == "limited":
            self.answer(429, b'{"error":"too many requests"}', ("Retry-After", "1"))
        elif self.kind == "page":
            self.answer(502, PAGE, ("Content-Type", "text/html"))
        else:
            self.reset()

    def answer(self, status, body, *headers):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self):
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()


def start(port=0):
    running = Server(("127.0.0.1", port), Outage)
    threading.Thread(target=running.serve_forever, args=[0.01], daemon=True).start()
    return running


def restart(running):
    running.shutdown()
    running.server_close()
    time.sleep(RESTART_S)
    start(running.server_port)


OUTAGES = {
    "busy": '503 "server busy" for 2 s',
    "page": "502, a page of nginx, for 2 s",
    "limited": "429 and Retry-After: 1, for 2 s",
    "reset": "connections reset for 2 s",
    "restart": "restarted, the port closed for 1.5 s",
}


def measure(home):
    print("| outage | rows lost of 400 | requests | s |\n|---|--:|--:|--:|")
    warnings.simplefilter("ignore")
    Handler.listed = [entry(name, at) for at, name in enumerate(MODELS)]
    os.environ["XDG_DATA_HOME"] = home
    for kind, what in OUTAGES.items():
        Outage.kind, Outage.requests, Outage.began_at = kind, 0, 0.0
        url = f"http://127.0.0.1:{start().server_port}"
        began = time.monotonic()
        rows = [f"{kind} {n}" for n in range(ROWS)]
        found = map_prompts("{}", rows, model="yes:1b", hosts=url)
        taken_s = time.monotonic() - began
        lost = sum(isinstance(one, OllamaMagicError) for one in found)
        print(f"| {what} | {lost} | {Outage.requests} | {taken_s:.1f} |", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        measure(home)
