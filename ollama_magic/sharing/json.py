"""A chat as JSON: all that its turns are, and messages that other tools can use."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ollama_magic.history.records import (
    ParsedChats,
    UnreadableError,
    chat_name_from_record,
    turn_to_record,
    turns_from_records,
    without_surrogates,
)
from ollama_magic.history.turns import UNKNOWN_MODEL, Chat, Message, Turn

FORMAT = "ollama_magic chat"
VERSION = 1


def chat_to_json(chat: Chat) -> str:
    """Return a chat as JSON; ``messages`` is what a model is sent when it goes on."""
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "chat": chat.name,
        "turns": [turn_to_record(turn) for turn in chat.turns],
        "messages": chat_messages(chat),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def chat_from_json(text: str) -> ParsedChats:
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
    return ParsedChats((Chat(chat_name_from_record(whole), turns_from_records(turns)),))


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


def _foreign(whole: dict[str, object]) -> ParsedChats:
    messages, model = whole.get("messages"), whole.get("model")
    if not isinstance(messages, list):
        raise UnreadableError("it has no messages, and no format of ours")
    named = model if isinstance(model, str) and model.isprintable() and model else ""
    return chat_of_messages(messages, named or UNKNOWN_MODEL)


_SYSTEM_ROLES = {"system", "developer"}


def chat_messages(chat: Chat) -> list[Message]:
    """Return what a model is sent of a chat when it goes on."""
    return chat.messages("")[:-1]


def chat_of_messages(
    messages: Iterable[object], model: str = UNKNOWN_MODEL
) -> ParsedChats:
    """Return the chat that messages make.

    Messages of one role that follow each other become one text.

    Raises
    ------
    UnreadableError
        Something in the list is not a message, or there is no answer in it.
    """
    taken = _Taken(model)
    for message in messages:
        taken.add(message)
    taken.end_turn()
    if not taken.turns:
        raise UnreadableError("no message in it is an answer (role assistant)")
    left_out = taken.left_out + (taken.system is not None)
    return ParsedChats((Chat("", tuple(taken.turns)),), left_out)


class _Taken:
    """Takes messages one by one and makes turns of them."""

    def __init__(self, model: str) -> None:
        self.turns: list[Turn] = []
        self.left_out = 0
        self.system: str | None = None
        self._model = model
        self._texts: dict[str, list[str]] = {"user": [], "assistant": []}
        self._thinking: list[str] = []

    def add(self, message: object) -> None:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise UnreadableError("an entry is not a message with a role")
        role, text = message["role"], self._content(message)
        if role in _SYSTEM_ROLES:
            self.end_turn()
            self.system = text
        elif role not in self._texts or not (text or role == "user"):
            self.left_out += 1  # a tool's result, or nothing but a call of one
        else:
            if role == "user" and self._texts["assistant"]:
                self.end_turn()
            self._texts[role].append(text)
            if isinstance(message.get("thinking"), str):
                self._thinking.append(without_surrogates(message["thinking"]))

    def end_turn(self) -> None:
        """Make a turn of what has come; questions without an answer are left out."""
        prompts, replies = self._texts["user"], self._texts["assistant"]
        if replies:
            turn = Turn(
                prompt="\n\n".join(prompts),
                reply="\n\n".join(replies),
                thinking="\n\n".join(self._thinking),
                model=self._model,
                system=self.system,
            )
            self.turns.append(turn)
            self.system = None
        else:
            self.left_out += len(prompts)
        self._texts = {"user": [], "assistant": []}
        self._thinking = []

    def _content(self, message: Message) -> str:
        content = message.get("content")
        if message.get("images"):
            self.left_out += 1
        if content is None:
            return ""
        if isinstance(content, str):
            return without_surrogates(content)
        if not isinstance(content, list):
            raise UnreadableError("the content of a message is not text")
        texts = [part["text"] for part in content if _is_text(part)]
        self.left_out += len(content) - len(texts)
        return without_surrogates("\n\n".join(texts))


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
