"""``/api/chat`` and ``/api/generate``: from a checked request to the lines of a reply.

``api`` calls ``TextGenerator`` with a model that exists. Requests are checked in
Ollama's order, so that the first error is the one that Ollama would give.
Source: recordings of Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ollama_magic.server.embedded import translate
from ollama_magic.server.embedded.engine import (
    KEEP_ALIVE_S,
    Lease,
    LlamaRequestError,
    LoadError,
    RunnerGoneError,
    Scheduler,
)
from ollama_magic.server.embedded.http import HTTPExchange
from ollama_magic.server.embedded.protocol import (
    ApiError,
    keep_alive_s,
    llama_error,
    not_supported,
    rfc3339,
)
from ollama_magic.server.embedded.store import StoredModel
from ollama_magic.server.embedded.translate import check_options, load_options, sampling

Json = Mapping[str, Any]
FieldsOf = Callable[[translate.Delta], dict[str, Any]]
"""Returns generated text as the fields of one endpoint."""

_TOO_LONG = "exceed_context_size_error"


def chat_fields(delta: translate.Delta) -> dict[str, Any]:
    """Return the fields of a line of ``/api/chat``."""
    message: dict[str, Any] = {"role": "assistant", "content": delta.content}
    if delta.thinking:
        message["thinking"] = delta.thinking
    if delta.tool_calls:
        message["tool_calls"] = list(delta.tool_calls)
    return {"message": message, **_logprobs(delta)}


def generate_fields(delta: translate.Delta) -> dict[str, Any]:
    """Return the fields of a line of ``/api/generate``."""
    thinking = {"thinking": delta.thinking} if delta.thinking else {}
    return {"response": delta.content, **thinking, **_logprobs(delta)}


def _logprobs(delta: translate.Delta) -> dict[str, Any]:
    return {"logprobs": list(delta.logprobs)} if delta.logprobs else {}


@dataclass(slots=True)
class ReplyWriter:
    """Sends one reply to the client, line by line or as a whole."""

    exchange: HTTPExchange
    name: str
    """The model's name as the client wrote it."""
    fields_of: FieldsOf
    is_streamed: bool
    _kept: list[translate.Delta] = field(default_factory=list)

    def add(self, delta: translate.Delta) -> None:
        """Send generated text, or keep it until the end.

        Raises
        ------
        ClientGoneError
            The client has closed the connection.
        """
        self.exchange.check_client()
        if not delta:
            return
        if self.is_streamed:
            self.exchange.send_line({**self._line(delta), "done": False})
            return
        self._kept.append(delta)

    def end(self, done_reason: str, stats: Mapping[str, int]) -> None:
        """Send the last line, or the whole reply."""
        whole = translate.Delta(
            "".join(one.content for one in self._kept),
            "".join(one.thinking for one in self._kept),
            tuple(call for one in self._kept for call in one.tool_calls),
            tuple(token for one in self._kept for token in one.logprobs),
        )
        last = {**self._line(whole), "done": True, "done_reason": done_reason, **stats}
        if self.is_streamed:
            self.exchange.send_line(last)
            self.exchange.end_lines()
        else:
            self.exchange.send_json(last)

    def end_without_text(self, done_reason: str) -> None:
        """Respond to a load or unload: one JSON value, streamed or not."""
        line = self._line(translate.Delta())
        self.exchange.send_json({**line, "done": True, "done_reason": done_reason})

    def _line(self, delta: translate.Delta) -> dict[str, Any]:
        head = {"model": self.name, "created_at": rfc3339()}
        return {**head, **self.fields_of(delta)}


