"""A chat as JSON: all that its turns are, and messages that other tools can use."""

from __future__ import annotations

import json

from ollama_magic.history.records import (
    Found,
    UnreadableError,
    chat_name_of,
    turn_record,
    turns_of,
)
from ollama_magic.history.turns import UNKNOWN_MODEL, Chat
from ollama_magic.sharing.messages import chat_messages, chat_of_messages

FORMAT = "ollama_magic chat"
VERSION = 1


def chat_to_json(chat: Chat) -> str:
    """Return a chat as JSON; ``messages`` is what a model is sent when it goes on."""
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "chat": chat.name,
        "turns": [turn_record(turn) for turn in chat.turns],
        "messages": chat_messages(chat),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def chat_from_json(text: str) -> Found:
    """Return the chat of a file of ours, or of messages as other tools write them.

    These are a list of messages, or an object that has one under ``messages``.

    Raises
    ------
    UnreadableError
        It is neither; with half a sentence that says why.
    """
    whole = load_json(text)
    if isinstance(whole, list):
        return chat_of_messages(whole)
    if not isinstance(whole, dict):
        raise UnreadableError("it is neither an object nor a list of messages")
    if whole.get("format") != FORMAT:
        return _foreign(whole)
    if whole.get("version") != VERSION:
        raise UnreadableError(f"it has another version than {VERSION}")
    turns = whole.get("turns")
    if not isinstance(turns, list):
        raise UnreadableError("it has no list of turns")
    return Found((Chat(chat_name_of(whole), turns_of(turns)),))


def load_json(text: str) -> object:
    """Return the value of a JSON text.

    Raises
    ------
    UnreadableError
        It is no JSON, or nested too deeply.
    """
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply") from error
    return value


def _foreign(whole: dict[str, object]) -> Found:
    messages, model = whole.get("messages"), whole.get("model")
    if not isinstance(messages, list):
        raise UnreadableError("it has no messages, and no format of ours")
    named = model if isinstance(model, str) and model.isprintable() and model else ""
    return chat_of_messages(messages, named or UNKNOWN_MODEL)
