"""The schema of a reply: every way to write one, and the value that a reply becomes.

Cells (``--schema``), ``ask`` and ``map_prompts`` read their schemas here. A type
decides by itself what it accepts, so a reply to it is validated by pydantic alone, and
a reply to a JSON Schema by ``jsonschema``.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import re
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from ollama_magic.client.files import read_file
from ollama_magic.client.json_values import MAX_DEPTH, is_too_deep
from ollama_magic.client.types import ChatRequest, Format, Request
from ollama_magic.errors import PromptError, quoted
from ollama_magic.generation.python_types import (
    UnsupportedTypeError,
    adapter_for,
    json_schema_of,
    load_as,
)
from ollama_magic.generation.response import Response
from ollama_magic.generation.schema_check import (
    Json,
    MismatchError,
    check_schema,
    faults,
    has_keyword,
    read_data,
    without_thinking,
)
from ollama_magic.generation.values import error_text, is_file, unreadable_file
from ollama_magic.history.turns import Message

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_MAX_BYTES = 1_000_000
_TYPES = {"str": str, "int": int, "float": float, "bool": bool}
_JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(
    r"(?P<name>[^\W\d]\w*)(?:\s+(?P<type>[^:\s]+))?\s*(?::(?P<text>.*))?"
)
_CHOICES = re.compile(r"\s*one of\s+(.+)", re.I | re.S)
_LIST = re.compile(r"\s*list of\s+(\w+)\s*(.*)", re.I | re.S)
_EXAMPLE = "--schema 'name, age int, tags: list of keywords'"
_REPEATED = ("options", "format", "think", "keep_alive", "logprobs", "top_logprobs")
_BUILT_IN = {one.__name__: one for one in (str, int, float, bool, list, dict, tuple)}


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

    def read(self, text: str) -> Any:  # noqa: ANN401  (the user's type)
        """Return the value of a reply.

        If the schema is that of a text, such as one of several labels, the reply need
        not be JSON: models that are not held to JSON leave the quotes out.

        Raises
        ------
        MismatchError
            The value does not match, or a validator rejects it.
        ValueError
            The text has no JSON value, or several.
        """
        try:
            return self.load(read_data(text, self._matches))
        except ValueError:
            if _takes_text(self.json):
                with suppress(MismatchError):
                    return self.load(without_thinking(text))
            raise

    def _matches(self, value: object) -> bool:
        with suppress(MismatchError):
            self.load(value)
            return True
        return False


def _takes_text(schema: Json) -> bool:
    is_text = schema.get("type") == "string" or "enum" in schema
    return is_text or any(map(_takes_text, schema.get("anyOf", ())))


def what_is_wrong(text: str, schema: Schema) -> str:
    """Return where and why a reply does not match its schema; empty if it does."""
    try:
        schema.read(text)
    except MismatchError as error:
        return str(error)
    except json.JSONDecodeError as error:
        return f"it is not JSON: {error}" if error.pos else "it is not JSON"
    except ValueError as error:
        return str(error)
    return ""


def mismatch_notice(text: str, schema: Schema, done_reason: str) -> str:
    """Return the notice about a reply that does not match its schema, else nothing."""
    wrong = what_is_wrong(text, schema)
    if wrong and done_reason == "length":
        return (
            "[cut off at a length limit, so it is not valid JSON: try -o num_predict N]"
        )
    return f"[does not match its schema: {wrong}]" if wrong else ""


def with_format_in_words(prompt: str, format: Format | None) -> str:
    """Return a prompt that also says in words what a format asks for.

    Ollama's cloud ignores ``format`` (ollama#12362).
    """
    return prompt if format is None else f"{prompt}\n\n{_in_words(format)}"


def _in_words(format: Format) -> str:
    if isinstance(format, str):
        return "Answer with JSON, and nothing else."
    return (
        "Answer with JSON that matches this JSON Schema, and nothing else:\n"
        f"{json.dumps(format, ensure_ascii=False)}"
    )


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
        keys = ", ".join(f"{key}: …" for key in spec)
        return _from_mapping(dict(spec), f"{{{keys}}}")
    if spec is None:
        raise _unusable("None", "it is not a type, and would match only null")
    try:
        adapter = adapter_for(spec)
        return _checked(Schema(json_schema_of(adapter), adapter))
    except UnsupportedTypeError as error:
        shown = getattr(spec, "__name__", None) or str(spec)
        step = f"use a dataclass, a pydantic model, Literal['a', 'b'] …; or {_EXAMPLE}"
        raise _unusable(shown, str(error), step) from error


def _checked(schema: Schema) -> Schema:
    check_schema(schema.json)
    return schema


def _from_text(text: str, namespace: Mapping[str, Any]) -> Schema:
    if text in namespace:  # its value may be a text, but not its own name again
        others = {name: one for name, one in namespace.items() if name != text}
        return read_schema(namespace[text], others)
    if text.startswith("{"):
        return _from_json(text, text)
    if text.endswith(".json") or is_file(text):
        try:
            data = read_file(Path(text).expanduser(), _MAX_BYTES)
            if len(data) > _MAX_BYTES:
                raise _unusable(text, "it is larger than 1 MB")
            return _from_json(data.decode("utf-8-sig"), text)
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            raise unreadable_file(text, error) from error
    if (tree := _type_tree(text)) is not None:
        return read_schema(_type_named(tree, namespace))
    return Schema(_short_form(text))


def _type_tree(text: str) -> ast.expr | None:
    """Return the tree of ``list[Person]``, ``Person | None`` or ``module.Person``."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names_a_type = isinstance(
        tree, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp
    )
    return tree if names_a_type else None


