"""A plain text that shows itself: help, a template, one line of confirmation."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TextPage:
    """Text shown as it is, in a fixed-width face, line for line."""

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of the output that shows it."""

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        page = f"<pre>{html.escape(self.text)}</pre>"
        return {"text/html": page, "text/plain": self.text}, dict(self.metadata)
