"""What the names on a line of code are: their types and shapes, never their values.

Pure, and for objects of any kind: one that raises when it is looked at is told by its
type alone. Imports none of the libraries whose values these are, and keeps none of
them: what is returned is text.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
_MAX_NAMES = 20
_MAX_COLUMNS = 40
_MAX_TEXT = 60
_SIZED = {
    str: "characters",
    bytes: "bytes",
    list: "items",
    tuple: "items",
    set: "items",
    frozenset: "items",
    dict: "entries",
}


def name_types(code: str, *namespaces: Mapping[str, object]) -> tuple[str, ...]:
    """Return what each name in a piece of code is, in the order of the code.

    Parameters
    ----------
    namespaces
        Where names are looked up, the nearest first. Names in none of them (built-in
        ones, mostly) are left out, and attributes are no names.

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
    'dict, 1 entries'
    """
    try:
        parts = [_kind(value), *_facts(value)]
    except Exception:  # noqa: BLE001  (it runs code of the object's class)
        parts = [_kind(value)]
    return ", ".join(parts)


def _kind(value: object) -> str:
    if type(value) is ModuleType:
        return f"module {_cut(value.__name__)}"
    name = type.__getattribute__(type(value), "__qualname__")
    module = type.__getattribute__(type(value), "__module__")
    root = module.partition(".")[0] if isinstance(module, str) else ""
    return _cut(name if root in {"", "builtins", "__main__"} else f"{root}.{name}")


def _facts(value: Any) -> Iterator[str]:  # noqa: ANN401  (any object of the user's)
    for kind, unit in _SIZED.items():
        if isinstance(value, kind):
            # NB: not len(value), which a class derived from it may have changed.
            yield f"{kind.__len__(value):,} {unit}"
            return
    if type(value) is FunctionType:
        code = value.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        yield f"parameters ({', '.join(code.co_varnames[:count])})"
    elif isinstance(value, type):
        yield f"the class {_cut(type.__getattribute__(value, '__qualname__'))}"
    else:
        yield from _shape(value)


def _shape(value: Any) -> Iterator[str]:  # noqa: ANN401
    if not _class_has(value, "shape"):
        return
    shape = value.shape
    if not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        return
    if _class_has(value, "columns") and _class_has(value, "dtypes"):
        yield f"{shape[0]:,} rows and {shape[1]:,} columns: {_columns(value)}"
        return
    if shape:
        yield f"shape {tuple(shape)}"
    if _class_has(value, "dtype"):
        yield f"dtype {_cut(str(value.dtype))}"


def _columns(table: Any) -> str:  # noqa: ANN401
    pairs = list(zip(table.columns, table.dtypes, strict=True))
    shown = [f"{_cut(str(n))} ({_cut(str(k))})" for n, k in pairs[:_MAX_COLUMNS]]
    if len(pairs) > _MAX_COLUMNS:
        shown.append(f"and {len(pairs) - _MAX_COLUMNS:,} more")
    return ", ".join(shown)


def _class_has(value: object, name: str) -> bool:
    """Tell whether a class declares an attribute; one made up on demand is not asked.

    A stand-in for something far away would fetch it.
    """
    return inspect.getattr_static(type(value), name, None) is not None


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
