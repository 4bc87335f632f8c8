"""A chat as a JSON or a Markdown document, and back.

``files`` calls both directions. JSON has all fields of the turns; a list of messages
from another tool can be read too, and what a turn cannot hold (messages of tools,
images, a prompt without a reply) is left out and counted.

Markdown is for people to read and edit. Every text is between two HTML comments with a
boundary that occurs in no text, as in MIME, so no reply can fake its own end. Fields
that people need not see (digest, statistics) are in comments too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ollama_magic.history.records import (
    Record,
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
from ollama_magic.render.line_syntax import closes_fence, fence_of
from ollama_magic.render.reply import steps_text
from ollama_magic.render.sources import sources_lines

_FORMAT = "ollama_magic chat"
_VERSION = 1
_SYSTEM_ROLES = {"system", "developer"}
_HEADER = re.compile(r"<!-- ollama_magic chat (\{.*\}) -->")
_TEXTS = ("system", "thinking", "prompt", "reply")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


@dataclass(frozen=True, slots=True)
class ParsedChats:
    """The chats in a file, and what could not be read."""

    chats: tuple[Chat, ...]
    """In the order of the file; the name is empty if the file has none."""
    left_out: int = 0
    """The number of messages or outputs that could not be used."""
    faults: tuple[str, ...] = ()
    """Where and why, if known: ``cell 3: a turn has no prompt``."""
    differing: tuple[int, ...] = ()
    """Cells, from 1, whose prompt or reply differs from their metadata."""
    unshown: tuple[int, ...] = ()
    """Cells, from 1, that do not contain their prompt, since it comes from code."""


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


def single_spaced(text: str) -> str:
    """Return a text on one line, with single spaces."""
    return " ".join(text.split())


def _check_version(header: Mapping[str, Any]) -> None:
    if header.get("version") != _VERSION:
        raise UnreadableError(f"its version is not {_VERSION}")


# -- JSON ------------------------------------------------------------------------


def chat_to_json(chat: Chat) -> str:
    """Return a chat as JSON; ``messages`` is what a model is sent in the next turn."""
    whole = {
        "format": _FORMAT,
        "version": _VERSION,
        "chat": chat.name,
        "turns": [turn_to_record(turn) for turn in chat.turns],
        "messages": chat.messages("")[:-1],
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
        return _chat_of_messages(whole)
    if not isinstance(whole, dict):
        raise UnreadableError("it is neither an object nor a list of messages")
    if whole.get("format") != _FORMAT:
        return _foreign(whole)
    _check_version(whole)
    turns = whole.get("turns")
    if not isinstance(turns, list):
        raise UnreadableError("it has no list of turns")
    return ParsedChats((Chat(chat_name_from_record(whole), turns_from_records(turns)),))


def _foreign(whole: dict[str, object]) -> ParsedChats:
    messages, model = whole.get("messages"), whole.get("model")
    if not isinstance(messages, list):
        raise UnreadableError("it has no messages, and is not an exported chat")
    named = model if isinstance(model, str) and model.isprintable() and model else ""
    return _chat_of_messages(messages, named or UNKNOWN_MODEL)


def _chat_of_messages(
    messages: Iterable[object], model: str = UNKNOWN_MODEL
) -> ParsedChats:
    """Return a chat made from messages.

    Consecutive messages of one role become one text. A reply without a prompt before
    it, such as a greeting, is left out: the prompt of its turn would be empty.
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
        """Complete a turn, or count its prompts or replies as left out."""
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


# -- Markdown --------------------------------------------------------------------


def chat_to_markdown(chat: Chat) -> str:
    """Return a chat as a document, with thinking in a collapsed section."""
    boundary = _boundary(chat)
    header = {"version": _VERSION, "chat": chat.name, "boundary": boundary}
    parts = [
        f"<!-- ollama_magic chat {_in_comment(header)} -->",
        f"# {_escaped(chat.name)}",
        *(part for turn in chat.turns for part in _turn_parts(turn, boundary)),
    ]
    return "\n\n".join(parts) + "\n"


def chat_from_markdown(text: str) -> ParsedChats:
    """Return the chat of a document from :func:`chat_to_markdown`.

    The texts between the comments may have been edited.

    Raises
    ------
    UnreadableError
        The document has another origin, or a comment is missing or damaged.
    """
    first, _, _ = text.partition("\n")
    if first.endswith("\r"):  # a program has converted the line ends
        text = text.replace("\r\n", "\n")
    match = _HEADER.fullmatch(first.strip())
    header = load_json(match[1]) if match else None
    if not isinstance(header, dict) or not isinstance(header.get("boundary"), str):
        raise UnreadableError("it does not begin like a file from %ollama export")
    _check_version(header)
    boundary = header["boundary"]
    _, *parts = text.split(f"<!-- turn {boundary} ")
    turns = turns_from_records(_read_turn(part, boundary) for part in parts)
    return ParsedChats((Chat(chat_name_from_record(header), turns),))


