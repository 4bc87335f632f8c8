"""A value of the notebook as text for a model: its shape first, then a sample.

Knows what a model needs of a table, an array, a dict or a long text, and how much of
it. Imports none of the libraries whose values these are: it looks at what they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAX_CHARACTERS = 50_000
"""A text that is longer is cut, with a note; about 12,000 tokens."""

MAX_ROWS = 20
"""A table with more rows is a sample: its first ones and its last ones."""

_FIRST, _LAST = 10, 5
_MAX_COLUMNS = 60
_MAX_CELL = 200  # characters of one value of a table


@dataclass(frozen=True, slots=True)
class ValueText:
    """What a model is sent of a value."""

    text: str
    note: str = ""
    """What the footer says of it: ``cut``, ``15 of 150 rows``; empty: all is there."""


def value_text(value: object, *, limit: int = MAX_CHARACTERS) -> ValueText:
    """Return a value as text for a model, within a budget of ``limit`` characters.

    Text is itself. A table (pandas' DataFrame and Series) is its shape, its columns
    with their types and missing values, and its rows as CSV, or a sample of them. An
    array is its shape, type and range, and its values as far as ``str`` shows them. A
    list, tuple or dict is JSON where it can be; all else is what ``str`` makes of it.
    """
    found = _table_text(value) or _array_text(value) or ValueText(_plain_text(value))
    if len(found.text) <= limit:
        return found
    note = f"\n[cut: {limit:,} of {len(found.text):,} characters]"
    return ValueText(found.text[:limit] + note, "cut")


def _plain_text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple | dict):
        try:
            return json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            return repr(value)
    return str(value)


def is_from(value: object, library: str, *names: str) -> bool:
    """Tell whether a value is of a class of a library, or of one derived from it."""
    return any(
        kind.__name__ in names and kind.__module__.partition(".")[0] == library
        for kind in type(value).__mro__
    )


# -- tables --------------------------------------------------------------------


def _table_text(value: object) -> ValueText | None:
    table: Any = value
    if is_from(value, "pandas", "Series"):
        name = "values" if table.name is None else table.name
        head = f"Series of {len(table):,} values, type {table.dtype}"
        return _with_rows(head, table.to_frame(name), [])
    if not is_from(value, "pandas", "DataFrame"):
        return None
    rows, columns = table.shape
    head = f"DataFrame of {rows:,} rows and {columns:,} columns"
    shown = table.iloc[:, :_MAX_COLUMNS]
    facts = ["column: type, missing values", *_column_lines(shown)]
    if columns > _MAX_COLUMNS:
        facts.append(f"[{columns - _MAX_COLUMNS:,} more columns]")
    return _with_rows(head, shown, facts)


def _column_lines(table: Any) -> Iterable[str]:  # noqa: ANN401  (a DataFrame)
    missing = table.isna().sum().tolist()
    for name, kind, count in zip(table.columns, table.dtypes, missing, strict=True):
        yield f"{name}: {kind}, {count:,}"


def _with_rows(head: str, table: Any, facts: list[str]) -> ValueText:  # noqa: ANN401
    count = len(table)
    if count <= MAX_ROWS:
        parts, note = [_csv(table)], ""
    else:
        left = count - _FIRST - _LAST
        first, last = table.iloc[:_FIRST], table.iloc[-_LAST:]
        parts = [_csv(first), f"[{left:,} rows left out]", _csv(last, header=False)]
        note = f"{_FIRST + _LAST} of {count:,} rows"
    lines = [head, *facts, "rows as CSV, the index first:", *parts]
    return ValueText("\n".join(lines), note)


def _csv(table: Any, *, header: bool = True) -> str:  # noqa: ANN401  (a DataFrame)
    short = table.map(_short) if hasattr(table, "map") else table.applymap(_short)
    text: str = short.to_csv(header=header)
    return text.rstrip("\n")


def _short(cell: object) -> object:
    if isinstance(cell, str) and len(cell) > _MAX_CELL:
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
