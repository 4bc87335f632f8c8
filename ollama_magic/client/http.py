"""What proves to the server who asks: a token or a password, kept out of sight."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import requests
import urllib3
from requests.auth import AuthBase

from ollama_magic import __version__
from ollama_magic.client.background import note
from ollama_magic.client.compat import Adapter, Line, Upload
from ollama_magic.client.host import Host, is_same_place
from ollama_magic.client.network_errors import (
    closed_here,
    no_answer,
    over_limit,
    stream_broken,
)
from ollama_magic.client.redaction import Redactor
from ollama_magic.errors import ConfigError, OllamaMagicError


class Credentials(AuthBase):
    """What is sent as ``Authorization``, to the one host it belongs to.

    It also stands in the way of ``.netrc``, which requests reads when a request
    has no authentication of its own, and would prefer to a header of ours.

    Parameters
    ----------
    api_key
        Bearer token; user and password of the host go before it.
    is_from_environment
        Whether the key comes from ``OLLAMA_API_KEY``. It may be meant for another
        server then, so it is withheld where it would cross the network unencrypted.
    insecure_hosts
        ``HOST:PORT`` of the machines that may get secrets unencrypted.

    Raises
    ------
    ConfigError
        The token cannot be a header, or would cross the network unencrypted.
    """

    holds_secrets: ClassVar[bool] = True
    """A prompt does not look into it."""

    def __init__(
        self,
        host: Host,
        api_key: str,
        *,
        is_from_environment: bool = False,
        insecure_hosts: Sequence[str] = (),
    ) -> None:
        token = api_key.strip()
        if not re.fullmatch("[!-~]*", token):
            raise ConfigError(
                "The API key cannot be used.",
                why="it holds blanks or characters outside of ASCII",
                next_step="set OLLAMA_API_KEY to the token alone",
            )
        self.redactor = Redactor([token, *host.secrets])
        """Hides the token and the password, also a token that is withheld."""
        self.withheld_key: ConfigError | None = None
        """Why the key of the environment is not sent; None: it is, or there is none."""
        basic = host.basic_credentials
        self._header = f"Basic {basic}" if basic else f"Bearer {token}" if token else ""
        if self._header and not _is_allowed(host, insecure_hosts):
            error = _unencrypted(host, "password" if basic else "API key")
            if basic or not is_from_environment:
                raise error
            self.withheld_key, self._header = error, ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the header into a request, as requests asks of its authentications."""
        if self._header:
            request.headers["Authorization"] = self._header
        return request

    @property
    def digest(self) -> str:
        """Identifies the secret that is sent, without revealing it."""
        return hashlib.sha256(self._header.encode()).hexdigest()

    def __repr__(self) -> str:
        return "Credentials(***)"


def _is_allowed(host: Host, insecure_hosts: Sequence[str]) -> bool:
    """Return whether a secret may be sent there."""
    is_encrypted = host.base_url.startswith("https://")
    return (
        is_encrypted
        or host.is_loopback
        or any(is_same_place(named, host) for named in insecure_hosts)
    )


def _unencrypted(host: Host, secret: str) -> ConfigError:
    name = host.name if is_same_place(host.name, host) else f"http://{host.name}"
    return ConfigError(
        f"The {secret} was not sent to {host.base_url}.",
        why="that is another machine, and http:// has no encryption",
        next_step="use https://, or allow it for this host: "
        f'%config OllamaMagics.insecure_hosts = ["{name}"]',
    )


MAX_ANSWER_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 65536
_ANY_BYTES = "application/octet-stream"
_FAULTS = (requests.RequestException, urllib3.exceptions.HTTPError)
_HEADERS = {
    "Accept": "application/json, application/x-ndjson",
    "Accept-Encoding": "identity",  # a small answer could unpack to a huge one
    "User-Agent": f"ollama-magic/{__version__}",
}


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent, and how long silence is taken for work; None means for ever."""

    method: str
    path: str
    body: bytes | Upload | None = None
    """JSON as bytes, or a file."""
    answer_timeout_s: float | None = None
    """From the request to the headers of the answer."""
    idle_timeout_s: float | None = None
    """Between two pieces of the answer."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where calls go."""

    host: Host
    credentials: Credentials = field(repr=False)
    connect_timeout_s: float


