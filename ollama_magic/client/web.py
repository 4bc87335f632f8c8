"""Results of a web search, and a page of the web, as Ollama returns them.

Source: Ollama ``docs/capabilities/web-search.mdx`` and ``server/routes.go`` (0.33). No
answer of a real server was recorded: that needs an account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ollama_magic.client.json_values import JsonObject, json_fields, json_objects
from ollama_magic.errors import quoted


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One result of a web search; every text comes from the web."""

    title: str = ""
    url: str = ""
    content: str = ""
    """The text of the page, or a part of it."""


@dataclass(frozen=True, slots=True, repr=False)
class WebPage:
    """A page of the web; ``str(page)`` is its text, which comes from the web."""

    url: str = ""
    """The address that was requested."""
    title: str = ""
    content: str = ""
    links: tuple[str, ...] = ()
    """The addresses that the page links to."""

    @classmethod
    def from_json(cls, url: str, data: JsonObject) -> Self:
        """Read the response of ``web_fetch``."""
        return cls(**json_fields(cls, {"url": url}, data))

    def __repr__(self) -> str:
        size = f"{len(self.content):,} characters"
        return f"<WebPage {quoted(self.title, limit=200)!r}, {size}>"

    def __str__(self) -> str:
        return self.content


def search_results(data: JsonObject) -> Sequence[SearchResult]:
    """Read the response of ``web_search``."""
    entries = json_objects(data.get("results"))
    return [SearchResult(**json_fields(SearchResult, entry)) for entry in entries]
