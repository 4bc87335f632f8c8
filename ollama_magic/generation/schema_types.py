"""Python's own types as JSON Schema, and JSON values as their instances.

Knows dataclasses, TypedDicts, enums and pydantic's models, and the types of their
fields. Imports no pydantic: a model of it brings its own methods.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import (
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Json = dict[str, Any]

PLAIN: dict[Any, Json] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    dict: {"type": "object"},
    list: {"type": "array"},
    Any: {},
}


class UnknownTypeError(TypeError):
    """A type that JSON has no word for."""


def is_pydantic(kind: object) -> bool:
    """Tell whether this is a model of pydantic (version 2)."""
    return isinstance(kind, type) and hasattr(kind, "model_json_schema")


def is_described(kind: object) -> bool:
    """Tell whether :func:`schema_of` knows such a class as the whole answer."""
    is_class = isinstance(kind, type)
    is_data = is_class and dataclasses.is_dataclass(kind)
    return is_data or is_typeddict(kind) or is_pydantic(kind)


def schema_of(kind: Any) -> Json:  # noqa: ANN401  (any annotation)
    """Return the JSON Schema of a type.

    Raises
    ------
    UnknownTypeError
        It, or the type of a field of it, is none that JSON has.
    """
    if kind in PLAIN if isinstance(kind, typing.Hashable) else False:
        return dict(PLAIN[kind])
    if is_pydantic(kind):
        schema: Json = kind.model_json_schema()
        return schema
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if is_described(kind):
        return _object_of(kind)
    return _generic(kind)


def _object_of(kind: Any) -> Json:  # noqa: ANN401
    hints = get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        required = [f.name for f in dataclasses.fields(kind) if _is_required(f)]
        hints = {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    else:
        required = sorted(kind.__required_keys__, key=list(hints).index)
    properties = {}
    for name, hint in hints.items():
        try:
            properties[name] = schema_of(hint)
        except UnknownTypeError as error:
            raise UnknownTypeError(f"field {name}: {error}") from None
    return {"type": "object", "properties": properties, "required": required}


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _generic(kind: Any) -> Json:  # noqa: ANN401
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and arguments and Ellipsis not in arguments:
        places: Json = {"prefixItems": [schema_of(one) for one in arguments]}
        count = len(arguments)
        return {"type": "array", **places, "minItems": count, "maxItems": count}
    if origin is list or origin is set or origin is tuple:
        return {"type": "array", "items": schema_of(arguments[0]) if arguments else {}}
    if origin is dict:
        values = schema_of(arguments[1]) if arguments else {}
        return {"type": "object", "additionalProperties": values}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in {Union, types.UnionType}:
        return {"anyOf": [schema_of(one) for one in arguments]}
    name = getattr(kind, "__name__", None) or str(kind)
    raise UnknownTypeError(f"JSON has no type for {name}")


def build(kind: Any, value: Any) -> Any:  # noqa: ANN401  (any annotation, any value)
    """Return a JSON value as an instance of its type, as deep as types say so."""
    if is_pydantic(kind):
        return kind.model_validate(value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        known = {
            name: build(hints[name], one)
            for name, one in value.items()
            if name in hints
        }
        return kind(**known)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number: 3.0 is an integer
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return _build_one_of(arguments, value)
    return _build_items(origin, arguments, value)


def record_of(value: object) -> Mapping[str, Any] | None:
    """Return the fields of an instance of a class, by the names that its schema has.

    None when it is no instance of a dataclass or of a pydantic model with fields.
    """
    if isinstance(value, type):
        return None
    if hasattr(value, "model_dump"):
        dumped = value.model_dump(by_alias=True)
        return dumped if isinstance(dumped, dict) else None
    if not dataclasses.is_dataclass(value):
        return None
    return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}


def plain(value: Any) -> Any:  # noqa: ANN401  (any data)
    """Return data with dicts in place of instances of classes, at every depth."""
    record = record_of(value)
    if record is not None:
        value = record
    elif hasattr(value, "model_dump"):  # a RootModel of something else
        value = value.model_dump(by_alias=True)
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def _build_one_of(kinds: tuple[Any, ...], value: Any) -> Any:  # noqa: ANN401
    """Return a value as the first of several types that makes something of it."""
    if value is None:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1:
        return build(kinds[0], value)
    for kind in kinds:
        if dataclasses.is_dataclass(kind):
            names = {field.name for field in dataclasses.fields(kind)}
            if not isinstance(value, dict) or not names.issuperset(value):
                continue
        try:
            built = build(kind, value)
        except (TypeError, ValueError):  # pydantic's and an enum's are such
            continue
        if built is not value:
            return built
    return value


def _build_items(origin: Any, kinds: tuple[Any, ...], value: Any) -> Any:  # noqa: ANN401
    if not kinds:
        return value
    if origin is dict and isinstance(value, dict):
        return {name: build(kinds[1], one) for name, one in value.items()}
    if not isinstance(value, list):
        return value
    if origin is tuple and Ellipsis not in kinds:
        return tuple(map(build, kinds, value))
    if origin in {list, set, tuple}:
        return origin(build(kinds[0], one) for one in value)
    return value
