"""Which connections an exchange may use: those of its server's certificates and proxy.

``http`` uses it. All clients of a process share them: a session makes a client for each
cell, and the next cell should find the connection of the one before. Nothing here knows
credentials or cookies, which belong to a request.
"""

from __future__ import annotations

import atexit
import os
from functools import lru_cache

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from ollama_magic.client.compat import IDLE, KeepingAdapter
from ollama_magic.client.host import Host
from ollama_magic.errors import ConfigError, quoted


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
