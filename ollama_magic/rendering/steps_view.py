"""What happened between a prompt and its answer: functions that the model called.

Each call is folded, with its arguments and its result; one that waits for the user is
open, so that all of it is seen before it is allowed. Knows the messages of such steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ollama_magic.rendering.quiet import folded_html, thinking_html
from ollama_magic.rendering.safe_html import json_html, markdown_html, plain_html
from ollama_magic.rendering.visible_text import visible_text

Step = Mapping[str, Any]
_LINE = 100


def steps_html(steps: Sequence[Step]) -> str:
    """Return steps as safe HTML; empty for none."""
    return "".join(_parts_html(steps))


def _parts_html(steps: Sequence[Step]) -> Iterator[str]:
    for message, results in _grouped(steps):
        if message.get("thinking"):
            yield thinking_html(message["thinking"])
        if message.get("content"):
            yield markdown_html(message["content"])
        for index, call in enumerate(message.get("tool_calls", ())):
            result = results[index]["content"] if index < len(results) else None
            yield _call_html(call["function"], result)


def _call_html(function: Mapping[str, Any], result: str | None) -> str:
    arguments = json_html(_arguments(function, indent=2))
    if result is None:
        return folded_html(f"wants to call {function['name']}", arguments, is_open=True)
    shown = arguments + plain_html(result)
    return folded_html(f"called {_call_line(function)}", shown)


def steps_text(steps: Sequence[Step]) -> str:
    """Return steps as lines of text, for a terminal."""
    return "\n".join(visible_text(line) for line in _lines(steps))


def _lines(steps: Sequence[Step]) -> Iterator[str]:
    for message, results in _grouped(steps):
        for index, call in enumerate(message.get("tool_calls", ())):
            name, arguments = call["function"]["name"], _arguments(call["function"])
            yield f"{name} {arguments}"
            if index < len(results):
                yield f"-> {_one_line(results[index]['content'])}"


def _grouped(steps: Sequence[Step]) -> list[tuple[Step, list[Step]]]:
    """Return each message of the model with the results that follow it."""
    groups: list[tuple[Step, list[Step]]] = []
    for step in steps:
        if step["role"] == "assistant":
            groups.append((step, []))
        elif groups:
            groups[-1][1].append(step)
    return groups


def _arguments(function: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(function["arguments"], ensure_ascii=False, indent=indent)


def _call_line(function: Mapping[str, Any]) -> str:
    return _one_line(f"{function['name']} {_arguments(function)}")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"
