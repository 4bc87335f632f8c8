"""A plain text that shows itself: help, a template, one line of confirmation."""

from __future__ import annotations

import html
from dataclasses import dataclass

from ollama_magic.rendering.visible_text import visible_text


@dataclass(frozen=True, slots=True, repr=False)
class TextPage:
    """Text shown in a fixed-width face, line for line, with nothing hidden in it."""

    text: str
    """The text as it came: perhaps from a server, perhaps with control characters."""

    def __str__(self) -> str:
        return visible_text(self.text)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"
