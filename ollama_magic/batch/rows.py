"""Rows and their template, how replies are read, and results in the shape of the rows.

``map_prompts`` reads the rows of a list, a pandas Series or DataFrame, or a table of
polars, pyarrow or dask. pandas is never imported before the caller has imported it.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

from ollama_magic.client.logprobs import Logprobs
from ollama_magic.errors import (
    OllamaMagicError,
    PromptError,
    ReplyDataError,
    quoted,
)
from ollama_magic.generation.response import Response
from ollama_magic.generation.schema import (
    Schema,
    record_of,
    what_is_wrong,
    with_names,
)
from ollama_magic.generation.values import value_text
from ollama_magic.history.cache import CachedReply

_SHOWN_NAMES = 20
_MISSING = {"NAType", "NaTType"}
_UNEQUAL_TO_ITSELF = {"datetime64", "timedelta64"}
_FORMS = (
    "pass a list of strings or dicts, or a pandas Series or DataFrame; "
    "for a dict of columns: pandas.DataFrame(data)"
)
_SYNTAX = "write {name} for a field, and {{ or }} for a literal brace"
_BRACES = re.compile(r"\{\{|\}\}|\{(?P<field>[^{}]*)\}|[{}]")
_NOT_PLAIN = re.compile(r"[.\[\]!:]")
_SHOWN_POSITIONS = 10


# -- the template ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: literal texts, most of them followed by a field."""

    parts: tuple[tuple[str, str | None], ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, each once."""
        return tuple(dict.fromkeys(f for _, f in self.parts if f is not None))

    def fill(self, texts: Mapping[str, str]) -> str:
        """Return the prompt; the texts themselves are never parsed."""
        return "".join(
            literal if field is None else literal + texts[field]
            for literal, field in self.parts
        )


def parse_template(text: str) -> Template:
    """Parse a template: ``{name}`` is a field, ``{{`` and ``}}`` are literal braces.

    Raises
    ------
    PromptError
        The template is invalid, or has no field.

    Examples
    --------
    >>> template = parse_template("{{Is}} {text} good?")
    >>> template.fields, template.fill({"text": "{text}"})
    (('text',), '{Is} {text} good?')
    """
    if not isinstance(text, str):
        raise PromptError(
            f"The template cannot be of type {type(text).__name__}.",
            why="it is the text of the prompts, with {name} for the value of a row",
            next_step='map_prompts("Sentiment of: {text}", rows); compute other values '
            "in a new column",
        )
    parts: list[tuple[str, str | None]] = []
    literal, end = "", 0
    for match in _BRACES.finditer(text):
        literal, end = literal + text[end : match.start()], match.end()
        if match["field"] is not None:
            parts.append((literal, match["field"]))
            literal = ""
        elif len(match[0]) == 2:
            literal += match[0][0]
        else:
            raise PromptError(
                "The template is invalid.",
                why=f"a single brace at {quoted(text[match.start() :], limit=40)!r}",
                next_step=_SYNTAX,
            )
    template = Template((*parts, (literal + text[end:], None)))
    if not template.fields:
        raise PromptError(
            "The template has no field, so every row would have the same prompt.",
            next_step="write {name} where the value of a row belongs, in single braces",
        )
    return template


# -- the rows --------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Rows with the same fields, or rows that are single values."""

    names: tuple[str, ...] | None
    """The names of the fields; None: each row is a single value, under any name."""
    column: Callable[[str], Sequence[object]]
    """Returns the values of a field, row by row."""
    index: Any = None
    """The index of a DataFrame or Series; None for rows from a list."""

    def prompts(self, template: Template) -> tuple[list[str], list[int]]:
        """Return the prompt of each row, and which prompts are the template alone.

        Missing values become empty text. The second list has the positions of rows
        that have no value at all.

        Raises
        ------
        PromptError
            The rows lack a field of the template.
        """
        fields = template.fields
        _check_fields(fields, self.names)
        columns = [self.column(field) for field in fields]
        prompts: list[str] = []
        empty: list[int] = []
        for values in zip(*columns, strict=True):
            texts = [*map(_text, values)]
            prompt = template.fill(dict(zip(fields, texts, strict=True)))
            if prompt.strip() and not any(map(str.strip, texts)):
                empty.append(len(prompts))
            prompts.append(prompt)
        return prompts, empty

    def arranged(self, values: Sequence[Any], fields: Sequence[str] | None) -> Any:  # noqa: ANN401  (a list, or of pandas)
        """Return the results in the shape of the rows.

        Parameters
        ----------
        values
            One per row; the error of a row that failed.
        fields
            The fields of the replies; None if the replies are not objects.
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
    """Return the rows of a list, of any other iterable, or of a DataFrame or Series.

    Raises
    ------
    PromptError
        The data is a single string, a dict of columns, or not iterable.
    """
    source = _loaded(data)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return _rows_of_frame(source)
    if pandas is not None and isinstance(source, pandas.Series):
        return _rows_of_items(source.tolist(), source.index)
    if isinstance(source, str | bytes):
        raise _unusable("it is a single string, not a list of strings")
    if isinstance(source, Mapping):
        raise _unusable("it is a dict, not a list of rows")
    kind = type(data).__name__
    try:
        items = [_as_record(item) for item in source]
    except TypeError as error:
        raise _unusable(f"type {kind} is not iterable") from error
    columns = getattr(source, "columns", ())
    if items and all(isinstance(i, str) for i in items) and items == list(columns):
        raise _unusable(f"type {kind} yields its columns, not its rows")
    return _rows_of_items(items)


def _as_record(item: Any) -> Any:  # noqa: ANN401  (any data)
    """Return a row that has named fields as a dict; any other row as it is."""
    if names := getattr(getattr(item, "dtype", None), "names", None):  # of numpy
        return dict(zip(names, item.item(), strict=True))
    return record_of(item) or item


def _loaded(data: Any) -> Any:  # noqa: ANN401  (any data)
    """Return a table of another library as one of pandas, or as a list of rows."""
    if hasattr(data, "__dask_graph__"):
        return data.compute()
    for method in ("to_dicts", "to_pylist"):  # polars; pyarrow
        if hasattr(data, method):
            return getattr(data, method)()
    for method in ("to_pandas", "toPandas"):  # cuDF and Ibis; Spark
        if hasattr(data, method) and hasattr(data, "columns"):
            return getattr(data, method)()
    return data


def _rows_of_frame(frame: Any) -> Rows:  # noqa: ANN401  (a DataFrame)
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(frame.columns):
        positions.setdefault(str(name), []).append(position)

    def column(name: str) -> Sequence[object]:
        if len(positions[name]) > 1:
            raise PromptError(
                f"The rows have {len(positions[name])} columns named {name!r}.",
                why="it is unclear which one the template means",
                next_step="give each column its own name",
            )
        values: list[object] = frame.iloc[:, positions[name][0]].tolist()
        return values

    return Rows(tuple(positions), column, frame.index)


def _rows_of_items(items: Sequence[object], index: Any = None) -> Rows:  # noqa: ANN401  (of pandas)
    records = [item for item in items if isinstance(item, Mapping)]
    if not records:
        return Rows(None, lambda _: items, index)
    if len(records) < len(items):
        raise _unusable("some rows are dicts and others are not")
    keys = {str(key): key for record in records for key in record}

    def column(name: str) -> Sequence[object]:
        return [record.get(keys[name]) for record in records]

    return Rows(tuple(keys), column, index)


def positions_text(positions: Sequence[int]) -> str:
    """Return positions as text: the first of them, and how many more there are."""
    shown = ", ".join(f"{position}" for position in positions[:_SHOWN_POSITIONS])
    more = len(positions) - _SHOWN_POSITIONS
    noun = "position" if len(positions) == 1 else "positions"
    return f"{noun} {shown}" + (f" and {more:,} more" if more > 0 else "")


def _unusable(why: str) -> PromptError:
    return PromptError("The data cannot be used.", why=why, next_step=_FORMS)


def _check_fields(fields: Sequence[str], names: Sequence[str] | None) -> None:
    if names is None:
        for field in fields:
            _check_plain(field)
        if len(fields) > 1:
            shown = " and ".join(f"{{{field}}}" for field in fields[:2])
            raise PromptError(
                f"The template has {len(fields)} fields, but each row is one value.",
                why=f"it contains {shown}",
                next_step="pass rows with named fields: dicts, or a DataFrame",
            )
        return
    for field in fields:
        if field not in names:
            _check_plain(field)
            raise _no_such_field(field, names)


def _check_plain(field: str) -> None:
    if _NOT_PLAIN.search(field):
        raise PromptError(
            f"The template's field {quoted('{' + field + '}', limit=80)} "
            "is not a plain name.",
            why="a field is the name of a column, without attributes, items or formats",
            next_step=f"{_SYNTAX}; compute other values in a new column",
        )


def _no_such_field(field: str, names: Sequence[str]) -> PromptError:
    near = difflib.get_close_matches(field.strip(), names, n=1, cutoff=0.5)
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    known = ", ".join(names[:_SHOWN_NAMES]) + more
    written = f"{{{field}}}"
    return PromptError(
        f"The rows have no column {field!r}."
        if field
        else "The template contains {}, but the fields of the rows have names.",
        why=f"the template contains {written}; the columns are: {known or 'none'}",
        next_step=f"did you mean {{{near[0]}}}?" if near else "use one of the columns",
    )


# -- replies ---------------------------------------------------------------------


@dataclass(frozen=True)
class ReplyReader:
    """Reads replies: as text, or as data that matches a schema."""

    schema: Schema | None = None
    has_confidence: bool = False
    """Whether each value comes with the mean probability of its tokens."""

    @property
    def fields(self) -> Sequence[str] | None:
        """The fields of the objects in the replies; None if they are not objects."""
        fields = None if self.schema is None else self.schema.fields
        if not self.has_confidence:
            return fields
        return (*(fields or ("reply",)), self._confidence)

    @property
    def _confidence(self) -> str:
        fields = self.schema.fields if self.schema is not None else None
        return "confidence_" if "confidence" in (fields or ()) else "confidence"

    def check(self, reply: Response | CachedReply) -> None:
        """Check a reply.

        Raises
        ------
        ReplyDataError
            It has no text, or does not match the schema.
        """
        if not reply.text.strip():
            raise _empty(reply)
        wrong = what_is_wrong(reply.text, self.schema) if self.schema else ""
        if wrong and reply.done_reason == "length":
            raise ReplyDataError(
                "The reply was cut off at num_predict, so it is not valid data.",
                why=wrong,
                next_step='allow more tokens: options={"num_predict": N}',
            )
        if wrong:
            raise ReplyDataError(
                "The reply does not match its schema.",
                why=quoted(wrong),
                next_step="run it again to retry only the failed rows, or use a larger "
                "model",
            )

    def kept(self, reply: Response | CachedReply) -> Any:  # noqa: ANN401
        """Return what ``value`` needs of a reply that was checked."""
        if not self.has_confidence:
            return reply.text
        return reply.text, Logprobs(reply.logprobs).of_text(reply.text).confidence

    def value(self, kept: Any) -> Any:  # noqa: ANN401  (any data)
        """Return the value of a reply; each call returns another object."""
        text, confidence = kept if self.has_confidence else (kept, None)
        value = text if self.schema is None else self.schema.read(text)
        if not self.has_confidence:
            return value
        record = with_names(value) if self.schema and self.schema.fields else None
        fields = {"reply": value} if record is None else record
        return {**fields, self._confidence: confidence}

    def notes(self, values: Sequence[Any]) -> list[str]:
        """Return a note if the server has not told the confidence of any row."""
        if not self.has_confidence:
            return []
        told = {v[self._confidence] for v in values if isinstance(v, dict)}
        return ["no log probabilities from this server"] if told == {None} else []


def _empty(reply: Response | CachedReply) -> ReplyDataError:
    why = f"done reason: {reply.done_reason or 'unknown'}"
    if not reply.thinking:
        step = "run it again, or use another model"
        return ReplyDataError("The reply is empty.", why=why, next_step=step)
    return ReplyDataError(
        "The reply is empty: the model wrote only thinking.",
        why=why,
        next_step='think=False, or allow more tokens: options={"num_predict": N}',
    )


# -- values ----------------------------------------------------------------------


def _text(value: object) -> str:
    return "" if _is_missing(value) else value_text(value).text


def _is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, NaT or pandas' NA."""
    kind = type(value).__name__
    if value is None or kind in _MISSING:
        return True
    compares = isinstance(value, Real | Decimal) or kind in _UNEQUAL_TO_ITSELF
    return compares and bool(value != value)  # noqa: PLR0124  (only NaN is unequal)


def _record(value: Any) -> Mapping[str, Any]:  # noqa: ANN401  (a reply, or its error)
    """Return the fields of a reply; none for an error."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, OllamaMagicError):
        return {}
    return record_of(value) or {}


def _series(pandas: Any, values: Sequence[Any], index: Any, name: str) -> Any:  # noqa: ANN401
    return pandas.Series(list(values), index=index, name=name, dtype=object)
