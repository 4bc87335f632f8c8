"""Translate between Ollama's requests and replies and those of llama.cpp.

``generate`` calls these functions, which only convert values. Options that Ollama does
not know are ignored, as Ollama ignores them; fields and options that it knows, and that
would have no effect here, are an error.
Sources: Ollama ``docs/api.md`` and ``docs/modelfile.mdx``; llama.cpp
``tools/server/README.md``; recordings of Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ollama_magic.server.embedded.protocol import (
    ApiError,
    llama_error,
    not_supported,
)

Json = Mapping[str, Any]

_LEVELS = ("high", "medium", "low", "max")
_NS_PER_MS = 1_000_000


# -- messages -----------------------------------------------------------------


def chat_messages(messages: Sequence[Json]) -> list[dict[str, Any]]:
    """Return messages in the form of llama.cpp.

    Raises
    ------
    ApiError
        400 for images, and for tool calls whose arguments are not an object.
    """
    check_images([image for item in messages for image in item.get("images") or ()])
    return [_message(message) for message in messages]


def check_images(images: Sequence[object]) -> None:
    """Check that there are no images, since no model here supports them.

    Raises
    ------
    ApiError
        400, with Ollama's text.
    """
    if images:
        raise llama_error(
            400,
            "Multimodal data provided, but model does not support multimodal requests.",
        )


def _message(message: Json) -> dict[str, Any]:
    # Ollama accepts a message without a role; llama.cpp needs one, even empty.
    result: dict[str, Any] = {
        "role": message.get("role") or "",
        "content": message.get("content") or "",
    }
    if message.get("thinking"):
        result["reasoning_content"] = message["thinking"]
    if message.get("tool_calls"):
        result["tool_calls"] = [_tool_call(call) for call in message["tool_calls"]]
    if message.get("tool_name"):
        result["name"] = message["tool_name"]
    if message.get("tool_call_id"):
        result["tool_call_id"] = message["tool_call_id"]
    return result


def _tool_call(call: Json) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise ApiError(400, "the arguments of a tool call are not an object")
    called = {"name": function.get("name", ""), "arguments": json.dumps(arguments)}
    return {"id": call.get("id") or _call_id(), "type": "function", "function": called}


def response_format(value: object) -> dict[str, Any] | None:
    """Return llama.cpp's field for Ollama's ``format``, or ``None`` for free text.

    Raises
    ------
    ApiError
        500 (as Ollama) for anything but ``"json"`` or an object.
    """
    if value is None or value == "":
        return None
    if value == "json":
        return {"type": "json_object"}
    if isinstance(value, dict):
        return {"type": "json_schema", "json_schema": {"schema": value}}
    text = f'invalid format: {value!r}; expected "json" or a valid JSON Schema object'
    raise ApiError(500, text)


def template_arguments(
    think: object, capabilities: Sequence[str], name: str
) -> dict[str, Any]:
    """Return the arguments of the chat template that control thinking.

    Raises
    ------
    ApiError
        400: the value is invalid, or the model does not support thinking.
    """
    if isinstance(think, str) and think not in _LEVELS:
        allowed = 'must be "high", "medium", "low", "max", true, or false'
        raise ApiError(400, f'invalid think value: "{think}" ({allowed})')
    if think is not None and not isinstance(think, bool | str):
        raise ApiError(400, "think must be a boolean or string")
    if "thinking" not in capabilities:
        if think:
            raise ApiError(400, f'"{name}" does not support thinking')
        return {}
    arguments: dict[str, Any] = {"enable_thinking": think is not False}
    if isinstance(think, str):
        arguments["reasoning_effort"] = think
    return arguments


def without_oldest(messages: Sequence[Json]) -> list[Json] | None:
    """Drop the oldest message, as Ollama does when a chat is too long.

    System messages and the last message stay; ``None`` if there are no others. The
    results of a tool call are dropped together with the call.
    """
    for index, message in enumerate(messages[:-1]):
        if message.get("role") != "system":
            end = index + 1
            while end < len(messages) - 1 and messages[end].get("role") == "tool":
                end += 1
            return [*messages[:index], *messages[end:]]
    return None


def check_supported(request: Json) -> None:
    """Check a chat or generate request for fields that would have no effect.

    Raises
    ------
    ApiError
        400: there is such a field.
    """
    top = request.get("top_logprobs", 0)
    if not (isinstance(top, int) and 0 <= top <= _MAX_TOP_LOGPROBS):
        raise ApiError(400, "top_logprobs must be between 0 and 20")
    if request.get("logprobs") and request.get("tools"):
        raise not_supported("logprobs together with tools")
    if request.get("shift"):
        raise not_supported("shifting the context")
    if request.get("context"):
        raise not_supported('"context"; send messages to /api/chat')
    if request.get("template"):
        raise not_supported("a chat template other than the one in the GGUF file")


_MAX_TOP_LOGPROBS = 20


def probabilities(request: Json, *, is_chat: bool) -> dict[str, Any]:
    """Return llama.cpp's fields for ``logprobs``: it reports none with a top of 0."""
    if not request.get("logprobs"):
        return {}
    top = max(1, request.get("top_logprobs", 0))
    return {"logprobs": True, "top_logprobs": top} if is_chat else {"logprobs": top}


