"""Source code as HTML, coloured by the page's own theme.

Classes are Pygments' short ones, in a ``highlight`` block: JupyterLab and Notebook 7
(extension ``jupyterlab_pygments``), nbconvert, nbviewer and GitHub have a style sheet
for them, so colours follow the theme and a token costs 22 bytes; VS Code gets ours
(``theme.CODE_STYLE``). Knows nothing of Markdown.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ollama_magic.render.theme import CODE_BACKGROUND, CODE_FONT, CODE_TEXT

_MAX_HIGHLIGHTED = 100_000
"""Characters; longer code stays plain."""
_MAX_LINE = 5000
"""Characters; a line is drawn anew while it grows, and its lexer may be quadratic."""
_MAX_SECONDS = 0.5
"""Some lexers take quadratic time on odd input: the rest stays plain then."""
_LONG_LINE = re.compile(rf".{{{_MAX_LINE}}}")

# The themes of Jupyter tell no more groups apart than these; the first that fits.
_CLASSES = {
    "Comment": "c",
    "Keyword": "k",
    "Operator.Word": "k",
    "Operator": "o",
    "Literal.String": "s",
    "Literal.Number": "m",
}
CLASSES = frozenset(_CLASSES.values())
"""All classes that a token can have."""

PRE_STYLE = (
    f"background:{CODE_BACKGROUND};color:{CODE_TEXT};font-family:{CODE_FONT};"
    "margin:0 0 1em;padding:.5em .8em"
)
"""The look of a block of code: that of cells, on a faint grey where no theme is."""


def code_html(source: str, language: str = "") -> str:
    """Return code as one ``<pre>`` block, highlighted when the language is known.

    Parameters
    ----------
    source
        The code; a last newline is not shown.
    language
        A name that Pygments knows, as models write it after a fence.
    """
    source = source.removesuffix("\n")
    is_long = len(source) > _MAX_HIGHLIGHTED or _LONG_LINE.search(source)
    lexer = _lexer(language) if language and not is_long else None
    body = _tokens_html(lexer, source) if lexer else html.escape(source, quote=False)
    body = keep_first_newline(body)
    return f'<pre class="highlight" style="{PRE_STYLE}">{body}\n</pre>'


def keep_first_newline(body: str) -> str:
    """Return the body of a ``<pre>`` so that an empty first line is seen.

    HTML drops the first newline, once in the sanitiser and once in the browser.
    """
    return f"\n\n{body}" if body.startswith("\n") else body


@lru_cache(maxsize=64)
def _lexer(language: str) -> Any:  # noqa: ANN401  (a Pygments lexer, imported late)
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _tokens_html(lexer: Any, source: str) -> str:  # noqa: ANN401
    """Neighbours of one class share a ``<span>``; spaces go with what is before."""
    parts: list[str] = []
    open_class, done = "", 0
    deadline = time.perf_counter() + _MAX_SECONDS
    for token, text in lexer.get_tokens(source):
        css_class = open_class if text.isspace() else _class_of(token)
        if text == ".":  # to Pygments the dot of an attribute is an operator
            css_class = ""
        if css_class != open_class:
            parts.append("</span>" if open_class else "")
            parts.append(f'<span class="{css_class}">' if css_class else "")
            open_class = css_class
        parts.append(html.escape(text, quote=False))
        done += len(text)
        if time.perf_counter() > deadline:
            break
    parts.append("</span>" if open_class else "")
    return "".join(parts) + html.escape(source[done:], quote=False)


@lru_cache(maxsize=512)
def _class_of(token: Any) -> str:  # noqa: ANN401
    name = str(token).removeprefix("Token.")
    for group, css_class in _CLASSES.items():
        if name == group or name.startswith(f"{group}."):
            return css_class
    return ""


_FENCE = re.compile(r"(?P<indent>[ \t]*(?:>[ \t]?)*)(?P<fence>`{3,}|~{3,})(?P<info>.*)")


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One fenced block: its language as the model wrote it, and its source."""

    language: str
    source: str

    def __str__(self) -> str:
        return self.source


def code_blocks(text: str) -> tuple[CodeBlock, ...]:
    r"""Return the fenced blocks of ``text``, in order.

    Examples
    --------
    >>> code_blocks("Try:\n```python\nprint(1)\n```\nDone.")
    (CodeBlock(language='python', source='print(1)\n'),)
    """
    return tuple(_scan(text.split("\n")))


def _scan(lines: list[str]) -> Iterator[CodeBlock]:
    rest = iter(lines)
    for line in rest:
        opening = _FENCE.fullmatch(line)
        # NB: an info string with a backtick is an inline code span, not a fence.
        if opening and not (opening["fence"][0] == "`" and "`" in opening["info"]):
            words = opening["info"].split()
            body = "".join(_until_closed(rest, opening))
            yield CodeBlock(words[0] if words else "", body)


def _until_closed(rest: Iterator[str], opening: re.Match[str]) -> Iterator[str]:
    mark, least = opening["fence"][0], len(opening["fence"])
    indent = len(opening["indent"])
    for line in rest:
        bare = line.strip(" \t>")
        if len(bare) >= least and not bare.strip(mark):
            return
        removable = len(line) - len(line.lstrip(" \t>"))
        yield line[min(indent, removable) :] + "\n"
