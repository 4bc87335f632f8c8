"""What a session asks about the running cell.

``notebook.cells`` knows it in a notebook, :class:`NoCells` replaces it in a script.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ollama_magic.generation.prompt import CellPrompt
from ollama_magic.history.notebooks import FindCell
from ollama_magic.render.output import OutputMode


class Cells(Protocol):
    """The running cell, as the front end describes it."""

    @property
    def raw_cell(self) -> str:
        """The source of the cell; empty if no cell is running."""

    @property
    def cell_id(self) -> str | None:
        """The id of the cell, or None."""

    @property
    def permanent_id(self) -> str | None:
        """The id from the front end, if it is permanent."""

    @property
    def is_identified(self) -> bool:
        """Whether the front end identifies the cell in any way."""

    @property
    def is_in_notebook(self) -> bool:
        """Whether JupyterLab sent it from a notebook, and not from a console."""

    def find_with(self, find: FindCell) -> None:
        """Set the function that finds the id of a cell without a permanent one."""

    @property
    def sent_together(self) -> tuple[str, tuple[str, ...]]:
        """When the cell was sent, and the ids of those sent together and before it."""

    @property
    def is_interactive(self) -> bool:
        """Whether a user can answer a question."""

    @property
    def deleted_cells(self) -> tuple[str, ...]:
        """The ids of deleted cells."""

    def forget_deleted(self) -> None:
        """Forget the deleted cells: their turns are removed."""

    def count_turn(self) -> None:
        """Count a turn of the running cell."""

    def claim_output(self) -> OutputMode:
        """Return how to show the next output of the running cell."""

    def put_below(self, source: str) -> str:
        """Put code into a cell below; return where it is, empty if there is no cell."""

    def prompts_in(self, source: str) -> Iterable[CellPrompt]:
        """Return the prompts in the source of a cell."""


@dataclass(frozen=True)
class NoCells:
    """Replaces the cells in a script."""

    raw_cell: str = ""
    cell_id: str | None = None
    is_identified: bool = False
    is_in_notebook: bool = False
    permanent_id: str | None = None
    sent_together: tuple[str, tuple[str, ...]] = ("", ())
    is_interactive: bool = True
    deleted_cells: tuple[str, ...] = ()

    def find_with(self, find: FindCell) -> None:
        """Do nothing."""

    def forget_deleted(self) -> None:
        """Do nothing."""

    def count_turn(self) -> None:
        """Do nothing."""

    def claim_output(self) -> OutputMode:
        """Return the mode that needs no front end."""
        return "once"

    def put_below(self, source: str) -> str:
        """Return that there is no cell below."""
        return ""

    def prompts_in(self, source: str) -> Iterable[CellPrompt]:
        """Return none."""
        return ()
