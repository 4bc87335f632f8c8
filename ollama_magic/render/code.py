"""Source code: highlighted as HTML, and found in the fences of a reply.

Highlighting uses Pygments' short class names in a ``highlight`` block: JupyterLab and
Notebook 7 (extension ``jupyterlab_pygments``), nbconvert, nbviewer and GitHub have a
style sheet for them, so colours follow the theme and a token costs 22 bytes. VS Code
gets our style sheet (``theme.with_style``).
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ollama_magic.render.math import is_active, math_html
from ollama_magic.render.text import language_of, one_line, plain_text
from ollama_magic.render.theme import CODE_BACKGROUND, CODE_FONT, CODE_TEXT
from ollama_magic.render.tree import Node, tree_of

_MAX_HIGHLIGHTED = 100_000
"""Characters; longer code stays plain."""
_MAX_LINE = 5000
"""Characters; a growing line is redrawn often, and its lexer may be quadratic."""
_MAX_SECONDS = 0.5
"""Some lexers take quadratic time on odd input: then the rest stays plain."""
_LONG_LINE = re.compile(rf".{{{_MAX_LINE}}}")

# Jupyter's themes distinguish only these groups; the first match counts.
_CLASSES = {
    "Comment": "c",
    "Keyword": "k",
    "Name.Tag": "k",
    "Operator.Word": "k",
    "Operator": "o",
    "Literal.String": "s",
    "Literal.Number": "m",
    # These are red, green and grey in Jupyter's themes.
    "Generic.Deleted": "s",
    "Generic.Inserted": "m",
    "Generic.Subheading": "c",
}
CLASSES = frozenset(_CLASSES.values())
"""All classes of tokens."""

PRE_STYLE = (
    f"background:{CODE_BACKGROUND};color:{CODE_TEXT};font-family:{CODE_FONT};"
    "direction:ltr;margin:0 0 1em;overflow-x:auto;padding:.5em .8em;word-break:normal"
)
"""Style of a code block: like cells, or on light grey if there is no theme."""
LABEL_STYLE = "font-size:75%;opacity:.75;user-select:none"
"""Style of the line above a code block; it is not copied with the code."""


def code_html(source: str, language: str = "") -> str:
    """Return code as one ``<pre>`` block, highlighted if the language is known.

    Parameters
    ----------
    source
        The code; a newline at the end is not shown.
    language
        A name from Pygments, as models write it after a fence.
    """
    source = source.removesuffix("\n")
    is_long = len(source) > _MAX_HIGHLIGHTED or _LONG_LINE.search(source)
    lexer = _lexer(language) if language and not is_long else None
    body = html.escape(source, quote=False)
    if lexer:  # NB: some lexers read only lines that end
        before, _, after = _tokens_html(lexer, f"{source}\n").rpartition("\n")
        body = before + after
    body = keep_first_newline(body)
    return f'<pre class="highlight" style="{PRE_STYLE}">{body}\n</pre>'


def keep_first_newline(body: str) -> str:
    """Return the body of a ``<pre>`` with an empty first line preserved.

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
    """Return highlighted code; neighbours of one class share a ``<span>``."""
    parts: list[str] = []
    open_class, done = "", 0
    deadline = time.perf_counter() + _MAX_SECONDS
    for token, text in lexer.get_tokens(source):
        css_class = open_class if text.isspace() else _class_of(token)
        if text == ".":  # Pygments takes the dot of an attribute as an operator
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


# -- blocks of a text ----------------------------------------------------------------


def leaf_html(node: Node) -> str:
    """Return the HTML of a block whose content is not Markdown."""
    text = "\n".join(node.lines)
    if node.kind == "math":
        source = text.strip()
        if not node.is_closed:
            return f"<code>{html.escape(source, quote=False)}</code>"
        is_code = "\n" in source and is_active(source)
        return code_html(source, "latex") if is_code else math_html(source)
    if node.kind == "html":
        return code_html(text.rstrip(), "html")
    if node.kind == "indented":
        return code_html(text.rstrip())
    label = "" if node.is_continued else _label_html(node.info)
    return label + code_html(text, language_of(node.info))


def _label_html(info: str) -> str:
    """Return the info string of a fence, which names the language, as a label."""
    text = html.escape(one_line(plain_text(info)), quote=False)
    return f'<div style="{LABEL_STYLE}">{text}</div>' if text else ""


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One fenced block: its language as the model wrote it, and its source."""

    language: str
    source: str

    def __str__(self) -> str:
        return self.source


def code_blocks(text: str) -> tuple[CodeBlock, ...]:
    r"""Return the fenced code blocks of ``text``; an unclosed one runs to the end.

    Examples
    --------
    >>> code_blocks("Try:\n```python\nprint(1)\n```\nDone.")
    (CodeBlock(language='python', source='print(1)\n'),)
    """
    return tuple(map(_code_block, _fences(tree_of(text))))


def _fences(node: Node) -> Iterator[Node]:
    for child in node.children:
        if child.kind == "fence":
            yield child
        yield from _fences(child)


def _code_block(fence: Node) -> CodeBlock:
    language = next(iter(fence.info.split()), "")
    return CodeBlock(language, "".join(f"{line}\n" for line in fence.lines))
