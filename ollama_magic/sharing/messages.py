"""Lists of messages, as Ollama and OpenAI have them, and the turns of a chat.

Knows roles and contents. What a turn cannot be made of (messages of tools, images, a
question without an answer) is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from ollama_magic.history.records import Found, UnreadableError, encodable
from ollama_magic.history.turns import UNKNOWN_MODEL, Chat, Message, Turn

_SYSTEM_ROLES = {"system", "developer"}


def chat_messages(chat: Chat) -> list[Message]:
    """Return what a model is sent of a chat when it goes on."""
    return chat.messages("")[:-1]


def chat_of_messages(messages: Iterable[object], model: str = UNKNOWN_MODEL) -> Found:
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
    return Found((Chat("", tuple(taken.turns)),), left_out)


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
                self._thinking.append(encodable(message["thinking"]))

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
            return encodable(content)
        if not isinstance(content, list):
            raise UnreadableError("the content of a message is not text")
        texts = [part["text"] for part in content if _is_text(part)]
        self.left_out += len(content) - len(texts)
        return encodable("\n\n".join(texts))


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
