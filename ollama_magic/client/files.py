"""Reads a file that a cell, or a file from somebody else, names: here or on the web.

Size and kind are limited. Only ``-a ADDRESS`` downloads, and asks the address that the
user wrote alone: a redirect is an error, and no token, cookie or ``.netrc`` is sent.
"""

from __future__ import annotations

import errno
import re
import stat
import time
from functools import partial
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from ollama_magic.client.background import run_in_background
from ollama_magic.client.host import parse_host
from ollama_magic.errors import OllamaMagicError, PromptError, quoted, size_text

_CONNECT_TIMEOUT_S = 5.0
_SILENCE_S = 10.0
_TOTAL_S = 60.0
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_TYPES = ("image/", "audio/", "application/octet-stream", "binary/octet-stream")


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file; of a larger one, one byte more than the limit.

    Its size says nothing: files of ``/proc`` have none, and may be endless.

    Raises
    ------
    OSError
        It cannot be read; or it is a pipe or a device, which may never end.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder has its own error
        raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
    with path.open("rb") as file:
        return file.read(max_bytes + 1)


# -- from the web -------------------------------------------------------------------


def is_address(text: str) -> bool:
    """Return whether a text is written like an address: ``https://…``, ``file:/…``."""
    return _SCHEME.match(text) is not None


def public_address(text: str) -> str:
    """Return an address without what may be secret: user, password and query."""
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets that do not match
        return f"{text.partition(':')[0]}://…"
    place = parts.netloc.rpartition("@")[2]
    return quoted(f"{parts.scheme}://{place}{parts.path}", limit=200)


def download(address: str, *, max_bytes: int) -> bytes:
    """Return the image or sound at an address; an interrupt ends the download.

    Raises
    ------
    PromptError
        The address is not http or https, it did not answer with an image or a sound,
        or a limit was reached.
    """
    shown, deadline_s = public_address(address), time.monotonic() + _TOTAL_S

    def check_time() -> None:
        if time.monotonic() > deadline_s:
            raise _failed(shown, f"it takes more than {_TOTAL_S:.0f} s")

    try:
        return run_in_background(
            partial(_body, address, shown, max_bytes), on_tick=check_time
        )
    except PromptError:
        raise
    except (OllamaMagicError, ValueError) as error:
        why = getattr(error, "why", "") or str(error)
        raise _failed(shown, why) from error


def _body(address: str, shown: str, max_bytes: int) -> bytes:
    from ollama_magic.client.http import Credentials, HttpExchange

    parts = urlsplit(address)
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname:
        raise _failed(shown, "only http:// and https:// addresses are fetched")
    exchange = HttpExchange(
        Credentials(parse_host(f"{parts.scheme}://{parts.netloc}"), ""),
        _CONNECT_TIMEOUT_S,
        "GET",
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        response_timeout_s=_SILENCE_S,
        idle_timeout_s=_SILENCE_S,
    )
    exchange.accept = "image/png, image/jpeg, image/webp, audio/*, */*;q=0.1"
    try:
        exchange.open()
        if exchange.location and exchange.status_code // 100 == 3:
            target = quoted(urljoin(address, exchange.location))
            why = "it redirects, and redirects are not followed"
            is_web = target.startswith(("http://", "https://"))
            raise _failed(shown, why, f"if you trust it: -a {target}" if is_web else "")
        if exchange.status_code != 200:
            raise _failed(shown, f"the server answered {exchange.status_code}")
        if exchange.content_type and not exchange.content_type.startswith(_TYPES):
            kind = quoted(exchange.content_type.partition(";")[0], limit=80)
            raise _failed(shown, f"it is {kind}, not an image or a sound")
        data = bytearray()
        for piece in exchange.pieces():
            data += piece
            if len(data) > max_bytes:
                why = f"it is larger than the limit of {size_text(max_bytes)}"
                raise _failed(shown, why)
        return bytes(data)
    finally:
        exchange.close()


def _failed(shown: str, why: str, next_step: str = "") -> PromptError:
    return PromptError(
        f"The address {shown} cannot be attached.",
        why=why,
        next_step=next_step
        or "open it in a browser, save the image, and attach the file: -a FILE",
    )
