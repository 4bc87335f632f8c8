"""One HTTP request and its response, on a connection that any thread may close.

The client and its streams use it. It handles proxies, credentials and timeouts, and
returns statuses and bodies as they are; network failures are raised as errors of
:mod:`ollama_magic.client.network_errors`. An exchange has its connection for itself; if
the body was read to its end, the next exchange may use it. So closing one response
never touches another, and no cookie is kept.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, ClassVar

import requests
import urllib3
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from ollama_magic import __version__
from ollama_magic.client.background import track_connection
from ollama_magic.client.compat import (
    SharedSocket,
    adapter_for,
    body_reader,
    keep_connection,
    prepared_url,
    proxies_for,
    proxy_for,
)
from ollama_magic.client.host import Host, is_same_address
from ollama_magic.client.network_errors import (
    closed_here,
    is_closed_idle,
    no_response,
    over_limit,
    stream_broken,
)
from ollama_magic.client.progress import Upload
from ollama_magic.client.redaction import Headers, Redactor
from ollama_magic.client.server_errors import RequestInfo
from ollama_magic.errors import ConfigError, OllamaMagicError, StreamInterruptedError

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_LAST_CHUNK_S = 0.05
_REPEATABLE = {"/api/chat", "/api/generate", "/api/embed", "/api/show", "/api/me"}
"""Requests that change nothing on the server, besides those with GET and HEAD."""
_JSON, _ANY_BYTES = "application/json", "application/octet-stream"
_FAULTS = (requests.RequestException, urllib3.exceptions.HTTPError)
_HEADERS = {
    "Accept": "application/json, application/x-ndjson",
    "Accept-Encoding": "identity",  # a small response could unpack to a huge one
    "User-Agent": f"ollama-magic/{__version__}",
}


# -- credentials ---------------------------------------------------------------


class Credentials(AuthBase):
    """The secret headers of a host: a token, or user and password, and extra ones.

    It also disables ``.netrc``, which requests reads when a request has no
    authentication object, and would prefer to our header.

    Parameters
    ----------
    api_key
        Bearer token; user and password in the host's URL take precedence.
    is_from_environment
        Whether the key comes from ``OLLAMA_API_KEY``. It may be meant for another
        server then, so it is withheld if it would cross the network unencrypted.
    headers
        Sent with each request, and treated as secrets; an ``Authorization`` in them
        takes precedence.
    insecure_hosts
        ``HOST:PORT`` of the machines that may receive secrets unencrypted.

    Raises
    ------
    ConfigError
        A token or header is invalid, or would cross the network unencrypted.
    """

    holds_secrets: ClassVar[bool] = True
    """``{{ }}`` in a prompt never looks into this object."""

    def __init__(
        self,
        host: Host,
        api_key: str,
        *,
        is_from_environment: bool = False,
        headers: Mapping[str, str] | None = None,
        insecure_hosts: Sequence[str] = (),
    ) -> None:
        self.host = host
        token = api_key.strip()
        if not re.fullmatch("[!-~]*", token):
            raise ConfigError(
                "The API key is invalid.",
                why="it contains spaces or non-ASCII characters",
                next_step="set OLLAMA_API_KEY to the token alone",
            )
        self.headers = Headers(headers)
        """Extra headers; their values are secret."""
        self.redactor = Redactor([token, *host.secrets, *self.headers.secrets])
        """Hides the token, the password and the headers, also those withheld."""
        self.withheld_key: ConfigError | None = None
        """Why the key from the environment is not sent; None if it is, or unset."""
        basic = host.basic_credentials
        header = f"Basic {basic}" if basic else f"Bearer {token}" if token else ""
        self._sent = ({"Authorization": header} if header else {}) | self.headers
        if self._sent and not _is_allowed(host, insecure_hosts):
            secret = "password" if basic else "API key"
            error = _unencrypted(host, "secret in headers" if self.headers else secret)
            if basic or self.headers or not is_from_environment:
                raise error
            self.withheld_key, self._sent = error, {}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the headers to a request; requests calls this."""
        request.headers.update(self._sent)
        return request

    @property
    def kind(self) -> str:
        """The secret that is sent: ``key``, ``password`` or nothing."""
        if not self._sent:
            return ""
        return "password" if self.host.basic_credentials else "key"

    @property
    def digest(self) -> str:
        """Identifies the secrets that are sent, without revealing them."""
        return hashlib.sha256(json.dumps(self._sent).encode()).hexdigest()

    def __repr__(self) -> str:
        return "Credentials(***)"


