"""Turns exceptions of requests and urllib3 into errors of this package.

Called by :mod:`ollama_magic.client.http`. Every text is built from the host and the
innermost cause alone: the messages of requests contain whole URLs and headers, and so
perhaps a token.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Callable, Iterator

import requests
import urllib3

from ollama_magic.client.advice import (
    ANOTHER_ADDRESS,
    PROXY_LOGIN,
    SERVER_LOG,
    TLS_STEPS,
)
from ollama_magic.client.host import Host, parse_host
from ollama_magic.errors import (
    ConfigError,
    NotOllamaError,
    OllamaMagicError,
    ServerUnreachableError,
    StreamInterruptedError,
    quoted,
)

_START = "start Ollama with %ollama serve"
_START_AT_PORT = f"{_START}, or check the address"
_InvalidHeader = requests.exceptions.InvalidHeader
_RUN_AGAIN = "run it again; the text so far is kept"


def no_response(
    host: Host,
    exc: Exception,
    *,
    connect_timeout_s: float,
    response_timeout_s: float | None,
    hide: Callable[[str], str] = str,
) -> OllamaMagicError:
    """Return the error for a request that failed before the headers of its response.

    Parameters
    ----------
    response_timeout_s
        None also if the connection, or its handshake, was not complete.
    hide
        Redacts what the server sent, which may repeat our secrets.
    """
    connecting = f"no connection within {connect_timeout_s:g} s"
    waiting = f"no response within {response_timeout_s or connect_timeout_s:g} s"
    outer: tuple[tuple[type[Exception], Callable[[], OllamaMagicError]], ...] = (
        (_InvalidHeader, lambda: _not_http(host, "contradictory headers")),
        (ValueError, lambda: _unusable(host)),  # InvalidURL, LocationParseError
        (requests.exceptions.ProxyError, lambda: _behind_proxy(host, exc, hide)),
        (requests.exceptions.SSLError, lambda: _not_secure(host, exc)),
        (requests.exceptions.ConnectTimeout, lambda: _unreachable(host, connecting)),
        (requests.exceptions.ReadTimeout, lambda: _silent(host, waiting)),
    )
    for kind, make_error in outer:
        if isinstance(exc, kind):
            return make_error()
    for cause in _causes(exc):
        if error := _error_for_cause(host, cause, hide):
            return error
    return _unreachable(host, _system_words(exc) or "no connection")


def stream_broken(
    host: Host, exc: Exception, idle_timeout_s: float | None
) -> StreamInterruptedError:
    """Return the error for a response that was cut off."""
    what = f"The response from {host.base_url} was cut off."
    causes = list(_causes(exc))
    if any(isinstance(cause, TimeoutError) and not cause.errno for cause in causes):
        return StreamInterruptedError(
            what,
            why=f"no data for {idle_timeout_s or 0:g} s",
            next_step="run it again, or raise the limit: "
            "%config OllamaMagics.timeout = SECONDS",
        )
    why = _system_words(exc) or "the connection was closed early"
    if any(isinstance(cause, urllib3.exceptions.DecodeError) for cause in causes):
        why = "its compressed data is damaged"
    return StreamInterruptedError(what, why=why, next_step=_RUN_AGAIN)


def closed_here(host: Host) -> StreamInterruptedError:
    """Return the error for a response that was closed by this process."""
    return StreamInterruptedError(
        f"The response from {host.base_url} was stopped.",
        why="the client closed the connection",
    )


def over_limit(host: Host, limit: int) -> StreamInterruptedError:
    """Return the error for a response that is too long."""
    size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 2**10} KiB"
    return StreamInterruptedError(
        f"The response from {host.base_url} was cut off: it is too long.",
        why=f"more than {size}",
        next_step="check which server this is: %ollama version",
    )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield ``exc`` and its causes, outermost first.

    requests and urllib3 keep a cause in ``args`` or in ``reason``.
    """
    seen: set[int] = set()
    waiting = [exc]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (*current.args, getattr(current, "reason", None), current.__cause__)
        waiting += [found for found in inner if isinstance(found, BaseException)]