def _logprobs(choice: Json, top: int) -> tuple[Json, ...]:
    """Return the tokens of a choice in the form of Ollama."""
    found = (choice.get("logprobs") or {}).get("content") or ()
    return tuple(
        {**_token(one), "top_logprobs": [*map(_token, one["top_logprobs"][:top])]}
        if top
        else _token(one)
        for one in found
    )


def _token(one: Json) -> Json:
    # NB: llama.cpp has -Infinity for a token that sampling excludes; Ollama has not.
    logprob = max(one["logprob"], _LEAST_LOGPROB)
    return {"token": one["token"], "logprob": logprob, "bytes": one["bytes"]}


_LEAST_LOGPROB = -9999.0

# -- options ------------------------------------------------------------------

_INTEGERS = (
    *("num_ctx", "num_predict", "num_thread", "num_gpu", "main_gpu", "num_batch"),
    *("seed", "top_k", "repeat_last_n", "num_keep", "draft_num_predict"),
)
_FLOATS = (
    *("temperature", "top_p", "min_p", "typical_p"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty"),
)
_TYPES: dict[str, type] = {
    **dict.fromkeys(_INTEGERS, int),
    **dict.fromkeys(_FLOATS, float),
    "use_mmap": bool,
    "stop": list,
}
_TYPE_NAMES = {int: "integer", float: "float32", bool: "boolean", list: "array"}
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


def _typed(name: str, value: Any) -> object:  # noqa: ANN401  (any JSON)
    expected = _TYPES[name]
    if type(value) in {int, float} and expected in {int, float}:
        return expected(value)
    is_texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
    if (type(value) is expected is bool) or (expected is list and is_texts):
        return value
    raise ApiError(500, f'option "{name}" must be of type {_TYPE_NAMES[expected]}')


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


# -- replies ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delta:
    """What one chunk of llama.cpp adds to the reply."""

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[Json, ...] = ()
    logprobs: tuple[Json, ...] = ()

    def __bool__(self) -> bool:
        parts = self.content, self.thinking, self.tool_calls, self.logprobs
        return any(parts)


@dataclass(slots=True)
class ChunkReader:
    """Reads the chunks of one reply, chat or plain completion, in order.

    Tool calls arrive as fragments of JSON text; they are returned whole, at the end.
    """

    top_logprobs: int = 0
    done_reason: str = ""
    _calls: dict[int, dict[str, str]] = field(default_factory=dict)
    _timings: Json = field(default_factory=dict)

    def read(self, chunk: Json) -> Delta:
        """Return what a chunk adds; falsy if it only reports progress.

        Raises
        ------
        ApiError
            The arguments of a complete tool call are not a JSON object.
        """
        self._timings = chunk.get("timings") or self._timings
        choices = chunk.get("choices") or ()
        if not choices:
            return Delta()
        choice = choices[0]
        delta = choice.get("delta") or {}
        for fragment in delta.get("tool_calls") or ():
            self._collect(fragment)
        calls: tuple[Json, ...] = ()
        if choice.get("finish_reason"):
            is_truncated = choice["finish_reason"] == "length"
            self.done_reason = "length" if is_truncated else "stop"
            # A truncated call is not a call.
            calls = () if is_truncated else self._complete_calls()
        content = delta.get("content") or choice.get("text") or ""
        thinking = delta.get("reasoning_content") or ""
        return Delta(content, thinking, calls, _logprobs(choice, self.top_logprobs))

    def stats(self) -> dict[str, int]:
        """Return counts, and durations in nanoseconds; like Go, omit zeros."""
        timings = self._timings
        prompt_count = timings.get("prompt_n", 0) + timings.get("cache_n", 0)
        stats = {
            "prompt_eval_count": prompt_count,
            "prompt_eval_cached_count": timings.get("cache_n", 0),
            "prompt_eval_duration": round(timings.get("prompt_ms", 0) * _NS_PER_MS),
            "eval_count": timings.get("predicted_n", 0),
            "eval_duration": round(timings.get("predicted_ms", 0) * _NS_PER_MS),
        }
        return {name: value for name, value in stats.items() if value}

    def _collect(self, fragment: Json) -> None:
        empty = {"id": "", "name": "", "arguments": ""}
        call = self._calls.setdefault(fragment.get("index", 0), empty)
        function = fragment.get("function") or {}
        call["id"] = fragment.get("id") or call["id"]
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""

    def _complete_calls(self) -> tuple[Json, ...]:
        finished = []
        for index, call in sorted(self._calls.items()):
            try:
                arguments = json.loads(call["arguments"] or "{}")
            except json.JSONDecodeError as error:
                raise _bad_call(call["name"]) from error
            if not isinstance(arguments, dict):
                raise _bad_call(call["name"])
            function = {"index": index, "name": call["name"], "arguments": arguments}
            finished.append({"id": call["id"] or _call_id(), "function": function})
        self._calls.clear()
        return tuple(finished)


def _bad_call(name: str) -> ApiError:
    return ApiError(
        500, f"the model called {name!r} with arguments that are not an object"
    )


def _call_id() -> str:
    return f"call_{secrets.token_hex(4)}"
