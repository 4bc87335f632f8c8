"""Rows in and rows out: lists, dicts, tables and series, in the shape they came in.

Knows what counts as a row, which fields it has and how its values become text. Knows
nothing of models. pandas is whatever the caller has imported; without it nothing here
needs it.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from string import Formatter
from typing import Any

from ollama_magic.errors import OllamaMagicError, PromptError, quoted
from ollama_magic.generation.schema import record_of
from ollama_magic.generation.values import value_text

_SHOWN_NAMES = 20
_MISSING = {"NAType", "NaTType"}
_UNEQUAL_TO_ITSELF = {"datetime64", "timedelta64"}
_FORMS = (
    "give a list of texts or of dicts, a pandas Series or DataFrame; "
    "of a dict of columns: pandas.DataFrame(data)"
)


@dataclass(frozen=True)
class Rows:
    """Rows with the same fields, or rows that are single values."""

    count: int
    names: tuple[str, ...] | None
    """Of the fields; None: each row is a single value, under any name."""
    column: Callable[[str], Sequence[object]]
    """Gives the values of a field, row by row."""
    index: Any = None
    """The index of a table or series; None: the rows came as a list."""

    def prompts(self, template: Template) -> Iterator[str]:
        """Yield the prompt of each row; missing values are empty text.

        Raises
        ------
        PromptError
            A field of the template is none of the rows; raised before the first one.
        """
        fields = template.fields
        _check_fields(fields, self.names)
        columns = [self.column(field) for field in fields]
        for values in zip(*columns, strict=True):
            texts = map(_text, values)
            yield template.fill(dict(zip(fields, texts, strict=True)))

    def arranged(self, values: Sequence[Any], fields: Sequence[str] | None) -> Any:  # noqa: ANN401  (a list, or of pandas)
        """Return the replies in the shape that the rows had.

        Parameters
        ----------
        values
            One per row; of a row that failed its error.
        fields
            Of the objects that the replies are; None: they are something else.
        """
        if self.index is None:
            return list(values)
        import pandas

        if fields is None:
            return _series(pandas, values, self.index, "reply")
        errors = [v if isinstance(v, OllamaMagicError) else None for v in values]
        records = [_record(value) for value in values]
        columns = {
            field: pandas.Series([r.get(field) for r in records], self.index)
            for field in fields
        }
        last = "error_" if "error" in columns else "error"
        columns[last] = _series(pandas, errors, self.index, last)
        return pandas.DataFrame(columns, index=self.index)


def read_rows(data: object) -> Rows:
    """Return the rows of a list, of a table or of anything that can be iterated.

    Raises
    ------
    PromptError
        It is one text, a dict of columns, or no rows at all.
    """
    source: Any = data
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return _of_frame(source)
    if pandas is not None and isinstance(data, pandas.Series):
        return _of_items(source.tolist(), source.index)
    if isinstance(data, str | bytes):
        raise _unusable("it is one text, and no list of them")
    if isinstance(data, Mapping):
        raise _unusable("it is a dict, and a dict has no order of rows")
    if hasattr(data, "to_dicts"):  # a DataFrame of polars
        return _of_items(source.to_dicts())
    try:
        return _of_items(list(source))
    except TypeError as error:
        raise _unusable(f"a {type(data).__name__} has no rows") from error


def _of_frame(table: Any) -> Rows:  # noqa: ANN401  (a DataFrame)
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(table.columns):
        positions.setdefault(str(name), []).append(position)

    def column(name: str) -> Sequence[object]:
        if len(positions[name]) > 1:
            raise PromptError(
                f"The rows have {len(positions[name])} columns {name!r}.",
                why="which of them is meant cannot be told",
                next_step="give each column a name of its own",
            )
        values: list[object] = table.iloc[:, positions[name][0]].tolist()
        return values

    return Rows(len(table), tuple(positions), column, table.index)


def _of_items(items: Sequence[object], index: Any = None) -> Rows:  # noqa: ANN401  (of pandas)
    records = [item for item in items if isinstance(item, Mapping)]
    if not records:
        return Rows(len(items), None, lambda _: items, index)
    if len(records) < len(items):
        raise _unusable("some rows are dicts, and some are not")
    keys = {str(key): key for record in records for key in record}

    def column(name: str) -> Sequence[object]:
        return [record.get(keys[name]) for record in records]

    return Rows(len(items), tuple(keys), column, index)


def _unusable(why: str) -> PromptError:
    return PromptError("The data cannot be used.", why=why, next_step=_FORMS)


# -- fields --------------------------------------------------------------------


def _check_fields(fields: Sequence[str], names: Sequence[str] | None) -> None:
    if names is None:
        if len(fields) > 1:
            shown = " and ".join(f"{{{field}}}" for field in fields[:2])
            raise PromptError(
                f"The template has {len(fields)} fields, and each row is one value.",
                why=f"it says {shown}",
                next_step="give rows with names: dicts, or a DataFrame",
            )
        return
    for field in fields:
        if field not in names:
            raise _no_such_field(field, names)


def _no_such_field(field: str, names: Sequence[str]) -> PromptError:
    near = difflib.get_close_matches(field.strip(), names, n=1, cutoff=0.5)
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    known = ", ".join(names[:_SHOWN_NAMES]) + more
    written = f"{{{field}}}"
    return PromptError(
        f"The rows have no column {field!r}."
        if field
        else "The template says {}, and the rows have names.",
        why=f"the template says {written}; there are: {known or 'none'}",
        next_step=f"did you mean {{{near[0]}}}?" if near else "write one of these",
    )


# -- values --------------------------------------------------------------------


def _text(value: object) -> str:
    return "" if _is_missing(value) else value_text(value).text


def _is_missing(value: object) -> bool:
    """Tell None, NaN, NaT and pandas' NA from values."""
    kind = type(value).__name__
    if value is None or kind in _MISSING:
        return True
    compares = isinstance(value, Real | Decimal) or kind in _UNEQUAL_TO_ITSELF
    return compares and bool(value != value)  # noqa: PLR0124  (only NaN is unequal)


def _record(value: Any) -> Mapping[str, Any]:  # noqa: ANN401  (a reply, or its error)
    """Return the fields of a reply; none of an error."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, OllamaMagicError):
        return {}
    return record_of(value) or {}


def _series(pandas: Any, values: Sequence[Any], index: Any, name: str) -> Any:  # noqa: ANN401
    return pandas.Series(list(values), index=index, name=name, dtype=object)


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
