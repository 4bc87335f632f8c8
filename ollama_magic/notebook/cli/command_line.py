"""Reads a line of ``%ollama`` and runs the subcommand that it names.

A mistyped word is an error with the nearest subcommand, never one that deletes, and a
``?`` at the end asks for help.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from ollama_magic.errors import ServerUnreachableError, nearest, usage_error
from ollama_magic.generation.options import CHAT_OPTIONS, find_option
from ollama_magic.notebook.cli.arguments import (
    check_model_name,
    make_chat_arguments,
    read_values,
)
from ollama_magic.notebook.cli.line import GivenOption, SplitLine, read_line
from ollama_magic.notebook.commands import COMMANDS, find_command
from ollama_magic.notebook.commands.declare import Command, Context, ParsedCommand
from ollama_magic.notebook.commands.server import replay_text, status
from ollama_magic.render.tables import TextPage

_SKIPPED_IN_A_REPLAY = frozenset({"pull", "create", "cp", "load", "stop", "rm"})
"""Subcommands that a notebook of cached replies does not need: without a server they do
nothing, so that the notebook still runs to its end."""


def run_line(context: Context, line: str) -> object:
    """Run a line of ``%ollama`` and return what is shown, or None."""
    parsed = parse_command(line)
    command = find_command(parsed.name)
    if command is None:
        return status(context)
    try:
        return command.run(context, parsed)
    except ServerUnreachableError as error:
        is_replay = context.session.settings.cached
        if not (is_replay and command.name in _SKIPPED_IN_A_REPLAY):
            raise
        return TextPage(f"Skipped: {replay_text(error)}")


def parse_command(line: str) -> ParsedCommand:
    """Return the subcommand on an ``%ollama`` line, with its arguments.

    Raises
    ------
    UsageError
        An unknown subcommand or option, or too few or too many operands.

    Examples
    --------
    >>> parse_command("delete llama3.2 -y")
    ParsedCommand(name='rm', arguments=('llama3.2',), options=('yes',), ...)
    >>> parse_command("ask -t 0 What's up?").text
    "What's up?"
    """
    word, _, rest = line.strip().partition(" ")
    if not word:
        return ParsedCommand("status")
    command = find_command(word)
    if line.rstrip().endswith("?") and not (command and command.takes_text):
        return _help_for(word, line)
    if command is None:
        _raise_unknown_subcommand(word, line.strip())
    if command.asks:
        return _parse_asking_command(command, rest)
    if command.name == "help" and find_option(CHAT_OPTIONS, rest.strip()):
        return ParsedCommand("help", (rest.strip(),))
    magic = f"%ollama {command.name}"
    read = read_line(rest, command.options, magic)
    _check_count(command, len(read.words))
    if command.completes == "model":
        for word in read.words:
            check_model_name(word, magic)
    if command.name == "help" and read.words:
        return _help_page(read.words[0], line, otherwise="%ollama help")
    switches = [one for one in read.given if one.option.kind == "switch"]
    others = [one for one in read.given if one.option.kind != "switch"]
    return ParsedCommand(
        command.name,
        read.words,
        _one_switch(switches, magic),
        read_values(others, magic),
    )


def _help_for(word: str, line: str) -> ParsedCommand:
    """Return the help command for ``pull?`` or ``show llama3.2 ?``."""
    name = word.rstrip("?")
    return _help_page(name, line) if name else ParsedCommand("help")


def _help_page(word: str, line: str, *, otherwise: str = "") -> ParsedCommand:
    command = find_command(word)
    if command is None:
        _raise_unknown_subcommand(word, line.strip(), otherwise=otherwise)
    return ParsedCommand("help", (command.name,))


def _parse_asking_command(command: Command, rest: str) -> ParsedCommand:
    magic = f"%ollama {command.name}"
    read = read_line(rest, command.options, magic, ends_in_text=command.takes_text)
    if command.completes == "model" and read.text:
        read = _after_model(command, read, magic)
    if command.takes_text and not read.text:
        _raise_wrong_count(command, 0)
    _check_count(command, max(len(read.words), command.least))
    text = read.text or " ".join(read.words)
    arguments = make_chat_arguments(read.given, magic)
    return ParsedCommand(command.name, text=text, chat_arguments=arguments)


def _after_model(command: Command, read: SplitLine, magic: str) -> SplitLine:
    """Split the model, and options after it, from the free text."""
    model, *rest = read.text.split(maxsplit=1)
    check_model_name(model, magic)
    more = read_line("".join(rest), command.options, magic, ends_in_text=True)
    if not more.text:
        raise usage_error(
            f"{magic} needs a prompt for {model!r}.",
            why="a notebook has no interactive prompt; chat in its cells",
            next_step=f"%%ollama {model}   with the prompt below it, or on one line: "
            f"{magic} {model} TEXT",
        )
    named = GivenOption(CHAT_OPTIONS[0], f"MODEL {model!r}", (model,))
    return SplitLine((*read.given, named, *more.given), (), more.text)


def _one_switch(given: Sequence[GivenOption], magic: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(one.option.field for one in given))
    ways = [one for one in given if one.option.field != "yes"]
    if len({one.option.field for one in ways}) > 1:
        flags = " and ".join(one.flag for one in ways)
        raise usage_error(
            f"{magic} takes only one of {flags}.",
            next_step=f"{magic} {ways[0].flag}",
        )
    return names


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


_OTHER_WORDS = {"unload": "stop"}
"""Words whose nearest subcommand does something else."""


def _raise_unknown_subcommand(word: str, line: str, *, otherwise: str = "") -> NoReturn:
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
