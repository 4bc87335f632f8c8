"""Model names, durations and times, in the formats of Ollama and Go.

A name is ``[host/][namespace/]model[:tag]``. A parsed name is always safe as part of a
path. Sources: Ollama ``types/model/name.go``; Go's ``time.ParseDuration``; RFC 3339.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from ollama_magic.server.embedded.errors import ApiError

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_HOST_RE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")
_NAMESPACE_RE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART_RE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, slots=True)
class ModelName:
    """A valid name with all four parts, none of which can leave a directory."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a name, with Ollama's defaults; return ``None`` if it is invalid.

        Examples
        --------
        >>> str(ModelName.parse("smollm2"))
        'smollm2:latest'
        >>> ModelName.parse("../../etc/passwd") is None
        True
        """
        rest, namespace, host = text, _NAMESPACE, _HOST
        tag = _TAG
        if ":" in rest.rpartition("/")[2]:
            rest, _, tag = rest.rpartition(":")
        rest, _, model = rest.rpartition("/")
        if rest:
            rest, _, namespace = rest.rpartition("/")
        if rest:
            host = rest
        name = cls(host, namespace, model, tag)
        is_whole = not text.startswith("/")
        return name if is_whole and name._is_valid() else None

    def _is_valid(self) -> bool:
        return bool(
            _HOST_RE.fullmatch(self.host)
            and _NAMESPACE_RE.fullmatch(self.namespace)
            and _PART_RE.fullmatch(self.model)
            and _PART_RE.fullmatch(self.tag)
        )

    def __str__(self) -> str:
        """Return the shortest form with a tag."""
        short = f"{self.model}:{self.tag}"
        if self.host != _HOST:
            return f"{self.host}/{self.namespace}/{short}"
        return short if self.namespace == _NAMESPACE else f"{self.namespace}/{short}"

    @property
    def full(self) -> str:
        """All four parts, as in some of Ollama's error texts."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """Equal for names of the same model; case does not matter."""
        return self.full.lower()


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
_LONGEST_S = 2**63 / 1e9  # the longest duration in Go


def parse_duration(text: str) -> float:
    """Return the seconds of a Go duration.

    Raises
    ------
    ApiError
        400, with Go's text.

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
    raise ApiError(400, f'time: {words} duration "{text}"')


def keep_alive_s(value: object, default_s: float) -> float:
    """Return how many seconds a model stays loaded; negative means ``FOREVER_S``."""
    if value is None:
        return default_s
    if isinstance(value, str):
        seconds = parse_duration(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise ApiError(400, "invalid type for keep_alive: must be a number or a string")
    return FOREVER_S if seconds < 0 else seconds


def rfc3339(moment: datetime | None = None) -> str:
    """Return a time (default: now) in UTC, with ``Z`` as Go writes it."""
    moment = moment or datetime.now(UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def in_future(seconds: float) -> str:
    """Return the time so many seconds from now; ``FOREVER_S`` is centuries away."""
    ahead = timedelta(seconds=min(seconds, _LONGEST_S))
    return rfc3339(datetime.now(UTC) + ahead)
