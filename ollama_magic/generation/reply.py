"""The Reply: what a cell got, as a value for the next cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_magic.client.types import Stats, ToolCall
from ollama_magic.errors import ReplyDataError, quoted
from ollama_magic.generation.schema import Schema, plain
from ollama_magic.generation.schema_check import read_data, what_is_wrong
from ollama_magic.history.turns import Message, Status
from ollama_magic.render.code import CodeBlock, code_blocks
from ollama_magic.render.reply import ReplyView, reply_bundle

_ASK_AGAIN = "ask again, or with a larger model; reply.text has the text"


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
    """The messages as they were sent, calls of functions with what they gave, and the
    answer as the last one."""
    request: Mapping[str, Any]
    """The body of the request, exactly as it was sent."""
    tool_calls: tuple[ToolCall, ...]
    """All that the model asked to be called, in order."""
    schema: Schema | None
    """What it had to look like; None: nothing was said."""
    is_cached: bool
    """Whether this is an earlier answer to the same request, shown again."""
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
        """The text read as JSON; what the model wrote around it is left out.

        With a schema that is a class (a dataclass, a pydantic model), an instance of
        it; a field that the reply leaves out has the default of the class.

        Raises
        ------
        ReplyDataError
            The text is not JSON, for example cut at a length limit; or it does not
            follow its schema.
        """
        try:
            value = read_data(self.text)
        except ValueError as error:
            raise ReplyDataError(
                "The reply is not JSON.",
                why=f"{error}; done reason: {self.done_reason or self.status}",
                next_step=self._next_step_to_data(),
            ) from error
        if self.schema is None:
            return value
        if wrong := what_is_wrong(self.text, self.schema.json):
            raise ReplyDataError(
                "The reply does not follow its schema.",
                why=wrong,
                next_step=_ASK_AGAIN,
            )
        return self.schema.make(value)

    def _next_step_to_data(self) -> str:
        if self.done_reason == "length":
            return "ask with a larger -o num_predict N: the reply was cut"
        return _ASK_AGAIN if self.request.get("format") else "ask with -f json"

    def to_frame(self) -> Any:  # noqa: ANN401  (pandas is not imported here)
        """Return the data as a ``pandas.DataFrame``: a row for each object of a list.

        Raises
        ------
        ReplyDataError
            As ``data`` does.
        ImportError
            pandas is not installed.
        """
        import pandas

        value = plain(self.data)
        return pandas.DataFrame(value if isinstance(value, list) else [value])

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        model = quoted(self.model, limit=200)
        return f"<Reply of {model}, {self.status}: {self.text[:60]!r}>"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        return reply_bundle(self.view), {"ollama_magic": dict(self.provenance)}
