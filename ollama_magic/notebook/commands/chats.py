"""The subcommands about chats: ``%ollama chat``, ``history``, ``export``, ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ollama_magic.errors import ConfigError, size_text, usage_error
from ollama_magic.generation.context import estimate_tokens
from ollama_magic.generation.option_values import is_number
from ollama_magic.generation.options import Option, switch
from ollama_magic.generation.session import Session
from ollama_magic.history.changes import PruneSummary
from ollama_magic.history.records import METADATA_KEY, output_metadata
from ollama_magic.history.rows import ChatSummary
from ollama_magic.history.turns import Chat, Origin, Turn
from ollama_magic.notebook.commands.declare import (
    YES,
    Commands,
    Context,
    ParsedCommand,
    is_confirmed,
    options_of,
)
from ollama_magic.notebook.commands.prompts import title_of
from ollama_magic.render.aligned import Cell
from ollama_magic.render.tables import Columns, Listing, TextPage, age, exact
from ollama_magic.render.text import counted, one_line, without_markup
from ollama_magic.sharing import files
from ollama_magic.sharing.restore import restore

CHAT = Commands()
DATA = Commands()

_ROWS_SHOWN = 50
_PER_TOKEN = 4
"""Characters per token, roughly."""
_PREVIEW = 60
_PREVIEW_READ = 400
"""Characters of a text that its preview is made of."""

WHY_LEFT = {
    "replaced": "replaced by a later run",
    "dropped": "dropped",
    "deleted": "its cell was deleted",
    "moved": "its cell moved to another chat",
    "undone": "undone",
    "removed": "removed",
}


def store_text(session: Session) -> str:
    """Return how large the file of all chats is and where it is."""
    size = size_text(session.store.size_bytes)
    where = session.store.path or "memory, until the kernel ends"
    return f"Chats of all notebooks: {size} in {where}"


def preview(text: str) -> Cell:
    """Return the beginning of a prompt or a reply, without Markdown."""
    title = title_of(text)
    line = one_line(title or without_markup(text[:_PREVIEW_READ]))
    is_whole = len(line) <= _PREVIEW and (title or len(text) <= _PREVIEW_READ)
    shown = line if is_whole else f"{line[: _PREVIEW - 1].rstrip()}…"
    return Cell(shown, "" if is_whole else one_line(text[:_PREVIEW_READ]), True)


def short(text: str) -> str:
    """Return the same as a text."""
    return preview(text).text


def when(session: Session) -> Callable[[str], Cell]:
    """Return how a time is shown: as an age, but not where replies are cached.

    A notebook that is run again from the cache has the same outputs.
    """
    return (lambda time: Cell(exact(time))) if session.settings.cached else age


# -- chats -----------------------------------------------------------------------


def _chat_columns(session: Session) -> Columns[ChatSummary]:
    shown = when(session)
    return {
        "Chat": lambda c: c.name,
        "Turns": lambda c: f"{c.turns:,}",
        "Model": lambda c: c.last_model,
        "Last reply": lambda c: shown(c.last_answered_at),
        "Tokens": lambda c: f"~{c.characters // _PER_TOKEN:,}",
    }


@CHAT.add(
    "chat",
    operands="NAME",
    options=(
        Option("rename", ("--rename",), metavar="NEW", example="ideas"),
        switch("delete", "--delete", discards=True),
        YES,
    ),
    completes="chat",
)
def chat(context: Context, line: ParsedCommand) -> str:
    """Switch to a chat, or rename or delete it."""
    (name,) = line.arguments
    new = line.values.get("rename")
    if new is not None and "delete" in line.values:
        raise usage_error(
            "%ollama chat takes --rename or --delete, not both.",
            next_step=f"%ollama chat {name} --rename {new}",
        )
    if new is not None:
        return _rename(context.session, name, new)
    if "delete" in line.values:
        return _delete(context, line)
    return _switch(context.session, name)


def _switch(session: Session, name: str) -> str:
    session.store.set_current_chat(session.notebook.key, name)
    turns = len(session.chat().numbered)
    return f'Now using chat "{name}" ({turns_text(turns) if turns else "new"}).'


def _rename(session: Session, name: str, new: str) -> str:
    _find_chat(session, name)
    if not session.store.rename_chat(session.notebook.key, name, new):
        raise ConfigError(
            f"Chat {name!r} was not renamed.",
            why=f"chat {new!r} already exists",
            next_step="choose another name; those in use: %ollama chats",
        )
    return f'Renamed chat "{name}" to "{new}".'


def _delete(context: Context, line: ParsedCommand) -> str:
    (name,) = line.arguments
    chat = _find_chat(context.session, name)
    size = f"{turns_text(chat.turns)}, {counted(chat.characters, 'character')}"
    question = f'Delete chat "{name}" ({size})? This can\'t be undone.'
    command = f"%ollama chat {name} --delete -y"
    not_done = f"Chat {name!r} was not deleted."
    if not is_confirmed(context, line, question, not_done, command):
        return "Nothing was deleted."
    context.session.store.delete_chat(context.session.notebook.key, name)
    return f'Deleted chat "{name}" and all its turns.'


def _find_chat(session: Session, name: str) -> ChatSummary:
    chats = session.store.chats(session.notebook.key)
    found = next((chat for chat in chats if chat.name == name), None)
    if found is None:
        names = ", ".join(chat.name for chat in chats)
        raise ConfigError(
            f"This notebook has no chat {name!r}.",
            why=f"it has {names}" if names else "it has no chats yet",
            next_step="%ollama chats",
        )
    return found


@CHAT.add("chats")
def list_chats(context: Context, _: ParsedCommand) -> Listing[ChatSummary]:
    """Return the chats of this notebook, and the size of the store."""
    session = context.session
    session.chat()  # removes the turns of deleted cells
    chats = session.store.chats(session.notebook.key)
    empty = "No chats yet. Start one with a %%ollama cell."
    note = f'Current chat: "{session.chat_name}" · {store_text(session)}'
    return Listing(chats, _chat_columns(session), empty, note=note)


@CHAT.add("new", operands="[NAME]", aliases=("reset",), completes="chat", discards=True)
def start_new(context: Context, line: ParsedCommand) -> TextPage:
    """Start a new conversation: earlier turns are no longer sent."""
    session, key = context.session, context.session.notebook.key
    if line.arguments:
        session.store.set_current_chat(key, line.arguments[0])
    name, page = session.chat_name, session.chat(asked="").page
    mark = session.store.mark_new(key, name, session.cells.cell_id, page)
    session.cells.count_turn()
    chat = session.chat()
    metadata = {METADATA_KEY: output_metadata(mark, chat.position_of(mark), "")}
    return TextPage(_new_text(chat, mark), metadata)


def _new_text(chat: Chat, mark: Turn) -> str:
    text = f'Started a new conversation in chat "{chat.name}". Undo with %ollama undo.'
    position = [turn.uid for turn in chat.turns].index(mark.uid)
    after = chat.turns[position + 1 :]  # the mark of a re-run cell stays in its place
    if not after:
        return text
    return (
        f"{text}\n{turns_text(len(after))} of later cells still belong to it; "
        "to leave them out too, run %ollama new in a separate cell."
    )


# -- history ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One turn as ``%ollama history`` lists it."""

    number: int | None
    """The number that ``drop`` takes; None for a turn that has left the chat."""
    prompt: str
    """As it was sent."""
    brief_prompt: str
    """The same, with ``{{ sales }}`` and ``{{ cells 3-7 }}`` in place of their text."""
    reply: str
    thinking: str
    model: str
    status: str
    """``complete``, ``cut``, ``interrupted`` or ``broken``."""
    is_stale: bool
    """Whether the turns above it have changed since it was answered."""
    left: str
    """Why it is no longer sent; empty for a turn in use."""
    characters: int
    """Length of prompt and reply."""
    tokens: int
    """Estimated number of tokens of prompt and reply."""
    answered_at: str
    """UTC, ISO 8601."""
    cell_id: str | None
    cell: int | None
    """The position of its cell in the saved notebook, from 1; None if unknown."""
    is_unsaved: bool
    """Whether the position is unknown because the notebook is not saved."""
    system: str | None
    """The system message that starts with this turn, if any."""
    calls: int
    """Tool calls between prompt and reply, or results where there are more."""
    images: int
    origin: Origin
    """``here``, or a file, whose system messages and calls are sent only if trusted."""


