"""A server that speaks Ollama's protocol, in a process of its own.

The model's name selects the reply: see ``MODELS``. The server does nothing else, so
that only the client is measured. It can be far away: each connection and each request
then waits so long.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certifi

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
_TRUSTED = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_WRITTEN_AT = "2026-11-22T20:47:14.374163823Z"


@contextmanager
def ollama(
    models: int = 0, *, delay_ms: int = 0, has_tls: bool = False
) -> Iterator[str]:
    """Run it; yield its address.

    Parameters
    ----------
    models
        How many it lists besides its own.
    delay_ms
        How long each connection and each request takes.
    has_tls
        With a certificate that all clients of this process trust, among the usual ones.
    """
    command = [sys.executable, "-m", "benchmarks.server"]
    trusted = {name: os.environ.get(name) for name in _TRUSTED}
    command += [f"--models={models}", f"--delay={delay_ms}"]
    with tempfile.TemporaryDirectory() as home:
        if has_tls:
            command.append(f"--tls={_certified(Path(home))}")
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout
                port = server.stdout.readline().strip()
                yield f"http{'s' * has_tls}://127.0.0.1:{port}"
            finally:
                server.kill()
                os.environ |= {k: v for k, v in trusted.items() if v is not None}
                for name in (k for k, v in trusted.items() if v is None):
                    os.environ.pop(name, None)


def _certified(home: Path) -> Path:
    """Make a key and a certificate, and trust it; return their file."""
    key, file, bundle = home / "key.pem", home / "server.pem", home / "bundle.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    names = ["-subj", "/CN=benchmark", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(file)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    bundle.write_text(Path(certifi.where()).read_text() + file.read_text())
    file.write_text(file.read_text() + key.read_text())
    os.environ |= dict.fromkeys(_TRUSTED, str(bundle))
    return file


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
    disable_nagle_algorithm = True
    listed: list[dict]
    delay_s = 0.0
    tls: ssl.SSLContext | None = None

    def setup(self):
        time.sleep(self.delay_s)
        if self.tls is not None:
            self.request = self.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def do_GET(self):
        time.sleep(self.delay_s)
        known = {"/api/version": {"version": "0.33.0"}, "/api/ps": {"models": []}}
        self._begin("application/json", known.get(self.path, {"models": self.listed}))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_chat = self.path == "/api/chat"
        time.sleep(self.delay_s)
        if asked.get("stream") is False:
            whole = _line(is_chat, "Yes.", done_reason="stop", eval_count=1)
            self._begin("application/json", json.loads(whole))
            return
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
    daemon_threads = True

    def handle_error(self, *_):  # a client may leave when it has what it wants
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=0)
    parser.add_argument("--delay", type=int, default=0)
    parser.add_argument("--tls")
    args = parser.parse_args()
    names = [f"model-{n:03}:latest" for n in range(args.models)]
    Handler.listed = [entry(n, at) for at, n in enumerate([*MODELS, *names])]
    Handler.delay_s = args.delay / 1000
    if args.tls:
        Handler.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        Handler.tls.load_cert_chain(args.tls)
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
