"""A turn as plain JSON values, and back: what files and outputs keep of it.

Knows the names and types of the fields, and trusts none that it reads. Knows nothing
of the files that records stand in.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, get_args

from ollama_magic import __version__
from ollama_magic.client.images import Image
from ollama_magic.client.types import MAX_DEPTH, Stats, is_too_deep
from ollama_magic.history.turns import CallOutcome, Chat, Message, Status, Turn

Record = dict[str, Any]

_SETTINGS: dict[str, tuple[type, ...]] = {
    "options": (dict,),
    "format": (str, dict),
    "think": (bool, str),
    "keep_alive": (str, int, float),
    "extract": (bool,),
}
RECORDED_SETTINGS = tuple(_SETTINGS)
"""What is kept of the request that a turn was answered to."""

_TEXTS_OF_STEPS: dict[str, tuple[str, ...]] = {
    "assistant": ("thinking",),
    "tool": ("tool_name", "tool_call_id", "outcome"),
}
"""By the role of a message: the texts that it may have besides its content."""
_LONGEST_NAME = 200


class UnreadableError(ValueError):
    """A file or an output tells of no chat; with half a sentence that says why."""


@dataclass(frozen=True, slots=True)
class ParsedChats:
    """What a file told."""

    chats: tuple[Chat, ...]
    """In the order of the file; a name is empty where the file has none."""
    left_out: int = 0
    """MatchKind many messages or outputs could not be used."""
    faults: tuple[str, ...] = ()
    """Where and why, as far as it is known: ``cell 3: a turn has no prompt``."""
    differing: tuple[int, ...] = ()
    """Cells, from 1, that show another prompt or reply than their metadata tell."""
    unshown: tuple[int, ...] = ()
    """Cells, from 1, that do not show their prompt: it comes from code."""


def turn_to_record(turn: Turn, *, with_images: bool = True) -> Record:
    """Return all that a turn is, save what the store gives it (uid, hash).

    Parameters
    ----------
    with_images
        Whether its images are in it, or only told by their digests.
    """
    return {
        "prompt": turn.prompt,
        "reply": turn.reply,
        "thinking": turn.thinking,
        "model": turn.model,
        "digest": turn.digest,
        "system": turn.system,
        # The key that files of earlier versions have.
        "pictures": [
            {"digest": one.digest, **({"data": one.base64} if with_images else {})}
            for one in turn.images
        ],
        "steps": list(turn.steps),
        "starts_afresh": turn.starts_afresh,
        "cell_id": turn.cell_id,
        "status": turn.status,
        "done_reason": turn.done_reason,
        "stats": asdict(turn.stats),
        "based_on": turn.based_on,
        "answered_at": turn.answered_at,
        **{key: turn.request[key] for key in _SETTINGS if key in turn.request},
    }


def turn_from_record(record: object) -> Turn:
    """Return the turn that a record tells of.

    Texts lose lone surrogates, as in the store; times become UTC.

    Raises
    ------
    UnreadableError
        It tells of none; with half a sentence that says what is wrong.
    """
    if not isinstance(record, Mapping):
        raise UnreadableError("a turn is not an object")
    for name in ("prompt", "model"):
        if name not in record:
            raise UnreadableError(f"a turn has no {name}")
    turn = Turn(
        prompt=_text(record, "prompt"),
        reply=_text(record, "reply"),
        thinking=_text(record, "thinking"),
        model=_text(record, "model"),
        digest=_text(record, "digest"),
        system=None if record.get("system") is None else _text(record, "system"),
        images=_images(record),
        steps=_steps(record),
        starts_afresh=_typed(record, "starts_afresh", False),
        cell_id=_text(record, "cell_id") or None,
        status=_status(record),
        done_reason=_text(record, "done_reason"),
        stats=_stats(record),
        request=_settings(record),
        based_on=_text(record, "based_on"),
        answered_at=_time(record),
    )
    if not turn.model.isprintable() or len(turn.model) > _LONGEST_NAME:
        raise UnreadableError("the model of a turn is odd or too long a name")
    if turn.is_mark and (turn.prompt or turn.reply or not turn.starts_afresh):
        raise UnreadableError("a turn does not name its model")
    return turn


def turns_from_records(records: Iterable[object]) -> tuple[Turn, ...]:
    """Return the turns that records tell of.

    Raises
    ------
    UnreadableError
        One tells of none; with its number, from 1.
    """
    turns = []
    for number, record in enumerate(records, 1):
        try:
            turns.append(turn_from_record(record))
        except UnreadableError as error:
            raise UnreadableError(f"turn {number}: {error}") from error
    return tuple(turns)


def chat_name_from_record(record: Mapping[str, Any]) -> str:
    """Return the name of the chat that a record is of.

    Raises
    ------
    UnreadableError
        It is none that could be typed.
    """
    name = _text(record, "chat")
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise UnreadableError("the name of the chat is empty, odd or too long")
    return name


def without_surrogates(text: str) -> str:
    """Return a text that every file can keep: lone surrogates become ``?``."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def one_line(text: str) -> str:
    """Return a text without line breaks, for headings and magic lines."""
    return " ".join(text.split())


