"""``--dry-run``: the request that a prompt would send, for people or as JSON.

Texts are indented, so that none of them can look like the beginning of a message.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ollama_magic.client.images import without_images
from ollama_magic.errors import OllamaMagicError
from ollama_magic.generation.images import counted_kinds
from ollama_magic.generation.models import ServerModels, ask_for_models
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prepare import prepare
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import merged
from ollama_magic.generation.tool_calls import sending_notes

_LONGEST = 70
"""Characters of a value that is shown on one line."""


def request_text(session: Session, options: ChatOptions, text: str) -> str:
    """Return the request that ``ask`` would send, with an estimate of its size.

    If a model is named, no server is needed.

    Raises
    ------
    OllamaMagicError
        As ``ask``, before it sends anything.
    """
    options, client = merged(session.settings, options), session.client(options.host)

    def look_up(must_list: bool) -> ServerModels:
        try:
            return ask_for_models(client, options, must_list)
        except OllamaMagicError:
            if must_list:
                raise
            return ServerModels()

    prepared = prepare(session, client, options, text, look_up)
    cloud, context = prepared.cloud_host, prepared.context
    sent_on = (
        f"\na cloud model: this server forwards the prompt to {cloud}" if cloud else ""
    )
    of = f" of {context.length:,}" if context.length else ""
    request = prepared.request
    body = without_images(request.body())
    images = "".join(f" and {count}" for count in counted_kinds(prepared.images))
    said = (*prepared.notes, *sending_notes(prepared.tools, is_asked=not options.yes))
    notes = "".join(f"\n{note}" for note in said)
    return (
        f"POST {client.host.base_url}{request.path}\n"
        f"{body_text(body, options)}\n"
        f"{context.size_text}{of} tokens (estimate){images}; nothing was sent\n"
        f"{context.verdict()}{sent_on}{notes}"
    )


def body_text(body: Mapping[str, Any], options: ChatOptions) -> str:
    """Return the body of a request as these options want to see it."""
    return _json(body) if options.dry_run == "json" else "\n".join(_lines(body))


def _lines(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a request: its fields, then its texts."""
    yield from _fields(body, without={"messages", "system", "prompt"})
    for name in ("system", "prompt"):
        if name in body:
            yield from _text(name, body[name])
    for message in body.get("messages", ()):
        yield from _text(message["role"], message.get("content", ""))
        for line in _fields(message, without={"role", "content"}):
            yield textwrap.indent(line, "  ")
    yield ""


def _text(heading: str, text: str) -> Iterator[str]:
    yield f"\n{heading}:"
    yield from (f"  {line}".rstrip() for line in text.split("\n"))


def _fields(part: Mapping[str, Any], without: set[str]) -> Iterator[str]:
    for name, value in part.items():
        if name not in without:
            text = json.dumps(value, ensure_ascii=False)
            text = text if len(text) <= _LONGEST else _json(value)
            is_word = isinstance(value, str) and value.isprintable()
            yield f"{name}: {value if is_word else text}"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