class Exchange:
    """One request and its answer.

    One thread calls :meth:`open` and then :meth:`pieces` or :meth:`read`; any
    thread calls :meth:`close`, at any time.
    """

    def __init__(self, server: Server, call: Call) -> None:
        self._server = server
        self._call = call
        self._line = Line()
        self._releasing = threading.RLock()
        self._is_busy = False
        self._session: requests.Session | None = None
        self._response: requests.Response | None = None
        self.is_closed = False
        self.status_code = 0
        self.content_type = ""
        self.location = ""

    def open(self) -> None:
        """Send the request and wait for status and headers.

        Raises
        ------
        ServerUnreachableError
            Nothing answered.
        NotOllamaError
            What answered does not speak HTTP.
        StreamInterruptedError
            :meth:`close` was called meanwhile.
        """
        note(self)
        self._begin_work()
        try:
            response = self._response = self._answer()
        finally:
            self._end_work()
        if self.is_closed:
            raise closed_here(self._server.host)
        self._line.set_timeout(self._call.idle_timeout_s)
        self.status_code = response.status_code
        headers, hide = response.headers, self.redactor.error
        self.content_type = hide(headers.get("Content-Type", "")).lower()
        self.location = hide(headers.get("Location", ""))

    def _answer(self) -> requests.Response:
        call, server = self._call, self._server
        self._session = _session(self._line, server.host)
        error: BaseException
        try:
            return self._session.request(
                call.method,
                server.host.base_url + call.path,
                data=call.body,
                headers=_content_type(call.body),
                auth=server.credentials,
                timeout=(server.connect_timeout_s, call.answer_timeout_s),
                allow_redirects=False,
                stream=True,
            )
        except _FAULTS as exc:
            error = self._why_no_answer(exc)
        except BaseException as exc:  # noqa: BLE001  (raised again below)
            error = _without_frames(exc)
        # NB: outside of the handler, so that the fault of requests, which carries the
        # headers and so the token, is not even the context of ours. An interrupt loses
        # the frames of requests: a verbose traceback shows the headers in them.
        raise error

    def _why_no_answer(self, exc: Exception) -> OllamaMagicError:
        host = self._server.host
        if self._line.is_cut:
            return closed_here(host)
        return no_answer(
            host,
            exc,
            connect_timeout_s=self._server.connect_timeout_s,
            answer_timeout_s=self._call.answer_timeout_s,
            hide=self.redactor.error,
        )

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives, never waiting for more than there is.

        Raises
        ------
        StreamInterruptedError
            The body broke off, fell silent, or :meth:`close` was called.
        """
        read = self._reader()
        while piece := self._read_piece(read):
            yield piece

    def read(self, *, max_bytes: int = MAX_ANSWER_BYTES) -> bytes:
        """Return the whole body; raises as :meth:`pieces` does."""
        pieces: list[bytes] = []
        size = 0
        for piece in self.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise over_limit(self._server.host, max_bytes)
        return b"".join(pieces)

    @property
    def redactor(self) -> Redactor:
        """Hides the secrets that were sent, in what the server said."""
        return self._server.credentials.redactor

    def close(self) -> None:
        """End the connection now, whatever another thread is doing with it.

        The server sees it at once. While a connection is still being made, it is
        given up as soon as it stands.
        """
        self.is_closed = True
        self._line.cut()
        if not self._is_busy:  # else the thread that is at work does it
            self._release()

    def _reader(self) -> Callable[[], bytes]:
        """Return what reads the next piece, as soon as there is any; empty at the end.

        Not iter_content: it waits for full blocks unless the body is chunked. And not
        by way of urllib3 where nothing is compressed: that costs as much again as all
        the rest of reading a line.
        """
        assert self._response is not None, "open() comes first"
        raw = self._response.raw
        plain: http.client.HTTPResponse | None = raw._original_response
        if plain is None or "Content-Encoding" in self._response.headers:
            return partial(raw.read1, _PIECE_BYTES, decode_content=True)

        def read() -> bytes:
            piece = plain.read1(_PIECE_BYTES)
            if not piece and plain.length:  # http.client takes it for an end
                raise http.client.IncompleteRead(b"", plain.length)
            return piece

        return read

    def _read_piece(self, read: Callable[[], bytes]) -> bytes:
        host, idle_timeout_s = self._server.host, self._call.idle_timeout_s
        piece, error = b"", None
        self._begin_work()
        try:
            piece = read()
        except (*_FAULTS, http.client.HTTPException, OSError) as exc:
            is_cut = self._line.is_cut
            error = None if is_cut else stream_broken(host, exc, idle_timeout_s)
            error = error or closed_here(host)
        finally:
            self._end_work()
        if error is not None:  # raised here for the reason that _answer has
            raise error
        if self.is_closed:  # a body that ends where the connection ends looks whole
            raise closed_here(host)
        return piece

    # NB: the order of these steps keeps close() from freeing what is in use, without
    # a lock for every line: we say that we work and then look whether it is closed;
    # close() says that it is closed and then looks whether anybody works.

    def _begin_work(self) -> None:
        self._is_busy = True
        if self.is_closed:
            self._end_work()
            raise closed_here(self._server.host)

    def _end_work(self) -> None:
        self._is_busy = False
        if self.is_closed:
            self._release()

    def _release(self) -> None:
        with self._releasing:  # both sides may come here at once
            if self._response is not None:
                self._response.close()
            if self._session is not None:
                self._session.close()
            self._line.release()


def _without_frames(exc: BaseException) -> BaseException:
    exc.__cause__ = exc.__context__ = None
    return exc.with_traceback(None)


def _ca_bundle() -> str | bool:
    """Return what requests takes from the environment where it trusts that."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return next((path for name in names if (path := os.environ.get(name))), True)


def _content_type(body: bytes | Upload | None) -> dict[str, str]:
    if body is None:
        return {}
    is_json = isinstance(body, bytes)
    return {"Content-Type": "application/json" if is_json else _ANY_BYTES}


def _session(line: Line, host: Host) -> requests.Session:
    session = requests.Session()
    # A proxy cannot reach the loopback of this machine; requests would still ask it.
    session.trust_env = not host.is_loopback
    session.verify = _ca_bundle() if host.is_loopback else True
    session.headers.clear()
    session.headers.update(_HEADERS)
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter(line))
    return session
