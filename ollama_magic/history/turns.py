"""Turns and chats as values, and the messages that are sent to a model.

Every layer above uses them. They are immutable, so an error during a reply leaves the
chat unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, TypedDict

from ollama_magic.client.images import Image
from ollama_magic.client.models import is_cloud_name
from ollama_magic.client.types import Stats

Message = dict[str, Any]
Status = Literal["complete", "cut", "interrupted", "broken"]
"""How a reply ended: by itself, at a length limit, by the user, or by an error (partial
text is kept)."""
Origin = Literal["here", "file", "trusted"]
"""Where a turn comes from: a cell that was run here, a file (restored, imported), or a
file that the user trusts."""

CallOutcome = Literal[
    "called", "failed", "invalid", "declined", "refused", "interrupted", "skipped"
]
"""The outcome of a tool call; a field of the message with its result.

``failed``: the tool raised. ``invalid``: a wrong call. ``declined``: by the user.
``refused``: no user could allow it. ``interrupted``: by the user, while the tool
ran. ``skipped``: the user stopped earlier. Messages of older versions have none.
"""

MAIN_CHAT = "main"
"""The chat of cells that name none, until the user chooses another."""

UNKNOWN_MODEL = "unknown"
"""The model of turns from a file without model names; never sent to a server."""


def utc_now() -> str:
    """Return the time in the format of the store: UTC, ISO 8601, sortable as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def without_surrogates(text: str) -> str:
    """Return a text that can be encoded: lone surrogates become ``?``."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Turn:
    """A prompt and its reply.

    A turn without ``model`` is a marker from ``%ollama new``: it has no prompt, and
    earlier turns are no longer sent.
    """

    prompt: str = ""
    reply: str = ""
    thinking: str = ""
    model: str = ""
    digest: str = ""
    system: str | None = None
    """The system message from this turn on; None keeps the earlier one."""
    images: tuple[Image, ...] = ()
    """The images and sounds that were sent with the prompt."""
    steps: tuple[Message, ...] = ()
    """The messages between prompt and reply: tool calls and their results."""
    starts_afresh: bool = False
    """Whether a new conversation starts here; earlier turns are no longer sent."""
    cell_id: str | None = None
    status: Status = "complete"
    done_reason: str = ""
    stats: Stats = field(default_factory=Stats)
    request: Mapping[str, Any] = field(default_factory=dict)
    """Options, format, think and keep_alive as they were sent (no messages).

    Also facts that are not sent: ``extract``, code was inserted below the cell, with
    its hash as ``code_below``; ``cached``, the reply came from the cache; ``cloud``, a
    cloud model answered; ``cells``, the prompt begins with cells of the notebook;
    ``template``, the name of the template that was used; ``typed``, the prompt as it
    was typed, if values or files were filled in.
    """
    based_on: str = ""
    """The fingerprint of the turns before this one, when it was answered."""
    text_hash: str = ""
    """The hash of the texts that later requests contain; set by the store."""
    answered_at: str = ""
    """UTC, ISO 8601; set by the store if empty. A cached reply keeps its time."""
    added_at: str | None = None
    """When it was added to its chat; set by the store."""
    uid: str = ""
    """Set by the store; every reply has a new one, even when a cell is run again."""
    origin: Origin = "here"
    """Of turns from a file, only prompts and replies are sent until it is trusted."""

    @property
    def is_mark(self) -> bool:
        """Whether this is only the marker of a new conversation."""
        return not self.model

    @property
    def is_unanswered(self) -> bool:
        """Whether it ended before any text or tool call: it is not sent on."""
        has_reply = bool(self.reply.strip() or self.sent_steps)
        return self.status != "complete" and not has_reply

    @property
    def own_prompt(self) -> str:
        """The prompt without the cells of the notebook that were sent before it.

        A file could hide a part of its prompts this way: those of files stay whole.
        """
        cells = {} if self.is_from_file else self.request.get("cells", {})
        return self.prompt[cells.get("length", 0) :]

    @property
    def brief_prompt(self) -> str:
        """The prompt for listings: ``{{ cells 3-7 }}`` in place of their text."""
        if (own := self.own_prompt) == self.prompt:
            return own
        return f"{{{{ {self.request['cells']['named']} }}}} {own}"

    @property
    def typed_prompt(self) -> str:
        """The same, with ``{{ sales }}`` in place of its value, and without files."""
        typed = "" if self.is_from_file else self.request.get("typed", "")
        before = self.brief_prompt.removesuffix(self.own_prompt) if typed else ""
        return f"{before}{typed}" if typed else self.brief_prompt

    @property
    def is_from_file(self) -> bool:
        """Whether this was read from a file, trusted or not."""
        return self.origin != "here"

    def names_model(self, allow_cloud: bool = False) -> bool:
        """Return whether the model of this turn can be the next turn's default.

        A cloud model cannot, unless the user allows it: it answers only where it is
        named.
        """
        is_cloud = "cloud" in self.request or is_cloud_name(self.model)
        is_known = self.model not in {"", UNKNOWN_MODEL}
        return is_known and not self.is_from_file and (allow_cloud or not is_cloud)

    @property
    def sent_system(self) -> str | None:
        """The system message from this turn on, unless it is from an untrusted file."""
        return None if self.origin == "file" else self.system

    @property
    def sent_steps(self) -> tuple[Message, ...]:
        """The steps that are sent with later prompts: none from an untrusted file."""
        return () if self.origin == "file" else self.steps

    @property
    def sent_images(self) -> tuple[Image, ...]:
        """The images that are sent with its prompt: none from an untrusted file.

        Nobody sees them when a file is imported, and they may have text in them.
        """
        return () if self.origin == "file" else self.images

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The messages of later requests, without images; made once, and never changed.

        All requests share them: with their own, memory would grow with the square of
        the turns.
        """
        return (_user_message(self.prompt, ()), *self.reply_messages())

    def reply_messages(self) -> list[Message]:
        """Return the messages after the prompt, as they are sent."""
        messages = [_without_thinking(step) for step in self.sent_steps]
        if self.reply:  # empty if it was stopped during thinking
            messages.append({"role": "assistant", "content": self.reply})
        return messages

    @property
    def calls(self) -> int:
        """The number of tool calls, or of results if there are more."""
        calls = [len(step.get("tool_calls", ())) for step in self.steps]
        results = [step for step in self.steps if step["role"] == "tool"]
        return max(sum(calls), len(results))

    def compute_text_hash(self) -> str:
        """Hash the texts of this turn, from its system message to its reply.

        The origin has no influence: a trusted turn must be recognised in its file.
        """
        hasher = hashlib.sha256()
        steps = map(without_outcome, self.steps)
        more = [json.dumps(step, sort_keys=True) for step in steps]
        more += [image.digest for image in self.images]
        for text in (self.system or "", self.prompt, self.reply, *more):
            data = text.encode("utf-8", "surrogatepass")
            # With its length, "a" + "bc" differs from "ab" + "c".
            hasher.update(b"%d:" % len(data) + data)
        return hasher.hexdigest()[:32]


