"""Source code: highlighted as HTML, found in the fences of a reply, and made a cell.

Highlighting uses Pygments' short class names in a ``highlight`` block: JupyterLab and
Notebook 7 (extension ``jupyterlab_pygments``), nbconvert, nbviewer and GitHub have a
style sheet for them, so colours follow the theme and a token costs 22 bytes. VS Code
gets our style sheet (``theme.with_style``).
"""

from __future__ import annotations

import ast
import hashlib
import html
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ollama_magic.render.math import is_active, math_html
from ollama_magic.render.text import (
    counted,
    language_of,
    one_line,
    plain_text,
    visible_code,
)
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


# -- the source of a cell ------------------------------------------------------------

_PYTHON = {"python", "py", "python3", "py3", "ipython", "ipython3", "pycon"}
_PYTHON |= {"python-repl", "doctest"}
_MAGICS = {
    "bash": "%%bash",
    "sh": "%%bash",
    "shell": "%%bash",
    "console": "%%bash",
    "html": "%%html",
    "javascript": "%%javascript",
    "js": "%%javascript",
    "perl": "%%perl",
    "ruby": "%%ruby",
}
"""The cell magics of IPython, by the names that models give to languages."""

_LANGUAGE = re.compile(r"[{.]*([\w+#-]*)")
_PYTHON_PROMPT = re.compile(r">>> ?|\.\.\.(?: |$)|In \[\d+\]: ?| {2,}\.{3,}: ?")
_SHELL_PROMPT = re.compile(r"\$ ")
_FAR_RIGHT = 200
"""Characters; the end of a longer line is out of sight in most editors."""


@dataclass(frozen=True, slots=True)
class CodeToRun:
    """The source of a cell, and what was left out."""

    source: str = ""
    """Empty if there is no code that a cell can run."""
    left_out: tuple[str, ...] = ()
    """The languages of the other blocks, in order; ``text`` if a block names none."""
    blocks: tuple[CodeBlock, ...] = field(default=(), repr=False)
    """The blocks that it is made of."""

    @property
    def hash(self) -> str:
        """A hash of the source."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:32]

    @property
    def size(self) -> str:
        """Its lines and language, as text: ``7 lines of Python``."""
        first, *others = self.source.split("\n")
        language = first.removeprefix("%%") if first.startswith("%%") else "Python"
        lines = len(others) + (language == "Python")
        return f"{counted(lines, 'line')} of {language}"

    @property
    def remark(self) -> str:
        """What a reader may overlook: other blocks, and code far to the right."""
        parts = [f"left out: {', '.join(self.left_out)}"] if self.left_out else []
        longest = max(map(len, self.source.split("\n")))
        if longest > _FAR_RIGHT:
            parts.append(f"its longest line has {longest:,} characters")
        return f" ({'; '.join(parts)})" if parts else ""


def code_to_run(blocks: Sequence[CodeBlock]) -> CodeToRun:
    r"""Return the code of a reply as the source of one cell.

    That is all Python, in order, with ``# %% block 2 of 3`` between the blocks. Without
    Python, it is the first block that a cell magic of IPython can run. Console prompts
    (``>>> ``, ``$ ``) and the output between them are removed.

    A block that names no language is Python if no block names one, or if it parses as
    code: next to a named block it usually shows the output.

    Examples
    --------
    >>> code_to_run([CodeBlock("py", "a = 1\n"), CodeBlock("", "2\n")])
    CodeToRun(source='a = 1', left_out=('text',))
    >>> code_to_run([CodeBlock("sh", "$ ls\na.txt\n")]).source
    '%%bash\nls'
    """
    filled = [block for block in blocks if block.source.strip()]
    all_bare = not any(_language(block) for block in filled)
    chosen = [block for block in filled if _is_python(block, all_bare=all_bare)]
    if chosen:
        source = _joined([_bare_source(b, _PYTHON_PROMPT) for b in chosen])
    else:
        chosen = [block for block in filled if _language(block) in _MAGICS][:1]
        source = "".join(
            f"{_MAGICS[_language(block)]}\n{_bare_source(block, _SHELL_PROMPT)}"
            for block in chosen
        )
    left_out = [_language(b) or "text" for b in filled if not _is_among(b, chosen)]
    # NB: characters that the shown reply hides must not come back in the cell.
    return CodeToRun(visible_code(source), tuple(left_out), tuple(chosen))


def _language(block: CodeBlock) -> str:
    """Return the language of a block without other attributes: ``{.py #id}``."""
    match = _LANGUAGE.match(block.language)
    return match[1].lower() if match else ""


def _is_python(block: CodeBlock, *, all_bare: bool) -> bool:
    language = _language(block)
    if language:
        return language in _PYTHON
    return all_bare or _reads_as_code(_bare_source(block, _PYTHON_PROMPT))


def _reads_as_code(source: str) -> bool:
    """Return whether a source is code, and not a printed value or text."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        isinstance(node, ast.Call)
        or (isinstance(node, ast.stmt) and not isinstance(node, ast.Expr))
        for node in ast.walk(tree)
    )


def _bare_source(block: CodeBlock, prompt: re.Pattern[str]) -> str:
    """Return the source; of a console session, what was typed."""
    lines = block.source.rstrip().split("\n")
    while not lines[0].strip():
        del lines[0]
    if not prompt.match(lines[0]):
        return "\n".join(lines)
    typed = [(line, prompt.match(line)) for line in lines]
    return "\n".join(line[match.end() :] for line, match in typed if match).rstrip()


def _joined(sources: Sequence[str]) -> str:
    count = len(sources)
    first, *others = sources
    parts = [f"# %% block {n} of {count}\n{one}" for n, one in enumerate(others, 2)]
    return "\n\n".join([first, *parts])


def _is_among(block: CodeBlock, chosen: Sequence[CodeBlock]) -> bool:
    return any(block is one for one in chosen)