_ORIGINS = {"here": "", "file": "a file", "trusted": "a file, trusted"}


def _status(row: HistoryRow) -> str:
    status = "" if row.status == "complete" else row.status
    return ", ".join(filter(None, [status, "stale" * row.is_stale, row.left]))


def _unless_sent(row: HistoryRow) -> str:
    return " (not sent)" if row.origin == "file" else ""


def _system(row: HistoryRow) -> Cell | str:
    if not row.system:
        return ""
    return Cell(f"{_unless_sent(row)} {short(row.system)}".strip(), is_preview=True)


def _columns(session: Session) -> Columns[HistoryRow]:
    answered = when(session)
    return {
        "Turn": lambda r: r.number or "",
        "Cell": lambda r: "unsaved" if r.is_unsaved else r.cell or "",
        "Prompt": lambda r: preview(r.brief_prompt),
        "Reply": lambda r: preview(r.reply),
        "Model": lambda r: r.model,
        "Status": _status,
        "Tokens": lambda r: f"~{r.tokens:,}",
        "Answered": lambda r: answered(r.answered_at),
        "From": lambda r: _ORIGINS[r.origin],
        "System": _system,
        "Calls": lambda r: f"{r.calls}{_unless_sent(r)}" if r.calls else "",
        "Images": lambda r: r.images or "",
    }


