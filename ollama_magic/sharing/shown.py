"""What a notebook shows of a turn, compared with what its metadata tell.

Called when the turns of a notebook are read. A reader sees cells and their outputs,
and no metadata: where the two differ, what is shown is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal

from ollama_magic.generation.prompt import CellPrompt
from ollama_magic.history.turns import Turn
from ollama_magic.render.text import count_invisible, visible_text

Finding = Literal["same", "differs", "unshown"]
"""Whether cell and output show prompt and reply; ``unshown``: code made the prompt."""

PromptsIn = Callable[[str], Iterable[CellPrompt]]
"""Returns the prompts that the source of a cell shows."""


def as_shown(
    turn: Turn, source: str, plain: str, prompts_in: PromptsIn
) -> tuple[Turn, Finding]:
    """Return a turn with the prompt and the reply that its notebook shows.

    Parameters
    ----------
    source
        The source of the cell that asked.
    plain
        The ``text/plain`` of the output.
    """
    if turn.is_mark:
        return turn, "same"
    prompts = list(prompts_in(source))
    is_prompt_shown = any(_may_be(one, turn.prompt) for one in prompts)
    is_reply_shown = _shows(plain, turn.reply)
    shown = turn if is_reply_shown else replace(turn, reply=_reply(turn, plain))
    shown = replace(shown, prompt=_seen(turn.prompt), reply=_seen(shown.reply))
    if not is_prompt_shown and len(prompts) == 1:
        shown = replace(shown, prompt=_seen(prompts[0].text.strip("\n")))
    is_same = shown == turn
    is_code = not is_prompt_shown and _words(turn.prompt) not in _words(source)
    return shown, "differs" if not is_same else "unshown" if is_code else "same"


def _may_be(cell: CellPrompt, prompt: str) -> bool:
    """Tell whether a prompt of a cell becomes ``prompt`` when it is filled in."""
    first, *others = map(_words, cell.parts)
    left = _words(prompt)
    if not cell.has_files and not left.startswith(first):
        return False
    if not others:
        return left.endswith(first) if cell.has_files else left == first
    place = left.find(first) + len(first)
    *between, last = others
    for part in between:
        found = left.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return left[place:].endswith(last)


def _seen(text: str) -> str:
    """Return a text without characters that nobody sees."""
    return visible_text(text) if count_invisible(text) else text


def _words(text: str) -> str:
    """Return a text with single spaces: blanks and line ends differ by front end."""
    return " ".join(text.split())


def _shows(plain: str, reply: str) -> bool:
    """Tell whether an output shows a reply, alone or with a notice under it."""
    plain, reply = _comparable(plain), _comparable(visible_text(reply))
    notice = plain.removeprefix(reply).removeprefix("\n\n")
    return plain in {reply, f"{reply}\n\n{notice}"} and "\n\n" not in notice


def _comparable(text: str) -> str:
    # Half a character is a question mark in a file, and another mark on the page.
    return text.replace("\N{REPLACEMENT CHARACTER}", "?")


def _reply(turn: Turn, plain: str) -> str:
    """Return the reply that an output shows, without the mark of one that was cut."""
    text, _, notice = plain.rpartition("\n\n")
    is_cut = turn.status != "complete" and notice.startswith("[")
    return text if is_cut else plain
