"""The requests and responses of Ollama's API as typed values, units in their names.

The client sends the requests and returns the responses. Unknown fields are ignored and
missing ones get neutral values, since Go leaves empty fields out. Models have their own
types, in :mod:`ollama_magic.client.models`. Sources: Ollama ``docs/api.md`` and
recordings of a real server (0.33.0-rc2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from functools import cache
from itertools import chain
from operator import attrgetter
from typing import Any, ClassVar, Self

from ollama_magic.client.json_values import (
    MAX_DEPTH,
    JsonObject,
    is_too_deep,
    json_fields,
    json_int,
    json_names,
    json_object,
    json_objects,
    json_text,
    read_json,
)
from ollama_magic.client.logprobs import TokenLogprob
from ollama_magic.errors import quoted

_NS_PER_S = 1e9


# -- requests ------------------------------------------------------------------

Options = Mapping[str, Any]
Format = str | Mapping[str, Any]
"""``"json"``, or a JSON Schema."""
Think = bool | str
"""True, False, or a level that the model knows, such as ``high``."""
KeepAlive = str | float
"""A duration (``"10m"``) or seconds; 0 unloads at once, negative keeps forever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CommonFields:
    """The fields that both requests for a reply have."""

    options: Options = field(default_factory=dict)
    format: Format | None = None
    think: Think | None = None
    keep_alive: KeepAlive | None = None
    truncate: bool | None = None
    """False: a prompt that does not fit is an error, and nothing is left out
    (Ollama 0.12.4 and later; earlier servers ignore it)."""
    shift: bool | None = None
    """False: a reply ends where the context is full, and nothing before it is left out
    (Ollama 0.12.4 and later). The server loads the model again if the value changes."""
    logprobs: bool = False
    """Whether each token comes with its log probability (Ollama 0.12.11 and later)."""
    top_logprobs: int = 0
    """How many likely tokens to report at each position, up to 20."""
    stream: bool = True

    def body(self) -> dict[str, Any]:
        """Return the JSON to send; unset fields keep the server's defaults."""
        body: dict[str, Any] = {}
        for one in _ordered_fields(type(self)):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            if one.name in _COLLECTIONS:
                is_set, value = bool(value), _COLLECTIONS[one.name](value)
            else:
                is_set = value is not one.default
            if is_set or one.name in _ALWAYS_SENT:
                body[one.name] = value
        return body


@cache
def _ordered_fields(kind: type[Any]) -> list[Field[Any]]:
    """Return the fields of a request, those of all requests last."""
    return sorted(fields(kind), key=lambda one: bool(one.kw_only))


_ALWAYS_SENT = ("messages", "stream")
_COLLECTIONS = {"options": dict, "messages": list, "tools": list, "images": list}


@dataclass(frozen=True, slots=True)
class ChatRequest(_CommonFields):
    """The messages of a chat so far; the reply is the next one.

    Without messages it only loads the model (or unloads it, with ``keep_alive`` 0).
    """

    path: ClassVar[str] = "/api/chat"

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()

    def as_messages(self) -> list[Mapping[str, Any]]:
        """Return the messages that are sent."""
        return list(self.messages)


@dataclass(frozen=True, slots=True)
class GenerateRequest(_CommonFields):
    """One prompt without a chat.

    An empty prompt only loads the model (or unloads it, with ``keep_alive`` 0).
    """

    path: ClassVar[str] = "/api/generate"

    model: str
    prompt: str
    system: str | None = None
    images: Sequence[str] = ()
    """Images, each as plain base64 (the server rejects a ``data:`` URL)."""
    suffix: str | None = None
    """The text after the reply, for models that fill in the middle."""
    raw: bool = False
    """Whether to send the prompt without the model's template."""

    def as_messages(self) -> list[Mapping[str, Any]]:
        """Return the prompt as the messages of a new chat."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        images = set_only(images=[*self.images] or None)
        return [*system, {"role": "user", "content": self.prompt, **images}]


Request = ChatRequest | GenerateRequest


def set_only(**fields: object) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


# -- responses -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and durations that the server reports at the end of a reply.

    All zero until then, and for requests that only load or unload a model.
    """

    total_duration_ns: int = 0
    """Time from the request to the end of the reply, in nanoseconds."""
    load_duration_ns: int = 0
    """Time spent loading the model, in nanoseconds."""
    prompt_eval_count: int = 0
    """Tokens of the prompt."""
    prompt_eval_cached_count: int = 0
    """Those of them that the server remembered and did not evaluate again."""
    prompt_eval_duration_ns: int = 0
    """Time spent evaluating the prompt, in nanoseconds."""
    eval_count: int = 0
    """Tokens of the reply."""
    eval_duration_ns: int = 0
    """Time spent generating the reply, in nanoseconds."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read ``total_duration``, ``eval_count`` and so on (durations in ns)."""
        return cls(**json_fields(cls, data))

    @property
    def load_duration_s(self) -> float:
        """Seconds spent loading the model."""
        return self.load_duration_ns / _NS_PER_S

    @property
    def total_duration_s(self) -> float:
        """Seconds from the request to the end of the reply, measured by the server."""
        return self.total_duration_ns / _NS_PER_S

    @property
    def prompt_eval_duration_s(self) -> float:
        """Seconds spent evaluating the prompt."""
        return self.prompt_eval_duration_ns / _NS_PER_S

    @property
    def eval_duration_s(self) -> float:
        """Seconds spent generating the reply."""
        return self.eval_duration_ns / _NS_PER_S

    @property
    def tokens_per_second(self) -> float:
        """Tokens generated per second; 0 if none were generated."""
        if not self.eval_duration_ns:
            return 0.0
        return self.eval_count / (self.eval_duration_ns / _NS_PER_S)


