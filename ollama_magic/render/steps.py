"""What happened between a prompt and its answer: functions that the model called.

Each call is folded under a line that says what came of it, with its arguments and its
result. A call that waits for the user is open, so that all of it is seen before it is
allowed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ollama_magic.render.quiet import folded_html, quiet_html, thinking_html
from ollama_magic.render.safe_html import json_html, markdown_html, plain_html
from ollama_magic.render.text import visible_text

Step = Mapping[str, Any]
_LINE = 100
_SHORT = 60
_MAX_INDENTED_DEPTH = 10
"""Deeper arguments stay on one line: each value would take a line of blanks."""
_MAX_LIVE = 50_000
"""Characters of HTML; earlier calls are not sent again and again while others run."""

_TITLES = {
    "called": "called {call}",
    "failed": "{call} failed: {result}",
    "invalid": "{call} was not called: {result}",
    "declined": "declined {call}",
    "refused": "refused {call}: nobody to ask",
    "interrupted": "stopped in {call}",
    "skipped": "stopped before {call}",
}
_UNTOLD = "asked for {call}"
"""The title in records of older versions, which do not tell what came of a call."""

_WORDS = {
    "failed": "failed: {result}",
    "invalid": "not called: {result}",
    "declined": "declined",
    "refused": "refused: nobody to ask",
    "interrupted": "stopped in it",
    "skipped": "stopped before it",
}
"""What a terminal says of a call, under its line; of others the result itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function that a model called, and the message that tells of it."""

    function: Mapping[str, Any]
    told: Step | None
    """None while it waits to be allowed, or runs."""

    @property
    def arguments(self) -> str:
        """Its arguments as JSON."""
        return json.dumps(self.function["arguments"], ensure_ascii=False)


def steps_html(steps: Sequence[Step]) -> str:
    """Return steps as safe HTML; empty for none."""
    return "".join(
        _part_html(part) for group in _grouped(steps) for part in _parts(*group)
    )


def live_steps_html(steps: Sequence[Step]) -> str:
    """Return the last steps as safe HTML, while others follow; empty for none."""
    shown: list[str] = []
    size = 0
    parts = [part for group in _grouped(steps) for part in _parts(*group)]
    while parts and size < _MAX_LIVE:
        html = _part_html(parts.pop())
        size += len(html)
        shown.append(html)
    if parts:
        shown.append(quiet_html(f"… {len(parts):,} earlier (shown at the end)"))
    return "".join(reversed(shown))


def calls_of(steps: Sequence[Step]) -> list[Call]:
    """Return the calls among steps, in order."""
    return [
        part
        for group in _grouped(steps)
        for part in _parts(*group)
        if isinstance(part, Call)
    ]


def call_lines(call: Call) -> list[str]:
    """Return a call as lines of text: what is called, then what came of it."""
    lines = [f"{call.function['name']} {call.arguments}"]
    if call.told is not None:
        result = _one_line(call.told["content"])
        words = _WORDS.get(call.told.get("outcome", ""), "{result}")
        lines.append(f"-> {words.format(result=result)}")
    return [visible_text(line) for line in lines]


def steps_source(steps: Sequence[Step]) -> str:
    """Return steps as JSON: all that is shown of them, and in which order."""
    return json.dumps(list(steps), ensure_ascii=False) if steps else ""


def steps_text(steps: Sequence[Step]) -> str:
    """Return steps as lines of text."""
    return "\n".join(line for call in calls_of(steps) for line in call_lines(call))


# -- parts of the steps ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model thought or wrote before it called."""

    text: str
    is_thinking: bool = False


def _grouped(steps: Sequence[Step]) -> list[tuple[Step, list[Step]]]:
    """Return each message of the model with the results that follow it."""
    groups: list[tuple[Step, list[Step]]] = []
    for step in steps:
        if step["role"] == "assistant":
            groups.append((step, []))
        elif groups:
            groups[-1][1].append(step)
    return groups


def _parts(message: Step, results: Sequence[Step]) -> Iterator[_Said | Call]:
    if message.get("thinking"):
        yield _Said(message["thinking"], is_thinking=True)
    if message.get("content"):
        yield _Said(message["content"])
    for index, call in enumerate(message.get("tool_calls", ())):
        told = results[index] if index < len(results) else None
        yield Call(call["function"], told)


def _part_html(part: _Said | Call) -> str:
    if isinstance(part, Call):
        return _call_html(part)
    return thinking_html(part.text) if part.is_thinking else markdown_html(part.text)


def _call_html(call: Call) -> str:
    arguments = json_html(_indented(call))
    if call.told is None:
        title = f"wants to call {call.function['name']}"
        return folded_html(title, arguments, is_open=True)
    return folded_html(
        _title(call, call.told), arguments + plain_html(call.told["content"])
    )


def _indented(call: Call) -> str:
    line = call.arguments
    steps = (1 if mark in "[{" else -1 for mark in line if mark in "[{]}")
    if max(accumulate(steps), default=0) > _MAX_INDENTED_DEPTH:
        return line
    return json.dumps(call.function["arguments"], ensure_ascii=False, indent=2)


def _title(call: Call, told: Step) -> str:
    title = _TITLES.get(told.get("outcome", ""), _UNTOLD)
    # Where the title tells the reason too, both are cut to half a line.
    limit = _SHORT if "{result}" in title else _LINE
    line = _one_line(f"{call.function['name']} {call.arguments}", limit)
    return title.format(call=line, result=_one_line(told["content"], _LINE))


def _one_line(text: str, limit: int = _LINE) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