def fingerprint(turns: Sequence[Turn]) -> str:
    """Return a fingerprint of what is sent of these turns with the next prompt.

    It depends on texts only: an identical new reply does not change it.
    """
    hashes = [_sent_hash(turn) for turn in turns[_last_start(turns) :]]
    return hashlib.sha256(b"".join(hashes)).hexdigest()[:32]


def _sent_hash(turn: Turn) -> bytes:
    if turn.is_mark or turn.is_unanswered:
        return b""
    return (turn.text_hash or turn.compute_text_hash()).encode("ascii")


def _last_start(turns: Sequence[Turn]) -> int:
    """Return the index where the current conversation starts."""
    for index in range(len(turns) - 1, -1, -1):
        if turns[index].starts_afresh:
            return index
    return 0


def page_order(turns: Sequence[Turn], cells: Sequence[str]) -> tuple[Turn, ...]:
    """Return turns in the order of the cells of a page.

    A turn whose place is unknown stays behind the turn before it: one without a cell,
    of a cell that is not among ``cells``, or added to its cell with ``--append``.
    """
    places = {cell_id: place for place, cell_id in enumerate(cells)}
    groups: list[tuple[int, list[Turn]]] = [(-1, [])]
    seen = set()
    for turn in turns:
        place = places.get(base_id(turn.cell_id))
        if place is None or turn.cell_id in seen:
            groups[-1][1].append(turn)
        else:
            groups.append((place, [turn]))
        seen.add(turn.cell_id)
    groups.sort(key=lambda group: group[0])
    return tuple(turn for _, group in groups for turn in group)


def base_id(cell_id: str | None) -> str:
    """Return the id of a cell; the second turn of one run has the id ``ID 2``."""
    return (cell_id or "").partition(" ")[0]


class TurnPosition(TypedDict):
    """The position of a turn in its chat, as the metadata of its output has it."""

    chat: str
    turn: int
    """From 1, without markers: the number that users see."""
    position: int
    """From 1, with markers."""


