"""A chat as a notebook, and the chats of a notebook from the metadata of its outputs.

``files`` and ``restore`` call it. Nothing in the notebook is run. Readers see cells and
outputs but no metadata: where the two differ, the visible text is used.
"""

from __future__ import annotations

import json
import re
import shlex
import uuid
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from ollama_magic.generation.prompt import CellPrompt
from ollama_magic.generation.reply import stored_reply
from ollama_magic.history.notebooks import joined, stable_cell_id
from ollama_magic.history.records import (
    METADATA_KEY,
    TURN_CELL_KEY,
    UnreadableError,
    output_metadata,
    read_output_metadata,
)
from ollama_magic.history.turns import UNKNOWN_MODEL, Chat, Turn, TurnPosition
from ollama_magic.render.code import CodeBlock, code_blocks, code_to_run
from ollama_magic.render.output import MIME_TYPES
from ollama_magic.render.reply import (
    reply_bundle,
    shows_reply,
    text_in_view,
)
from ollama_magic.render.text import count_invisible, visible_text
from ollama_magic.sharing.documents import ParsedChats, load_json, single_spaced

# Our magic, or a call of a function that sends a prompt.
_MAY_ASK = re.compile(r"ollama|\b(?:ask|chat|stream|explain|fix)\s*\(")
_METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}

Cell = dict[str, Any]

PromptsIn = Callable[[str], Iterable[CellPrompt]]
"""Returns the prompts that are visible in the source of a cell."""

Finding = Literal["same", "differs", "unshown"]
"""How a turn compares with its cell; ``unshown``: the prompt was created by code."""


def chat_to_notebook(chat: Chat) -> str:
    """Return a notebook with one cell per turn, and its reply as the output."""
    begin = "%load_ext ollama_magic"
    if chat.name != "main":
        begin += f"\n%ollama chat {shlex.quote(single_spaced(chat.name))}"
    cells = {"": _cell("", begin, [])}
    number = 1
    for position, turn in enumerate(chat.turns, 1):
        # With the same cell ids, the new notebook is recognised as a copy.
        name = stable_cell_id(turn.cell_id)
        cell_id = str(uuid.uuid4()) if name in cells else name
        place = TurnPosition(chat=chat.name, turn=number, position=position)
        output = _output(turn, place)
        cells[cell_id] = _cell(cell_id, _source(turn), [output])
        number += not turn.is_mark
    notebook: dict[str, Any] = {
        "cells": list(cells.values()),
        "metadata": _METADATA,
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def chats_from_notebook(text: str, prompts_in: PromptsIn) -> ParsedChats:
    """Return the chats that the outputs of a notebook belong to.

    Turns have the ids of their cells, and the order that they had in their chat.
    Outputs of other extensions are ignored; invalid ones of ours are counted, and those
    of cells that can't have asked a model. An output that exists twice, because its
    cell was copied, counts once.

    Raises
    ------
    UnreadableError
        The text is not a notebook of nbformat 4; the message is half a sentence.
    """
    chosen: dict[str, tuple[TurnPosition, Turn]] = {}
    seen: set[tuple[str, str, str, str]] = set()
    faults: list[str] = []
    cells_by_finding: dict[Finding, list[int]] = {}
    cells = list(_code_cells(text))
    sources = {_cell_id(cell, 0): joined(cell.get("source")) for _, cell in cells}
    for number, cell in cells:
        count = 0
        for metadata, data in _our_outputs(cell):
            plain = joined(data.get("text/plain"))
            try:
                found = read_output_metadata(metadata, plain)
            except UnreadableError as error:
                faults.append(f"cell {number}: {error}")
                continue
            if found is None or (key := _identity(*found)) in seen:
                continue
            place, turn = found
            owner = _owner(metadata, sources)
            own = joined(cell.get("source"))
            source = sources[owner.partition(" ")[0]] if owner else own
            if not _MAY_ASK.search(source):
                faults.append(f"cell {number}: its source does not ask a model")
                continue
            turn, finding = as_shown(turn, source, plain, prompts_in)
            view = _view_of(metadata, turn)
            visible = _as_visible(turn, data, view, sources.values())
            if visible is None:
                faults.append(f"cell {number}: its output does not show its reply")
                continue
            seen.add(key)
            if turn.reply != (reply := text_in_view(visible.reply, view)):
                turn, finding = replace(turn, reply=reply), "differs"
            cells_by_finding.setdefault(finding, []).append(number)
            if owner is None:
                owner = _cell_id(cell, count)
                count += 1
            _choose(chosen, owner, place, turn)
    placed: dict[str, list[tuple[TurnPosition, Turn]]] = {}
    for place, turn in chosen.values():
        placed.setdefault(place["chat"], []).append((place, turn))
    chats = (Chat(name, in_order(turns)) for name, turns in placed.items())
    return ParsedChats(
        tuple(chats),
        len(faults),
        tuple(faults),
        differing=tuple(cells_by_finding.get("differs", ())),
        unshown=tuple(cells_by_finding.get("unshown", ())),
    )


# -- writing ---------------------------------------------------------------------


def _cell(cell_id: str, source: str, outputs: list[dict[str, Any]]) -> Cell:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": cell_id or str(uuid.uuid4()),
        "metadata": {},
        "outputs": outputs,
        "source": source.splitlines(keepends=True),
    }


