"""What the values of the notebook are, seen without running any code of theirs.

Tab completion reads the namespace while the user types, so nothing here calls a
property, a ``__getattr__``, a ``__dir__`` or a ``__repr__``: only the dicts of objects
and classes are read. Tables of pandas and polars themselves are asked for their
columns. A value that only the user's code could compute is ``UNKNOWN``.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import islice
from pathlib import Path, PosixPath, PurePath, WindowsPath
from types import (
    BuiltinFunctionType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any

from ollama_magic.generation.values import is_from
from ollama_magic.notebook.completion.words import is_visible
from ollama_magic.render.text import counted

UNKNOWN = object()
"""The value of a property: it exists, and only running it would tell."""

MISSING = object()
"""There is no such attribute or item."""

_MOST_KEYS = 2000
_FUNCTIONS = (FunctionType, MethodType, functools.partial)
"""Functions of Python, which may be tools."""

_OF_C = (BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType)
_GENERATES = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_PATHS = {Path, PosixPath, WindowsPath, PurePath}
_TABLES = ("pandas", "polars")


def is_a(value: object, kinds: type | tuple[type, ...]) -> bool:
    """Return whether a value is an instance, whatever it says its class is."""
    return issubclass(type(value), kinds)


def _mro(kind: type) -> tuple[type, ...]:
    found: tuple[type, ...] = type.__dict__["__mro__"].__get__(kind)
    return found


def _class_dict(kind: type) -> Mapping[str, Any]:
    found: Mapping[str, Any] = type.__dict__["__dict__"].__get__(kind)
    return found


def _of_class(kind: type, name: str) -> object:
    """Return what a class or its bases define under a name, as it is stored."""
    for one in _mro(kind):
        if name in _class_dict(one):
            return _class_dict(one)[name]
    return MISSING


def _own_dict(value: object) -> Mapping[str, Any]:
    """Return the dict of an object; empty if it has none that is its own."""
    if is_a(value, type):
        return {}
    slot: Any = _of_class(type(value), "__dict__")
    if type(slot) not in {GetSetDescriptorType, MemberDescriptorType}:
        return {}
    found = slot.__get__(value)
    return found if type(found) is dict else {}


def _is_table(value: object, *names: str) -> bool:
    """Return whether a value is a table of a library itself, not of a subclass."""
    kind = type(value)
    is_named = kind.__name__ in (names or ("DataFrame",))
    return is_named and kind.__module__.partition(".")[0] in _TABLES


# -- attributes ----------------------------------------------------------------


def attribute(value: object, name: str) -> Any:  # noqa: ANN401
    """Return an attribute of a value; UNKNOWN if only its code could compute it."""
    if is_a(value, type):
        assert isinstance(value, type)
        return _bare(_of_class(value, name))
    own, stored = _own_dict(value), _of_class(type(value), name)
    if type(stored) is MemberDescriptorType:  # of ``__slots__``
        try:
            return stored.__get__(value)
        except AttributeError:  # not set
            return MISSING
    is_data = stored is not MISSING and any(
        _of_class(type(stored), one) is not MISSING for one in ("__set__", "__delete__")
    )
    if name in own and not is_data:
        return own[name]
    if stored is MISSING and _is_table(value) and name in columns(value):
        return item(value, name)
    return _bare(stored)


def _bare(stored: object) -> object:
    """Return what a class stores as its objects have it, if that runs no code."""
    if is_a(stored, (staticmethod, classmethod)):
        return stored.__func__  # type: ignore[attr-defined]
    if type(stored).__name__ in {"cython_function_or_method", "classmethod_descriptor"}:
        return print  # a function of C
    if is_a(stored, (*_FUNCTIONS, *_OF_C)) or stored is MISSING:
        return stored
    return UNKNOWN if _of_class(type(stored), "__get__") is not MISSING else stored


def attributes(value: object) -> Iterator[tuple[str, Any]]:
    """Yield the public attributes: a table's columns first, its own, its class's."""
    kind: Any = value if is_a(value, type) else type(value)
    inherited = {name for one in _mro(kind) for name in _class_dict(one)}
    names = [
        name for name in columns(value) if type(name) is str and name.isidentifier()
    ]
    names = [name for name in names if name not in inherited]
    names += [*list(_own_dict(value)), *sorted(map(str, inherited))]
    for name in dict.fromkeys(names):
        if type(name) is str and name[:1] != "_":
            found = attribute(value, name)
            if found is not MISSING:
                yield name, found


# -- items ---------------------------------------------------------------------


def columns(value: object) -> Mapping[object, str]:
    """Return the columns of a table with their types; empty if it is not a table."""
    if not _is_table(value):
        return {}
    table: Any = value
    names = islice(table.columns, _MOST_KEYS)
    return dict(zip(names, map(str, table.dtypes), strict=False))


def items(value: object) -> Iterator[tuple[object, Any]]:
    """Yield the keys that select something: of a dict, a table or a series.

    Values of a table are UNKNOWN.
    """
    if is_a(value, dict):
        assert isinstance(value, dict)
        yield from islice(dict.items(value), _MOST_KEYS)
    elif _is_table(value):
        yield from ((name, UNKNOWN) for name in columns(value))
    elif _is_table(value, "Series") and hasattr(value, "index"):
        yield from ((label, UNKNOWN) for label in islice(value.index, _MOST_KEYS))


def item(value: object, key: object) -> Any:  # noqa: ANN401
    """Return an item of a dict, a list or a table; UNKNOWN for anything else."""
    found: Any = UNKNOWN
    inside: Any = value
    try:
        if is_a(value, dict):
            found = dict.get(inside, key, MISSING)
        elif is_a(value, list):
            found = list.__getitem__(inside, key)  # type: ignore[call-overload]
        elif type(value) is tuple or (_is_table(value) and not isinstance(key, slice)):
            found = inside[key]
    except (LookupError, TypeError, ValueError):
        return MISSING
    return found


def is_literal(key: object) -> bool:
    """Return whether a key can be written as a literal in ``{{ }}``."""
    if type(key) is tuple:
        return all(map(is_literal, key))
    if type(key) is float:
        return math.isfinite(key)
    if type(key) is str:
        return is_visible(key) and not set(key) & set("{}")
    return type(key) in {bool, type(None)} or _is_short(key)


def _is_short(value: object) -> bool:
    """Return whether an int is short enough to be written, which takes long."""
    return type(value) is int and value.bit_length() <= 64


def resolve(text: str, namespace: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the value of a name, also with attributes and items, or MISSING."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return MISSING
    steps: list[ast.expr] = []
    while isinstance(tree, ast.Attribute | ast.Subscript):
        steps.append(tree)
        tree = tree.value
    if not isinstance(tree, ast.Name):
        return MISSING
    value: Any = namespace.get(tree.id, MISSING)
    for step in reversed(steps):
        if value is UNKNOWN or value is MISSING:
            return value
        if isinstance(step, ast.Attribute):
            value = attribute(value, step.attr)
            continue
        assert isinstance(step, ast.Subscript)
        try:
            value = item(value, ast.literal_eval(step.slice))
        except (ValueError, TypeError, SyntaxError):  # a slice, or not a literal
            return UNKNOWN
    return value


# -- what a value is -----------------------------------------------------------


def is_tool(value: object) -> bool:
    """Return whether a value is a function that a model can call by names."""
    code = code_of(value)
    if code is None:
        return is_a(value, functools.partial)
    is_open = code.co_posonlyargcount or code.co_flags & inspect.CO_VARARGS
    return not (is_open or code.co_flags & _GENERATES or code.co_name == "<lambda>")


def code_of(value: object) -> Any:  # noqa: ANN401
    """Return the code of a Python function, or of what calling an object runs."""
    if is_a(value, MethodType):
        value = value.__func__  # type: ignore[attr-defined]
    if not is_a(value, (FunctionType, type, ModuleType)):
        value = _of_class(type(value), "__call__")
    return value.__code__ if type(value) is FunctionType else None


def is_image(value: object) -> bool:
    """Return whether a value looks like an image or a sound, by its class."""
    from ollama_magic.client.images import format_of
    from ollama_magic.generation.images import FILE_CLASSES, HAS_FIGURE

    if value is UNKNOWN or is_a(value, (type, ModuleType)):
        return False
    data: Any = value
    if type(value) in {bytes, bytearray}:
        return bool(format_of(bytes(data[:64])))
    if type(value) is str or type(value) in _PATHS:
        return is_media_file(str(value))
    if type(value) in {list, tuple}:
        first = next(iter(data), None)
        return is_from(first, "matplotlib", "Artist") or _is_sound(data)
    drawn = HAS_FIGURE.get(type(value).__module__.partition(".")[0])
    return (
        any(is_from(value, library, *names) for library, names, _ in FILE_CLASSES)
        or is_from(value, "matplotlib", "Figure", "Artist", "Container", "PieContainer")
        or (drawn is not None and attribute(value, drawn) is not MISSING)
        or _of_class(type(value), "_repr_png_") is not MISSING
        or is_from(value, "_io", "BytesIO")
        or _may_be_pixels(value)
    )


def _is_sound(value: list[Any] | tuple[Any, ...]) -> bool:
    parts = list(islice(iter(value), 3))
    is_pair = len(parts) == 2 and any(type(one) in {int, float} for one in parts)
    return is_pair and any(is_from(one, "numpy", "ndarray") for one in parts)


def _may_be_pixels(value: object) -> bool:
    if _is_array(value):
        array: Any = value
        return len(array.shape) in {2, 3} or array.dtype.kind == "O"
    tensors = {"torch": "Tensor", "jaxlib": "ArrayImpl", "tensorflow": "EagerTensor"}
    return any(is_from(value, *tensor) for tensor in tensors.items())


def _is_array(value: object) -> bool:
    return type(value).__name__ == "ndarray" and type(value).__module__ == "numpy"


def is_media_file(name: str) -> bool:
    """Return whether a file name is that of an image or a sound for models."""
    return name.lower().endswith(
        (".png", ".jpg", ".jpeg", ".webp", ".heic", ".wav", ".mp3")
    )


_SCHEMA_WORDS = frozenset({"type", "properties", "$ref", "enum", "anyOf", "oneOf"})


def is_schema(value: object) -> bool:
    """Return whether a value describes replies: a type, or a JSON Schema."""
    if is_a(value, dict):
        assert isinstance(value, dict)
        return bool(_SCHEMA_WORDS & dict.keys(value))
    if is_a(value, type):
        assert isinstance(value, type)
        names = ("__annotations__", "__annotate_func__", "__annotate__")
        has_fields = any(
            name in _class_dict(one) for one in _mro(value) for name in names
        )
        return has_fields or Enum in _mro(value)
    return (
        is_a(value, (GenericAlias, UnionType))
        or type(value).__module__ == "typing"
        or is_from(value, "pydantic", "TypeAdapter")
    )


def is_question(value: object) -> bool:
    """Return whether a value can be the answers of a decision."""
    sized: Any = value
    if is_a(value, (dict, list, tuple)):
        return len(sized) > 0
    return any(is_from(value, "ollama_magic", n) for n in ("Choice", "YesNo", "Score"))


def describe(value: object) -> str:
    """Return the type of a value and its size, in a few words."""
    name = type(value).__name__
    sized: Any = next((k for k in (list, tuple, dict, set) if is_a(value, k)), None)
    table: Any = value
    if value is UNKNOWN:
        name = ""
    elif type(value) in {bool, float, type(None)} or _is_short(value):
        name = f"{name}, {value!r}"
    elif is_a(value, str):
        name = f"{name}, {counted(str.__len__(table), 'character')}"
    elif sized is not None:
        name = f"{name} of {sized.__len__(value):,}"
    elif _is_table(value) or _is_array(value):
        name = f"{name}, {' × '.join(map(str, table.shape))}"
    elif is_tool(value):
        name = signature(value)
    elif is_a(value, type):
        name = ", ".join(_fields(table)) or "class"
    return name


def _fields(kind: type) -> list[str]:
    found = (_class_dict(one).get("__annotations__") for one in reversed(_mro(kind)))
    names = [name for one in found if type(one) is dict for name in one]
    return [name for name in dict.fromkeys(names) if name[:1] != "_"]


def signature(function: object) -> str:
    """Return the parameters of a Python function, as far as its code names them."""
    code = code_of(function)
    if code is None:
        return type(function).__name__
    count = code.co_argcount + code.co_kwonlyargcount
    names = list(code.co_varnames[:count])
    is_plain = is_a(function, FunctionType)
    return f"({', '.join(names if is_plain else names[1:])})"
