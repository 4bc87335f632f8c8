"""A chat as a value: turns in order, and the messages that a model is sent.

Pure: knows nothing of storage, notebooks or HTTP. Nothing here changes in place, so
an error while a model answers leaves the chat as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from ollama_magic.client.images import Image
from ollama_magic.client.types import Stats

Message = dict[str, Any]
Status = Literal["complete", "interrupted", "broken"]
"""How a reply ended: by itself, by the user, or by an error (partial text is kept)."""
Origin = Literal["here", "file", "trusted"]
"""Where a turn comes from: a cell that was run here, a file (restored, imported), or a
file that the user has trusted."""

CallOutcome = Literal[
    "called", "failed", "invalid", "declined", "refused", "interrupted", "skipped"
]
"""What came of a call of a function; the ``outcome`` of the message with its result.

``failed``: the function raised. ``invalid``: it could not be called so. ``declined``:
by the user. ``refused``: nobody was there to allow it. ``interrupted``: by the user,
while the function ran. ``skipped``: the user stopped before it. Messages of older
versions have none.
"""

UNKNOWN_MODEL = "unknown"
"""The model of turns from a file that names none; nobody is asked by that name."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one cell asked and what it got.

    A turn without ``model`` is a mark that ``%ollama new`` left: it asked nothing,
    and the turns before it are not sent any more.
    """

    prompt: str = ""
    reply: str = ""
    thinking: str = ""
    model: str = ""
    digest: str = ""
    system: str | None = None
    """A system message from this turn on; None leaves it as it was."""
    images: tuple[Image, ...] = ()
    """What was shown to the model with the prompt."""
    steps: tuple[Message, ...] = ()
    """The messages between prompt and reply: calls of tools, and what they gave."""
    starts_afresh: bool = False
    """The turns before this one are kept in the store and not sent."""
    cell_id: str | None = None
    status: Status = "complete"
    done_reason: str = ""
    stats: Stats = field(default_factory=Stats)
    request: Mapping[str, Any] = field(default_factory=dict)
    """Options, format, think and keep_alive as they were sent (no messages).

    And what is not sent: ``extract``, code was put below the cell of this turn;
    ``cached``, an answer from earlier was shown again.
    """
    based_on: str = ""
    """Fingerprint of the turns that were before this one when it was answered."""
    text_hash: str = ""
    """Hash of what later turns are sent of this one; set by the store."""
    answered_at: str = ""
    """UTC, ISO 8601; set by the store where it is not known. An answer that is shown
    again keeps its time."""
    added_at: str | None = None
    """When it came into its chat; set by the store."""
    uid: str = ""
    """Set by the store; a new one for every answer, also for a re-run."""
    origin: Origin = "here"
    """Of a file only prompts and replies are sent, until the user trusts it."""

    @property
    def is_mark(self) -> bool:
        """Whether this is only the mark of a fresh start."""
        return not self.model

    @property
    def is_from_file(self) -> bool:
        """Whether this was read from a file, trusted or not."""
        return self.origin != "here"

    @property
    def names_model(self) -> bool:
        """Whether the next turn may go on with the model of this one."""
        return self.model not in {"", UNKNOWN_MODEL} and not self.is_from_file

    @property
    def sent_system(self) -> str | None:
        """The system message from this turn on, unless an untrusted file brings it."""
        return None if self.origin == "file" else self.system

    @property
    def sent_steps(self) -> tuple[Message, ...]:
        """The steps that later turns are sent: none of an untrusted file."""
        return () if self.origin == "file" else self.steps

    @property
    def calls(self) -> int:
        """MatchKind many tools were called, or results given where these are more."""
        calls = [len(step.get("tool_calls", ())) for step in self.steps]
        results = [step for step in self.steps if step["role"] == "tool"]
        return max(sum(calls), len(results))

    def compute_text_hash(self) -> str:
        """Hash the texts of this turn, from its system message to its reply.

        Trusting a turn leaves it as it was: a turn has to be recognised in its file.
        """
        hasher = hashlib.sha256()
        steps = map(without_outcome, self.steps)
        more = [json.dumps(step, sort_keys=True) for step in steps]
        more += [image.digest for image in self.images]
        for text in (self.system or "", self.prompt, self.reply, *more):
            data = text.encode("utf-8", "surrogatepass")
            # The length in front keeps "a" + "bc" apart from "ab" + "c".
            hasher.update(b"%d:" % len(data) + data)
        return hasher.hexdigest()[:32]


def fingerprint(turns: Sequence[Turn]) -> str:
    """Return a fingerprint of what a next turn is sent of these turns.

    It depends on texts alone: the same answer given again leaves it as it was.
    """
    hashes = [_sent_hash(turn) for turn in turns[_last_start(turns) :]]
    return hashlib.sha256(b"".join(hashes)).hexdigest()[:32]


def _sent_hash(turn: Turn) -> bytes:
    if turn.is_mark:
        return b""
    return (turn.text_hash or turn.compute_text_hash()).encode("ascii")


def _last_start(turns: Sequence[Turn]) -> int:
    """Return the index of the last turn that starts afresh; 0 when none does."""
    for index in range(len(turns) - 1, -1, -1):
        if turns[index].starts_afresh:
            return index
    return 0


@dataclass(frozen=True)
class Chat:
    """One named chat of a notebook: its live turns, oldest first."""

    name: str
    turns: tuple[Turn, ...] = ()

    def before(self, cell_id: str | None) -> Chat:
        """Return the chat up to the turn of a cell; all of it when it has none.

        A cell that was run with ``--append`` has several turns. The last of them is
        its own, which a re-run replaces; those before it stand.
        """
        if cell_id is not None:
            for index in range(len(self.turns) - 1, -1, -1):
                if self.turns[index].cell_id == cell_id:
                    return Chat(self.name, self.turns[:index])
        return self

    def stale(self) -> frozenset[str]:
        """Return the uids of turns that were answered on an older text.

        A turn is stale when the turns before it are not those it was answered on: one
        was asked again, added, or taken away. Linear in the number of turns.
        """
        stale: set[str] = set()
        before = hashlib.sha256()  # goes along with ``fingerprint``
        for turn in self.turns:
            if turn.starts_afresh:
                before = hashlib.sha256()
            if turn.based_on and turn.based_on != before.hexdigest()[:32]:
                stale.add(turn.uid)
            before.update(_sent_hash(turn))
        return frozenset(stale)

    def in_use(self) -> tuple[Turn, ...]:
        """Return the turns since the last fresh start, marks left out."""
        return self._in_use

    @cached_property
    def _in_use(self) -> tuple[Turn, ...]:
        start = _last_start(self.turns)
        return tuple(turn for turn in self.turns[start:] if not turn.is_mark)

    def last_model(self) -> str:
        """Return the model of the last turn that names one; empty if none does."""
        models = (turn.model for turn in reversed(self.turns))
        return next((m for m in models if m not in {"", UNKNOWN_MODEL}), "")

    def system(self) -> str | None:
        """Return the system message in force after the last turn."""
        for turn in reversed(self.in_use()):
            if turn.sent_system is not None:
                return turn.sent_system
        return None

    def sent(self, last: int | None = None) -> tuple[Turn, ...]:
        """Return the turns that a model is sent: the ``last`` ones, or all in use."""
        turns = self.in_use()
        return turns if last is None else turns[max(0, len(turns) - last) :]

    def messages(
        self,
        prompt: str,
        *,
        images: Sequence[Image] = (),
        system: str | None = None,
        last: int | None = None,
        sees: bool = True,
    ) -> list[Message]:
        """Return what a model is sent when it is asked ``prompt`` now.

        Parameters
        ----------
        prompt
            The new user message.
        images
            What is shown with it.
        system
            A new system message; None keeps the one in force. Empty text sends none.
        last
            Send only so many of the latest turns; None sends all.
        sees
            Whether the model takes images. Where it does not, those of earlier turns
            are left out: the server would refuse the whole chat for one of them.

        Notes
        -----
        Thinking is not sent back (Ollama's templates expect the answer alone).
        """
        in_force = self.system() if system is None else system
        messages: list[Message] = []
        if in_force:
            messages.append({"role": "system", "content": in_force})
        for turn in self.sent(last):
            messages.append(_asked(turn.prompt, turn.images if sees else ()))
            messages += [_without_thinking(step) for step in turn.sent_steps]
            if turn.reply:  # nothing was said, or stopped while it was thought about
                messages.append({"role": "assistant", "content": turn.reply})
        messages.append(_asked(prompt, images))
        return messages


def _asked(prompt: str, images: Sequence[Image]) -> Message:
    message: Message = {"role": "user", "content": prompt}
    if images:
        message["images"] = [image.base64 for image in images]
    return message


def without_outcome(message: Message) -> Message:
    """Return a step as the server takes it: ``outcome`` is ours alone."""
    return {key: value for key, value in message.items() if key != "outcome"}


def _without_thinking(message: Message) -> Message:
    sent = without_outcome(message)
    return {key: value for key, value in sent.items() if key != "thinking"}
