"""What reading a stream costs, beside a bare ``requests`` loop over the same bytes.

A server in another process sends 40,000 chunks of a chat, and one line of 10 MB. The
CPU of this process is counted, medians of interleaved runs.

Run: ``python benchmarks/reader.py``.
"""

import json
import statistics
import subprocess
import sys
import time

import requests

from ollama_magic.client import OllamaClient

RUNS = 5
SERVER = """
import http.server, json
line = json.dumps({"model": "m", "created_at": "2026-11-22T20:47:14.374163823Z",
    "message": {"role": "assistant", "content": " word"}, "done": False}) + "\\n"
end = json.dumps({"model": "m", "message": {"role": "assistant", "content": ""},
    "done": True, "done_reason": "stop", "eval_count": 40000}) + "\\n"
many = line.encode() * 40_000 + end.encode()
big = json.dumps({"model": "m", "done": False,
    "message": {"role": "assistant", "content": "x" * 10_000_000}}) + "\\n" + end
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = big.encode() if asked["model"] == "big" else many
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        size = 16384 if asked["model"] == "big" else len(line)
        for at in range(0, len(body), size):
            piece = body[at:at + size]
            self.wfile.write(b"%x\\r\\n%b\\r\\n" % (len(piece), piece))
        self.wfile.write(b"0\\r\\n\\r\\n")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def ours(url, model):
    for _ in OllamaClient(url).chat(model, []):
        pass


def bare(url, model):
    asked = {"model": model, "messages": []}
    with requests.post(f"{url}/api/chat", json=asked, stream=True) as response:
        for line in response.iter_lines(chunk_size=None):
            json.loads(line)


def cpu_s(read, url, model):
    began = time.process_time()
    read(url, model)
    return time.process_time() - began


def main():
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        try:
            rows = [
                (cpu_s(ours, url, "many"), cpu_s(bare, url, "many"))
                for _ in range(RUNS)
            ]
            big_s = statistics.median(cpu_s(ours, url, "big") for _ in range(RUNS))
        finally:
            server.kill()
    ours_s, bare_s = (statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(a / b for a, b in rows)
    print(f"40,000 chunks, ours             {ours_s:6.2f} s CPU")
    print(f"40,000 chunks, bare requests    {bare_s:6.2f} s CPU")
    print(f"  ratio                         {ratio:6.2f}    (goal: at most 2)")
    print(f"one line of 10 MB, ours         {big_s:6.2f} s CPU (goal: under 1)")


if __name__ == "__main__":
    main()
