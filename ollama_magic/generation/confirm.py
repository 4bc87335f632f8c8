"""Asks the user a question, in a notebook or in a terminal."""

from __future__ import annotations

from ollama_magic.render.text import visible_text

# NB: ipykernel's StdinNotImplementedError is a NotImplementedError and a RuntimeError.
_NOBODY = (EOFError, OSError, NotImplementedError, RuntimeError)


def ask_user(question: str) -> str | None:
    """Return what the user types; None when there is nobody to ask."""
    try:
        return input(visible_text(question))  # it may hold names that a server told
    except _NOBODY:
        return None
