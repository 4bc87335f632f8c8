"""From the text of a reply to the value of a row.

Knows the schema that replies have to follow, if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_magic.errors import ReplyDataError, quoted
from ollama_magic.generation.schema import Schema, read_schema
from ollama_magic.generation.schema_check import check_schema, read_data, what_is_wrong


@dataclass(frozen=True)
class Reading:
    """How replies are read: as text, or as data that follows a schema."""

    schema: Schema | None = None

    @property
    def fields(self) -> Sequence[str] | None:
        """The fields of the objects that replies are; None: they are none."""
        if self.schema is None or self.schema.json.get("type") != "object":
            return None
        return tuple(self.schema.json.get("properties", ())) or None

    def check(self, text: str, done_reason: str = "") -> None:
        """Refuse a reply that is not what it has to be.

        Raises
        ------
        ReplyDataError
            It does not follow the schema, or its class does not take it.
        """
        if self.schema is None:
            return
        wrong = what_is_wrong(text, self.schema.json)
        if wrong and done_reason == "length":
            raise ReplyDataError(
                "The reply was cut at a length limit, so it is no data.",
                why=wrong,
                next_step='allow more: options={"num_predict": N}',
            )
        if wrong:
            raise _unfit(wrong)
        try:
            self.value(text)
        except (ValueError, TypeError) as error:  # also what pydantic raises
            raise _unfit(quoted(str(error))) from error

    def value(self, text: str) -> Any:  # noqa: ANN401  (any data)
        """Return what a reply that was checked says: text, or data."""
        return text if self.schema is None else self.schema.make(read_data(text))


def _unfit(why: str) -> ReplyDataError:
    return ReplyDataError(
        "The reply does not follow its schema.",
        why=why,
        next_step="run it again: only such rows are asked anew; or use a larger model",
    )


def read_as(spec: object, namespace: Mapping[str, Any]) -> Reading:
    """Return how replies are read by a schema, or as text where it is None.

    Raises
    ------
    PromptError
        The schema cannot be used.
    """
    if spec is None:
        return Reading()
    schema = read_schema(spec, namespace)
    check_schema(schema.json)
    return Reading(schema)
