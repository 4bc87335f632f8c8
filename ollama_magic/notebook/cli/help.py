"""The help of the magics, made from the tables of options and subcommands.

Plain text in two columns, at most 80 wide: it is read in a notebook, in a terminal
and in ``%%ollama?``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ollama_magic.generation.options import CHAT_OPTIONS, Option, find_option
from ollama_magic.notebook.cli import manual
from ollama_magic.notebook.cli.command_table import COMMANDS, Command, find_command
from ollama_magic.notebook.cli.manual import Entry

_WIDTH = 80
_LEFT = 31

_CELL_USAGE = """\
%%ollama [MODEL] [options]          ask: the prompt stands on the lines under it
%%ollama NAME << [MODEL] [options]  the same, and the reply is bound to NAME"""

_EXAMPLES = """\
%%ollama llama3.2 -s "Answer in one sentence." -t 0.2
Why is the sky blue?"""


def help_text(word: str | None = None) -> str:
    """Return the page of all, of a subcommand (also by an alias), or of an option."""
    command = find_command(word) if word else None
    if command is not None:
        return _command_page(command)
    option = find_option(CHAT_OPTIONS, word) if word else None
    return _page_of_all() if option is None else _option_page(option)


def _command_page(command: Command) -> str:
    lines = [command.usage, "", f"  {command.summary}"]
    if command.aliases:
        lines += ["", f"  also: {', '.join(command.aliases)}"]
    lines += _told(manual.COMMANDS[command.name])
    if command.options:
        lines += ["", "Options", *_rows(_option_rows(command.options))]
    return "\n".join(lines)


def _option_page(option: Option) -> str:
    lines = [f"%%ollama {option.label}", "", f"  {option.help}"]
    return "\n".join([*lines, *_told(manual.OPTIONS[option.flags[-1]])])


def _told(entry: Entry) -> list[str]:
    """Return what the manual says, as lines."""
    lines: list[str] = []
    for paragraph in entry.text.split("\n\n"):
        lines += ["", *textwrap.wrap(paragraph, _WIDTH - 2)]
    return [*lines, "", "Example", textwrap.indent(entry.example, "  ")]


def magic_docstring() -> str:
    """Return the docstring of the magic, for ``%%ollama?`` and ``%ollama?``."""
    first = "Ask a language model through Ollama, or look after chats and models."
    return f"{first}\n\n{_page_of_all()}\n"


def _page_of_all() -> str:
    return "\n".join(
        [
            _CELL_USAGE,
            "",
            "Options of %%ollama, before or after MODEL",
            *_rows(_option_rows(CHAT_OPTIONS)),
            "",
            "Subcommands of %ollama; alone it shows server, model and chat",
            *_rows(_command_rows(COMMANDS)),
            "",
            "Example",
            textwrap.indent(_EXAMPLES, "  "),
        ]
    )


def _option_rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    return [(option.label, option.help) for option in options]


def _command_rows(commands: Iterable[Command]) -> list[tuple[str, str]]:
    return [
        (command.usage.removeprefix("%ollama "), command.summary)
        for command in commands
    ]


def _rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return two columns; a long left cell gets a line of its own."""
    lines: list[str] = []
    indent = " " * (_LEFT + 2)
    for left, right in rows:
        wrapped = textwrap.wrap(right, _WIDTH - len(indent))
        if len(left) >= _LEFT:
            lines.append(f"  {left}")
        else:
            lines.append(f"  {left:{_LEFT}}{wrapped.pop(0)}")
        lines += [indent + more for more in wrapped]
    return lines
