"""Request bodies: JSON in, checked against the types that Ollama's fields have.

Knows the fields and types of Ollama's requests and the words of Go's decoder.
Refuses to know what a request does.
Source: Ollama ``api/types.go``; recordings of Ollama 0.33.0-rc2 for the texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ollama_magic.server.embedded.errors import Refusal

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
    """Decode one request; fields that are null count as not given.

    Parameters
    ----------
    kind
        Ollama's name of the request, a key of ``REQUESTS``.

    Raises
    ------
    Refusal
        400: no body, not JSON, or a field of the wrong type.
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
        raise Refusal(400, "missing request body")
    try:
        # Only the first value of a body is read, as by Go's decoder.
        value, _ = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        raise Refusal(400, _go_words(text, error.pos)) from error
    except RecursionError as error:
        raise Refusal(400, "json: exceeded max depth") from error
    if not isinstance(value, dict):
        kinds = f"{_kind(value)} into Go value of type api.{kind}"
        raise Refusal(400, f"json: cannot unmarshal {kinds}")
    return {name: item for name, item in value.items() if item is not None}


def _go_words(text: str, position: int) -> str:
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


def _wrong_type(value: object, path: str, go_type: str) -> Refusal:
    return Refusal(
        400,
        f"json: cannot unmarshal {_kind(value)} into Go struct field {path} "
        f"of type {go_type}",
    )


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "number")
