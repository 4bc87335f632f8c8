"""Checks JSON Schemas, checks values against them, and finds the JSON in a reply.

No reference of a schema is ever fetched, neither from the network nor from a file:
``check_schema`` rejects references to anything outside of the schema, and validators
look nowhere else.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from ollama_magic.client.json_values import MAX_DEPTH, is_too_deep, read_json
from ollama_magic.errors import PromptError, quoted
from ollama_magic.generation.schema_cost import (
    TOO_MUCH_WORK,
    Faults,
    SlowPatternError,
    TooMuchWorkError,
    faults_in_time,
    is_over_limit,
    limited_steps,
    validator,
)
from ollama_magic.render.code import CodeBlock, code_blocks

Json = dict[str, Any]
MAX_FAULTS = 5
"""How many faults of a value an error lists."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ALTERNATIVES = ("anyOf", "oneOf")
_MAX_PASSES = 50
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
        It is invalid, nested too deeply, refers to what is not in it, or no reply can
        match it; with the place and the reason.
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
        json.dumps(schema, allow_nan=False)
        _check_part(schema)
        parts = _parts(schema)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "the top level"
        raise _invalid(f"at {where}: {error.message}") from error
    except (RecursionError, OverflowError) as error:  # while compiling a pattern
        raise _invalid(f"a pattern in it is too complex: {error}") from error
    except (TypeError, ValueError) as error:
        raise _invalid(f"it is not JSON: {error}") from error
    ending = _growing(parts, _parts_of_the_same_value)
    if len(ending) < len(parts) or id(schema) not in _growing(parts, _required_parts):
        raise PromptError(
            "No value can match the schema.",
            why="a required part of it always contains itself",
            next_step="make that part optional: a field that may be left out, a list, "
            "or null",
        )


def _invalid(why: str) -> PromptError:
    return PromptError(
        "The schema is not a valid JSON Schema.",
        why=quoted(why, limit=300),
        next_step="correct it there; see https://json-schema.org/understanding-json-schema",
    )


def has_keyword(schema: Json) -> bool:
    """Return whether a keyword of JSON Schema limits what matches."""
    from jsonschema import Draft202012Validator

    return not Draft202012Validator.VALIDATORS.keys().isdisjoint(schema)


def _check_part(schema: object) -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(cast("Json", schema))  # it may be anything


class _Part(NamedTuple):
    """A part of a schema that is a schema, and the parts that it refers to."""

    contents: Any
    targets: Sequence[Any]


