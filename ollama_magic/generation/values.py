"""Turns values of the notebook and text files into text for a model.

Prompts, rows of ``map_prompts`` and results of tools come through ``value_text``: a
table or an array becomes its shape and a sample, and long text is cut. None of the
libraries of these values is imported: the names of their classes are enough.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollama_magic.client.progress import size_text
from ollama_magic.errors import PromptError, quoted
from ollama_magic.render.text import counted

MAX_CHARACTERS = 50_000
"""A text that is longer is cut, with a note; about 12,000 tokens."""

MAX_ROWS = 20
"""A table with more rows is a sample: its first ones and its last ones."""

_FIRST, _LAST = 10, 5
_MAX_COLUMNS = 60
_MAX_CELL = 200  # characters of one value of a table


@dataclass(frozen=True, slots=True)
class ValueText:
    """A value as it is sent."""

    text: str
    note: str = ""
    """The note of the footer: ``cut``, ``15 of 150 rows``; empty if it is complete."""


def value_text(
    value: object, *, limit: int = MAX_CHARACTERS, hide: Callable[[str], str] = str
) -> ValueText:
    """Return a value as text for a model, within a budget of ``limit`` characters.

    Text stays unchanged. A table (pandas' DataFrame and Series) becomes its shape, its
    columns with their types and missing values, and its rows as CSV, or a sample of
    them. An array becomes its shape, type and range, and its values as far as ``str``
    shows them. A list, tuple or dict becomes JSON if possible, and anything else its
    ``str``.

    Parameters
    ----------
    hide
        Removes secrets from the text before it is cut: half a secret could remain.
    """
    found = _table_text(value, hide) or _array_text(value)
    found = found or ValueText(_plain_text(value))
    text = hide(found.text)
    if len(text) <= limit:
        return ValueText(text, found.note)
    note = f"\n[cut: {limit:,} of {len(text):,} characters]"
    return ValueText(text[:limit] + note, "cut")


def _plain_text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple | dict):
        try:
            return json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            return repr(value)
    return str(value)


def error_text(error: BaseException) -> str:
    """Return type and message of an error of the user's code, on one line."""
    try:
        message = quoted(str(error))
    except Exception:  # noqa: BLE001  (``__str__`` is user code too)
        message = ""
    name = type(error).__name__
    return f"{name}: {message}" if message else name


def shows_environment(text: str) -> bool:
    """Return whether the text of a container or an object has ``os.environ`` in it."""
    if "environ({" not in text:
        return False
    first = re.escape(next(iter(os.environ), ""))
    return bool(first and re.search(rf"environ\(\{{\W*b?\W*{first}", text))


def is_from(value: object, library: str, *names: str) -> bool:
    """Return whether a value is an instance of a class of a library, by its name."""
    return any(
        kind.__name__ in names and kind.__module__.partition(".")[0] == library
        for kind in type(value).__mro__
    )


# -- tables --------------------------------------------------------------------


def _table_text(value: object, hide: Callable[[str], str]) -> ValueText | None:
    table: Any = value
    if is_from(value, "pandas", "Series"):
        name = "values" if table.name is None else table.name
        head = f"Series of {counted(len(table), 'value')}, type {table.dtype}"
        return _with_rows(head, table.to_frame(name), [], hide)
    if not is_from(value, "pandas", "DataFrame"):
        return None
    rows, columns = table.shape
    head = f"DataFrame of {counted(rows, 'row')} and {counted(columns, 'column')}"
    shown = table.iloc[:, :_MAX_COLUMNS]
    facts = ["column: type, missing values", *_column_lines(shown)]
    if columns > _MAX_COLUMNS:
        facts.append(f"[{counted(columns - _MAX_COLUMNS, 'more column')}]")
    return _with_rows(head, shown, facts, hide)


def _column_lines(table: Any) -> Iterable[str]:  # noqa: ANN401  (a DataFrame)
    missing = table.isna().sum().tolist()
    for name, kind, count in zip(table.columns, table.dtypes, missing, strict=True):
        yield f"{name}: {kind}, {count:,}"


def _with_rows(
    head: str,
    table: Any,  # noqa: ANN401  (a DataFrame)
    facts: list[str],
    hide: Callable[[str], str],
) -> ValueText:
    count = len(table)

    def csv(rows: Any, *, header: bool = True) -> str:  # noqa: ANN401  (a DataFrame)
        return _csv(rows, hide, header=header)

    if count <= MAX_ROWS:
        parts, note = [csv(table)], ""
    else:
        left = count - _FIRST - _LAST
        first, last = table.iloc[:_FIRST], table.iloc[-_LAST:]
        parts = [
            csv(first),
            f"[{counted(left, 'row')} left out]",
            csv(last, header=False),
        ]
        note = f"{_FIRST + _LAST} of {count:,} rows"
    lines = [head, *facts, "rows as CSV, the index first:", *parts]
    return ValueText("\n".join(lines), note)


def _csv(table: Any, hide: Callable[[str], str], *, header: bool) -> str:  # noqa: ANN401
    def short_cell(cell: object) -> object:
        return _short(hide(cell)) if isinstance(cell, str) else cell

    each = table.map if hasattr(table, "map") else table.applymap
    short = each(short_cell)
    text: str = short.to_csv(header=header)
    return text.rstrip("\n")


def _short(cell: str) -> str:
    if len(cell) > _MAX_CELL:
        return f"{cell[:_MAX_CELL]}… [{len(cell):,} characters]"
    return cell


# -- arrays --------------------------------------------------------------------


def _array_text(value: object) -> ValueText | None:
    if not is_from(value, "numpy", "ndarray"):
        return None
    array: Any = value
    facts = [f"array of shape {array.shape}, type {array.dtype}"]
    if array.size and array.dtype.kind in "iuf":
        low, high, mean = array.min(), array.max(), array.mean()
        facts.append(f"from {low:g} to {high:g}, mean {mean:g}")
    text = str(array)
    is_sample = "..." in text and array.size > 1
    note = f"a sample of {array.size:,} values" if is_sample else ""
    return ValueText("\n".join([*facts, text]), note)


_MAX_BYTES = 20_000_000
"""Larger files are not read at all: no prompt could hold them."""

_RUNS = re.compile(r"`{3,}")


def with_files(
    prompt: str, paths: Sequence[str], hide: Callable[[str], str] = str
) -> tuple[str, tuple[str, ...]]:
    """Return a prompt with text files before it, and their names for the footer.

    Parameters
    ----------
    paths
        As the user wrote them; ``~`` is the home directory.
    hide
        Removes secrets from their texts.

    Raises
    ------
    PromptError
        A file is missing, a folder, or not text.
    """
    parts, names = [], []
    for path in dict.fromkeys(paths):
        read = _read(path)
        found = value_text(read, hide=hide)
        parts.append(_fenced(path, found.text))
        names.append(f"{path} ({found.note})" if found.note else path)
    return "\n\n".join([*parts, prompt]), tuple(names)


def is_file(text: str) -> bool:
    """Return whether a text is the path of a file, as the user wrote it."""
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long, or no home directory
        return False


def _read(text: str) -> str:
    path = Path(text).expanduser()
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_BYTES:
            raise PromptError(
                f"The file {text} is too large for a prompt: {size_text(size_bytes)}.",
                why=f"at most {MAX_CHARACTERS:,} characters of a file are sent",
                next_step="read the part that you need in a cell above, and use it in "
                "{{ }}",
            )
        decoded = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise unreadable_file(text, error) from error
    except UnicodeDecodeError as error:
        raise _no_text(text) from error
    if "\0" in decoded:
        raise _no_text(text)
    return decoded


def unreadable_file(path: str, error: Exception) -> PromptError:
    """Return the error for a file that cannot be opened."""
    return PromptError(
        f"The file {path} cannot be read.",
        why=getattr(error, "strerror", None) or str(error) or type(error).__name__,
        next_step=f"paths are relative to {Path.cwd()}; list the files: !ls",
    )


def _no_text(path: str) -> PromptError:
    return PromptError(
        f"The file {path} is not a text file.",
        why="-F adds text files in UTF-8",
        next_step="read it in a cell above, and use what you need in {{ }}",
    )


def fenced(text: str, language: str = "") -> str:
    """Return a text in a code fence that nothing in it can close."""
    longest = max((len(run) for run in _RUNS.findall(text)), default=2)
    fence = "`" * max(3, longest + 1)
    body = text.rstrip("\n")
    return f"{fence}{language}\n{body}\n{fence}"


def _fenced(path: str, text: str) -> str:
    language = Path(path).suffix.lstrip(".")
    return f"File {Path(path).name}:\n{fenced(text, language)}"
