"""The order of the cells on the page, as far as it is known.

The session updates it before each request. The sources, strongest first:

1. What is newer of two: the notebook file, and the cells that the front end sent at
   once (Run All, Run Selected), which are one below the other. In the file of a text
   notebook, cells are found by their prompts.
2. For cells that are not in the file: the order in which they ran for the first time
   in this kernel, if they had a turn before it started.
3. For the others of these: the order of the store. A new cell is the last one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile

from ollama_magic.history.notebooks import (
    VSCODE_SCHEME,
    NotebookFile,
    read_notebook_file,
    read_text,
    stable_cell_id,
)
from ollama_magic.history.turns import Turn, base_id, utc_now


class Page:
    """The cells of one notebook in their order."""

    def __init__(self) -> None:
        self.cells: tuple[str, ...] = ()
        """Their ids: those in the file, and those that have turns."""
        self._saved: NotebookFile | None = None
        self._in_file: frozenset[str] = frozenset()
        self._sent_together: set[str] = set()
        self._appended: set[str] = set()
        self._began_at = utc_now()
        self._ran: set[str] = set()
        self._text: tuple[str, frozenset[str]] = ("", frozenset())

    def read(self, path: str | None) -> NotebookFile | None:
        """Return the notebook file; None if it cannot be read, or is not one."""
        saved = read_notebook_file(path, self._saved) if path else None
        if saved is None and self._saved is not None and path:
            new_path = "" if os.path.exists(path) else _new_path(self._saved)
            saved = read_notebook_file(new_path, self._saved)
        if saved is not None and saved is not self._saved:
            self._saved = saved
            # NB: an id that several cells have tells nothing.
            self.cells = tuple(cell_id for cell_id, _ in saved.cells if cell_id)
            self._in_file = frozenset(self.cells)
            self._sent_together.clear()
        return saved

    def read_text(self, path: str, prompts: Sequence[tuple[str, str]]) -> None:
        """Read the order of cells from a text notebook.

        Parameters
        ----------
        prompts
            The ids of cells, and their prompts, whose first line is searched.
        """
        text, names = read_text(path), [base_id(cell_id) for cell_id, _ in prompts]
        if self._text == (text, frozenset(names)):
            return
        self._text = text, frozenset(names)
        lines: dict[str, list[int]] = {}
        for number, line in enumerate(text.splitlines()):
            source = line.lstrip("# \t").rstrip()
            for prompt in (source, source.partition(" ask ")[2]):
                lines.setdefault(prompt, []).append(number)
        places = {}
        for name, (_, prompt) in zip(names, prompts, strict=True):
            found = lines.get(prompt.strip().partition("\n")[0].rstrip())
            if prompt and found:
                places[found.pop(0)] = name
        self.cells = tuple(dict.fromkeys(places[line] for line in sorted(places)))
        self._in_file = frozenset(self.cells)

    def may_misplace(self, cell_id: str | None) -> bool:
        """Return whether the place of a cell is unknown until the notebook is saved."""
        name = base_id(cell_id)
        is_cell = bool(stable_cell_id(name)) or name.startswith(VSCODE_SCHEME)
        has_ids = self._saved is not None and self._saved.has_ids
        is_known = name in self._in_file or name in self._sent_together
        return is_cell and has_ids and not is_known

    def number_of(self, cell_id: str | None) -> int | None:
        """Return the position of a cell in the file, from 1."""
        name, cells = base_id(cell_id), self._saved.cells if self._saved else ()
        ids = [found for found, _ in cells]
        return ids.index(name) + 1 if name and name in ids else None

    def earlier_turn(
        self, turns: Sequence[Turn], cell_id: str, prompt: str
    ) -> Turn | None:
        """Return the turn that a cell had when its text notebook was open before.

        It is the first one with this prompt whose cell did not run in this kernel. An
        empty prompt finds the marker of a new conversation.
        """
        self._ran.add(base_id(cell_id))
        if any(turn.cell_id == cell_id for turn in turns):
            return None
        return next((t for t in self.earlier(turns) if t.own_prompt == prompt), None)

    def earlier(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return turns whose cells did not run in this kernel."""
        return [t for t in turns if t.cell_id and base_id(t.cell_id) not in self._ran]

    def follow(
        self,
        turns: Sequence[Turn],
        cell_id: str | None,
        sent_at: str = "",
        sent_above: Sequence[str] = (),
    ) -> None:
        """Take note of a running cell, and of the turns of its chat.

        Parameters
        ----------
        sent_at
            When the front end sent the cell; UTC, ISO 8601.
        sent_above
            The ids of cells that it sent together with this one, and before it.
        """
        added_at = {base_id(t.cell_id): t.added_at or "" for t in turns if t.cell_id}
        self._add(list(added_at))
        name = base_id(cell_id)
        if not name:
            return
        ran = [
            cell
            for cell, moment in added_at.items()
            if moment >= self._began_at and cell not in self._appended
        ]
        if sent_above and not (self._saved and self._saved.changed_at > sent_at):
            self._put_together([*sent_above, name])
            self._sent_together.update(sent_above, [name])
        elif name in added_at or name in self._in_file:
            if ran and name not in self._appended.union(ran):
                self._put_below(ran, name)
        elif not ran:  # the user may have gone on at the end
            self._appended.add(name)

    def _add(self, with_turns: Sequence[str]) -> None:
        """Add cells that are missing, each below the one with the turn before it."""
        known = set(self.cells)
        if known.issuperset(with_turns):
            return
        cells = list(self.cells)
        first = next((name for name in with_turns if name in known), None)
        at = len(cells) if first is None else cells.index(first)
        for name in with_turns:
            if name in known:
                at = cells.index(name) + 1
            else:
                cells.insert(at, name)
                at += 1
        self.cells = tuple(cells)

    def _put_together(self, run: Sequence[str]) -> None:
        """Put cells one below the other, where the first known of them is."""
        known = next((name for name in run if name in self.cells), None)
        at = len(self.cells) if known is None else self.cells.index(known)
        above, below = (
            [name for name in part if name not in run]
            for part in (self.cells[:at], self.cells[at:])
        )
        self.cells = (*above, *run, *below)

    def _put_below(self, ran: Sequence[str], name: str) -> None:
        """Put a cell below those that ran before it, unless the file has both."""
        if name not in self._in_file:
            self._put_together([ran[-1], name])
        else:
            new = [*takewhile(lambda cell: cell not in self._in_file, reversed(ran))]
            saved = ran[: len(ran) - len(new)]
            rest = [other for other in self.cells if other not in new]
            at = rest.index(name)
            if not saved or saved[-1] in rest[:at]:
                self.cells = (*rest[:at], *reversed(new), *rest[at:])


def _new_path(file: NotebookFile) -> str:
    """Return where a notebook is now, if it was renamed in its folder; else ``""``."""
    _, _, inode = file.state
    with suppress(OSError):
        for entry in os.scandir(os.path.dirname(file.path)):
            if entry.inode() == inode and entry.name.endswith(".ipynb"):
                return entry.path
    return ""
