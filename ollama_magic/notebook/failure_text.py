"""An error as text for a model: a short traceback, and the names on the failing line.

``failures`` calls :func:`failure_text` when a cell fails. The text has the frames of
the user (cells, and modules that are not installed) and, of the names on the failing
line, types and shapes. It keeps no error, frame or value, so that the objects of a
failed cell are freed as usual.
"""

from __future__ import annotations

import inspect
import keyword
import linecache
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FunctionType, ModuleType, TracebackType
from typing import Any

from ollama_magic.render.text import counted

NameOfCell = Callable[[str], str | None]
"""Returns ``In[7]`` for the file name of compiled code; None if it is not a cell."""

_MAX_CHARACTERS = 6000
_MAX_ERRORS = 4  # of a chain of causes
_MAX_FRAMES = 12
_FIRST_FRAMES = 4
_MAX_LINES = 5  # of one statement
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_TIMED = frozenset({"<timed exec>", "<timed eval>"})
_MAX_SCRIPT = 20_000
_FILE = re.compile(r'File "([^"]+)", line')
_MAGIC_CALL = ("get_ipython().run_cell_magic(", "get_ipython().run_line_magic(")
_CAUSED = "This caused:"
_MEANWHILE = "While this was handled:"


@dataclass(frozen=True, slots=True)
class FailureText:
    """The text of an error."""

    traceback: str
    line: str
    """The user's line that failed; empty if it is unknown."""
    names: tuple[str, ...]
    """The types of the names on that line: ``rows: list, 2 items``."""
    script: str = ""
    """The name of the script that failed, if no cell is in the traceback."""
    script_source: str = ""


@dataclass(frozen=True, slots=True)
class _Frame:
    place: str
    code: str
    package: str
    is_users: bool
    is_cell: bool


def failure_text(
    error: BaseException, name_of_cell: NameOfCell, timed: Sequence[str] = ()
) -> FailureText:
    """Return the text of an error, and the types of the names on the failing line.

    Parameters
    ----------
    timed
        The lines of code that ``%%time`` ran, which has no file.
    """
    parts: list[str] = []
    for one, connection in reversed(list(_chain(error))):
        parts.append(_one_error(one, name_of_cell, timed))
        if connection:
            parts.append(f"{connection}\n")
    text = _ESCAPES.sub("", "\n".join(parts))
    frames = list(_frames(error.__traceback__, name_of_cell, timed))
    line, names = _failing_line(error, frames)
    return FailureText(shortened(text), line, names, *_script(error, frames))


def cells_in(error: BaseException, name_of_cell: NameOfCell) -> list[str]:
    """Return the names of the cells that an error passed through, outermost first."""
    tracebacks = _tracebacks(error.__traceback__)
    names = (name_of_cell(tb.tb_frame.f_code.co_filename) for tb in tracebacks)
    return [name for name in names if name]


def came_through(error: BaseException, module: str) -> bool:
    """Return whether an error passed through a function of a module."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == module for frame, _ in frames)


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield an error and its causes, each with how it led to the next one."""
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


def _one_error(
    error: BaseException, name_of_cell: NameOfCell, timed: Sequence[str]
) -> str:
    frames = list(_frames(error.__traceback__, name_of_cell, timed))
    cells = [index for index, frame in enumerate(frames) if frame.is_cell]
    users = [index for index, frame in enumerate(frames) if frame.is_users]
    if not cells and isinstance(error, SyntaxError):
        frames = []  # the code never ran
    elif first := cells or users:  # without a cell, it is a script
        frames = frames[first[0] :]  # frames above are IPython's
    return "\n".join([*_folded(frames), _message(error, name_of_cell)])


def _message(error: BaseException, name_of_cell: NameOfCell) -> str:
    def named(match: re.Match[str]) -> str:
        cell = name_of_cell(match[1])
        return f"Cell {cell}, line" if cell else f'File "{_short(match[1])}", line'

    text = "".join(traceback.format_exception_only(type(error), error)).rstrip()
    if isinstance(error, SyntaxError):
        text = _FILE.sub(named, text, count=1)
    grouped = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    inner = [
        traceback.format_exception_only(type(one), one)[-1].rstrip() for one in grouped
    ]
    return "\n".join([text, *(f"  - {one}" for one in inner[:_MAX_LINES])])


# -- frames --------------------------------------------------------------------


def _frames(
    top: TracebackType | None, name_of_cell: NameOfCell, timed: Sequence[str]
) -> Iterator[_Frame]:
    libraries = _library_folders()
    for tb in _tracebacks(top):
        code = tb.tb_frame.f_code
        file = code.co_filename
        cell = name_of_cell(file)
        module = str(tb.tb_frame.f_globals.get("__name__") or "")
        where = f"Cell {cell}" if cell else f"File {_short(file, module)}"
        yield _Frame(
            place=f"{where}, line {tb.tb_lineno}, in {code.co_name}",
            code=_timed_line(tb, timed) if file in _TIMED else _code(tb),
            package=module.partition(".")[0],
            is_users=cell is not None or not _is_library(file, module, libraries),
            is_cell=cell is not None,
        )


def _is_library(file: str, module: str, folders: tuple[str, ...]) -> bool:
    path = Path(file)
    if not path.is_file():  # from exec, or its source is not here
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
    """Return a path without private parts: relative to here, or only its end."""
    path = Path(file)
    if path.is_relative_to(Path.cwd()) and "-packages" not in file:
        return str(path.relative_to(Path.cwd()))
    depth = module.count(".") + 1 + (path.name == "__init__.py") if module else 1
    return "/".join(path.parts[-depth:])


def _code(tb: TracebackType) -> str:
    """Return the statement that a frame was at, as far as it is known."""
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


