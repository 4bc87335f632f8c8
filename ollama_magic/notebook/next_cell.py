"""The cell below the running one: whether the front end makes one, and its source.

Knows what front ends do with the kernel's wish for a next input. Puts text there and
never runs it; what the text is, it does not know.

Sources: JupyterLab 4.6 and Notebook 7.6 (``handlePayload``, seen) insert one cell below
for the first payload ``set_next_input`` of an execute reply, and would overwrite the
asking cell for one with ``replace``. A code console of JupyterLab overwrites the asking
cell in any case (its source). Terminal IPython puts the text into its next prompt,
unless it has the simple prompt.
"""

from __future__ import annotations

import os
from typing import Any

from ollama_magic.notebook.cells import CellTracker


class NextCell:
    """Where code is put for review.

    Parameters
    ----------
    shell
        The IPython shell.
    cells
        Knows which cell is running.
    """

    def __init__(self, shell: Any, cells: CellTracker) -> None:  # noqa: ANN401  (IPython is not typed)
        self._shell = shell
        self._cells = cells

    def put(self, source: str) -> str:
        """Put source below the running cell, after what this run has put there.

        Returns
        -------
        str
            Where it is, for people: ``the cell below``; empty where there is no place.
        """
        place = self._place()
        before = self._put_before() if place else ""
        # NB: a cell magic must stand at the top of its cell.
        if before is None or (before and source.startswith("%%")):
            return ""
        if place:
            whole = f"{before}\n\n{source}" if before else source
            self._shell.set_next_input(whole)
        return place

    def _place(self) -> str:
        if not self._cells.raw_cell:
            return ""  # a callback of a widget, say: the next reply is of another cell
        if getattr(self._shell, "kernel", None) is None:
            has_prompt = getattr(self._shell, "pt_app", None) is not None
            return "the next prompt" if has_prompt else ""
        if not self._cells.somebody_is_there or self._is_console_of_lab():
            return ""
        return "the cell below" if self._cells.is_told else "the next cell"

    def _is_console_of_lab(self) -> bool:
        session_name = os.environ.get("JPY_SESSION_NAME", "")
        is_notebook = not session_name or session_name.endswith(".ipynb")
        return not is_notebook and not self._cells.is_told

    def _put_before(self) -> str | None:
        """Return what this run has put there; None when nothing can follow it."""
        if getattr(self._shell, "kernel", None) is None:
            text = self._shell.rl_next_input or ""
            return None if text.startswith("%%") else text
        for payload in self._shell.payload_manager.read_payload():
            if payload.get("source") == "set_next_input":
                text = str(payload.get("text", ""))
                is_last = payload.get("replace") or text.startswith("%%")
                return None if is_last else text
        return ""
