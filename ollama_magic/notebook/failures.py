"""What failed in this notebook, as text for a model: ``%ollama fix`` asks about it.

:class:`FailingCells` gets errors from the events of IPython, and from
``sys.last_value``. IPython puts every error there whose traceback it shows: also errors
in ``%run``, in ``%%capture`` and in callbacks of widgets, which are missing from the
result of a cell. No exception hook is replaced, and no error, frame or value is kept.
``failure_text`` is imported at the first failure, so that ``%load_ext`` stays fast.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

from ollama_magic.errors import Interrupted, OllamaMagicError
from ollama_magic.notebook.compat import (
    cell_name,
    exit_code,
    harmless_handler,
    past_cells,
    unregister_all,
)
from ollama_magic.notebook.running_cell import owns_output

_MAX_CELLS = 20
_MAX_SOURCE = 20_000
_OUR_MAGICS = "ollama_magic.notebook.magics"
_FIX = re.compile(r"\s*(?:\w+\s*=\s*)?%ollama\s+fix\b")
_OTHER_LANGUAGE = re.compile(r"\s*%%(?!(?:time|timeit|capture|prun)\b)")
_COMMAND = re.compile(r"^[ \t]*!(?!!)(.*)", re.MULTILINE)
_UNKNOWN_OUTPUT = "(What the command printed is not known here.)"
_ITS_OWN_ADVICE = "its error comes from ollama_magic, and says what to type next"
_STOPPED = "you stopped it while ollama_magic worked"

How = Literal["failed", "stopped", "callback"]
"""Whether a cell failed, was stopped by the user, or failed later in a callback."""


@dataclass(frozen=True, slots=True)
class FailingCell:
    """A cell that failed, as text."""

    number: int | None
    """Its execution count: 7 is ``In[7]``. None if an error belongs to no cell."""
    source: str
    traceback: str
    line: str
    """The line that failed; empty if it is unknown."""
    names: tuple[str, ...] = ()
    """The types of the names on that line: ``rows: list, 2 items``."""
    script: str = ""
    """The name of the script that failed, if the cell runs one."""
    script_source: str = ""
    how: How = "failed"
    unexplained: str = ""
    """Why a model cannot be asked about it; empty if it can."""

    @property
    def is_python(self) -> bool:
        """Whether the source is Python, and not text or code of a cell magic."""
        return _OTHER_LANGUAGE.match(self.source) is None


class FailingCells:
    """The last cells that failed.

    Parameters
    ----------
    shell
        The IPython shell, on whose events it registers.
    """

    def __init__(self, shell: Any) -> None:  # noqa: ANN401  (IPython is not typed)
        self._shell = shell
        self._cells: deque[FailingCell] = deque(maxlen=_MAX_CELLS)
        self._seen = _identity(_shown_error())
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)

    @property
    def last(self) -> FailingCell | None:
        """The cell that failed last."""
        return self._cells[-1] if self._cells else None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The execution counts of the cells that ``fix`` can explain, oldest first."""
        numbers = (cell.number for cell in self._cells if not cell.unexplained)
        return tuple(number for number in numbers if number is not None)

    def find(self, number: int) -> FailingCell | None:
        """Return the failed cell with this execution count, if there is one."""
        found = [cell for cell in self._cells if cell.number == number]
        return found[-1] if found else None

    def unregister(self) -> None:
        """Unregister the event handlers; a second call does nothing."""
        unregister_all(self._shell, self)

    @harmless_handler
    def _before_cell(self, info: Any) -> None:  # noqa: ANN401
        # NB: code that a cell or a widget runs has no In[n] of its own, and is not
        # stored in the history. What it shows belongs to the cell around it.
        if info.store_history and (error := self._new_error()):
            self._note_callback(error)

    @harmless_handler
    def _after_cell(self, result: Any) -> None:  # noqa: ANN401
        if not result.info.store_history:
            return
        shown = self._new_error()
        error = result.error_before_exec or result.error_in_exec or shown
        source = result.info.raw_cell or ""
        if error is not None:
            self._note(error, result.execution_count, source)
        elif code := exit_code(self._shell):
            self._note_command(code, result.execution_count, source)

    def _new_error(self) -> BaseException | None:
        """Return the error that IPython has shown since the last call, if any."""
        error, seen = _shown_error(), self._seen
        self._seen = _identity(error)
        return error if self._seen != seen else None

    def _note(self, error: BaseException, number: int, source: str) -> None:
        if _is_no_failure(error) or _FIX.match(source):
            return
        if _is_ours(error) or owns_output(source):
            self._cells.append(_unexplained(error, number, source))
            return
        how: How = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        self._cells.append(self._as_text(error, number, source, how))

    def _note_callback(self, error: BaseException) -> None:
        """Note an error between two cells, in code that a cell or a module defines."""
        if _is_no_failure(error):
            return
        from ollama_magic.notebook.failure_text import cells_in

        cells, number = past_cells(self._shell), None
        if names := cells_in(error, self._name_of_cell):
            number = int(names[0].strip("In[]"))
            if number >= len(cells):
                return  # code that a front end runs silently, to look at variables
        source = "" if number is None else cells[number]
        if _is_ours(error):
            cell = _unexplained(error, number, source)
        else:
            cell = self._as_text(error, number, source, "callback")
        self._cells.append(cell)

    def _note_command(self, code: int, number: int, source: str) -> None:
        # NB: the code stays until the next command, and text may begin with "!" too.
        commands = _COMMAND.findall(source)
        text = f"A shell command ended with exit code {code}. {_UNKNOWN_OUTPUT}"
        line = f"!{commands[-1]}" if len(commands) == 1 else ""
        cell = FailingCell(number, _cut(source), text, line)
        if commands and cell.is_python:
            self._cells.append(cell)

    def _as_text(
        self, error: BaseException, number: int | None, source: str, how: How
    ) -> FailingCell:
        from ollama_magic.notebook.failure_text import failure_text

        def name(file: str) -> str | None:
            # Code that a cell runs is compiled under the number of the next one.
            found = self._name_of_cell(file)
            is_own = found and number and int(found.strip("In[]")) > number
            return f"In[{number}]" if is_own else found

        is_timed = source.lstrip().startswith("%%time")
        timed = source.lstrip().splitlines()[1:] if is_timed else ()
        text = failure_text(error, name, timed)
        traceback = text.traceback
        if type(error).__name__ == "CalledProcessError":
            traceback += f"\n{_UNKNOWN_OUTPUT}"
        return FailingCell(
            number,
            _cut(source),
            traceback,
            text.line,
            text.names,
            text.script,
            text.script_source,
            how,
        )

    def _name_of_cell(self, file: str) -> str | None:
        return cell_name(self._shell, file)


