"""The subcommands of ``%ollama``: the list of them, and what reads and runs a line.

Each is declared beside the function that runs it, in a module for its task. The help
and Tab completion use the lists here, in the order of the help. A mistyped word is an
error with the nearest subcommand, never one that deletes, and a ``?`` at the end asks
for help.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NoReturn

from IPython.core.error import UsageError

from ollama_magic.errors import ServerUnreachableError, nearest, usage_error
from ollama_magic.generation.options import CHAT_OPTIONS, find_option
from ollama_magic.generation.prompt import CellPrompt
from ollama_magic.notebook.cli.parser import (
    LineReader,
    check_model_name,
    parse_chat_arguments,
)
from ollama_magic.notebook.commands import (
    account,
    chats,
    models,
    panel,
    prompts,
    server,
    stats,
    templates,
    turns,
)
from ollama_magic.notebook.commands.declare import Command, Context, ParsedCommand
from ollama_magic.render.tables import TextPage

GROUPS: dict[str, tuple[Command, ...]] = {
    "Ask": (*prompts.ASK, *turns.ASK, *templates.ASK),
    "Chat": (*chats.CHAT, *turns.CHAT),
    "Data": (*chats.DATA, *stats.COMMANDS),
    "Code": (*prompts.CODE, *turns.CODE),
    "Models": (*panel.COMMANDS, *models.COMMANDS),
    "Server": (*server.COMMANDS, *account.COMMANDS),
}

COMMANDS = tuple(command for group in GROUPS.values() for command in group)

CELL_PROMPT = re.compile(
    r"\s*(?:#[^\n]*\n\s*)*%%ollama(?:[^\S\n]+([^\n]*))?(?:\n(.*))?", re.DOTALL
)
_LINE_PROMPT = re.compile(
    r"^[ \t]*(?:\w+[ \t]*=[ \t]*)?%ollama[ \t]+(.+)$", re.MULTILINE
)

_BY_WORD = {word: one for one in COMMANDS for word in (one.name, *one.aliases)}

_SKIPPED_IN_A_REPLAY = frozenset({"pull", "create", "cp", "load", "stop", "rm"})
"""Subcommands that a notebook of cached replies does not need: without a server they do
nothing, so that the notebook still runs to its end."""

_OTHER_WORDS = {"unload": "stop", "start": "serve", "switch": "use", "tags": "list"}
"""Words for subcommands that are not spelled alike."""


def find_command(word: str) -> Command | None:
    """Return the subcommand with this name or alias."""
    return _BY_WORD.get(word)


def run_line(context: Context, line: str) -> object:
    """Run a line of ``%ollama`` and return what is shown, or None."""
    parsed = parse_command(line)
    command = find_command(parsed.name)
    if command is None:
        return server.status(context)
    try:
        shown = command.run(context, parsed)
    except ServerUnreachableError as error:
        is_replay = context.session.settings.cached
        if not (is_replay and command.name in _SKIPPED_IN_A_REPLAY):
            raise
        shown = f"Skipped: {server.replay_text(error)}"
    return TextPage(shown) if isinstance(shown, str) else shown


def parse_command(line: str) -> ParsedCommand:
    """Return the subcommand on an ``%ollama`` line, with its arguments.

    Raises
    ------
    UsageError
        An unknown subcommand or option, or too few or too many operands.

    Examples
    --------
    >>> parse_command("delete llama3.2 -y")
    ParsedCommand(name='rm', arguments=('llama3.2',), values={'yes': True}, ...)
    >>> parse_command("ask -t 0 What's up?").text
    "What's up?"
    """
    word, rest = _first_word(line.strip())
    if not word:
        return ParsedCommand("status")
    command = find_command(word)
    if line.rstrip().endswith("?") and not (command and command.takes_text):
        name = word.rstrip("?")  # `pull?` or `show llama3.2 ?`
        return _help_page(name, line) if name else ParsedCommand("help")
    if command is None:
        _raise_unknown_subcommand(word, line.strip())
    if command.asks:
        return _parse_asking_command(command, rest)
    if command.name == "help" and find_option(CHAT_OPTIONS, rest.strip()):
        return ParsedCommand("help", (rest.strip(),))
    magic = f"%ollama {command.name}"
    read = LineReader(magic, command.options)
    read.add(rest)
    _check_count(command, len(read.words))
    if command.completes == "model":
        for word in read.words:
            check_model_name(word, magic)
    if command.name == "help" and read.words:
        return _help_page(read.words[0], line, otherwise="%ollama help")
    _check_one_switch(command, read, magic)
    return ParsedCommand(command.name, tuple(read.words), read.fields)


def prompts_in(source: str) -> Iterator[CellPrompt]:
    """Yield the prompts of a cell's magics; a line with an error has none."""
    try:
        if cell := CELL_PROMPT.fullmatch(source):
            options = parse_chat_arguments(cell[1] or "")
            one = CellPrompt(cell[2] or "", options.raw, options.has_text_before)
            yield from () if options.template else (one,)  # whose text is a file
            return
        for match in _LINE_PROMPT.finditer(source):
            command = parse_command(match[1])
            options = command.chat_arguments
            if command.name == "ask":
                yield CellPrompt(command.text, options.raw, options.has_text_before)
    except UsageError:
        return


