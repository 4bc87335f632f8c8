"""Makes IPython pass the user's text to the magics as it was typed.

Three rules of IPython are in the way: a line that ends in ``?`` asks for help
(``%ollama ask what is this?`` would become ``%pinfo this``), and a cell magic without a
body, below a comment, or with a tab after its name is an error before the magic is
called, as is one below Python, whose prompt is then a syntax error. The transforms
subclass those of IPython (8.18 to 9.18) and run before its ``HelpEnd``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from tokenize import DEDENT, ENDMARKER, INDENT, NEWLINE, NL, TokenInfo
from typing import Any, Self

from IPython.core.inputtransformer2 import (
    EscapedCommand,
    MagicAssign,
    TokenTransformBase,
)

_MAGIC = "ollama"
_BEFORE_HELP = 4  # IPython's HelpEnd has 5; the lower number goes first
_CELL_MAGIC = re.compile(rf"%%{_MAGIC}(?:(?P<blank>[^\S\n])|\n|$)")
_COMMENT = re.compile(r"\s*(?:#|$)")


class OllamaLine(EscapedCommand):
    """Transforms ``%ollama WORDS`` before a ``?`` at its end is read as a help request.

    The transform itself is IPython's. ``%ollama?`` alone is left to IPython.
    """

    priority = _BEFORE_HELP

    @classmethod
    def find(cls, tokens_by_line: Iterable[list[TokenInfo]]) -> Self | None:
        """Find the first such line."""
        for tokens in tokens_by_line:
            code = _without_indents(tokens)
            if _calls_magic(code):
                return cls(code[0].start)
        return None


class OllamaAssign(TokenTransformBase):
    """Transforms ``name = %ollama WORDS`` in the same way.

    NB: it reports the start of the line as its position, as HelpEnd does, because
    IPython uses the transform with the earlier position.
    """

    priority = _BEFORE_HELP

    def __init__(self, line_start: tuple[int, int], assign: MagicAssign) -> None:
        super().__init__(line_start)  # type: ignore[no-untyped-call]
        self._assign = assign

    @classmethod
    def find(cls, tokens_by_line: Iterable[list[TokenInfo]]) -> Self | None:
        """Find the first such line."""
        for tokens in tokens_by_line:
            code = _without_indents(tokens)
            assign = MagicAssign.find([code])  # type: ignore[no-untyped-call]
            if assign is None:
                continue
            start = (assign.start_line + 1, assign.start_col)
            index = [token.start for token in code].index(start)
            if _calls_magic(code[index:]):
                return cls(code[0].start, assign)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Turn the line into a call of the magic."""
        transformed: list[str] = self._assign.transform(lines)
        return transformed


class OllamaCellBelow(TokenTransformBase):
    """Replaces a cell with ``%%ollama`` below Python: the magic says what is wrong."""

    priority = _BEFORE_HELP

    @classmethod
    def find(cls, tokens_by_line: Iterable[list[TokenInfo]]) -> Self | None:
        """Find the first such line."""
        for tokens in tokens_by_line:
            code = _without_indents(tokens)
            words = [token.string for token in code[:4]]
            if words[:3] == ["%", "%", _MAGIC] and words[3:] != ["?"]:
                return cls(code[0].start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Turn the cell into a call that fails."""
        return [f"get_ipython().run_line_magic({_MAGIC!r}, '%%{_MAGIC}')\n"]


def as_cell_magic(lines: list[str]) -> list[str]:
    """Write a ``%%ollama`` cell as IPython expects it.

    Comments above it are removed, the blank after its name is a space, and it has a
    body: the magic then reports the missing prompt itself, and what to type.
    """
    start = next((n for n, line in enumerate(lines) if not _COMMENT.match(line)), 0)
    match = _CELL_MAGIC.match(lines[start]) if lines else None
    if match is None:
        return lines
    first, *body = lines[start:]
    if match["blank"]:
        first = f"%%{_MAGIC} {first[match.end() :]}"
    return [first, *(body or ["\n"])]


# NB: IPython skips transforms with this attribute when it checks whether input is
# complete. Otherwise a terminal would run `%%ollama` at the first Enter.
as_cell_magic.has_side_effects = True  # type: ignore[attr-defined]


def install(shell: Any) -> None:  # noqa: ANN401  (IPython is not typed)
    """Add the transforms to a shell; a second call changes nothing."""
    uninstall(shell)
    manager = shell.input_transformer_manager
    manager.token_transformers.extend([OllamaLine, OllamaAssign, OllamaCellBelow])
    manager.cleanup_transforms.append(as_cell_magic)


def uninstall(shell: Any) -> None:  # noqa: ANN401
    """Remove the transforms from a shell."""
    manager = shell.input_transformer_manager
    for transforms in (manager.token_transformers, manager.cleanup_transforms):
        transforms[:] = [each for each in transforms if not _is_ours(each)]


def _is_ours(transform: object) -> bool:
    # By module and not by identity: %autoreload replaces the objects.
    return getattr(transform, "__module__", None) == __name__


def _without_indents(tokens: list[TokenInfo]) -> list[TokenInfo]:
    start = 0
    while start < len(tokens) and tokens[start].type in {INDENT, DEDENT}:
        start += 1
    return tokens[start:]


def _calls_magic(tokens: list[TokenInfo]) -> bool:
    """Return whether the tokens begin with ``%ollama``, a blank and something more."""
    if len(tokens) < 3:
        return False
    percent, name, after = tokens[:3]
    return (
        percent.string == "%"
        and name.string == _MAGIC
        and name.start == percent.end
        and after.start[0] == name.end[0]
        and after.type not in {NEWLINE, NL, ENDMARKER}
        # Python 3.11 makes a token of the blank before a character that it cannot read.
        and (after.start != name.end or after.string.isspace())
    )
