"""Which servers can answer, and with which model; found out before a row is sent.

Knows what a model must be able to do. Knows nothing of rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

from ollama_magic.arrivals import in_background
from ollama_magic.client import OllamaClient
from ollama_magic.errors import (
    CapabilityError,
    ConfigError,
    OllamaMagicError,
    ServerError,
)
from ollama_magic.footer import server_note
from ollama_magic.model_names import find_model
from ollama_magic.request import Think
from ollama_magic.wire import ModelSummary

S = TypeVar("S")
T = TypeVar("T")

_UNTOLD = ("completion",)
"""What a model is taken for where a server tells no capabilities."""


@dataclass(frozen=True)
class Server:
    """A server that is asked."""

    client: OllamaClient
    is_configured: bool
    """Whether it is the one that settings and environment name."""
    kind: str
    """``embedded``, ``loopback`` or ``remote``."""
    model: ModelSummary | None = None
    """The model as it lists it; None until that is asked, or when it does not tell."""

    @property
    def base_url(self) -> str:
        """Its address."""
        return self.client.host.base_url

    @property
    def digest(self) -> str:
        """Of the model; empty where the server does not tell."""
        return self.model.digest if self.model else ""

    @property
    def note(self) -> str:
        """Where prompts go; empty for an Ollama on this machine."""
        remote_host = self.model.remote_host if self.model else ""
        return server_note(self.kind, self.base_url, remote_host)


@dataclass(frozen=True)
class Found:
    """What is asked, and where."""

    model: str
    servers: Sequence[Server]
    notes: Sequence[str] = ()
    """Which servers were left out, and why."""
    fault: OllamaMagicError | None = None
    """Why nobody can be asked, where earlier answers may do."""


def find_servers(
    servers: Sequence[Server], model: str | None, think: Think | None
) -> Found:
    """Return the servers that have the model, and can do with it what is asked.

    Parameters
    ----------
    model
        None: the newest one of the first server.

    Raises
    ------
    OllamaMagicError
        The only server does not answer, or lacks the model or a capability.
    ConfigError
        There is no model, or none of several servers can answer.
    """

    def look() -> Found:
        lists = _each(servers, lambda server: _installed(server.client))
        name = model or _newest(lists)
        pairs = list(zip(servers, lists, strict=True))
        checked = _each(pairs, lambda pair: _checked(*pair, name, think))
        return _chosen(name, servers, checked)

    return in_background(look)


def _chosen(
    name: str,
    servers: Sequence[Server],
    checked: Sequence[Server | OllamaMagicError],
) -> Found:
    able = [one for one in checked if isinstance(one, Server)]
    errors = {
        server.base_url: one
        for server, one in zip(servers, checked, strict=True)
        if isinstance(one, OllamaMagicError)
    }
    if not able and len(servers) == 1:
        raise next(iter(errors.values()))
    reasons = [f"{url}: {e.why or e.what}" for url, e in errors.items()]
    if not able:
        raise ConfigError(
            f"None of the {len(servers)} hosts can answer with {name!r}.",
            why="; ".join(reasons),
            next_step="leave hosts out to use the one that is configured, or correct "
            "their addresses",
        )
    return Found(name, able, [f"Left out, since it can't answer: {r}" for r in reasons])


def _installed(client: OllamaClient) -> Sequence[ModelSummary]:
    try:
        return client.list()
    except ServerError:  # it refuses to tell, and may answer all the same
        return ()


def _newest(lists: Sequence[Sequence[ModelSummary] | OllamaMagicError]) -> str:
    """Return the newest model that writes, of the first server that told."""
    told = [one for one in lists if not isinstance(one, OllamaMagicError)]
    if not told:
        return ""  # what kept them from telling is raised later
    writing = [m.name for m in told[0] if "completion" in (m.capabilities or _UNTOLD)]
    if writing:
        return writing[0]
    raise ConfigError(
        "No model was named, and the server has none.",
        why="GET /api/tags lists no model that writes",
        next_step="%ollama pull smollm2:135m   (small), or any name from "
        "https://ollama.com/library",
    )


def _checked(
    server: Server,
    installed: Sequence[ModelSummary] | OllamaMagicError,
    name: str,
    think: Think | None,
) -> Server:
    if isinstance(installed, OllamaMagicError):
        raise installed
    model = find_model(name, installed)
    capabilities = model.capabilities if model else ()
    if not capabilities:  # an older server, or there is no such model: an error
        capabilities = server.client.show(name).capabilities
    if capabilities:
        _check_capabilities(name, capabilities, installed, think)
    return replace(server, model=model)


def _check_capabilities(
    name: str,
    capabilities: Sequence[str],
    installed: Sequence[ModelSummary],
    think: Think | None,
) -> None:
    needs = [("completion", "write text", "name another model")]
    if think:
        needs.append(("thinking", "think", "leave think out"))
    for capability, verb, remedy in needs:
        if capability not in capabilities:
            able = [m.name for m in installed if capability in m.capabilities]
            raise CapabilityError(
                f"Model {name!r} cannot {verb}, and was asked to.",
                why=f"the server lists it with: {', '.join(capabilities)}",
                next_step=f"{remedy}{': ' if able else ''}{', '.join(able)}",
            )


def _each(items: Sequence[S], call: Callable[[S], T]) -> list[T | OllamaMagicError]:
    """Call with each item, all at once; an error of ours is returned in its place."""
    futures: list[Future[T]] = [Future() for _ in items]

    def run(item: S, future: Future[T]) -> None:
        try:
            future.set_result(call(item))
        except BaseException as error:  # noqa: BLE001  (raised again below)
            future.set_exception(error)

    for pair in zip(items, futures, strict=True):
        threading.Thread(target=run, args=pair, daemon=True).start()
    results: list[T | OllamaMagicError] = []
    for future in futures:
        try:
            results.append(future.result())
        except OllamaMagicError as error:
            results.append(error)
    return results