@CHAT.add("history", options=(switch("all", "--all"),))
def list_history(context: Context, line: ParsedCommand) -> Listing[HistoryRow]:
    """Return the turns in use, or with ``--all`` every turn that the chat ever had."""
    session, everything = context.session, "all" in line.values
    chat = session.chat()
    rows = list(_rows(session, chat, everything=everything))
    unanswered = sum(turn.is_unanswered for turn in chat.numbered)
    earlier = len(chat.numbered) - len(chat.in_use()) - unanswered
    notes = []
    if len(rows) > _ROWS_SHOWN:
        command = f"%ollama history{' --all' * everything}"
        notes.append(
            f"last {_ROWS_SHOWN} of {len(rows):,} turns; for all: turns = {command}"
        )
    if earlier and not everything:
        count = turns_text(earlier)
        notes.append(f"{count} before the last %ollama new: %ollama history --all")
    if unanswered and not everything:
        count = turns_text(unanswered)
        notes.append(f"{count} without a reply, not sent: %ollama history --all")
    if any(row.is_stale for row in rows):
        notes.append("stale: the turns above it have changed; run the cell again")
    if any(row.is_unsaved for row in rows):
        notes.append("unsaved: may be out of order until the notebook is saved")
    since = "since %ollama new" if earlier else "yet"
    empty = f'No turns in chat "{chat.name}" {since}.'
    note = "\n".join(notes)
    return Listing(rows, _columns(session), empty, note=note, limit=_ROWS_SHOWN)


