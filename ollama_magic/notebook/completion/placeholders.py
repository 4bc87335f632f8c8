"""Tab inside of ``{{ }}``, and after options that name values of the notebook."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    FrameType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from ollama_magic.notebook.completion import static_values
from ollama_magic.notebook.completion.static_values import MISSING, UNKNOWN, is_a
from ollama_magic.notebook.completion.words import NOTHING, Entry, Offer, starting

OPEN = re.compile(r"\{\{([^{}\n]*)$")
"""A placeholder that is not closed before the cursor; the group is its text."""

_ATTRIBUTE = re.compile(r"(?P<owner>.*[\w\]])\s*\.\s*(?P<typed>\w*)")
_ITEM = re.compile(r"(?P<owner>.+?)\[\s*(?P<typed>\"[^\"]*|'[^']*|[^\[\]\"']*)")
_NAME = re.compile(r"\s*(?P<typed>\w*)")

_CLOSED = (
    *(type(os.environ), ModuleType, FrameType, type, functools.partial),
    *(FunctionType, MethodType, BuiltinFunctionType, MethodDescriptorType),
)
"""Values that a prompt cannot have: secret, or without a text."""

Fits = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values that fit, and what they are called there."""

    kind: str
    fits: Fits
    has_items: bool = True
    """Whether a value may be an item of another one."""


def fits_prompt(value: object) -> bool:
    """Return whether ``{{ }}`` can send a value, as far as its type tells."""
    if value is UNKNOWN:
        return True
    is_secret = static_values.attribute(type(value), "holds_secrets") is True
    return not (is_secret or is_a(value, _CLOSED))


IN_PROMPT = Wanted("variable", fits_prompt)
BY_OPTION = {
    "tool": Wanted("tool", static_values.is_tool, has_items=False),
    "image": Wanted("image", static_values.is_image),
    "questions": Wanted("question", static_values.is_question, has_items=False),
    "schema": Wanted("schema", static_values.is_schema, has_items=False),
}
WEB_TOOLS = {
    "web_search": "search the web, through ollama.com",
    "web_fetch": "read a page of the web, through ollama.com",
}
"""The tools of this package; a variable of the user's with the name comes first."""


def complete(
    text: str,
    after: str,
    namespace: Mapping[str, Any],
    hidden: Mapping[str, Any],
    wanted: Wanted = IN_PROMPT,
) -> Offer:
    """Return what can go on an expression: names, attributes or keys.

    Parameters
    ----------
    text
        The expression up to the cursor.
    after
        The line after the cursor: an editor may have closed quotes and brackets.
    hidden
        Names that IPython put into the namespace.
    """
    if match := _ITEM.fullmatch(text):
        owner = static_values.resolve(match["owner"], namespace)
        if not wanted.has_items or not _is_open(owner):
            return NOTHING
        return _keys(owner, match["typed"], after)
    if match := _ATTRIBUTE.fullmatch(text):
        owner = static_values.resolve(match["owner"], namespace)
        found = static_values.attributes(owner) if _is_open(owner, wanted) else iter(())
        types = static_values.columns(owner)
        return starting(
            match["typed"],
            (
                Entry(name, "column", types[name])
                if name in types
                else Entry(name, "attribute", static_values.describe(value))
                for name, value in found
                if wanted.fits(value)
            ),
        )
    if match := _NAME.fullmatch(text):
        typed = match["typed"]
        fitting = [*_names(namespace, hidden, wanted, typed)]
        if wanted is BY_OPTION["tool"]:
            own = WEB_TOOLS.items()
            fitting += [Entry(n, "tool", t) for n, t in own if n not in namespace]
        return starting(typed, fitting)
    return NOTHING


def _is_open(owner: object, wanted: Wanted = IN_PROMPT) -> bool:
    if owner is MISSING or owner is UNKNOWN:
        return False
    return wanted is not IN_PROMPT or fits_prompt(owner) or is_a(owner, type)


def _names(
    namespace: Mapping[str, Any], hidden: Mapping[str, Any], wanted: Wanted, typed: str
) -> Iterator[Entry]:
    known = list(namespace.items())  # a cell may add names meanwhile
    for name, value in known:
        if name not in hidden and name[:1] != "_" and name.startswith(typed):
            with suppress(Exception):  # an odd object must not hide the others
                if wanted.fits(value):
                    yield Entry(name, wanted.kind, static_values.describe(value))


def _keys(owner: object, typed: str, after: str) -> Offer:
    """Return the keys of a value, quoted, with what closes them if it is missing."""
    quote = typed[:1] if typed[:1] in {'"', "'"} else ""
    rest = after.removeprefix(quote)
    types = static_values.columns(owner)
    entries = []
    for key, value in static_values.items(owner):
        if not static_values.is_literal(key) or (quote and type(key) is not str):
            continue
        literal = _quoted(str(key), quote or '"') if type(key) is str else repr(key)
        begins = literal if quote else literal.lstrip('"')
        if not begins.startswith(typed):
            continue
        if quote and after.startswith(quote):
            literal = literal[:-1]
        closed = literal if rest.lstrip().startswith("]") else f"{literal}]"
        kind = "column" if types else "key"
        note = types[key] if key in types else static_values.describe(value)
        entries.append(Entry(closed, kind, note))
    return Offer(typed, tuple(entries[:300]))


def _quoted(text: str, quote: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return f"{quote}{escaped}{quote}"
