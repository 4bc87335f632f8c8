"""Which servers can answer, and with which model; found out before a row is sent.

Knows what a model must be able to do. Knows nothing of rows.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ollama_magic.client.background import in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import parse_host
from ollama_magic.client.models import ModelSummary, find_model
from ollama_magic.client.options import check_options
from ollama_magic.client.types import Think
from ollama_magic.errors import (
    CapabilityError,
    ConfigError,
    ModelNotFoundError,
    NotOllamaError,
    OllamaMagicError,
    ServerError,
)
from ollama_magic.generation.models import (
    ServerModels,
    cloud_host,
    default_model,
    installed_name,
    look_up,
)
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import chosen_model
from ollama_magic.render.progress import (
    NotebookProgress,
    ProgressLine,
    TerminalProgress,
)
from ollama_magic.render.reply import server_note

S = TypeVar("S")
T = TypeVar("T")

_PATIENCE_S = 10.0
"""How long a list may take: it tells which earlier answers are of the same model."""


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
    cloud_host: str = ""
    """Where it sends prompts on to; empty when it answers itself."""

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
        return server_note(self.kind, self.base_url, self.cloud_host)

    @property
    def answers_from(self) -> str:
        """Where an answer comes from: its ``kind``, or ``cloud``."""
        return "cloud" if self.cloud_host else self.kind


@dataclass(frozen=True)
class Found:
    """What is asked, and where."""

    model: str
    servers: Sequence[Server]
    notes: Sequence[str] = ()
    """Which servers were left out, and why."""
    named: str = ""
    """The model as caller, notebook or settings name it; empty when none does."""
    fault: OllamaMagicError | None = None
    """Why nobody can be asked, where earlier answers may do."""


def find_servers(
    servers: Sequence[Server], model: str | None, think: Think | None
) -> Found:
    """Return the servers that have the model, and can do with it what is asked.

    Parameters
    ----------
    model
        None: the default model of the first server.

    Raises
    ------
    OllamaMagicError
        The only server does not answer, or lacks the model or a capability.
    ConfigError
        There is no model, or none of several servers can answer.
    """

    def look() -> Found:
        must_list = model is None
        lists = _each(servers, lambda server: _models(server.client, must_list))
        name = _name(model, lists)
        pairs = list(zip(servers, lists, strict=True))
        checked = _each(pairs, lambda pair: _checked(*pair, name, think))
        return replace(_chosen(name, servers, checked), named=model or "")

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


def _models(client: OllamaClient, must_list: bool) -> ServerModels:
    return look_up(client, must_list=must_list, patience_s=_PATIENCE_S)


def _name(model: str | None, lists: Sequence[ServerModels | OllamaMagicError]) -> str:
    """Return the full name of the model, by the first server that lists its models.

    NB: where none does, what kept them from it is raised later.
    """
    told = next((one for one in lists if isinstance(one, ServerModels)), None)
    if told is None:
        return model or ""
    if model is None:
        return default_model(told)
    return installed_name(model, told.installed)


def _checked(
    server: Server,
    models: ServerModels | OllamaMagicError,
    name: str,
    think: Think | None,
) -> Server:
    if isinstance(models, OllamaMagicError):
        raise models
    model = find_model(name, models.installed)
    capabilities: Sequence[str] = model.capabilities if model else ()
    if not capabilities:  # an older server, or there is no such model: an error
        capabilities = _capabilities(server.client, name)
    if capabilities:
        _check_capabilities(name, capabilities, models.installed, think)
    return replace(server, model=model, cloud_host=cloud_host(name, model))


def _capabilities(client: OllamaClient, name: str) -> Sequence[str]:
    """Ask what a model can do; a server that does not tell may answer all the same."""
    try:
        return client.show(name).capabilities
    except ModelNotFoundError:
        raise
    except (ServerError, NotOllamaError):
        return ()


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


@dataclass(frozen=True)
class Surroundings:
    """Who is asked by default, and who looks on."""

    session: Session

    @property
    def model(self) -> str | None:
        """The model that this notebook asks; None leaves it to the server's list."""
        before = self.session.chat().before(self.session.cells.cell_id)
        chosen = chosen_model(self.session, before)
        return chosen.name if chosen else None

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What the settings say of each request: ``system`` and ``options``."""
        settings = self.session.settings
        return {
            "system": settings.system or None,
            "options": check_options(settings.options),
        }

    def client(self, host: str | None = None) -> OllamaClient:
        """Return a client for a host, or for the one that is configured.

        The API key goes to the configured host and to no other.
        """
        is_other = host is not None and not self._is_configured(host)
        return self.session.client(host if is_other else None)

    def is_configured(self, client: OllamaClient) -> bool:
        """Tell whether a client's host is the one that is configured."""
        return not client.host.user and self._is_configured(client.host.base_url)

    def progress_line(self) -> ProgressLine | None:
        """Return where progress is shown; None where nobody would see it."""
        shell = self.session.shell
        if getattr(shell, "kernel", None) is not None:
            published, mode = shell.display_pub, self.session.cells.claim_output()
            return NotebookProgress(
                published.publish, published.clear_output, mode=mode
            )
        if sys.stderr is not None and sys.stderr.isatty():
            return TerminalProgress(sys.stderr.write, is_tty=True)
        return None

    def _is_configured(self, host: str) -> bool:
        named = parse_host(host)
        with suppress(OllamaMagicError):  # a wrong setting is told when it is used
            return not named.user and named.base_url == self.client().host.base_url
        return False
