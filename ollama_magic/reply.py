"""The Reply: what a cell got, as a value for the next cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_magic.code_blocks import CodeBlock, code_blocks
from ollama_magic.conversation import Message, Status
from ollama_magic.errors import ReplyDataError
from ollama_magic.rendering.reply_view import ReplyView, reply_bundle
from ollama_magic.wire import Stats, ToolCall


@dataclass(frozen=True)
class Reply:
    """An answer of a model, complete or as far as it came.

    It shows itself like the output of the cell that asked; ``str(reply)`` is the text.
    """

    text: str
    """The answer, Markdown as the model wrote it, without thinking."""
    thinking: str
    model: str
    status: Status
    done_reason: str
    stats: Stats
    """Counts of tokens, durations in nanoseconds, tokens per second."""
    messages: tuple[Message, ...]
    """The messages as they were sent, and the answer as the last one."""
    request: Mapping[str, Any]
    """The body of the request, exactly as it was sent."""
    tool_calls: tuple[ToolCall, ...]
    view: ReplyView
    """How the answer is shown."""
    provenance: Mapping[str, Any]
    """The output's metadata under ``ollama_magic``: who answered what, and how."""

    @property
    def code(self) -> tuple[CodeBlock, ...]:
        """The fenced code blocks, in order, each with ``language`` and ``source``."""
        return code_blocks(self.text)

    @property
    def data(self) -> Any:  # noqa: ANN401  (any JSON value)
        """The text read as JSON.

        Raises
        ------
        ReplyDataError
            The text is not JSON; for example cut at a length limit.
        """
        try:
            return json.loads(self.text)
        except json.JSONDecodeError as error:
            raise ReplyDataError(
                "The reply is not JSON.",
                why=f"{error}; done reason: {self.done_reason or self.status}",
                next_step="ask with -f json, and with a larger -o num_predict N "
                "if the reply was cut",
            ) from error

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Reply of {self.model}, {self.status}: {self.text[:60]!r}>"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        return reply_bundle(self.view), {"ollama_magic": dict(self.provenance)}
