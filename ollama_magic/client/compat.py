"""What the client needs from inside requests and urllib3, in one place.

requests cannot end a request from another thread: closing a response while a thread
reads it is a race, and before the headers there is no response to close. So each
connection here reports its socket, and :class:`SharedSocket` shuts that down. A
connection whose response was read to its end waits for the next request, in
:class:`IdleConnections`.

Seen in requests 2.32 to 2.34 with urllib3 2.7 to 2.8: a manager makes pools of its
``pool_classes_by_scheme``; a pool takes connections with ``_get_conn``, which
``connect()`` and ``request()`` before ``getresponse()``, and gets them back with
``_put_conn``; a response has ``_connection`` and ``_original_response``, and an adapter
returns what its ``build_response`` makes of it; a pool with an ``ssl_context`` loads no
certificates unless ``cert_verify`` names a file; and a body with ``__len__`` and
``__iter__`` (``Upload``) is read with ``read()`` and sent with a ``Content-Length``.
"""

from __future__ import annotations

import atexit
import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache, partial
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.response import HTTPResponse
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from ollama_magic.client.host import Host
from ollama_magic.errors import ConfigError, quoted

_MAX_IDLE = 64
_MAX_IDLE_S = 60.0
_READ_BYTES = 65536

# The wait for the first token has no limit, so a machine that vanished must be detected
# otherwise: the kernel probes after 60 s of silence, and gives up 60 s later.
_KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
    if hasattr(socket, name)  # macOS and older Windows lack some
]


class SharedSocket:
    """The socket of one exchange, for use from other threads.

    It keeps a second handle on the socket: shutting that one down wakes a thread that
    waits on the first, is safe while TLS is at work, and cannot hit a file descriptor
    that was closed and reused, or a connection that serves another exchange by now.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._handle: socket.socket | None = None
        self.is_shut_down = False
        self.was_idle = False
        """Whether the connection has served another exchange before."""

    @property
    def is_connected(self) -> bool:
        """Whether the connection was made, with TLS if it needs that."""
        return self._handle is not None

    def adopt(self, connected: socket.socket, *, was_idle: bool) -> None:
        """Use the socket of a connection."""
        # Shutting down is the same for all families, and a TLS socket has no dup().
        handle = socket.fromfd(connected.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        self.release()
        with self._lock:
            self._socket, self._handle = connected, handle
            self.was_idle = was_idle
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

    def release(self) -> bool:
        """Forget the socket, after the response; return whether it is still open."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = self._socket = None
            return not self.is_shut_down


# -- connections between two requests ------------------------------------------


