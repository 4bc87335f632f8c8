"""What a model is asked about code of the notebook: to fix a cell, to explain some.

Pure: texts in, a prompt out. Knows how to ask; not how errors are noted, and not how
IPython keeps its history.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_magic.errors import PromptError
from ollama_magic.generation.values import fenced
from ollama_magic.notebook.failures import FailingCell, FailingCells


@dataclass(frozen=True, slots=True)
class PastCell:
    """A cell that was run, by its name (``In[3]``) and its source."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class CodeQuestion:
    """A prompt about code, and which cells it is about."""

    prompt: str
    about: str
    """For the footer: ``about In[7]``."""


def question_to_fix(cell: FailingCell) -> CodeQuestion:
    """Ask for the cause of a failure, and for the cell as it should be."""
    name = f"In[{cell.number}]"
    parts = [
        f"A cell of my Jupyter notebook fails. Its source, {name}:",
        fenced(cell.source, "python"),
        "The error:",
        fenced(cell.traceback),
    ]
    if cell.line:
        parts += ["The line that failed:", fenced(cell.line, "python")]
    if cell.names:
        listed = "\n".join(f"- {name}" for name in cell.names)
        parts += [f"What the names on that line are:\n{listed}"]
    parts += [
        "Tell me the cause in a sentence or two. Then give the whole corrected cell as "
        "one Python code block, and change nothing that need not be changed."
    ]
    return CodeQuestion("\n\n".join(parts), f"about {name}")


def question_to_explain(cells: Sequence[PastCell]) -> CodeQuestion:
    """Ask what cells do."""
    are_many = len(cells) > 1
    parts = [
        "Explain what these cells of my Jupyter notebook do, together and one by one."
        if are_many
        else "Explain what this cell of my Jupyter notebook does."
    ]
    for cell in cells:
        parts += [f"{cell.name}:", fenced(cell.source, "python")]
    parts += [
        "Begin with the purpose in a sentence. Then go through the steps, and point "
        "out what is surprising or likely to go wrong. Do not repeat the code."
    ]
    return CodeQuestion("\n\n".join(parts), f"about {_names(cells)}")


def _names(cells: Sequence[PastCell]) -> str:
    names = [cell.name for cell in cells]
    if len(names) > 3:
        return f"{names[0]} to {names[-1]} ({len(names)} cells)"
    return ", ".join(names)


_OURS = re.compile(r"\s*%%?ollama(\s|$)")
_NUMBER = re.compile(r"(?:In ?)?\[?(\d+)\]?", re.A)


def failing_cell(cells: FailingCells, text: str) -> FailingCell:
    """Return the cell that ``fix`` is about.

    Parameters
    ----------
    text
        Its number as it was typed; empty: the last one that failed.

    Raises
    ------
    PromptError
        It has not failed, or nothing has.
    """
    if not text and cells.last is not None:
        return cells.last
    number = _NUMBER.fullmatch(text)
    found = cells.find(int(number[1])) if number else None
    if found is None:
        raise _not_failed(cells, text, number[1] if number else "")
    return found


def _not_failed(cells: FailingCells, text: str, number: str) -> PromptError:
    if not text:
        what = "No cell has failed since ollama_magic was loaded."
    elif number:
        what = f"In[{number}] is not known to have failed."
    else:
        what = f"%ollama fix takes the number of a cell, and this is {text!r}."
    failed = ", ".join(f"In[{n}]" for n in cells.numbers)
    return PromptError(
        what,
        why=f"these have failed: {failed}" if failed else "",
        next_step="run the cell that fails, then: %ollama fix   "
        "About code that works: %ollama explain [RANGE]",
    )


def cells_to_explain(shell: Any, text: str, running: str) -> list[PastCell]:  # noqa: ANN401  (IPython is not typed)
    """Return the cells of a range; of none the cell that was run before this one.

    Parameters
    ----------
    text
        The range as it was typed.
    running
        The source of the cell that is running, which is never meant; empty in the
        cell that has loaded the extension, which is the last one then.

    Raises
    ------
    PromptError
        The range cannot be read, or there is no code in it.
    """
    found = _in_ranges(shell, text, running) if text else _before(shell, running)
    if not found:
        raise PromptError(
            f"There is no code in {text!r}." if text else "No cell was run before.",
            why="these cells were not run, or are empty" if text else "",
            next_step="the cells that were run, with their numbers: %history -n",
        )
    return found


def _before(shell: Any, running: str) -> list[PastCell]:  # noqa: ANN401
    cells = list(enumerate(shell.history_manager.input_hist_raw))
    if not running or cells[-1][1].strip() == running.strip():
        del cells[-1]
    for number, source in reversed(cells):
        if source.strip() and not _OURS.match(source):
            return [PastCell(f"In[{number}]", source)]
    return []


def _in_ranges(shell: Any, text: str, running: str) -> list[PastCell]:  # noqa: ANN401
    # NB: not by execution_count, which older IPythons raise when the cell has ended.
    latest = (0, len(shell.history_manager.input_hist_raw) - 1, running.strip())
    return [
        PastCell(_name(session, number), source)
        for word in text.split()
        for session, number, source in _in_range(shell, word)
        if source.strip() and (session, number, source.strip()) != latest
    ]


def _in_range(shell: Any, word: str) -> Iterator[tuple[int, int, str]]:  # noqa: ANN401
    from IPython.core.history import extract_hist_ranges

    try:
        is_range = bool(list(extract_hist_ranges(word)))
    except AssertionError:  # its way to say that a range runs backwards
        is_range = False
    if not is_range:
        raise PromptError(
            f"{word!r} is no range of cells.",
            why="a range is 3, 3-5 or ~1/2 (cell 2 of the session before)",
            next_step="%ollama explain 3-5   The numbers: %history -n",
        )
    yield from shell.history_manager.get_range_by_str(word, raw=True)


def _name(session: int, number: int) -> str:
    return f"In[{number}]" if session == 0 else f"In[{number}] of session {session}"
