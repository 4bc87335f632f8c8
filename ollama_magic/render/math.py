"""Math in a text, and how it is marked for MathJax.

Math is ``$…$`` by pandoc's rule, ``$$…$$``, and LaTeX's round and square brackets.
Commands that reach beyond the formula are never typeset: such math is shown as source.
"""

from __future__ import annotations

import html
import re

MATH_CLASS = "tex2jax_process mathjax_process"
"""MathJax 2 (nbconvert) and 4 (Lab) typeset this inside a page that they ignore."""

# Pandoc's rule: no space inside the marks, and no digit after the last one, so that
# "$5 and $10" is money. Endings of ordinals as in "n$th" are allowed.
_DOLLARS = (
    r"(?<![\\$0-9A-Za-z])\$(?![\s$])(?P<d>(?:\\.|[^\\$]){0,1000}?)(?<!\s)\$"
    r"(?![$0-9])(?!(?!(?:th|st|nd|rd|s)\b)[A-Za-z])"
)
# With blanks inside, only what has a command, a power or a braced index is math.
_SPACED = (
    r"(?<![\\$0-9A-Za-z])\$ (?=[^$\n]{0,300}?(?:\\[A-Za-z]{2}|\^\w|[_^]\{))"
    r"[^$\n]{1,300} \$(?![$0-9A-Za-z])"
)
_DISPLAY = r"(?<!\\)\$\$(?:\\.|[^\\$]|\$(?!\$)){1,5000}?\$\$"
# NB: each body stops at the next opening; else many of them take quadratic time.
_ROUND = r"(?<!\\)\\\((?:\\\\|(?!\\[\\()]).)+\\\)"
_SQUARE = r"(?<!\\)\\\[(?:\\\\|(?!\\[\\\[\]]).)+\\\]"
INLINE_MATH = rf"(?s:{_DISPLAY}|{_DOLLARS}|{_SPACED}|{_ROUND}|{_SQUARE})"
_MONEY = re.compile(r"\d[\d.,]*[kKmMbB]?\s+[A-Za-z]{2,}|\d[\d.,]*\s*[-–—/]\s*$")
MATH_LINES = re.compile(
    rf"^(?P<indent> *)(?P<math>\$\$(?:(?!\$\$).)+\$\$|{_SQUARE})[ ]*$",
    re.MULTILINE | re.DOTALL,
)


# Commands that reach beyond a formula: links, styles, extensions, and redefinitions of
# commands or colours for the whole page.
_ACTIVE = re.compile(
    r"\\(?:href|url|style|class|cssId|data|require|includegraphics|mmlToken|unicode"
    r"|html\w*|tex2?html|[egx]?def|let|futurelet|(?:re)?newcommand|providecommand"
    r"|(?:re)?newenvironment|Declare\w+|csname|toggle|endtoggle|texttip|tip|mathtip"
    r"|action|begingroup\w*|global|bbox|f?colorbox|definecolor|colorlet|label"
    r"|(?:eq)?ref|mathtoolsset|\w*tagform|Newextarrow|new(?!line)\w+)(?![a-zA-Z])"
)
_ENVIRONMENT = re.compile(r"\\begin\s*\{([^{}]*)\}")
_TYPESET = re.compile(
    r"(?:align(?:at|ed|edat)?|array|CD|(?:d|r|dr)?cases|displaymath|eqnarray|equation"
    r"|flalign|gather(?:ed)?|math|[BVbpv]?(?:small)?matrix|multlined?|prooftree|split"
    r"|subarray|xx?alignat)\*?"
)
"""What MathJax typesets; in place of other environments it shows an error only."""
_LENGTH = (
    r"[-+]?0*(?:\d{4,}|\d{3,}(?=[.,\d]*\s*(?:em|ex|pc|in|cm)))[.,\d]*"
    r"\s*(?:e[mx]|p[xtc]|mu|in|[cm]m|bp|dd|cc|sp)(?![a-zA-Z])"
)
_HUGE = re.compile(
    r"(?:[{\[]|\\(?:[hmv]?skip|[hmv]space|m?kern|raise|lower|moveleft|moveright"
    r"|[hv]box\s*to|above(?:withdelims..)?)\*?|\\(?:[rR]ule|Space).{0,60}?)"
    rf"\s*{_LENGTH}"
)
"""A length of about a thousand pixels or more, where TeX reads a length."""
_WORDS = re.compile(r"\\(?:text|mathrm|textrm|mbox)\s*\{[^\\{}$]*\}")


def is_active(source: str) -> bool:
    r"""Return whether math does more than display: then it is shown as source.

    Examples
    --------
    >>> is_active(r"$\href{x}{y}$"), is_active(r"$\let\neq=$"), is_active(r"$\left($")
    (True, True, False)
    >>> is_active(r"$\rule{9999px}{1em}$"), is_active(r"$\text{1000 cm}\hspace{1em}$")
    (True, False)
    """
    if _ACTIVE.search(source):
        return True
    if not all(map(_TYPESET.fullmatch, _ENVIRONMENT.findall(source))):
        return True
    return _HUGE.search(_WORDS.sub("", source)) is not None


def is_money(match: re.Match[str]) -> bool:
    """Return whether a match of ``INLINE_MATH`` is two prices and the words between."""
    inside: str | None = match["d"]
    return inside is not None and (not inside or _MONEY.match(inside) is not None)


def math_html(source: str) -> str:
    """Return math with its delimiters, marked for MathJax unless it is active."""
    text = html.escape(source, quote=False)
    if is_active(source):
        return f"<code>{text}</code>"
    return f'<span class="{MATH_CLASS}">{text}</span>'
