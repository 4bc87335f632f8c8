"""``%ollama ask``, ``run``, ``keep``, ``last``, ``fix`` and ``explain``: prompts.

``fix`` and ``explain`` write a prompt about the code of this notebook. They are sent
with ``--raw``, because double braces in code are not placeholders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ollama_magic.client.images import without_images
from ollama_magic.errors import PromptError
from ollama_magic.generation.compare import keep
from ollama_magic.generation.notebook_cells import NotebookCell
from ollama_magic.generation.options import CHAT_OPTIONS, ChatOptions, switch
from ollama_magic.generation.values import fenced
from ollama_magic.notebook.commands.declare import Commands, Context, ParsedCommand
from ollama_magic.notebook.failures import FailingCell, FailingCells

ASK = Commands()
CODE = Commands()


@ASK.add(
    "run",
    operands="MODEL TEXT",
    options=CHAT_OPTIONS,
    takes_text=True,
    completes="model",
)
@ASK.add("ask", operands="TEXT", options=CHAT_OPTIONS, takes_text=True)
def ask(context: Context, line: ParsedCommand) -> object:
    """Send the text of the line as the prompt; ``@NAME`` before it is a template."""
    options, text = line.chat_arguments, line.text
    if text.startswith("@"):
        from ollama_magic.notebook.templates import by_name

        word, _, rest = text[1:].partition(" ")
        if word in by_name(context.session):
            options, text = replace(options, template=word), rest
    return context.unless_shown(context.ask(options, text))


@ASK.add("keep", operands="MODEL", completes="compared")
def keep_reply(context: Context, line: ParsedCommand) -> object:
    """Make the reply of one compared model the turn of the cell that compared."""
    (model,) = line.arguments
    reply = keep(context.session, model)
    context.show_reply(reply)
    return context.unless_shown(reply)


@ASK.add("last", options=(switch("json", "--json"),))
def last(context: Context, line: ParsedCommand) -> object:
    """Return the last reply, or its request and metadata as JSON."""
    reply = context.session.last_reply
    if reply is None:
        return "No reply yet in this kernel."
    if "json" in line.values:
        request = without_images(reply.request)
        data = {"request": request, "reply": reply.provenance}
        return json.dumps(data, indent=2, ensure_ascii=False)
    return reply


# -- fix and explain ---------------------------------------------------------------

_OURS = re.compile(r"\s*%%?ollama(\s|$)")
_NUMBER = re.compile(r"(?:In ?)?\[?(\d+)\]?", re.A)


@dataclass(frozen=True, slots=True)
class CodePrompt:
    """A prompt about cells."""

    text: str
    note: str
    """For the footer: ``about In[7]``."""


def _ask(context: Context, line: ParsedCommand, prompt: CodePrompt) -> object:
    options = replace(line.chat_arguments, raw=True)
    return context.unless_shown(context.ask(options, prompt.text, (prompt.note,)))


_CELL_NAME = re.compile(r"^(?:Its source, )?(In\[\d+\][^:\n]*):$", re.MULTILINE)
_TRACEBACK = re.compile(r"^The error:\n\n(`{3,})\n(.*?)\n\1$", re.MULTILINE | re.DOTALL)
_ERROR = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$", re.MULTILINE)


def title_of(prompt: str) -> str:
    r"""Return what one of the prompts below asks; empty for any other prompt.

    >>> title_of("Explain what this cell of my Jupyter notebook does.\n\nIn[3]:")
    'explain In[3]'
    """
    names = _CELL_NAME.findall(prompt)
    if names and _EXPLAIN.match(prompt):
        return f"explain {names[0]}{f' to {names[-1]}' * (len(names) > 1)}"
    if not prompt.startswith(tuple(_HOW.values())):
        return ""
    traceback = _TRACEBACK.search(prompt)
    errors = _ERROR.findall(traceback[2]) if traceback else []
    return ": ".join([f"fix {names[0] if names else 'a callback'}", *errors[-1:]])


# -- fix -------------------------------------------------------------------------


@CODE.add("fix", operands="[n]", options=CHAT_OPTIONS)
def fix(context: Context, line: ParsedCommand) -> object:
    """Ask for the cause of an error and for a corrected cell."""
    cell = _failing_cell(context.failing_cells, line.text)
    return _ask(context, line, prompt_to_fix(cell))


def prompt_to_fix(cell: FailingCell) -> CodePrompt:
    """Return the prompt about a cell that failed."""
    parts = [_HOW[cell.how]]
    if cell.source:
        language = "python" if cell.is_python else ""
        parts += [f"Its source, {_name_of(cell)}:", fenced(cell.source, language)]
    if cell.script:
        parts += [f"It runs {cell.script}:", fenced(cell.script_source, "python")]
    parts += ["The error:", fenced(cell.traceback)]
    if cell.line:
        parts += ["The line that failed:", fenced(cell.line, "python")]
    if cell.names:
        types = "\n".join(f"- {name}" for name in cell.names)
        parts += [f"The types of the variables on that line:\n{types}"]
    corrected = cell.script or ("cell" if cell.source else "function")
    parts += [
        "Explain the cause in a sentence or two. Then write the whole corrected "
        f"{corrected} as one code block, and change only what needs to be changed."
    ]
    return CodePrompt("\n\n".join(parts), f"about {_name_of(cell)}")


_HOW = {
    "failed": "A cell of my Jupyter notebook fails.",
    "stopped": "I stopped a cell of my Jupyter notebook, because it ran too long.",
    "callback": "Code of my Jupyter notebook fails when it is called after its cell "
    "has ended, for example by a widget.",
}


def _name_of(cell: FailingCell) -> str:
    if cell.how == "callback":
        return "a callback" + (f" of In[{cell.number}]" if cell.number else "")
    return f"In[{cell.number}]"


def _failing_cell(cells: FailingCells, text: str) -> FailingCell:
    """Return the cell with the number that was typed, or the last one that failed."""
    number = _NUMBER.fullmatch(text)
    found = cells.find(int(number[1])) if number else None if text else cells.last
    if found is not None and not found.unexplained:
        return found
    what, why = "No cell has failed since ollama_magic was loaded.", ""
    failed = ", ".join(f"In[{n}]" for n in cells.numbers)
    if found is not None:
        what = f"%ollama fix does not explain {_name_of(found)}, the last failure."
        if text:
            what = f"%ollama fix does not explain {_name_of(found)}."
        why = found.unexplained
    elif number:
        what = f"No error in In[{number[1]}] is recorded."
    elif text:
        what = f"%ollama fix takes the number of a cell, not {text!r}."
    why = why or (f"these cells have failed: {failed}" if failed else "")
    step = "run the cell that fails, then: %ollama fix"
    if found is not None and failed:
        step = f"%ollama fix {cells.numbers[-1]}   asks about the failure before it"
    about = "About working code: %ollama explain [RANGE]"
    raise PromptError(what, why=why, next_step=f"{step}   {about}")


# -- explain ---------------------------------------------------------------------


@CODE.add("explain", operands="[RANGE…]", options=CHAT_OPTIONS)
def explain(context: Context, line: ParsedCommand) -> object:
    """Ask what cells do."""
    shell, running = context.session.shell, context.session.cells.raw_cell
    if line.text:
        cells = _in_ranges(shell, line.text, running)
    else:
        cells = _before(shell, running)
    if not cells:
        where = f" in {line.text!r}" if line.text else " to explain"
        raise PromptError(
            f"There is no code{where}.",
            why="these cells were not run, or are empty"
            if line.text
            else "no cell was run before this one",
            next_step="list the cells that were run: %history -n",
        )
    options = line.chat_arguments
    if options.outputs and not options.wants_cells:
        return _explain_outputs(context, options, cells)
    return _ask(context, line, prompt_to_explain(cells))


def _explain_outputs(
    context: Context, options: ChatOptions, cells: Sequence[NotebookCell]
) -> object:
    """Ask about cells and what they showed, which are sent as by ``--cells``."""
    numbers = [cell.number for cell in cells if cell.number]
    if len(numbers) < len(cells):
        raise PromptError(
            "The outputs of a previous session are not known.",
            next_step="remove --outputs, or choose cells of this session: %history -n",
        )
    options = replace(options, raw=True, cells=tuple((n, n) for n in numbers))
    prompt = f"{_what_to_explain(cells)} {_HOW_TO_EXPLAIN} Say what the outputs show."
    return context.unless_shown(context.ask(options, prompt))


_EXPLAIN = re.compile("Explain what th(?:is cell|ese cells) of my Jupyter notebook do")


_HOW_TO_EXPLAIN = (
    "Begin with the purpose in a sentence. Then go through the steps, and point "
    "out what is surprising or likely to go wrong. Do not repeat the code."
)


def _what_to_explain(cells: Sequence[NotebookCell]) -> str:
    if len(cells) > 1:
        return (
            "Explain what these cells of my Jupyter notebook do, together and one "
            "by one."
        )
    return "Explain what this cell of my Jupyter notebook does."


def prompt_to_explain(cells: Sequence[NotebookCell]) -> CodePrompt:
    """Return the prompt about cells that were run."""
    parts = [_what_to_explain(cells)]
    for cell in cells:
        parts += [f"{cell.name}:", fenced(cell.source, "python")]
    parts += [_HOW_TO_EXPLAIN]
    names = ", ".join(cell.name for cell in cells)
    if len(cells) > 3:
        names = f"{cells[0].name} to {cells[-1].name} ({len(cells)} cells)"
    return CodePrompt("\n\n".join(parts), f"about {names}")


def _before(shell: Any, running: str) -> list[NotebookCell]:  # noqa: ANN401  (IPython is not typed)
    """Return the cell that was run before the running one.

    ``running`` is empty in the cell that loads the extension, which is the last one.
    """
    cells = list(enumerate(shell.history_manager.input_hist_raw))
    if not running or cells[-1][1].strip() == running.strip():
        del cells[-1]
    for number, source in reversed(cells):
        if source.strip() and not _OURS.match(source):
            return [NotebookCell(f"In[{number}]", source)]
    return []


def _in_ranges(shell: Any, text: str, running: str) -> list[NotebookCell]:  # noqa: ANN401
    """Return the cells of ranges, without the running one."""
    # NB: not by execution_count, which older IPythons increment after the cell.
    latest = (0, len(shell.history_manager.input_hist_raw) - 1, running.strip())
    return [
        NotebookCell(_numbered(number, session), source)
        for word in text.split()
        for session, number, source in _in_range(shell, word)
        if source.strip() and (session, number, source.strip()) != latest
    ]


def _numbered(number: int, session: int) -> str:
    """Return the name of a cell: ``In[3]``; sessions are counted as IPython does."""
    return f"In[{number}]" + (f" of session {session}" if session else "")


def _in_range(shell: Any, word: str) -> Iterator[tuple[int, int, str]]:  # noqa: ANN401
    """Yield the cells of a range; IPython itself silently ignores a wrong one."""
    from IPython.core.history import extract_hist_ranges

    try:
        is_range = bool(list(extract_hist_ranges(word)))
    except AssertionError:  # the range runs backwards
        is_range = False
    if not is_range:
        raise PromptError(
            f"{word!r} is not a range of cells.",
            why="a range is 3, 3-5 or ~1/2 (cell 2 of the previous session)",
            next_step="%ollama explain 3-5   Cell numbers: %history -n",
        )
    yield from shell.history_manager.get_range_by_str(word, raw=True)
