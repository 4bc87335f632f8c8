"""What ``%ollama`` does about chats: chats, chat, history, undo, drop, prune.

One function per subcommand; each returns what is shown. What is deleted for good is
asked for first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_magic.client.progress import size_text
from ollama_magic.errors import ConfigError
from ollama_magic.generation.confirm import Confirm, is_confirmed
from ollama_magic.generation.session import Session
from ollama_magic.history.changes import PruneSummary, UndoResult
from ollama_magic.history.store import ChatSummary
from ollama_magic.history.turns import Chat, Origin, Turn
from ollama_magic.render.tables import Columns, Listing, TextPage

_ROWS_SHOWN = 50

_WHY = {
    "replaced": "replaced by a later run",
    "dropped": "dropped",
    "deleted": "its cell was deleted",
    "moved": "its cell went to another chat",
    "undone": "undone",
    "removed": "removed",
}


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One turn, as ``%ollama history`` lists it."""

    number: int | None
    """What ``drop`` knows it by; None for a turn that has left the chat."""
    prompt: str
    reply: str
    thinking: str
    model: str
    status: str
    """How its answer ended: ``complete``, ``interrupted`` or ``broken``."""
    is_stale: bool
    """Whether it was answered on another text than that before it now."""
    left: str
    """Why it is not sent any more; empty for a turn in use."""
    characters: int
    """Length of prompt and reply."""
    answered_at: str
    """UTC, ISO 8601."""
    cell_id: str | None
    system: str | None
    """The system message that begins with this turn; None when none does."""
    calls: int
    """Tool calls between prompt and reply, or results where these are more."""
    images: int
    origin: Origin
    """``here``, or a file: then system and calls are sent only if it is trusted."""


_ORIGINS = {"here": "", "file": "a file", "trusted": "a file, trusted"}

_HISTORY_COLUMNS: Columns[HistoryRow] = {
    "TURN": lambda r: r.number or "",
    "PROMPT": lambda r: short(r.prompt),
    "REPLY": lambda r: short(r.reply),
    "MODEL": lambda r: r.model,
    "STATUS": lambda r: ", ".join(
        filter(None, [r.status, "stale" if r.is_stale else "", r.left])
    ),
    "CHARACTERS": lambda r: f"{r.characters:,}",
    "ANSWERED (UTC)": lambda r: minute(r.answered_at),
    "FROM": lambda r: _ORIGINS[r.origin],
    "SYSTEM": lambda r: _unless_sent(r, r.system and short(r.system)),
    "CALLS": lambda r: _unless_sent(r, r.calls),
    "IMAGES": lambda r: r.images or "",
}
_SHOWN_IF_ANY = ("FROM", "SYSTEM", "CALLS", "IMAGES")
"""Columns that are left out where no row has anything in them."""

_CHAT_COLUMNS: Columns[ChatSummary] = {
    "CHAT": lambda c: c.name,
    "TURNS": lambda c: f"{c.turns:,}",
    "MODEL": lambda c: c.last_model,
    "LAST ANSWER (UTC)": lambda c: minute(c.last_answered_at),
    "CHARACTERS": lambda c: f"{c.characters:,}",
}


def _unless_sent(row: HistoryRow, shown: object) -> str:
    """Mark what an untrusted file brings; empty for nothing."""
    return f"{shown}{' (not sent)' * (row.origin == 'file')}" if shown else ""


def _columns(rows: Sequence[HistoryRow]) -> Columns[HistoryRow]:
    return {
        title: get
        for title, get in _HISTORY_COLUMNS.items()
        if title not in _SHOWN_IF_ANY or any(map(get, rows))
    }


# -- looking ---------------------------------------------------------------------


def new_start_text(chat: Chat, mark: Turn) -> str:
    """Say where a chat starts afresh: a mark that is set again stays in its place."""
    behind = chat.turns[[turn.uid for turn in chat.turns].index(mark.uid) + 1 :]
    text = f"chat {chat.name} starts afresh here; %ollama undo takes it back"
    if not behind:
        return text
    return (
        f"{text}\nthe {len(behind)} turns of cells run after this one stay; "
        "to leave them behind too: %ollama new in a cell of its own"
    )


def list_chats(session: Session) -> Listing[ChatSummary]:
    """Return the chats of this notebook, with the size of the store of all."""
    session.chat()  # turns of deleted cells leave
    chats = session.store.chats(session.notebook.key)
    empty = "No chats yet. Begin one with a %%ollama cell."
    note = f"cells go on with {session.chat_name} · {store_text(session)}"
    return Listing(chats, _CHAT_COLUMNS, empty, note=note)