def _parts(schema: Json) -> Sequence[_Part]:
    """Return all parts of a schema, also those that only a reference points to.

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
    parts: dict[int, _Part] = {}
    checked = {id(schema)}
    while waiting:
        resolver, resource = waiting.pop()
        if id(resource.contents) in parts:
            continue
        targets = []
        for reference in _references(resource.contents):
            try:
                found = resolver.lookup(reference)
            except nowhere as error:
                raise _foreign(reference) from error
            if id(found.contents) not in checked:
                checked.add(id(found.contents))
                _check_part(found.contents)
            targets.append(found.contents)
            part = DRAFT202012.create_resource(found.contents)
            waiting.append((found.resolver, part))
        parts[id(resource.contents)] = _Part(resource.contents, targets)
        waiting += [
            (resolver.in_subresource(inner), inner) for inner in resource.subresources()
        ]
    return list(parts.values())


def _growing(
    parts: Sequence[_Part], needs: Callable[[_Part], Iterable[Any]]
) -> set[int]:
    """Return the ids of the parts that end, because all that they need ends.

    Of several alternatives in a list, one is enough.
    """
    found: set[int] = set()

    def ends(needed: Any) -> bool:  # noqa: ANN401
        if isinstance(needed, list):
            return any(map(ends, needed))
        return isinstance(needed, bool) or id(needed) in found

    count, passes = -1, 0
    while count < len(found):
        count, passes = len(found), passes + 1
        if passes > _MAX_PASSES:
            raise _invalid("its parts refer to each other in too long a row")
        for part in parts[:: 1 if passes % 2 else -1]:  # a row may be in any order
            if all(map(ends, needs(part))):
                found.add(id(part.contents))
    return found


def _parts_of_the_same_value(part: _Part) -> Iterator[Any]:
    """Yield the parts that check the same value as a part, not a value inside it."""
    yield from part.targets
    if isinstance(part.contents, dict):
        for name in _ALTERNATIVES:
            yield from part.contents.get(name, ())
        yield from part.contents.get("allOf", ())
        for name in ("not", "if", "then", "else"):
            yield part.contents.get(name, True)
        yield from part.contents.get("dependentSchemas", {}).values()


def _required_parts(part: _Part) -> Iterator[Any]:
    """Yield the parts that a value needs to match; a list for several alternatives."""
    yield from part.targets
    if isinstance(part.contents, dict):
        yield from part.contents.get("allOf", ())
        yield from (part.contents.get(name, True) for name in _ALTERNATIVES)
        if part.contents.get("type") == "object":
            known = part.contents.get("properties", {})
            for name in part.contents.get("required", ()):
                yield known.get(name, True)
        if part.contents.get("type") == "array" and part.contents.get("minItems"):
            yield part.contents.get("items", True)


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


def faults(value: Any, schema: Json, *, is_apart: bool = False) -> Faults:  # noqa: ANN401
    """Return where a JSON value does not match a schema, and why; a few of the faults.

    A place is names and indices with slashes between them; empty for the value itself.

    Parameters
    ----------
    is_apart
        Whether this process has a time limit; otherwise one is started for a pattern
        that may take long.
    """
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        with limited_steps(value, is_apart=is_apart):
            errors = sorted(validator(schema).iter_errors(value), key=str)
    except SlowPatternError:
        return faults_in_time(value, schema)
    except RecursionError:
        return [("", _NESTED)]
    except TooMuchWorkError:
        return [("", TOO_MUCH_WORK)]
    except Unresolvable as missing:
        return [("", f"a reference in its schema cannot be resolved: {missing}")]
    found = []
    for error in errors[:MAX_FAULTS]:
        nearest = best_match([error])
        several = [one.message for one in nearest.context or () if not one.path]
        why = " and ".join(several) or nearest.message
        found.append(("/".join(map(str, nearest.absolute_path)), why))
    return found


# -- values that small models write -----------------------------------------------

_MAX_LITERAL = 1_000
"""Characters of a Python value; keeps the parser away from its recursion limit."""


def as_meant(value: Any, schema: Json) -> Any:  # noqa: ANN401  (any JSON)
    """Return a value with the text in it parsed where its schema rejects text."""
    with limited_steps(value):
        return _as_meant(value, schema)


def _as_meant(value: Any, schema: Json) -> Any:  # noqa: ANN401
    if not faults(value, schema) or is_over_limit():
        return value
    if isinstance(value, str):
        parsed = _parsed(value)
        meant = parsed if isinstance(parsed, str) else _as_meant(parsed, schema)
        return value if faults(meant, schema) else meant
    if options := schema.get("anyOf") or schema.get("oneOf"):
        tried = (_as_meant(value, option) for option in options)
        return next((one for one in tried if not faults(one, schema)), value)
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_as_meant(one, items) for one in value]
    return _object_as_meant(value, schema) if isinstance(value, Mapping) else value


def _object_as_meant(value: Mapping[str, Any], schema: Json) -> dict[str, Any]:
    """Correct the fields of an object; leave out null and "" if they mean nothing."""
    known, required = schema.get("properties", {}), schema.get("required", ())
    others = schema.get("additionalProperties")
    corrected = {}
    for name, given in value.items():
        kind = known.get(name, others if isinstance(others, dict) else {})
        one = _as_meant(given, kind)
        is_optional = name in known and name not in required
        if not (is_optional and _parsed(one) is None and faults(one, kind)):
            corrected[name] = one
    return corrected


def _parsed(value: object) -> object:
    """Return what JSON or Python text stands for; any other value as it is."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    for read in (read_json, _read_literal):
        with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            parsed = read(value)
            return value if is_too_deep(parsed) else parsed
    return value


def _read_literal(text: str) -> object:
    """Return the JSON value of Python text: ``True``, ``None``, ``['a']``."""
    if len(text) > _MAX_LITERAL:
        raise ValueError
    return read_json(json.dumps(ast.literal_eval(text.strip())))


# -- the JSON in the text of a reply ------------------------------------------------

_END_OF_THINKING = "</think>"
_BEGIN = re.compile(
    r"\{\s*[\"}]|\[\s*[\"{]|^[ \t]*(?P<numbers>\[)\s*[\[\]\d-]", re.MULTILINE
)
"""Where an object or a list begins; ``[1]`` in a line of text is a footnote."""
_REST_OF_LINE = re.compile(r"[ \t]*(?:\r?\n|$)")
_DECODER = json.JSONDecoder()


def read_data(text: str, matches: Callable[[object], bool] = lambda _: True) -> object:
    r"""Return the JSON value of a reply, even if the model writes text around it.

    Servers and models that ignore ``format`` put JSON into a fence, or between
    sentences. If a text has several values that match, none is used.

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
        found = _values_in(without_thinking(text))
        if len(found) > 1:
            found = [value for value in found if matches(value)] or found
        if len(found) > 1:
            raise ValueError(
                f"it contains {len(found)} JSON values instead of one"
            ) from None
        if not found:
            raise error from None
        return found[0]


def without_thinking(text: str) -> str:
    """Return what follows the thinking of a model whose opening tag is missing."""
    return text.rpartition(_END_OF_THINKING)[2].strip()


def _values_in(text: str) -> list[object]:
    """Return the values of JSON in a text; raises ValueError when one is broken."""
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
