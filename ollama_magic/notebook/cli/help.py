"""The help of the magics: a list of everything, or one section of the manual.

The list shows the heading and the first paragraph of each section of the manual. All of
it is plain text, at most 80 wide.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from ollama_magic.generation.options import CHAT_OPTIONS, find_option
from ollama_magic.notebook.cli.manual import sections
from ollama_magic.notebook.commands import GROUPS, find_command

_WIDTH = 80
_LEFT = 31

_USAGE = """\
%%ollama [MODEL] [options]          ask; the prompt is on the lines below
%%ollama NAME << [MODEL] [options]  ask, and assign the reply to NAME
%ollama [SUBCOMMAND]                run a subcommand; alone it shows the status"""

_EXAMPLE = """\
%%ollama llama3.2 -s "Answer in one sentence." -t 0.2
Why is the sky blue?"""

_FENCE = re.compile(r"```\w*\n(.*?)\n```", re.DOTALL)


def help_text(word: str = "") -> str:
    """Return the list of everything, or the page of a subcommand or an option."""
    command = find_command(word)
    if command is not None:
        page = _plain(sections("commands.md")[command.usage])
        options = f"\n\n{_options()}" if command.asks else ""
        return f"%ollama {command.usage}\n\n{page}{options}"
    option = find_option(CHAT_OPTIONS, word)
    if option is not None:
        page = _plain(sections("options.md")[option.label])
        return f"%%ollama {option.label}\n\n{page}"
    return _overview()


def page_asked_for(line: str) -> str:
    """Return the help that a ``%%ollama`` line without a prompt asks for, if it does.

    ``--schema?`` and ``pull?`` ask for a page, ``help`` for the list of everything.
    """
    *before, last = line.split() or [""]
    word = last.rstrip("?") or "".join(before[-1:])
    is_asked = last.endswith("?") or before == ["help"]
    is_known = find_option(CHAT_OPTIONS, word) or find_command(word)
    if is_asked and is_known:
        return help_text(word)
    return _overview() if line.strip(" ?") in {"help", ""} and last else ""


def magic_docstring() -> str:
    """Return what ``%%ollama?`` and ``%ollama?`` show."""
    first = "Ask a language model through Ollama, or manage chats and models."
    return f"{first}\n\n{_overview()}\n\nMore: %ollama help WORD\n"


def _overview() -> str:
    lines = [_USAGE, "", _options()]
    for title, commands in GROUPS.items():
        rows = [_row("commands.md", command.usage) for command in commands]
        lines += ["", f"{title}: subcommands of %ollama", *_rows(rows)]
    return "\n".join([*lines, "", "Example", textwrap.indent(_EXAMPLE, "  ")])


def _options() -> str:
    rows = [_row("options.md", option.label) for option in CHAT_OPTIONS]
    return "\n".join(["Options of %%ollama, before or after MODEL", *_rows(rows)])


def _row(file: str, heading: str) -> tuple[str, str]:
    """Return a heading of the manual and its summary, the first paragraph below."""
    return heading, _plain(sections(file)[heading].partition("\n\n")[0])


def _rows(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield two columns; a long left cell gets a line of its own."""
    indent = " " * (_LEFT + 2)
    for left, right in rows:
        wrapped = textwrap.wrap(right, _WIDTH - len(indent))
        if len(left) >= _LEFT:
            yield f"  {left}"
        else:
            yield f"  {left:{_LEFT}}{wrapped.pop(0)}"
        yield from (indent + more for more in wrapped)


def _plain(section: str) -> str:
    """Return the Markdown of a section as plain text."""
    blocks = []
    for index, part in enumerate(_FENCE.split(section)):
        if index % 2:
            blocks.append("Example\n" + textwrap.indent(part, "  "))
            continue
        for paragraph in part.strip().split("\n\n"):
            items = re.split(r"\n(?=- )", paragraph)
            blocks.append("\n".join(map(_wrapped, items)))
    return "\n\n".join(filter(None, blocks))


def _wrapped(text: str) -> str:
    return textwrap.fill(
        " ".join(text.replace("`", "").split()),
        _WIDTH - 2,
        subsequent_indent="  " if text.startswith("- ") else "",
        break_on_hyphens=False,
        break_long_words=False,
    )
