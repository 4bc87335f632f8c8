"""Chat and generate: from a request to lines of an answer.

Knows the order in which Ollama checks a request and the shape of its lines.
Source: recordings of Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from ollama_magic.server.embedded import translate
from ollama_magic.server.embedded.engine import LoadError, RequestError, RunnerGoneError
from ollama_magic.server.embedded.errors import (
    Refusal,
    engine_refusal,
    not_supported,
)
from ollama_magic.server.embedded.http import ClientGoneError, Exchange
from ollama_magic.server.embedded.options import check_options, load_options, sampling
from ollama_magic.server.embedded.scheduler import (
    KEEP_ALIVE_S,
    Lease,
    Scheduler,
    WaiterGoneError,
)
from ollama_magic.server.embedded.store import StoredModel
from ollama_magic.server.embedded.times import keep_alive_s, rfc3339

Json = Mapping[str, Any]
Shape = Callable[[translate.Delta], dict[str, Any]]
"""Puts what was generated into the fields of chat, or of generate."""

_TOO_LONG = "exceed_context_size_error"


def chat_shape(delta: translate.Delta) -> dict[str, Any]:
    """Return the fields of a line of ``/api/chat``."""
    message: dict[str, Any] = {"role": "assistant", "content": delta.content}
    if delta.thinking:
        message["thinking"] = delta.thinking
    if delta.tool_calls:
        message["tool_calls"] = list(delta.tool_calls)
    return {"message": message}


def generate_shape(delta: translate.Delta) -> dict[str, Any]:
    """Return the fields of a line of ``/api/generate``."""
    thinking = {"thinking": delta.thinking} if delta.thinking else {}
    return {"response": delta.content, **thinking}


@dataclass(frozen=True, slots=True)
class Question:
    """What llama.cpp is to be asked, in one of its two forms."""

    fields: Json
    """Sampling and what else does not depend on the text."""
    messages: Sequence[Json] = ()
    prompt: str = ""
    """Raw text to go on with, when there are no messages."""


@dataclass(slots=True)
class Answer:
    """Sends one answer to the client, line by line or as a whole."""

    exchange: Exchange
    name: str
    """The model's name as the client wrote it."""
    shape: Shape
    is_streamed: bool
    _content: list[str] = field(default_factory=list)
    _thinking: list[str] = field(default_factory=list)
    _calls: list[Json] = field(default_factory=list)

    def add(self, delta: translate.Delta) -> None:
        """Send or keep what was generated.

        Raises
        ------
        ClientGoneError
            Nobody listens any more.
        """
        if self.exchange.is_gone():
            raise ClientGoneError
        if not delta:
            return
        if self.is_streamed:
            self.exchange.send_line({**self._line(delta), "done": False})
            return
        self._content.append(delta.content)
        self._thinking.append(delta.thinking)
        self._calls.extend(delta.tool_calls)

    def end(self, done_reason: str, stats: Mapping[str, int]) -> None:
        """Send the last line, or the whole answer."""
        whole = translate.Delta(
            "".join(self._content), "".join(self._thinking), tuple(self._calls)
        )
        last = {**self._line(whole), "done": True, "done_reason": done_reason, **stats}
        if self.is_streamed:
            self.exchange.send_line(last)
            self.exchange.end_lines()
        else:
            self.exchange.send_json(last)

    def end_without_text(self, done_reason: str) -> None:
        """Answer a load or unload: one JSON value, streamed or not."""
        line = self._line(translate.Delta())
        done = {"done": True, "done_reason": done_reason}
        self.exchange.send_json({**line, **done})

    def _line(self, delta: translate.Delta) -> dict[str, Any]:
        head = {"model": self.name, "created_at": rfc3339()}
        return {**head, **self.shape(delta)}