def _error_for_cause(
    host: Host, cause: BaseException, hide: Callable[[str], str]
) -> OllamaMagicError | None:
    """Return the error for one of the causes, if that is specific enough."""
    if isinstance(cause, urllib3.exceptions.NameResolutionError | socket.gaierror):
        return _unreachable(host, "the host name cannot be resolved")
    if isinstance(cause, ConnectionRefusedError):
        return _unreachable(host, "connection refused")
    if _is_dropped(cause):
        return _silent(host, "it closed the connection without a response")
    if isinstance(cause, http.client.HTTPException):
        said = hide(f"{type(cause).__name__}: {cause}")
        return _not_http(host, quoted(said, limit=120))
    return None


def is_closed_idle(exc: Exception) -> bool:
    """Return whether the server closed the connection before it responded."""
    kinds = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
    return any(isinstance(cause, kinds) for cause in _causes(exc))


def _is_dropped(cause: BaseException) -> bool:
    # RemoteDisconnected is a ConnectionResetError and a BadStatusLine at once.
    return isinstance(cause, ConnectionResetError | BrokenPipeError)


def _system_words(exc: BaseException) -> str:
    """Return the operating system's message; that of requests may contain secrets."""
    said = [c.strerror for c in _causes(exc) if isinstance(c, OSError) and c.strerror]
    return quoted(said[-1], limit=200).lower() if said else ""


def _unreachable(host: Host, why: str) -> ServerUnreachableError:
    next_step = (
        "check that Ollama is running there and accepts network connections "
        f"(OLLAMA_HOST=0.0.0.0 on that machine), or {ANOTHER_ADDRESS}"
    )
    if host.is_loopback:
        is_default = host.base_url == parse_host(None).base_url
        next_step = _START if is_default else _START_AT_PORT
    return ServerUnreachableError(
        f"No Ollama server answered at {host.base_url}.",
        why=why,
        next_step=next_step,
    )


def _silent(host: Host, why: str) -> ServerUnreachableError:
    return ServerUnreachableError(
        f"The server at {host.base_url} did not respond.",
        why=why,
        next_step=f"run it again; if the error repeats, {SERVER_LOG}",
    )


def _unusable(host: Host) -> ConfigError:
    return ConfigError(
        f"The host {host.base_url!r} is invalid.",
        why="it is not a host name",
        next_step=ANOTHER_ADDRESS,
    )


def _behind_proxy(
    host: Host, exc: BaseException, hide: Callable[[str], str]
) -> ServerUnreachableError:
    found = re.search("Tunnel connection failed: ([^'\"]*)", str(exc))
    said = quoted(hide(found[1]), limit=80) if found else _system_words(exc)
    step = f"if you need no proxy: %env NO_PROXY={host.name.partition(':')[0]}"
    if said.startswith("407"):
        step = f"{PROXY_LOGIN}; {step}"
    return ServerUnreachableError(
        f"The proxy for {host.base_url} rejected the request.",
        why=said or "no reason given",
        next_step=step,
    )


def _not_secure(host: Host, exc: BaseException) -> ServerUnreachableError:
    tls = [cause for cause in _causes(exc) if isinstance(cause, ssl.SSLError)]
    said = getattr(tls[-1], "verify_message", "") or tls[-1].reason if tls else ""
    why = (said or _system_words(exc) or "TLS failed").replace("_", " ").lower()
    return ServerUnreachableError(
        f"The secure connection to {host.base_url} failed.",
        why=quoted(why, limit=200),
        next_step=next(step for words, step in TLS_STEPS if re.search(words, why)),
    )


def _not_http(host: Host, said: str) -> NotOllamaError:
    return NotOllamaError(
        f"The server at {host.base_url} is not an Ollama server.",
        why=f"not HTTP: {said}",
        next_step=ANOTHER_ADDRESS,
    )
