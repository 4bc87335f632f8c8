"""Read request bodies and model options, with the types and errors of Ollama.

Options that Ollama does not know are ignored, as Ollama ignores them; those that it
knows and this engine does not support are an error.
Sources: Ollama ``api/types.go`` and ``docs/modelfile.mdx``; recordings of Ollama
0.33.0-rc2 for the texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_magic.server.embedded.errors import ApiError, not_supported

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


_INTEGER, _FLOAT, _BOOLEAN, _ARRAY = "integer", "float32", "boolean", "array"
_TYPES = {
    **dict.fromkeys(("num_ctx", "num_predict", "num_thread", "num_gpu"), _INTEGER),
    **dict.fromkeys(("main_gpu", "num_batch", "seed", "top_k"), _INTEGER),
    **dict.fromkeys(("repeat_last_n", "num_keep", "draft_num_predict"), _INTEGER),
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p"), _FLOAT),
    "repeat_penalty": _FLOAT,
    "presence_penalty": _FLOAT,
    "frequency_penalty": _FLOAT,
    "use_mmap": _BOOLEAN,
    "stop": _ARRAY,
}
_UNSUPPORTED_OPTIONS = ("num_keep", "draft_num_predict")

_SAMPLING_DEFAULTS: dict[str, Any] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
}
_SAMPLING = (
    *_SAMPLING_DEFAULTS,
    "typical_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "stop",
)

DEFAULT_NUM_CTX = 4096
_MAX_CONTEXTS = 10
"""The longest reply, in contexts; small models may never stop by themselves."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options that are fixed when a model is loaded; a new value needs a reload.

    ``None`` leaves the choice to the engine.
    """

    num_ctx: int = DEFAULT_NUM_CTX
    num_thread: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_batch: int | None = None
    use_mmap: bool | None = None


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known options, converted to their types.

    Raises
    ------
    ApiError
        500 (as Ollama) for a wrong type, 400 for an option that is not supported.
    """
    checked = {}
    for name, value in options.items():
        if name in _UNSUPPORTED_OPTIONS:
            raise not_supported(f'the option "{name}"')
        if name in _TYPES and value is not None:
            checked[name] = _typed(name, value)
    return checked


def _typed(name: str, value: object) -> object:
    expected = _TYPES[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if expected == _INTEGER and is_number:
        return int(value)  # type: ignore[call-overload]
    if expected == _FLOAT and is_number:
        return float(value)  # type: ignore[arg-type]
    if expected == _BOOLEAN and isinstance(value, bool):
        return value
    if expected == _ARRAY and isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return value
        raise ApiError(500, f'option "{name}" must be of an array of strings')
    raise ApiError(500, f'option "{name}" must be of type {expected}')


def load_options(options: Mapping[str, Any], trained_context: int) -> LoadOptions:
    """Return the options to load the model with.

    Parameters
    ----------
    trained_context
        The most tokens that ``num_ctx`` may ask for; 0 if unknown.
    """
    num_ctx = options.get("num_ctx", 0)
    if num_ctx <= 0:
        num_ctx = DEFAULT_NUM_CTX
    if trained_context:
        num_ctx = min(num_ctx, trained_context)
    rest = ("num_thread", "num_gpu", "main_gpu", "num_batch", "use_mmap")
    given = {name: options[name] for name in rest if name in options}
    if given.get("num_thread") == 0:
        del given["num_thread"]  # 0 leaves the choice to the engine, as in Ollama
    return LoadOptions(num_ctx=num_ctx, **given)


def sampling(options: Mapping[str, Any], num_ctx: int) -> dict[str, Any]:
    """Return the sampling fields of a llama.cpp request, with a cap on tokens."""
    chosen = {name: options[name] for name in _SAMPLING if name in options}
    cap = _MAX_CONTEXTS * num_ctx
    num_predict = options.get("num_predict", 0)
    chosen["max_tokens"] = min(num_predict, cap) if num_predict > 0 else cap
    return {**_SAMPLING_DEFAULTS, **chosen}
