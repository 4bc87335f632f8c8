"""``%ollama export`` and ``%ollama import``: chats to files and back.

The file name extension selects the format, and a file is replaced as a whole or not at
all. System messages, tool results and the model of an imported file are never used
without the user's consent; the report says how to give it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ollama_magic.client.files import read_file
from ollama_magic.client.models import canonical
from ollama_magic.errors import ConfigError, quoted
from ollama_magic.generation.models import chosen_model
from ollama_magic.generation.session import Session
from ollama_magic.history.records import UnreadableError
from ollama_magic.history.turns import UNKNOWN_MODEL, Chat, Origin, Turn, base_id
from ollama_magic.render.text import counted
from ollama_magic.sharing.documents import (
    ParsedChats,
    chat_from_json,
    chat_from_markdown,
    chat_to_json,
    chat_to_markdown,
)
from ollama_magic.sharing.notebook import (
    PromptsIn,
    chat_to_notebook,
    chats_from_notebook,
)

_MAX_BYTES = 256 * 2**20
_MOST_NAMED = 20
_IMPORTED = (
    "%ollama import FILE, with a file from %ollama export, a notebook with replies, or "
    "a JSON list of messages"
)
_MOST_FAULTS = 3


@dataclass(frozen=True, slots=True)
class _Kind:
    write: Callable[[Chat], str]
    read: Callable[[str, PromptsIn], ParsedChats]


_KINDS = {
    ".md": _Kind(chat_to_markdown, lambda text, _: chat_from_markdown(text)),
    ".json": _Kind(chat_to_json, lambda text, _: chat_from_json(text)),
    ".ipynb": _Kind(chat_to_notebook, chats_from_notebook),
}


def export_chat(session: Session, file: str, *, force: bool) -> str:
    """Write the current chat to a file, and return a report.

    The file gets the default permissions of the user's umask, unlike the chat history:
    it is meant to be shared.

    Raises
    ------
    ConfigError
        The chat has no turns, the extension is unknown, the file exists and ``force``
        is false, or it cannot be written. Nothing was changed.
    """
    path, chat = _path(file), session.chat()
    other = shlex.quote(f"{os.path.splitext(file)[0]}.md")
    kind = _kind(path, f"%ollama export {other}")
    turns = len(chat.numbered)
    if not turns:
        raise ConfigError(
            f'Chat "{chat.name}" has no turns to export.',
            next_step="%ollama chats, then %ollama chat NAME",
        )
    command = "%ollama export"
    _check_is_new(path, f"{command} --force {shlex.quote(file)}", force=force)
    _write(path, kind.write(chat).encode("utf-8", "replace"), command)
    return f'Exported {counted(turns, "turn")} of chat "{chat.name}" to {path}'


def export_answers(session: Session, file: str, *, force: bool) -> str:
    """Write a ``history_file`` with what this notebook needs, and return a report.

    That is the turns of its chats, and the cached replies that its cells used when they
    ran last in this kernel.

    Raises
    ------
    ConfigError
        No cached reply was used, the file exists and ``force`` is false, it is the
        store in use, or it cannot be written. Nothing was changed.
    """
    path, store, key = _path(file), session.store, session.notebook.key
    command = "%ollama export --answers"
    chats = [session.chat(chat.name) for chat in store.chats(key)]
    replies = len(store.used_replies.replies)
    if not replies:
        raise ConfigError(
            "There are no cached replies to export.",
            why="no cell has used or stored one since the kernel started",
            next_step=f"%config OllamaMagics.cached = True, run all cells, then "
            f"{command} {shlex.quote(file)}",
        )
    if store.path and path == _path(str(store.path)):
        raise ConfigError(
            f"{path} is the file of the chats in use; it was not changed.",
            next_step=f"{command} FILE, with another name",
        )
    _check_is_new(path, f"{command} --force {shlex.quote(file)}", force=force)
    _write(path, store.extract(key), command)
    turns = [turn for chat in chats for turn in chat.numbered]
    stale = {uid for chat in chats for uid in chat.stale()}
    cells = {*store.used_replies.cells, ""}
    missing = sum(t.uid in stale or base_id(t.cell_id) not in cells for t in turns)
    lines = [
        f"Exported {counted(len(turns), 'turn')} and "
        f"{counted(replies, 'cached reply', 'cached replies')} to {path}",
        f"{counted(missing, 'turn')} may need a server: run all cells with "
        "%config OllamaMagics.cached = True, then export again",
    ]
    return "\n".join(lines if missing else lines[:1])


def _check_is_new(path: Path, command: str, *, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(
            f"{path} already exists and was not changed.",
            next_step=f"{command}, or another name",
        )


def _write(path: Path, data: bytes, command: str) -> None:
    try:
        _write_whole(path, data)
    except OSError as error:
        raise ConfigError(
            f"Cannot write {path}.",
            why=error.strerror or str(error),
            next_step=f"{command} FILE, with a FILE in a writable folder",
        ) from error


def import_chats(
    session: Session,
    file: str,
    prompts_in: PromptsIn,
    *,
    name: str | None,
    trust: bool = False,
) -> str:
    """Add the chats of a file to this notebook, and return a report.

    The first one becomes the current chat. Imported turns belong to no cell.

    Parameters
    ----------
    prompts_in
        Returns the prompts in the source of a cell.
    name
        The name of the chat; None takes the one in the file, or else the file's name.
    trust
        Send system messages and tool results of the file to models. If its chats were
        imported before, they become trusted and nothing is imported.

    Raises
    ------
    ConfigError
        The file is invalid, or a chat of that name has turns. Nothing was changed.
    """
    path, key = _path(file), session.notebook.key
    found = read_chats(path, prompts_in)
    if not any(chat.numbered for chat in found.chats):
        raise ConfigError(
            f"{path} contains no turns of a chat.",
            next_step="%ollama import FILE, with a file from %ollama export",
        )
    if name and len(found.chats) > 1:
        raise ConfigError(
            f"{path} contains {len(found.chats)} chats, but one name was given.",
            why=", ".join(quoted(chat.name) for chat in found.chats),
            next_step=f"%ollama import {shlex.quote(file)}",
        )
    origin: Origin = "trusted" if trust else "file"
    chats = [
        Chat(
            name or chat.name or path.stem,
            tuple(replace(turn, cell_id=None, origin=origin) for turn in chat.turns),
        )
        for chat in found.chats
    ]
    if trust and _trust_earlier_import(session, chats):
        names = ", ".join(f'"{chat.name}"' for chat in chats)
        return f"System messages and tool results of chat {names} are sent from now on."
    taken = {summary.name for summary in session.store.chats(key) if summary.turns}
    for chat in chats:
        if chat.name in taken:
            raise ConfigError(
                f'This notebook already has a chat "{chat.name}"; it was not changed.',
                next_step=f"%ollama import {shlex.quote(file)} -c "
                f"{shlex.quote(_free(chat.name, taken))}",
            )
    session.store.insert_turns(key, chats)
    session.store.set_current_chat(key, chats[0].name)
    turns = [turn for chat in chats for turn in chat.turns]
    words = ["%ollama import", shlex.quote(file), "--trust"]
    words += ["-c", shlex.quote(name)] if name else []
    not_used = not_used_lines(session, turns, chats[0], " ".join(words))
    return "\n".join([*_report(chats, found, path), *not_used])


def read_chats(path: Path, prompts_in: PromptsIn) -> ParsedChats:
    """Return the chats of a file.

    Raises
    ------
    ConfigError
        The file cannot be read, or its content does not match its extension.
    """
    kind = _kind(path, _IMPORTED)
    try:
        return kind.read(_read_text(path), prompts_in)
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:
        why = quoted(str(error))
    raise ConfigError(
        f"Cannot read a chat from {path}.",
        why=why,
        next_step=_IMPORTED,
    )


def not_used_lines(
    session: Session, turns: Sequence[Turn], chat: Chat, command: str
) -> list[str]:
    """Return lines about what a file contains that is not used, and how to use it.

    Parameters
    ----------
    turns
        All turns from the file.
    chat
        The current chat; its last model is reported.
    command
        The command that trusts the file.
    """
    parts = untrusted_parts(turns)
    commands = [command] if parts else []
    if model := _model_not_used(session, chat):
        parts.append(f"model {model}")
        commands.append(f"%ollama use {shlex.quote(model)}")
    if not parts:
        return []
    them = "it" if len(parts) == 1 else "them"
    return [
        f"Not used from the file: {listed(parts)}",
        f"To use {them}: {', then '.join(commands)}",
    ]


def untrusted_parts(turns: Sequence[Turn]) -> list[str]:
    """Return what turns contain that is not sent until their file is trusted."""
    untrusted = [turn for turn in turns if turn.origin == "file"]
    systems = {turn.system for turn in untrusted if turn.system}
    images = sum(len(turn.images) for turn in untrusted)
    calls = sum(turn.calls for turn in untrusted)
    parts = []
    if systems:
        length = counted(sum(map(len, systems)), "character")
        what = counted(len(systems), "system message")
        parts.append(f"{what} ({length})")
    if images:
        parts.append(counted(images, "image"))
    if calls:
        parts.append(f"{counted(calls, 'tool call')} with results")
    return parts


def listed(parts: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _model_not_used(session: Session, chat: Chat) -> str:
    """Return the last model of a chat if it comes from a file and is not in use."""
    asked = [turn for turn in chat.turns if turn.model not in {"", UNKNOWN_MODEL}]
    if not asked or not asked[-1].is_from_file:
        return ""
    chosen = chosen_model(session, chat)
    model = asked[-1].model
    return "" if chosen and canonical(chosen.name) == canonical(model) else model


def named_cells(cells: Sequence[int]) -> str:
    """Return ``cell 3`` or ``cells 3, 7``; the end of a long list is left out."""
    shown = ", ".join(map(str, cells[:_MOST_NAMED]))
    more = ", …" if len(cells) > _MOST_NAMED else ""
    return f"cell{'' if len(cells) == 1 else 's'} {shown}{more}"


def shown_lines(found: ParsedChats) -> list[str]:
    """Return lines about the cells whose visible text differs from the metadata."""
    lines = []
    if found.differing:
        count = counted(len(found.differing), "turn")
        verb = "differs" if len(found.differing) == 1 else "differ"
        lines.append(
            f"{count} {verb} from what the notebook shows in "
            f"{named_cells(found.differing)}: the visible text was used"
        )
    if found.unshown:
        count = counted(len(found.unshown), "prompt")
        lines.append(
            f"{count} created by code, not visible in {named_cells(found.unshown)}"
        )
    return lines


def fault_lines(found: ParsedChats, what: str) -> list[str]:
    """Return a line about what could not be used, and the known reasons."""
    if not found.left_out:
        return []
    shown = found.faults[:_MOST_FAULTS]
    more = "; …" if len(found.faults) > len(shown) else ""
    reasons = f": {'; '.join(shown)}{more}" if shown else ""
    return [f"{counted(found.left_out, what)} could not be used{reasons}"]


def _path(file: str) -> Path:
    # NB: not Path.expanduser, which raises where there is no home directory.
    return Path(os.path.realpath(os.path.expanduser(file)))


def _kind(path: Path, next_step: str) -> _Kind:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"{path.name} has an unknown file type.",
            why=f"chats are exported to, and imported from, {', '.join(_KINDS)} files",
            next_step=next_step,
        )
    return kind


def _read_text(path: Path) -> str:
    data = read_file(path, _MAX_BYTES)
    if len(data) > _MAX_BYTES:
        raise UnreadableError(f"it is larger than {_MAX_BYTES // 2**20} MiB")
    return data.decode("utf-8-sig")


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file completely, or leave it unchanged after an error."""
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


def _trust_earlier_import(session: Session, chats: Sequence[Chat]) -> bool:
    """Trust the turns of chats that were imported; False if one was not."""
    uids: list[str] = []
    for chat in chats:
        texts = {turn.compute_text_hash() for turn in chat.turns}
        here = [t for t in session.chat(chat.name).turns if t.is_from_file]
        if not texts <= {turn.text_hash for turn in here}:
            return False
        uids += [turn.uid for turn in here if turn.text_hash in texts]
    session.store.trust(uids)
    return True


def _free(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def _report(chats: Sequence[Chat], found: ParsedChats, path: Path) -> list[str]:
    part = "output" if path.suffix.lower() == ".ipynb" else "part"
    return [
        *(
            f'Imported {counted(len(chat.numbered), "turn")} into chat "{chat.name}"'
            for chat in chats
        ),
        *shown_lines(found),
        *fault_lines(found, part),
        f'Now using chat "{chats[0].name}"',
    ]
