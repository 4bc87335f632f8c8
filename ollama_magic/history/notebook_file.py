"""Read what an ``.ipynb`` file says about its cells and the replies in its outputs.

``identity`` and the session use it as evidence only, since the file may be older than
the notebook on the screen. Files that are not notebooks of format 4 are ignored.

Sources: nbformat 4.5 (cells have ids since then: letters, digits, ``-`` and ``_``, at
most 64). VS Code names a cell by a document address and a number, which means nothing
at another path.
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
    """Return the id of a cell if it holds at other paths too; else an empty text.

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
    """Return whether an id is unique, unlike ``3`` and ``cell-12``.

    Some tools number the cells of every notebook, such as nbstripout.
    """
    return len(name) >= 8 and not _NUMBERED.fullmatch(name)


@dataclass(frozen=True, slots=True)
class SavedCell:
    """A cell in a notebook file."""

    id: str
    """Empty if it has none, or shares it with another cell."""
    source: str
    is_code: bool


@dataclass(frozen=True, slots=True)
class NotebookFile:
    """A notebook file."""

    cell_ids: frozenset[str] = frozenset()
    has_ids: bool = True
    """Whether cells of this format have ids."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """The sources of code cells that mention ollama, by id."""
    answers: frozenset[str] = frozenset()
    """The times of the replies in its outputs, from their metadata."""
    cells: tuple[SavedCell, ...] = ()
    """All cells, in order."""
    shown_in: Mapping[str, str] = field(default_factory=dict)
    """The cell that shows a reply, by the time of the reply.

    The second reply in a cell has the id ``ID 2``, as in the store.
    """
    changed_at: str = ""
    """UTC, ISO 8601, as in the store."""

    def has_turn(self, cell_id: str | None, prompt: str, answered_at: str) -> bool:
        """Return whether this notebook shows the reply of a turn, or has its cell."""
        if answered_at in self.answers:
            return True
        name = stable_cell_id(cell_id)
        source = self.sources.get(name)
        return source is not None and (_is_random(name) or prompt in source)

    def find_cell(self, source: str, index: int | None = None) -> str:
        """Return the id of the code cell with this source; empty if it is not certain.

        Parameters
        ----------
        index
            The position of the cell, if several have this source.
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
        """Whether a tool has numbered the cells, which replaced their ids."""
        return bool(self.cell_ids) and not any(map(_is_random, self.cell_ids))

    def asks(self, prompt: str) -> bool:
        """Return whether a cell is ``%%ollama`` with exactly this prompt."""
        bodies = (source.partition("\n")[2] for source in self.sources.values())
        return any(body.strip("\n") == prompt for body in bodies if body)


def read_notebook_file(path: str) -> NotebookFile | None:
    """Read a notebook file; return None if it cannot be read, or is not one."""
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
    # NB: the later of the two, since a moved file keeps its mtime.
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
    """A notebook file, and the state of the disk when it was read."""

    path: str | None
    state: tuple[int, int, int] | None
    """Changes whenever the file is saved; None if there is no file."""
    file: NotebookFile | None

    @property
    def ids(self) -> frozenset[str]:
        """The ids of its cells."""
        return self.file.cell_ids if self.file else frozenset()

    def deleted_since(self, before: SavedNotebook) -> frozenset[str]:
        """Return the ids of cells that were deleted since an earlier state.

        There are none if a tool has given all cells new ids.
        """
        if before.path != self.path or (self.file and self.file.is_numbered):
            return frozenset()
        return before.ids - self.ids


def read_saved_notebook(
    path: str | None, before: SavedNotebook | None
) -> SavedNotebook:
    """Return the file of a notebook, read again only if it was saved.

    Parameters
    ----------
    path
        None if the notebook has no file.
    before
        The result of the last call.
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
    """Return the cell of each reply that exactly one prompt cell shows.

    ``%ollama keep`` also shows a reply, of another cell's prompt.
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
