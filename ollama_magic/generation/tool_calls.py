"""Tool calls of a reply: confirmed by the user, made, and their results sent back.

``run`` uses a ``ToolLoop`` for a prompt with tools; each round is one more request.
Only tools that the user named are ever called, and each call is confirmed first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ollama_magic.client.background import let_through
from ollama_magic.client.types import ChatRequest, Request, ToolCall
from ollama_magic.errors import PromptError, harmless, quoted
from ollama_magic.generation.prompt import find_value
from ollama_magic.generation.response import Response
from ollama_magic.generation.tools import (
    Tool,
    ToolResult,
    corrected_arguments,
    make_tool,
    name_of,
    run_tool,
)
from ollama_magic.history.turns import Message, without_outcome
from ollama_magic.render.text import counted, visible_text

Verdict = Literal["yes", "no", "nobody"]
Approve = Callable[[ToolCall, bool], Verdict]
"""Returns whether a call may be made; ``nobody`` means that no user can answer.

Its second argument says whether the whole call is already shown.
"""

MAX_CALLS = 50
"""Calls of one response that are made, at most."""

_DECLINED = ToolResult("The user declined this call.", "declined")
_NOBODY = ToolResult(
    "This call was declined: there is nobody to confirm it.", "refused"
)
_INTERRUPTED = ToolResult("The user interrupted this call.", "interrupted")
_SKIPPED = ToolResult("The user stopped before this call.", "skipped")

_RAN = {"called", "failed", "interrupted"}
"""Outcomes of calls whose tool ran, to its end or not."""

_WEB = {"web_search": ("search", "searches"), "web_fetch": ("address", "addresses")}
"""The tools of this package, and what each call sends."""
_SHOWN_VALUE = 40
_SHOWN_ARGUMENTS = 100
_MOST_OF_A_CALL = 2000
_CALL_WIDTH = 100


def make_tools(
    named: Sequence[object],
    namespace: Mapping[str, Any],
    find: Callable[[object, Mapping[str, Any]], Tool | None] = lambda *_: None,
) -> tuple[Tool, ...]:
    """Return the tools that ``-T`` names; from Python also functions.

    Parameters
    ----------
    find
        Returns the tool of this package that a name or a function means, if any.

    Raises
    ------
    PromptError
        There is no such name, it cannot be used as a tool, or two tools have the same
        name.
    """
    tools = [find(what, namespace) or _make_tool(what, namespace) for what in named]
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise PromptError(
                f"Two tools have the name {name}.",
                why="a model calls a tool by its name",
                next_step=f"rename one of them in a cell above: {name}_2 = …",
            )
    return tuple(tools)


def _make_tool(what: object, namespace: Mapping[str, Any]) -> Tool:
    if not isinstance(what, str):
        return make_tool(name_of(what), what)
    # The model sees only the last part of the name: tool names have no dots.
    return make_tool(what.rpartition(".")[2], find_value(what, namespace))


def always_yes(_call: ToolCall, _is_shown: bool) -> Verdict:
    """Allow every call, as ``--yes`` says."""
    return "yes"


class AskBeforeCall:
    """Asks the user before each call; ``always`` allows all calls of that tool."""

    def __init__(self, tools: Sequence[Tool] = ()) -> None:
        self._always: set[str] = set()
        self._sites = {tool.name: tool.sends_to for tool in tools if tool.sends_to}

    def __call__(self, call: ToolCall, is_shown: bool) -> Verdict:
        """Return what the user says.

        If the call is not shown above, the question contains all of it. It is not
        printed: output may be captured, and a question is always seen.
        """
        if call.name in self._always:
            return "yes"
        asked = _short(call) if is_shown else _whole(call)
        site = self._sites.get(call.name)
        where = f", sent to {site}" if site else ""
        answer = ask_user(f"Call {asked}{where}? [y]es, [n]o, [a]lways: ")
        if answer is None:
            return "nobody"
        word = answer.strip().lower()
        if word in {"a", "always"}:
            self._always.add(call.name)
        return "yes" if word in {"y", "yes", "a", "always"} else "no"


def _short(call: ToolCall) -> str:
    """Return a call on one line, as Python writes it; long values are cut."""
    arguments = ", ".join(
        f"{quoted(_name(name), limit=_SHOWN_VALUE)}="
        f"{quoted(_json(value), limit=_SHOWN_VALUE)}"
        for name, value in call.arguments.items()
    )
    shown = quoted(arguments, limit=_SHOWN_ARGUMENTS)
    return f"{quoted(call.name, limit=80)}({shown})"


def _whole(call: ToolCall) -> str:
    """Return a call as Python writes it, in lines that fit; nothing of it is hidden.

    One that is too long is cut, and says so. All lines but the first are marked: a
    value could look like the question itself at the beginning of a line.
    """
    arguments = ", ".join(
        f"{_name(name)}={_json(value)}" for name, value in call.arguments.items()
    )
    text = harmless(f"{call.name}({arguments})")
    more = len(text) - _MOST_OF_A_CALL
    starts = range(0, min(len(text), _MOST_OF_A_CALL), _CALL_WIDTH)
    lines = [text[at : min(at + _CALL_WIDTH, _MOST_OF_A_CALL)] for at in starts]
    if more > 0:
        lines.append(f"[{more:,} more characters, not shown]")
    return "\n… ".join(lines)


def _name(name: str) -> str:
    return name if name.isidentifier() else _json(name)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class ToolLoop:
    """Makes the calls that a model requests, and sends it the results.

    Parameters
    ----------
    tools
        The tools that may be called.
    approve
        Called before each call of a tool.
    show
        Shows the steps so far, before each call that may be made; it has no result yet.
        Returns whether the user sees them.
    rounds
        After this many rounds, the last request is sent without tools.
    hide
        Removes secrets from the results.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        approve: Approve,
        show: Callable[[Sequence[Message]], bool],
        rounds: int,
        *,
        hide: Callable[[str], str] = str,
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._approve = approve
        self._show = show
        self._rounds_left = rounds
        self._hide = hide
        self._too_many = 0
        self._advice: dict[str, None] = {}
        self._steps: list[Message] = []

    @property
    def steps(self) -> tuple[Message, ...]:
        """Messages of the rounds so far."""
        return tuple(self._steps)

    @property
    def notes(self) -> Sequence[str]:
        """Notes for the footer."""
        ran = Counter(
            step["tool_name"]
            for step in self._steps
            if step.get("outcome") in _RAN and not step.get("sent_to")
        )
        called = [
            f"{n} ({times} times)" if times > 1 else n for n, times in ran.items()
        ]
        notes = [f"called {', '.join(called)}"] if called else []
        notes += [*_sent_notes(self._steps), *self._advice]
        refused = [step for step in self._steps if step.get("outcome") == "refused"]
        if refused:
            notes.append(
                f"calls declined, no one to confirm: {len(refused)} (--yes allows them)"
            )
        if self._too_many:
            notes.append(
                f"calls skipped: {self._too_many:,} (at most {MAX_CALLS} per reply)"
            )
        if not self._rounds_left:
            notes.append(
                "limit of tool rounds reached: %config OllamaMagics.tool_rounds"
            )
        return notes

    def next_request(self, request: Request, response: Response) -> Request | None:
        """Make the calls of a response; return the request with their results."""
        if not response.tool_calls or not self._rounds_left:
            return None
        assert isinstance(request, ChatRequest)
        self._rounds_left -= 1
        begun = len(self._steps)
        # One more than are made: its result says that there were too many.
        calls = response.tool_calls[: MAX_CALLS + 1]
        self._steps.append(_called_message(response, calls))
        try:
            for number, call in enumerate(calls, 1):
                self._add(call, self._result(call, number, len(response.tool_calls)))
        except BaseException:
            # A chat that continues needs a result for each call.
            for call in calls[len(self._steps) - begun - 1 :]:
                self._add(call, _SKIPPED)
            raise
        return replace(
            request,
            messages=[*request.messages, *map(without_outcome, self._steps[begun:])],
            tools=request.tools if self._rounds_left else (),
        )

    def _add(self, call: ToolCall, result: ToolResult) -> None:
        message: Message = {
            "role": "tool",
            "content": self._hide(result.text),
            "tool_name": call.name,
            "outcome": result.outcome,
        }
        if result.sent_to:
            message["sent_to"] = result.sent_to
        if result.sources:
            named = [{"title": title, "url": url} for title, url in result.sources]
            message["sources"] = named
        if result.advice:
            self._advice[result.advice] = None
        if call.id:
            message["tool_call_id"] = call.id
        self._steps.append(message)

    def _result(self, call: ToolCall, number: int, count: int) -> ToolResult:
        if number > MAX_CALLS:
            self._too_many += count - MAX_CALLS
            text = f"too many calls: the last {count - MAX_CALLS} were not made"
            return ToolResult(f"{text}; at most {MAX_CALLS} per reply", "invalid")
        tool = self._tools.get(call.name)
        if tool is None:
            name, known = quoted(call.name, limit=200), ", ".join(self._tools)
            return ToolResult(f"There is no tool {name}; only: {known}", "invalid")
        if call.fault:
            return ToolResult(call.fault, "invalid")
        arguments, wrong = corrected_arguments(tool, call.arguments)
        if wrong:
            return ToolResult(wrong, "invalid")
        is_shown = self._show(self._steps)
        with let_through():
            verdict = self._approve(replace(call, arguments=arguments), is_shown)
        if verdict == "yes":
            return self._made(tool, call, arguments)
        return _NOBODY if verdict == "nobody" else _DECLINED

    def _made(
        self, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]
    ) -> ToolResult:
        """Call a tool; record an interrupt of it before it is passed on."""
        try:
            with let_through():
                return run_tool(tool, arguments)
        except BaseException:
            self._add(call, replace(_INTERRUPTED, sent_to=tool.sends_to))
            raise


