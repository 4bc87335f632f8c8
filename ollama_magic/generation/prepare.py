"""Prepares a request: from prompt, chat, model, options and settings.

Cells, comparisons and the Python functions call ``prepare``. It raises every error that
can be found before something is sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, filterfalse
from typing import TYPE_CHECKING, Any

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.images import Image
from ollama_magic.client.models import (
    LoadedModel,
    ModelSummary,
    check_chats,
    find_model,
    may_support,
    require_capability,
)
from ollama_magic.client.types import ChatRequest, GenerateRequest, Request
from ollama_magic.errors import PromptError
from ollama_magic.generation.context import ContextCheck, check_context, length_in_force
from ollama_magic.generation.models import (
    ServerModels,
    check_cloud,
    check_level,
    check_template_model,
    chosen_model,
    cloud_host,
    model_to_ask,
    named_by_cache,
)
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prompt import Filled, compose
from ollama_magic.generation.schema import Schema, read_schema, with_format_in_words
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import system_message
from ollama_magic.generation.tool_calls import make_tools, own_tools
from ollama_magic.generation.tools import Tool
from ollama_magic.history.turns import MAIN_CHAT, Chat, Message, Turn, fingerprint

if TYPE_CHECKING:
    from ollama_magic.generation.notebook_cells import CellsBefore, Excerpt


@dataclass(frozen=True)
class PreparedRequest:
    """A request that is ready to be sent, and what is known about it."""

    client: OllamaClient
    options: ChatOptions
    """The options of the prompt, merged with the settings."""
    request: Request
    prompt: str
    """The text as it is sent."""
    filled: tuple[str, ...]
    """The files, images and values that were filled in, for the footer."""
    images: tuple[Image, ...]
    chat_name: str | None
    """The chat that keeps the turn; None for a one-off."""
    schema: Schema | None
    """The schema of the reply, if it has one."""
    system: str | None
    """The system message, if it is new with this turn."""
    tools: tuple[Tool, ...]
    """The tools that the model may call."""
    left_out: tuple[Image, ...]
    """The earlier images and sounds that the model does not support; not sent."""
    model: ModelSummary | None
    """The model as the server lists it; None if it does not."""
    loaded: LoadedModel | None
    """The model in memory; None if the server has to load it first."""
    models: ServerModels
    """All models of the server, as far as they are known."""
    measured: Callable[..., ContextCheck]
    """Returns ``context`` for ``model`` and ``loaded``."""
    named: str = ""
    """The model as the cell, notebook or settings name it; empty if none does."""
    model_before: str = ""
    """The model of the chat's turn before this one."""
    begun: Turn | None = None
    """The turn whose reply is continued."""
    based_on: str = ""
    """The fingerprint of the turns before this one."""
    cells: CellsBefore | None = None
    """The cells before the prompt, if there are any."""
    typed: str = ""
    """The prompt as it was typed, if values or files were filled in."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the footer says about the text before the prompt, and its template."""
        use, cells = self.options.template_use, self.cells
        notes = [f"with {cells['named']}, {cells['details']}"] if cells else []
        if use is not None:
            sets = f"sets {', '.join(use.sets)}" if use.sets else ""
            facts = ", ".join(filter(None, [use.path, sets]))
            notes.append(f"template {use.name}" + (f" ({facts})" if facts else ""))
        return (*notes, *(own_tools(self.tools) if self.tools else ()))

    @property
    def facts(self) -> dict[str, Any]:
        """What is stored with the turn about its prompt."""
        if self.begun is not None:
            known = self.begun.request
            names = ("cells", "template", "typed")
            return {key: known[key] for key in names if key in known}
        use = self.options.template_use
        facts = {
            "cells": self.cells,
            "template": use.name if use else "",
            "typed": self.typed,
        }
        return {name: fact for name, fact in facts.items() if fact}

    @cached_property
    def context(self) -> ContextCheck:
        """Whether the request fits into the context."""
        return self.measured(model=self.model, loaded=self.loaded)

    @property
    def is_slow(self) -> bool:
        """Whether the server did not list its models in time."""
        return self.models.is_slow

    @property
    def is_unlisted(self) -> bool:
        """Whether the server is asked for its models while it replies."""
        return self.models.is_late

    @property
    def cloud_host(self) -> str:
        """The host that runs a cloud model; empty for a local model."""
        return cloud_host(self.request.model, self.model)

    @property
    def digest(self) -> str:
        """The digest of the model; empty when it is unknown."""
        return self.model.digest if self.model else ""

    def with_models(self, models: ServerModels) -> PreparedRequest:
        """Return the request with the models of the server, which have arrived."""
        name = self.request.model
        model = find_model(name, models.installed) or self.model
        loaded = find_model(name, models.loaded)
        return replace(self, model=model, loaded=loaded, models=models)


