"""``%ollama restore``: the chats of a notebook, rebuilt from its file alone.

What the store has stays, and what only the notebook has takes its place among it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ollama_magic.errors import ConfigError
from ollama_magic.generation.session import Session
from ollama_magic.history.turns import Chat, Origin, Turn
from ollama_magic.sharing.files import (
    counted,
    fault_lines,
    not_used_lines,
    read_chats,
    shown_lines,
)


@dataclass
class Merged:
    """The turns of a chat, made of those that it has and those of its notebook."""

    turns: list[Turn] = field(default_factory=list)
    restored: int = 0
    """How many came from the notebook."""
    is_changed: bool = False
    """Whether anything came from it; also a mark, which does not count as a turn."""
    differing: int = 0
    """How many the notebook has with another text, and were kept as they are."""
    from_before: list[Turn] = field(default_factory=list)
    """Those that the chat has from a file already, with the same text."""


def restore(session: Session, *, force: bool, trust: bool = False) -> str:
    """Rebuild the chats of this notebook from its file, and say what was done.

    Parameters
    ----------
    force
        Where a cell has another text in the chat, take that of the notebook.
    trust
        Send system messages and tool results of the notebook too.

    Raises
    ------
    ConfigError
        The notebook is not known, its file cannot be read, or tells of no chat.
    """
    path, key = session.notebook.path, session.notebook.key
    if path is None:
        raise ConfigError(
            "Which notebook this is cannot be told.",
            why="the front end does not say where its file is",
            next_step='%config OllamaMagics.notebook = "FILE.ipynb", '
            "then %ollama restore",
        )
    found = read_chats(Path(path), session.cells.prompts_in)
    if not found.chats:
        more = "".join(f"; {line}" for line in fault_lines(found, "output"))
        raise ConfigError(
            f"No chat can be restored from {path}.",
            why=f"no output in it, as it was last saved, tells of one{more}",
            next_step="save a notebook with answers in it, or: %ollama import FILE",
        )
    live = {c.name: session.chat(c.name).turns for c in session.store.chats(key)}
    origin: Origin = "trusted" if trust else "file"
    theirs = [
        Chat(chat.name, tuple(replace(turn, origin=origin) for turn in chat.turns))
        for chat in found.chats
    ]
    merged = {c.name: _merged(c, theirs, live, force=force) for c in theirs}
    changed = [Chat(name, tuple(m.turns)) for name, m in merged.items() if m.is_changed]
    session.store.insert_turns(key, changed)
    if trust:
        for name, one in merged.items():
            session.store.trust(key, name, [turn.uid for turn in one.from_before])
    turns = [turn for chat in theirs for turn in session.chat(chat.name).turns]
    return "\n".join(
        [
            *_report(path, list(merged.values())),
            *shown_lines(found),
            *fault_lines(found, "output"),
            *not_used_lines(session, turns, session.chat(), "%ollama restore --trust"),
        ]
    )


def merge(
    theirs: Sequence[Turn],
    ours: Sequence[Turn],
    *,
    elsewhere: Collection[str | None] = (),
    force: bool = False,
) -> Merged:
    """Return the turns of a chat with those of its notebook among them.

    Parameters
    ----------
    theirs
        The turns of the chat as the notebook tells them.
    ours
        The turns that the chat has.
    elsewhere
        Ids of cells whose turns are in other chats by now.
    force
        Take the turns of the notebook where texts differ.
    """
    by_cell = {turn.cell_id: turn for turn in ours if turn.cell_id}
    by_text = {_identity(turn): turn for turn in ours}
    merged = Merged()
    places: list[tuple[Turn, Turn | None]] = []
    for turn in theirs:
        mine = by_text.get(_identity(turn)) or by_cell.get(turn.cell_id or "")
        if mine is not None and _text_of(mine) == _text_of(turn):
            places.append((mine, mine))
            merged.from_before += [mine] if mine.is_from_file else []
        elif force or (mine is None and turn.cell_id not in elsewhere):
            merged.restored += not turn.is_mark
            merged.is_changed = True
            places.append((turn, mine))
        else:
            merged.differing += 1
            if mine is not None:
                places.append((mine, mine))
    merged.turns = _interleaved(places, ours)
    return merged


def _merged(
    chat: Chat,
    all_theirs: Sequence[Chat],
    live: dict[str, tuple[Turn, ...]],
    *,
    force: bool,
) -> Merged:
    others = [turns for name, turns in live.items() if name != chat.name]
    elsewhere = {turn.cell_id for turns in others for turn in turns} - {None}
    ours = live.get(chat.name, ())
    if force:  # the notebook's word on which chat a cell is in
        theirs = [other.turns for other in all_theirs if other.name != chat.name]
        claimed = {turn.cell_id for turns in theirs for turn in turns} - {None}
        ours = tuple(turn for turn in ours if turn.cell_id not in claimed)
    return merge(chat.turns, ours, elsewhere=elsewhere, force=force)


def _interleaved(
    places: Sequence[tuple[Turn, Turn | None]], ours: Sequence[Turn]
) -> list[Turn]:
    """Put turns that the notebook does not have among those that it has.

    They stay before the one that they stood before, and at the end if there is none:
    a cell that was asked before the chat was restored comes after it.
    """
    place_of = {mine.uid: i for i, (_, mine) in enumerate(places) if mine is not None}
    turns: list[Turn] = []
    waiting: list[Turn] = []
    done = 0
    for turn in ours:
        if turn.uid not in place_of:
            waiting.append(turn)
        elif place_of[turn.uid] >= done:
            end = place_of[turn.uid] + 1
            turns += [*waiting, *(kept for kept, _ in places[done:end])]
            waiting, done = [], end
    return [*turns, *(kept for kept, _ in places[done:]), *waiting]


def _identity(turn: Turn) -> tuple[str, str]:
    return turn.answered_at, _text_of(turn)


def _text_of(turn: Turn) -> str:
    return turn.text_hash or turn.compute_text_hash()


def _report(path: str, merged: Sequence[Merged]) -> list[str]:
    restored = sum(one.restored for one in merged)
    differing = sum(one.differing for one in merged)
    chats = sum(bool(one.restored) for one in merged)
    lines = [
        f"restored {counted(restored, 'turn')} of {counted(chats, 'chat')} from {path}"
        if restored
        else f"nothing to restore: the chat has the turns of {path}, as last saved"
    ]
    if differing:
        verb = "differs" if differing == 1 else "differ"
        lines.append(
            f"{counted(differing, 'turn')} of the notebook {verb} from the chat's and "
            "stayed out; to take the notebook's: %ollama restore --force"
        )
    return lines
