"""What a server says of its models, as far as it says anything.

Knows that one which refuses to tell can still answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from ollama_magic.client import OllamaClient
from ollama_magic.errors import ConfigError, OllamaMagicError, ServerError
from ollama_magic.wire import LoadedModel, ModelSummary


@dataclass(frozen=True)
class ServerModels:
    """The models of a server, and those that it has in memory, as far as told."""

    installed: Sequence[ModelSummary] = ()
    loaded: Sequence[LoadedModel] = ()
    fault: OllamaMagicError | None = None
    """Why nothing was told, where that need not be the end of it."""


def look_up(client: OllamaClient, *, must_list: bool) -> ServerModels:
    """Ask a server for its models.

    A server that refuses to tell can still answer: what can be done without is.

    Parameters
    ----------
    must_list
        The list is needed, since no model was named.
    """
    installed: Sequence[ModelSummary] = ()
    loaded: Sequence[LoadedModel] = ()
    try:
        installed = client.list()
    except ServerError:
        if must_list:
            raise
    with suppress(ServerError):
        loaded = client.ps()
    return ServerModels(installed, loaded)


def newest_model(models: ServerModels) -> str:
    """Return the newest model; empty where the server could not be asked.

    Raises
    ------
    ConfigError
        There is none.
    """
    if models.fault is not None:
        return ""
    if not models.installed:
        raise ConfigError(
            "No model was named, and the server has none.",
            why="GET /api/tags lists no models",
            next_step="%ollama pull smollm2:135m   (small), or any name from "
            "https://ollama.com/library",
        )
    return models.installed[0].name  # the server lists the newest first
