"""The schema of a reply: every way to write one, and the value that a reply becomes.

Cells (``--schema``), ``ask`` and ``map_prompts`` read their schemas here, and tools the
types of their parameters. Python's types go through pydantic, which is imported at the
first of them: a type decides by itself what it accepts, so a reply to it is validated
by pydantic alone, and a reply to a JSON Schema by ``jsonschema``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from ollama_magic.client.types import ChatRequest, Request
from ollama_magic.errors import PromptError, quoted
from ollama_magic.generation.response import Response
from ollama_magic.generation.schema_check import (
    MAX_FAULTS,
    Json,
    MismatchError,
    check_schema,
    faults,
    read_data,
)
from ollama_magic.generation.values import error_text, is_file
from ollama_magic.history.turns import Message

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError
    from pydantic.json_schema import GenerateJsonSchema

_TYPES = {"str": str, "int": int, "float": float, "bool": bool}
_JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(
    r"(?P<name>[^\W\d]\w*)(?:\s+(?P<type>[^:\s]+))?\s*(?::(?P<text>.*))?"
)
_CHOICES = re.compile(r"\s*one of\s+(.+)", re.I | re.S)
_LIST = re.compile(r"\s*list of\s+(\w+)\s*(.*)", re.I | re.S)
_EXAMPLE = "--schema 'name, age int, tags: list of keywords'"
_NEEDS_NEWER_TYPED_DICT = sys.version_info < (3, 12)


@dataclass(frozen=True)
class Schema:
    """What a reply has to match."""

    json: Json
    """The JSON Schema that is sent."""
    adapter: TypeAdapter[Any] | None = None
    """The Python type that a reply becomes; None for plain dicts and lists."""

    @property
    def fields(self) -> Sequence[str] | None:
        """The fields of the object that a reply is; None if it is not an object."""
        schema = self.json
        reference = schema.get("$ref", "")
        if isinstance(reference, str) and reference.startswith("#/$defs/"):
            schema = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
        if schema.get("type") != "object":
            return None
        return tuple(schema.get("properties", ())) or None

    def load(self, value: object) -> Any:  # noqa: ANN401  (the user's type)
        """Return a JSON value as the type of the schema.

        Raises
        ------
        MismatchError
            The value does not match, or a validator rejects it.
        """
        if self.adapter is not None:
            return load_as(self.adapter, value)
        if found := faults(value, self.json):
            raise MismatchError(found)
        return value


def what_is_wrong(text: str, schema: Schema) -> str:
    """Return where and why a reply does not match its schema; empty if it does."""
    try:
        value = read_data(text)
    except ValueError as error:
        return f"it is not JSON: {error}"
    try:
        schema.load(value)
    except ValueError as error:
        return str(error)
    return ""


def read_schema(spec: object, namespace: Mapping[str, Any] | None = None) -> Schema:
    """Return the schema that ``spec`` describes.

    Parameters
    ----------
    spec
        A text (see the notes), a dict that is a JSON Schema, or a type: a dataclass, a
        TypedDict, a pydantic model, ``list[str]``, ``Literal["pos", "neg"]``, an enum
        or anything else that pydantic can describe; also a ``TypeAdapter``.
    namespace
        Where names are looked up.

    Raises
    ------
    PromptError
        ``spec`` is not a usable schema; says what to type instead.

    Notes
    -----
    The short form is a list of fields with commas between them, each
    ``NAME [TYPE] [: TEXT]``. TYPE is ``str`` (the default), ``int``, ``float`` or
    ``bool``. TEXT tells the model what is meant; ``list of ...`` makes the field a
    list (of numbers if the next word is a type), and ``one of a, b, c`` a choice,
    which takes the rest of the commas: end it with ``;`` before another field.
    Brackets around the whole ask for a list of such objects.

    Examples
    --------
    >>> read_schema("name, age int").json["properties"]
    {'name': {'type': 'string'}, 'age': {'type': 'integer'}}
    >>> read_schema("[label: one of pos, neg]").json["items"]["properties"]
    {'label': {'enum': ['pos', 'neg']}}
    """
    if isinstance(spec, str):
        return _from_text(spec.strip(), namespace or {})
    if isinstance(spec, Mapping):
        return _checked(Schema(dict(spec)))
    try:
        adapter = adapter_for(spec)
        return _checked(Schema(json_schema_of(adapter), adapter))
    except UnsupportedTypeError as error:
        shown = getattr(spec, "__name__", None) or str(spec)
        step = f"use a dataclass, a pydantic model, list[str] or similar; or {_EXAMPLE}"
        raise _unusable(shown, str(error), step) from error


def _checked(schema: Schema) -> Schema:
    check_schema(schema.json)
    return schema


def _from_text(text: str, namespace: Mapping[str, Any]) -> Schema:
    if text.isidentifier():
        if text not in namespace:
            raise _unusable(
                text,
                f"there is no variable {text!r} in this notebook",
                f"for one field of that name: --schema '{text} str'",
            )
        return read_schema(namespace[text], namespace)
    if text.startswith("{"):
        return _from_json(text, text)
    if text.endswith(".json") or is_file(text):
        try:
            return _from_json(Path(text).expanduser().read_text("utf-8"), text)
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            raise _unusable(text, str(error)) from error
    return Schema(_short_form(text))


def _from_json(text: str, shown: str) -> Schema:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _unusable(shown, f"it is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _unusable(shown, "a JSON Schema must be an object")
    return _checked(Schema(value))


def _unusable(spec: str, why: str, next_step: str = _EXAMPLE) -> PromptError:
    return PromptError(
        f"The schema {quoted(spec, limit=80)!r} cannot be used.",
        why=quoted(why, limit=300),
        next_step=next_step,
    )


# -- the short form ------------------------------------------------------------


def _short_form(text: str) -> Json:
    if text.startswith("[") and text.endswith("]"):
        return {"type": "array", "items": _short_form(text[1:-1].strip())}
    properties: Json = {}
    for part in _split_fields(text):
        match = _FIELD.fullmatch(part)
        if match is None:
            raise _unusable(
                text, f"{part!r} is not a field; write NAME [TYPE] [: TEXT]"
            )
        if match["name"] in properties:
            raise _unusable(text, f"the field {match['name']} occurs twice")
        properties[match["name"]] = _field(text, match)
    if not properties:
        raise _unusable(text, "it has no fields")
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _split_fields(text: str) -> list[str]:
    """Split a short form into its fields; a choice keeps its commas."""
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
        why = f"{kind!r} is not a type; use {', '.join(_TYPES)}"
        raise _unusable(spec, why)
    choices, several = _CHOICES.fullmatch(text), _LIST.fullmatch(text)
    if choices:
        values = [one.strip() for one in choices[1].split(",") if one.strip()]
        try:
            return {"enum": [_TYPES[kind](one) for one in values]}
        except ValueError as error:
            raise _unusable(spec, f"a choice is not of type {kind}: {error}") from error
    if several:
        items = {"type": _JSON_TYPES.get(several[1], _JSON_TYPES[kind])}
        return {"type": "array", "items": items, "description": text}
    described = {"description": text} if text else {}
    return {"type": _JSON_TYPES[kind], **described}


# -- Python's types ------------------------------------------------------------


class UnsupportedTypeError(TypeError):
    """A type that cannot be described as JSON."""


def adapter_for(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401  (any annotation)
    """Return pydantic's adapter of a type.

    Raises
    ------
    UnsupportedTypeError
        JSON has no such type, or a name in it is not defined.
    """
    from pydantic import TypeAdapter

    if inspect.isroutine(kind) or isinstance(kind, functools.partial):
        # NB: pydantic would describe its parameters, and call it with each reply.
        raise UnsupportedTypeError("it is a function, not a type")
    try:
        if isinstance(kind, TypeAdapter):
            adapter = kind
        else:
            adapter = TypeAdapter(_with_newer_typed_dicts(kind, {}))
        adapter.rebuild(raise_errors=True)  # says which name is not defined
    except Exception as error:  # annotations are the user's code
        raise UnsupportedTypeError(_first_line(error)) from error
    return adapter


def json_schema_of(adapter: TypeAdapter[Any]) -> Json:
    """Return the JSON Schema of a type, without titles that only repeat its names.

    Raises
    ------
    UnsupportedTypeError
        JSON has no such type.
    """
    try:
        schema = adapter.json_schema(schema_generator=_schema_generator())
        json.dumps(schema)  # the values of an enum may be anything
    except Exception as error:  # parts of it may be the user's code
        raise UnsupportedTypeError(_first_line(error)) from error
    return schema


@functools.cache
def _schema_generator() -> type[GenerateJsonSchema]:
    from pydantic.json_schema import GenerateJsonSchema

    class Untitled(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401
            return False

        def emit_warning(self, kind: Any, detail: str) -> None:  # noqa: ANN401
            """Ignore defaults that are not JSON: they are left out."""

        def set_schema(self, schema: Any) -> Json:  # noqa: ANN401
            described = super().set_schema(schema)
            described.pop("uniqueItems", None)  # duplicates do no harm
            return described

    return Untitled


def _first_line(error: Exception) -> str:
    """Return the first line of a pydantic error, without its advice about models."""
    line = str(error).partition("\n")[0].partition(". Set `arbitrary")[0]
    return line.replace("Unable to generate pydantic-core schema", "JSON has no type")


def _with_newer_typed_dicts(kind: Any, known: dict[Any, Any]) -> Any:  # noqa: ANN401
    """Return a type with each TypedDict of ``typing`` as one of ``typing_extensions``.

    Before Python 3.12 pydantic takes only these.
    """
    if not _NEEDS_NEWER_TYPED_DICT:
        return kind
    if typing.is_typeddict(kind) and type(kind).__module__ == "typing":
        if kind not in known:
            import typing_extensions

            made: Any = typing_extensions.TypedDict(kind.__name__, {})  # type: ignore[misc, operator, unused-ignore]
            known[kind] = made
            hints = typing.get_type_hints(kind, include_extras=True)
            made.__annotations__ = {
                name: _with_newer_typed_dicts(hint, known)
                for name, hint in hints.items()
            }
            for name in ("__required_keys__", "__optional_keys__", "__doc__"):
                setattr(made, name, getattr(kind, name))
        return known[kind]
    parts = get_args(kind)
    newer = tuple(_with_newer_typed_dicts(part, known) for part in parts)
    if all(new is old for new, old in zip(newer, parts, strict=True)):
        return kind
    origin = get_origin(kind)
    if origin is Annotated:
        return Annotated.__class_getitem__((newer[0], *kind.__metadata__))
    is_union = origin in {Union, UnionType}
    return Union[newer] if is_union else origin[newer]  # noqa: UP007  (of any length)


def load_as(adapter: TypeAdapter[Any], value: object) -> Any:  # noqa: ANN401
    """Return a JSON value as a type; it is validated as JSON, also in strict models.

    Raises
    ------
    MismatchError
        The type or one of its validators rejects the value.
    """
    from pydantic import ValidationError

    try:
        return adapter.validate_json(json.dumps(value))
    except ValidationError as error:
        raise MismatchError(_faults_of(error)) from error
    except Exception as error:  # a validator is the user's code
        raise MismatchError([("", error_text(error))]) from error


def _faults_of(error: ValidationError) -> list[tuple[str, str]]:
    return [
        (
            "/".join(map(str, one["loc"])),
            re.sub(r"^(Value error|Assertion failed), ", "", one["msg"]),
        )
        for one in error.errors(include_url=False)[:MAX_FAULTS]
    ]


@functools.cache
def _any_adapter() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Any)


def plain(value: Any) -> Any:  # noqa: ANN401  (any data)
    """Return data with dicts in place of instances of classes, at every depth."""
    return _any_adapter().dump_python(value, by_alias=True)


def record_of(value: object) -> Mapping[str, Any] | None:
    """Return the fields of an instance of a class, by the names of its schema.

    None if it is not an instance of a dataclass or of a pydantic model with fields.
    """
    if isinstance(value, type):
        return None
    if not (hasattr(value, "model_dump") or dataclasses.is_dataclass(value)):
        return None
    dumped = plain(value)
    return dumped if isinstance(dumped, dict) else None


# -- one more request ------------------------------------------------------------


class Repair:
    """Sends one more request if a reply does not match its schema; it says why.

    A reply that was cut off at a length limit is not repaired: it would be cut again.
    """

    steps: tuple[Message, ...] = ()
    """Empty: the turn is kept as if the first reply had been right."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.notes: Sequence[str] = ()
        """Notes for the footer."""

    def next_request(self, request: Request, response: Response) -> Request | None:
        """Return the second request, or None."""
        if self.notes or response.done_reason == "length":
            return None
        wrong = what_is_wrong(response.text, self._schema)
        if not wrong:
            return None
        self.notes = ("requested twice: the first reply did not match the schema",)
        advice = (
            f"That does not match the JSON Schema: {wrong}. "
            "Answer again, with JSON that matches this JSON Schema, and nothing else:\n"
            f"{json.dumps(self._schema.json, ensure_ascii=False)}"
        )
        return ChatRequest(
            request.model,
            [
                *request.as_messages(),
                {"role": "assistant", "content": response.text},
                {"role": "user", "content": advice},
            ],
            options=request.options,
            format=request.format,
            think=request.think,
            keep_alive=request.keep_alive,
            stream=request.stream,
        )
