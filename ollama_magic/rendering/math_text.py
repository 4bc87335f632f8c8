"""What is math in a text, and how it is marked for MathJax.

``$…$`` after pandoc's rule, ``$$…$$``, and LaTeX's round and square brackets. Knows
nothing of the Markdown around it.
"""

from __future__ import annotations

import html
import re

MATH_CLASS = "tex2jax_process mathjax_process"
"""MathJax 2 (nbconvert) and 4 (Lab) typeset this, in a page they are to ignore."""

# What pandoc calls smart: no space inside the marks, and no digit after the last one,
# so that "$5 and $10" is money; "n$th" and the like are endings of ordinals.
_DOLLARS = (
    r"(?<![\\$0-9A-Za-z])\$(?![\s$])(?P<d>(?:\\.|[^\\$]){0,1000}?)(?<!\s)\$"
    r"(?![$0-9])(?!(?!(?:th|st|nd|rd|s)\b)[A-Za-z])"
)
_DISPLAY = r"(?<!\\)\$\$(?:\\.|[^\\$]|\$(?!\$)){1,5000}?\$\$"
# NB: each body stops at another opening, or many of them would take quadratic time.
_ROUND = r"(?<!\\)\\\((?:\\\\|(?!\\[\\()]).)+\\\)"
_SQUARE = r"(?<!\\)\\\[(?:\\\\|(?!\\[\\\[\]]).)+\\\]"
INLINE_MATH = rf"(?s:{_DISPLAY}|{_DOLLARS}|{_ROUND}|{_SQUARE})"
_MONEY = re.compile(r"\d[\d.,]*[kKmMbB]?\s+[A-Za-z]{2,}|\d[\d.,]*\s*[-–—/]\s*$")
MATH_LINES = re.compile(
    rf"^(?P<indent> *)(?P<math>\$\$(?:(?!\$\$).)+\$\$|{_SQUARE})[ ]*$",
    re.MULTILINE | re.DOTALL,
)


def is_money(match: re.Match[str]) -> bool:
    """Whether what ``INLINE_MATH`` found are two prices and the words between."""
    inside: str | None = match["d"]
    return inside is not None and (not inside or _MONEY.match(inside) is not None)


def math_html(source: str) -> str:
    """Return math, with its delimiters, as MathJax is to find it."""
    return f'<span class="{MATH_CLASS}">{html.escape(source, quote=False)}</span>'
