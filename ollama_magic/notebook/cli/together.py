"""Which options of a prompt cannot be used together, and which need another.

``LineReader`` calls it when a line was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ollama_magic.errors import usage_error
from ollama_magic.generation.options import THINK_LEVELS

_CONTRADICTIONS = (
    (
        "once",
        ("chat", "new", "append", "last"),
        "--once neither reads nor changes the chat",
    ),
    (
        "choose",
        (
            *("compare", "chat", "new", "append", "last", "schema", "format", "tools"),
            *("extract", "logprobs", "hide_thinking", "cells", "above"),
        ),
        "--choose makes a decision, which belongs to no chat",
    ),
    ("new", ("last",), "--new sends no earlier turns"),
    ("schema", ("tools",), "a reply with a schema cannot call tools"),
    (
        "compare",
        ("append",),
        "a comparison adds no turn; %ollama keep MODEL does it afterwards",
    ),
    ("above", ("cells",), "--above sends all cells above this one"),
    ("compare", ("tools", "extract"), "compared models answer in a single round"),
)
"""An option, others that can't be used with it, and why."""

_NEEDS = (
    ("yes", {"tools"}, "-T NAME", "-T NAME"),
    ("outputs", {"cells", "above"}, "--cells or --above", "--above"),
)
"""An option, those without which it has no effect, their name and an example."""

_NAMES_CELLS = "%ollama explain"
"""The line whose operands are cells, so that ``--outputs`` needs no other option."""


def check_together(
    fields: Mapping[str, Any], flags: Mapping[str, str], magic: str
) -> None:
    """Raise an error for options that cannot be used together, or need another.

    Parameters
    ----------
    fields
        The values of the options by their fields.
    flags
        The flags that set them, as they were typed.
    magic
        How errors name the line.

    Raises
    ------
    UsageError
        As above.
    """
    models = (fields.get("model"), *fields.get("compare", ()))
    level = next((name for name in models if name in THINK_LEVELS), None)
    if level is not None and fields.get("think") is True:
        raise usage_error(
            f"{level!r} was read as the name of a model.",
            why="a thinking level is written with =",
            next_step=f"{magic} --think={level}",
        )
    number = next((name for name in models if name and name.isdecimal()), None)
    if number is not None and "cells" in fields:
        ranges = [f"{a}" if a == b else f"{a}-{b}" for a, b in fields["cells"]]
        raise usage_error(
            f"{number!r} was read as the name of a model.",
            why="numbers of cells have commas and no blanks between them",
            next_step=f"{magic} --cells {','.join([*ranges, number])}",
        )
    for one, others, why in _CONTRADICTIONS:
        for other in others:
            if fields.get(one) and other in fields and fields[other] != 0:
                raise usage_error(
                    f"{flags[one]} and {flags[other]} cannot be used together.",
                    why=why,
                    next_step=f"remove {flags[one]} or {flags[other]}",
                )
    for one, needed, named, example in _NEEDS:
        names_cells = magic == _NAMES_CELLS and one == "outputs"
        if one in fields and not (needed & fields.keys() or names_cells):
            raise usage_error(
                f"{flags[one]} has no effect without {named}.",
                next_step=f"{magic} {example} {flags[one]}",
            )
