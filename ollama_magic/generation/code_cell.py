"""Hands the code of a reply over into the cell below, for review; runs none of it.

Knows when code is handed over, that a re-run does not pile up cells, and what the
footer says. Which blocks are code, and how a cell comes to be, it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ollama_magic.generation.code_to_run import CodeToRun, code_to_run
from ollama_magic.generation.outcome import Outcome
from ollama_magic.generation.prepare import Asking, Question
from ollama_magic.generation.session import Session
from ollama_magic.render.code import code_blocks
from ollama_magic.render.text import visible_text

_PUT_BEFORE = (
    "its code was put below at an earlier run; for a new cell run it with --append -x"
)
# NB: a one-off has no turn that --append could add.
_PUT_BEFORE_ONCE = "its code was put below at an earlier run; copy what is new of it"
_NO_PLACE = "no cell can be put below: copy the code above"


class Place(Protocol):
    """Where code is put."""

    def put(self, source: str) -> str:
        """Put source there and return where that is; empty: there is no place."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What became of the code of one reply."""

    note: str = ""
    """What the footer says of it; empty when nobody asked for it."""
    has_cell: bool = False
    """Whether the asking cell has had code put below it, now or earlier."""


def hand_over(
    asking: Asking, question: Question, outcome: Outcome, place: Place | None
) -> HandedOver:
    """Put the code of a complete reply into the cell below, when it was asked for.

    Parameters
    ----------
    place
        None: there is nowhere to put code.
    """
    session, args = asking.session, asking.args
    had_cell = _had_cell(session, question.chat_name)
    if not args.extract or outcome.status != "complete":
        return HandedOver(has_cell=had_cell)
    code = code_to_run(code_blocks(outcome.answer.text))
    if not code.source:
        return HandedOver(f"no code to hand over{_others(code)}", had_cell)
    if had_cell and not args.append:
        return HandedOver(_PUT_BEFORE_ONCE if args.once else _PUT_BEFORE, True)
    # NB: what is hidden in the reply as it is shown must not come back in the cell.
    where = place.put(visible_text(code.source)) if place else ""
    if not where:
        return HandedOver(_NO_PLACE, had_cell)
    if cell_id := session.cells.cell_id:
        session.cells_with_code.add(cell_id)
    return HandedOver(f"code in {where}, for review{_others(code)}", True)


def _others(code: CodeToRun) -> str:
    return f" (left out: {', '.join(code.left_out)})" if code.left_out else ""


def _had_cell(session: Session, chat_name: str | None) -> bool:
    cell_id = session.cells.cell_id
    if cell_id is None:
        return False
    return cell_id in session.cells_with_code or any(
        turn.cell_id == cell_id and bool(turn.request.get("extract"))
        for turn in session.chat(chat_name).turns
    )
