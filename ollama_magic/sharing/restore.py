"""``%ollama restore``: rebuilds the chats of a notebook from its file.

Turns that the store has stay; turns that only the notebook has are inserted where they
were. Where the two differ, the store wins unless the user adds ``--force``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ollama_magic.errors import ConfigError
from ollama_magic.generation.session import Session
from ollama_magic.history.identity import UNKNOWN_CHAT
from ollama_magic.history.turns import Chat, Origin, Turn
from ollama_magic.render.text import counted
from ollama_magic.sharing.files import (
    fault_lines,
    listed,
    not_used_lines,
    read_chats,
    shown_lines,
    untrusted_parts,
)
from ollama_magic.sharing.notebook import PromptsIn


@dataclass
class MergeResult:
    """The turns of a chat after those of its notebook were merged in."""

    turns: list[Turn] = field(default_factory=list)
    restored: int = 0
    """How many turns came from the notebook."""
    is_changed: bool = False
    """Whether a turn or a mark came from the notebook."""
    differing: int = 0
    """How many turns differ from the notebook and stayed unchanged."""
    from_before: list[Turn] = field(default_factory=list)
    """Turns with the same text that came from a file earlier."""


def restore(
    session: Session, prompts_in: PromptsIn, *, force: bool, trust: bool = False
) -> str:
    """Rebuild the chats of this notebook from its file, and return a report.

    Parameters
    ----------
    prompts_in
        Returns the prompts in the source of a cell.
    force
        Take the notebook's turn where it differs from the one in the chat.
    trust
        Send system messages and tool results of the notebook to models.

    Raises
    ------
    ConfigError
        The notebook is unknown, or its file is invalid or contains no chat.
    """
    path, key = session.notebook.path, session.notebook.key
    if path is None:
        raise ConfigError(
            "Cannot identify this notebook.",
            why="the front end does not report the path of its file",
            next_step='%config OllamaMagics.notebook = "FILE.ipynb", '
            "then %ollama restore",
        )
    if session.notebook.is_text:
        raise ConfigError(
            "A text notebook has no outputs from which a chat could be restored.",
            why=path,
            next_step="%ollama import FILE, with a file from %ollama export",
        )
    found = read_chats(Path(path), prompts_in)
    if not found.chats:
        more = "".join(f"; {line}" for line in fault_lines(found, "output"))
        raise ConfigError(
            f"Cannot restore a chat from {path}.",
            why=f"as last saved, none of its outputs belongs to a chat{more}",
            next_step="save a notebook that has replies, or: %ollama import FILE",
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
    now_sent = []
    if trust:
        earlier = [turn for one in merged.values() for turn in one.from_before]
        now_sent = untrusted_parts(earlier)
        session.store.trust([turn.uid for turn in earlier])
    turns = [turn for chat in theirs for turn in session.chat(chat.name).turns]
    return "\n".join(
        [
            *(note for note in session.take_warnings() if note != UNKNOWN_CHAT),
            *_report(path, list(merged.values())),
            *([f"Now also sent: {listed(now_sent)}"] if now_sent else []),
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
) -> MergeResult:
    """Merge the turns of a chat with those of its notebook.

    Parameters
    ----------
    theirs
        The turns of the chat in the notebook.
    ours
        The turns of the chat in the store.
    elsewhere
        Ids of cells whose turns are now in other chats.
    force
        Take the turns of the notebook where the texts differ.
    """
    by_cell = {turn.cell_id: turn for turn in ours if turn.cell_id}
    by_text = {_identity(turn): turn for turn in ours}
    merged = MergeResult()
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
) -> MergeResult:
    others = [turns for name, turns in live.items() if name != chat.name]
    elsewhere = {turn.cell_id for turns in others for turn in turns} - {None}
    ours = live.get(chat.name, ())
    if force:  # the notebook decides which chat a cell belongs to
        theirs = [other.turns for other in all_theirs if other.name != chat.name]
        claimed = {turn.cell_id for turns in theirs for turn in turns} - {None}
        ours = tuple(turn for turn in ours if turn.cell_id not in claimed)
    return merge(chat.turns, ours, elsewhere=elsewhere, force=force)


def _interleaved(
    places: Sequence[tuple[Turn, Turn | None]], ours: Sequence[Turn]
) -> list[Turn]:
    """Insert the turns that the notebook does not have.

    Each stays before its successor. Without one it goes to the end: a cell that was run
    before the chat was restored comes after it.
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
            turns += [*waiting, *(turn for turn, _ in places[done:end])]
            waiting, done = [], end
    return [*turns, *(turn for turn, _ in places[done:]), *waiting]


def _identity(turn: Turn) -> tuple[str, str]:
    return turn.answered_at, _text_of(turn)


def _text_of(turn: Turn) -> str:
    return turn.text_hash or turn.compute_text_hash()


def _report(path: str, merged: Sequence[MergeResult]) -> list[str]:
    restored = sum(one.restored for one in merged)
    differing = sum(one.differing for one in merged)
    chats = sum(bool(one.restored) for one in merged)
    lines = [
        f"Restored {counted(restored, 'turn')} of {counted(chats, 'chat')} from {path}"
        if restored
        else f"Nothing to restore: the chat has all turns of {path}, as last saved"
    ]
    if differing:
        verb = "differs" if differing == 1 else "differ"
        lines.append(
            f"{counted(differing, 'turn')} in the chat {verb} from the notebook; the "
            "chat's text was kept. To use the notebook's texts: %ollama restore --force"
        )
    return lines
