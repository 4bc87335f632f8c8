"""Read the prompts that the source of a cell shows.

``restore`` and ``import`` compare them with the metadata of the cell's outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from IPython.core.error import UsageError

from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prompt import CellPrompt
from ollama_magic.notebook.cli.arguments import parse_chat_arguments
from ollama_magic.notebook.cli.command_line import parse_command

_CELL_MAGIC = re.compile(r"\s*%%ollama(?:[ \t]+([^\n]*))?(?:\n(.*))?", re.DOTALL)
_LINE_MAGIC = re.compile(
    r"^[ \t]*(?:\w+[ \t]*=[ \t]*)?%ollama[ \t]+(.+)$", re.MULTILINE
)


def prompts_in(source: str) -> Iterator[CellPrompt]:
    """Yield the prompts of a cell's magics; a line that would not run has none."""
    cell = _CELL_MAGIC.fullmatch(source)
    lines = [] if cell else [match[1] for match in _LINE_MAGIC.finditer(source)]
    try:
        if cell:
            yield _prompt(cell[2] or "", parse_chat_arguments(cell[1] or ""))
        for command in map(parse_command, lines):
            if command.name == "ask":
                yield _prompt(command.text, command.chat_arguments)
    except UsageError:
        return


def _prompt(text: str, arguments: ChatOptions) -> CellPrompt:
    return CellPrompt(text, arguments.raw, bool(arguments.files))
