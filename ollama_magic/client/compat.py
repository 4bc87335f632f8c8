"""What the client needs from inside requests and urllib3, in one place.

requests cannot end a request from another thread: closing a response while a thread
reads it is a race, and before the headers there is no response to close. So each
connection here reports its socket, and :class:`SharedSocket` shuts that down.

Seen in requests 2.32 to 2.34 with urllib3 2.7 to 2.8: ``HTTPAdapter`` asks
``get_connection_with_tls_context`` for a pool, a pool makes connections by calling its
``ConnectionCls``, ``connect()`` sets ``sock``, ``response.raw`` has
``_original_response``, and a body with ``__len__`` and ``__iter__`` is read with
``read()`` and sent with a ``Content-Length``.
"""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import Any, BinaryIO

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool

_READ_BYTES = 65536
_UPLOAD_BYTES = 1024 * 1024

# The wait for the first token has no limit, so a machine that vanished must be detected
# otherwise: the kernel probes after 60 s of silence, and gives up 60 s later.
_KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
    if hasattr(socket, name)  # macOS and older Windows lack some
]


class SharedSocket:
    """The socket of one connection, for use from other threads.

    It keeps a second handle on the socket: shutting that one down wakes a thread that
    waits on the first, is safe while TLS is at work, and cannot hit a file descriptor
    that was closed and reused.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._handle: socket.socket | None = None
        self.is_shut_down = False

    @property
    def is_connected(self) -> bool:
        """Whether the connection was made, with TLS if it needs that."""
        return self._handle is not None

    def adopt(self, connected: socket.socket) -> None:
        """Use the socket of the connection that was just made."""
        # Shutting down is the same for all families, and a TLS socket has no dup().
        handle = socket.fromfd(connected.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        with self._lock:
            self._socket, self._handle = connected, handle
            if not self.is_shut_down:
                return
        self.release()
        raise ConnectionAbortedError("closed while it connected")

    def set_timeout(self, seconds: float | None) -> None:
        """Limit the wait for the next bytes; None waits without limit."""
        if self._socket is not None:
            with suppress(OSError):  # the whole response may have arrived already
                self._socket.settimeout(seconds)

    def shut_down(self) -> None:
        """End the connection now, whatever a thread is doing with it."""
        with self._lock:
            self.is_shut_down = True
            if self._handle is not None:
                with suppress(OSError):  # the server has closed it already
                    self._handle.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Forget the socket, after the response."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = self._socket = None


@cache  # a class per connection would stay in the list of its base's subclasses
def _reporting(base: type[Any]) -> Callable[..., HTTPConnection]:
    """Return a subclass of ``base`` that shares its socket."""

    class Connection(base):  # type: ignore[misc]  # the base is plain or TLS
        def __init__(self, *args: object, shared: SharedSocket, **more: object) -> None:
            super().__init__(*args, **more)
            self._shared = shared

        def connect(self) -> None:
            super().connect()
            # The limit for connecting does not apply to sending a large body.
            self.timeout = None
            self.sock.settimeout(None)
            self._shared.adopt(self.sock)

    return Connection


class SharedSocketAdapter(HTTPAdapter):
    """Makes one connection, which shares its socket and has TCP keep-alive."""

    def __init__(self, shared: SharedSocket) -> None:
        self._shared = shared
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,
        **pool_kwargs: object,
    ) -> None:
        """Make a pool whose sockets have keep-alive."""
        pool_kwargs["socket_options"] = [
            *HTTPConnection.default_socket_options,
            *_KEEP_ALIVE,
        ]
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: str | tuple[str, str] | None = None,
    ) -> ConnectionPool:
        """Return a pool whose connections share their socket."""
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        assert isinstance(pool, HTTPConnectionPool)
        made = partial(_reporting(type(pool).ConnectionCls), shared=self._shared)
        pool.ConnectionCls = made  # type: ignore[assignment]  # it is only called
        return pool


def body_reader(response: requests.Response) -> Callable[[], bytes]:
    """Return a function that reads the next bytes of a body, and b"" at its end.

    It returns as soon as there are any; ``iter_content`` waits for full blocks unless
    the body is chunked. It bypasses urllib3 unless the body is compressed: urllib3
    costs as much as everything else about reading a line.
    """
    raw = response.raw
    plain: http.client.HTTPResponse | None = raw._original_response
    if plain is None or "Content-Encoding" in response.headers:
        return partial(raw.read1, _READ_BYTES, decode_content=True)

    def read() -> bytes:
        data = plain.read1(_READ_BYTES)
        if not data and plain.length:  # http.client treats this as the end
            raise http.client.IncompleteRead(b"", plain.length)
        return data

    return read


class Upload:
    """The rest of a file as the body of a request; reports bytes sent and in total.

    The file has to be seekable, since its length is sent first.
    """

    def __init__(
        self, file: BinaryIO, on_progress: Callable[[int, int], object] | None = None
    ) -> None:
        self._file = file
        self._on_progress = on_progress
        self._sent_bytes = 0
        start = file.tell()
        self._size_bytes = file.seek(0, os.SEEK_END) - start
        file.seek(start)

    def __len__(self) -> int:
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        # requests streams a body that has this, and then calls read().
        return iter(lambda: self.read(_UPLOAD_BYTES), b"")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes to send; b"" at the end."""
        data = self._file.read(size)
        self._sent_bytes += len(data)
        if self._on_progress is not None and data:
            self._on_progress(self._sent_bytes, self._size_bytes)
        return data
