"""What a cell sends: prompt, chat, model and options made into one request.

Everything that can be wrong is found here, before anything is sent. Knows nothing of
streaming or of display.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ollama_magic.client.background import ClosableStream, in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import (
    LoadedModel,
    ModelSummary,
    check_capability,
    find_model,
    has_tag,
    sees_images,
)
from ollama_magic.client.redaction import Redactor
from ollama_magic.client.types import ChatRequest, GenerateRequest, ReplyChunk, Request
from ollama_magic.errors import PromptError, ServerUnreachableError
from ollama_magic.generation.context import ContextCheck, check_context, length_in_force
from ollama_magic.generation.models import (
    ServerModels,
    cloud_host,
    default_model,
    installed_name,
    look_up,
)
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prompt import FilledPrompt, compose
from ollama_magic.generation.schema import Schema, read_schema
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import (
    chosen_model,
    format_of,
    settings_of_request,
    system_from_here,
    think_of,
)
from ollama_magic.generation.tool_calls import make_tools
from ollama_magic.generation.tools import Tool
from ollama_magic.history.cache import CachedReply, not_cached_error, request_key
from ollama_magic.history.turns import Chat, Message


@dataclass(frozen=True)
class Asking:
    """One run of a cell: the state, who is asked, and the options on the line."""

    session: Session
    client: OllamaClient
    args: ChatOptions

    def send(self, request: Request) -> ClosableStream[ReplyChunk]:
        """Return the answer to a request, as it comes."""
        return self.client.send(request)

    @property
    def is_cached(self) -> bool:
        """Whether an earlier answer to the same request is shown, and this one kept."""
        return self.args.cached or self.session.settings.cached

    @property
    def redactor(self) -> Redactor:
        """Hides all secrets that are known here, in what is sent and kept."""
        return self.client.redactor.joined(self.session.redactor)

    def look_up(self, must_list: bool) -> ServerModels:
        """Ask the server for its models, and stay interruptible.

        A server that is not there is no fault where earlier answers are shown.
        """
        try:
            return in_background(partial(look_up, self.client, must_list=must_list))
        except ServerUnreachableError as error:
            if not self.is_cached:
                raise
            return ServerModels(fault=error)

    def kept_answer(self, request: Request, digest: str = "") -> CachedReply | None:
        """Return an earlier answer to a request, where one is wanted.

        Parameters
        ----------
        digest
            Of the model; empty where the server does not tell: then of any.
        """
        if not self.is_cached:
            return None
        key = request_key(request)
        return self.session.store.find_cached_reply(key, request.model, digest)

    def explained(
        self, fault: BaseException | None, request: Request
    ) -> BaseException | None:
        """Return a fault that says so when a kept answer was wanted and is missing."""
        if not (self.is_cached and isinstance(fault, ServerUnreachableError)):
            return fault
        asked = str(request.as_messages()[-1].get("content", ""))
        store = self.session.store
        file = store.path.name if store.path else "memory"
        return not_cached_error(fault, file, asked, store.nearest_prompt(asked))


@dataclass(frozen=True)
class Question:
    """A request that is ready to be sent, and what is known about it."""

    request: Request
    prompt: FilledPrompt
    chat_name: str | None
    """The chat that keeps the turn; None for a one-off."""
    schema: Schema | None
    """What the reply has to look like; None: nothing was said."""
    system: str | None
    """A system message that begins with this turn; None when none does."""
    format: str
    """How the reply is shown, by the words of ``-f``."""
    tools: tuple[Tool, ...]
    """What the model may have called."""
    unseen: int
    """Images of earlier turns that are left out, since the model sees none."""
    model: ModelSummary | None
    """The model as the server lists it; None when it is not in its list."""
    loaded: LoadedModel | None
    """The model in memory; None when the server will have to load it."""
    context: ContextCheck
    """Whether all that is sent fits into the context, as far as it is known."""
    named: str = ""
    """The model as cell, notebook or settings name it; empty when none does."""
    model_before: str = ""
    """The model of the chat's turn before this one."""

    @property
    def cloud_host(self) -> str:
        """Where a cloud model answers; empty for a model of the server itself."""
        return cloud_host(self.request.model, self.model)


