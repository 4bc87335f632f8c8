"""``%ollama fix`` and ``explain``: prompts about the code of this notebook.

The code is sent with ``--raw``, because double braces in it are not placeholders.
"""

from __future__ import annotations

from dataclasses import replace

from ollama_magic.generation.options import CHAT_OPTIONS
from ollama_magic.notebook.code_questions import (
    CodeQuestion,
    cells_to_explain,
    failing_cell,
    question_to_explain,
    question_to_fix,
)
from ollama_magic.notebook.commands.declare import Commands, Context, ParsedCommand

COMMANDS = Commands()


@COMMANDS.add(
    "fix",
    "Explain why a cell failed, and correct it; by default the last one that failed.",
    operands="[n]",
    options=CHAT_OPTIONS,
)
def fix(context: Context, line: ParsedCommand) -> object:
    """Ask for the cause of a failure and for a corrected cell."""
    cell = failing_cell(context.failing_cells, line.text)
    return _ask(context, line, question_to_fix(cell))


@COMMANDS.add(
    "explain",
    "Explain the code of the last cell, or of a RANGE of cells such as 3-5.",
    operands="[RANGE…]",
    options=CHAT_OPTIONS,
)
def explain(context: Context, line: ParsedCommand) -> object:
    """Ask what cells do."""
    session = context.session
    cells = cells_to_explain(session.shell, line.text, session.cells.raw_cell)
    return _ask(context, line, question_to_explain(cells))


def _ask(context: Context, line: ParsedCommand, about: CodeQuestion) -> object:
    args = replace(line.chat_arguments, raw=True)
    return context.unless_shown(context.ask(args, about.prompt, (about.about,)))
