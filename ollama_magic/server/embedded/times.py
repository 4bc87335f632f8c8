"""Durations and times as Go writes and reads them in Ollama's JSON.

Source: Go's ``time.ParseDuration``; RFC 3339.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from ollama_magic.server.embedded.errors import Refusal

FOREVER_S = math.inf

_UNITS_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_S = 2**63 / 1e9  # the longest of Go's durations


def parse_duration(text: str) -> float:
    """Return the seconds of a Go duration.

    Raises
    ------
    Refusal
        400, in Go's words.

    Examples
    --------
    >>> parse_duration("1h30m"), parse_duration("-5s"), parse_duration("0")
    (5400.0, -5.0, 0.0)
    """
    unsigned = text[1:] if text[:1] in {"+", "-"} else text
    sign = -1.0 if text.startswith("-") else 1.0
    if unsigned == "0":
        return 0.0
    terms = _TERM.findall(unsigned)
    if terms and "".join(map("".join, terms)) == unsigned:
        return sign * sum(float(number) * _UNITS_S[unit] for number, unit in terms)
    is_bare = re.fullmatch(r"\d+\.?\d*", unsigned) is not None
    words = "missing unit in" if is_bare else "invalid"
    raise Refusal(400, f'time: {words} duration "{text}"')


def keep_alive_s(value: object, default_s: float) -> float:
    """Return how long a model stays loaded: seconds, or ``FOREVER_S`` if negative."""
    if value is None:
        return default_s
    if isinstance(value, str):
        seconds = parse_duration(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise Refusal(400, "invalid type for keep_alive: must be a number or a string")
    return FOREVER_S if seconds < 0 else seconds


def rfc3339(moment: datetime | None = None) -> str:
    """Return a moment (now, if not given) in UTC with the ``Z`` of Go."""
    moment = moment or datetime.now(UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def in_future(seconds: float) -> str:
    """Return the moment so many seconds from now; for ever is centuries away."""
    ahead = timedelta(seconds=min(seconds, _LONGEST_S))
    return rfc3339(datetime.now(UTC) + ahead)
