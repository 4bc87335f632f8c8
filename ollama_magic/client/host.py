"""Parses the address of a server as Ollama's own command line does.

The client and the settings use it; no name is resolved. Source: ``Host`` and
``ConnectableHost`` in Ollama's ``envconfig/config.go``. Unlike there, an invalid port
or scheme is an error and not a line in a log.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar
from urllib.parse import unquote

from ollama_magic.errors import ConfigError, quoted

DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[\w.-]+")
_ZONED = re.compile(r"[0-9A-Fa-f.:]+(?:%[\w.-]+)?", re.ASCII)
_PATH = re.compile(r"[!-~]*")  # visible ASCII
_API_PATH = re.compile(r"(?:^|/)(?:v1|api(?:/(?:chat|generate|tags))?)$")
"""The end of an address as other programs expect it."""
_QUOTES = "\"' \t\r\n"


@dataclass(frozen=True, slots=True)
class Host:
    """The address of a server."""

    base_url: str
    """Scheme, host, port and path prefix; no trailing slash, no user or password."""
    name: str
    """Host and port: ``gpu.lan:11434``."""
    is_loopback: bool
    """Whether it is this machine, so that no data leaves it."""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    basic_credentials: str = field(default="", repr=False)
    """User and password in base64, as they are sent; empty if there are none."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Text that must not be shown; a user without a password is a token."""

    holds_secrets: ClassVar[bool] = True
    """``{{ }}`` in a prompt never looks into this object."""


def is_same_address(text: str, host: Host) -> bool:
    """Return whether an address as users write it is this host and port.

    Raises
    ------
    ConfigError
        It is not a valid address.
    """
    return parse_host(text).name.lower() == host.name.lower()


@lru_cache(maxsize=8)  # a cell parses the same few addresses several times
def parse_host(text: str | None) -> Host:
    """Parse an address as users write it; empty text and None are the default.

    Raises
    ------
    ConfigError
        The scheme is not http or https, or the host or port is invalid.

    Examples
    --------
    >>> def url(text):
    ...     return parse_host(text).base_url
    >>> url(None), url("  "), url("'gpu'")
    ('http://127.0.0.1:11434', 'http://127.0.0.1:11434', 'http://gpu:11434')
    >>> url("gpu:8080"), url(":1234"), url("gpu/ollama/")
    ('http://gpu:8080', 'http://127.0.0.1:1234', 'http://gpu:11434/ollama')
    >>> url("http://gpu"), url("https://gpu:8443/v1/"), url("gpu/ollama/api")
    ('http://gpu', 'https://gpu:8443', 'http://gpu:11434/ollama')
    >>> url("0.0.0.0"), url("::1"), url("[::]:5000")
    ('http://127.0.0.1:11434', 'http://[::1]:11434', 'http://[::1]:5000')
    >>> parse_host("https://ann:secret@gpu")
    Host(base_url='https://gpu', name='gpu', is_loopback=False)
    """
    if not isinstance(text, str | None):
        raise _invalid(str(text), f"it is of type {type(text).__name__}")
    given = (text or "").strip(_QUOTES)
    scheme, authority, path = _split(given)
    userinfo, _, address = authority.rpartition("@")
    written_user, _, written_password = userinfo.partition(":")
    user, password = unquote(written_user), unquote(written_password)
    has_user = bool(user or password)
    basic = b64encode(f"{user}:{password}".encode()).decode() if has_user else ""
    name, port = _name_and_port(address, given)
    # As in Go, a written scheme implies the port: http://h means 80.
    if port is None and "://" not in given and scheme == "http":
        port = DEFAULT_PORT
    if port == _SCHEME_PORTS[scheme]:
        port = None
    location = _bracketed(name) + (f":{port}" if port else "")
    return Host(
        base_url=f"{scheme}://{location}{path}",
        name=location,
        is_loopback=_is_loopback(name),
        user=user,
        password=password,
        basic_credentials=basic,
        secrets=(password or user, written_password, basic) if has_user else (),
    )


def _split(given: str) -> tuple[str, str, str]:
    """Return scheme, authority and path (``/prefix`` or empty)."""
    scheme, separator, rest = given.partition("://")
    if not separator:
        scheme, rest = "http", given
        if given == "ollama.com":  # Ollama's cloud is the only special name
            scheme = "https"
    scheme = scheme.lower()
    if scheme not in _SCHEME_PORTS:
        raise _invalid(given, "the scheme is neither http nor https")
    authority, _, path = rest.partition("/")
    path = path.strip("/")
    path = _API_PATH.sub("", path)
    if not _PATH.fullmatch(path) or re.search(r"[?#\\]", path):
        raise _invalid(given, "the path contains invalid characters")
    return scheme, authority, f"/{path}" if path else ""


def _name_and_port(address: str, given: str) -> tuple[str, int | None]:
    """Return host and port; a missing port is None, a missing host is loopback."""
    bare = address.strip("[]")
    if ip := _ip(bare):
        return _connectable(ip), None
    name, colon, port_text = address.rpartition(":")
    if not colon:
        name, port_text = address, ""
    name = name.removeprefix("[").removesuffix("]")
    port = None
    if port_text:
        is_port = port_text.isascii() and port_text.isdigit() and len(port_text) < 6
        port = int(port_text) if is_port else 0
        if not 0 < port < 65536:
            raise _invalid(given, "the port must be a number from 1 to 65535")
    if ip := _ip(name):
        return _connectable(ip), port
    if name and not _HOST_NAME.fullmatch(name):
        raise _invalid(given, "the host name contains invalid characters")
    return name or "127.0.0.1", port


class Address(str):
    """An address as the user wrote it; its ``repr`` hides user and password.

    Examples
    --------
    >>> Address("https://ann:s3cret@gpu")
    'https://***@gpu'
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(without_secret(self))


def without_secret(text: str) -> str:
    """Return an address with ``***`` in place of user and password.

    Examples
    --------
    >>> without_secret("https://ann:s3cret@gpu:443"), without_secret("gpu:8080")
    ('https://***@gpu:443', 'gpu:8080')
    """
    before, at, address = text.rpartition("@")
    scheme, separator, _ = before.partition("://")
    shown = f"{scheme}{separator}" if separator else ""
    return quoted(f"{shown}***@{address}" if at else text, limit=200)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _ip(text: str) -> _Address | None:
    if not _ZONED.fullmatch(text):
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _connectable(ip: _Address) -> str:
    """Return the address to connect to: loopback for 0.0.0.0, where servers listen."""
    if ip.is_unspecified:
        return "127.0.0.1" if ip.version == 4 else "::1"
    return str(ip)


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _is_loopback(name: str) -> bool:
    ip = _ip(name)
    if ip is None:
        # NB: not `x.localhost`, which some systems resolve over the network.
        return name.lower().rstrip(".") == "localhost"
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _invalid(given: str, why: str) -> ConfigError:
    # The reasons quote nothing: misread text may be part of a password.
    before, at, address = given.rpartition("@")
    scheme, separator, _ = before.partition("://")
    shown = f"{scheme}{separator}***@{address}" if at and separator else address
    return ConfigError(
        f"The host '{quoted(shown, limit=200)}' is invalid.",
        why=why,
        next_step="write it as HOST, HOST:PORT or http://HOST:PORT, in OLLAMA_HOST "
        'or as %config OllamaMagics.host = "http://HOST:PORT"',
    )
