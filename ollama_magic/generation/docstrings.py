"""Docstrings of tools, in the styles of numpy, Google and Sphinx."""

from __future__ import annotations

import inspect
import itertools
import re

_TYPED_PARAMETER = re.compile(
    r"^([ \t]*:(?:param|parameter|arg|argument|key|keyword)\s+)[^:\n]*?"
    r"(\*{0,2}\w+\s*:)",
    re.MULTILINE,
)
"""A parameter of Sphinx with its type, which may have spaces in it."""


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    r"""Return the first paragraph of a docstring, and the text about each parameter.

    Examples
    --------
    >>> read_docstring("Get the weather.\n\n:param city: its name")
    ('Get the weather.', {'city': 'its name'})
    """
    import docstring_parser

    # Types are left out: docstring_parser only reads types of one word.
    text = _TYPED_PARAMETER.sub(r"\1\2", text)
    try:
        found = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return _first_paragraph(inspect.cleandoc(text)), {}
    begin = found.short_description or ""
    if not found.blank_after_short_description:
        begin += f"\n{found.long_description or ''}"
    texts: dict[str, str] = {}
    for parameter in found.params:
        about = " ".join((parameter.description or "").split())
        for name in parameter.arg_name.split(",") if about else ():
            texts[name.strip().lstrip("*")] = about
    return _first_paragraph(begin), texts


def _first_paragraph(text: str) -> str:
    lines = itertools.takewhile(
        lambda line: line.strip() and not line.startswith(":"), text.splitlines()
    )
    return " ".join(" ".join(lines).split())
