"""The servers of a ``map_prompts`` call, checked before any row is sent.

``map_prompts`` calls ``usable_servers``, which asks each server whether it has the
model and what the model can do. With several servers, an unusable one is skipped with
a note; a single unusable one raises its error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from ollama_magic.client.background import run_in_background, start_call
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import parse_host
from ollama_magic.client.models import (
    ModelSummary,
    canonical,
    find_model,
    is_decider,
    local_decider,
    require_capability,
)
from ollama_magic.client.types import Think
from ollama_magic.errors import (
    ConfigError,
    OllamaMagicError,
    ServerUnreachableError,
)
from ollama_magic.generation.models import (
    ServerModels,
    capabilities_of,
    check_cloud,
    check_level,
    chosen_model,
    cloud_host,
    look_up,
    model_to_ask,
    server_note,
)
from ollama_magic.generation.session import Session

S = TypeVar("S")
T = TypeVar("T")

_LIST_TIMEOUT_S = 10.0
"""For the list of models, whose digests say which cached replies can be reused."""


@dataclass(frozen=True)
class BatchServer:
    """A server that rows are sent to."""

    client: OllamaClient
    is_configured: bool
    """Whether settings and environment name this server; only it gets the API key."""
    kind: str
    """``embedded``, ``loopback`` or ``remote``."""
    model: ModelSummary | None = None
    """The model as the server lists it; None until then, or if it does not."""
    cloud_host: str = ""
    """Where the server forwards prompts to; empty when it answers itself."""

    @property
    def base_url(self) -> str:
        """The address."""
        return self.client.host.base_url

    @property
    def digest(self) -> str:
        """The digest of the model; empty if the server does not report it."""
        return self.model.digest if self.model else ""

    @property
    def note(self) -> str:
        """Where prompts go; empty for an Ollama on this machine."""
        return server_note(self.kind, self.base_url, self.cloud_host)

    @property
    def answers_from(self) -> str:
        """Where replies come from: ``kind``, or ``cloud``."""
        return "cloud" if self.cloud_host else self.kind


@dataclass(frozen=True)
class UsableServers:
    """The model, and the servers that can run it."""

    model: str
    servers: Sequence[BatchServer]
    notes: Sequence[str] = ()
    """Which servers were skipped, and why."""
    requested_model: str = ""
    """The model as the caller, the notebook or the settings name it; may be empty."""
    fault: OllamaMagicError | None = None
    """Why no server can be used; cached replies may be enough."""

    @property
    def note(self) -> str:
        """Where prompts go, for the progress line."""
        if self.fault is not None:
            return "no server; cached replies only"
        notes = [server.note for server in self.servers]
        requested = self.requested_model
        if requested and canonical(requested) != canonical(self.model):
            notes.insert(0, f"only installed tag of {requested}")
        return "; ".join(dict.fromkeys(filter(None, notes)))


def usable_servers(
    session: Session,
    hosts: str | Sequence[str] | None,
    model: str | None,
    think: Think | None,
    *,
    decides: bool = False,
) -> UsableServers:
    """Return the servers to use; with a ``fault`` if cached replies may be enough.

    Parameters
    ----------
    hosts
        The addresses of the servers; None is the configured one.
    model
        The model that the caller names, if any.
    think
        Whether the model must be able to think.
    decides
        Whether the model need not chat if it decides; such a model is preferred.

    Raises
    ------
    OllamaMagicError
        The only server does not answer, or lacks the model or a capability.
    ConfigError
        There is no model, or none of several servers is usable.
    """
    servers = _named_servers(session, hosts)
    find = partial(_find_servers, session, servers, think=think, decides=decides)
    if decides and not model:
        model = _decider(session, servers) or None
    name = model or _default_model(session)
    try:
        usable = find(name)
        if not model:
            listed = [server.model for server in usable.servers if server.model]
            allowed = _default_model(session, listed)
            if allowed != name:
                usable = find(allowed)
    except ServerUnreachableError as error:
        if not session.settings.cached:
            raise
        return UsableServers(name or "", servers, fault=error)
    for server in usable.servers:
        check_cloud(session.settings, server.client, usable.model, server.cloud_host)
    return usable


def _decider(session: Session, servers: Sequence[BatchServer]) -> str:
    """Return a model of the first server that decides; empty if it has none."""
    allow_cloud = session.settings.allow_cloud
    with suppress(OllamaMagicError):
        installed = run_in_background(servers[0].client.list)
        return local_decider(installed, allow_cloud=allow_cloud)
    return ""


def _default_model(
    session: Session, installed: Sequence[ModelSummary] = ()
) -> str | None:
    """Return the model of this notebook; None leaves it to the first server."""
    earlier = session.chat().before(session.cells.cell_id)
    chosen = chosen_model(session, earlier, installed)
    return chosen.name if chosen else None


def _named_servers(
    session: Session, hosts: str | Sequence[str] | None
) -> list[BatchServer]:
    """Return the given servers, each once; None is the configured one."""
    named: Sequence[str | None] = [hosts] if isinstance(hosts, str) else hosts or [None]
    servers = [_named_server(session, host) for host in named]
    return list({server.base_url: server for server in servers}.values())


def _named_server(session: Session, host: str | None) -> BatchServer:
    """Return a server; the API key is sent to the configured host alone."""
    is_configured = host is None or _is_configured_host(session, host)
    client = session.client(None if is_configured else host)
    gets_key = is_configured and not client.host.user
    return BatchServer(client, gets_key, session.host_kind(client))


def _is_configured_host(session: Session, host: str) -> bool:
    named = parse_host(host)
    with suppress(OllamaMagicError):  # an invalid setting is reported when it is used
        return not named.user and named.base_url == session.client().host.base_url
    return False


def _find_servers(
    session: Session,
    servers: Sequence[BatchServer],
    model: str | None,
    think: Think | None,
    *,
    decides: bool,
) -> UsableServers:
    """Return the servers that have the model; None is the default of the first."""
    allow_cloud = session.settings.allow_cloud

    def look(server: BatchServer) -> ServerModels:
        must_list = model is None or allow_cloud is False
        return look_up(server.client, must_list=must_list, patience_s=_LIST_TIMEOUT_S)

    def find() -> UsableServers:
        lists = _each(servers, look)
        name = _full_name(model, lists, allow_cloud=allow_cloud)
        pairs = list(zip(servers, lists, strict=True))
        check = partial(_checked, name=name, think=think, decides=decides)
        checked = _each(pairs, lambda pair: check(*pair))
        return replace(_usable(name, servers, checked), requested_model=model or "")

    return run_in_background(find)


def _usable(
    name: str,
    servers: Sequence[BatchServer],
    checked: Sequence[BatchServer | OllamaMagicError],
) -> UsableServers:
    usable = [one for one in checked if isinstance(one, BatchServer)]
    errors = {
        server.base_url: one
        for server, one in zip(servers, checked, strict=True)
        if isinstance(one, OllamaMagicError)
    }
    if not usable and len(servers) == 1:
        raise next(iter(errors.values()))
    reasons = [f"{url}: {e.why or e.what}" for url, e in errors.items()]
    if not usable:
        raise ConfigError(
            f"None of the {len(servers)} hosts can run {name!r}.",
            why="; ".join(reasons),
            next_step="leave hosts out to use the configured server, or correct "
            "the addresses",
        )
    notes = [f"Server skipped: {reason}" for reason in reasons]
    return UsableServers(name, usable, [*notes, *_note_about_digests(name, usable)])


def _note_about_digests(name: str, servers: Sequence[BatchServer]) -> list[str]:
    """Return a note if the servers have different models of that name."""
    known = [server for server in servers if server.digest]
    if len({server.digest for server in known}) < 2:
        return []
    shown = [f"{one.base_url} has {one.digest[:12]}" for one in known]
    return [f"The hosts have different models named {name!r}: {', '.join(shown)}"]


def _full_name(
    model: str | None,
    lists: Sequence[ServerModels | OllamaMagicError],
    *,
    allow_cloud: bool | None,
) -> str:
    """Return the full name of the model, from the first server that lists its models.

    NB: if no server does, ``_checked`` raises the reason.
    """
    listed = next((one for one in lists if isinstance(one, ServerModels)), None)
    if listed is None:
        return model or ""
    return model_to_ask(model or "", listed, allow_cloud=allow_cloud)


def _checked(
    server: BatchServer,
    models: ServerModels | OllamaMagicError,
    name: str,
    think: Think | None,
    *,
    decides: bool,
) -> BatchServer:
    if isinstance(models, OllamaMagicError):
        raise models
    model = find_model(name, models.installed)
    capabilities: Sequence[str] = model.capabilities if model else ()
    if not (
        capabilities or models.is_slow
    ):  # an older server, or the model is missing, which raises
        capabilities = capabilities_of(server.client, name)
    known = replace(model or ModelSummary(name), capabilities=tuple(capabilities))
    needed = ["decision" if decides and is_decider(known, name) else "completion"]
    for capability in [*needed, "thinking"] if think else needed:
        require_capability(capability, known, models.installed)
    check_level(server.client, think, name)
    return replace(server, model=model, cloud_host=cloud_host(name, model))


def _each(items: Sequence[S], call: Callable[[S], T]) -> list[T | OllamaMagicError]:
    """Call with all items at the same time; an ``OllamaMagicError`` is returned."""
    futures = [start_call(partial(call, item)) for item in items]
    results: list[T | OllamaMagicError] = []
    for future in futures:
        try:
            results.append(future.result())
        except OllamaMagicError as error:
            results.append(error)
    return results
