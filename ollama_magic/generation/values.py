"""Turns values of the notebook and text files into text for a model.

Prompts, rows of ``map_prompts`` and results of tools come through ``value_text``: a
table or an array becomes its shape and a sample, and long text is cut. None of the
libraries of these values is imported: the names of their classes are enough.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ollama_magic.client.files import read_file
from ollama_magic.errors import PromptError, quoted, size_text
from ollama_magic.history.turns import without_surrogates
from ollama_magic.render.text import counted

MAX_CHARACTERS = 50_000
"""A text that is longer is cut, with a note; about 12,000 tokens."""

MAX_ROWS = 20
"""A table with more rows is a sample: its first ones and its last ones."""

_FIRST, _LAST = 10, 5
_MAX_COLUMNS = 60
_SHORTEST_NAME, _FEWEST_NAMES, _MOST_OF_THEM = 3, 5, 0.75
"""Which names of the environment are counted, and when they are its copy."""
_MAX_CELL = 200  # characters of one value of a table
_CUT_CELL = re.compile(r"… \[[\d,]+ characters\]")
_LEFT_OUT = re.compile(r"\.\.\.|…")
"""What libraries write where they abridge the text of a large value."""


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

    Text stays unchanged. A table (DataFrame and Series of pandas and polars) becomes
    its shape, its columns with their types and missing values, and its rows as CSV, or
    a sample of them. An array becomes its shape, type and range, and its values as far
    as ``str`` shows them. A list, tuple or dict becomes JSON if possible, or its values
    one after the other if there are tables or arrays in it; and anything else its
    ``str``.

    Parameters
    ----------
    hide
        Removes secrets from the text before it is cut: half a secret could remain.
    """
    found = _sampled_text(value, hide) or _plain_text(value, limit, hide)
    text = hide(found.text)
    if len(text) <= limit:
        return ValueText(text, found.note)
    note = f"\n[cut: {limit:,} of {len(text):,} characters]"
    return ValueText(text[:limit] + note, "cut")


def _sampled_text(value: object, hide: Callable[[str], str]) -> ValueText | None:
    return _table_text(value, hide) or _array_text(value)


def _plain_text(value: object, limit: int, hide: Callable[[str], str]) -> ValueText:
    if isinstance(value, str):
        return ValueText(str(value))
    if isinstance(value, list | tuple | dict):
        try:
            return ValueText(json.dumps(value, ensure_ascii=False))
        except (TypeError, ValueError, RecursionError):
            if parts := _parts_text(value, limit, hide):
                return parts
    text = repr(value) if isinstance(value, list | tuple | dict) else str(value)
    return ValueText(text, "maybe abridged" if _LEFT_OUT.search(text) else "")


def _parts_text(
    value: list[Any] | tuple[Any, ...] | dict[Any, Any],
    limit: int,
    hide: Callable[[str], str],
) -> ValueText | None:
    """Return the values of a list or dict one after the other, if one is a table.

    Each is sampled like a table alone; None if there is no table and no array.
    """
    items = value.items() if isinstance(value, dict) else enumerate(value)
    texts, notes, size, is_sampled = [], [], 0, False
    for key, item in items:
        found = _sampled_text(item, hide)
        is_sampled = is_sampled or found is not None
        found = found or ValueText(hide(str(item)))
        texts.append(f"{key}:\n{found.text}")
        notes += [f"{key}: {found.note}"] if found.note else []
        size += len(texts[-1])
        if size > limit:  # the rest would be cut anyway
            break
    return ValueText("\n\n".join(texts), "; ".join(notes)) if is_sampled else None


def error_text(error: BaseException) -> str:
    """Return type and message of an error of the user's code, on one line."""
    try:
        message = quoted(str(error))
    except Exception:  # noqa: BLE001  (``__str__`` is user code too)
        message = ""
    name = type(error).__name__
    return f"{name}: {message}" if message else name


def shows_environment(text: str) -> bool:
    """Return whether a text has ``os.environ`` in it, or most names of a copy of it."""
    if "environ({" in text:
        first = re.escape(next(iter(os.environ), ""))
        if first and re.search(rf"environ\(\{{\W*b?\W*{first}", text):
            return True
    return is_environment(text[:MAX_CHARACTERS])


def is_environment(names: Container[str]) -> bool:
    """Return whether a text or a mapping has most names of the environment in it."""
    known = [name for name in os.environ if len(name) >= _SHORTEST_NAME]
    found = sum(name in names for name in known)
    return len(known) >= _FEWEST_NAMES and found > _MOST_OF_THEM * len(known)


def is_from(value: object, library: str, *names: str) -> bool:
    """Return whether a value is an instance of a class of a library, by its name."""
    return any(
        kind.__name__ in names and kind.__module__.partition(".")[0] == library
        for kind in type(value).__mro__
    )


def as_array(value: object) -> Any:  # noqa: ANN401  (an ndarray, or None)
    """Return the numpy array that a value is, or that a tensor has; else None."""
    tensor: Any = value
    if is_from(value, "numpy", "ndarray"):
        return value
    with suppress(TypeError):  # a type of numbers that numpy lacks
        if is_from(value, "torch", "Tensor"):  # out of the graph, and off the GPU
            return tensor.detach().cpu().numpy()
        if is_from(value, "tensorflow", "EagerTensor"):
            return tensor.numpy()
        if is_from(value, "jaxlib", "ArrayImpl"):
            return tensor.__array__()
    return None