def _first_word(line: str) -> tuple[str, str]:
    """Split a line at its first blank, which may be a tab or one that was pasted."""
    word, *rest = re.split(r"\s", line, maxsplit=1)
    return word, "".join(rest)


def _help_page(word: str, line: str, *, otherwise: str = "") -> ParsedCommand:
    command = find_command(word)
    if command is None:
        _raise_unknown_subcommand(word, line.strip(), otherwise=otherwise)
    return ParsedCommand("help", (command.name,))


def _parse_asking_command(command: Command, rest: str) -> ParsedCommand:
    magic = f"%ollama {command.name}"
    read = LineReader(magic, command.options, ends_in_text=command.takes_text)
    read.add(rest)
    if command.completes == "model" and read.text:
        _read_after_model(read, magic)
    if command.takes_text and not read.text:
        _raise_wrong_count(command, 0)
    _check_count(command, max(len(read.words), command.least))
    text = read.text or " ".join(read.words)
    return ParsedCommand(command.name, text=text, chat_arguments=read.chat_options())


def _read_after_model(read: LineReader, magic: str) -> None:
    """Split the model, and options after it, from the free text."""
    model, *rest = read.text.split(maxsplit=1)
    read.add_model(model)
    read.add("".join(rest))
    if not read.text:
        raise usage_error(
            f"{magic} needs a prompt for {model!r}.",
            why="a notebook has no interactive prompt; chat in its cells",
            next_step=f"%%ollama {model}   with the prompt below it, or on one line: "
            f"{magic} {model} TEXT",
        )


def _check_one_switch(command: Command, read: LineReader, magic: str) -> None:
    """Raise an error for more than one switch besides ``-y`` and ``--force``."""
    switches = {one.field for one in command.options if one.kind == "switch"}
    switches -= {"yes", "force", "insecure", "verbose"}
    flags = [flag for field, flag in read.flags.items() if field in switches]
    if len(flags) > 1:
        raise usage_error(
            f"{magic} takes only one of {' and '.join(flags)}.",
            next_step=f"{magic} {flags[0]}",
        )


def _check_count(command: Command, count: int) -> None:
    if count < command.least or (command.most is not None and count > command.most):
        _raise_wrong_count(command, count)


def _raise_wrong_count(command: Command, count: int) -> NoReturn:
    takes = command.operands or "no arguments"
    raise usage_error(
        f"%ollama {command.name} takes {takes}, but {count or 'nothing'} "
        f"{'were' if count > 1 else 'was'} given.",
        next_step=f"%ollama {command.usage}",
    )


def _raise_unknown_subcommand(word: str, line: str, *, otherwise: str = "") -> NoReturn:
    if word.startswith("%%"):  # see ``input_transforms``
        raise usage_error(
            f"{word} must be on the first line of its cell.",
            why="other lines are above it",
            next_step="move it to a new cell, with the prompt below it   "
            "In one line: %ollama ask TEXT",
        )
    names = [name for each in COMMANDS for name in (each.name, *each.aliases)]
    word_alone = word.rstrip("?")
    likely = _OTHER_WORDS.get(word_alone) or nearest(word_alone, names)
    meant = find_command(likely) if likely else None
    # NB: the suggestion must not delete anything.
    if likely is None or meant is None or meant.discards:
        to_ask = f"to ask a model: %ollama ask {line}   All subcommands: %ollama help"
        next_step = otherwise or to_ask
    elif word == line:
        next_step = f"did you mean: %ollama {likely}"
    else:
        next_step = f"did you mean: %ollama {line.replace(word, likely, 1)}"
    raise usage_error(f"%ollama has no subcommand {word!r}.", next_step=next_step)
