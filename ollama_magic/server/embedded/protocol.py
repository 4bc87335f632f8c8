"""The formats of Ollama's API: errors, request bodies, model names, durations, times.

Every module here uses them. Errors that people meet have Ollama's status and text. A
parsed model name is always safe as part of a path.
Sources: recordings of Ollama 0.33.0-rc2; Ollama ``api/types.go`` and
``types/model/name.go``; Go's ``time.ParseDuration``; RFC 3339.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self


class ApiError(Exception):
    """An error that is sent to the client as ``{"error": text}``.

    In a stream that has begun, it becomes the last line, without its status.
    """

    def __init__(self, status_code: int, text: str) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.text = text


def llama_error(
    status_code: int, message: str, *, kind: str = "invalid_request_error", **more: int
) -> ApiError:
    """Return an error of llama.cpp as Ollama passes it on: JSON inside JSON."""
    error = {"code": status_code, "message": message, "type": kind, **more}
    return ApiError(status_code, json.dumps({"error": error}, separators=(",", ":")))


def not_supported(what: str) -> ApiError:
    """Return the error for something that Ollama supports and this engine does not."""
    return ApiError(400, f"the embedded engine does not support {what}")


# -- requests -----------------------------------------------------------------

_NAMES = ("model", "name", "source", "destination", "from")
_TEXTS = ("prompt", "system", "suffix", "template", "quantize")
_TYPES: dict[str, type] = {
    **dict.fromkeys((*_NAMES, *_TEXTS, "role", "content", "thinking"), str),
    **dict.fromkeys(("stream", "raw", "verbose", "truncate", "shift"), bool),
    **dict.fromkeys(("messages", "tools", "tool_calls", "images"), list),
    **dict.fromkeys(("options", "parameters", "files", "adapters"), dict),
    "logprobs": bool,
}
"""The types of the fields of requests and messages; each means the same everywhere."""


def read_request(body: bytes) -> dict[str, Any]:
    """Decode a request; a null field counts as missing.

    Raises
    ------
    ApiError
        400: it is not a JSON object, or a field has the wrong type.
    """
    try:
        request = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "the body of the request is not JSON") from error
    _check(request)
    for message in request.get("messages") or ():
        _check(message)
    return {name: value for name, value in request.items() if value is not None}


def _check(values: object) -> None:
    if not isinstance(values, dict):
        raise ApiError(400, "a request or a message is not a JSON object")
    for name, value in values.items():
        kind = _TYPES.get(name, object)
        if value is not None and not isinstance(value, kind):
            raise ApiError(400, f'"{name}" must be of the type {kind.__name__}')


# -- names --------------------------------------------------------------------

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_VALID = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}/[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"
    r"/[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}:[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
)


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
        return name if is_whole and _VALID.fullmatch(name.full) else None

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


# -- durations and times ------------------------------------------------------

FOREVER_S = math.inf

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_LONGEST_S = 2**63 / 1e9  # the longest duration in Go


def parse_duration(text: str) -> float:
    """Return the seconds of a Go duration.

    Raises
    ------
    ApiError
        400: it is none, or has no unit.

    Examples
    --------
    >>> parse_duration("1h30m"), parse_duration("-5s"), parse_duration("0")
    (5400.0, -5.0, 0.0)
    """
    if text == "0":
        return 0.0
    terms = _TERM.findall(text)
    sign, unsigned = (-1.0 if text.startswith("-") else 1.0), text.lstrip("+-")
    if terms and "".join(map("".join, terms)) == unsigned:
        return sign * sum(float(number) * _UNITS_S[unit] for number, unit in terms)
    raise ApiError(400, f'time: invalid duration "{text}"')


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
