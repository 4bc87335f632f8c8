"""The subcommands of ``%ollama``: one module for each task, and the list of them all.

Each subcommand is declared beside the function that runs it. The parser, the help and
Tab completion use the lists here, in the order of the help.
"""

from __future__ import annotations

from ollama_magic.notebook.commands import (
    ask,
    chats,
    code,
    models,
    server,
    sharing,
    transfers,
)
from ollama_magic.notebook.commands.declare import Command

GROUPS: dict[str, tuple[Command, ...]] = {
    "Ask": tuple(ask.COMMANDS),
    "Chat": tuple(chats.COMMANDS),
    "Data": tuple(sharing.COMMANDS),
    "Code": tuple(code.COMMANDS),
    "Models": (*models.COMMANDS, *transfers.COMMANDS),
    "Server": tuple(server.COMMANDS),
}

COMMANDS = tuple(command for group in GROUPS.values() for command in group)

_BY_WORD = {word: one for one in COMMANDS for word in (one.name, *one.aliases)}


def find_command(word: str) -> Command | None:
    """Return the subcommand with this name or alias."""
    return _BY_WORD.get(word)
