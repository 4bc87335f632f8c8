"""What Tab offers: entries with a kind and a description, and where they go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ollama_magic.render.text import visible_text

_MOST = 300
_LONGEST_NOTE = 72


@dataclass(frozen=True, slots=True)
class Entry:
    """One completion."""

    text: str
    """What is inserted."""
    kind: str
    """``option``, ``model``, ``variable`` …"""
    note: str = ""
    """A few words about it; whatever they come from."""

    @property
    def type(self) -> str:
        """The kind and the note, as the popup shows them beside the text.

        JupyterLab has one field for both (its first letter is the coloured mark) and
        breaks it at spaces, of which only the first line would be visible.
        """
        note = self.note if len(self.note) <= _LONGEST_NOTE else f"{self.note[:71]}…"
        shown = " ".join(visible_text(note).split())
        return (f"{self.kind} · {shown}" if shown else self.kind).replace(" ", "\xa0")


@dataclass(frozen=True, slots=True)
class Offer:
    """The completions at the cursor."""

    typed: str = ""
    """The end of the text before the cursor that they replace."""
    entries: tuple[Entry, ...] = ()


NOTHING = Offer()
"""No completion belongs here, and Python's would be wrong."""


def is_visible(text: str) -> bool:
    """Return whether a text is what it looks like, on one line."""
    return text.isprintable() and visible_text(text) == text


def starting(typed: str, entries: Iterable[Entry]) -> Offer:
    """Return the entries that begin with what was typed.

    A text with invisible characters is not offered: it may control a terminal, or look
    like another one. Nor is the word that is there already: accepting it would only
    take the next Enter.
    """
    found = [e for e in entries if e.text.startswith(typed) and is_visible(e.text)]
    if [entry.text for entry in found] == [typed]:
        found = []
    return Offer(typed, tuple(found[:_MOST]))