def _is_allowed(host: Host, insecure_hosts: Sequence[str]) -> bool:
    """Return whether secrets may be sent to this host."""
    is_encrypted = host.base_url.startswith("https://")
    return (
        is_encrypted
        or host.is_loopback
        or any(is_same_address(named, host) for named in insecure_hosts)
    )


def _unencrypted(host: Host, secret: str) -> ConfigError:
    name = host.name if is_same_address(host.name, host) else f"http://{host.name}"
    return ConfigError(
        f"The {secret} was not sent to {host.base_url}.",
        why="that is another machine, and http:// is not encrypted",
        next_step="use https://, or allow it for this host: "
        f'%config OllamaMagics.insecure_hosts = ["{name}"]',
    )


# -- request and response ------------------------------------------------------


class HttpExchange:
    """One request and its response.

    One thread calls :meth:`open` and then :meth:`pieces` or :meth:`read`; any thread
    may call :meth:`close` at any time.

    Parameters
    ----------
    credentials
        They say which host the request goes to.
    body
        Sent as JSON, or a file.
    response_timeout_s
        From the request to the headers of the response; None waits without limit.
    idle_timeout_s
        Between two parts of the body; None waits without limit.
    """

    def __init__(
        self,
        credentials: Credentials,
        connect_timeout_s: float,
        method: str,
        path: str,
        body: Mapping[str, Any] | Upload | None = None,
        *,
        response_timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
    ) -> None:
        self.credentials = credentials
        self.host = credentials.host
        self.redactor = credentials.redactor
        """Hides the secrets that were sent, if the server repeats them."""
        self._method = method
        self._path = path
        self.accept = _HEADERS["Accept"]
        """The types of response that are requested."""
        self._model = ""
        self._body: bytes | Upload | None
        if isinstance(body, Mapping):
            self._model = str(body.get("model") or body.get("source") or "")
            self._body = json.dumps(body).encode("ascii")
        else:
            self._body = body
        self._connect_timeout_s = connect_timeout_s
        self._response_timeout_s = response_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._socket = SharedSocket()
        self._releasing = threading.RLock()
        self._is_busy = False
        self._response: urllib3.HTTPResponse | None = None
        self.is_closed = False
        self.status_code = 0

    def open(self) -> None:
        """Send the request and wait for status and headers.

        Raises
        ------
        ServerUnreachableError
            Nothing responded.
        NotOllamaError
            What responded does not speak HTTP.
        StreamInterruptedError
            :meth:`close` was called meanwhile.
        """
        track_connection(self)
        self._begin_work()
        try:
            response = self._response = self._send()
        finally:
            self._end_work()
        if self.is_closed:
            raise closed_here(self.host)
        self._socket.set_timeout(self._idle_timeout_s)
        self.status_code = response.status

    @property
    def info(self) -> RequestInfo:
        """The request as error messages describe it."""
        withheld = self.credentials.withheld_key
        _, _, action, *rest = self._path.partition("?")[0].split("/")
        return RequestInfo(
            self.host.base_url,
            "/".join([action, *rest]) if action == "experimental" else action,
            self._model,
            size_bytes=len(self._body or b""),
            sent=self.credentials.kind,
            has_proxy=bool(proxy_for(self.host)),
            wants_password="basic" in self.header("WWW-Authenticate").lower(),
            withheld_step=withheld.next_step if withheld else "",
            retry_after_s=self.retry_after_s,
        )

    @property
    def content_type(self) -> str:
        """The ``Content-Type`` of the response, in lower case."""
        return self.header("Content-Type").lower()

    @property
    def location(self) -> str:
        """The target of a redirect."""
        return self.header("Location")

    @property
    def retry_after_s(self) -> float:
        """The seconds until the time that ``Retry-After`` names; 0 without it."""
        value = self.header("Retry-After").strip()
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value)
        try:
            left = parsedate_to_datetime(value) - datetime.now(UTC)
        except (ValueError, TypeError, OverflowError):  # not a date with a time zone
            return 0.0
        return max(left.total_seconds(), 0.0)

    def header(self, name: str) -> str:
        """Return a header of the response; empty if there is none."""
        headers = self._response.headers if self._response is not None else {}
        return self.redactor.error(headers.get(name, ""))

    def _send(self) -> urllib3.HTTPResponse:
        error: BaseException
        try:
            return self._send_again_if_stale()
        except _FAULTS as exc:
            error = self._error_for(exc)
        except BaseException as exc:  # noqa: BLE001  (raised again below)
            error = _without_frames(exc)
        # NB: outside the handler, so that the exception of requests, which carries the
        # headers and so the token, is not even the context of our error. An interrupt
        # loses the frames of requests: a verbose traceback shows the headers in them.
        raise error

    def _send_again_if_stale(self) -> urllib3.HTTPResponse:
        """Send the request; once more if the server had given the connection up.

        A server may close a connection that is idle just when a request is on its way.
        """
        send = partial(
            adapter_for(self.host).send_shared,
            self._prepared(),
            self._socket,
            timeout=(self._connect_timeout_s, self._response_timeout_s),
            proxies=proxies_for(self.host),
        )
        is_repeatable = self._method in {"GET", "HEAD"} or self._path in _REPEATABLE
        try:
            return send(may_reuse=is_repeatable)
        except requests.ConnectionError as exc:
            is_stale = self._socket.was_idle and is_closed_idle(exc)
            if not is_stale or self._socket.is_shut_down:
                raise
        return send(may_reuse=False)

    def _prepared(self) -> requests.PreparedRequest:
        body = self._body
        request = requests.PreparedRequest()
        request.method = self._method
        request.url = prepared_url(self.host.base_url + self._path)
        request.headers = CaseInsensitiveDict(_HEADERS)
        request.headers["Accept"] = self.accept
        if body is not None:
            is_json = isinstance(body, bytes)
            request.headers["Content-Type"] = _JSON if is_json else _ANY_BYTES
        if body is not None or self._method not in {"GET", "HEAD"}:
            request.headers["Content-Length"] = str(len(body or b""))
        request.body = body  # type: ignore[assignment]  # `Upload` has `read`
        return self.credentials(request)

    def _error_for(self, exc: Exception) -> OllamaMagicError:
        if self._socket.is_shut_down:
            return closed_here(self.host)
        connected = self._socket.is_connected
        return no_response(
            self.host,
            exc,
            connect_timeout_s=self._connect_timeout_s,
            response_timeout_s=self._response_timeout_s if connected else None,
            hide=self.redactor.error,
        )

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives, without waiting for full blocks.

        Raises
        ------
        StreamInterruptedError
            The body was cut off, the server fell silent, or :meth:`close` was called.
        """
        assert self._response is not None, "call open() first"
        read = body_reader(self._response)
        while piece := self._read_piece(read):
            yield piece

    def read(self, *, max_bytes: int = MAX_RESPONSE_BYTES) -> bytes:
        """Return the whole body; raises the same errors as :meth:`pieces`."""
        pieces: list[bytes] = []
        size = 0
        for piece in self.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise over_limit(self.host, max_bytes)
        return b"".join(pieces)

    def close(self) -> None:
        """End the connection now, whatever another thread is doing with it.

        The server notices at once. A connection that is still being made is dropped as
        soon as it exists.
        """
        self.is_closed = True
        self._socket.shut_down()
        if not self._is_busy:  # otherwise the working thread releases it
            self._release()

    def finish(self) -> None:
        """Close the exchange after the last line of its body.

        The connection is kept if the body ends there, as it should.
        """
        self._socket.set_timeout(_LAST_CHUNK_S)
        with suppress(StreamInterruptedError):
            next(self.pieces(), b"")
        self.close()

    def _read_piece(self, read: Callable[[], bytes]) -> bytes:
        piece, error = b"", None
        self._begin_work()
        try:
            piece = read()
            if not piece and self._response is not None:
                keep_connection(self._response, self._socket)
        except (*_FAULTS, http.client.HTTPException, OSError) as exc:
            if self._socket.is_shut_down:
                error = closed_here(self.host)
            else:
                error = stream_broken(self.host, exc, self._idle_timeout_s)
        finally:
            self._end_work()
        if error is not None:  # raised here for the reason given in _send
            raise error
        if self.is_closed:  # a body that ends with its connection looks complete
            raise closed_here(self.host)
        return piece

    # NB: the order of these steps keeps close() from releasing what is in use, without
    # a lock per line: the worker marks itself busy, then checks whether it is closed;
    # close() marks the exchange closed, then checks whether a worker is busy.

    def _begin_work(self) -> None:
        self._is_busy = True
        if self.is_closed:
            self._end_work()
            raise closed_here(self.host)

    def _end_work(self) -> None:
        self._is_busy = False
        if self.is_closed:
            self._release()

    def _release(self) -> None:
        with self._releasing:  # both sides may get here at the same time
            if self._response is not None:
                self._response.close()
            self._socket.release()


def _without_frames(exc: BaseException) -> BaseException:
    exc.__cause__ = exc.__context__ = None
    return exc.with_traceback(None)
