"""Python's types as JSON Schemas, JSON values as their instances, and docstrings.

``schema`` reads the types of replies with it, and ``tools`` those of parameters and
what a docstring says about them. pydantic and docstring_parser are imported at the
first use.
"""

from __future__ import annotations

import decimal
import functools
import inspect
import itertools
import json
import re
import sys
import typing
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from ollama_magic.generation.schema_check import MAX_FAULTS, Json, MismatchError
from ollama_magic.generation.values import error_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError
    from pydantic.json_schema import GenerateJsonSchema

_NEEDS_NEWER_TYPED_DICT = sys.version_info < (3, 12)

_TYPED_PARAMETER = re.compile(
    r"^([ \t]*:(?:param|parameter|arg|argument|key|keyword)\s+)[^:\n]*?"
    r"(\*{0,2}\w+\s*:)",
    re.MULTILINE,
)
"""A parameter of Sphinx with its type, which may have spaces in it."""


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

        def decimal_schema(self, schema: Any) -> Json:  # noqa: ANN401
            """Ask for a number: no server can follow the pattern for one as text."""
            numbers: Any = {
                key: float(value) if isinstance(value, decimal.Decimal) else value
                for key, value in schema.items()
            }
            return self.float_schema(numbers)

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

    Before Python 3.12, pydantic accepts only these.
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
        found = f"a validator raised {error_text(error)}"
        raise MismatchError([("", found)]) from error


def _faults_of(error: ValidationError) -> list[tuple[str, str]]:
    return [
        (
            "/".join(map(str, one["loc"])),
            re.sub(r"^(Value error|Assertion failed), ", "", one["msg"]),
        )
        for one in error.errors(include_url=False)[:MAX_FAULTS]
    ]


# -- docstrings, in the styles of numpy, Google and Sphinx ----------------------------


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    r"""Return the first paragraph of a docstring, and the text about each parameter.

    Examples
    --------
    >>> read_docstring("Get the weather.\n\n:param city: its name")
    ('Get the weather.', {'city': 'its name'})
    """
    import docstring_parser

    # Types are left out: docstring_parser only reads types of one word.
    text = _TYPED_PARAMETER.sub(r"\1\2", text)
    try:
        found = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return _first_paragraph(inspect.cleandoc(text)), {}
    begin = found.short_description or ""
    if not found.blank_after_short_description:
        begin += f"\n{found.long_description or ''}"
    texts: dict[str, str] = {}
    for parameter in found.params:
        about = " ".join((parameter.description or "").split())
        for name in parameter.arg_name.split(",") if about else ():
            texts[name.strip().lstrip("*")] = about
    return _first_paragraph(begin), texts


def _first_paragraph(text: str) -> str:
    lines = itertools.takewhile(
        lambda line: line.strip() and not line.startswith(":"), text.splitlines()
    )
    return " ".join(" ".join(lines).split())