def prepare(
    session: Session,
    client: OllamaClient,
    options: ChatOptions,
    text: str,
    look_up: Callable[[bool], ServerModels],
    *,
    begun: Turn | None = None,
    known: Callable[[Chat], tuple[str, ServerModels] | None] | None = None,
) -> PreparedRequest:
    """Return the request that ``text`` and its options ask for.

    Parameters
    ----------
    options
        Merged with the settings.
    look_up
        Asks the server for its models; its argument says whether the list is required.
        Called after the checks that need no server.
    begun
        The turn whose reply is continued. Ollama continues a message of the assistant
        if it is the last one.
    known
        Called before ``look_up``, with the chat, if the request depends on nothing that
        a model can do. May return the model and the models without asking; then the
        caller asks for them along with the request.

    Raises
    ------
    PromptError
        The prompt is empty, or a placeholder cannot be filled.
    ConfigError
        No model is named, and the server has none to choose.
    ModelNotFoundError
        The name has no tag, and several installed models could be meant.
    CapabilityError
        The model has no thinking, vision or tools, and the request needs it.
    OllamaMagicError
        From ``look_up``.
    """
    names, hide = session.namespace, session.redactor_for(client).text
    schema = None if options.schema is None else read_schema(options.schema, names)
    composed = partial(compose, text, names, raw=options.raw, hide=hide)
    composition = composed(files=options.files, images=options.images)
    excerpt = _excerpt(session, options)
    tools = _tools(session, client, options) if options.tools else ()
    format = None if begun else _format_of(options, schema, tools)
    before = _chat_before(session, options, composition[0], begun)
    is_plain = not (format or excerpt or composition[2] or options.think or tools)
    found = known(before) if known and is_plain else None
    named, models = found or _named_model(session, options, before, look_up)
    name = model_to_ask(named, models, allow_cloud=session.settings.allow_cloud)
    model, loaded = find_model(name, models.installed), find_model(name, models.loaded)
    (prompt, filled, images), cells = _with_cells(composition, excerpt, model, hide)
    _check_capabilities(options, tools, images, model, models)
    _check_use(session, client, options, name, models)
    history = Chat(before.name) if options.new or options.once else before
    system = _new_system(session, options, history, hide)
    accepts = partial(_accepts, model)
    asked = with_format_in_words(prompt, format) if cloud_host(name, model) else prompt
    messages = partial(history.messages, asked, images, system=system, accepts=accepts)
    reply = begun.reply_messages() if begun else []
    sent = [*messages(last=options.last), *reply]
    request = _request(name, options, sent, tools, format)
    request = named_by_cache(session, options, request, models)
    others = [*_described(tools), *messages(last=0), *reply]
    earlier = chain.from_iterable(t.sent_images for t in history.sent(options.last))
    return PreparedRequest(
        client=client,
        options=options,
        request=request,
        prompt=prompt,
        filled=filled,
        images=images,
        chat_name=None if options.once else before.name,
        schema=schema,
        system=system,
        tools=tools,
        left_out=tuple(filterfalse(accepts, earlier)),
        model=model,
        loaded=loaded,
        models=models,
        measured=partial(_context, session, options, request, history, others),
        named=named,
        model_before="" if options.once else before.last_model(),
        begun=begun,
        based_on=fingerprint(history.turns),
        cells=cells,
        typed=_unless_sent(hide(text.strip("\n")), composition[0]),
    )


def _tools(
    session: Session, client: OllamaClient, options: ChatOptions
) -> tuple[Tool, ...]:
    from ollama_magic.generation.web import WebTools

    find = WebTools(session, client).find
    return make_tools(options.tools, session.namespace, find)


def _unless_sent(typed: str, sent: str) -> str:
    return "" if typed == sent else typed


def _format_of(options: ChatOptions, schema: Schema | None, tools: object) -> Any:  # noqa: ANN401
    """Return what the request forces: a schema, JSON, or None."""
    if schema is None and options.format != "json":
        return None
    if tools:
        raise PromptError(
            "A JSON reply and tools cannot be combined.",
            why="the server forces JSON from the first token, so no tool can be called",
            next_step="remove -f json or -T, and ask for the JSON in the next cell",
        )
    return "json" if schema is None else schema.json


def _excerpt(session: Session, options: ChatOptions) -> Excerpt | None:
    """Return the cells of the notebook that come before the prompt, if any."""
    if not options.wants_cells:
        return None
    from ollama_magic.generation.notebook_cells import find_cells

    return find_cells(session, options)


def _with_cells(
    filled: Filled,
    excerpt: Excerpt | None,
    model: ModelSummary | None,
    hide: Callable[[str], str],
) -> tuple[Filled, CellsBefore | None]:
    """Return a prompt with the cells before it; figures only if the model sees them."""
    if excerpt is None:
        return filled, None
    from ollama_magic.generation.notebook_cells import with_cells

    sees_images = may_support("vision", model)
    return with_cells(filled, excerpt, sees_images=sees_images, hide=hide)


