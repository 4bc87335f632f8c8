"""The sources of a reply: the pages that its web tools returned.

They come from the results of the tools, not from what the model wrote. Each is shown
with its host: a title may claim anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ollama_magic.client.ollama_com import SearchResult
from ollama_magic.render.safe_html import NOTE_STYLE, page_html, sanitised
from ollama_magic.render.text import escaped, one_line

_MOST = 20
_MAX_TITLE = 120
_MAX_ADDRESS = 2000
_MAX_SHOWN = 100
_MAX_TEXT = 200
_ADDRESS = re.compile(r"https?://[!#-;=?-~]+")
"""Visible ASCII without quotes and angle brackets, as addresses are sent."""


def sources_of(steps: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return title, address and host of each source in steps, each once, at most 20."""
    found: dict[str, tuple[str, str, str]] = {}
    for step in steps:
        for source in step.get("sources", ()):
            url = source["url"]
            host = _host(url)
            if host and url not in found and len(found) < _MOST:
                title = one_line(source["title"])[:_MAX_TITLE] or host
                found[url] = title, url, host
    return list(found.values())


def _host(url: str) -> str:
    """Return the host of an http address; empty for any other text."""
    if len(url) > _MAX_ADDRESS or not _ADDRESS.fullmatch(url):
        return ""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def sources_html(steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the sources as safe HTML; empty if there are none."""
    items = [_item(*source) for source in sources_of(steps)]
    if not items:
        return ""
    listed = sanitised(f"<ol>{''.join(items)}</ol>")
    return page_html(f'<div style="{NOTE_STYLE}">Sources{listed}</div>')


def results_html(results: Iterable[SearchResult]) -> str:
    """Return the results of a search as safe HTML: title, host and some text."""
    items = []
    for one in results:
        title, text = one_line(one.title)[:_MAX_TITLE], one_line(one.content)
        text = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
        items.append(_item(title, one.url, _host(one.url), f"<br>{escaped(text)}"))
    return page_html(sanitised(f"<ol>{''.join(items)}</ol>"))


def _item(title: str, url: str, host: str, more: str = "") -> str:
    """Return a title with its host; it is a link if it has an address."""
    if not host:
        return f"<li>{escaped(title)}{more}</li>"
    link = f'<a href="{escaped(url)}">{escaped(title)}</a>'
    return f"<li>{link} – {escaped(host)}{more}</li>"


def link_html(title: str, url: str) -> str:
    """Return a line of plain text that is a link; the address may be any."""
    line = f'<p><a href="{escaped(url)}">{escaped(one_line(title))}</a></p>'
    return page_html(sanitised(line))


def sources_lines(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the sources as lines of text; none if there are none."""
    found = sources_of(steps)
    lines = [f"{n}. {title} – {url}" for n, (title, url, _) in enumerate(found, 1)]
    return ["Sources:", *lines] if lines else []


def sources_fact(steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the addresses of the sources on one line; empty if there are none."""
    found = [
        url if len(url) <= _MAX_SHOWN else host for _, url, host in sources_of(steps)
    ]
    return f"sources: {' '.join(found)}" if found else ""
