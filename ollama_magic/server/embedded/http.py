"""The HTTP server: access checks, request bodies, JSON and NDJSON responses.

Serves 127.0.0.1 only, and checks token, ``Host`` and ``Origin`` before it calls an
endpoint of ``api``. The status is sent with the first line of a response, not before,
so an error until then still has its own status, as with Ollama.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import logging
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from ollama_magic.server.embedded.protocol import ApiError

LOG = logging.getLogger(__name__)

Endpoint = Callable[["HTTPExchange"], None]
Routes = Mapping[tuple[str, str], Endpoint]
"""Method and path to endpoint; a path that ends in ``/*`` is one more level."""

_PIECE = 1 << 16
_DRAIN_LIMIT = 1 << 20
_REQUEST_S = 60.0
"""How long a connection may wait for its next request, which holds a thread."""


class ClientGoneError(Exception):
    """The client closed the connection before the response was complete."""


def to_json(value: object) -> bytes:
    """Return compact JSON; lone surrogates become ``?``."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


class HTTPExchange:
    """One request and its response, as an endpoint sees them."""

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler
        length = handler.headers.get("Content-Length", "0")
        self._unread = int(length) if length.isascii() and length.isdigit() else 0
        self.is_chunked = "Transfer-Encoding" in handler.headers
        self.path = urlsplit(handler.path).path
        self.has_begun = False
        """Whether the status was sent; errors then become a line of the stream."""

    def body(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.body_pieces())

    def body_pieces(self) -> Iterator[bytes]:
        """Yield the body in pieces.

        Raises
        ------
        ClientGoneError
            The body is shorter than announced.
        """
        while self._unread > 0:
            piece = self._handler.rfile.read(min(self._unread, _PIECE))
            if not piece:
                raise ClientGoneError
            self._unread -= len(piece)
            yield piece

    def send_json(self, value: object) -> None:
        """Respond with 200 and one JSON value, without a final newline."""
        self._send(200, to_json(value))

    def send_status(self, status_code: int) -> None:
        """Respond with a status and an empty body."""
        self._send(status_code, b"")

    def send_error(self, error: ApiError) -> None:
        """Send ``{"error": …}``, with its status or as the last line of a stream."""
        if self.has_begun:
            self.send_line({"error": error.text})
            self.end_lines()
            return
        self._send(error.status_code, to_json({"error": error.text}))

    def send_line(self, value: object) -> None:
        """Send one line of an NDJSON stream, as one HTTP chunk."""
        line = to_json(value) + b"\n"
        chunk = b"%x\r\n%s\r\n" % (len(line), line)
        if not self.has_begun:
            names = {"Content-Type": "application/x-ndjson"}
            head = self._handler.head(200, {**names, "Transfer-Encoding": "chunked"})
            self.has_begun = True
            chunk = head + chunk
        self._write(chunk)

    def end_lines(self) -> None:
        """End the stream."""
        self._write(b"0\r\n\r\n")

    def check_client(self) -> None:
        """Check that the client is still there.

        Raises
        ------
        ClientGoneError
            It has closed the connection.
        """
        if self._is_client_gone():
            raise ClientGoneError

    def _is_client_gone(self) -> bool:
        connection = self._handler.connection
        try:
            readable, _, _ = select.select([connection], [], [], 0)
            return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def drain(self) -> None:
        """Read the rest of the body: if it is unread at close, the response is lost."""
        if self.is_chunked or self._unread > _DRAIN_LIMIT:
            self._handler.close_connection = True
        else:
            with contextlib.suppress(ClientGoneError, OSError):
                self.body()

    def _send(self, status_code: int, data: bytes) -> None:
        self.has_begun = True
        headers = {"Content-Type": "application/json; charset=utf-8"} if data else {}
        headers["Content-Length"] = str(len(data))
        head = self._handler.head(status_code, headers)
        self._write(head if self._handler.command == "HEAD" else head + data)

    def _write(self, data: bytes) -> None:
        try:
            self._handler.wfile.write(data)
        except OSError as error:
            raise ClientGoneError from error


class EmbeddedHTTPServer(ThreadingHTTPServer):
    """A server on 127.0.0.1, one thread for each connection.

    Parameters
    ----------
    port
        0 lets the system choose a free port.
    token
        Required of every request, as ``Authorization: Bearer``.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, token: str, routes: Routes) -> None:
        self.token = token
        self.routes = routes
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: EmbeddedHTTPServer

    def handle_one_request(self) -> None:
        """Read and answer a request, or close the connection if none arrives."""
        self.connection.settimeout(_REQUEST_S)
        super().handle_one_request()

    def _dispatch(self) -> None:
        self.connection.settimeout(None)
        exchange = HTTPExchange(self)
        try:
            if not _is_local(self.headers):
                exchange.send_status(403)
            elif not self._has_token():
                exchange.send_error(ApiError(401, "unauthorized"))
            elif exchange.is_chunked:
                exchange.send_error(ApiError(411, "a request needs a Content-Length"))
            else:
                self._run(exchange)
            exchange.drain()
        except ClientGoneError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT = do_OPTIONS = _dispatch  # noqa: N815

    def _run(self, exchange: HTTPExchange) -> None:
        paths = (exchange.path, f"{exchange.path.rpartition('/')[0]}/*")
        found = (self.server.routes.get((self.command, path)) for path in paths)
        endpoint = next(filter(None, found), _unknown)
        try:
            endpoint(exchange)
        except ApiError as error:
            exchange.send_error(error)
        except ClientGoneError:
            raise
        except Exception as error:
            LOG.exception("%s %s failed", self.command, exchange.path)
            text = f"{type(error).__name__} in the embedded engine, see its log"
            exchange.send_error(ApiError(500, text))

    def _has_token(self) -> bool:
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        wanted = f"Bearer {self.server.token}".encode()
        return hmac.compare_digest(given, wanted)

    def head(self, status_code: int, headers: Mapping[str, str]) -> bytes:
        """Return the status line and headers, without a ``Server`` header."""
        phrase = HTTPStatus(status_code).phrase
        lines = [f"HTTP/1.1 {status_code} {phrase}", f"Date: {self.date_time_string()}"]
        lines.extend(f"{name}: {value}" for name, value in headers.items())
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def log_message(self, format: str, *args: object) -> None:
        LOG.debug(format, *args)


def _unknown(exchange: HTTPExchange) -> None:
    raise ApiError(404, f"{exchange.path} does not exist, or not with this method")


def _is_local(headers: Message) -> bool:
    """Return whether ``Host`` and ``Origin`` name this machine, not a web page."""
    host, origin = headers.get("Host", ""), headers.get("Origin")
    is_host_local = not host or _is_loopback(f"//{host}")
    return is_host_local and (origin is None or _is_loopback(origin))


def _is_loopback(url: str) -> bool:
    try:
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