_NO_STATS = Stats()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants to call, with its arguments by name."""

    name: str
    arguments: JsonObject
    """Empty if they are invalid; ``fault`` says why."""
    id: str = ""
    fault: str = ""
    """Why the arguments are invalid, as a message for the model."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``tool_calls``.

        Some servers send the arguments as JSON text, some encode that text twice.
        """
        function = json_object(data.get("function"))
        name, call_id = json_text(function.get("name")), json_text(data.get("id"))
        try:
            arguments = _arguments(function.get("arguments"))
        except ValueError as error:
            return cls(name, {}, call_id, str(error))
        return cls(name, arguments, call_id)


def _arguments(value: object) -> JsonObject:
    """Return the arguments; raises ``ValueError`` with a message for the model."""
    for _ in range(2):
        if isinstance(value, str):
            value = _parsed(value)
    if value is None or value == "":
        return {}
    if is_too_deep(value):
        raise ValueError(_TOO_DEEP)
    if not isinstance(value, dict):
        kind = _JSON_TYPES.get(type(value), "a number")
        raise ValueError(  # noqa: TRY004  (the data is wrong, not the caller)
            f"the arguments are {kind} and not a JSON object"
        )
    return value


_JSON_TYPES = {str: "a string", list: "an array", bool: "a boolean"}
_TOO_DEEP = f"arguments nested too deeply: more than {MAX_DEPTH} levels"


def _parsed(text: str) -> object:
    """Return the value of a JSON text; None for blank text."""
    if not text.strip():
        return None
    try:
        return read_json(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        shown = quoted(text, limit=200)
        raise ValueError(f"the arguments are not JSON: {error}: {shown}") from None


_USUAL_FIELDS = {"model", "created_at", "message", "response", "thinking", "done"}
"""Of a line while a reply streams; a reply has thousands of lines."""


@dataclass(frozen=True, slots=True)
class ReplyChunk:
    """One line of a streamed reply of ``/api/chat`` or ``/api/generate``.

    ``content`` and ``thinking`` are fragments to append, and may be empty. The last
    chunk, and no other, has ``done`` true, with ``done_reason`` and ``stats``.
    """

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    model: str = ""
    images: tuple[str, ...] = ()
    """Images that the model drew, in base64."""
    completed: int = 0
    """Steps of an image that are done, of ``total``."""
    total: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    """The tokens of this chunk, if they were requested."""
    remote_host: str = ""
    """Where a cloud model runs, if the server says so."""
    remote_model: str = ""
    """The name of a cloud model there, if the server says so."""
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
        is_usual = data.keys() <= _USUAL_FIELDS and "images" not in source
        more = {} if is_usual else cls._more_fields(data, source)
        return cls(
            content=json_text(
                message.get("content") if message else data.get("response")
            ),
            thinking=json_text(source.get("thinking")),
            tool_calls=tuple(map(ToolCall.from_json, json_objects(calls)))
            if calls
            else (),
            model=json_text(data.get("model")),
            **more,
            done=done,
            done_reason=json_text(data.get("done_reason")),
            stats=Stats.from_json(data) if done else _NO_STATS,
        )

    @staticmethod
    def _more_fields(data: JsonObject, source: JsonObject) -> dict[str, Any]:
        """Return the fields that most lines do not have."""
        logprobs = data.get("logprobs")
        return {
            "images": _images(source.get("images") or data.get("image")),
            "completed": json_int(data.get("completed")),
            "total": json_int(data.get("total")),
            "logprobs": TokenLogprob.list_from_json(logprobs) if logprobs else (),
            "remote_host": json_text(data.get("remote_host")),
            "remote_model": json_text(data.get("remote_model")),
        }

    @classmethod
    def joined(cls, chunks: Iterable[Self]) -> Self:
        """Return the chunks of a stream, or some that follow each other, as one."""
        all_chunks = list(chunks)
        if len(all_chunks) == 1:
            return all_chunks[0]
        hosts = [chunk.remote_host for chunk in all_chunks if chunk.remote_host]
        return replace(
            all_chunks[-1] if all_chunks else cls(),
            content="".join(chunk.content for chunk in all_chunks),
            thinking="".join(chunk.thinking for chunk in all_chunks),
            tool_calls=_together("tool_calls", all_chunks),
            images=_together("images", all_chunks),
            logprobs=_together("logprobs", all_chunks),
            remote_host=hosts[-1] if hosts else "",
        )


def _together(name: str, chunks: Sequence[ReplyChunk]) -> tuple[Any, ...]:
    return tuple(chain.from_iterable(map(attrgetter(name), chunks)))


def _images(value: object) -> tuple[str, ...]:
    """Return images in base64: a list of them in a message, one after a prompt."""
    return json_names([value] if isinstance(value, str) and value else value)


@dataclass(frozen=True, slots=True)
class Progress:
    """One status line of a pull, push or create.

    ``completed_bytes`` and ``total_bytes`` belong to the layer ``digest``; without one
    they belong to the whole transfer. ``completed_bytes`` may decrease (a part is
    fetched again) and need not reach the total. Only a line with the ``status``
    ``success`` means success.
    """

    status: str
    digest: str = ""
    total_bytes: int = 0
    completed_bytes: int = 0

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one line."""
        return cls(**json_fields(cls, data))


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of ``POST /api/embed``: one per input text, in order."""

    vectors: tuple[tuple[float, ...], ...]
    model: str = ""
    prompt_eval_count: int = 0
    total_duration_ns: int = 0
    load_duration_ns: int = 0

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the response."""
        rows = data.get("embeddings")
        vectors = [
            tuple(row)
            for row in (rows if isinstance(rows, list) else ())
            if isinstance(row, list)
        ]
        return cls(tuple(vectors), **json_fields(cls, data))