def prepare(
    asking: Asking, text: str, look_up: Callable[[bool], ServerModels]
) -> Question:
    """Return what ``text`` and the options of its cell ask for.

    Parameters
    ----------
    look_up
        Asks the server for its models; whether the list is needed is its argument.
        Called when all that can be told without the server is right.

    Raises
    ------
    PromptError
        The prompt is empty, or a placeholder cannot be filled.
    ConfigError
        No model was named, and the server has none that is asked unnamed.
    ModelNotFoundError
        The name has no tag, and several installed models could be meant.
    CapabilityError
        The model cannot think, see or call tools, and was asked to.
    OllamaMagicError
        From ``look_up``.
    """
    session, args = asking.session, asking.args
    names, schema = session.namespace, _schema(session, args)
    prompt = compose(
        text,
        names,
        files=args.files,
        images=args.images,
        raw=args.raw,
        hide=asking.redactor.text,
    )
    tools = make_tools(args.tools, names)
    settings = settings_of_request(session, args, schema)
    _check_format(settings["format"], tools)
    chat = session.chat(args.chat)
    before = chat.before(None if args.append else session.cells.cell_id)
    chosen = chosen_model(session, before)
    named = args.model or (chosen.name if chosen else "")
    models = look_up(not named)
    name = installed_name(named, models.installed) if named else default_model(models)
    model = find_model(name, models.installed)
    think = think_of(session, args)
    wants = {"thinking": think, "vision": prompt.images, "tools": tools}
    for capability in [one for one, is_wanted in wants.items() if is_wanted]:
        check_capability(capability, model, models.installed)
    history = Chat(before.name) if args.new or args.once else before
    system = system_from_here(session, args, history)
    sees = sees_images(model)
    ask = partial(history.messages, prompt.text, system=system, sees=sees)
    ask = partial(ask, images=prompt.images)
    request = _request(args, ask(last=args.last), tools, settings | {"think": think})
    request = _named(asking, replace(request, model=name), models)
    loaded = find_model(name, models.loaded)
    return Question(
        request=request,
        prompt=prompt,
        chat_name=None if args.once else before.name,
        schema=schema,
        system=system,
        format=format_of(session, args),
        tools=tools,
        unseen=0 if sees else sum(len(t.images) for t in history.sent(args.last)),
        model=model,
        loaded=loaded,
        context=_context(
            asking, request, history, [*_told(tools), *ask(last=0)], (model, loaded)
        ),
        named=named,
        model_before="" if args.once else before.last_model(),
    )


def _told(tools: Sequence[Tool]) -> list[Message]:
    """Return what a template tells of tools, about, as a message to be measured."""
    return [{"content": json.dumps(dict(tool.description))} for tool in tools]


def _request(
    args: ChatOptions,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    settings: Mapping[str, Any],
) -> Request:
    """Return the request without its model.

    NB: ``/api/generate`` takes no tools; a one-off that has some is a chat of one turn.
    """
    if not args.once or tools:
        described = tuple(tool.description for tool in tools)
        return ChatRequest("", messages, tools=described, **settings)
    *system, asked = messages
    return GenerateRequest(
        "",
        asked["content"],
        system=system[0]["content"] if system else args.system,
        images=asked.get("images", ()),
        **settings,
    )


def _named(asking: Asking, request: Request, models: ServerModels) -> Request:
    """Give a request the full name of a model, where only an earlier answer knows it.

    Raises
    ------
    OllamaMagicError
        No model was named, and none answered it before: why the server could not be
        asked for its models.
    """
    if models.fault is None or (request.model and has_tag(request.model)):
        return request
    kept = asking.kept_answer(request)
    if kept is not None:
        return replace(request, model=kept.model)
    if request.model:
        return request
    fault = asking.explained(models.fault, request)
    assert fault is not None
    raise fault


def _check_format(format: object, tools: Sequence[Tool]) -> None:
    if format is not None and tools:
        raise PromptError(
            "A reply that has to be JSON calls no functions.",
            why="the server holds the model to the format from its first token on",
            next_step="leave out -f json, or -T; the JSON can be asked for in the "
            "next cell",
        )


def _context(
    asking: Asking,
    request: Request,
    history: Chat,
    others: Sequence[Message],
    known: tuple[ModelSummary | None, LoadedModel | None],
) -> ContextCheck:
    """Measure a request: the turns of a chat, and the other messages."""
    args, (model, loaded) = asking.args, known
    turns = history.sent(args.last)
    counted = None
    if turns and args.last is None and args.system is None:
        asked_alike = (turns[-1].model, turns[-1].request.get("think"))
        counted = turns[-1] if asked_alike == (request.model, request.think) else None
    trained = model.context_length if model else 0
    reply = asking.session.last_reply
    return check_context(
        turns,
        others,
        options=request.options,
        length=length_in_force(
            request.options,
            loaded=loaded.context_length if loaded else 0,
            trained=trained,
            asked_with=reply.request.get("options", {}) if reply else {},
        ),
        trained=trained,
        counted=counted,
    )


def _schema(session: Session, args: ChatOptions) -> Schema | None:
    if args.schema is None:
        return None
    return read_schema(args.schema, session.namespace)