class Answerer:
    """Answers chat and generate requests on one model at a time."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def chat(self, model: StoredModel, request: Json, exchange: Exchange) -> None:
        """Answer ``POST /api/chat`` for a model that is there."""
        messages = list(request.get("messages") or ())
        answer = self._answer(request, exchange, chat_shape)
        if not messages:
            self._load_or_unload(model, request, answer)
            return
        self._check(model, request)
        if messages[0].get("role") != "system" and model.config.system:
            messages.insert(0, _system(model.config.system))
        messages[0:0] = model.config.messages
        self._ask(model, request, answer, messages=messages)

    def generate(self, model: StoredModel, request: Json, exchange: Exchange) -> None:
        """Answer ``POST /api/generate`` for a model that is there."""
        prompt = request.get("prompt", "")
        answer = self._answer(request, exchange, generate_shape)
        is_raw = request.get("raw", False)
        if is_raw and any(map(request.get, ("template", "system", "context"))):
            text = "raw mode does not support template, system, or context"
            raise Refusal(400, text)
        translate.check_images(request.get("images") or ())
        if not prompt:
            self._load_or_unload(model, request, answer)
            return
        self._check(model, request)
        if request.get("suffix"):
            raise Refusal(400, f"{model.name.full} does not support insert")
        if is_raw:
            if request.get("format"):
                raise not_supported("format together with raw")
            self._ask(model, request, answer, prompt=prompt)
            return
        system = request.get("system") or model.config.system
        messages: list[Json] = [_system(system)] if system else []
        messages += [*model.config.messages, {"role": "user", "content": prompt}]
        self._ask(model, request, answer, messages=messages)

    @staticmethod
    def _answer(request: Json, exchange: Exchange, shape: Shape) -> Answer:
        is_streamed = request.get("stream", True)
        return Answer(exchange, request["model"], shape, is_streamed)

    @staticmethod
    def _check(model: StoredModel, request: Json) -> None:
        if request.get("tools") and "tools" not in model.config.capabilities:
            raise Refusal(400, f"{model.name.full} does not support tools")
        translate.refuse_unsupported(request)

    def _load_or_unload(
        self, model: StoredModel, request: Json, answer: Answer
    ) -> None:
        if keep_alive_s(request.get("keep_alive"), KEEP_ALIVE_S) == 0:
            self._scheduler.unload(model)
            answer.end_without_text("unload")
            return
        with self._lend(model, _options(model, request), request, answer):
            pass
        answer.end_without_text("load")

    def _ask(
        self,
        model: StoredModel,
        request: Json,
        answer: Answer,
        *,
        messages: Sequence[Json] = (),
        prompt: str = "",
    ) -> None:
        started_ns = time.perf_counter_ns()
        options = _options(model, request)
        fields = _fields(model, request)
        ready = translate.chat_messages(messages)
        reader = translate.AnswerReader()
        with self._lend(model, options, request, answer) as lease:
            fields.update(sampling(options, lease.num_ctx))
            question = Question(fields, ready, prompt)
            may_cut = request.get("truncate", True)
            _run(lease, question, answer, reader, may_cut=may_cut)
            load_ns = lease.load_duration_ns
        durations = {
            "total_duration": time.perf_counter_ns() - started_ns,
            "load_duration": load_ns,
        }
        answer.end(reader.done_reason, {**durations, **reader.stats()})

    def _lend(
        self, model: StoredModel, options: Json, request: Json, answer: Answer
    ) -> _Lending:
        seconds = keep_alive_s(request.get("keep_alive"), KEEP_ALIVE_S)
        loading = load_options(options, model.config.context_length)
        is_gone = answer.exchange.is_gone
        return _Lending(self._scheduler.lend(model, loading, seconds, is_gone))


class _Lending:
    """Turns what the scheduler raises into what a client is told."""

    def __init__(self, lending: AbstractContextManager[Lease]) -> None:
        self._lending = lending

    def __enter__(self) -> Lease:
        try:
            return self._lending.__enter__()
        except LoadError as error:
            raise Refusal(500, f"unable to load model: {error}") from error
        except WaiterGoneError as error:
            raise ClientGoneError from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._lending.__exit__(kind, error, trace)


def _run(
    lease: Lease,
    question: Question,
    answer: Answer,
    reader: translate.AnswerReader,
    *,
    may_cut: bool,
) -> None:
    """Ask llama.cpp; when a chat is too long, ask again without its oldest message."""
    messages: Sequence[Json] | None = question.messages

    def on_chunk(chunk: Json) -> None:
        answer.add(reader.read(chunk))

    while True:
        try:
            if messages:
                lease.llama.chat({**question.fields, "messages": messages}, on_chunk)
            else:
                request = {**question.fields, "prompt": question.prompt}
                lease.llama.complete(request, on_chunk)
        except RequestError as error:
            shorter = translate.without_oldest(messages or ())
            if error.kind != _TOO_LONG or not may_cut or shorter is None:
                raise _refusal(error, answer) from error
            messages = shorter
        except RunnerGoneError as error:
            raise _broken_off("unexpected EOF") from error
        else:
            return


def _refusal(error: RequestError, answer: Answer) -> Refusal:
    if answer.exchange.has_begun:
        return _broken_off(error.message)
    return engine_refusal(
        error.status_code, error.message, kind=error.kind, **error.details
    )


def _broken_off(why: str) -> Refusal:
    return Refusal(500, f"an error was encountered while running the model: {why}")


def _system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def _options(model: StoredModel, request: Json) -> dict[str, Any]:
    given = {**model.config.parameters, **(request.get("options") or {})}
    return check_options(given)


def _fields(model: StoredModel, request: Json) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    capabilities = model.config.capabilities
    think, name = request.get("think"), request["model"]
    arguments = translate.template_arguments(think, capabilities, name)
    if arguments:
        fields["chat_template_kwargs"] = arguments
    form = translate.response_format(request.get("format"))
    if form:
        fields["response_format"] = form
    if request.get("tools"):
        fields["tools"] = request["tools"]
    return fields
