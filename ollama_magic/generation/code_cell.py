"""Inserts the code of a reply into the cell below, for review; the code is not run.

``run`` calls it for ``-x``, and ``%ollama code``. A cell that is run again inserts a
second cell only if the code is another.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ollama_magic.generation.prepare import PreparedRequest
from ollama_magic.generation.response import Result
from ollama_magic.generation.session import Session
from ollama_magic.history.turns import utc_now
from ollama_magic.render.code import CodeBlock, code_blocks
from ollama_magic.render.text import counted, visible_text

PUT_BEFORE = "code already inserted below by an earlier run"
_ANOTHER_CELL = "for another cell: %ollama code"
_NO_CELL = "no cell can be inserted here: copy the code above"


def put_code_below(
    session: Session, prepared: PreparedRequest, result: Result
) -> Result:
    """Insert the code of a complete reply into the cell below.

    Returns
    -------
    Result
        The result, with a note for the footer.
    """
    options = prepared.options
    code = code_to_run(code_blocks(result.response.text))
    if not code.source:
        return result.noted(f"no code in this reply{_others(code)}")
    if result.code_below == code.hash and not options.append:
        return result.noted(f"{PUT_BEFORE}; {_ANOTHER_CELL}")
    where = insert_below(session, code)
    if not where:
        return result.noted(_NO_CELL)
    put = f"code in {where}, for review{_others(code)}"
    if result.code_below:
        put = f"new {put}; the earlier code is below it"
    return replace(result, code_below=code.hash).noted(put)


def insert_below(session: Session, code: CodeToRun) -> str:
    """Insert code into a cell below; return where it is, empty if there is no place."""
    where = session.cells.put_below(code.source)
    if where and (cell_id := session.cells.cell_id):
        put = session.code_below.setdefault(cell_id, {})
        put.pop(code.hash, None)  # the last one is the one that was put last
        put[code.hash] = utc_now()
    return where


def code_below(session: Session, prepared: PreparedRequest) -> str:
    """Return the hash of the code that was last inserted below the cell of a prompt.

    It is empty if none was.
    """
    cell_id = session.cells.cell_id
    turns = session.chat(prepared.chat_name).turns if cell_id else ()
    if prepared.begun is not None:
        turns, cell_id = (prepared.begun,), prepared.begun.cell_id
    elif cell_id in session.code_below:
        return next(reversed(session.code_below[cell_id]))
    for turn in reversed(turns):
        if turn.cell_id == cell_id and turn.request.get("extract"):
            # A turn of an earlier version has no hash, but its code.
            of_reply = code_to_run(code_blocks(turn.reply)).hash
            return str(turn.request.get("code_below", of_reply))
    return ""


def blocks_below(session: Session, result: Result) -> tuple[CodeBlock, ...]:
    """Return the blocks of a reply that the cell below has too."""
    # NB: a front end that identifies no cells may have dropped the cell.
    if not (result.code_below and session.cells.is_identified):
        return ()
    code = code_to_run(code_blocks(result.response.text))
    return code.blocks if code.hash == result.code_below else ()


def _others(code: CodeToRun) -> str:
    return f" (left out: {', '.join(code.left_out)})" if code.left_out else ""


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
    return CodeToRun(visible_text(source), tuple(left_out), tuple(chosen))


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