def _type_named(tree: ast.expr, namespace: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the type that a tree names; nothing is called or evaluated."""
    typing_names = {name: getattr(typing, name) for name in typing.__all__}
    try:
        return _value_of(tree, {**typing_names, **_BUILT_IN, **namespace})
    except PromptError:
        raise
    except Exception as error:  # the names are the user's, and may be anything
        raise _unusable(ast.unparse(tree), error_text(error)) from error


def _value_of(node: ast.expr, names: Mapping[str, Any]) -> Any:  # noqa: ANN401
    match node:
        case ast.Constant(value=constant):
            return constant
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Attribute(value=owner, attr=name):
            return getattr(_value_of(owner, names), name)
        case ast.Subscript(value=owner, slice=key):
            return _value_of(owner, names)[_value_of(key, names)]
        case ast.Tuple(elts=parts):
            return tuple(_value_of(part, names) for part in parts)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_value_of(left, names), _value_of(right, names)]  # noqa: UP007
    shown = ast.unparse(node)
    if isinstance(node, ast.Name):
        why = f"there is no variable {shown!r} in this notebook"
        step = f"define it in a cell above; for a field: --schema '{shown} str'"
        raise _unusable(shown, why, step)
    step = "define the type in a cell above, and write its name"
    raise _unusable(
        shown, "a type on the line can have only names, brackets and |", step
    )


def _from_json(text: str, shown: str) -> Schema:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unusable(shown, f"it is not JSON: {error}") from error
    if is_too_deep(value):
        raise _unusable(shown, f"it is nested more than {MAX_DEPTH} levels deep")
    if not isinstance(value, dict):
        raise _unusable(shown, "a JSON Schema must be an object")
    return _from_mapping(value, shown)


def _from_mapping(value: Json, shown: str) -> Schema:
    if value and not has_keyword(value):
        why = 'it has no keyword of JSON Schema, such as "type" or "properties"'
        raise _unusable(shown, why)
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


# -- values of types ------------------------------------------------------------


@functools.cache
def _any_adapter() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Any)


def plain(value: Any) -> Any:  # noqa: ANN401  (any data)
    """Return data with dicts in place of instances of classes, at every depth."""
    return _any_adapter().dump_python(value, by_alias=True)


def with_names(value: object) -> Any:  # noqa: ANN401  (any data)
    """Return plain data, in which a named tuple is a dict of its fields."""
    record = record_of(value)
    return plain(value) if record is None else record


def record_of(value: object) -> Mapping[str, Any] | None:
    """Return the fields of an instance of a class, by the names of its schema.

    None if it is not an instance of a dataclass, of a pydantic model with fields, or
    of a class of named tuples.
    """
    if isinstance(value, type):
        return None
    if hasattr(value, "_asdict"):
        return plain(value._asdict())  # type: ignore[no-any-return]
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
        asked = _in_words(self._schema.json)
        advice = f"That does not match the JSON Schema: {wrong}. {asked}"
        return ChatRequest(
            request.model,
            [
                *request.as_messages(),
                {"role": "assistant", "content": response.text},
                {"role": "user", "content": advice},
            ],
            stream=request.stream,
            **{name: getattr(request, name) for name in _REPEATED},
        )
