"""The example notebooks, executed from top to bottom without user interaction.

A notebook that fails raises nbclient's error, with the cell and its output.
"""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
EXAMPLES = (
    "chat_about_a_dataframe",
    "extract_a_table_from_text",
    "describe_a_plot",
    "let_a_model_call_your_function",
    "compare_models",
    "label_a_thousand_rows",
)
PATIENCE_S = 300


@dataclass(frozen=True)
class Executed:
    """A notebook that has run."""

    cells: list
    """Its code cells."""

    def outputs(self, part):
        """Return the outputs of the only cell whose source contains a text."""
        (found,) = [c.outputs for c in self.cells if part in c.source]
        return found

    def output(self, part):
        """Return the only output of that cell."""
        (output,) = self.outputs(part)
        return output

    def text(self, part):
        """Return the output of that cell as text."""
        return "\n".join(map(plain, self.outputs(part)))


def plain(output):
    """Return an output as text."""
    return output.get("text") or output["data"]["text/plain"]


def execute(notebook):
    """Run a notebook, given by name or as an object, in the current environment."""
    if isinstance(notebook, str):
        notebook = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=PATIENCE_S).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.outputs = list(_joined(cell.outputs))
    return Executed(cells)


def _joined(outputs):
    """Join the pieces of printed text; how many there are depends on timing."""
    for name, group in groupby(outputs, lambda output: output.get("name")):
        if name is None:
            yield from group
        else:
            first, *rest = group
            first["text"] = "".join(one["text"] for one in (first, *rest))
            yield first
