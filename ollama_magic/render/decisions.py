"""Decisions as bars: how likely each answer is, in a notebook and in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_magic.render.aligned import table_text, text_width
from ollama_magic.render.progress import bar_html
from ollama_magic.render.safe_html import page_html
from ollama_magic.render.tables import (
    CELL_STYLE,
    lines_html,
    strong_html,
)
from ollama_magic.render.text import escaped, one_line

_BLOCKS = 20


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One possible answer."""

    label: str
    description: str
    probability: float | None
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class AnswerView:
    """What is shown of one answer."""

    title: str
    """The question and its answer, on one line."""
    rows: Sequence[AnswerRow]
    note: str = ""
    """The confidence, and what is not known."""


def decision_bundle(
    answers: Sequence[AnswerView], footer: Sequence[str]
) -> dict[str, str]:
    """Return ``text/html`` and ``text/plain`` of a decision."""
    end = " · ".join(footer)
    parts = [_answer_html(answer) for answer in answers]
    page = "".join([*parts, lines_html(one_line(end)) if end else ""])
    texts = [_answer_text(answer) for answer in answers]
    plain = "\n\n".join([*texts, *([one_line(end)] if end else [])])
    return {"text/html": page_html(page), "text/plain": plain}


def _answer_html(answer: AnswerView) -> str:
    rows = "".join(map(_row_html, answer.rows))
    table = (
        f'<table class="tex2jax_ignore mathjax_ignore"><tbody>{rows}</tbody></table>'
    )
    note = lines_html(one_line(answer.note)) if answer.note else ""
    return strong_html(one_line(answer.title)) + table + note


def _row_html(row: AnswerRow) -> str:
    label = escaped(one_line(row.label))
    label = f"<strong>{label}</strong>" if row.is_chosen else label
    bar = "" if row.probability is None else bar_html(row.probability)
    cells = label, f"{bar}{_percent(row)}", escaped(one_line(row.description))
    made = "".join(f'<td style="{CELL_STYLE}">{cell}</td>' for cell in cells)
    return f"<tr>{made}</tr>"


def _answer_text(answer: AnswerView) -> str:
    is_told = any(row.probability is not None for row in answer.rows)
    is_described = any(row.description for row in answer.rows)
    columns = ["Answer", *["Probability"] * is_told, *["Meaning"] * is_described]
    cells = [
        [
            row.label,
            *[f"{_percent(row)} {_blocks(row)}"] * is_told,
            *[row.description] * is_described,
        ]
        for row in answer.rows
    ]
    table = table_text(columns, cells, text_width())
    return "\n".join(
        filter(None, [one_line(answer.title), table, one_line(answer.note)])
    )


def _blocks(row: AnswerRow) -> str:
    return "█" * round(_BLOCKS * (row.probability or 0.0))


def _percent(row: AnswerRow) -> str:
    return (
        "" if row.probability is None else f"{row.probability:.1%}".replace("%", " %")
    )
