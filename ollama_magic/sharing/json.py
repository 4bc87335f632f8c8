"""A chat as JSON, with all fields of its turns, and lists of messages of other tools.

``files`` calls both directions. What a turn cannot hold (messages of tools, images, a
prompt without a reply) is left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from ollama_magic.history.records import (
    ParsedChats,
    UnreadableError,
    chat_name_from_record,
    turn_to_record,
    turns_from_records,
)
from ollama_magic.history.turns import (
    UNKNOWN_MODEL,
    Chat,
    Message,
    Turn,
    without_surrogates,
)

FORMAT = "ollama_magic chat"
VERSION = 1


def chat_to_json(chat: Chat) -> str:
    """Return a chat as JSON; ``messages`` is what a model is sent in the next turn."""
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "chat": chat.name,
        "turns": [turn_to_record(turn) for turn in chat.turns],
        "messages": chat_messages(chat),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def chat_from_json(text: str) -> ParsedChats:
    """Return the chat of an exported file, or of messages from another tool.

    The latter are a list of messages, or an object that has one under ``messages``.

    Raises
    ------
    UnreadableError
        The text is neither; the message is half a sentence.
    """
    whole = load_json(text)
    if isinstance(whole, list):
        return chat_of_messages(whole)
    if not isinstance(whole, dict):
        raise UnreadableError("it is neither an object nor a list of messages")
    if whole.get("format") != FORMAT:
        return _foreign(whole)
    if whole.get("version") != VERSION:
        raise UnreadableError(f"its version is not {VERSION}")
    turns = whole.get("turns")
    if not isinstance(turns, list):
        raise UnreadableError("it has no list of turns")
    return ParsedChats((Chat(chat_name_from_record(whole), turns_from_records(turns)),))


def load_json(text: str) -> object:
    """Return the value of a JSON text.

    Raises
    ------
    UnreadableError
        The text is not JSON, or nested too deeply.
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
        raise UnreadableError("it has no messages, and is not an exported chat")
    named = model if isinstance(model, str) and model.isprintable() and model else ""
    return chat_of_messages(messages, named or UNKNOWN_MODEL)


_SYSTEM_ROLES = {"system", "developer"}


def chat_messages(chat: Chat) -> list[Message]:
    """Return the messages of a chat that a model is sent in the next turn."""
    return chat.messages("")[:-1]


def chat_of_messages(
    messages: Iterable[object], model: str = UNKNOWN_MODEL
) -> ParsedChats:
    """Return a chat made from messages.

    Consecutive messages of one role become one text. A reply without a prompt before
    it, such as a greeting, is left out: the prompt of its turn would be empty.

    Raises
    ------
    UnreadableError
        An entry is not a message, or no message is the reply to a prompt.
    """
    builder = _TurnBuilder(model)
    for message in messages:
        builder.add(message)
    builder.end_turn()
    if not builder.turns:
        raise UnreadableError(
            "no message in it is a reply (role assistant) to a prompt"
        )
    left_out = builder.left_out + (builder.system is not None)
    return ParsedChats((Chat("", tuple(builder.turns)),), left_out)


class _TurnBuilder:
    """Builds turns from messages, one message at a time."""

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
            self.left_out += 1  # a tool result, or only a tool call
        else:
            if role == "user" and self._texts["assistant"]:
                self.end_turn()
            self._texts[role].append(text)
            if isinstance(message.get("thinking"), str):
                self._thinking.append(without_surrogates(message["thinking"]))

    def end_turn(self) -> None:
        """Complete a turn; prompts and replies without each other are left out."""
        prompts, replies = self._texts["user"], self._texts["assistant"]
        if any(prompts) and replies:
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
            self.left_out += len(prompts) + len(replies)
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
