"""Stands in for the ``ollama`` program: ``serve`` answers ``/api/version``, or not.

``FAKE_OLLAMA`` sets the behaviour: ``silent`` accepts connections and never answers,
``broken`` exits at once.
"""

import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data = b'{"version":"0.12.3"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def main():
    assert sys.argv[1:] == ["serve"]
    host, _, port = os.environ["OLLAMA_HOST"].rpartition(":")
    mode = os.environ.get("FAKE_OLLAMA")
    if mode == "broken":
        sys.exit("Error: no space left on device")
    elif mode == "silent":
        with socket.create_server((host, int(port))):
            threading.Event().wait()
    else:
        ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
