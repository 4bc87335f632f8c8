"""What the ``.ipynb`` file of a notebook tells of its cells and its answers.

Read-only, and never more than evidence: the file may lag behind what is on the screen.
Refuses to know the store. Anything that is no notebook of format 4 tells nothing.

Sources: the description of nbformat 4.5 (cells have ids since then; they are made of
letters, digits, ``-`` and ``_``, at most 64). VS Code names cells by the address of a
document and their number in it, which is no name that another path could share.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_MAX_BYTES = 200 * 2**20
_CELL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ASKS = re.compile(r"ollama(?!\s+keep\b)")
_NUMBERED = re.compile(r"[A-Za-z]*[_-]?\d+")


def stable_cell_id(cell_id: str | None) -> str:
    """Return the id of a cell if other paths may know it too; else nothing.

    Examples
    --------
    >>> stable_cell_id("f3b2-a1"), stable_cell_id("f3b2-a1 2")
    ('f3b2-a1', 'f3b2-a1')
    >>> stable_cell_id("vscode-notebook-cell:/home/ann/a.ipynb#W0sZmlsZQ%3D%3D")
    ''
    """
    name = (cell_id or "").partition(" ")[0]
    return name if _CELL_ID.fullmatch(name) else ""


def _is_random(name: str) -> bool:
    """Tell an id that only one cell has from such as ``3`` and ``cell-12``.

    Some tools number the cells of every notebook (nbstripout does, to keep
    differences small).
    """
    return len(name) >= 8 and not _NUMBERED.fullmatch(name)


@dataclass(frozen=True, slots=True)
class SavedCell:
    """A cell as it was saved last."""

    id: str
    """Empty where it has none, or one that another cell has too."""
    source: str
    is_code: bool


@dataclass(frozen=True, slots=True)
class NotebookFile:
    """A notebook as it was saved last."""

    cell_ids: frozenset[str] = frozenset()
    has_ids: bool = True
    """Whether cells of this format have ids; then ``cell_ids`` has all of them."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """The code cells that mention ollama, by their ids."""
    answers: frozenset[str] = frozenset()
    """When the answers came that its outputs show, by their provenance."""
    cells: tuple[SavedCell, ...] = ()
    """All cells, in the order of the page."""
    shown_in: Mapping[str, str] = field(default_factory=dict)
    """The cell that shows an answer, by the time of the answer.

    Of several answers in one cell the second is of ``ID 2``, as it was asked.
    """
    changed_at: str = ""
    """UTC, ISO 8601, as the store keeps its times."""

    def has_turn(self, cell_id: str | None, prompt: str, answered_at: str) -> bool:
        """Tell whether a turn belongs to a cell of this notebook.

        It does when the notebook shows its answer, or has the cell that asked it.
        """
        if answered_at in self.answers:
            return True
        name = stable_cell_id(cell_id)
        source = self.sources.get(name)
        return source is not None and (_is_random(name) or prompt in source)

    def find_cell(self, source: str, index: int | None = None) -> str:
        """Return the id of the code cell with just this source; empty if none is sure.

        Parameters
        ----------
        index
            Which of several cells with this source is meant.
        """
        if not source.strip():
            return ""
        same = {
            place: cell.id
            for place, cell in enumerate(self.cells)
            if cell.is_code and _lines(cell.source) == _lines(source)
        }
        if len(same) == 1:
            return next(iter(same.values()))
        return same.get(index, "") if index is not None else ""

    @property
    def is_numbered(self) -> bool:
        """Whether a tool has numbered its cells: then their old ids are gone."""
        return bool(self.cell_ids) and not any(map(_is_random, self.cell_ids))

    def asks(self, prompt: str) -> bool:
        """Tell whether a cell is ``%%ollama`` with just this prompt."""
        bodies = (source.partition("\n")[2] for source in self.sources.values())
        return any(body.strip("\n") == prompt for body in bodies if body)


def read_notebook_file(path: str) -> NotebookFile | None:
    """Return what a notebook's file tells; None when it is none, or can't be read."""
    try:
        status = Path(path).stat()
        if not path.endswith(".ipynb") or status.st_size > _MAX_BYTES:
            return None
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("nbformat") != 4:
        return None
    cells = [cell for cell in _list(content.get("cells")) if isinstance(cell, dict)]
    names = [(stable_cell_id(_text(cell.get("id"))), cell) for cell in cells]
    times = Counter(name for name, _ in names)
    minor = content.get("nbformat_minor")
    # NB: the later of the two: a file that was moved here keeps its mtime.
    changed_at = max(status.st_mtime, status.st_ctime)
    return NotebookFile(
        cell_ids=frozenset(name for name, _ in names if name),
        has_ids=isinstance(minor, int) and minor >= 5,
        sources={
            name: source
            for name, cell in names
            if name and cell.get("cell_type") == "code"
            if "ollama" in (source := _joined(cell.get("source")))
        },
        cells=tuple(
            SavedCell(
                id=name if times[name] == 1 else "",
                source=_joined(cell.get("source")),
                is_code=cell.get("cell_type") == "code",
            )
            for name, cell in names
        ),
        shown_in=_shown_in([(name, c) for name, c in names if times[name] == 1]),
        answers=frozenset(stamp for cell in cells for stamp in _answers(cell)),
        changed_at=datetime.fromtimestamp(changed_at, UTC).isoformat(
            timespec="microseconds"
        ),
    )


@dataclass(frozen=True, slots=True)
class SavedNotebook:
    """What the file at a path told when it was read last."""

    path: str | None
    state: tuple[int, int, int] | None
    """What changes when the file is saved; None where there is no file."""
    file: NotebookFile | None

    @property
    def ids(self) -> frozenset[str]:
        """The ids of its cells."""
        return self.file.cell_ids if self.file else frozenset()

    def deleted_since(self, before: SavedNotebook) -> frozenset[str]:
        """Return the cells that an earlier state of the same file had.

        None where a tool has given all cells new ids.
        """
        if before.path != self.path or (self.file and self.file.is_numbered):
            return frozenset()
        return before.ids - self.ids


def read_saved_notebook(
    path: str | None, before: SavedNotebook | None
) -> SavedNotebook:
    """Return what the file of a notebook tells now; read anew only if it was saved.

    Parameters
    ----------
    path
        None where the notebook has no file.
    before
        What was read last.
    """
    if path is None:
        return SavedNotebook(None, None, None)
    state = None
    with suppress(OSError):
        status = Path(path).stat()
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
    if before is not None and (before.path, before.state) == (path, state):
        return before
    return SavedNotebook(path, state, read_notebook_file(path) if state else None)


def _answers(cell: Mapping[str, Any]) -> Iterator[str]:
    for output in _list(cell.get("outputs")):
        found: object = output
        for key in ("metadata", "ollama_magic", "answered_at"):
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str):
            yield found


def _shown_in(cells: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Return the cell of each answer that exactly one cell shows, and has asked.

    ``%ollama keep`` shows what another cell has asked.
    """
    asked = [(n, c) for n, c in cells if n and _ASKS.search(_joined(c.get("source")))]
    times = Counter(stamp for _, cell in asked for stamp in set(_answers(cell)))
    found = {}
    for name, cell in asked:
        stamps = sorted({stamp for stamp in _answers(cell) if times[stamp] == 1})
        for number, stamp in enumerate(stamps, 1):
            found[stamp] = name if number == 1 else f"{name} {number}"
    return found


def _lines(source: str) -> str:
    return source.replace("\r\n", "\n")


def _joined(source: object) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return _text(source)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