def _source(turn: Turn) -> str:
    """Return a cell that sends the same prompt, as far as one line can express it."""
    if turn.is_mark:
        return "%ollama new"
    words = ["%%ollama"]
    if turn.model != UNKNOWN_MODEL:
        words.append(shlex.quote(single_spaced(turn.model)))
    if turn.system is not None:
        words += ["-s", shlex.quote(single_spaced(turn.system))]
    if turn.starts_afresh:
        words.append("--new")
    if "{{" in turn.prompt:  # it was filled in when it was sent
        words.append("--raw")
    return f"{' '.join(words)}\n{turn.prompt}"


def _output(turn: Turn, place: TurnPosition) -> dict[str, Any]:
    chat = place["chat"]
    if turn.is_mark:
        data = {"text/plain": f'New conversation in chat "{chat}"'}
    else:
        where = f"turn {place['turn']} of {chat}"
        data = reply_bundle(stored_reply(turn, place, where))
    metadata = output_metadata(turn, place, data["text/plain"])
    lines = {mime: text.splitlines(keepends=True) for mime, text in data.items()}
    return {
        "output_type": "display_data",
        "data": lines,
        "metadata": {METADATA_KEY: metadata},
    }


# -- reading ---------------------------------------------------------------------


def _code_cells(text: str) -> Iterator[tuple[int, Cell]]:
    """Yield the code cells with their numbers; all cells are counted, from 1."""
    notebook = load_json(text)
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise UnreadableError("it is not a notebook of format 4")
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise UnreadableError("it has no list of cells")
    return (
        (number, cell)
        for number, cell in enumerate(cells, 1)
        if isinstance(cell, dict) and cell.get("cell_type") == "code"
    )


def _our_outputs(cell: Cell) -> Iterator[tuple[object, dict[str, Any]]]:
    """Yield the metadata and the data of each output of this package."""
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        metadata = output.get("metadata") if isinstance(output, dict) else None
        if isinstance(metadata, dict) and METADATA_KEY in metadata:
            data = output.get("data")
            yield metadata[METADATA_KEY], data if isinstance(data, dict) else {}


def _identity(place: TurnPosition, turn: Turn) -> tuple[str, str, str, str]:
    return place["chat"], turn.answered_at, turn.model, turn.compute_text_hash()


def _cell_id(cell: Cell, count: int) -> str | None:
    """Return the id of a cell's turn; the second turn of a cell has ``ID 2``.

    Colab stores cell ids in the metadata.
    """
    metadata = cell.get("metadata")
    named = cell.get("id") or (isinstance(metadata, dict) and metadata.get("id"))
    if not isinstance(named, str) or not named.isascii() or not named:
        return None
    return f"{named} {count + 1}" if count else named


def _owner(metadata: object, ids: Collection[str | None]) -> str | None:
    """Return the cell that a turn belongs to, if another cell shows it."""
    owner = metadata.get(TURN_CELL_KEY) if isinstance(metadata, dict) else None
    return owner if isinstance(owner, str) and owner.partition(" ")[0] in ids else None


def _choose(
    chosen: dict[str, tuple[TurnPosition, Turn]],
    owner: str | None,
    place: TurnPosition,
    turn: Turn,
) -> None:
    """Record the turn of a cell, unless there is a newer one."""
    key = owner or f" {len(chosen)}"  # a turn without a cell is alone
    earlier = chosen.get(key)
    if earlier is None or earlier[1].answered_at < turn.answered_at:
        chosen[key] = place, replace(turn, cell_id=owner)