def _timed_line(tb: TracebackType, timed: Sequence[str]) -> str:
    return "".join(islice(timed, tb.tb_lineno - 1, tb.tb_lineno)).strip()


def _folded(frames: Sequence[_Frame]) -> Iterator[str]:
    """Yield the user's frames and the last one; each run of others as one line."""
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
    error: BaseException, frames: Sequence[_Frame]
) -> tuple[str, tuple[str, ...]]:
    users = [index for index, frame in enumerate(frames) if frame.is_users]
    if isinstance(error, SyntaxError) and not any(frame.is_cell for frame in frames):
        return (error.text or "").strip(), ()
    if not users:
        return "", ()
    line = frames[users[-1]].code
    if line.startswith(_MAGIC_CALL):
        return "", ()  # a magic failed, and this line is how IPython calls it
    tb = next(islice(_tracebacks(error.__traceback__), users[-1], None))
    return line, name_types(line, tb.tb_frame.f_locals, tb.tb_frame.f_globals)


def _script(error: BaseException, frames: Sequence[_Frame]) -> tuple[str, str]:
    """Return the name and the source of the script that failed; empty for a cell."""
    if any(frame.is_cell for frame in frames):
        return "", ""
    for tb in _tracebacks(error.__traceback__):
        file, module = tb.tb_frame.f_code.co_filename, tb.tb_frame.f_globals
        # NB: IPython empties the namespace of a script that has ended.
        if module.get("__name__", "__main__") == "__main__" and file not in _TIMED:
            source = "".join(linecache.getlines(file))
            return (
                (_short(file), shortened(source, _MAX_SCRIPT)) if source else ("", "")
            )
    return "", ""


def shortened(text: str, limit: int = _MAX_CHARACTERS) -> str:
    """Return a text without its middle if it is long."""
    if len(text) <= limit:
        return text
    head = limit // 3
    tail = limit - head
    left = len(text) - limit
    return f"{text[:head]}\n[{left:,} characters left out]\n{text[-tail:]}"


_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
_MAX_NAMES = 20
_MAX_COLUMNS = 40
_MAX_TEXT = 60
_SIZED = {
    str: "character",
    bytes: "byte",
    list: "item",
    tuple: "item",
    set: "item",
    frozenset: "item",
    dict: "item",
}


def name_types(code: str, *namespaces: Mapping[str, object]) -> tuple[str, ...]:
    """Return the type of each name in some code, in the order of the code.

    Parameters
    ----------
    namespaces
        Where names are looked up, the nearest first. Names in none of them (mostly
        built-in ones) and attributes are left out.

    Examples
    --------
    >>> name_types("total / len(rows)", {"total": 3}, {"rows": [1, 2]})
    ('total: int', 'rows: list, 2 items')
    """
    names = dict.fromkeys(_NAME.findall(code))
    return tuple(_described(names, namespaces))[:_MAX_NAMES]


def _described(
    names: Mapping[str, object], namespaces: tuple[Mapping[str, object], ...]
) -> Iterator[str]:
    for name in names:
        found = next((space for space in namespaces if name in space), None)
        if found is not None and not keyword.iskeyword(name):
            yield f"{name}: {describe(found[name])}"


def describe(value: object) -> str:
    """Return the type of a value, with its length, shape or columns.

    Examples
    --------
    >>> describe({"a": 1})
    'dict, 1 item'
    """
    try:
        parts = [_kind(value), *_facts(value)]
    except Exception:  # noqa: BLE001  (it runs code of the user's class)
        parts = [_kind(value)]
    return ", ".join(parts)


def _kind(value: object) -> str:
    if type(value) is ModuleType:
        return f"module {_short_text(value.__name__)}"
    name = type.__getattribute__(type(value), "__qualname__")
    module = type.__getattribute__(type(value), "__module__")
    root = module.partition(".")[0] if isinstance(module, str) else ""
    return _short_text(
        name if root in {"", "builtins", "__main__"} else f"{root}.{name}"
    )


def _facts(value: Any) -> Iterator[str]:  # noqa: ANN401  (any object of the user's)
    for kind, unit in _SIZED.items():
        if isinstance(value, kind):
            # NB: not len(value), which a derived class may override.
            yield counted(kind.__len__(value), unit)
            return
    if type(value) is FunctionType:
        code = value.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        yield f"parameters ({', '.join(code.co_varnames[:count])})"
    elif isinstance(value, type):
        yield f"the class {_short_text(type.__getattribute__(value, '__qualname__'))}"
    else:
        yield from _shape(value)


def _shape(value: Any) -> Iterator[str]:  # noqa: ANN401
    if not _class_has(value, "shape"):
        return
    shape = value.shape
    if not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        return
    if _class_has(value, "columns") and _class_has(value, "dtypes"):
        rows, columns = counted(shape[0], "row"), counted(shape[1], "column")
        yield f"{rows} and {columns}: {_columns(value)}"
        return
    if shape:
        yield f"shape {tuple(shape)}"
    if _class_has(value, "dtype"):
        yield f"dtype {_short_text(str(value.dtype))}"


def _columns(table: Any) -> str:  # noqa: ANN401
    pairs = list(zip(table.columns, table.dtypes, strict=True))
    shown = [
        f"{_short_text(str(n))} ({_short_text(str(k))})"
        for n, k in pairs[:_MAX_COLUMNS]
    ]
    if len(pairs) > _MAX_COLUMNS:
        shown.append(f"and {len(pairs) - _MAX_COLUMNS:,} more")
    return ", ".join(shown)


def _class_has(value: object, name: str) -> bool:
    """Return whether a class declares an attribute, without calling ``__getattr__``.

    A proxy for a remote object would fetch it.
    """
    return inspect.getattr_static(type(value), name, None) is not None


def _short_text(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
