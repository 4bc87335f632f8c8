"""Checks JSON Schemas, checks values against them, and finds the JSON in a reply.

No reference of a schema is ever fetched, neither from the network nor from a file:
``check_schema`` rejects references to anything outside of the schema, and validators
look nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from ollama_magic.client.types import MAX_DEPTH, is_too_deep
from ollama_magic.errors import PromptError, quoted
from ollama_magic.render.code import CodeBlock, code_blocks

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


Json = dict[str, Any]
MAX_FAULTS = 5
"""How many faults of a value an error lists."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_NESTED = "it is nested too deeply, or refers to itself endlessly"


class MismatchError(ValueError):
    """A JSON value that does not match its schema or its type."""

    def __init__(self, found: Sequence[tuple[str, str]]) -> None:
        lines = [f"at {place or 'the top level'}: {why}" for place, why in found]
        super().__init__("; ".join(lines))
        self.faults = found
        """Places, as names and indices with slashes between them, and reasons."""


def check_schema(schema: Json) -> None:
    """Check a JSON Schema before it is sent.

    Raises
    ------
    PromptError
        It is invalid, nested too deeply, or refers to what is not in it; with the
        place and the reason.
    """
    from jsonschema.exceptions import SchemaError

    if is_too_deep(schema):
        raise PromptError(
            "The schema is nested too deeply.",
            why=f"it has more than {MAX_DEPTH} levels of objects and lists",
            next_step="define inner parts under $defs, and refer to them: "
            '{"$ref": "#/$defs/NAME"}',
        )
    try:
        _check_part(schema)
        for part in _referenced_parts(schema):
            _check_part(part)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "the top level"
        raise PromptError(
            "The schema is not a valid JSON Schema.",
            why=f"at {where}: {error.message}"[:300],
            next_step="correct it there; https://json-schema.org/understanding-json-"
            "schema",
        ) from error


def _check_part(schema: object) -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(cast("Json", schema))  # it may be anything


def _referenced_parts(schema: Json) -> Iterator[object]:
    """Yield each part of a schema that a reference points to.

    A reference may point to where no schema is expected, as in OpenAPI documents, so
    references are followed from there too.
    """
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    # Besides Unresolvable: not an address, or one into a number or a string.
    nowhere = (Unresolvable, ValueError, LookupError, TypeError)
    root = DRAFT202012.create_resource(schema)
    waiting = [(Registry().resolver_with_root(root), root)]
    seen = {id(schema)}
    while waiting:
        resolver, resource = waiting.pop()
        for reference in _references(resource.contents):
            try:
                found = resolver.lookup(reference)
            except nowhere as error:
                raise _foreign(reference) from error
            if id(found.contents) not in seen:
                seen.add(id(found.contents))
                yield found.contents
                part = DRAFT202012.create_resource(found.contents)
                waiting.append((found.resolver, part))
        waiting += [
            (resolver.in_subresource(inner), inner) for inner in resource.subresources()
        ]


def _references(contents: object) -> list[str]:
    if not isinstance(contents, dict):
        return []
    found = [contents.get(name) for name in _REFERENCES]
    return [reference for reference in found if isinstance(reference, str)]


def _foreign(reference: str) -> PromptError:
    return PromptError(
        f"The schema refers to {quoted(reference, limit=200)}, but does not contain "
        "it.",
        why="references are never fetched, neither from an address nor from a file",
        next_step="put that part under $defs of the schema, and refer to it: "
        '{"$ref": "#/$defs/NAME"}',
    )


def faults(value: Any, schema: Json) -> list[tuple[str, str]]:  # noqa: ANN401
    """Return where a JSON value does not match a schema, and why; a few of the faults.

    A place is names and indices with slashes between them; empty for the value itself.
    """
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        errors = sorted(_validator(schema).iter_errors(value), key=str)
    except RecursionError:
        return [("", _NESTED)]
    except Unresolvable as missing:
        return [("", f"a reference in its schema cannot be resolved: {missing}")]
    found = []
    for error in errors[:MAX_FAULTS]:
        nearest = best_match([error])
        several = [one.message for one in nearest.context or () if not one.path]
        why = " and ".join(several) or nearest.message
        found.append(("/".join(map(str, nearest.absolute_path)), why))
    return found


def _validator(schema: Json) -> Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    # NB: the registry that jsonschema uses by default fetches what it does not know.
    return Draft202012Validator(schema, registry=Registry())


# -- the JSON in the text of a reply ------------------------------------------------

_END_OF_THINKING = "</think>"
_BEGIN = re.compile(
    r"\{\s*[\"}]|\[\s*[\"{]|^[ \t]*(?P<numbers>\[)\s*[\[\]\d-]", re.MULTILINE
)
"""Where an object or a list begins; ``[1]`` in a line of text is a footnote."""
_REST_OF_LINE = re.compile(r"[ \t]*(?:\r?\n|$)")
_DECODER = json.JSONDecoder()


def read_data(text: str) -> object:
    r"""Return the JSON value of a reply, even if the model writes text around it.

    Servers and models that ignore ``format`` put JSON into a fence, or between
    sentences. If a text has several values, none is used.

    Raises
    ------
    ValueError
        The text has no JSON value, or several; with the reason.

    Examples
    --------
    >>> read_data('Here you are:\n```json\n{"a": 1}\n```')
    {'a': 1}
    """
    try:
        return _loaded(text)
    except ValueError as error:
        found = _values_in(text.rpartition(_END_OF_THINKING)[2])
        if len(found) > 1:
            raise ValueError(
                f"it contains {len(found)} JSON values instead of one"
            ) from None
        if not found:
            raise error from None
        return found[0]


def _values_in(text: str) -> list[object]:
    """Return the values of JSON in a text; raises ValueError when one is broken."""
    text = text.strip()
    blocks = [block for block in code_blocks(text) if _may_be_json(block)]
    if blocks:
        return [_loaded(block.source) for block in blocks]
    try:
        return [_loaded(text)]
    except ValueError:
        return list(_values_in_prose(text))


def _may_be_json(block: CodeBlock) -> bool:
    is_said = block.language.lower().startswith("json")
    return is_said or (not block.language and block.source.lstrip()[:1] in {"{", "["})


def _values_in_prose(text: str) -> list[object]:
    found: list[object] = []
    position = 0
    while match := _BEGIN.search(text, position):
        begin = match.start("numbers") if match["numbers"] else match.start()
        try:
            value, position = _DECODER.raw_decode(text, begin)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not match["numbers"] or _REST_OF_LINE.match(text, position):
            found.append(value)
    return found


def _loaded(text: str) -> object:
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value
