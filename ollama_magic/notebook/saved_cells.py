"""The cells of a notebook file, as ``--cells`` and ``--above`` read it.

A file may be damaged, or not be a notebook: what cannot be read is left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SavedCell:
    """A cell of the notebook file."""

    cell_id: str
    kind: str
    source: str
    number: int | None
    outputs: object


@dataclass(frozen=True, slots=True)
class SavedFile:
    """The cells of a notebook file, and when it was saved."""

    cells: tuple[SavedCell, ...] = ()
    saved_at: datetime = _NEVER

    @classmethod
    def read(cls, path: str | None) -> SavedFile:
        """Read a notebook file; it has no cells if it cannot be read."""
        try:
            content = json.loads(Path(path or "").read_bytes())
            saved_at = datetime.fromtimestamp(Path(path or "").stat().st_mtime, UTC)
            cells = tuple(
                _saved(one) for one in content["cells"] if isinstance(one, dict)
            )
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return cls()
        return cls(cells, saved_at)

    def find_running(self, cell_id: str, source: str) -> int | None:
        """Return the index of a cell; by its source if the format has no ids."""
        has_ids = any(cell.cell_id for cell in self.cells)
        found = [
            index
            for index, cell in enumerate(self.cells)
            if (cell.cell_id == cell_id if has_ids else cell.source == source)
        ]
        return found[0] if len(found) == 1 else None


def _saved(cell: Any) -> SavedCell:  # noqa: ANN401  (any JSON)
    source, number = cell.get("source"), cell.get("execution_count")
    return SavedCell(
        cell_id=str(cell.get("id") or ""),
        kind=str(cell.get("cell_type")),
        source="".join(source) if isinstance(source, list) else str(source or ""),
        number=number if isinstance(number, int) else None,
        outputs=cell.get("outputs"),
    )