def _rows(session: Session, chat: Chat, *, everything: bool) -> Iterator[HistoryRow]:
    in_use = {turn.uid for turn in chat.in_use()}
    numbers = {turn.uid: n for n, turn in enumerate(chat.numbered, 1)}
    stale = chat.stale()
    turns: Sequence[tuple[Turn, str]] = [(turn, "") for turn in chat.turns]
    if everything:
        turns = session.store.all_turns(session.notebook.key, chat.name)
    for turn, why in turns:
        left = WHY_LEFT.get(why, why)
        if not why and turn.uid not in in_use:
            left = "not sent" if turn.is_unanswered else "before %ollama new"
        if turn.is_mark or (left and not everything):
            continue
        yield HistoryRow(
            number=numbers.get(turn.uid),
            prompt=turn.prompt,
            brief_prompt=turn.typed_prompt,
            reply=turn.reply,
            thinking=turn.thinking,
            model=turn.model,
            status=turn.status,
            is_stale=turn.uid in stale,
            left=left,
            characters=len(turn.prompt) + len(turn.reply),
            tokens=estimate_tokens(turn.prompt) + estimate_tokens(turn.reply),
            answered_at=turn.answered_at,
            cell_id=turn.cell_id,
            cell=session.page.number_of(turn.cell_id),
            is_unsaved=not why and session.page.may_misplace(turn.cell_id),
            system=turn.system,
            calls=turn.calls,
            images=len(turn.images),
            origin=turn.origin,
        )


def turns_text(count: int) -> str:
    """Return a number of turns as text."""
    return counted(count, "turn")


# -- files and disk space --------------------------------------------------------

_TRUST = switch("trust", "--trust")


def read_days(text: str) -> float:
    """Return a number of days, above 0."""
    if not is_number(text) or not 0 < float(text) < 100_000:
        raise ValueError("it must be a number of days, above 0")
    return float(text)


@DATA.add(
    "export",
    operands="FILE",
    options=(
        switch("answers", "--answers"),
        switch("force", "--force", discards=True),
    ),
    completes="file",
)
def export_chat(context: Context, line: ParsedCommand) -> str:
    """Write the chat to a file, or what a replay of the notebook needs."""
    (file,) = line.arguments
    export = files.export_answers if "answers" in line.values else files.export_chat
    return export(context.session, file, force="force" in line.values)


@DATA.add(
    "import", operands="FILE", options=(*options_of("chat"), _TRUST), completes="file"
)
def import_chats(context: Context, line: ParsedCommand) -> str:
    """Create chats from a file."""
    from ollama_magic.notebook.commands import prompts_in

    (file,) = line.arguments
    name, trust = line.values.get("chat"), "trust" in line.values
    imported = files.import_chats(
        context.session, file, prompts_in, name=name, trust=trust
    )
    return imported


@DATA.add("restore", options=(switch("force", "--force", discards=True), _TRUST))
def restore_chats(context: Context, line: ParsedCommand) -> str:
    """Rebuild the chats of this notebook."""
    from ollama_magic.notebook.commands import prompts_in

    force, trust = "force" in line.values, "trust" in line.values
    return restore(context.session, prompts_in, force=force, trust=trust)


@DATA.add(
    "prune",
    options=(
        Option(
            "older_than",
            ("--older-than",),
            metavar="DAYS",
            read=read_days,
            example="90",
            takes_numbers=True,
            discards=True,
        ),
        YES,
    ),
    discards=True,
)
def prune(context: Context, line: ParsedCommand) -> str:
    """Delete discarded turns and old data, once the user has confirmed it."""
    store, key = context.session.store, context.session.notebook.key
    older_than = line.values.get("older_than")
    found = store.prunable(key, older_than)
    if found.is_empty:
        return f"Nothing to delete. {store_text(context.session)}"
    days = "" if older_than is None else f" --older-than {older_than:g}"
    question = f"Permanently delete {_prune_text(found)}?"
    command = f"%ollama prune{days} -y"
    if not is_confirmed(context, line, question, "Nothing was deleted.", command):
        return "Nothing was deleted."
    deleted = _prune_text(store.prune(key, older_than))
    return f"Deleted {deleted}. {store_text(context.session)}"


def _prune_text(found: PruneSummary) -> str:
    parts = []
    if found.turns:
        parts.append(counted(found.turns, "discarded turn"))
    if found.chats:
        turns = counted(found.chat_turns, "turn")
        parts.append(f"{counted(found.chats, 'unused chat')} ({turns})")
    if found.answers:
        parts.append(counted(found.answers, "cached reply", "cached replies"))
    return f"{' and '.join(parts)} ({size_text(found.size_bytes)})"
