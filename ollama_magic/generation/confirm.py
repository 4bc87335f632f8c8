"""The question before something is lost, and what it means that nobody can answer."""

from __future__ import annotations

from collections.abc import Callable

from ollama_magic.errors import ConfigError
from ollama_magic.render.text import visible_text

# NB: ipykernel's StdinNotImplementedError is a NotImplementedError and a RuntimeError.
_NOBODY = (EOFError, OSError, NotImplementedError, RuntimeError)

Confirm = Callable[[str], bool | None]
"""Asks the user; None when there is nobody to ask."""


def ask_user(question: str) -> str | None:
    """Return what the user types; None when there is nobody to ask."""
    try:
        return input(visible_text(question))  # it may hold names that a server told
    except _NOBODY:
        return None


def is_confirmed(confirm: Confirm, question: str, refusal: str, command: str) -> bool:
    """Return what the user answers.

    Parameters
    ----------
    question
        What is about to happen, and that it can't be undone where it can't.
    refusal
        What to say when there is nobody to ask.
    command
        The same without a question.

    Raises
    ------
    ConfigError
        There is nobody to ask.
    """
    answer = confirm(question)
    if answer is None:
        raise ConfigError(
            refusal,
            why="it must be confirmed, and there is nobody to ask",
            next_step=command,
        )
    return answer
