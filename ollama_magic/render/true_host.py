"""The true host of a link whose text names another one."""

from __future__ import annotations

import html
import re
import unicodedata
from urllib.parse import urlsplit

from ollama_magic.render.text import visible_text

_NAMED = re.compile(
    r"(?:://|(?<![\w.@-]))"
    r"(?P<host>\d+(?:\.\d+){3}|(?:[\w-]+\.)+[^\W\d_]{2,}|(?<=://)[^\s/?#]+)(?![\w-])"
)
_FILES = re.compile(
    r"\.(?:c|cfg|cpp|csv|css|go|h|html?|ipynb|java|js|json|jsonl|md|pdf|png|py|r|rs|sh"
    r"|sql|svg|toml|ts|tsv|txt|xml|ya?ml)$"
)
"""File names are not hosts, unless the text begins with ``http`` or ``www.``."""
_MOST = 1000
"""Characters of a text that is searched; for a longer one the host is always told."""
_LINK = re.compile(r'<a href="([^"]*)"[^>]*>(.*?)</a>', re.S)
_TAG = re.compile("<[^>]*>")


def true_host(text: str, address: str) -> str:
    """Return the host of an address if a text names another one, else an empty text.

    >>> true_host("Sign in at github.com.", "https://evil.example/x")
    'evil.example'
    >>> true_host("README.md", "https://a.example"), true_host("a.b", "http://a.b/c")
    ('', '')
    """
    try:
        host = (urlsplit(address).hostname or "").removeprefix("www.")
    except ValueError:
        return ""
    if text == address:
        return ""
    if len(text) > _MOST:
        return host
    text = unicodedata.normalize("NFKC", visible_text(text)).lower()
    for found in _NAMED.finditer(text):
        said = found["host"].removeprefix("www.")
        is_file = (
            _FILES.search(said) and found["host"] == said and "://" not in found[0]
        )
        if said.rpartition("@")[2].partition(":")[0] != host and not is_file:
            return host
    return ""


def with_true_hosts(page: str) -> str:
    """Return sanitised HTML with the host behind each link that names another one.

    Titles are dropped: they could name another host too.
    """

    def told(link: re.Match[str]) -> str:
        address, inner = html.unescape(link[1]), link[2]
        host = true_host(html.unescape(_TAG.sub("", inner)), address)
        shown = f" ({html.escape(visible_text(host))})" if host else ""
        rel = 'rel="noopener noreferrer nofollow"'
        return f'<a href="{link[1]}" {rel}>{inner}</a>{shown}'

    return _LINK.sub(told, page)
