"""What the source of a cell says: the prompt as typed, and who owns the output.

``cells`` and ``magics`` call these functions of a text.
"""

from __future__ import annotations

import re
import textwrap

_MAGIC = "%%ollama"
_LINE_MAGIC = re.compile(r"\s*(?:[\w.,\s]+=\s*)?%ollama(?:\s|$)")


def magic_body(raw_cell: str, line: str, cell: str) -> str:
    """Return the body of ``%%ollama`` as it was typed.

    IPython removes ``>>> ``, ``... `` and ``In [1]: `` anywhere in a cell. The body is
    taken from ``raw_cell`` if that cell is this very magic, and otherwise from ``cell``
    (``run_cell_magic``, functions, scripts, other magics around it).

    Parameters
    ----------
    raw_cell
        The running cell as it was typed.
    line
        The text after ``%%ollama``, as IPython passes it.
    cell
        The body, as IPython passes it.
    """
    first, _, body = _dedented(raw_cell).partition("\n")
    is_this = first.startswith(_MAGIC) and first[len(_MAGIC) :].strip() == line.strip()
    return body if is_this and _could_become(body, cell) else cell


def owns_output(raw_cell: str) -> bool:
    """Return whether all output of the cell comes from this magic.

    That is so for ``%%ollama``, and for a cell whose only statement is a ``%ollama``
    line, also if its value is assigned.
    """
    if _is_cell_magic(raw_cell):
        return True
    lines = _first_lines(raw_cell)
    return len(lines) == 1 and _LINE_MAGIC.match(lines[0]) is not None


def shows_itself(raw_cell: str) -> bool:
    """Return whether IPython would show the magic's value below what it has shown.

    It does so for a value that ends a cell: of ``%%ollama``, or of ``%ollama`` as the
    last line. A value that is assigned or returned by a function is used elsewhere.
    """
    last = raw_cell.rstrip().rpartition("\n")[2]
    return _is_cell_magic(raw_cell) or last.startswith("%ollama")


def _is_cell_magic(raw_cell: str) -> bool:
    first, _, _ = _dedented(raw_cell).partition("\n")
    return re.match(rf"{_MAGIC}(\s|$)", first) is not None


def _first_lines(raw_cell: str) -> list[str]:
    """Return lines that are not a comment, blank, or a continuation line."""
    found, is_continued = [], False
    for line in raw_cell.splitlines():
        if not is_continued:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            found.append(line)
        is_continued = line.endswith("\\")
    return found


def _dedented(raw_cell: str) -> str:
    """Remove leading blank lines, comments, and the indent of the whole cell."""
    text = re.sub(r"\A(?:[^\S\n]*(?:#[^\n]*)?\n)+", "", raw_cell)
    return textwrap.dedent(text) if text[:1] in {" ", "\t"} else text


def _could_become(typed: str, passed: str) -> bool:
    """Return whether IPython can have made ``passed`` of ``typed``.

    It only removes text from the beginnings of lines.
    """
    typed_lines, passed_lines = typed.splitlines(), passed.splitlines()
    return len(typed_lines) == len(passed_lines) and all(
        typed_line.endswith(passed_line)
        for typed_line, passed_line in zip(typed_lines, passed_lines, strict=True)
    )
