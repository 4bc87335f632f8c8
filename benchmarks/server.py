"""A server that speaks Ollama's protocol, in a process of its own.

The model's name selects the reply: see ``MODELS``. The server does nothing else, so
that only the client is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.reply_corpus import tokens

ROOT = Path(__file__).parents[1]
MODELS = {
    "yes:1b": "one word, at once",
    "label:1b": "a JSON object in three lines, at once",
    "many:1b": "40,000 chunks, as fast as they are taken",
    "big:1b": "one line of 10 MB",
    "250-1000:1b": "so many tokens of a made-up reply, so many a second",
    "1000-100:1b": "the same",
    "4000-100:1b": "the same",
}
_WRITTEN_AT = "2026-11-22T20:47:14.374163823Z"


@contextmanager
def ollama(models: int = 0) -> Iterator[str]:
    """Run it; yield its address.

    Parameters
    ----------
    models
        How many it lists besides its own.
    """
    command = [sys.executable, "-m", "benchmarks.server", str(models)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


def entry(name: str, number: int) -> dict:
    return {
        "name": name,
        "model": name,
        "digest": f"{number:064x}",
        "size": 10**9,
        "size_vram": 0,
        "modified_at": "2026-11-22T20:00:00Z",
        "expires_at": "2026-11-22T20:00:00Z",
        "details": {"parameter_size": "3.2B", "quantization_level": "Q4_K_M"},
        "capabilities": ["completion", "tools", "thinking"],
        "context_length": 131_072,
    }


def _line(is_chat: bool, text: str, **end: object) -> bytes:
    made = {"model": "m:1b", "created_at": _WRITTEN_AT, "done": bool(end)}
    message = {"message": {"role": "assistant", "content": text}}
    made |= message if is_chat else {"response": text}
    return json.dumps(made | end).encode() + b"\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    listed: list[dict]

    def do_GET(self):
        known = {"/api/version": {"version": "0.33.0"}, "/api/ps": {"models": []}}
        self._begin("application/json", known.get(self.path, {"models": self.listed}))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_chat = self.path == "/api/chat"
        self._begin("application/x-ndjson")
        kind = asked["model"].split(":")[0]
        last = _line(is_chat, "", done_reason="stop", eval_count=1, prompt_eval_count=1)
        if self.path == "/api/pull":
            self._send([b'{"status":"pulling manifest"}\n{"status":"success"}\n'])
        elif kind == "yes":
            self._send([_line(is_chat, "Yes."), last])
        elif kind == "label":
            self._send([_line(is_chat, t) for t in ('{"label": ', '"pos"}')] + [last])
        elif kind == "many":
            for _ in range(400):
                self._send([_line(is_chat, " word")] * 100)
            self._send([last])
        elif kind == "big":
            body = _line(is_chat, "x" * 10_000_000)
            self._send([body[at : at + 16384] for at in range(0, len(body), 16384)])
            self._send([last])
        else:
            self._send_at_rate(*map(int, kind.split("-")), is_chat=is_chat)
            self._send([last])
        self.wfile.write(b"0\r\n\r\n")

    def _send_at_rate(self, count, rate, *, is_chat):
        began_s = time.monotonic()
        for number, token in enumerate(tokens(count)):
            if (wait_s := began_s + number / rate - time.monotonic()) > 0:
                time.sleep(wait_s)
            self._send([_line(is_chat, token)])

    def _begin(self, kind, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if value is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, pieces):
        self.wfile.write(b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces))

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


def main() -> None:
    names = [f"model-{n:03}:latest" for n in range(int(sys.argv[1]))]
    Handler.listed = [entry(n, at) for at, n in enumerate([*MODELS, *names])]
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
