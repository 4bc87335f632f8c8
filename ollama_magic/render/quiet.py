"""What stands beside an answer and is not it: small, grey, folded where it is long.

Constant markup around escaped text: what is shown comes from models and servers.
"""

from __future__ import annotations

import html

from ollama_magic.render.safe_html import page_html, plain_html
from ollama_magic.render.text import visible_text

DIM = "opacity:.75"
QUIET = f"font-size:85%;{DIM};"
"""The look of it."""
FOLD = "font-size:85%;margin:0 0 1em"
"""The look of a fold: small, and not dim, since what is folded may be code."""


def escaped(text: str) -> str:
    """Return text for use in markup, with nothing hidden in it."""
    return html.escape(visible_text(text), quote=True)


def quiet_html(text: str) -> str:
    """Return one small line of plain text."""
    return page_html(f'<div style="{QUIET}">{escaped(text)}</div>')


def folded_html(summary: str, safe: str, *, is_open: bool = False) -> str:
    """Return safe HTML under a line of text that opens and closes it."""
    mark = " open" if is_open else ""
    return page_html(
        f'<details{mark} style="{FOLD}">'
        f"<summary>{escaped(summary)}</summary>{safe}</details>"
    )


def thinking_html(thinking: str, thinking_s: float = 0.0) -> str:
    """Return what a model thought, folded.

    Parameters
    ----------
    thinking_s
        For how many seconds; 0 when it is not known.
    """
    took = f" for {max(thinking_s, 1):.0f} s" if thinking_s else ""
    text = f'<div style="{DIM}">{plain_html(thinking.strip())}</div>'
    return folded_html(f"Thought{took}", text)
