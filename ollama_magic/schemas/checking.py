"""A reply that has to follow a schema: is it right, and one more try when it is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ollama_magic.answer import Answer
from ollama_magic.conversation import Message
from ollama_magic.errors import PromptError
from ollama_magic.request import ChatRequest, Request
from ollama_magic.schemas.types import Json

_MOST_SHOWN = 5


def check_schema(schema: Json) -> None:
    """Refuse a JSON Schema that is none, before it is sent.

    Raises
    ------
    PromptError
        With the place and the reason.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top"
        raise PromptError(
            "The schema is no JSON Schema.",
            why=f"at {where}: {error.message}"[:300],
            next_step="correct it there; https://json-schema.org/understanding-json-"
            "schema",
        ) from error


def what_is_wrong(text: str, schema: Json) -> str:
    """Return where a reply does not follow its schema; empty when it does."""
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        return f"it is no JSON: {error}"
    found = faults(value, schema)
    return "; ".join(f"at {place or 'the top'}: {words}" for place, words in found)


def faults(value: Any, schema: Json) -> list[tuple[str, str]]:  # noqa: ANN401
    """Return where a JSON value does not follow a schema, and in what; a few of them.

    A place is names and indices with slashes between them; empty: the value itself.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=str)
    found = []
    for error in errors[:_MOST_SHOWN]:
        nearest = best_match([error])
        several = [one.message for one in nearest.context or () if not one.path]
        words = " and ".join(several) or nearest.message
        found.append(("/".join(map(str, nearest.absolute_path)), words))
    return found


class Repair:
    """Asks once more, with what was wrong, when a reply does not follow its schema.

    Not when it was cut at a length limit: it would be cut again.
    """

    def __init__(self, schema: Json) -> None:
        self._schema = schema
        self._was_tried = False

    @property
    def notes(self) -> Sequence[str]:
        """What the footer says of it."""
        return ("asked twice to get it right",) if self._was_tried else ()

    @property
    def steps(self) -> tuple[Message, ...]:
        """None: the turn is as if the first try had been right."""
        return ()

    def next_request(self, request: Request, answer: Answer) -> Request | None:
        """Return the request of the second try, or None."""
        if self._was_tried or answer.done_reason == "length":
            return None
        wrong = what_is_wrong(answer.text, self._schema)
        if not wrong:
            return None
        self._was_tried = True
        advice = (
            f"That does not follow the JSON Schema: {wrong}. "
            "Answer again, with JSON that does, and nothing else."
        )
        return ChatRequest(
            request.model,
            [
                *request.as_messages(),
                {"role": "assistant", "content": answer.text},
                {"role": "user", "content": advice},
            ],
            options=request.options,
            format=request.format,
            think=request.think,
            keep_alive=request.keep_alive,
            stream=request.stream,
        )
