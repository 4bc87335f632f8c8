"""A plain text that shows itself: help, a template, one line of confirmation."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ollama_magic.render.text import visible_text


@dataclass(frozen=True, slots=True, repr=False)
class TextPage:
    """Text shown in a fixed-width face, line for line, with nothing hidden in it."""

    text: str
    """The text as it came: perhaps from a server, perhaps with control characters."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of the output that shows it."""

    def __str__(self) -> str:
        return visible_text(self.text)

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        page = f"<pre>{html.escape(str(self))}</pre>"
        return {"text/html": page, "text/plain": str(self)}, dict(self.metadata)