def store_text(session: Session) -> str:
    """Return how large the store is and where."""
    size = size_text(session.store.size_bytes)
    where = session.store.path or "memory only, until the kernel ends"
    return f"chats of all notebooks: {size} in {where}"


def list_history(session: Session, *, everything: bool) -> Listing[HistoryRow]:
    """Return the turns in use, or every turn that the chat ever had."""
    chat = session.chat()
    rows = _rows(session) if everything else _rows_in_use(session)
    notes = []
    if len(rows) > _ROWS_SHOWN:
        more = "--all " if everything else ""
        notes.append(
            f"the last {_ROWS_SHOWN} of {len(rows):,} turns; "
            f"all of them: turns = %ollama history {more}".rstrip()
        )
    before = len([t for t in chat.turns if not t.is_mark]) - len(chat.in_use())
    if before and not everything:
        notes.append(f"{counted(before)} before the fresh start: %ollama history --all")
    if any(row.is_stale for row in rows):
        notes.append("stale: answered on an older text; run its cell again")
    empty = f"Chat {chat.name} has no turns{' since its fresh start' * bool(before)}"
    empty += " yet." if not before else "."
    note = "\n".join(notes)
    return Listing(rows, _columns(rows), empty, note=note, most=_ROWS_SHOWN)


def _rows_in_use(session: Session) -> list[HistoryRow]:
    chat = session.chat()
    in_use = {turn.uid for turn in chat.in_use()}
    numbers, stale = turn_numbers(chat.turns), chat.stale()
    return [
        _row(turn, numbers[turn.uid], is_stale=turn.uid in stale)
        for turn in chat.turns
        if turn.uid in in_use
    ]


def _rows(session: Session) -> list[HistoryRow]:
    chat = session.chat()
    in_use = {turn.uid for turn in chat.in_use()}
    numbers, stale = turn_numbers(chat.turns), chat.stale()
    turns = session.store.all_turns(session.notebook.key, chat.name)
    rows = []
    for turn, why in turns:
        if turn.is_mark:
            continue
        left = _WHY.get(why, why)
        if not why and turn.uid not in in_use:
            left = "before the fresh start"
        number = numbers.get(turn.uid)
        rows.append(_row(turn, number, is_stale=turn.uid in stale, left=left))
    return rows


def turn_numbers(turns: tuple[Turn, ...]) -> dict[str, int]:
    """Return the numbers of turns by their uids: marks are not counted."""
    asked = (turn for turn in turns if not turn.is_mark)
    return {turn.uid: number for number, turn in enumerate(asked, 1)}


def _row(
    turn: Turn, number: int | None, *, is_stale: bool, left: str = ""
) -> HistoryRow:
    return HistoryRow(
        number=number,
        prompt=turn.prompt,
        reply=turn.reply,
        thinking=turn.thinking,
        model=turn.model,
        status=turn.status,
        is_stale=is_stale,
        left=left,
        characters=len(turn.prompt) + len(turn.reply),
        answered_at=turn.answered_at,
        cell_id=turn.cell_id,
        system=turn.system,
        calls=turn.calls,
        images=len(turn.images),
        origin=turn.origin,
    )


# -- changing --------------------------------------------------------------------


def undo(session: Session) -> TextPage:
    """Take back the last change of the chat, and say what it was."""
    chat = session.chat()
    undone = session.store.undo(session.notebook.key, chat.name)
    if undone is None:
        return TextPage(f"chat {chat.name} has nothing to take back")
    return TextPage(_undone_text(undone))


def _undone_text(undone: UndoResult) -> str:
    removed, restored = _names(undone.removed), _names(undone.restored)
    if undone.why == "replaced":
        return f"took back {removed}; what it had replaced is back: {restored}"
    if undone.why == "moved":
        return f"took back {removed}; it is where it was before: {restored}"
    if undone.why:
        return f"back in the chat: {restored} ({_WHY[undone.why]})"
    return f"took back {removed}"


def _names(turns: tuple[Turn, ...]) -> str:
    if len(turns) > 3:
        return counted(len(turns))
    return ", ".join(
        "the fresh start" if turn.is_mark else f"the turn {short(turn.prompt)!r}"
        for turn in turns
    )


