"""What a model thinks while it thinks, and for how long."""

from __future__ import annotations

from collections.abc import Callable

from ollama_magic.render.quiet import quiet_html, thinking_html

THINKING_INTERVAL_S = 0.5
"""How often the line that says so is drawn."""
_PREVIEW_CHARACTERS = 90
_PREVIEWED = 1000
"""Characters looked at for it, however many came at once."""


class LiveThinking:
    """Thinking as it comes.

    Parameters
    ----------
    clock
        Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._parts: list[str] = []
        self._began_s = 0.0
        self._took_s = 0.0
        self.is_open = False

    @property
    def text(self) -> str:
        """All of it, so far."""
        return "".join(self._parts)

    def add(self, text: str) -> None:
        """Take what came."""
        if not self.is_open:
            self._began_s, self.is_open = self._clock(), True
        self._parts.append(text)

    def close(self) -> None:
        """Note that the answer has begun."""
        self._took_s += self._clock() - self._began_s
        self.is_open = False

    def html(self) -> str:
        """Return all of it, folded."""
        return thinking_html(self.text, self._took_s)

    def preview_html(self) -> str:
        """Return one line: the seconds so far and the latest words."""
        took_s = self._took_s + self._clock() - self._began_s
        words = " ".join("".join(self._parts[-100:])[-_PREVIEWED:].split())
        if len(words) > _PREVIEW_CHARACTERS:
            words = "…" + words[-_PREVIEW_CHARACTERS:].partition(" ")[2]
        return quiet_html(f"thinking… {took_s:.0f} s · {words}")
