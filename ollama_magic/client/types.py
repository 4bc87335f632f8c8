"""Typed values of the Ollama API, decoded from its JSON, with units in their names.

Knows the shapes of objects on the wire and nothing about HTTP. Unknown fields are
ignored and missing ones have neutral values, since Go leaves empty fields out.
Sources: Ollama ``docs/api.md`` and recordings of a real server (0.33.0-rc2).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ollama_magic.client.model_names import CLOUD_HOST, is_cloud_name
from ollama_magic.errors import quoted

JsonObject = Mapping[str, Any]

_NS_PER_S = 1e9

MAX_DEPTH = 50
"""Levels of lists and objects in each other that are taken from others.

Notebook servers and ``nbformat`` fail on a notebook with about 500 levels.
"""


def is_too_deep(value: object) -> bool:
    """Whether a JSON value has more than ``MAX_DEPTH`` levels."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for one in level for inner in _inner_values(one)]
        if not level:
            return False
    return True


def _inner_values(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _text(value: object) -> str:
    """Text as it is; any other JSON value as its JSON: data, not a crash."""
    if isinstance(value, str):
        return value
    if value is None or is_too_deep(value):
        return ""
    return json.dumps(value, ensure_ascii=False)


def _int(value: object) -> int:
    """Whole part of a number; whatever is none, or has no end, is 0."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _names(value: object) -> tuple[str, ...]:
    return tuple(map(_text, value)) if isinstance(value, list) else ()


def _objects(value: object) -> tuple[JsonObject, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, dict))


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and durations that the server reports when an answer is complete.

    All zero until then, and for requests that only load or unload a model.
    """

    total_duration_ns: int = 0
    load_duration_ns: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration_ns: int = 0
    eval_count: int = 0
    eval_duration_ns: int = 0

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read ``total_duration``, ``eval_count`` and so on (durations in ns)."""
        return cls(
            total_duration_ns=_int(data.get("total_duration")),
            load_duration_ns=_int(data.get("load_duration")),
            prompt_eval_count=_int(data.get("prompt_eval_count")),
            prompt_eval_duration_ns=_int(data.get("prompt_eval_duration")),
            eval_count=_int(data.get("eval_count")),
            eval_duration_ns=_int(data.get("eval_duration")),
        )

    @property
    def load_duration_s(self) -> float:
        """Seconds spent on loading the model."""
        return self.load_duration_ns / _NS_PER_S

    @property
    def total_duration_s(self) -> float:
        """Seconds from request to the end of the answer, as the server saw it."""
        return self.total_duration_ns / _NS_PER_S

    @property
    def prompt_eval_duration_s(self) -> float:
        """Seconds spent on reading the prompt."""
        return self.prompt_eval_duration_ns / _NS_PER_S

    @property
    def eval_duration_s(self) -> float:
        """Seconds spent on writing the answer."""
        return self.eval_duration_ns / _NS_PER_S

    @property
    def tokens_per_second(self) -> float:
        """Tokens generated per second; 0 when nothing was generated."""
        if not self.eval_duration_ns:
            return 0.0
        return self.eval_count / (self.eval_duration_ns / _NS_PER_S)


_NO_STATS = Stats()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called, with its arguments by name."""

    name: str
    arguments: JsonObject
    """Empty when they cannot be read; ``fault`` says why."""
    id: str = ""
    fault: str = ""
    """Why the arguments cannot be read, in words for the model."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``tool_calls``.

        Some servers write the arguments as JSON text, some encode that text again.
        """
        function = _object(data.get("function"))
        name, call_id = _text(function.get("name")), _text(data.get("id"))
        try:
            arguments = _arguments(function.get("arguments"))
        except ValueError as error:
            return cls(name, {}, call_id, str(error))
        return cls(name, arguments, call_id)


def _arguments(value: object) -> JsonObject:
    """Return the arguments of a call; raises ValueError with words for the model."""
    for _ in range(2):
        if isinstance(value, str):
            value = _parsed(value)
    if value is None or value == "":
        return {}
    if is_too_deep(value):
        raise ValueError(_TOO_DEEP)
    if not isinstance(value, dict):
        kind = _JSON_TYPES.get(type(value), "a number")
        raise ValueError(  # noqa: TRY004  (what came is wrong, not the caller)
            f"the arguments are {kind} and not a JSON object"
        )
    return value


_JSON_TYPES = {str: "a string", list: "an array", bool: "a boolean"}
_TOO_DEEP = f"arguments nested too deeply: more than {MAX_DEPTH} levels"


def _parsed(text: str) -> object:
    """Return the value of a JSON text; None for a blank one."""
    if not text.strip():
        return None
    try:
        return read_json(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        shown = quoted(text, limit=200)
        raise ValueError(f"the arguments are not JSON: {error}: {shown}") from None


def read_json(text: str) -> object:
    """Return the value of a JSON text; raises ValueError, also for ``NaN``."""
    value: object = json.loads(text, parse_constant=_refuse_constant)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


@dataclass(frozen=True, slots=True)
class ReplyChunk:
    """One line of a streamed answer of ``/api/chat`` or ``/api/generate``.

    ``content`` and ``thinking`` are fragments to append, and may be empty. The last
    chunk, and no other, has ``done`` true, with ``done_reason`` and ``stats``.
    """

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    model: str = ""
    remote_host: str = ""
    """Where a cloud model answers, if the server says so."""
    done: bool = False
    done_reason: str = ""
    stats: Stats = _NO_STATS

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read a chunk of either endpoint (``message`` or ``response``)."""
        message = _object(data.get("message"))
        source = message or data
        done = data.get("done") is True
        calls = source.get("tool_calls")
        return cls(
            content=_text(message.get("content") if message else data.get("response")),
            thinking=_text(source.get("thinking")),
            tool_calls=tuple(map(ToolCall.from_json, _objects(calls))) if calls else (),
            model=_text(data.get("model")),
            remote_host=_text(data.get("remote_host")),
            done=done,
            done_reason=_text(data.get("done_reason")),
            stats=Stats.from_json(data) if done else _NO_STATS,
        )


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model on the server, as ``GET /api/tags`` lists it (newest first)."""

    name: str
    digest: str = ""
    size_bytes: int = 0
    modified_at: str = ""
    """RFC 3339 with up to nine decimals, in the server's time zone."""
    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int = 0
    """Tokens that the model was trained for; 0 when the server does not say."""
    capabilities: tuple[str, ...] = ()
    remote_host: str = ""
    """Set for cloud models: where the prompt really goes."""
    remote_model: str = ""
    """Set for cloud models: what it is called there."""

    @property
    def cloud_host(self) -> str:
        """Where a cloud model answers; empty for a model of this server."""
        is_cloud = bool(self.remote_model) or is_cloud_name(self.name)
        return self.remote_host or (CLOUD_HOST if is_cloud else "")

    @property
    def can_chat(self) -> bool:
        """Whether it writes text, as far as the server says what it can do."""
        return not self.capabilities or "completion" in self.capabilities

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``models``."""
        details = _object(data.get("details"))
        return cls(
            name=_text(data.get("name") or data.get("model")),
            digest=_text(data.get("digest")),
            size_bytes=_int(data.get("size")),
            modified_at=_text(data.get("modified_at")),
            family=_text(details.get("family")),
            parameter_size=_text(details.get("parameter_size")),
            quantization_level=_text(details.get("quantization_level")),
            context_length=_int(details.get("context_length")),
            capabilities=_names(data.get("capabilities")),
            remote_host=_text(data.get("remote_host")),
            remote_model=_text(data.get("remote_model")),
        )


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, as ``GET /api/ps`` lists it."""

    name: str
    digest: str = ""
    size_bytes: int = 0
    size_vram_bytes: int = 0
    """How much of it is in GPU memory; 0 on a CPU."""
    context_length: int = 0
    """Tokens of context that it was loaded with."""
    expires_at: str = ""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``models``."""
        return cls(
            name=_text(data.get("name") or data.get("model")),
            digest=_text(data.get("digest")),
            size_bytes=_int(data.get("size")),
            size_vram_bytes=_int(data.get("size_vram")),
            context_length=_int(data.get("context_length")),
            expires_at=_text(data.get("expires_at")),
        )


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """What ``POST /api/show`` tells of a model."""

    modelfile: str = ""
    parameters: str = ""
    """One line per parameter, padded columns, as the server formats them."""
    template: str = ""
    system: str = ""
    license: str = ""
    capabilities: tuple[str, ...] = ()
    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int = 0
    embedding_length: int = 0
    remote_host: str = ""
    """Set for cloud models: where they answer."""
    remote_model: str = ""
    """Set for cloud models: what they are called there."""
    model_info: JsonObject = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the answer; lengths come from ``model_info`` by architecture."""
        details = _object(data.get("details"))
        info = _object(data.get("model_info"))
        architecture = _text(info.get("general.architecture"))
        return cls(
            modelfile=_text(data.get("modelfile")),
            parameters=_text(data.get("parameters")),
            template=_text(data.get("template")),
            system=_text(data.get("system")),
            license=_text(data.get("license")),
            capabilities=_names(data.get("capabilities")),
            family=_text(details.get("family")),
            parameter_size=_text(details.get("parameter_size")),
            quantization_level=_text(details.get("quantization_level")),
            context_length=_int(info.get(f"{architecture}.context_length")),
            embedding_length=_int(info.get(f"{architecture}.embedding_length")),
            remote_host=_text(data.get("remote_host")),
            remote_model=_text(data.get("remote_model")),
            model_info=info,
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """One status line of a pull, push or create.

    ``digest`` names the layer that ``completed_bytes`` of ``total_bytes`` are about;
    without it the line is about the whole. ``completed_bytes`` may go backwards (a
    part is fetched again) and need not reach the total. Success is a line whose
    ``status`` is ``success``, and nothing else.
    """

    status: str
    digest: str = ""
    total_bytes: int = 0
    completed_bytes: int = 0

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one line."""
        return cls(
            status=_text(data.get("status")),
            digest=_text(data.get("digest")),
            total_bytes=_int(data.get("total")),
            completed_bytes=_int(data.get("completed")),
        )


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of ``POST /api/embed``: one per input text, in order."""

    vectors: tuple[tuple[float, ...], ...]
    model: str = ""
    prompt_eval_count: int = 0
    total_duration_ns: int = 0

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the answer."""
        rows = data.get("embeddings")
        return cls(
            vectors=tuple(
                tuple(row)
                for row in (rows if isinstance(rows, list) else ())
                if isinstance(row, list)
            ),
            model=_text(data.get("model")),
            prompt_eval_count=_int(data.get("prompt_eval_count")),
            total_duration_ns=_int(data.get("total_duration")),
        )
