"""An error as text for a model: the frames that matter, its message, the failing line.

Knows which frames are the user's (cells, and modules that are installed nowhere) and
folds the others. Returns text alone: no error, frame or value outlives the call.
"""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType

from ollama_magic.notebook.name_types import name_types

NameOfCell = Callable[[str], str | None]
"""From the file name of compiled code to ``In[7]``; None for what is no cell."""

_MAX_CHARACTERS = 6000
_MAX_ERRORS = 4  # of a chain of causes
_MAX_FRAMES = 12
_FIRST_FRAMES = 4
_MAX_LINES = 5  # of one statement
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_FILE = re.compile(r'File "([^"]+)", line')
_CAUSED = "That was the cause of:"
_MEANWHILE = "While that was handled:"


@dataclass(frozen=True, slots=True)
class FailureText:
    """What is told of an error."""

    traceback: str
    line: str
    """The line of the user's that failed; empty when it cannot be told."""
    names: tuple[str, ...]
    """What the names on that line are: ``rows: list, 2 items``."""


@dataclass(frozen=True, slots=True)
class _Frame:
    place: str
    code: str
    package: str
    is_users: bool
    is_cell: bool


def failure_text(error: BaseException, name_of_cell: NameOfCell) -> FailureText:
    """Return what a model is told of an error, and of the names on the failing line."""
    parts: list[str] = []
    for one, connection in reversed(list(_chain(error))):
        parts.append(_one_error(one, name_of_cell))
        if connection:
            parts.append(f"{connection}\n")
    line, names = _failing_line(error, name_of_cell)
    text = _ESCAPES.sub("", "\n".join(parts))
    return FailureText(_cut(text), line, names)


def is_from(error: BaseException, module: str) -> bool:
    """Tell whether an error came up through a function of a module."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == module for frame, _ in frames)


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield an error and those before it, each with how the next one came of it."""
    seen: set[int] = set()
    following, connection = error, ""
    while id(following) not in seen and len(seen) < _MAX_ERRORS:
        seen.add(id(following))
        yield following, connection
        if following.__cause__ is not None:
            following, connection = following.__cause__, _CAUSED
        elif following.__context__ is not None and not following.__suppress_context__:
            following, connection = following.__context__, _MEANWHILE
        else:
            return


def _one_error(error: BaseException, name_of_cell: NameOfCell) -> str:
    frames = list(_frames(error.__traceback__, name_of_cell))
    cells = [index for index, frame in enumerate(frames) if frame.is_cell]
    if cells:
        frames = frames[cells[0] :]  # what is above is IPython's
    elif isinstance(error, SyntaxError):
        frames = []  # it was compiled, and never ran
    return "\n".join([*_folded(frames), _message(error, name_of_cell)])


def _message(error: BaseException, name_of_cell: NameOfCell) -> str:
    def shortened(match: re.Match[str]) -> str:
        cell = name_of_cell(match[1])
        return f"Cell {cell}, line" if cell else f'File "{_short(match[1])}", line'

    text = "".join(traceback.format_exception_only(type(error), error)).rstrip()
    if isinstance(error, SyntaxError):
        text = _FILE.sub(shortened, text, count=1)
    grouped = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    inner = [
        traceback.format_exception_only(type(one), one)[-1].rstrip() for one in grouped
    ]
    return "\n".join([text, *(f"  - {one}" for one in inner[:_MAX_LINES])])


# -- frames --------------------------------------------------------------------


def _frames(top: TracebackType | None, name_of_cell: NameOfCell) -> Iterator[_Frame]:
    libraries = _library_folders()
    for tb in _tracebacks(top):
        code = tb.tb_frame.f_code
        file = code.co_filename
        cell = name_of_cell(file)
        module = str(tb.tb_frame.f_globals.get("__name__") or "")
        where = f"Cell {cell}" if cell else f"File {_short(file, module)}"
        yield _Frame(
            place=f"{where}, line {tb.tb_lineno}, in {code.co_name}",
            code=_code(tb),
            package=module.partition(".")[0],
            is_users=cell is not None or not _is_library(file, module, libraries),
            is_cell=cell is not None,
        )


def _is_library(file: str, module: str, folders: tuple[str, ...]) -> bool:
    path = Path(file)
    if not path.is_file():  # exec, or compiled from a source that is elsewhere
        return module != "__main__"
    return file.startswith(folders) or "-packages" in str(path.parent)


def _tracebacks(top: TracebackType | None) -> Iterator[TracebackType]:
    while top is not None:
        yield top
        top = top.tb_next


def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _short(file: str, module: str = "") -> str:
    """Return a path that tells nothing of the machine: seen from here, or its end."""
    path = Path(file)
    if path.is_relative_to(Path.cwd()) and "-packages" not in file:
        return str(path.relative_to(Path.cwd()))
    depth = module.count(".") + 1 + (path.name == "__init__.py") if module else 1
    return "/".join(path.parts[-depth:])


def _code(tb: TracebackType) -> str:
    """Return the statement that a frame was at, as far as its lines can be told."""
    code = tb.tb_frame.f_code
    first = last = tb.tb_lineno
    position = next(islice(code.co_positions(), tb.tb_lasti // 2, None), None)
    if position is not None and position[0] and position[1]:
        first, last = min(first, position[0]), max(first, position[1])
    numbers = range(first, min(last + 1, first + _MAX_LINES))
    lines = (
        linecache.getline(code.co_filename, number, tb.tb_frame.f_globals)
        for number in numbers
    )
    return "\n".join(line.strip()[:500] for line in lines if line.strip())


def _folded(frames: Sequence[_Frame]) -> Iterator[str]:
    """Yield the user's frames and the last one; others as one line for each run."""
    users = [index for index, frame in enumerate(frames) if frame.is_users]
    if len(users) > _MAX_FRAMES:  # a recursion
        users = users[:_FIRST_FRAMES] + users[_FIRST_FRAMES - _MAX_FRAMES :]
    kept = sorted({*users, len(frames) - 1} if frames else users)
    expected = 0
    for index in kept:
        if index > expected:
            yield _left_out(frames[expected:index])
        frame = frames[index]
        yield frame.place
        if frame.code:
            yield "    " + frame.code.replace("\n", "\n    ")
        expected = index + 1


def _left_out(frames: Sequence[_Frame]) -> str:
    packages = dict.fromkeys(f.package for f in frames if f.package != "__main__")
    names = ", ".join(islice(filter(None, packages), 3))
    where = f" in {names}" if names else ""
    return f"    [{len(frames):,} call{'s' * (len(frames) > 1)}{where} left out]"


# -- the failing line ----------------------------------------------------------


def _failing_line(
    error: BaseException, name_of_cell: NameOfCell
) -> tuple[str, tuple[str, ...]]:
    frames = list(_frames(error.__traceback__, name_of_cell))
    users = [index for index, frame in enumerate(frames) if frame.is_users]
    if not users or not any(frame.is_cell for frame in frames):
        text = error.text if isinstance(error, SyntaxError) else None
        return (text or "").strip(), ()
    tb = next(islice(_tracebacks(error.__traceback__), users[-1], None))
    line = frames[users[-1]].code
    return line, name_types(line, tb.tb_frame.f_locals, tb.tb_frame.f_globals)


def _cut(text: str) -> str:
    if len(text) <= _MAX_CHARACTERS:
        return text
    head = _MAX_CHARACTERS // 3
    tail = _MAX_CHARACTERS - head
    left = len(text) - _MAX_CHARACTERS
    return f"{text[:head]}\n[{left:,} characters left out]\n{text[-tail:]}"
