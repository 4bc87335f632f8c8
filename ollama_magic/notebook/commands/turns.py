"""The subcommands about one turn: ``%ollama continue``, ``code``, ``undo``, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ollama_magic.errors import ConfigError
from ollama_magic.generation.option_values import read_count
from ollama_magic.generation.options import ChatOptions, Option
from ollama_magic.generation.reply import of_cell, stored_reply
from ollama_magic.generation.run import PUT_BEFORE, insert_below
from ollama_magic.generation.session import Session
from ollama_magic.history.changes import UndoResult
from ollama_magic.history.turns import Chat, Turn, TurnPosition
from ollama_magic.notebook.commands.chats import (
    WHY_LEFT,
    preview,
    short,
    turns_text,
    when,
)
from ollama_magic.notebook.commands.declare import (
    Commands,
    Context,
    ParsedCommand,
    options_of,
)
from ollama_magic.render.code import CodeToRun, code_blocks, code_to_run
from ollama_magic.render.columns import Column, columns_bundle
from ollama_magic.render.reply import ReplyView
from ollama_magic.render.tables import Columns, Listing

ASK = Commands()
CODE = Commands()
CHAT = Commands()

_IF_DELETED = "If you deleted it, save the notebook and run this again."
_TURN = Option(
    "turn",
    ("--turn",),
    "T",
    read=lambda text: str(read_count(text)),
    example="2",
    takes_numbers=True,
)


@ASK.add(
    "continue",
    options=(*options_of("chat", "options", "hide_thinking", "host"), _TURN),
)
def continue_reply(context: Context, line: ParsedCommand) -> object:
    """Go on with a reply that was cut off or stopped, in place."""
    given = dict(line.values)
    chat = context.session.chat(given.get("chat"))
    turn = find_turn(chat, given.pop("turn", ""))
    if turn.status == "complete":
        which = "The" if "turn" in line.values else "The last"
        return (
            f"{which} reply is complete. To ask for more, write a new prompt. To go on "
            "with another reply: %ollama continue --turn T"
        )
    _check_can_continue(turn)
    # NB: a file may ask for anything, and the import has not named it.
    request = {} if turn.is_from_file else turn.request
    given["options"] = request.get("options", {}) | given.get("options", {})
    options = ChatOptions(
        model=None if turn.is_from_file else turn.model,
        system=turn.sent_system,
        images=turn.sent_images,
        new=turn.starts_afresh,
        think=request.get("think"),
        keep_alive=request.get("keep_alive"),
        raw=True,
        **given,
    )
    return context.unless_shown(context.ask(options, turn.prompt, begun=turn))


def _check_can_continue(turn: Turn) -> None:
    if not turn.reply.strip():
        raise ConfigError(
            "There is no text to continue.",
            why="the reply ended before its first word",
            next_step="run its cell again",
        )
    if "format" in turn.request:
        raise ConfigError(
            "A JSON reply cannot be continued.",
            why="the server starts a new JSON value with each request",
            next_step="run its cell again, with a higher -o num_predict if it was cut",
        )


# -- its code --------------------------------------------------------------------


@CODE.add("code", operands="[N|all]", options=(_TURN,))
def insert_code(context: Context, line: ParsedCommand) -> str:
    """Insert the code of a reply into the cell below, without asking again."""
    session = context.session
    code = _chosen_code(_reply_text(context, line), *line.arguments)
    put_at = session.code_below.get(session.cells.cell_id or "", {}).get(code.hash)
    saved = session.page.read(session.notebook.path)
    sources = [source for _, source in saved.cells] if saved else []
    found = ""
    if code.source in sources:
        number = sources.index(code.source) + 1
        found = f"Cell {number} of the notebook, as last saved, has this code."
    elif put_at and (saved is None or saved.changed_at < put_at):
        found = f"{PUT_BEFORE.capitalize()}."
    if found:
        return f"{found} {_IF_DELETED}"
    where = insert_below(session, code)
    if not where:
        return f"No cell can be inserted here: copy the code.\n\n{code.source}"
    return f"{code.size} in {where}, for review{code.remark}."


def _reply_text(context: Context, line: ParsedCommand) -> str:
    """Return the reply of a turn, or the last reply."""
    number, reply = line.values.get("turn", ""), context.session.last_reply
    if number or reply is None:
        return find_turn(context.session.chat(), number).reply
    return reply.text


def _chosen_code(text: str, word: str = "all") -> CodeToRun:
    """Return the code of all blocks of a reply, or of one.

    Raises
    ------
    ConfigError
        There is no such block, or no cell can run it.
    """
    blocks = code_blocks(text)
    numbered = {str(n): (block,) for n, block in enumerate(blocks, 1)}
    chosen = blocks if word == "all" else numbered.get(word, ())
    code = code_to_run(chosen)
    if code.source:
        return code
    what = "The reply has no code."
    if chosen:
        what = "No cell can run this code."
    elif blocks:
        what = f"The reply has no code block {word!r}."
    listed = ", ".join(f"{n} {one[0].language}".strip() for n, one in numbered.items())
    raise ConfigError(
        what,
        why=f"its blocks are: {listed}" if blocks else "it has no code block",
        next_step="%ollama code 1   the first block; the whole reply: %ollama last"
        if blocks
        else "%ollama code --turn T   another reply; the turns: %ollama history",
    )


# -- its versions ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """One reply that a turn has or has had."""

    turn: int
    number: int
    is_in_use: bool
    prompt: str
    reply: str
    model: str
    status: str
    answered_at: str
    """UTC, ISO 8601."""


def _version_columns(session: Session) -> Columns[Version]:
    answered = when(session)
    return {
        "Turn": lambda v: v.turn,
        "Version": lambda v: f"{v.number}{' (in use)' * v.is_in_use}",
        "Prompt": lambda v: preview(v.prompt),
        "Reply": lambda v: preview(v.reply),
        "Model": lambda v: v.model,
        "Status": lambda v: v.status,
        "Answered": lambda v: answered(v.answered_at),
    }


@CHAT.add(
    "versions",
    operands="[T]",
    options=(replace(_TURN, field="use", flags=("--use",), metavar="N"),),
)
def list_versions(context: Context, line: ParsedCommand) -> object:
    """List the versions of turns, or make one of them the turn again."""
    session, number = context.session, "".join(line.arguments)
    chat = session.chat()
    if "use" in line.values:
        return _use_version(context, find_turn(chat, number), line.values["use"])
    turns = [find_turn(chat, number)] if number else chat.numbered
    rows = [
        _version(chat.position_of(turn), n, one, turn)
        for turn in turns
        for versions in [session.store.versions(turn)]
        for n, one in enumerate(versions if len(versions) > 1 else (), 1)
    ]
    columns = _version_columns(session)
    empty = f"{f'Turn {number}' if number else 'Each turn'} has one version."
    return Listing(
        rows,
        columns,
        empty if turns else f'No turns in chat "{chat.name}" yet.',
        note=f"to use one again: %ollama versions {number or 'T'} --use N" * bool(rows),
        page=_side_by_side(rows, columns) if number else "",
    )


def _version(place: TurnPosition, number: int, one: Turn, in_use: Turn) -> Version:
    return Version(
        turn=place["turn"],
        number=number,
        is_in_use=one.text_hash == in_use.text_hash,
        prompt=one.typed_prompt,
        reply=one.reply,
        model=one.model,
        status=one.status,
        answered_at=one.answered_at,
    )


def _side_by_side(versions: Sequence[Version], shown: Columns[Version]) -> str:
    """Return the replies of versions as columns of safe HTML."""
    number, time = shown["Version"], shown["Answered"]
    columns = [
        Column(
            f"Version {number(one)}",
            ReplyView(
                one.reply,
                footer=(one.model, str(time(one)), f"prompt: {short(one.prompt)}"),
                notice="" if one.status == "complete" else f"[{one.status}]",
            ),
        )
        for one in versions
    ]
    return columns_bundle(columns)["text/html"]


def _use_version(context: Context, turn: Turn, number: str) -> object:
    session = context.session
    versions = session.store.versions(turn)
    chosen = dict(enumerate(versions, 1)).get(int(number))
    if chosen is None:
        raise ConfigError(
            f"The turn has no version {number}.",
            why=f"its versions are 1 to {len(versions)}",
            next_step="%ollama versions",
        )
    # Later than the others: of several replies in a notebook, the last one counts.
    last = datetime.fromisoformat(max(one.answered_at for one in [turn, *versions]))
    moment = (last + timedelta(microseconds=1)).isoformat(timespec="microseconds")
    chosen = replace(chosen, cell_id=turn.cell_id, answered_at=moment)
    chat, key = session.chat(), session.notebook.key
    used = session.store.record(
        key, chat.name, chosen, replaces=turn.uid, cells=chat.page
    )
    place = session.chat().position_of(used)
    facts = f"turn {place['turn']} of {place['chat']}, version {number}"
    reply = stored_reply(used, place, facts, hides_thinking=True)
    if used.cell_id != session.cells.cell_id:
        reply = replace(reply, provenance={**reply.provenance, **of_cell(used)})
    session.last_reply = reply
    context.show_reply(reply)
    return context.unless_shown(reply)


# -- changes ---------------------------------------------------------------------


@CHAT.add("undo", discards=True)
def undo(context: Context, _: ParsedCommand) -> str:
    """Undo the last change to the chat and say what it was."""
    session = context.session
    chat = session.chat()
    undone = session.store.undo(session.notebook.key, chat.name)
    if undone is None:
        return f'Nothing to undo in chat "{chat.name}".'
    return _undone_text(undone)


def _undone_text(undone: UndoResult) -> str:
    removed, restored = _names(undone.removed), _names(undone.restored)
    if undone.why == "replaced":
        return f"Removed {removed}; restored {restored}, which it had replaced."
    if undone.why == "moved":
        return f"Removed {removed}; restored {restored} in its earlier chat."
    if undone.why:
        return f"Restored {restored} ({WHY_LEFT[undone.why]})."
    return f"Removed {removed}."


def _names(turns: tuple[Turn, ...]) -> str:
    if len(turns) > 3:
        return turns_text(len(turns))
    return ", ".join(
        "the start of a new conversation"
        if turn.is_mark
        else f"the turn {short(turn.typed_prompt)!r}"
        for turn in turns
    )


@CHAT.add("drop", operands="N", discards=True)
def drop(context: Context, line: ParsedCommand) -> str:
    """Remove a turn from the chat, by its number in the history."""
    turn = find_turn(context.session.chat(), *line.arguments)
    context.session.store.drop(turn.uid)
    return f"Removed {_names((turn,))}. Undo with %ollama undo."


def find_turn(chat: Chat, number: str = "") -> Turn:
    """Return a turn by its number in the history, or the one that was added last.

    NB: in Run All, the turns of the cells below are still those of the last time.

    Raises
    ------
    ConfigError
        There is no such turn.
    """
    turns = {str(n): turn for n, turn in enumerate(chat.numbered, 1)}
    count = len(turns)
    found = turns.get(number)
    if turns and not number:
        latest_first = reversed(turns.values())
        found = max(latest_first, key=lambda turn: turn.added_at or turn.answered_at)
    if found is None:
        raise ConfigError(
            f"Chat {chat.name!r} has no turn{f' {number}' if number else ' yet'}.",
            why=f"its turns are 1 to {count}"
            if count
            else "no prompt was answered in it",
            next_step="%ollama history"
            if count
            else "%%ollama   with a prompt below it; other chats: %ollama chats",
        )
    return found