def _boundary(chat: Chat) -> str:
    texts = json.dumps([turn_to_record(turn) for turn in chat.turns], default=str)
    digest = hashlib.sha256(texts.encode()).hexdigest()
    while (boundary := digest[:8]) in texts or boundary in chat.name:
        digest = hashlib.sha256(digest.encode()).hexdigest()
    return boundary


def _turn_parts(turn: Turn, boundary: str) -> list[str]:
    whole = turn_to_record(turn, with_images=False)
    record = {k: v for k, v in whole.items() if k not in _TEXTS}
    parts = [f"<!-- turn {boundary} {_in_comment(record)} -->"]
    if turn.is_mark:
        return [*parts, "---", "*A new conversation starts here.*"]
    if turn.starts_afresh:
        parts += ["---", "*A new conversation starts here.*"]
    if turn.system is not None:
        parts += ["## System", _section("system", turn.system, boundary)]
    prompt = [_section("prompt", turn.prompt, boundary)]
    if turn.brief_prompt != turn.prompt:
        folded = "<details><summary>As it was sent</summary>"
        prompt = [_escaped(turn.brief_prompt), folded, *prompt, "</details>"]
    parts += ["## You", *prompt]
    shown = [f"*[{image.kind}: {image.describe()}]*" for image in turn.images]
    parts += [*shown, f"## {_escaped(turn.model)}", _line_of_facts(turn)]
    if turn.steps:
        calls = [_escaped(line) for line in steps_text(turn.steps).splitlines()]
        folded = "<details><summary>Tool calls</summary>"
        parts += [folded, "  \n".join(calls), "</details>"]
    if turn.thinking:
        thinking = _section("thinking", turn.thinking, boundary)
        parts += ["<details><summary>Thinking</summary>", thinking, "</details>"]
    sources = "  \n".join(map(_escaped, sources_lines(turn.steps)))
    reply = _section("reply", turn.reply, boundary)
    return [*filter(None, [*parts, reply, sources])]


def _section(name: str, text: str, boundary: str) -> str:
    begin, ends = f"<!-- {name} {boundary} -->", _missing_ends(text)
    if ends:
        return f"{begin}\n\n{text}\n{ends}\n\n<!-- end {boundary} {ends} -->"
    return f"{begin}\n\n{text}\n\n<!-- end {boundary} -->"


def _missing_ends(text: str) -> str:
    """Return the ends of the code block and the folds that a text leaves open."""
    marks, folds = "", 0
    for line in text.split("\n"):
        opening = None if marks else fence_of(line)
        if opening:
            marks = opening[0]
        elif not marks:
            open_folds = folds + line.count("<details") - line.count("</details")
            folds = max(0, open_folds)
        elif closes_fence(line, marks):
            marks = ""
    return "\n".join(filter(None, [marks, *["</details>"] * folds]))


def _line_of_facts(turn: Turn) -> str:
    facts = []
    if turn.answered_at:
        facts.append(f"{datetime.fromisoformat(turn.answered_at):%Y-%m-%d %H:%M} UTC")
    if turn.status != "complete":
        facts.append(turn.status)
    return f"*{' · '.join(facts)}*" if facts else ""


def _in_comment(value: Record) -> str:
    # A comment ends at "-->"; in JSON two dashes in a row stand in texts alone.
    return json.dumps(value, ensure_ascii=False).replace("--", "\\u002d\\u002d")


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", single_spaced(text))


def _read_turn(part: str, boundary: str) -> Record:
    comment, _, rest = part.partition(" -->")
    record = load_json(comment)
    if not isinstance(record, dict):
        raise UnreadableError("a turn is not an object")
    texts = {name: _read_section(name, rest, boundary) for name in _TEXTS}
    found = {name: text for name, text in texts.items() if text is not None}
    if record.get("model") != "" and not {"prompt", "reply"} <= set(found):
        raise UnreadableError("a turn has no prompt or no reply between its comments")
    return {"prompt": "", **record, **found}


def _read_section(name: str, text: str, boundary: str) -> str | None:
    _, begun, rest = text.partition(f"<!-- {name} {boundary} -->\n\n")
    body, ended, end = rest.partition(f"\n\n<!-- end {boundary} ")
    if not begun or not ended:
        return None
    ends = end.partition("-->")[0].strip()
    return body.removesuffix(f"\n{ends}") if ends else body