@dataclass(frozen=True)
class Chat:
    """One named chat of a notebook: its live turns, in the order of the page."""

    name: str
    turns: tuple[Turn, ...] = ()
    page: tuple[str, ...] = ()
    """The ids of the cells of the notebook in their order, as far as it is known."""

    @property
    def numbered(self) -> tuple[Turn, ...]:
        """The turns without markers, in the order of the numbers that users see."""
        return tuple(turn for turn in self.turns if not turn.is_mark)

    def position_of(self, turn: Turn) -> TurnPosition:
        """Return the position of a turn; of a new one, the position it would have."""
        uids = [other.uid for other in self.turns]
        index = uids.index(turn.uid) if turn.uid in uids else len(uids)
        before = sum(not other.is_mark for other in self.turns[:index])
        return TurnPosition(chat=self.name, turn=before + 1, position=index + 1)

    def turn_of(self, cell_id: str | None) -> Turn | None:
        """Return the turn that a re-run of a cell replaces.

        A cell that was run with ``--append`` has several turns; it is the last of them.
        """
        if cell_id is None:
            return None
        return next((t for t in reversed(self.turns) if t.cell_id == cell_id), None)

    def before(self, cell_id: str | None, *, append: bool = False) -> Chat:
        """Return the chat before the turn that a cell gets.

        Parameters
        ----------
        append
            Whether a cell that has a turn gets another one, at the end.
        """
        mine, turns = self.turn_of(cell_id), self.turns
        if mine is None:
            mine = Turn(cell_id=cell_id)
            turns = page_order([*turns, mine], self.page)
        elif append:
            return self
        index = next(index for index, turn in enumerate(turns) if turn is mine)
        return replace(self, turns=turns[:index])

    def before_turn(self, uid: str) -> Chat:
        """Return the chat before a turn; all of it if the turn has left."""
        uids = [turn.uid for turn in self.turns]
        if uid not in uids:
            return self
        return replace(self, turns=self.turns[: uids.index(uid)])

    def stale(self) -> frozenset[str]:
        """Return the uids of turns whose reply is based on outdated turns.

        A turn is stale if an earlier turn was run again, added or removed after its
        reply. Linear in the number of turns.
        """
        stale: set[str] = set()
        before = hashlib.sha256()  # the same as ``fingerprint``
        for turn in self.turns:
            if turn.starts_afresh:
                before = hashlib.sha256()
            if turn.based_on and turn.based_on != before.hexdigest()[:32]:
                stale.add(turn.uid)
            before.update(_sent_hash(turn))
        return frozenset(stale)

    def in_use(self) -> tuple[Turn, ...]:
        """Return the turns of the current conversation that are sent."""
        return self._in_use

    @cached_property
    def _in_use(self) -> tuple[Turn, ...]:
        start = _last_start(self.turns)
        return tuple(
            turn
            for turn in self.turns[start:]
            if not (turn.is_mark or turn.is_unanswered)
        )

    def last_model(self) -> str:
        """Return the model of the last turn that has one; empty if none does."""
        models = (turn.model for turn in reversed(self.turns))
        return next((m for m in models if m not in {"", UNKNOWN_MODEL}), "")

    def system(self) -> str | None:
        """Return the system message that applies after the last turn."""
        for turn in reversed(self.in_use()):
            if turn.sent_system is not None:
                return turn.sent_system
        return None

    def sent(self, last: int | None = None) -> tuple[Turn, ...]:
        """Return the turns that are sent: the ``last`` ones, or the conversation."""
        turns = self.in_use()
        return turns if last is None else turns[max(0, len(turns) - last) :]

    def messages(
        self,
        prompt: str,
        images: Sequence[Image] = (),
        *,
        system: str | None = None,
        last: int | None = None,
        accepts: Callable[[Image], bool] = lambda image: True,
    ) -> list[Message]:
        """Return the messages of a request with a new prompt.

        Parameters
        ----------
        prompt
            The new user message.
        images
            The images that are sent with it.
        system
            A new system message. None keeps the present one; an empty text sends none.
        last
            How many of the latest turns to send; None sends all.
        accepts
            Whether the model supports an image or sound. If not, those of earlier turns
            are left out, since the server would reject the whole request.

        Notes
        -----
        Thinking is not sent back (Ollama's templates expect the answer alone).
        """
        in_force = self.system() if system is None else system
        messages: list[Message] = []
        if in_force:
            messages.append({"role": "system", "content": in_force})
        for turn in self.sent(last):
            question, *rest = turn.messages
            if images_sent := [*filter(accepts, turn.sent_images)]:
                question = _user_message(turn.prompt, images_sent)
            messages += [question, *rest]
        messages.append(_user_message(prompt, images))
        return messages


def _user_message(prompt: str, images: Sequence[Image]) -> Message:
    message: Message = {"role": "user", "content": prompt}
    if images:
        message["images"] = [image.base64 for image in images]
    return message


_NOT_SENT = {"outcome", "sent_to", "sources"}


def without_outcome(message: Message) -> Message:
    """Return a step without the fields that Ollama does not have.

    These are ``outcome``, ``sent_to`` (the site that a call was sent to) and
    ``sources`` (the title and address of each page that the result is from).
    """
    return {key: value for key, value in message.items() if key not in _NOT_SENT}


def _without_thinking(message: Message) -> Message:
    sent = without_outcome(message)
    return {key: value for key, value in sent.items() if key != "thinking"}
