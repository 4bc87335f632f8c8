"""``--schema``: what a reply has to look like, in any of the ways to say it.

Knows the forms: a name of the notebook, JSON, a file, and the short form
``name, age int, tags: list of keywords``. The result is one JSON Schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from ollama_magic.errors import PromptError
from ollama_magic.generation.schema_types import (
    PLAIN,
    Json,
    UnknownTypeError,
    build,
    is_described,
    schema_of,
)

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