def _chat_before(
    session: Session, options: ChatOptions, prompt: str, begun: Turn | None
) -> Chat:
    """Return the chat as it is above the running cell, or above a turn."""
    if options.once and options.model and begun is None:
        return Chat(MAIN_CHAT)  # nothing of a chat is needed
    chat = session.chat(options.chat, asked=prompt if begun is None else None)
    if begun is not None:
        return chat.before_turn(begun.uid)
    return chat.before(session.cells.cell_id, append=options.append)


def _check_capabilities(
    options: ChatOptions,
    tools: Sequence[Tool],
    images: Sequence[Image],
    model: ModelSummary | None,
    models: ServerModels,
) -> None:
    """Raise if the model lacks what the options or the attachments need."""
    check_chats(model)
    needed = ["thinking"] if options.think else []
    needed += ["tools"] if tools else []
    for capability in dict.fromkeys([*needed, *(one.capability for one in images)]):
        require_capability(capability, model, models.installed)


# -- parts of a request ----------------------------------------------------------


def _named_model(
    session: Session,
    options: ChatOptions,
    before: Chat,
    look_up: Callable[[bool], ServerModels],
) -> tuple[str, ServerModels]:
    """Return the model that prompt, notebook or settings name, and the server's."""
    # NB: a local name can be a copy of a cloud model; only the list says so.
    use = options.template_use
    must_list = session.settings.allow_cloud is False or bool(use and use.model)
    if options.model:
        return options.model, look_up(must_list)
    models = look_up(must_list or chosen_model(session, before) is None)
    chosen = chosen_model(session, before, models.installed)
    return chosen.name if chosen else "", models


def _check_use(
    session: Session,
    client: OllamaClient,
    options: ChatOptions,
    name: str,
    models: ServerModels,
) -> None:
    """Raise an error if the model may not be used, or not with this level."""
    cloud = cloud_host(name, find_model(name, models.installed))
    check_cloud(session.settings, client, name, cloud)
    if options.template_use is not None:
        check_template_model(session.settings, options.template_use, cloud)
    if not models.is_slow:
        check_level(client, options.think, name)


def _accepts(model: ModelSummary | None, image: Image) -> bool:
    return may_support(image.capability, model)


def _new_system(
    session: Session,
    options: ChatOptions,
    history: Chat,
    hide: Callable[[str], str],
) -> str | None:
    """Return the system message without secrets, if it is new with this turn."""
    if options.system is None and history.system() is not None:
        return None
    system = system_message(session.settings, options.system)
    return system and hide(system)


def _described(tools: Sequence[Tool]) -> list[Message]:
    """Return the tools as messages, to estimate their tokens."""
    return [{"content": json.dumps(dict(tool.description))} for tool in tools]


def _request(
    model: str,
    options: ChatOptions,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    format: Any,  # noqa: ANN401  ("json", or a JSON Schema)
) -> Request:
    # NB: ``/api/generate`` takes no tools; a one-off with tools is a chat of one turn.
    common: dict[str, Any] = {
        "options": options.options,
        "format": format,
        "think": options.think,
        "keep_alive": options.keep_alive,
        "logprobs": options.alternatives is not None,
        "top_logprobs": options.alternatives or 0,
        "truncate": False if options.truncate == "error" else None,
        "stream": options.stream,
    }
    if not options.once or tools:
        described = tuple(tool.description for tool in tools)
        return ChatRequest(model, messages, tools=described, **common)
    *system, asked = messages
    return GenerateRequest(
        model,
        asked["content"],
        system=system[0]["content"] if system else options.system,
        images=asked.get("images", ()),
        **common,
    )


def _context(
    session: Session,
    options: ChatOptions,
    request: Request,
    history: Chat,
    others: Sequence[Message],
    *,
    model: ModelSummary | None,
    loaded: LoadedModel | None,
) -> ContextCheck:
    """Estimate the size of a request: the turns of its chat and the other messages."""
    turns = history.sent(options.last)
    counted = None
    if turns and options.last is None and options.system is None:
        asked_alike = (turns[-1].model, turns[-1].request.get("think"))
        counted = turns[-1] if asked_alike == (request.model, request.think) else None
    trained = model.context_length if model else 0
    reply = session.last_reply
    return check_context(
        turns,
        others,
        options=request.options,
        length=length_in_force(
            request.options,
            loaded=loaded.context_length if loaded else 0,
            trained=trained,
            asked_with=reply.sent.get("options", {}) if reply else {},
        ),
        trained=trained,
        counted=counted,
        is_refused=request.truncate is False,
    )