class TextGenerator:
    """Runs chat and generate requests on the models of a scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def chat(self, model: StoredModel, request: Json, exchange: HTTPExchange) -> None:
        """Respond to ``POST /api/chat``."""
        messages = list(request.get("messages") or ())
        writer = _writer(request, exchange, chat_fields)
        if not messages:
            self._load_or_unload(model, request, writer)
            return
        _check(model, request)
        if messages[0].get("role") != "system" and model.config.system:
            messages.insert(0, _system(model.config.system))
        messages[0:0] = model.config.messages
        self._generate(model, request, writer, messages=messages)

    def generate(
        self, model: StoredModel, request: Json, exchange: HTTPExchange
    ) -> None:
        """Respond to ``POST /api/generate``."""
        prompt = request.get("prompt", "")
        writer = _writer(request, exchange, generate_fields)
        is_raw = request.get("raw", False)
        if is_raw and any(map(request.get, ("template", "system", "context"))):
            text = "raw mode does not support template, system, or context"
            raise ApiError(400, text)
        translate.check_images(request.get("images") or ())
        if not prompt:
            self._load_or_unload(model, request, writer)
            return
        _check(model, request)
        if request.get("suffix"):
            raise ApiError(400, f"{model.name.full} does not support insert")
        if is_raw:
            if request.get("format"):
                raise not_supported("format together with raw")
            self._generate(model, request, writer, prompt=prompt)
            return
        system = request.get("system") or model.config.system
        messages: list[Json] = [_system(system)] if system else []
        messages += [*model.config.messages, {"role": "user", "content": prompt}]
        self._generate(model, request, writer, messages=messages)

    def _load_or_unload(
        self, model: StoredModel, request: Json, writer: ReplyWriter
    ) -> None:
        if keep_alive_s(request.get("keep_alive"), KEEP_ALIVE_S) == 0:
            self._scheduler.unload(model)
            writer.end_without_text("unload")
            return
        with self._lend(model, _options(model, request), request, writer):
            pass
        writer.end_without_text("load")

    def _generate(
        self,
        model: StoredModel,
        request: Json,
        writer: ReplyWriter,
        *,
        messages: Sequence[Json] = (),
        prompt: str = "",
    ) -> None:
        started_ns = time.perf_counter_ns()
        options = _options(model, request)
        fields = _fields(model, request)
        text: dict[str, Any] = {"prompt": prompt}
        if messages:
            text = {"messages": translate.chat_messages(messages)}
        fields |= translate.probabilities(request, is_chat=bool(messages))
        reader = translate.ChunkReader(request.get("top_logprobs", 0))
        with self._lend(model, options, request, writer) as lease:
            fields |= sampling(options, lease.num_ctx)
            truncates = request.get("truncate", True)
            _run(lease, fields | text, writer, reader, truncates=truncates)
            load_ns = lease.load_duration_ns
        durations = {
            "total_duration": time.perf_counter_ns() - started_ns,
            "load_duration": load_ns,
        }
        writer.end(reader.done_reason, {**durations, **reader.stats()})

    @contextlib.contextmanager
    def _lend(
        self, model: StoredModel, options: Json, request: Json, writer: ReplyWriter
    ) -> Iterator[Lease]:
        seconds = keep_alive_s(request.get("keep_alive"), KEEP_ALIVE_S)
        loading = load_options(options, model.config.context_length)
        on_wait = writer.exchange.check_client
        try:
            with self._scheduler.lend(model, loading, seconds, on_wait) as lease:
                yield lease
        except LoadError as error:
            raise ApiError(500, f"unable to load model: {error}") from error


def _writer(request: Json, exchange: HTTPExchange, fields_of: FieldsOf) -> ReplyWriter:
    is_streamed = request.get("stream", True)
    return ReplyWriter(exchange, request["model"], fields_of, is_streamed)


def _check(model: StoredModel, request: Json) -> None:
    if request.get("tools") and "tools" not in model.config.capabilities:
        raise ApiError(400, f"{model.name.full} does not support tools")
    translate.check_supported(request)


def _run(
    lease: Lease,
    request: dict[str, Any],
    writer: ReplyWriter,
    reader: translate.ChunkReader,
    *,
    truncates: bool,
) -> None:
    """Run llama.cpp; if a chat is too long, try again without its oldest message."""

    def on_chunk(chunk: Json) -> None:
        writer.add(reader.read(chunk))

    form = "chat" if "messages" in request else "complete"
    while True:
        try:
            lease.llama.run({form: request}, on_chunk)
        except LlamaRequestError as error:
            shorter = translate.without_oldest(request.get("messages", ()))
            if error.kind != _TOO_LONG or not truncates or shorter is None:
                raise _api_error(error, writer) from error
            request = {**request, "messages": shorter}
        except RunnerGoneError as error:
            raise _broken_off("unexpected EOF") from error
        else:
            return


def _api_error(error: LlamaRequestError, writer: ReplyWriter) -> ApiError:
    if writer.exchange.has_begun:
        return _broken_off(error.message)
    return llama_error(
        error.status_code, error.message, kind=error.kind, **error.details
    )


def _broken_off(why: str) -> ApiError:
    return ApiError(500, f"an error was encountered while running the model: {why}")


def _system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def _options(model: StoredModel, request: Json) -> dict[str, Any]:
    return check_options({**model.config.parameters, **(request.get("options") or {})})


def _fields(model: StoredModel, request: Json) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    capabilities = model.config.capabilities
    think, name = request.get("think"), request["model"]
    arguments = translate.template_arguments(think, capabilities, name)
    if arguments:
        fields["chat_template_kwargs"] = arguments
    response_format = translate.response_format(request.get("format"))
    if response_format:
        fields["response_format"] = response_format
    if request.get("tools"):
        fields["tools"] = request["tools"]
    return fields