def _sent_notes(steps: Sequence[Message]) -> list[str]:
    """Return what was sent to other sites: ``2 searches sent to ollama.com``."""
    sent = Counter(
        (step["sent_to"], step["tool_name"]) for step in steps if step.get("sent_to")
    )
    return [
        f"{counted(count, *_WEB.get(name, ('call',)))} sent to {site}"
        for (site, name), count in sent.items()
    ]


def own_tools(tools: Sequence[Tool]) -> list[str]:
    """Return what is said about functions of the user with the name of a web tool."""
    names = [tool.name for tool in tools if tool.name in _WEB and not tool.sends_to]
    return [f"{name} is your function, not the built-in tool" for name in names]


def sending_notes(tools: Sequence[Tool], *, is_asked: bool) -> list[str]:
    """Return what is said about web tools before anything is sent.

    Parameters
    ----------
    is_asked
        Whether the user confirms each call.
    """
    when = "after you confirm each call" if is_asked else "without asking (--yes)"
    return [
        f"the arguments of {tool.name} would be sent to {tool.sends_to}, {when}"
        for tool in tools
        if tool.sends_to
    ]


def _called_message(response: Response, calls: Sequence[ToolCall]) -> Message:
    """Return the message of a response that calls tools."""
    message: Message = {"role": "assistant", "content": response.text}
    if response.thinking:  # sent back until the loop ends
        message["thinking"] = response.thinking
    message["tool_calls"] = [_call_json(call) for call in calls]
    return message


def _call_json(call: ToolCall) -> dict[str, Any]:
    named = {"id": call.id} if call.id else {}
    function = {"name": call.name, "arguments": dict(call.arguments)}
    return {**named, "function": function}


# NB: ipykernel's StdinNotImplementedError is a NotImplementedError and a RuntimeError.
_NO_INPUT = (EOFError, OSError, NotImplementedError, RuntimeError)


def ask_user(question: str) -> str | None:
    """Return what the user types; None if no user can answer."""
    try:
        return input(visible_text(question))  # it may have names from a server
    except _NO_INPUT:
        return None
