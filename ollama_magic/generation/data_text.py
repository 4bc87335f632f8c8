"""The JSON value in the text of a reply, also where a model writes more around it.

Servers and models that ignore ``format`` put JSON into a fence, or between sentences.
Only one value may be meant: where a text has several, none is taken.
"""

from __future__ import annotations

import json
import re

from ollama_magic.render.code_blocks import CodeBlock, code_blocks

_END_OF_THINKING = "</think>"
_BEGIN = re.compile(
    r"\{\s*[\"}]|\[\s*[\"{]|^[ \t]*(?P<numbers>\[)\s*[\[\]\d-]", re.MULTILINE
)
"""Where an object or a list begins; ``[1]`` in a line of text is a footnote."""
_REST_OF_LINE = re.compile(r"[ \t]*(?:\r?\n|$)")
_DECODER = json.JSONDecoder()


def read_data(text: str) -> object:
    r"""Return the JSON value that a reply is, or that is in it.

    Raises
    ------
    ValueError
        There is none, or more than one; with the reason.

    Examples
    --------
    >>> read_data('Here you are:\n```json\n{"a": 1}\n```')
    {'a': 1}
    """
    try:
        return _loaded(text)
    except ValueError as error:
        found = _values_in(text.rpartition(_END_OF_THINKING)[2])
        if len(found) > 1:
            raise ValueError(f"it has {len(found)} values of JSON, not one") from None
        if not found:
            raise error from None
        return found[0]


def _values_in(text: str) -> list[object]:
    """Return the values of JSON in a text; raises ValueError when one is broken."""
    text = text.strip()
    blocks = [block for block in code_blocks(text) if _may_be_json(block)]
    if blocks:
        return [_loaded(block.source) for block in blocks]
    try:
        return [_loaded(text)]
    except ValueError:
        return list(_values_in_prose(text))


def _may_be_json(block: CodeBlock) -> bool:
    is_said = block.language.lower().startswith("json")
    return is_said or (not block.language and block.source.lstrip()[:1] in {"{", "["})


def _values_in_prose(text: str) -> list[object]:
    found: list[object] = []
    position = 0
    while match := _BEGIN.search(text, position):
        begin = match.start("numbers") if match["numbers"] else match.start()
        try:
            value, position = _DECODER.raw_decode(text, begin)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not match["numbers"] or _REST_OF_LINE.match(text, position):
            found.append(value)
    return found


def _loaded(text: str) -> object:
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value