class IdleConnections:
    """The connections of this process that wait for a request, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, HTTPConnectionPool, HTTPConnection]] = []

    def take(self, pool: HTTPConnectionPool) -> HTTPConnection | None:
        """Return the newest connection of a pool that is still open, if any."""
        while True:
            with self._lock:
                places = range(len(self._waiting) - 1, -1, -1)
                at = next((n for n in places if self._waiting[n][1] is pool), None)
                if at is None:
                    return None
                since_s, _, connection = self._waiting.pop(at)
            # NB: false also if the server sent something that nobody asked for.
            if connection.is_connected and time.monotonic() - since_s < _MAX_IDLE_S:
                return connection
            connection.close()

    def put(self, pool: HTTPConnectionPool, connection: HTTPConnection) -> None:
        """Keep a connection; close the oldest ones."""
        now_s = time.monotonic()
        with self._lock:
            self._waiting.append((now_s, pool, connection))
            old = sum(now_s - since_s > _MAX_IDLE_S for since_s, *_ in self._waiting)
            count = max(old, len(self._waiting) - _MAX_IDLE)
            dropped, self._waiting = self._waiting[:count], self._waiting[count:]
        for *_, one in dropped:
            one.close()

    def close(self, host: str = "", port: int | None = None) -> None:
        """Close the connections to a host and port, or all."""
        with self._lock:
            meant = [
                one
                for one in self._waiting
                if not host or (one[1].host, one[1].port) == (host, port)
            ]
            self._waiting = [one for one in self._waiting if one not in meant]
        for *_, connection in meant:
            connection.close()

    def forget(self) -> None:
        """Leave the connections to the process that this one was forked from."""
        self._lock = threading.Lock()  # a thread of that process may have held it
        self.close()  # of TLS too, this sends nothing


IDLE = IdleConnections()


class _Exchanging(threading.local):
    shared: SharedSocket
    may_reuse: bool


_THREAD = _Exchanging()


@cache  # a class per connection would stay in the list of its base's subclasses
def _reporting(base: type[Any]) -> type[Any]:
    """Return a subclass of ``base`` that shares its socket."""

    class Connection(base):  # type: ignore[misc]  # the base is plain or TLS
        is_idle = False

        def connect(self) -> None:
            super().connect()
            # The limit for connecting does not apply to sending a large body.
            self.timeout = None
            self.sock.settimeout(None)
            _THREAD.shared.adopt(self.sock, was_idle=False)

        def request(self, *args: object, **more: object) -> None:
            if self.sock is not None:
                self.timeout = None
            super().request(*args, **more)

    return Connection


@cache
def _keeping(base: type[Any]) -> type[Any]:
    """Return a subclass of the pool ``base`` whose connections outlive a request."""

    class Pool(base):  # type: ignore[misc]
        ConnectionCls = _reporting(base.ConnectionCls)

        def _get_conn(self, timeout: float | None = None) -> Any:  # noqa: ANN401
            connection: Any = IDLE.take(self) if _THREAD.may_reuse else None
            if connection is None:
                return self._new_conn()
            connection.is_idle = False
            try:
                _THREAD.shared.adopt(connection.sock, was_idle=True)
            except OSError:
                connection.close()
                raise
            return connection

        def _put_conn(self, conn: Any) -> None:  # noqa: ANN401
            if conn is not None and conn.is_idle and conn.is_connected:
                IDLE.put(self, conn)
            elif conn is not None:
                conn.close()

    return Pool


class KeepingAdapter(HTTPAdapter):
    """Sends requests on connections that share their socket, and are kept.

    Parameters
    ----------
    tls
        The context of all connections; None if the servers have no TLS.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._pools: dict[str, Any] = {}
        super().__init__(pool_maxsize=1)

    def send_shared(
        self,
        request: requests.PreparedRequest,
        shared: SharedSocket,
        *,
        may_reuse: bool,
        **more: Any,  # noqa: ANN401  (parameters of `send`)
    ) -> HTTPResponse:
        """Send a request on a new connection, or one that was kept, and share it."""
        _THREAD.shared, _THREAD.may_reuse = shared, may_reuse
        try:
            response: Any = self.send(request, stream=True, **more)
        finally:
            del _THREAD.shared
        return cast("HTTPResponse", response)

    def build_response(self, req: Any, resp: Any) -> Any:  # noqa: ANN401
        """Return urllib3's response: one of requests reads cookies and an encoding."""
        return resp

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        *args: Any,  # noqa: ANN401
        **more: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return the pool of a request's host; without a proxy it is looked up once."""
        find_pool = super().get_connection_with_tls_context
        if more.get("proxies"):
            return find_pool(request, *args, **more)
        origin = "/".join(str(request.url).split("/", 3)[:3])
        if origin not in self._pools:
            self._pools[origin] = find_pool(request, *args, **more)
        return self._pools[origin]

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **more: object
    ) -> None:
        """Make the manager of direct connections."""
        more |= self._for_pools()
        super().init_poolmanager(connections, maxsize, block, **more)
        self._keep_in(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:  # noqa: ANN401
        """Return the manager of the connections through a proxy."""
        if proxy not in self.proxy_manager:
            more |= self._for_pools()
            if proxy.lower().startswith("https:"):
                more["proxy_ssl_context"] = self._tls
            self._keep_in(super().proxy_manager_for(proxy, **more))
        return self.proxy_manager[proxy]

    def _for_pools(self) -> dict[str, Any]:
        options = [*HTTPConnection.default_socket_options, *_KEEP_ALIVE]
        return {"socket_options": options, "ssl_context": self._tls}

    def _keep_in(self, manager: Any) -> None:  # noqa: ANN401
        classes = manager.pool_classes_by_scheme.items()
        manager.pool_classes_by_scheme = {
            scheme: _keeping(one) for scheme, one in classes
        }

    def cert_verify(self, conn: Any, url: str, verify: object, cert: object) -> None:  # noqa: ANN401
        """Do nothing: the context has the certificates, and requires one."""


@lru_cache(maxsize=64)
def prepared_url(url: str) -> str | None:
    """Return a URL as requests sends it, which takes a tenth of a request's time."""
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    return request.url


def keep_connection(raw: Any, shared: SharedSocket) -> None:  # noqa: ANN401
    """Keep the connection of a response whose body was read to its end."""
    plain, connection = raw._original_response, raw._connection
    if plain is None or connection is None:
        return
    if plain.length == 0:  # in Python 3.11, reading the last byte does not end it
        plain.close()
    # NB: first, so that no other thread shuts the socket down from now on.
    connection.is_idle = shared.release() and plain.isclosed()
    raw.release_conn()


def body_reader(raw: HTTPResponse) -> Callable[[], bytes]:
    """Return a function that reads the next bytes of a body, and b"" at its end.

    It returns as soon as there are any; ``iter_content`` waits for full blocks unless
    the body is chunked. It bypasses urllib3 unless the body is compressed: urllib3
    costs as much as everything else about reading a line.
    """
    plain: http.client.HTTPResponse | None = raw._original_response
    if plain is None or "Content-Encoding" in raw.headers:
        return partial(raw.read1, _READ_BYTES, decode_content=True)

    def read() -> bytes:
        data = plain.read1(_READ_BYTES)
        if not data and plain.length:  # http.client treats this as the end
            raise http.client.IncompleteRead(b"", plain.length)
        return data

    return read


# -- the connections for a host: those of its certificates and proxy ------------------
#
# All clients of a process share them: a session makes a client for each cell, and the
# next cell should find the connection of the one before. Nothing here knows credentials
# or cookies, which belong to a request.


def adapter_for(host: Host) -> KeepingAdapter:
    """Return the adapter for requests to a host.

    Raises
    ------
    ConfigError
        The environment names a file of certificates that does not exist.
    requests.exceptions.SSLError
        The file has no certificates.
    """
    if not host.base_url.startswith("https:"):
        return _adapter("", 0)
    path = _ca_bundle() or DEFAULT_CA_BUNDLE_PATH
    return _adapter(path, os.stat(path).st_mtime_ns)


@lru_cache(maxsize=8)
def _adapter(ca_bundle: str, _changed_ns: int) -> KeepingAdapter:
    """Return the adapter that trusts a file or folder of certificates.

    Reading the usual file takes 20 ms, so it is read again only after a change.
    """
    if not ca_bundle:
        return KeepingAdapter(None)
    tls = create_urllib3_context()
    try:
        if os.path.isdir(ca_bundle):
            tls.load_verify_locations(capath=ca_bundle)
        else:
            tls.load_verify_locations(cafile=ca_bundle)
    except OSError as exc:
        raise requests.exceptions.SSLError(exc) from exc
    return KeepingAdapter(tls)


def _ca_bundle() -> str:
    """Return the file or folder of certificates that the environment names, if any.

    Also for loopback, where proxies are not looked for. requests knows the first two
    variables, and fails with a bare ``OSError`` if there is no such file. Other
    programs, such as the official client, read the third.
    """
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    name = next((name for name in names if os.environ.get(name)), None)
    if name is None:
        path = os.environ.get("SSL_CERT_FILE", "")
        return path if os.path.exists(path) else ""
    path = os.environ[name]
    if not os.path.exists(path):
        raise ConfigError(
            f"{name} names a file that does not exist.",
            why=f"no certificates at {quoted(path)}",
            next_step=f"correct it: %env {name}=FILE",
        )
    return path


def proxies_for(host: Host) -> dict[str, str]:
    """Return the proxies of the environment, as requests takes them.

    None for loopback: a proxy cannot reach that; requests would use it.
    """
    url = host.base_url
    return {} if host.is_loopback else requests.utils.get_environ_proxies(url)


def proxy_for(host: Host) -> str | None:
    """Return the proxy that requests to a host go through."""
    return requests.utils.select_proxy(host.base_url, proxies_for(host))


def close_idle(host: Host) -> None:
    """Close the connections to a host that wait for a request."""
    url = parse_url(host.base_url)
    IDLE.close((url.host or "").strip("[]"), url.port)


def _forget() -> None:
    """Share nothing with the process that this one was forked from."""
    IDLE.forget()
    _adapter.cache_clear()  # a lock in it may be held


atexit.register(IDLE.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
