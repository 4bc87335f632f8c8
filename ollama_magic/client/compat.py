"""Connections of urllib3 whose socket another thread may shut down.

requests has no way to end a request from outside: closing a response while another
thread reads it is a race, and before the headers there is no response to close.
"""

from __future__ import annotations

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

# The wait for a first token has no limit, so a machine that vanished must show by
# other means: the kernel asks after 60 s of silence, and gives up 60 s later.
_KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
    if hasattr(socket, name)  # macOS and older Windows lack some
]


class Line:
    """The socket of one exchange, as far as other threads may use it.

    A second handle on the same connection is kept: shutting that down wakes a
    thread that waits on the first, is safe while TLS is at work on it, and cannot
    hit a file number that was closed and given out again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._handle: socket.socket | None = None
        self.is_cut = False

    def adopt(self, connected: socket.socket) -> None:
        """Take note of the socket of the connection that was just made."""
        # Shutting down works alike for all families, and a TLS socket has no dup().
        handle = socket.fromfd(connected.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        with self._lock:
            self._socket, self._handle = connected, handle
            if not self.is_cut:
                return
        self.release()
        raise ConnectionAbortedError("closed while it connected")

    def set_timeout(self, seconds: float | None) -> None:
        """Bound the wait for the next bytes, in seconds; None is for ever."""
        if self._socket is not None:
            with suppress(OSError):  # the whole answer may have come already
                self._socket.settimeout(seconds)

    def cut(self) -> None:
        """End the connection now, whatever a thread is doing with it."""
        with self._lock:
            self.is_cut = True
            if self._handle is not None:
                with suppress(OSError):  # the other side was faster
                    self._handle.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Let go of the socket: the exchange is over."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = self._socket = None


@cache  # a class for each exchange would leave a trace in its base for good
def _reporting(base: type[Any]) -> Callable[..., HTTPConnection]:
    """Return ``base`` with one addition: it tells a line its socket."""

    class Connection(base):  # type: ignore[misc]  # the base is plain or TLS
        def __init__(self, *args: object, line: Line, **more: object) -> None:
            super().__init__(*args, **more)
            self._line = line

        def connect(self) -> None:
            super().connect()
            # The limit for connecting is not one for sending a large body.
            self.timeout = None
            self.sock.settimeout(None)
            self._line.adopt(self.sock)

    return Connection


class Adapter(HTTPAdapter):
    """Makes connections that report their socket, and are asked for signs of life."""

    def __init__(self, line: Line) -> None:
        self._line = line
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,
        **pool_kwargs: object,
    ) -> None:
        """Make a pool whose connections tell of their sockets."""
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
        """Return a connection that tells of its socket."""
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        assert isinstance(pool, HTTPConnectionPool)
        made = partial(_reporting(type(pool).ConnectionCls), line=self._line)
        pool.ConnectionCls = made  # type: ignore[assignment]  # it is only called
        return pool


_PIECE_BYTES = 1024 * 1024


class Upload:
    """What is left of ``file``; reports the bytes sent and the bytes in all.

    The file has to be seekable, so that its length can be told beforehand.
    """

    def __init__(
        self, file: BinaryIO, on_progress: Callable[[int, int], object] | None = None
    ) -> None:
        self._file = file
        self._on_progress = on_progress
        self._sent_bytes = 0
        begin = file.tell()
        self._size_bytes = file.seek(0, os.SEEK_END) - begin
        file.seek(begin)

    def __len__(self) -> int:
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        # That this is here tells requests that it is no text; it calls read().
        return iter(lambda: self.read(_PIECE_BYTES), b"")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes to send; empty at the end."""
        piece = self._file.read(size)
        self._sent_bytes += len(piece)
        if self._on_progress is not None and piece:
            self._on_progress(self._sent_bytes, self._size_bytes)
        return piece
