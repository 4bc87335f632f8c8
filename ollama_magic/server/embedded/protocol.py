"""The formats of Ollama's API: errors, request bodies, model names, durations, times.

Every module here uses them. A request is checked with Ollama's types, and an error has
Ollama's status and text. A parsed model name is always safe as part of a path.
Sources: recordings of Ollama 0.33.0-rc2; Ollama ``api/types.go`` and
``types/model/name.go``; Go's ``time.ParseDuration``; RFC 3339.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

JSON_UTF8 = "application/json; charset=utf-8"
JSON_PLAIN = "application/json"
"""The content type of errors that come from Ollama's runner."""


class ApiError(Exception):
    """An error that is sent to the client as ``{"error": text}``.

    In a stream that has begun, it becomes the last line, without its status.
    """

    def __init__(
        self, status_code: int, text: str, *, content_type: str = JSON_UTF8
    ) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.text = text
        self.content_type = content_type


def llama_error(
    status_code: int, message: str, *, kind: str = "invalid_request_error", **more: int
) -> ApiError:
    """Return an error of llama.cpp as Ollama passes it on: JSON inside JSON."""
    error = {"code": status_code, "message": message, "type": kind, **more}
    text = json.dumps({"error": error}, separators=(",", ":"))
    return ApiError(status_code, text, content_type=JSON_PLAIN)


def not_supported(what: str) -> ApiError:
    """Return the error for something that Ollama supports and this engine does not."""
    return ApiError(400, f"the embedded engine does not support {what}")


def model_not_found(name: str) -> ApiError:
    """Return the 404 of chat, generate, show and delete."""
    return ApiError(404, f"model '{name}' not found")


# -- requests -----------------------------------------------------------------

Fields = Mapping[str, str]

_STRING, _BOOL, _MAP = "string", "bool", "map[string]interface {}"
_GO_TYPES: dict[str, type] = {
    _STRING: str,
    _BOOL: bool,
    _MAP: dict,
    "[]api.Message": list,
    "api.Tools": list,
    "[]api.ToolCall": list,
    "[]api.ImageData": list,
    "map[string]string": dict,
}
_KINDS = {str: "string", bool: "bool", list: "array", dict: "object"}

_COMMON = {"model": _STRING, "stream": _BOOL}
_SAMPLED = {"options": _MAP, "truncate": _BOOL, "shift": _BOOL, "logprobs": _BOOL}
REQUESTS: dict[str, Fields] = {
    "ChatRequest": {
        **_COMMON,
        **_SAMPLED,
        "messages": "[]api.Message",
        "tools": "api.Tools",
    },
    "GenerateRequest": {
        **_COMMON,
        **_SAMPLED,
        **dict.fromkeys(("prompt", "system", "suffix", "template"), _STRING),
        "raw": _BOOL,
        "images": "[]api.ImageData",
    },
    "ShowRequest": {"model": _STRING, "name": _STRING, "verbose": _BOOL},
    "CopyRequest": {"source": _STRING, "destination": _STRING},
    "DeleteRequest": {"model": _STRING, "name": _STRING},
    "PullRequest": {**_COMMON, "name": _STRING},
    "PushRequest": {**_COMMON, "name": _STRING},
    "CreateRequest": {
        **_COMMON,
        **dict.fromkeys(("name", "from", "system", "template", "quantize"), _STRING),
        "files": "map[string]string",
        "adapters": "map[string]string",
        "parameters": _MAP,
        "messages": "[]api.Message",
    },
    "EmbedRequest": {"model": _STRING},
}
_MESSAGE: Fields = {
    "role": _STRING,
    "content": _STRING,
    "thinking": _STRING,
    "images": "[]api.ImageData",
    "tool_calls": "[]api.ToolCall",
}


def read_request(body: bytes, kind: str) -> dict[str, Any]:
    """Decode a request; a null field counts as missing.

    Parameters
    ----------
    kind
        Ollama's name for the request, a key of ``REQUESTS``.

    Raises
    ------
    ApiError
        400: there is no body, it is not JSON, or a field has the wrong type.
    """
    request = _decode(body, kind)
    _check(request, REQUESTS[kind], kind)
    for message in request.get("messages", ()):
        if not isinstance(message, dict):
            raise _wrong_type(message, f"{kind}.messages", "api.Message")
        _check(message, _MESSAGE, f"{kind}.messages")
    return request


def _decode(body: bytes, kind: str) -> dict[str, Any]:
    text = body.decode("utf-8", "replace").lstrip()
    if not text:
        raise ApiError(400, "missing request body")
    try:
        # Like Go's decoder, read only the first value of a body.
        value, _ = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        raise ApiError(400, _go_message(text, error.pos)) from error
    except RecursionError as error:
        raise ApiError(400, "json: exceeded max depth") from error
    if not isinstance(value, dict):
        kinds = f"{_kind(value)} into Go value of type api.{kind}"
        raise ApiError(400, f"json: cannot unmarshal {kinds}")
    return {name: item for name, item in value.items() if item is not None}


def _go_message(text: str, position: int) -> str:
    rest = text[position:].strip()
    # An unclosed string is reported where it starts.
    if not rest or rest.startswith('"'):
        return "unexpected EOF"
    shown = rest[0] if rest[0].isprintable() else f"\\x{ord(rest[0]):02x}"
    return f"invalid character '{shown}' looking for beginning of value"


def _check(values: Mapping[str, Any], fields: Fields, path: str) -> None:
    for name, go_type in fields.items():
        value = values.get(name)
        if value is not None and not isinstance(value, _GO_TYPES[go_type]):
            raise _wrong_type(value, f"{path}.{name}", go_type)


def _wrong_type(value: object, path: str, go_type: str) -> ApiError:
    return ApiError(
        400,
        f"json: cannot unmarshal {_kind(value)} into Go struct field {path} "
        f"of type {go_type}",
    )


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "number")


# -- names --------------------------------------------------------------------

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


# -- durations and times ------------------------------------------------------

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
