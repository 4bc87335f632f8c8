"""The files that chats are taken along in: ``%ollama export`` and ``%ollama import``.

Knows the kinds of files by their endings, and how a file is written so that it is
there as a whole or not at all. What stands in them is known elsewhere.
"""

from __future__ import annotations

import os
import shlex
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ollama_magic.conversation import Chat
from ollama_magic.errors import ConfigError, quoted
from ollama_magic.session import Session
from ollama_magic.sharing.json_file import chat_from_json, chat_to_json
from ollama_magic.sharing.markdown_file import chat_from_markdown, chat_to_markdown
from ollama_magic.sharing.notebook_file import chat_to_notebook, chats_from_notebook
from ollama_magic.sharing.record import Found, UnreadableError

_MAX_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class _Kind:
    write: Callable[[Chat], str]
    read: Callable[[str], Found]


_KINDS = {
    ".md": _Kind(chat_to_markdown, chat_from_markdown),
    ".json": _Kind(chat_to_json, chat_from_json),
    ".ipynb": _Kind(chat_to_notebook, chats_from_notebook),
}


def export_chat(session: Session, file: str, *, force: bool) -> str:
    """Write the current chat to a file, and say so.

    The file has the permissions that the user's umask gives to files: it was asked
    for by name, to be taken along.

    Raises
    ------
    ConfigError
        The chat has no turns, the ending is not a known one, the file is there and
        ``force`` is false, or it cannot be written. Nothing was changed.
    """
    path, chat = _path(file), session.chat()
    kind = _kind(path)
    turns = _count_turns(chat)
    if not turns:
        raise ConfigError(
            f"Chat {chat.name} has no turns to export.",
            next_step="%ollama chats, then %ollama chat NAME",
        )
    if path.exists() and not force:
        raise ConfigError(
            f"{path} is there already, and was not touched.",
            next_step=f"%ollama export --force {shlex.quote(file)}, or another name",
        )
    data = kind.write(chat).encode("utf-8", "replace")
    try:
        _write_whole(path, data)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written.",
            why=error.strerror or str(error),
            next_step="%ollama export FILE, with a FILE in a folder of yours",
        ) from error
    return f"exported {counted(turns, 'turn')} of chat {chat.name} to {path}"


def import_chats(session: Session, file: str, *, name: str | None) -> str:
    """Make the chats of a file chats of this notebook, and say so.

    Cells go on with the first of them. Their turns belong to no cell.

    Parameters
    ----------
    name
        What the chat shall be called; None: as in the file, else as the file.

    Raises
    ------
    ConfigError
        The file cannot be read, or a chat of that name has turns. Nothing was changed.
    """
    path, key = _path(file), session.notebook.key
    found = read_chats(path)
    if not any(map(_count_turns, found.chats)):
        raise ConfigError(
            f"There are no turns of a chat in {path}.",
            next_step="%ollama import FILE, with a file of %ollama export",
        )
    if name and len(found.chats) > 1:
        raise ConfigError(
            f"{path} has {len(found.chats)} chats, and one name was given for them.",
            why=", ".join(quoted(chat.name) for chat in found.chats),
            next_step=f"%ollama import {shlex.quote(file)}",
        )
    chats = [_as_imported(chat, name or chat.name or path.stem) for chat in found.chats]
    taken = {summary.name for summary in session.store.chats(key) if summary.turns}
    for chat in chats:
        if chat.name in taken:
            raise ConfigError(
                f"This notebook has a chat {chat.name}, and it was not touched.",
                next_step=f"%ollama import {shlex.quote(file)} -c "
                f"{shlex.quote(_free(chat.name, taken))}",
            )
    session.store.arrange(key, chats)
    session.store.set_current_chat(key, chats[0].name)
    return _report(chats, found.left_out)


def read_chats(path: Path) -> Found:
    """Return the chats of a file.

    Raises
    ------
    ConfigError
        It cannot be read, or it is not what its ending says.
    """
    kind = _kind(path)
    try:
        return kind.read(_read_text(path))
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:
        why = quoted(str(error))
    raise ConfigError(
        f"No chat can be read from {path}.",
        why=why,
        next_step="files that can be read: those of %ollama export, notebooks with "
        "answers, a JSON list of messages",
    )


def counted(number: int, what: str) -> str:
    """Return ``1 turn`` or ``2 turns``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _path(file: str) -> Path:
    # NB: not Path.expanduser, which raises where there is no home directory.
    return Path(os.path.realpath(os.path.expanduser(file)))


def _kind(path: Path) -> _Kind:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"What kind of file {path.name} is cannot be told by its ending.",
            next_step=f"end it in {', '.join(_KINDS)}: {path.stem or 'chat'}.md",
        )
    return kind


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise UnreadableError(f"it has more than {_MAX_BYTES // 2**20} MiB")
    return data.decode("utf-8-sig")


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there as a whole or, after an error, as it was before."""
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with new.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _count_turns(chat: Chat) -> int:
    return sum(not turn.is_mark for turn in chat.turns)


def _as_imported(chat: Chat, name: str) -> Chat:
    return Chat(name, tuple(replace(turn, cell_id=None) for turn in chat.turns))


def _free(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def _report(chats: list[Chat], left_out: int) -> str:
    lines = [
        f"imported {counted(_count_turns(chat), 'turn')} into chat {chat.name}"
        for chat in chats
    ]
    if left_out:
        lines.append(f"{counted(left_out, 'part')} could not be used")
    return "\n".join([*lines, f"cells go on with chat {chats[0].name}"])