def _typed(record: Mapping[str, Any], name: str, default: Any) -> Any:  # noqa: ANN401
    value = record.get(name)
    if value is None:
        return default
    if type(value) is not type(default):
        raise UnreadableError(f"{name} of a turn is of a wrong type")
    return value


def _text(record: Mapping[str, Any], name: str) -> str:
    return without_surrogates(_typed(record, name, ""))


def _images(record: Mapping[str, Any]) -> tuple[Image, ...]:
    """Return the images whose data are there: an output tells of their digests alone.

    A notebook is given away more lightly than the images that it was asked about.
    """
    found: list[Image] = []
    for told in _typed(record, "pictures", []):
        data = told.get("data", "") if isinstance(told, Mapping) else None
        if not isinstance(data, str):
            raise UnreadableError("an image of a turn is of a wrong type")
        try:
            image = Image(base64.b64decode(data, validate=True))
        except ValueError as error:
            raise UnreadableError("an image of a turn is no base64") from error
        found += [image] if image.data else []
    return tuple(found)


def _steps(record: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the steps, which outputs tell as one JSON text, and files as a list."""
    steps = record.get("steps")
    if isinstance(steps, str):
        try:
            steps = json.loads(steps)
        except (ValueError, RecursionError) as error:
            raise UnreadableError("the steps of a turn are not JSON") from error
    return tuple(map(_step, _typed({"steps": steps}, "steps", [])))


def _step(told: object) -> Message:
    """Return a message of a model or a tool, made of the keys that we write."""
    if not isinstance(told, Mapping) or not isinstance(told.get("content"), str):
        raise UnreadableError("a step of a turn is not a message")
    step: Message = {"role": _text(told, "role"), "content": _text(told, "content")}
    if step["role"] not in _TEXTS_OF_STEPS:
        raise UnreadableError("a step of a turn is of neither a model nor a tool")
    for name in _TEXTS_OF_STEPS[step["role"]]:
        if text := _text(told, name):
            step[name] = text
    if step.get("outcome", "called") not in get_args(CallOutcome):
        raise UnreadableError("the outcome of a tool call is unknown")
    if step["role"] == "assistant" and (calls := _typed(told, "tool_calls", [])):
        step["tool_calls"] = [_call(call) for call in calls]
    return step


def _call(told: object) -> dict[str, Any]:
    function = told.get("function") if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping) or not isinstance(function, Mapping):
        raise UnreadableError("a tool call of a turn has no function")
    arguments = _typed(function, "arguments", {})
    if not _text(function, "name"):
        raise UnreadableError("a tool call of a turn has no name")
    _check_depth(arguments, "the arguments of a tool call")
    call = {"function": {"name": _text(function, "name"), "arguments": arguments}}
    return {"id": _text(told, "id"), **call} if told.get("id") else call


def _check_depth(value: object, what: str) -> None:
    if is_too_deep(value):
        raise UnreadableError(f"{what}: nested more than {MAX_DEPTH} levels deep")


def _status(record: Mapping[str, Any]) -> Status:
    status = _text(record, "status") or "complete"
    for known in get_args(Status):
        if status == known:
            return known  # type: ignore[no-any-return]
    raise UnreadableError("status of a turn is not a known one")


def _stats(record: Mapping[str, Any]) -> Stats:
    told: Mapping[str, Any] = _typed(record, "stats", {})
    return Stats(**{field.name: _typed(told, field.name, 0) for field in fields(Stats)})


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: record[key] for key in _SETTINGS if record.get(key) is not None}
    for key, value in found.items():
        if not isinstance(value, _SETTINGS[key]):
            raise UnreadableError(f"{key} of a turn is of a wrong type")
        _check_depth(value, f"{key} of a turn")
    return found


def _time(record: Mapping[str, Any]) -> str:
    """Return when a turn was answered: not later than now, whatever a file says."""
    told = _text(record, "answered_at")
    if not told:
        return ""
    try:
        time = datetime.fromisoformat(told)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        past = min(time.astimezone(UTC), datetime.now(UTC))
        return past.isoformat(timespec="microseconds")
    except (ValueError, OverflowError) as error:
        raise UnreadableError("answered_at of a turn is not a time") from error


METADATA_KEY = "ollama_magic"
"""The name in an output's metadata."""
METADATA_LAYOUT = 1
"""Of the metadata; outputs of another layout are not read."""
TURN_CELL_KEY = "of_cell"
"""The name in it of the cell whose turn it is, if the output is another cell's."""

# A cell id is the notebook's business; a reply that text/plain has is not kept twice.
_TOLD_BY_THE_OUTPUT = ("reply", "cell_id")


@dataclass(frozen=True, slots=True)
class TurnPosition:
    """Where a turn was in its chat when it was answered."""

    chat: str
    number: int
    """From 1, marks not counted: what people are told."""
    position: int
    """From 1, marks counted."""


def position_in_chat(chat: Chat, turn: Turn) -> TurnPosition:
    """Return where a turn is in its chat."""
    uids = [other.uid for other in chat.turns]
    index = uids.index(turn.uid) if turn.uid in uids else len(uids)
    before = sum(not other.is_mark for other in chat.turns[:index])
    return TurnPosition(chat.name, before + 1, index + 1)


def output_metadata(turn: Turn, place: TurnPosition | None, plain: str) -> Record:
    """Return what the output of a turn tells.

    Parameters
    ----------
    place
        None for a one-off.
    plain
        The ``text/plain`` of the output. The reply is told too when it is another
        text: with a notice under it, or with characters that are not shown.
    """
    record = turn_to_record(turn, with_images=False)
    told = {k: v for k, v in record.items() if k not in _TOLD_BY_THE_OUTPUT}
    if turn.reply != plain and not turn.is_mark:
        told["reply"] = turn.reply
    for name in ("thinking", "pictures", "steps"):
        if not told[name]:
            del told[name]
    if "steps" in told:
        # One text: notebook servers fail on metadata that are nested deeply.
        told["steps"] = json.dumps(told["steps"], ensure_ascii=False)
    return {
        "layout": METADATA_LAYOUT,
        "version": __version__,
        "chat": place.chat if place else None,
        "turn": place.number if place else None,
        "position": place.position if place else None,
        **told,
    }


def read_output_metadata(told: object, plain: str) -> tuple[TurnPosition, Turn] | None:
    """Return the turn that an output tells of, and its place; None for a one-off.

    Raises
    ------
    UnreadableError
        The metadata is of another layout, or not as this package writes it.
    """
    if not isinstance(told, dict) or told.get("layout") != METADATA_LAYOUT:
        raise UnreadableError("it has another layout")
    if told.get("chat") is None:
        return None
    turn = turn_from_record({"reply": "" if _is_mark(told) else plain, **told})
    number, position = told.get("turn"), told.get("position")
    if type(number) is not int or type(position) is not int or not turn.answered_at:
        raise UnreadableError("it does not tell its place")
    return TurnPosition(chat_name_from_record(told), number, position), replace(
        turn, cell_id=None
    )


def _is_mark(told: dict[str, Any]) -> bool:
    return told.get("model") == ""
