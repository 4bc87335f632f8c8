"""A complete reply as the one output of its cell: a MIME bundle.

Knows how answer, thinking, notices and footer are laid out. Never ``text/markdown``:
JupyterLab does not sanitise it in a cell that was run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_magic.render.code_blocks import CodeBlock, code_blocks
from ollama_magic.render.quiet import QUIET, escaped, thinking_html
from ollama_magic.render.safe_html import (
    code_page_html,
    json_html,
    markdown_html,
    page_html,
    raw_html,
    text_html,
    within_budget,
)
from ollama_magic.render.steps import steps_html, steps_source
from ollama_magic.render.text import count_invisible, visible_text
from ollama_magic.render.theme import WARNING, with_code_style

_BAR_FROM = 0.5


@dataclass(frozen=True)
class ReplyView:
    """What is shown of a reply."""

    text: str
    """The answer, as the model wrote it."""
    thinking: str = ""
    thinking_s: float = 0.0
    """How long the model thought, in seconds; 0 when unknown."""
    view: str = "markdown"
    """How the text is shown, by the words of ``-f``."""
    footer: tuple[str, ...] = ()
    """Parts of the quiet line under the answer."""
    context_share: float | None = None
    """Share of the context in use; drawn as a bar when it is more than half."""
    notice: str = ""
    """Why the answer ended too early, or what else must be seen; one line or more."""
    steps: tuple[Mapping[str, Any], ...] = ()
    """Messages before the answer: calls of functions, and what they gave."""


def reply_bundle(view: ReplyView) -> dict[str, str]:
    """Return ``text/html`` and ``text/plain`` (the source text) of a reply."""
    notice = visible_text(view.notice).strip()
    parts = [
        steps_html(view.steps),
        thinking_html(view.thinking, view.thinking_s) if view.thinking else "",
        _answer_html(view.text, view.view),
        _notice_html(notice) if notice else "",
        _footer_html(view),
    ]
    plain = reply_plain(view)
    source = "\n\n".join(filter(None, [steps_source(view.steps), view.thinking, plain]))
    page = with_code_style(within_budget(parts, source))
    return {"text/html": page, "text/plain": plain}


def reply_plain(view: ReplyView) -> str:
    """Return the source text of a reply, with its notice under it."""
    text, notice = visible_text(view.text), visible_text(view.notice).strip()
    return f"{text}\n\n{notice}" if notice else text


def _answer_html(text: str, view: str) -> str:
    if view == "markdown":
        return markdown_html(text)
    return _VIEWS.get(view, text_html)(text)


def _code_only_html(text: str) -> str:
    """Return the code of a reply alone; a reply without a fence is code itself."""
    blocks = code_blocks(text) or (CodeBlock("python", text.strip("\n")),)
    parts = (code_page_html(block.source, block.language) for block in blocks)
    return within_budget(parts, text)


def _rendered_html(text: str) -> str:
    """Return a reply that is HTML as the page it would be, sanitised."""
    found = [b.source for b in code_blocks(text) if b.language.lower() == "html"]
    return raw_html("\n".join(found) or text)


_VIEWS = {"json": json_html, "code": _code_only_html, "html": _rendered_html}


def _notice_html(notice: str) -> str:
    lines = "<br>".join(map(escaped, notice.splitlines()))
    return page_html(
        f'<div style="border-left:3px solid {WARNING};'
        f'margin:.5em 0;padding:0 .8em">{lines}</div>'
    )


def _footer_html(view: ReplyView) -> str:
    parts = list(view.footer)
    if removed := count_invisible(view.text):
        parts.append(f"{removed:,} invisible characters removed")
    if not parts:
        return ""
    share = view.context_share or 0.0
    bar = _bar_html(share) if share > _BAR_FROM else ""
    line = " · ".join(map(escaped, parts))
    return page_html(f'<div style="{QUIET}margin-top:.5em">{line}{bar}</div>')


def _bar_html(share: float) -> str:
    percent = round(100 * min(share, 1.0))
    return (
        '<span style="border:1px solid;border-radius:2px;display:inline-block;'
        'height:.6em;margin-left:.6em;width:6em"><span style="background:currentColor;'
        f'display:block;height:100%;width:{percent}%"></span></span>'
    )
