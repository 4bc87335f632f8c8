"""What a model is asked, as values: the two requests that make a model write.

Knows the field names of ``POST /api/chat`` and ``POST /api/generate``, and sends
nothing. A body holds what was set and nothing else, so that the server's and the
model's own defaults stay in force. Source: Ollama ``docs/api.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

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
    """Pictures, each as plain base64 (a ``data:`` URL is refused)."""
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
