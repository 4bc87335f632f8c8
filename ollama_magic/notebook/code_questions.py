"""What a model is asked about code of the notebook: to fix a cell, to explain some.

Pure: texts in, a prompt out. Knows how to ask; not how errors are noted, and not how
IPython keeps its history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_magic.generation.values import fenced
from ollama_magic.notebook.failing_cells import FailingCell


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
