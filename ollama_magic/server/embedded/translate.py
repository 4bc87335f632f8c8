"""Between Ollama's requests and answers and those of llama.cpp.

Pure values in and out; no engine, no HTTP.
Sources: Ollama ``docs/api.md``; llama.cpp ``tools/server/README.md``; recordings.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ollama_magic.server.embedded.errors import (
    JSON_PLAIN,
    Refusal,
    engine_refusal,
    not_supported,
)

Json = Mapping[str, Any]

_LEVELS = ("high", "medium", "low", "max")
_NS_PER_MS = 1_000_000


def chat_messages(messages: Sequence[Json]) -> list[dict[str, Any]]:
    """Return messages as llama.cpp wants them.

    Raises
    ------
    Refusal
        400 for images, and for arguments of tool calls that are no object.
    """
    check_images([image for item in messages for image in item.get("images") or ()])
    return [_message(message) for message in messages]


def check_images(images: Sequence[object]) -> None:
    """Refuse images, in the words for what is wrong with them.

    Raises
    ------
    Refusal
        400, whenever there is one.
    """
    for image in images:
        try:
            base64.b64decode(str(image), validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refusal(400, "illegal base64 data at input byte 0") from error
    if images:
        raise engine_refusal(
            400,
            "Multimodal data provided, but model does not support multimodal requests.",
        )


def _message(message: Json) -> dict[str, Any]:
    # Ollama takes a message without a role; llama.cpp wants one, be it empty.
    result: dict[str, Any] = {
        "role": message.get("role") or "",
        "content": message.get("content") or "",
    }
    if message.get("thinking"):
        result["reasoning_content"] = message["thinking"]
    if message.get("tool_calls"):
        result["tool_calls"] = [_sent_call(call) for call in message["tool_calls"]]
    if message.get("tool_name"):
        result["name"] = message["tool_name"]
    if message.get("tool_call_id"):
        result["tool_call_id"] = message["tool_call_id"]
    return result


def _sent_call(call: Json) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments") or {}
    if not isinstance(arguments, dict):
        text = "Value looks like object, but can't find closing '}' symbol"
        raise Refusal(400, text)
    called = {"name": function.get("name", ""), "arguments": json.dumps(arguments)}
    return {"id": call.get("id") or _call_id(), "type": "function", "function": called}


def response_format(value: object) -> dict[str, Any] | None:
    """Return llama.cpp's field for Ollama's ``format``; ``None`` for free text.

    Raises
    ------
    Refusal
        500 for anything but ``"json"`` or an object; Ollama's choice of status.
    """
    if value is None or value == "":
        return None
    if value == "json":
        return {"type": "json_object"}
    if isinstance(value, dict):
        return {"type": "json_schema", "json_schema": {"schema": value}}
    shown = json.dumps(json.dumps(value, ensure_ascii=False), ensure_ascii=False)
    text = f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
    raise Refusal(500, text, content_type=JSON_PLAIN)


def template_arguments(
    think: object, capabilities: Sequence[str], name: str
) -> dict[str, Any]:
    """Return what the chat template is told about thinking.

    Raises
    ------
    Refusal
        400: no such value, or thinking asked of a model that cannot.
    """
    if isinstance(think, str) and think not in _LEVELS:
        allowed = 'must be "high", "medium", "low", "max", true, or false'
        raise Refusal(400, f'invalid think value: "{think}" ({allowed})')
    if think is not None and not isinstance(think, bool | str):
        raise Refusal(400, "think must be a boolean or string")
    if "thinking" not in capabilities:
        if think:
            raise Refusal(400, f'"{name}" does not support thinking')
        return {}
    arguments: dict[str, Any] = {"enable_thinking": think is not False}
    if isinstance(think, str):
        arguments["reasoning_effort"] = think
    return arguments


def without_oldest(messages: Sequence[Json]) -> list[Json] | None:
    """Drop the oldest message that may go, as Ollama does when a chat is too long.

    System messages and the last message stay. ``None`` when no other is left. What
    answers a tool call goes with the call: alone it would mean nothing.
    """
    for index, message in enumerate(messages[:-1]):
        if message.get("role") != "system":
            end = index + 1
            while end < len(messages) - 1 and messages[end].get("role") == "tool":
                end += 1
            return [*messages[:index], *messages[end:]]
    return None


@dataclass(frozen=True, slots=True)
class Delta:
    """What one chunk of llama.cpp adds to the answer."""

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[Json, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.content or self.thinking or self.tool_calls)


@dataclass(slots=True)
class AnswerReader:
    """Reads the chunks of one answer, chat or plain completion, in their order.

    Tool calls come as fragments of JSON text spread over chunks; they are handed out
    whole, at the end.
    """

    done_reason: str = ""
    _calls: dict[int, dict[str, str]] = field(default_factory=dict)
    _timings: Json = field(default_factory=dict)

    def read(self, chunk: Json) -> Delta:
        """Return what a chunk adds; falsy when it is only about progress.

        Raises
        ------
        Refusal
            The arguments of a finished tool call are no JSON object.
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
            is_cut = choice["finish_reason"] == "length"
            self.done_reason = "length" if is_cut else "stop"
            # A call that was cut is no call.
            calls = () if is_cut else self._finished_calls()
        content = delta.get("content") or choice.get("text") or ""
        return Delta(content, delta.get("reasoning_content") or "", calls)

    def stats(self) -> dict[str, int]:
        """Return counts, and durations in nanoseconds; zero is left out, as by Go."""
        timings = self._timings
        prompt_count = timings.get("prompt_n", 0) + timings.get("cache_n", 0)
        stats = {
            "prompt_eval_count": prompt_count,
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

    def _finished_calls(self) -> tuple[Json, ...]:
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


def _bad_call(name: str) -> Refusal:
    return Refusal(500, f"the model called {name!r} with arguments that are no object")


def _call_id() -> str:
    return f"call_{secrets.token_hex(4)}"


def refuse_unsupported(request: Json) -> None:
    """Refuse fields of a chat or generate request that would have no effect.

    Raises
    ------
    Refusal
        400, with a sentence.
    """
    if request.get("logprobs") or request.get("top_logprobs"):
        raise not_supported("logprobs")
    if request.get("shift"):
        raise not_supported("shifting the context")
    if request.get("context"):
        raise not_supported('"context"; send messages to /api/chat')
    if request.get("template"):
        raise not_supported("another chat template than the one in the GGUF file")
