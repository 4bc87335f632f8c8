"""Which code blocks of a reply belong into a cell, and what the cell then holds.

Pure: blocks in, the source of one cell out. Knows how models write code into Markdown
and which languages IPython can run; runs nothing, and knows nothing of front ends.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ollama_magic.render.code import CodeBlock

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
"""The cell magics of IPython, by what models call the languages."""

_LANGUAGE = re.compile(r"[{.]*([\w+#-]*)")
_PYTHON_PROMPT = re.compile(r">>> ?|\.\.\.(?: |$)|In \[\d+\]: ?| {2,}\.{3,}: ?")
_SHELL_PROMPT = re.compile(r"\$ ")


@dataclass(frozen=True, slots=True)
class CodeToRun:
    """The source of a cell, and what is not in it."""

    source: str = ""
    """Empty: there is no code that a cell could run."""
    left_out: tuple[str, ...] = ()
    """The languages of the other blocks, in order; ``text`` where none is told."""


def code_to_run(blocks: Sequence[CodeBlock]) -> CodeToRun:
    r"""Return what a cell holds of the code blocks of a reply.

    All the Python, in order, with ``# %% block 2 of 3`` between the blocks. Without
    Python the first block that a cell magic of IPython runs. Prompts of a console
    (``>>> ``, ``$ ``) are taken off, and the output between them.

    A block that names no language is Python when no other does either, or when it
    reads as code: beside a named block it mostly shows what that prints.

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
    return CodeToRun(source, tuple(left_out))


def _language(block: CodeBlock) -> str:
    """Return what a block is of, without what else stands there: ``{.py #id}``."""
    match = _LANGUAGE.match(block.language)
    return match[1].lower() if match else ""


def _is_python(block: CodeBlock, *, all_bare: bool) -> bool:
    language = _language(block)
    if language:
        return language in _PYTHON
    return all_bare or _reads_as_code(_bare_source(block, _PYTHON_PROMPT))


def _reads_as_code(source: str) -> bool:
    """Tell Python that does something from a value or a text that is printed."""
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
    """Return the source; of a session at a console what was typed."""
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
