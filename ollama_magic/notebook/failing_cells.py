"""Notes the cells that failed, as text, for ``%ollama fix``.

Learns of errors from IPython's ``post_run_cell`` and takes over no exception hook.
Knows which errors are worth a note; keeps no error, no frame and no value, so that
what a failed cell has made is freed as if nobody had looked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError

from ollama_magic.errors import OllamaMagicError
from ollama_magic.notebook.cells import owns_output
from ollama_magic.notebook.shell_events import harmless_handler, unregister_all

_KEPT = 20
_MAX_SOURCE = 20_000
_NOT_NOTED = (OllamaMagicError, UsageError)
_OUR_MAGICS = "ollama_magic.notebook.magics"


@dataclass(frozen=True, slots=True)
class FailingCell:
    """A cell that failed, in words."""

    number: int
    """Its execution count: 7 is ``In[7]``."""
    source: str
    traceback: str
    line: str
    """The line that failed; empty when it cannot be told."""
    names: tuple[str, ...] = ()
    """What the names on that line are: ``rows: list, 2 items``."""


class FailingCells:
    """The last cells that failed.

    Parameters
    ----------
    shell
        The IPython shell, on whose events it registers.
    """

    def __init__(self, shell: Any) -> None:  # noqa: ANN401  (IPython is not typed)
        self._shell = shell
        self._cells: deque[FailingCell] = deque(maxlen=_KEPT)
        shell.events.register("post_run_cell", self._after_cell)

    @property
    def last(self) -> FailingCell | None:
        """The cell that failed last."""
        return self._cells[-1] if self._cells else None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The execution counts of all that are known, oldest first."""
        return tuple(cell.number for cell in self._cells)

    def find(self, number: int) -> FailingCell | None:
        """Return the cell with this execution count; None when it is not known."""
        found = [cell for cell in self._cells if cell.number == number]
        return found[-1] if found else None

    def unregister(self) -> None:
        """Take the event handler back; harmless a second time."""
        unregister_all(self._shell, self)

    @harmless_handler
    def _after_cell(self, result: Any) -> None:  # noqa: ANN401
        error = getattr(result, "error_before_exec", None)
        error = error or getattr(result, "error_in_exec", None)
        # NB: KeyboardInterrupt, SystemExit and the like are no Exception. What a cell
        # or a widget runs besides has no In[n] of its own, and is not stored.
        if not isinstance(error, Exception) or isinstance(error, _NOT_NOTED):
            return
        source = result.info.raw_cell or ""
        if result.info.store_history and not owns_output(source):
            self._note(error, result.execution_count, source)

    def _note(self, error: Exception, number: int, source: str) -> None:
        from bdb import BdbQuit

        from ollama_magic.notebook.failure_text import failure_text, is_from

        if isinstance(error, BdbQuit) or is_from(error, _OUR_MAGICS):
            return
        failure = failure_text(error, self._name_of_cell)
        if len(source) > _MAX_SOURCE:
            source = f"{source[:_MAX_SOURCE]}\n# [cut: {len(source):,} characters]"
        self._cells.append(
            FailingCell(number, source, failure.traceback, failure.line, failure.names)
        )

    def _name_of_cell(self, file: str) -> str | None:
        found = self._shell.compile.format_code_name(file)
        return str(found[1]) if found else None
