"""What a fault of the network means to the user: exceptions of requests -> ours.

Builds every text from the host and the innermost cause alone: the messages of
requests hold whole URLs and headers, and so perhaps a token.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator

import requests
import urllib3

from ollama_magic.client.host import Host, parse_host
from ollama_magic.client.server_errors import ANOTHER_ADDRESS, SERVER_LOG
from ollama_magic.errors import (
    ConfigError,
    NotOllamaError,
    OllamaMagicError,
    ServerUnreachableError,
    StreamInterruptedError,
    quoted,
)

_START = "start Ollama, or run %ollama serve"
_START_AT_PORT = (
    "check the port, or start Ollama there (%ollama serve does it for the address "
    "that is configured)"
)
_InvalidHeader = requests.exceptions.InvalidHeader
_AGAIN = "run it again; what came before stands"


def no_answer(
    host: Host,
    exc: Exception,
    *,
    connect_timeout_s: float,
    answer_timeout_s: float | None,
    hide: Callable[[str], str] = str,
) -> OllamaMagicError:
    """Return the error for an exchange that failed before its headers came.

    Parameters
    ----------
    hide
        Takes our secrets out of what answered, which may give them back.
    """
    connecting = f"no connection within {connect_timeout_s:g} s"
    waiting = f"no answer within {answer_timeout_s or 0:g} s"
    outer: tuple[tuple[type[Exception], Callable[[], OllamaMagicError]], ...] = (
        (_InvalidHeader, lambda: _not_http(host, "its headers contradict each other")),
        (ValueError, lambda: _unusable(host)),  # InvalidURL, LocationParseError
        (requests.exceptions.ProxyError, lambda: _behind_proxy(host, exc)),
        (requests.exceptions.SSLError, lambda: _not_secure(host, exc)),
        (requests.exceptions.ConnectTimeout, lambda: _unreachable(host, connecting)),
        (requests.exceptions.ReadTimeout, lambda: _silent(host, waiting)),
    )
    for kind, make_error in outer:
        if isinstance(exc, kind):
            return make_error()
    for cause in _causes(exc):
        if error := _meant(host, cause, hide):
            return error
    return _unreachable(host, _system_words(exc) or "no connection")


def stream_broken(
    host: Host, exc: Exception, idle_timeout_s: float | None
) -> StreamInterruptedError:
    """Return the error for an answer that stopped in the middle."""
    what = f"The answer from {host.base_url} broke off before its end."
    causes = list(_causes(exc))
    if any(isinstance(cause, TimeoutError) and not cause.errno for cause in causes):
        return StreamInterruptedError(
            what,
            why=f"no data for {idle_timeout_s or 0:g} s",
            next_step="run it again, or allow longer silence: "
            "%config OllamaMagics.timeout = SECONDS",
        )
    why = _system_words(exc) or "the connection closed before the end"
    if any(isinstance(cause, urllib3.exceptions.DecodeError) for cause in causes):
        why = "its compressed data cannot be read"
    return StreamInterruptedError(what, why=why, next_step=_AGAIN)


def closed_here(host: Host) -> StreamInterruptedError:
    """Return the error for an answer that somebody on this side closed."""
    return StreamInterruptedError(
        f"The answer from {host.base_url} was stopped.", why="closed on this side"
    )


def over_limit(host: Host, limit: int) -> StreamInterruptedError:
    """Return the error for an answer without end."""
    size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 2**10} KiB"
    return StreamInterruptedError(
        f"The answer from {host.base_url} broke off: it is over the limit.",
        why=f"more than {size}",
        next_step="look at what answers: %ollama version",
    )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield ``exc`` and what is behind it, outermost first.

    requests and urllib3 put the cause among the arguments, or into ``reason``.
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


def _meant(
    host: Host, cause: BaseException, hide: Callable[[str], str]
) -> OllamaMagicError | None:
    """Return the error for one of the causes, if it says enough."""
    if isinstance(cause, urllib3.exceptions.NameResolutionError | socket.gaierror):
        return _unreachable(host, "its name is not known on this network")
    if isinstance(cause, ConnectionRefusedError):
        return _unreachable(host, "connection refused")
    if _is_dropped(cause):
        return _silent(host, "it closed the connection without an answer")
    if isinstance(cause, http.client.HTTPException):
        said = hide(f"{type(cause).__name__}: {cause}")
        return _not_http(host, quoted(said, limit=120))
    return None


def _is_dropped(cause: BaseException) -> bool:
    # RemoteDisconnected is a ConnectionResetError and a BadStatusLine at once.
    return isinstance(cause, ConnectionResetError | BrokenPipeError)


def _system_words(exc: BaseException) -> str:
    """Return what the operating system said; requests' own words may hold secrets."""
    said = [c.strerror for c in _causes(exc) if isinstance(c, OSError) and c.strerror]
    return quoted(said[-1], limit=200).lower() if said else ""


def _unreachable(host: Host, why: str) -> ServerUnreachableError:
    next_step = (
        "check that Ollama runs there and listens on the network "
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
        f"The server at {host.base_url} did not answer.",
        why=why,
        next_step=f"run it again; if it repeats, {SERVER_LOG}",
    )


def _unusable(host: Host) -> ConfigError:
    return ConfigError(
        f"The host {host.base_url!r} cannot be used.",
        why="it is not a host name",
        next_step=ANOTHER_ADDRESS,
    )


def _behind_proxy(host: Host, exc: BaseException) -> ServerUnreachableError:
    return ServerUnreachableError(
        f"The proxy on the way to {host.base_url} did not let the request through.",
        why=_system_words(exc) or "it refused",
        next_step=f"if no proxy is needed: %env NO_PROXY={host.name.partition(':')[0]}",
    )


def _not_secure(host: Host, exc: BaseException) -> ServerUnreachableError:
    tls = [cause for cause in _causes(exc) if isinstance(cause, ssl.SSLError)]
    why = getattr(tls[-1], "verify_message", "") or tls[-1].reason if tls else ""
    return ServerUnreachableError(
        f"No secure connection to {host.base_url} could be made.",
        why=quoted((why or "TLS failed").replace("_", " ").lower(), limit=200),
        next_step="write http:// if that server has no TLS; for a certificate of your "
        "own: %env REQUESTS_CA_BUNDLE=FILE",
    )


def _not_http(host: Host, said: str) -> NotOllamaError:
    return NotOllamaError(
        f"What answered at {host.base_url} is not an Ollama server.",
        why=f"not HTTP: {said}",
        next_step=ANOTHER_ADDRESS,
    )