def _shown_error() -> BaseException | None:
    return getattr(sys, "last_value", None)


def _identity(error: BaseException | None) -> tuple[int, int]:
    # NB: the error itself would keep all objects of its frames alive.
    return id(error), id(getattr(error, "__traceback__", None))


def _is_no_failure(error: BaseException) -> bool:
    """Return whether an error ends code as it should: ``sys.exit(0)``, a debugger."""
    from bdb import BdbQuit

    is_quit = isinstance(error, BdbQuit) and not isinstance(error, Interrupted)
    return (
        is_quit
        or isinstance(error, GeneratorExit)
        or (isinstance(error, SystemExit) and not error.code)
    )


def _is_ours(error: BaseException) -> bool:
    from ollama_magic.notebook.failure_text import came_through

    is_typed = isinstance(error, OllamaMagicError | Interrupted)
    return is_typed or came_through(error, _OUR_MAGICS)


def _unexplained(error: BaseException, number: int | None, source: str) -> FailingCell:
    is_stopped = isinstance(error, KeyboardInterrupt)
    why = _STOPPED if is_stopped else _ITS_OWN_ADVICE
    return FailingCell(number, source, "", "", unexplained=why)


def _cut(source: str) -> str:
    if len(source) <= _MAX_SOURCE:
        return source
    return f"{source[:_MAX_SOURCE]}\n# [cut: {len(source):,} characters]"
