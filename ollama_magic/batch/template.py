"""A prompt with fields in it, to be filled from many rows.

Knows what may stand between braces. Knows nothing of rows; what is filled in is text
already, and is never looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from ollama_magic.errors import PromptError, quoted

_SYNTAX = "write {name} for a field, and {{ or }} for a brace that is text"


@dataclass(frozen=True, slots=True)
class Template:
    """A text in pieces, some of them followed by a field."""

    pieces: tuple[tuple[str, str | None], ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, each of them once."""
        return tuple(dict.fromkeys(f for _, f in self.pieces if f is not None))

    def fill(self, texts: Mapping[str, str]) -> str:
        """Return the prompt with these texts in the place of the fields."""
        return "".join(
            literal if field is None else literal + texts[field]
            for literal, field in self.pieces
        )


def parse_template(text: str) -> Template:
    """Read a template: ``{name}`` is a field, ``{{`` and ``}}`` are braces.

    Raises
    ------
    PromptError
        It cannot be read, has no field, or a field is more than a plain name.

    Examples
    --------
    >>> template = parse_template("{{Is}} {text} good?")
    >>> template.fields, template.fill({"text": "{text}"})
    (('text',), '{Is} {text} good?')
    """
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise PromptError(
            "The template cannot be read.",
            why=str(error).lower(),
            next_step=_SYNTAX,
        ) from error
    for _, field, form, conversion in parts:
        _check_plain(field or "", form or "", conversion or "")
    template = Template(tuple((literal, field) for literal, field, _, _ in parts))
    if not template.fields:
        raise PromptError(
            "The template has no field, so that all rows would be asked the same.",
            next_step="write {name} where the value of a row belongs, in single braces",
        )
    return template


def _check_plain(field: str, form: str, conversion: str) -> None:
    if not (form or conversion or any(char in field for char in ".[]")):
        return
    end = f"!{conversion}" * bool(conversion) + f":{form}" * bool(form)
    raise PromptError(
        f"The template's field {quoted('{' + field + end + '}', limit=80)} "
        "is no plain name.",
        why="a field is the name of a column, without attributes, items or formats",
        next_step=f"{_SYNTAX}; compute what you need in a column of its own",
    )
