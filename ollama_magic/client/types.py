"""Typed values of the Ollama API, decoded from its JSON, with units in their names.

Knows the shapes of objects on the wire and nothing about HTTP. Unknown fields are
ignored and missing ones have neutral values, since Go leaves empty fields out.
Sources: Ollama ``docs/api.md`` and recordings of a real server (0.33.0-rc2).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

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


def json_text(value: object) -> str:
    """Return a string as it is, and any other JSON value as its JSON text."""
    if isinstance(value, str):
        return value
    if value is None or is_too_deep(value):
        return ""
    return json.dumps(value, ensure_ascii=False)


def json_int(value: object) -> int:
    """Return the integer part of a number; 0 for anything else."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def json_object(value: object) -> JsonObject:
    """Return a JSON object as it is; any other value is an empty one."""
    return value if isinstance(value, dict) else {}


def json_names(value: object) -> tuple[str, ...]:
    """Return a list of strings as a tuple; any other value is empty."""
    return tuple(map(json_text, value)) if isinstance(value, list) else ()


def json_objects(value: object) -> tuple[JsonObject, ...]:
    """Return the objects of a JSON list; any other value is empty."""
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
            total_duration_ns=json_int(data.get("total_duration")),
            load_duration_ns=json_int(data.get("load_duration")),
            prompt_eval_count=json_int(data.get("prompt_eval_count")),
            prompt_eval_duration_ns=json_int(data.get("prompt_eval_duration")),
            eval_count=json_int(data.get("eval_count")),
            eval_duration_ns=json_int(data.get("eval_duration")),
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
        function = json_object(data.get("function"))
        name, call_id = json_text(function.get("name")), json_text(data.get("id"))
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
        message = json_object(data.get("message"))
        source = message or data
        done = data.get("done") is True
        calls = source.get("tool_calls")
        return cls(
            content=json_text(
                message.get("content") if message else data.get("response")
            ),
            thinking=json_text(source.get("thinking")),
            tool_calls=tuple(map(ToolCall.from_json, json_objects(calls)))
            if calls
            else (),
            model=json_text(data.get("model")),
            remote_host=json_text(data.get("remote_host")),
            done=done,
            done_reason=json_text(data.get("done_reason")),
            stats=Stats.from_json(data) if done else _NO_STATS,
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
            status=json_text(data.get("status")),
            digest=json_text(data.get("digest")),
            total_bytes=json_int(data.get("total")),
            completed_bytes=json_int(data.get("completed")),
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
            model=json_text(data.get("model")),
            prompt_eval_count=json_int(data.get("prompt_eval_count")),
            total_duration_ns=json_int(data.get("total_duration")),
        )


Options = Mapping[str, Any]
Format = str | Mapping[str, Any]
"""``"json"``, or a JSON Schema."""
Think = bool | str
"""True, False, or a level: ``low``, ``medium``, ``high``, ``max``."""
KeepAlive = str | float
"""A duration (``"10m"``) or seconds; 0 unloads at once, negative keeps for ever."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn of a chat: the messages so far, the last one to be answered.

    No messages at all only load the model (or unload it, with ``keep_alive`` 0).
    """

    path: ClassVar[str] = "/api/chat"

    model: str
    messages: Sequence[Mapping[str, Any]]
    options: Options = field(default_factory=dict)
    format: Format | None = None
    think: Think | None = None
    keep_alive: KeepAlive | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    stream: bool = True

    def body(self) -> dict[str, Any]:
        """Return the JSON to send."""
        body = {"model": self.model, "messages": list(self.messages)}
        return body | _set_fields(self) | _lists(tools=self.tools)

    def as_messages(self) -> list[Mapping[str, Any]]:
        """Return the messages that are sent."""
        return list(self.messages)


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One prompt without a history.

    An empty prompt only loads the model (or unloads it, with ``keep_alive`` 0).
    """

    path: ClassVar[str] = "/api/generate"

    model: str
    prompt: str
    system: str | None = None
    options: Options = field(default_factory=dict)
    format: Format | None = None
    think: Think | None = None
    keep_alive: KeepAlive | None = None
    images: Sequence[str] = ()
    """Images, each as plain base64 (a ``data:`` URL is refused)."""
    suffix: str | None = None
    """What follows the answer, for models that can fill in the middle."""
    raw: bool = False
    """The prompt goes to the model as it is, without the model's template."""
    stream: bool = True

    def body(self) -> dict[str, Any]:
        """Return the JSON to send."""
        body: dict[str, Any] = {"model": self.model, "prompt": self.prompt}
        if self.system is not None:
            body["system"] = self.system
        if self.suffix is not None:
            body["suffix"] = self.suffix
        if self.raw:
            body["raw"] = True
        return body | _set_fields(self) | _lists(images=self.images)

    def as_messages(self) -> list[Mapping[str, Any]]:
        """Return the prompt as the messages of a chat that has just begun."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]


Request = ChatRequest | GenerateRequest


def _set_fields(request: Request) -> dict[str, Any]:
    """Return the fields that both requests have, as far as they were set."""
    fields: dict[str, Any] = {"stream": request.stream}
    if request.options:
        fields["options"] = dict(request.options)
    for name in ("format", "think", "keep_alive"):
        value = getattr(request, name)
        if value is not None:
            fields[name] = value
    return fields


def _lists(**fields: Sequence[Any]) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in fields.items() if values}
