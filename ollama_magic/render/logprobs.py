"""How sure a model was: of each token of a reply, and of each answer to a question.

Tokens are shaded text that stays text; ``reply`` puts it below an answer, folded. One
colour grows stronger as a token was less likely: its opacity works on light and dark
pages. Decisions are bars, in a notebook and in a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ollama_magic.client.logprobs import Logprobs, Piece, TokenLogprob
from ollama_magic.render.aligned import table_text, text_width
from ollama_magic.render.output import bar_html
from ollama_magic.render.safe_html import (
    DETAILS_STYLE,
    TEXT_STYLE,
    details_html,
    page_html,
)
from ollama_magic.render.tables import (
    CELL_STYLE,
    lines_html,
    strong_html,
)
from ollama_magic.render.text import (
    counted,
    escaped,
    one_line,
    visible_text,
    without_blank_lines,
)

_SHADES = {0.25: ".45", 0.5: ".33", 0.75: ".22", 0.9: ".11"}
"""The opacity of the shade below each probability."""
_STYLE = "background:rgba(230,120,0,{opacity})"
_CERTAIN = 0.995
"""From here on, a token has nothing to tell."""
_UNLIKELY = 0.005
_DOUBTFUL = 0.5
_MAX_HTML = 150_000
"""Characters; the tokens after them are not shown."""
_MAX_TOKEN = 30
_ASKS = "How sure was it?"
_SPAN = r'<span(?: style="[a-z0-9:(),.]*")?(?: title="[^"<>]*")?>[^<>]*</span>'
_BEGIN, _END = page_html("|").split("|")
_FOLD = re.compile(
    f'{re.escape(_BEGIN)}<details style="{re.escape(DETAILS_STYLE)}">'
    f"<summary>{re.escape(_ASKS)}[^<>]*</summary>"
    f'<pre style="{re.escape(TEXT_STYLE)}">(?:[^<>]|{_SPAN})*</pre>'
    f"<div>(?:[^<>]|{_SPAN})*</div></details>{_END}"
)
"""What ``logprobs_html`` makes: nothing in it can close the fold."""


def logprobs_html(logprobs: Logprobs) -> str:
    """Return the tokens as safe HTML, folded; empty if there are none."""
    if not logprobs:
        return ""
    parts: list[str] = []
    size = shown = 0
    for piece in logprobs.pieces():
        parts.append(_piece_html(piece))
        size += len(parts[-1])
        if size > _MAX_HTML:
            parts.pop()
            break
        shown += len(piece.tokens)
    text = without_blank_lines("".join(parts))
    left = len(logprobs) - shown
    more = f" The other {counted(left, 'token')} are not shown." if left else ""
    note = "Point at a token for its probability and the alternatives."
    return details_html(
        f"{_ASKS} {sureness(logprobs)}",
        f'<pre style="{TEXT_STYLE}">{text}</pre>'
        f"<div>{_legend_html()} {note}{more}</div>",
    )


def sureness(logprobs: Logprobs) -> str:
    """Return in a few words how likely the tokens were; empty if there are none."""
    if not logprobs:
        return ""
    doubtful = sum(token.probability < _DOUBTFUL for token in logprobs)
    below = f", {doubtful:,} of {counted(len(logprobs), 'token')} below 50 %"
    mean = _percent(logprobs.confidence or 0.0)
    return f"token probability {mean} on average{below if doubtful else ''}"


def without_logprobs(page: str) -> str:
    """Return a page without the tokens that ``logprobs_html`` made."""
    return _FOLD.sub("", page)


def _legend_html() -> str:
    shades = (
        f'<span style="{_STYLE.format(opacity=opacity)}"> {_percent(limit)} </span>'
        for limit, opacity in reversed(_SHADES.items())
    )
    return f"Probability below {' '.join(shades)}."


def _piece_html(piece: Piece) -> str:
    text, probability = escaped(piece.text), piece.probability
    if probability >= _CERTAIN or not text:
        return text
    opacity = next((o for limit, o in _SHADES.items() if probability < limit), "")
    style = f' style="{_STYLE.format(opacity=opacity)}"' if opacity else ""
    lines = [_percent(probability), *map(_alternative, _others(piece))]
    if len(piece.tokens) > 1:
        lines[0] += f", in {len(piece.tokens)} tokens"
    title = "&#10;".join(map(escaped, lines))
    return f'<span{style} title="{title}">{text}</span>'


def _others(piece: Piece) -> list[TokenLogprob]:
    """Return the alternatives to the first token that are worth a line."""
    first = piece.tokens[0]
    likely = (one for one in first.top_logprobs if one.probability >= _UNLIKELY)
    return [one for one in likely if one.utf8 != first.utf8]


def _alternative(token: TokenLogprob) -> str:
    text = visible_text(token.text).replace("\n", "⏎").replace("\t", "⇥")
    text = text if len(text) <= _MAX_TOKEN else f"{text[:_MAX_TOKEN]}…"
    return f"{_percent(token.probability)} “{text}”"


def _percent(probability: float) -> str:
    if probability < _UNLIKELY:
        return "<1 %"
    if _CERTAIN <= probability < 1.0:
        return ">99 %"
    return f"{probability:.0%}".replace("%", " %")


# -- the answers of a decision -------------------------------------------------

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
    cells = label, f"{bar}{_row_percent(row)}", escaped(one_line(row.description))
    made = "".join(f'<td style="{CELL_STYLE}">{cell}</td>' for cell in cells)
    return f"<tr>{made}</tr>"


def _answer_text(answer: AnswerView) -> str:
    is_told = any(row.probability is not None for row in answer.rows)
    is_described = any(row.description for row in answer.rows)
    columns = ["Answer", *["Probability"] * is_told, *["Meaning"] * is_described]
    cells = [
        [
            row.label,
            *[f"{_row_percent(row)} {'█' * round(_BLOCKS * (row.probability or 0.0))}"]
            * is_told,
            *[row.description] * is_described,
        ]
        for row in answer.rows
    ]
    table = table_text(columns, cells, text_width())
    return "\n".join(
        filter(None, [one_line(answer.title), table, one_line(answer.note)])
    )


def _row_percent(row: AnswerRow) -> str:
    return (
        "" if row.probability is None else f"{row.probability:.1%}".replace("%", " %")
    )
