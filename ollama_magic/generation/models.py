"""The models of a server, and the rule that picks one when a prompt names none.

Cells, the Python functions, ``map_prompts``, the status and the doctor use it. A server
that does not list its models can still reply: if a model is named, the list gets little
time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from ollama_magic.client.background import (
    PATIENCE_S,
    ask_in_time,
    run_in_background,
    start_call,
)
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.decisions import AnyRequest
from ollama_magic.client.models import (
    CLOUD_HOST,
    LoadedModel,
    ModelSummary,
    find_model,
    has_tag,
    is_cloud_name,
    matching_names,
)
from ollama_magic.client.types import Request, Think
from ollama_magic.errors import (
    ConfigError,
    ModelNotFoundError,
    NotOllamaError,
    OllamaMagicError,
    ServerError,
    ServerUnreachableError,
    nearest,
)
from ollama_magic.generation.option_values import THINK_LEVELS
from ollama_magic.generation.options import ChatOptions, TemplateUse
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import Settings
from ollama_magic.history.cache import CachedReply, not_cached_error, request_key
from ollama_magic.history.turns import Chat

_MOST_NAMED = 6


@dataclass(frozen=True)
class ServerModels:
    """The models of a server, and those that are loaded."""

    installed: Sequence[ModelSummary] = ()
    loaded: Sequence[LoadedModel] = ()
    is_slow: bool = False
    """Whether one of the lists did not arrive in time; nothing else is asked then."""
    is_late: bool = False
    """Whether a newer list is requested along with the prompt."""
    fault: OllamaMagicError | None = None
    """Why the server could not list them, if a cached reply may be enough."""


# -- asking the server -----------------------------------------------------------


def look_up(
    client: OllamaClient, *, must_list: bool, patience_s: float = PATIENCE_S
) -> ServerModels:
    """Ask a server for its models and its loaded models, at the same time.

    Parameters
    ----------
    must_list
        The list is required, since no model is named.
    patience_s
        Time limit for a list that is not required.

    Raises
    ------
    ServerUnreachableError
        The server answered neither request.
    OllamaMagicError
        The list is required, and the request failed.
    """
    installed: Sequence[ModelSummary] | Exception
    if must_list:
        listing = start_call(client.list)
        (loaded,) = ask_in_time(client.ps, patience_s=patience_s)
        try:
            installed = listing.result()
        except (ServerError, NotOllamaError) as error:
            error.next_step = f"name the model: %%ollama MODEL; or {error.next_step}"
            raise
    else:
        calls = client.list, client.ps
        installed, loaded = ask_in_time(*calls, patience_s=patience_s)
    is_slow = any(isinstance(one, TimeoutError) for one in (installed, loaded))
    if isinstance(installed, Exception):
        if all(isinstance(e, ServerUnreachableError) for e in (installed, loaded)):
            raise installed
        installed = []
    return ServerModels(
        installed, [] if isinstance(loaded, Exception) else loaded, is_slow
    )


def capabilities_of(client: OllamaClient, name: str) -> Sequence[str]:
    """Return what a model can do; empty if the server does not say in time.

    Raises
    ------
    ModelNotFoundError
        The server does not have the model.
    """
    (details,) = ask_in_time(lambda: client.show(name))
    if isinstance(details, ModelNotFoundError):
        raise details
    return () if isinstance(details, Exception) else details.capabilities


# -- which model -----------------------------------------------------------------
#
# The rule for a prompt that names no model, in this order: the model of `%ollama use`;
# of the chat's last turn that no cloud model answered; the setting `model`;
# `OLLAMA_MODEL`; of the server's own models that can chat, one in memory, else the
# newest. The first four are known without the server (`chosen_model`), the last is not
# (`model_to_ask`). So one cell that names a cloud model sends no later cell there.


class ChosenModel(NamedTuple):
    """The model of prompts that name none, and what chose it."""

    name: str
    source: str


def chosen_model(
    session: Session, before: Chat, installed: Sequence[ModelSummary] = ()
) -> ChosenModel | None:
    """Return the model that the notebook, chat, settings or environment choose.

    Parameters
    ----------
    before
        The chat before the new turn.
    installed
        The models of the server, once they are known: no turn chooses one that the
        server lists as a cloud model, unless ``allow_cloud`` is set.
    """
    cloud = session.settings.allow_cloud is True
    names = (turn.model for turn in reversed(before.turns) if turn.names_model(cloud))
    last = next((n for n in names if cloud or not _is_cloud_in(n, installed)), "")
    is_last = last == before.last_model()
    candidates = (
        (session.store.chosen_model(session.notebook.key), "%ollama use"),
        (last, "the chat's last turn" if is_last else "an earlier turn of the chat"),
        (session.settings.model.strip(), "OllamaMagics.model"),
        (os.environ.get("OLLAMA_MODEL", "").strip(), "OLLAMA_MODEL"),
    )
    return next((ChosenModel(name, by) for name, by in candidates if name), None)


def _is_cloud_in(name: str, installed: Sequence[ModelSummary]) -> bool:
    model = find_model(name, installed)
    return model is not None and bool(model.cloud_host)


def model_to_ask(
    named: str, models: ServerModels, *, allow_cloud: bool | None = None
) -> str:
    """Return the full name of the model to ask.

    Parameters
    ----------
    named
        The model of the prompt, or of :func:`chosen_model`; empty: the server's list
        decides. Embedding, image and cloud models have to be named.
    allow_cloud
        The setting: if it is True, a cloud model need not be named.

    Returns
    -------
    str
        Empty if no model is named and the server could not list its models.

    Raises
    ------
    ConfigError
        No model is named, and the server has none to choose.
    ModelNotFoundError
        The name has no tag, and the server has several, or only a cloud model.
    """
    if named:
        return installed_name(named, models.installed)
    if models.fault is not None:
        return ""
    able = [
        model
        for model in models.installed
        if model.can_chat and (allow_cloud is True or not model.cloud_host)
    ]
    loaded = [m for m in able if find_model(m.name, models.loaded)]
    for model in (*loaded, *able):  # the server lists the newest first
        return model.name
    raise _no_default(models.installed)


def cloud_host(name: str, model: ModelSummary | None) -> str:
    """Return the host that runs a cloud model; empty for a local model.

    Parameters
    ----------
    model
        None if the server does not list it: then the name decides.
    """
    if model is not None and model.cloud_host:
        return model.cloud_host
    return CLOUD_HOST if is_cloud_name(name) else ""


def check_cloud(
    settings: Settings, client: OllamaClient, model: str, cloud: str
) -> None:
    """Raise an error if the model is in the cloud and the settings forbid that.

    Parameters
    ----------
    cloud
        The host that runs a cloud model; empty for a local model.

    Raises
    ------
    ConfigError
        ``allow_cloud`` is False, and prompts would be sent to the cloud.
    """
    is_cloud = f".{client.host.name.lower()}".endswith(f".{CLOUD_HOST}")
    cloud = cloud or (CLOUD_HOST if is_cloud else "")
    if cloud and settings.allow_cloud is False:
        raise ConfigError(
            f"{model!r} is a cloud model: its prompts are sent to {cloud}.",
            why="OllamaMagics.allow_cloud is False",
            next_step="choose a local model: %ollama list   or allow this one: "
            "%config OllamaMagics.allow_cloud = None",
        )


def check_template_model(settings: Settings, use: TemplateUse, cloud: str) -> None:
    """Raise an error if a file beside the notebook has named a cloud model.

    Raises
    ------
    ConfigError
        The file may be from somebody else, and prompts would be sent to ``cloud``.
    """
    if cloud and use.model and not settings.allow_cloud:
        raise ConfigError(
            f"The template {use.name!r} names a cloud model, {use.model!r}.",
            why=f"prompts are sent to {cloud}, and {use.path} may not be yours",
            next_step=f"name the model yourself: %%ollama @{use.name} -m {use.model}",
        )


def check_level(client: OllamaClient, level: Think | None, model: str) -> None:
    """Raise an error if the model does not know this level of thinking.

    The server would silently use another one (seen since 0.34.3). If it cannot be asked
    in time, the level is sent as it is.

    Raises
    ------
    ConfigError
        The level is not one of the model's.
    """
    if not isinstance(level, str):
        return
    values = run_in_background(partial(thinking_values, client, model))
    levels = [one for one in values if isinstance(one, str)]
    if not values or level in levels:
        return
    likely = nearest(level, levels)
    raise ConfigError(
        f"{model!r} has no thinking level {level!r}.",
        why=f"its levels: {', '.join(levels)}"
        if levels
        else "it has no levels: its thinking is on or off",
        next_step=f"--think={likely}" if likely else "--think, or --no-think",
    )


def thinking_values(client: OllamaClient, model: str) -> Sequence[bool | str]:
    """Return the values of ``think`` that a model takes; empty if unknown in time.

    Those of a server that does not list them (before 0.34.3) are the usual ones.
    """
    (details,) = ask_in_time(lambda: client.show(model))
    if isinstance(details, Exception):
        return ()
    return details.thinking_values or (*THINK_LEVELS, True, False)


def installed_name(name: str, installed: Sequence[ModelSummary]) -> str:
    """Return the full name of a model: without a tag, the only installed one.

    Raises
    ------
    ModelNotFoundError
        There are several tags, or only a cloud model.
    """
    meant = matching_names(name, [model.name for model in installed])
    if not meant or find_model(name, installed):
        return name
    local = [m.name for m in installed if m.name in meant and not m.cloud_host]
    if meant == local and len(meant) == 1:
        return meant[0]
    shown = [one if one in local else f"{one} (cloud)" for one in meant]
    count = f"{len(meant)} tags" if len(meant) > 1 else "a cloud model"
    raise ModelNotFoundError(
        f"The name {name!r} needs a tag: the server has {count}.",
        why=f"installed: {', '.join(shown)}; not installed: {name}:latest",
        next_step=f"name it with its tag: %%ollama {[*local, *meant][0]}",
        status_code=404,
    )


def _no_default(installed: Sequence[ModelSummary]) -> ConfigError:
    if not installed:
        return ConfigError(
            "No model is named, and the server has none.",
            why="GET /api/tags lists no models",
            next_step="%ollama pull smollm2:135m   (small), or any name from "
            "https://ollama.com/library",
        )
    kinds = [f"{model.name} ({_kind(model)})" for model in installed]
    more = ["…"] if len(kinds) > _MOST_NAMED else []
    cloud = [model.name for model in installed if model.can_chat and model.cloud_host]
    pull = "%ollama pull llama3.2   for a local model"
    choose = f"%ollama use {cloud[0]}   to send prompts there, or " if cloud else ""
    return ConfigError(
        "No model is named, and the server has no local model that can chat.",
        why=f"it has {', '.join([*kinds[:_MOST_NAMED], *more])}",
        next_step=f"choose one: {choose}{pull}",
    )


def _kind(model: ModelSummary) -> str:
    return "cloud" if model.cloud_host else ", ".join(model.capabilities)


def server_note(kind: str, base_url: str, cloud: str = "") -> str:
    """Return where a prompt was sent; empty for an Ollama on this machine.

    Parameters
    ----------
    kind
        ``embedded``, ``loopback`` or ``remote``.
    cloud
        The host that runs a cloud model.
    """
    if cloud:
        through = f" through {base_url}" if kind == "remote" else ""
        return f"cloud model, answered at {cloud}{through}"
    if kind == "embedded":
        return "embedded engine (demo model)"
    return "" if kind == "loopback" else f"answered at {base_url}"


# -- cached replies --------------------------------------------------------------
#
# A cached reply stands in for a server that cannot be reached, also for its list of
# models.


def ask_for_models(
    client: OllamaClient, options: ChatOptions, must_list: bool
) -> ServerModels:
    """Ask a server for its models, and stay interruptible.

    With ``--cached`` an unreachable server is not an error: the reply may be cached.
    """
    try:
        return run_in_background(partial(look_up, client, must_list=must_list))
    except ServerUnreachableError as error:
        if not options.cached:
            raise
        return ServerModels(fault=error)


def cached_reply(
    session: Session, options: ChatOptions, request: AnyRequest, digest: str = ""
) -> CachedReply | None:
    """Return the cached reply to a request, if the options ask for the cache.

    Parameters
    ----------
    digest
        Only a reply of the model with this digest; empty: of any model.
    """
    if not options.cached:
        return None
    return session.store.find_cached_reply(request_key(request), request.model, digest)


def explained(
    session: Session,
    options: ChatOptions,
    request: AnyRequest,
    fault: BaseException | None,
) -> BaseException | None:
    """Return the fault, with a note if a cached reply was wanted and is missing."""
    if not (options.cached and isinstance(fault, ServerUnreachableError)):
        return fault
    asked = str(request.as_messages()[-1].get("content", ""))
    store = session.store
    file = store.path.name if store.path else "memory"
    return not_cached_error(fault, file, asked, store.nearest_prompt(asked))


def named_by_cache(
    session: Session, options: ChatOptions, request: Request, models: ServerModels
) -> Request:
    """Return the request with its model's full name, if only the cache knows it.

    Raises
    ------
    OllamaMagicError
        No model is named and no reply is cached: why the server could not list its
        models.
    """
    if models.fault is None or (request.model and has_tag(request.model)):
        return request
    cached = cached_reply(session, options, request)
    if cached is not None:
        return replace(request, model=cached.model)
    if request.model:
        return request
    fault = explained(session, options, request, models.fault)
    assert fault is not None
    raise fault
