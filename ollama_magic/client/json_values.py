"""Values of JSON from others, each read as one type, whatever is in it.

Responses and files are read with these functions: a value of another type is empty,
since no response is worth an exception for one wrong field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

JsonObject = Mapping[str, Any]

MAX_DEPTH = 50
"""Nested lists and objects that are accepted from others.

Notebook servers and ``nbformat`` fail on a notebook with about 500 levels.
"""


def is_too_deep(value: object) -> bool:
    """Return whether a JSON value has more than ``MAX_DEPTH`` levels."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for one in level for inner in _inner_values(one)]
        if not level:
            return False
    return True


def _inner_values(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def json_text(value: object) -> str:
    """Return a string as it is, and any other JSON value as its JSON text."""
    if isinstance(value, str):
        return value
    if value is None or is_too_deep(value):
        return ""
    return json.dumps(value, ensure_ascii=False)


def json_int(value: object) -> int:
    """Return the integer part of a number of 64 bits; 0 for anything else.

    Larger numbers fit into no float and no database.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 0
    return int(value) if abs(value) < 2**63 else 0  # neither NaN nor infinity is


def json_float(value: object) -> float | None:
    """Return a finite number; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def json_object(value: object) -> JsonObject:
    """Return a JSON object as it is; any other value is an empty one."""
    return value if isinstance(value, dict) else {}


def json_names(value: object) -> tuple[str, ...]:
    """Return a list of strings as a tuple; any other value is empty."""
    return tuple(map(json_text, value)) if isinstance(value, list) else ()


def json_ints(value: object) -> tuple[int, ...]:
    """Return a list of numbers as a tuple; any other value is empty."""
    return tuple(map(json_int, value)) if isinstance(value, list) else ()


def json_objects(value: object) -> tuple[JsonObject, ...]:
    """Return the objects of a JSON list; any other value is empty."""
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, dict))


_READERS: Mapping[str, Callable[[object], object]] = {
    "str": json_text,
    "int": json_int,
    "JsonObject": json_object,
    "tuple[str, ...]": json_names,
    "tuple[JsonObject, ...]": json_objects,
}


def json_fields(kind: type, *objects: JsonObject) -> dict[str, Any]:
    """Return the fields of a dataclass, each from the first object that has it.

    A field has the name of the JSON field plus its unit: ``size_bytes`` is ``size``.
    Fields of other types than those of the functions above are left out.
    """
    found = {}
    for one in fields(kind):
        if reader := _READERS.get(str(one.type)):
            name = one.name.removesuffix("_bytes").removesuffix("_ns")
            value = next((data[name] for data in objects if name in data), None)
            found[one.name] = reader(value)
    return found


def read_json(text: str) -> object:
    """Return the value of a JSON text; raises ``ValueError``, also for ``NaN``."""
    value: object = json.loads(text, parse_constant=_reject_constant)
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")