def in_order(placed: Sequence[tuple[TurnPosition, Turn]]) -> tuple[Turn, ...]:
    """Return the turns of one chat in their original order.

    A position is too large if earlier turns were removed after it was written; the
    newest one is correct. So the newest turns take their positions first, and the
    others take the next free one below.
    """
    newest_first = sorted(placed, key=lambda pair: pair[1].answered_at, reverse=True)
    free = list(range(1, len(placed) + 1))
    turns: dict[int, Turn] = {}
    for place, turn in newest_first:
        turns[free.pop(max(bisect_right(free, place["position"]) - 1, 0))] = turn
    return tuple(turns[position] for position in sorted(turns))


# -- visible text ----------------------------------------------------------------


def as_shown(
    turn: Turn, source: str, plain: str, prompts_in: PromptsIn
) -> tuple[Turn, Finding]:
    """Return a turn with the prompt and the reply that are visible in its notebook.

    Parameters
    ----------
    source
        The source of the cell that sent the prompt.
    plain
        The ``text/plain`` of the output.
    """
    if turn.is_mark:
        return turn, "same"
    prompts = list(prompts_in(source))
    is_prompt_shown = any(_may_become(one, turn.prompt) for one in prompts)
    is_reply_shown = _shows(plain, turn.reply)
    shown = turn if is_reply_shown else replace(turn, reply=_reply(turn, plain))
    shown = replace(
        shown,
        prompt=_without_invisible(turn.prompt),
        reply=_without_invisible(shown.reply),
    )
    if not is_prompt_shown and len(prompts) == 1:
        shown = replace(shown, prompt=_without_invisible(prompts[0].text.strip("\n")))
    is_same = shown == turn
    is_code = not is_prompt_shown and single_spaced(turn.prompt) not in single_spaced(
        source
    )
    return shown, "differs" if not is_same else "unshown" if is_code else "same"


def _view_of(metadata: object, turn: Turn) -> str:
    view = metadata.get("shown_as") if isinstance(metadata, dict) else None
    default = "json" if turn.request.get("format") else "markdown"
    return view if isinstance(view, str) else default


def _as_visible(
    turn: Turn, data: dict[str, Any], view: str, sources: Iterable[str]
) -> Turn | None:
    """Return the turn with the reply that people see; None if it is not on the page.

    Code that is folded counts if a cell has it.
    """
    if _is_on_page(turn, data, view):
        return turn
    code = code_to_run(code_blocks(turn.reply))
    if not code.blocks or not _is_on_page(turn, data, view, code.blocks):
        return None
    if any(code.source in source for source in sources):
        return turn
    reply = turn.reply
    for block in code.blocks:
        reply = reply.replace(block.source, "", 1)
    return replace(turn, reply=reply)


def _is_on_page(
    turn: Turn, data: dict[str, Any], view: str, folded: Sequence[CodeBlock] = ()
) -> bool:
    """Return whether people who open the notebook see the reply of a turn.

    Front ends show any other type of an output rather than its ``text/plain``.
    """
    if turn.is_mark or set(data) <= {"text/plain"}:
        return True
    is_ours = set(data) <= set(MIME_TYPES)
    page = joined(data["text/html"]) if is_ours else ""
    return is_ours and shows_reply(page, turn.reply, view, folded)


def _may_become(cell: CellPrompt, prompt: str) -> bool:
    """Return whether filling in the prompt of a cell can give ``prompt``."""
    first, *others = map(single_spaced, cell.parts)
    left = single_spaced(prompt)
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


def _without_invisible(text: str) -> str:
    """Return a text without invisible characters."""
    return visible_text(text) if count_invisible(text) else text


def _shows(plain: str, reply: str) -> bool:
    """Return whether an output shows a reply, alone or with a notice below it."""
    plain, reply = _comparable(plain), _comparable(visible_text(reply))
    notice = plain.removeprefix(reply).removeprefix("\n\n")
    return plain in {reply, f"{reply}\n\n{notice}"} and "\n\n" not in notice


def _comparable(text: str) -> str:
    # A lone surrogate becomes a question mark in a file, but U+FFFD in an output.
    return text.replace("\N{REPLACEMENT CHARACTER}", "?")


def _reply(turn: Turn, plain: str) -> str:
    """Return the reply that an output shows, without the notice of a partial reply."""
    text, _, notice = plain.rpartition("\n\n")
    is_cut = turn.status != "complete" and notice.startswith("[")
    return text if is_cut else plain
