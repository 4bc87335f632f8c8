"""Functions that a model has called: asked for, run, and told about, round by round.

Knows who is asked before a call and what the model is told of it. How a function is
described and called, it does not know; nothing is called but what was named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ollama_magic.answer import Answer
from ollama_magic.confirming import ask_user
from ollama_magic.conversation import Message
from ollama_magic.errors import PromptError, quoted
from ollama_magic.interrupts import let_through
from ollama_magic.prompts.filling import find_value
from ollama_magic.request import ChatRequest, Request
from ollama_magic.tools.functions import Tool, ToolResult, call_tool, make_tool
from ollama_magic.wire import ToolCall

Verdict = Literal["yes", "no", "nobody"]
Approve = Callable[[ToolCall], Verdict]
"""Whether a call may be made; ``nobody`` when there is nobody to ask."""

_DECLINED = "The user declined this call."
_NOBODY = "This call was refused: nobody was there to allow it."
_INTERRUPTED = "The user interrupted this call."


def make_tools(
    named: Sequence[object], namespace: Mapping[str, Any]
) -> tuple[Tool, ...]:
    """Return the tools that ``-T`` names; from Python also functions.

    Raises
    ------
    PromptError
        There is no such name, it is no function that could be described, or two have
        one name: a model calls them by their names.
    """
    tools = [_make_tool(what, namespace) for what in named]
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise PromptError(
                f"Two functions are both called {name}.",
                why="a model calls functions by their names",
                next_step=f"give one another name in a cell above: {name}_2 = …",
            )
    return tuple(tools)


def _make_tool(what: object, namespace: Mapping[str, Any]) -> Tool:
    if not isinstance(what, str):
        return make_tool(getattr(what, "__name__", type(what).__name__), what)
    # The model is told the last name alone: its names have no dots.
    return make_tool(what.rpartition(".")[2], find_value(what, namespace))


def always_yes(_: ToolCall) -> Verdict:
    """Allow every call, as ``--yes`` says."""
    return "yes"


class AskBeforeCall:
    """Asks the user before each call; ``always`` holds for that function."""

    def __init__(self) -> None:
        self._always: set[str] = set()

    def __call__(self, call: ToolCall) -> Verdict:
        """Return what the user says."""
        if call.name in self._always:
            return "yes"
        question = f"Call {quoted(call.name, limit=80)}? [y]es, [n]o, [a]lways: "
        answer = ask_user(question)
        if answer is None:
            return "nobody"
        word = answer.strip().lower()
        if word in {"a", "always"}:
            self._always.add(call.name)
        return "yes" if word in {"y", "yes", "a", "always"} else "no"


class ToolLoop:
    """Makes the calls that a model asks for, and asks it to go on.

    Parameters
    ----------
    tools
        All that may be called.
    approve
        Is asked before each call.
    show
        Shows the steps so far; a call that is about to be made has no result yet.
    rounds
        After so many, the model is asked once more, with nothing to call.
    hide
        Takes secrets out of what a function returned.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        approve: Approve,
        show: Callable[[Sequence[Message]], None],
        rounds: int,
        *,
        hide: Callable[[str], str] = str,
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._approve = approve
        self._show = show
        self._rounds_left = rounds
        self._hide = hide
        self._refused = 0
        self._called: dict[str, int] = {}
        self.steps: tuple[Message, ...] = ()

    @property
    def notes(self) -> Sequence[str]:
        """What the footer says of it."""
        called = [
            f"{name} ({count} times)" if count > 1 else name
            for name, count in self._called.items()
        ]
        notes = [f"called {', '.join(called)}"] if called else []
        if self._refused:
            notes.append(
                f"calls refused, with nobody to ask: {self._refused} (--yes allows)"
            )
        if not self._rounds_left:
            notes.append("no more calls allowed: %config OllamaMagics.tool_rounds")
        return notes

    def next_request(self, request: Request, answer: Answer) -> Request | None:
        """Make the calls of an answer and return the request that tells of them."""
        if not answer.tool_calls or not self._rounds_left:
            return None
        assert isinstance(request, ChatRequest)
        self._rounds_left -= 1
        begun = len(self.steps)
        self.steps += (_called_message(answer),)
        try:
            for call in answer.tool_calls:
                self._show(self.steps)
                self._tell(call, self._result(call).text)
        except BaseException:
            # Whoever goes on with this chat must find a result for each call.
            for call in answer.tool_calls[len(self.steps) - begun - 1 :]:
                self._tell(call, _INTERRUPTED)
            raise
        return replace(
            request,
            messages=[*request.messages, *self.steps[begun:]],
            tools=request.tools if self._rounds_left else (),
        )

    def _tell(self, call: ToolCall, text: str) -> None:
        message: Message = {"role": "tool", "content": self._hide(text)}
        message["tool_name"] = call.name
        if call.id:
            message["tool_call_id"] = call.id
        self.steps += (message,)

    def _result(self, call: ToolCall) -> ToolResult:
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(self._tools)
            return ToolResult(f"There is no function {call.name}; only: {known}", True)
        with let_through():
            verdict = self._approve(call)
        if verdict == "yes":
            self._called[call.name] = self._called.get(call.name, 0) + 1
            with let_through():
                return call_tool(tool, call.arguments)
        self._refused += verdict == "nobody"
        return ToolResult(_NOBODY if verdict == "nobody" else _DECLINED, True)


def _called_message(answer: Answer) -> Message:
    """Return an answer that calls functions as the message that it was."""
    message: Message = {"role": "assistant", "content": answer.text}
    if answer.thinking:  # is sent back as long as the loop goes on
        message["thinking"] = answer.thinking
    message["tool_calls"] = [_call_json(call) for call in answer.tool_calls]
    return message


def _call_json(call: ToolCall) -> dict[str, Any]:
    named = {"id": call.id} if call.id else {}
    function = {"name": call.name, "arguments": dict(call.arguments)}
    return {**named, "function": function}
