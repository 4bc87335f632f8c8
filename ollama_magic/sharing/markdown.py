"""A chat as a Markdown document that people can read and edit, and import again.

``files`` calls both directions. Every text is between two HTML comments with a boundary
that occurs in no text, as in MIME, so no reply can fake its own end. Fields that people
need not see (digest, statistics) are in comments too.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime

from ollama_magic.history.records import (
    ParsedChats,
    Record,
    UnreadableError,
    chat_name_from_record,
    one_line,
    turn_to_record,
    turns_from_records,
)
from ollama_magic.history.turns import Chat, Turn
from ollama_magic.render.line_syntax import closes_fence, fence_of
from ollama_magic.render.reply import steps_text
from ollama_magic.sharing.json import load_json

VERSION = 1
_HEADER = re.compile(r"<!-- ollama_magic chat (\{.*\}) -->")
_TEXTS = ("system", "thinking", "prompt", "reply")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def chat_to_markdown(chat: Chat) -> str:
    """Return a chat as a document, with thinking in a collapsed section."""
    boundary = _boundary(chat)
    header = {"version": VERSION, "chat": chat.name, "boundary": boundary}
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
    if first.endswith(
        "\r"
    ):  # something has converted the line ends to those of Windows
        text = text.replace("\r\n", "\n")
    match = _HEADER.fullmatch(first.strip())
    header = load_json(match[1]) if match else None
    if not isinstance(header, dict) or not isinstance(header.get("boundary"), str):
        raise UnreadableError("it does not begin like a file from %ollama export")
    if header.get("version") != VERSION:
        raise UnreadableError(f"its version is not {VERSION}")
    boundary = header["boundary"]
    _, *parts = text.split(f"<!-- turn {boundary} ")
    turns = turns_from_records(_read_turn(part, boundary) for part in parts)
    return ParsedChats((Chat(chat_name_from_record(header), turns),))


# -- writing -------------------------------------------------------------------


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
    parts += ["## You", _section("prompt", turn.prompt, boundary)]
    shown = [f"*[image: {image.describe()}]*" for image in turn.images]
    parts += [*shown, f"## {_escaped(turn.model)}", _line_of_facts(turn)]
    if turn.steps:
        calls = [_escaped(line) for line in steps_text(turn.steps).splitlines()]
        folded = "<details><summary>Tool calls</summary>"
        parts += [folded, "  \n".join(calls), "</details>"]
    if turn.thinking:
        thinking = _section("thinking", turn.thinking, boundary)
        parts += ["<details><summary>Thinking</summary>", thinking, "</details>"]
    return [*filter(None, parts), _section("reply", turn.reply, boundary)]


def _section(name: str, text: str, boundary: str) -> str:
    begin, fence = f"<!-- {name} {boundary} -->", _open_fence(text)
    if fence:
        return f"{begin}\n\n{text}\n{fence}\n\n<!-- end {boundary} {fence} -->"
    return f"{begin}\n\n{text}\n\n<!-- end {boundary} -->"


def _open_fence(text: str) -> str:
    """Return the closing fence of a code block that a text leaves open."""
    marks = ""
    for line in text.split("\n"):
        opening = None if marks else fence_of(line)
        if opening:
            marks = opening[0]
        elif marks and closes_fence(line, marks):
            marks = ""
    return marks


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
    return _SPECIAL.sub(r"\\\1", one_line(text))


# -- reading -------------------------------------------------------------------


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
    fence = end.partition("-->")[0].strip()
    return body.removesuffix(f"\n{fence}") if fence else body