def drop(session: Session, number: str) -> TextPage:
    """Take a turn out of the chat, by its number in history.

    Raises
    ------
    ConfigError
        No turn has this number.
    """
    chat = session.chat()
    numbers = turn_numbers(chat.turns)
    by_number = {str(n): uid for uid, n in numbers.items()}
    if number not in by_number:
        count = len(numbers)
        raise ConfigError(
            f"Chat {chat.name} has no turn {number}.",
            why=f"its turns are 1 to {count}" if count else "it has no turns",
            next_step="%ollama history",
        )
    uid = by_number[number]
    session.store.drop(session.notebook.key, chat.name, uid)
    (turn,) = [turn for turn in chat.turns if turn.uid == uid]
    return TextPage(f"dropped {_names((turn,))}; %ollama undo brings it back")


def switch_chat(session: Session, name: str) -> TextPage:
    """Make a chat the one that cells go on with."""
    session.store.set_current_chat(session.notebook.key, name)
    turns = len(turn_numbers(session.chat().turns))
    return TextPage(f"cells go on with chat {name} ({counted(turns)})")


def rename_chat(session: Session, name: str, new: str) -> TextPage:
    """Give a chat another name.

    Raises
    ------
    ConfigError
        There is no such chat, or the new name is taken.
    """
    _check_exists(session, name)
    if not session.store.rename_chat(session.notebook.key, name, new):
        raise ConfigError(
            f"Chat {name} was not renamed.",
            why=f"there is a chat {new} already",
            next_step="%ollama chats, then another name",
        )
    return TextPage(f"chat {name} is called {new} now")


def delete_chat(
    session: Session, name: str, confirm: Confirm, *, is_sure: bool
) -> TextPage:
    """Delete a chat for good, once the user has confirmed it.

    Raises
    ------
    ConfigError
        There is no such chat, or nobody could answer.
    """
    chat = _check_exists(session, name)
    question = (
        f"Delete chat {name} ({counted(chat.turns)}, {chat.characters:,} characters)? "
        "This can't be undone."
    )
    command = f"%ollama chat {name} --delete -y"
    refusal = f"Chat {name} was not deleted."
    if not (is_sure or is_confirmed(confirm, question, refusal, command)):
        return TextPage("nothing was deleted")
    session.store.delete_chat(session.notebook.key, name)
    return TextPage(f"deleted chat {name} for good, and all its turns")


def _check_exists(session: Session, name: str) -> ChatSummary:
    chats = session.store.chats(session.notebook.key)
    for chat in chats:
        if chat.name == name:
            return chat
    raise ConfigError(
        f"This notebook has no chat {name}.",
        why=f"its chats are: {', '.join(chat.name for chat in chats) or 'none yet'}",
        next_step="%ollama chats",
    )


def prune(
    session: Session, older_than: float | None, confirm: Confirm, *, is_sure: bool
) -> TextPage:
    """Remove for good what is in no chat any more, once the user has confirmed it.

    Raises
    ------
    ConfigError
        Nobody could answer.
    """
    store, key = session.store, session.notebook.key
    found = store.prunable(key, older_than)
    if found.is_empty:
        return TextPage(f"nothing to remove; {store_text(session)}")
    days = "" if older_than is None else f" --older-than {older_than:g}"
    question = f"Remove {_leftovers_text(found)}? This can't be undone."
    command = f"%ollama prune{days} -y"
    refusal = "Nothing was removed."
    if not (is_sure or is_confirmed(confirm, question, refusal, command)):
        return TextPage("nothing was removed")
    removed = store.prune(key, older_than)
    return TextPage(f"removed {_leftovers_text(removed)}; {store_text(session)}")


def _leftovers_text(found: PruneSummary) -> str:
    parts = []
    if found.turns:
        parts.append(f"{counted(found.turns)} in no chat any more")
    if found.chats:
        chats = f"{found.chats:,} chat{'' if found.chats == 1 else 's'}"
        parts.append(f"{chats} not used for long ({counted(found.chat_turns)})")
    if found.answers:
        parts.append(f"{found.answers:,} answers kept by --cached")
    return f"{' and '.join(parts)}, about {size_text(found.size_bytes)}"


# -- texts -----------------------------------------------------------------------


def counted(turns: int) -> str:
    """Return ``1 turn`` or ``2 turns``."""
    return f"{turns:,} turn{'' if turns == 1 else 's'}"


def short(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text[:240].split())
    return line if len(line) <= 60 and len(text) <= 240 else f"{line[:59]}…"


def minute(timestamp: str) -> str:
    """Return a time as listings show it."""
    return timestamp[:16].replace("T", " ")
