"""``--schema``: what a reply has to look like, in any of the ways to say it.

Knows the forms: a name of the notebook, JSON, a file, and the short form
``name, age int, tags: list of keywords``. The result is one JSON Schema.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ollama_magic.errors import PromptError

_TYPES = {kind.__name__: kind for kind in (str, int, float, bool)}
_FIELD = re.compile(
    r"(?P<name>[^\W\d]\w*)(?:\s+(?P<type>[^:\s]+))?\s*(?::(?P<text>.*))?"
)
_CHOICES = re.compile(r"\s*one of\s+(.+)", re.I | re.S)
_LIST = re.compile(r"\s*list of\s+(\w+)\s*(.*)", re.I | re.S)
_EXAMPLE = "--schema 'name, age int, tags: list of keywords'"


@dataclass(frozen=True)
class Schema:
    """What a reply has to look like."""

    json: Json
    """The JSON Schema, as it is sent."""
    kind: Any = None
    """The class that the reply becomes; None: plain dicts and lists."""

    def make(self, value: Any) -> Any:  # noqa: ANN401  (any JSON value)
        """Return a valid JSON value as what the user wants of it."""
        return value if self.kind is None else build(self.kind, value)


def read_schema(spec: object, namespace: Mapping[str, Any] | None = None) -> Schema:
    """Return the schema that ``spec`` says.

    Parameters
    ----------
    spec
        A text (see the notes), a dict that is a JSON Schema, or a class: a dataclass, a
        TypedDict, a pydantic model, or ``list`` of one.
    namespace
        Where names are looked up.

    Raises
    ------
    PromptError
        It is none of these, with what to type.

    Notes
    -----
    The short form is fields with commas between them, each ``NAME [TYPE] [: TEXT]``.
    TYPE is ``str`` (also without a word), ``int``, ``float`` or ``bool``. TEXT tells
    the model what is meant; ``list of ...`` makes it a list (of numbers, when the next
    word is a type), and ``one of a, b, c`` a choice of these, which ends the commas:
    fields after it follow a ``;``. Brackets around it all ask for a list of such.

    Examples
    --------
    >>> read_schema("name, age int").json["properties"]
    {'name': {'type': 'string'}, 'age': {'type': 'integer'}}
    >>> read_schema("[label: one of pos, neg]").json["items"]["properties"]
    {'label': {'enum': ['pos', 'neg']}}
    """
    if isinstance(spec, str):
        return _of_text(spec.strip(), namespace or {})
    if isinstance(spec, Mapping):
        return Schema(dict(spec))
    (inner,) = get_args(spec) if get_origin(spec) is list else (spec,)
    if not is_described(inner):
        raise _unusable(str(spec), f"a {type(spec).__name__} describes no JSON")
    try:
        return Schema(schema_of(spec), spec)
    except UnknownTypeError as error:
        raise _unusable(getattr(inner, "__name__", str(spec)), str(error)) from error


def _of_text(text: str, namespace: Mapping[str, Any]) -> Schema:
    if text.isidentifier():
        if text not in namespace:
            raise _unusable(
                text,
                f"there is no variable {text!r} in this notebook",
                f"for one field of that name: --schema '{text} str'",
            )
        return read_schema(namespace[text], namespace)
    if text.startswith("{"):
        return _of_json(text, text)
    path = Path(text).expanduser()
    if text.endswith(".json") or _is_file(path):
        try:
            return _of_json(path.read_text("utf-8"), text)
        except (OSError, UnicodeDecodeError) as error:
            raise _unusable(text, str(error)) from error
    return Schema(_short_form(text))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or no name of a file at all
        return False


def _of_json(text: str, shown: str) -> Schema:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _unusable(shown, f"it is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise _unusable(shown, "a JSON Schema is an object")
    return Schema(value)


# -- the short form ------------------------------------------------------------


def _short_form(text: str) -> Json:
    if text.startswith("[") and text.endswith("]"):
        return {"type": "array", "items": _short_form(text[1:-1].strip())}
    properties: Json = {}
    for part in _parts(text):
        match = _FIELD.fullmatch(part)
        if match is None:
            raise _unusable(text, f"{part!r} is no field: NAME [TYPE] [: TEXT]")
        if match["name"] in properties:
            raise _unusable(text, f"the field {match['name']} is there twice")
        properties[match["name"]] = _field(text, match)
    if not properties:
        raise _unusable(text, "it has no fields")
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _parts(text: str) -> list[str]:
    """Return the fields; the commas of a choice belong to it."""
    parts: list[str] = []
    for group in re.split(r"[;\n]", text):
        for piece in group.split(","):
            head = parts[-1].partition(":")[2] if parts and parts[-1] else ""
            if _CHOICES.match(head) and piece is not group.split(",")[0]:
                parts[-1] += f",{piece}"
            else:
                parts.append(piece.strip())
    return [part for part in parts if part]


def _field(spec: str, match: re.Match[str]) -> Json:
    kind, text = match["type"] or "str", (match["text"] or "").strip()
    if kind not in _TYPES:
        raise _unusable(
            spec, f"{kind!r} is no type; there are {', '.join(_TYPES)}", _EXAMPLE
        )
    choices, several = _CHOICES.fullmatch(text), _LIST.fullmatch(text)
    if choices:
        values = [one.strip() for one in choices[1].split(",") if one.strip()]
        return {"enum": [_TYPES[kind](one) for one in values]}
    if several:
        inner = _TYPES.get(several[1], _TYPES[kind])
        return {"type": "array", "items": dict(PLAIN[inner]), "description": text}
    described = {"description": text} if text else {}
    return {**PLAIN[_TYPES[kind]], **described}


def _unusable(spec: str, why: str, next_step: str = _EXAMPLE) -> PromptError:
    shown = spec if len(spec) <= 80 else f"{spec[:79]}…"
    return PromptError(
        f"The schema {shown!r} cannot be used.", why=why, next_step=next_step
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