# -- tables --------------------------------------------------------------------


def _table_text(value: object, hide: Callable[[str], str]) -> ValueText | None:
    """Return a table of pandas or polars, or a sample of it; else None."""
    library = next((n for n in _CSV if is_from(value, n, "DataFrame", "Series")), "")
    if not library:
        return None
    table: Any = value
    facts: list[str] = []
    notes: list[str] = []
    if is_from(value, library, "Series"):
        head = f"Series of {counted(len(table), 'value')}, type {table.dtype}"
        table = table.to_frame("values" if table.name is None else table.name)
    else:
        rows, columns = table.shape
        head = f"DataFrame of {counted(rows, 'row')} and {counted(columns, 'column')}"
        is_pandas = library == "pandas"
        table = table.iloc[:, :_MAX_COLUMNS] if is_pandas else table[:, :_MAX_COLUMNS]
        facts = ["column: type, missing values", *_column_lines(table)]
        if columns > _MAX_COLUMNS:
            facts.append(f"[{counted(columns - _MAX_COLUMNS, 'more column')}]")
            notes.append(f"{_MAX_COLUMNS} of {columns:,} columns")
    rows_text, note = _rows_text(table, partial(_CSV[library], hide))
    if _CUT_CELL.search(rows_text):
        notes.append("long values cut")
    notes = [note, *notes] if note else notes
    return ValueText("\n".join([head, *facts, rows_text]), ", ".join(notes))


def _column_lines(table: Any) -> Iterable[str]:  # noqa: ANN401  (a DataFrame)
    is_pandas = hasattr(table, "isna")
    missing = table.isna().sum().tolist() if is_pandas else table.null_count().row(0)
    for name, kind, count in zip(table.columns, table.dtypes, missing, strict=True):
        yield f"{name}: {kind}, {count:,}"


def _rows_text(
    table: Any,  # noqa: ANN401  (a DataFrame)
    csv_of: Callable[[Any, bool], str],
) -> tuple[str, str]:
    """Return the rows, and a note if they are only the first and the last ones."""
    count, note = len(table), ""
    if count <= MAX_ROWS:
        parts = [csv_of(table, True)]
    else:
        left = f"[{counted(count - _FIRST - _LAST, 'row')} left out]"
        first, last = csv_of(table.head(_FIRST), True), csv_of(table.tail(_LAST), False)
        parts, note = [first, left, last], f"{_FIRST + _LAST} of {count:,} rows"
    index = ", the index first" if hasattr(table, "index") else ""
    lines = [f"rows as CSV{index}:", *(part.rstrip("\n") for part in parts)]
    return "\n".join(lines), note


def _pandas_csv(hide: Callable[[str], str], table: Any, header: bool) -> str:  # noqa: ANN401
    each = table.map if hasattr(table, "map") else table.applymap
    short = each(partial(_short_cell, hide))
    text: str = short.to_csv(header=header)
    return text


def _polars_csv(hide: Callable[[str], str], table: Any, header: bool) -> str:  # noqa: ANN401
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        writer.writerow(table.columns)
    for row in table.iter_rows():
        writer.writerow([_short_cell(hide, cell) for cell in row])
    return buffer.getvalue()


_CSV = {"pandas": _pandas_csv, "polars": _polars_csv}
"""For each library of tables, what writes rows as CSV, with or without the names."""


def _short_cell(hide: Callable[[str], str], cell: object) -> object:
    """Return a value of a table; as text if it is text, or a list or bytes too long."""
    text = str(cell)
    if not isinstance(cell, str) and len(text) <= _MAX_CELL:
        return cell
    text = hide(without_surrogates(text))  # which pyarrow, for one, rejects
    if len(text) > _MAX_CELL:
        return f"{text[:_MAX_CELL]}… [{len(text):,} characters]"
    return text


# -- arrays --------------------------------------------------------------------


def _array_text(value: object) -> ValueText | None:
    array = as_array(value)
    if array is None:
        return None
    facts = [f"array of shape {array.shape}, type {array.dtype}"]
    if array.dtype.kind in "iuf":
        known = array[array == array]  # noqa: PLR0124  (NaN differs from itself)
        if known.size:
            low, high, mean = known.min(), known.max(), known.mean()
            facts.append(f"from {low:g} to {high:g}, mean {mean:g}")
        if missing := array.size - known.size:
            facts.append(f"{missing:,} of {array.size:,} values are NaN")
    text = str(array)
    is_sample = "..." in text and array.size > 1
    note = f"a sample of {array.size:,} values" if is_sample else ""
    return ValueText("\n".join([*facts, text]), note)


_MAX_BYTES = 20_000_000
"""Larger files are not used: no prompt could hold them."""

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
    for path in dict.fromkeys(map(str, paths)):
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
        data = read_file(path, _MAX_BYTES)
        if len(data) > _MAX_BYTES:
            size = size_text(max(path.stat().st_size, len(data)))
            raise PromptError(
                f"The file {text} is too large for a prompt: {size}.",
                why=f"at most {MAX_CHARACTERS:,} characters of a file are sent",
                next_step="read the part that you need in a cell above, and use it in "
                "{{ }}",
            )
        decoded = data.decode("utf-8-sig")
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
