"""The client of ollama.com itself: its web search, and the use of an account.

It always has a key. The web tools and ``%ollama usage`` make one for each request; what
a signed-in server can do in its place goes there. Sources: Ollama
``docs/capabilities/web-search.mdx``, ``docs/api/balance.mdx`` and
``docs/api/cloud-usage.mdx`` (0.40). No answer of the real site was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from ollama_magic.client.account import Balance, CloudUsage
from ollama_magic.client.connection import Connection
from ollama_magic.client.web import SearchResult, WebPage, search_results
from ollama_magic.errors import OllamaMagicError, ServerError

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
