"""Which word wins: that of the cell, of the chat, of the settings, of the environment.

Knows where a request's settings may come from, and in which order. Asks no server.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ollama_magic.client.options import check_options
from ollama_magic.errors import ConfigError
from ollama_magic.generation.options import ChatOptions, read_keep_alive
from ollama_magic.generation.schema import Schema
from ollama_magic.generation.session import Session
from ollama_magic.history.turns import Chat


class ChosenModel(NamedTuple):
    """The model that answers a request that names none, and what says so."""

    name: str
    source: str


def chosen_model(session: Session, before: Chat) -> ChosenModel | None:
    """Return the model that this notebook asks where nothing names one.

    None leaves the choice to the server's list: see ``server_models.default_model``.

    Parameters
    ----------
    before
        The chat up to the turn that is asked now.
    """
    candidates = (
        (session.store.chosen_model(session.notebook.key), "%ollama use"),
        (model_of_last_turn(before), "the chat's last turn"),
        (session.settings.model, "OllamaMagics.model"),
        (os.environ.get("OLLAMA_MODEL"), "OLLAMA_MODEL"),
    )
    return next((ChosenModel(name, by) for name, by in candidates if name), None)


def model_of_last_turn(before: Chat) -> str:
    """Return the model of the last turn that was asked here; empty if none was."""
    models = (turn.model for turn in reversed(before.turns) if turn.names_model)
    return next(models, "")


def system_from_here(session: Session, args: ChatOptions, history: Chat) -> str | None:
    """Return the system message that begins with this turn; None when none does."""
    if args.system is not None:
        return args.system
    return (session.settings.system or None) if history.system() is None else None


def think_of(session: Session, args: ChatOptions) -> bool | str | None:
    """Return whether, or how hard, the model is to think; None leaves it to it."""
    # NB: with a schema the setting is left out: some models then think no more, and
    # others write no JSON (ollama#11545, #14645, #15260). An option still says so.
    if args.think is not None or args.schema is not None:
        return args.think
    return session.settings.think


def format_of(session: Session, args: ChatOptions) -> str:
    """Return how the reply is shown, by the words of ``-f``."""
    if args.format is None and args.schema is not None:
        return "json"
    return args.format or session.settings.format


def settings_of_request(
    session: Session, args: ChatOptions, schema: Schema | None
) -> dict[str, Any]:
    """Return the fields of a request that both endpoints have, save ``think``.

    Raises
    ------
    ConfigError
        A setting has a value that no server would take.
    """
    is_json = format_of(session, args) == "json"
    return {
        "options": {**check_options(session.settings.options), **args.options},
        "format": schema.json if schema else "json" if is_json else None,
        "keep_alive": _keep_alive(session, args),
        "stream": args.stream,
    }


def _keep_alive(session: Session, args: ChatOptions) -> str | float | None:
    if args.keep_alive is not None or not session.settings.keep_alive:
        return args.keep_alive
    try:
        return read_keep_alive(session.settings.keep_alive)
    except ValueError as error:
        raise ConfigError(
            f"keep_alive cannot be {session.settings.keep_alive!r}.",
            why=str(error),
            next_step='%config OllamaMagics.keep_alive = "10m"',
        ) from error
