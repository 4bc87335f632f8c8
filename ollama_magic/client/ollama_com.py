"""Ollama's own site: an account, its balance and use, and the web search.

``OllamaCom`` asks the site itself, always with a key: the web tools and ``%ollama
usage`` make one for each request. A signed-in server can do some of it in its place, so
``OllamaClient`` returns the same values. Every text of a page comes from the web.

Sources: Ollama ``api/types.go`` and ``server/routes.go`` (0.33),
``docs/api/balance.mdx`` and ``docs/api/cloud-usage.mdx`` (0.40),
``docs/capabilities/web-search.mdx``, and a recorded server that is not signed in. No
answer of the real site was recorded; the values of ``plan`` are not documented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ollama_magic.client.connection import Connection
from ollama_magic.client.json_values import (
    JsonObject,
    json_fields,
    json_float,
    json_object,
    json_objects,
    json_text,
)
from ollama_magic.errors import OllamaMagicError, ServerError, quoted

BASE_URL = "https://ollama.com"
KEY_STEP = "set OLLAMA_API_KEY to a key from https://ollama.com/settings/keys"


class OllamaCom(Connection):
    """A client of ollama.com.

    Parameters
    ----------
    api_key
        A key from https://ollama.com/settings/keys; not empty.
    base_url
        Another address, for tests. No setting and no variable changes it.
    """

    def __init__(self, api_key: str, *, base_url: str = "") -> None:
        super().__init__(base_url or BASE_URL, api_key=api_key)

    def __repr__(self) -> str:
        return f"OllamaCom({self.host.base_url!r})"

    def web_search(self, query: str, *, max_results: int = 5) -> Sequence[SearchResult]:
        """Search the web."""
        body = {"query": query, "max_results": max_results}
        return search_results(self._asked("POST", "/api/web_search", body, "results"))

    def web_fetch(self, url: str) -> WebPage:
        """Return a page of the web; ollama.com requests it."""
        found = self._asked("POST", "/api/web_fetch", {"url": url}, "content")
        return WebPage.from_json(url, found)

    def balance(self) -> Balance:
        """Return what is left of the plan and of purchased credit."""
        return Balance.from_json(self._asked("GET", "/api/balance", None, ""))

    def usage(self, range: str = "7d") -> CloudUsage:
        """Return the use of the cloud in the last ``24h``, ``7d`` or ``30d``."""
        path = f"/api/usage?range={range}"
        return CloudUsage.from_json(self._asked("GET", path, None, "buckets"))

    def _asked(
        self, method: str, path: str, body: dict[str, object] | None, field: str
    ) -> dict[str, object]:
        try:
            return self._read(method, path, body, field=field)
        except ServerError as error:
            if error.status_code in {401, 403}:
                error.next_step = KEY_STEP
            raise
        except OllamaMagicError as error:
            # The advice for a configured server, such as to start it, does not fit.
            error.next_step = "check the network of this machine, then run this again"
            raise

    def _list_names(self) -> Sequence[str]:
        return []


# -- the web ------------------------------------------------------------------------


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


# -- an account ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a server is signed in to."""

    id: str = ""
    email: str = ""
    name: str = ""
    plan: str = ""
    """Such as ``free``."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the response of ``POST /api/me``."""
        return cls(**json_fields(cls, data))


@dataclass(frozen=True, slots=True)
class CloudStatus:
    """Whether a server may use Ollama's cloud."""

    disabled: bool = False
    source: str = ""
    """What disables it: ``env``, ``config``, ``both`` or ``none``."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read ``cloud`` of ``GET /api/status``."""
        return cls(data.get("disabled") is True, **json_fields(cls, data))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model that Ollama recommends."""

    model: str = ""
    description: str = ""
    context_length: int = 0
    max_output_tokens: int = 0
    vram_bytes: int = 0
    required_plan: str = ""
    """The plan that a cloud model needs; empty if it needs none."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``recommendations``."""
        return cls(**json_fields(cls, data, {"vram": data.get("vram_bytes")}))


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of a session or week of a plan is left."""

    name: str
    remaining_percent: float
    resets_at: str = ""
    """RFC 3339."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left of the plan and of purchased credit; None: not told."""

    included_usd: float | None = None
    """What is left of ``allowance_usd``."""
    allowance_usd: float | None = None
    """What the plan includes in a period."""
    period_ends: str = ""
    """RFC 3339."""
    purchased_usd: float | None = None
    quotas: tuple[Quota, ...] = ()
    """The limits of older plans, which count in percent."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the response of ``GET /api/balance``."""
        included = json_object(data.get("included"))
        limits = {name: json_object(included.get(name)) for name in _QUOTAS}
        return cls(
            json_float(included.get("balance_usd")),
            json_float(included.get("allowance_usd")),
            json_text(json_object(included.get("period")).get("until")),
            json_float(json_object(data.get("purchased")).get("balance_usd")),
            tuple(
                Quota(name, percent, json_text(limit.get("resets_at")))
                for name, limit in limits.items()
                if (percent := json_float(limit.get("remaining_percent"))) is not None
            ),
        )


_QUOTAS = ("session", "weekly")


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """The use of the cloud in an hour or a day."""

    starts: str = ""
    """RFC 3339."""
    ends: str = ""
    is_partial: bool = False
    """Whether this hour or day has not ended yet."""
    request_count: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    """The part of ``input_tokens`` that was in the cache."""
    output_tokens: int = 0
    usage_usd: float | None = None
    """None for older plans, which count requests."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``buckets``, or ``totals``."""
        others = {
            "starts": data.get("from"),
            "ends": data.get("until"),
        }
        known = json_fields(cls, data, others)
        known["usage_usd"] = json_float(data.get("usage_usd"))
        known["is_partial"] = data.get("partial") is True
        return cls(**known)


@dataclass(frozen=True, slots=True)
class CloudUsage:
    """The use of the cloud over a range of time."""

    range: str
    granularity: str
    """``hour`` or ``day``."""
    totals: UsageBucket
    buckets: tuple[UsageBucket, ...]

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the response of ``GET /api/usage``."""
        return cls(
            json_text(data.get("range")),
            json_text(data.get("granularity")),
            UsageBucket.from_json(json_object(data.get("totals"))),
            tuple(map(UsageBucket.from_json, json_objects(data.get("buckets")))),
        )
