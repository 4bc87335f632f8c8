"""Limits for checking a JSON value: a schema may be from a file of somebody else.

A few lines of a schema can ask for more work than a lifetime: references that double,
and regular expressions that try every way to split a text. ``schema_check`` counts its
steps here. Python cannot stop a regular expression in a thread, and no other thread
runs meanwhile, so those that may be slow are matched in a process with a time limit.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from math import log2
from pathlib import Path
from typing import Any

_MAX_STEPS = 50_000
"""Keywords that are checked for one value; a long value may take more."""
_STEPS_PER_VALUE = 50
_MAX_MATCHING = 10_000_000
"""Positions that the matching of one pattern may try in this process."""
_TIME_LIMIT_S = 5.0
_START_S = 60.0
_IMPORT_ROOT = Path(__file__).resolve().parents[2]
"""The folder that contains the package."""
_SCRIPT = """\
import faulthandler, json, sys
from ollama_magic.generation.schema_check import faults
limit_s, *given = json.load(sys.stdin)
faults(None, {})  # imports the rest, which may take long on a busy machine
faulthandler.dump_traceback_later(limit_s, exit=True)  # no Python thread could do it
json.dump(faults(*given, is_apart=True), sys.stdout)
"""
Faults = list[tuple[str, str]]
_NOT_CHECKED = "matching a pattern of its schema takes too long: simplify the pattern"
TOO_MUCH_WORK = "checking it takes too much work: simplify the schema"

_OF_KEYS = ("patternProperties", "additionalProperties", "unevaluatedProperties")
"""Keywords that match patterns with the keys of an object."""

_steps_left: ContextVar[list[int] | None] = ContextVar("steps_left", default=None)
_key_patterns: ContextVar[Sequence[str]] = ContextVar("key_patterns", default=())
_is_apart: ContextVar[bool] = ContextVar("is_apart", default=False)
"""Whether this is the process with a time limit."""


class TooMuchWorkError(Exception):
    """The budget of steps is used up."""


class SlowPatternError(Exception):
    """Matching a pattern in this process could block it."""


@contextmanager
def limited_steps(value: object, *, is_apart: bool = False) -> Iterator[None]:
    """Give a budget for the checks of a value, unless an outer block has given one."""
    _is_apart.set(is_apart)
    if _steps_left.get() is not None:
        yield
        return
    count = sum(1 for _ in _values_in(value))
    token = _steps_left.set([_MAX_STEPS + _STEPS_PER_VALUE * count])
    try:
        yield
    finally:
        _steps_left.reset(token)


def is_over_limit() -> bool:
    """Return whether the budget of this block is used up."""
    left = _steps_left.get()
    return left is not None and left[0] < 0


def validator(schema: dict[str, Any]) -> Any:  # noqa: ANN401  (made by jsonschema)
    """Return a validator that counts its steps, and fetches no reference."""
    from referencing import Registry

    parts = [one for one in _values_in(schema) if isinstance(one, dict)]
    named = [one.get("patternProperties") for one in parts]
    _key_patterns.set([key for one in named if isinstance(one, dict) for key in one])
    # NB: the registry that jsonschema uses by default fetches what it does not know.
    return _validator_class()(schema, registry=Registry())


@cache
def _validator_class() -> Any:  # noqa: ANN401
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    checks = {**Draft202012Validator.VALIDATORS, "uniqueItems": _unique_items}
    counted = {name: _counted(name, check) for name, check in checks.items()}
    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, counted
    )


def _counted(name: str, check: Callable[..., Any]) -> Callable[..., Any]:
    def counted(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:  # noqa: ANN401
        _spend_a_step()
        if name == "pattern" and isinstance(value, str):
            _check_matching([wanted], [value])
        if name in _OF_KEYS and isinstance(value, dict):
            _check_matching(_key_patterns.get(), value)
        return check(validator, wanted, value, schema)

    return counted


def _spend_a_step() -> None:
    left = _steps_left.get()
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise TooMuchWorkError


def _check_matching(patterns: Iterable[str], texts: Iterable[object]) -> None:
    if any(_is_slow(one, texts) for one in patterns) and not _is_apart.get():
        raise SlowPatternError


def _unique_items(_: object, is_wanted: bool, items: object, __: object) -> Any:  # noqa: ANN401
    """Check ``uniqueItems`` in one pass; jsonschema compares all pairs of objects."""
    from jsonschema import ValidationError

    if is_wanted and isinstance(items, list):
        seen = {json.dumps(_as_compared(one), sort_keys=True) for one in items}
        if len(seen) < len(items):
            yield ValidationError("it has equal items")


def _as_compared(value: Any) -> Any:  # noqa: ANN401
    """Return a JSON value in which 1.0 is 1."""
    if isinstance(value, dict):
        return {key: _as_compared(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_compared(one) for one in value]
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


# -- regular expressions -------------------------------------------------------------

_OPERATOR = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]"
    r"|(?P<open>\((?:\?[:=!])?)|(?P<loop>\)(?:[*+]|\{))|(?P<close>\))|(?P<bar>\|)"
    r"|(?P<repeat>(?:[*+]|\{\d*,\d*\})\??)|(?P<maybe>\?)",
    re.DOTALL,
)
_ENDLESS = 60
"""Ways as powers of two: more is endless."""


def _is_slow(pattern: str, texts: Iterable[object]) -> bool:
    length = max((len(one) for one in texts if isinstance(one, str)), default=0)
    return _matching_cost(pattern, length) > _MAX_MATCHING


def _matching_cost(pattern: str, length: int) -> float:
    """Return a bound for the positions that matching a text may try.

    >>> _matching_cost("^[a-z]+$", 64), _matching_cost("^(a|b|c)(d|e)$", 9)
    (64.0, 6.0)
    >>> _matching_cost("^(a+)+$", 30) > 1e9
    True
    """
    length = max(length, 1)
    repeats, ways, bars = int(not pattern.startswith("^")), 0.0, [1]
    for found in _OPERATOR.finditer(pattern):
        match found.lastgroup:
            case "open":
                bars.append(1)
            case "bar":
                bars[-1] += 1
            case "loop" | "close":
                ways += log2(bars.pop()) if len(bars) > 1 else 0
                ways += length if found.lastgroup == "loop" else 0
            case "repeat":
                repeats += 1
            case "maybe":
                ways += 1
    ways += sum(map(log2, bars)) + repeats * log2(length)
    return float(2 ** min(ways, _ENDLESS))


def _values_in(value: object) -> Iterator[object]:
    """Yield all values in a JSON value, itself included."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one


def faults_in_time(value: object, schema: object) -> Faults:
    """Find the faults of a value in another process, with a time limit."""
    try:
        ended = subprocess.run(  # noqa: S603  (constant arguments)
            [sys.executable, "-c", _SCRIPT],
            input=json.dumps([_TIME_LIMIT_S, value, schema]).encode(),
            capture_output=True,
            cwd=_IMPORT_ROOT,
            timeout=_START_S + _TIME_LIMIT_S,
            check=False,
        )
        return [(place, why) for place, why in json.loads(ended.stdout)]
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return [("", _NOT_CHECKED)]
