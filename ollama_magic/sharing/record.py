"""A turn as plain JSON values, and back: what files and outputs keep of it.

Knows the names and types of the fields, and trusts none that it reads. Knows nothing
of the files that records stand in.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, get_args

from ollama_magic.conversation import CallOutcome, Chat, Message, Status, Turn
from ollama_magic.prompts.pictures import Picture
from ollama_magic.wire import Stats, is_too_deep

Record = dict[str, Any]

_SETTINGS: dict[str, tuple[type, ...]] = {
    "options": (dict,),
    "format": (str, dict),
    "think": (bool, str),
    "keep_alive": (str, int, float),
    "extract": (bool,),
}
SETTINGS_OF_A_TURN = tuple(_SETTINGS)
"""What is kept of the request that a turn was answered to."""

_ROLES_OF_STEPS = ("assistant", "tool")
_FIELDS_OF_STEPS: dict[str, type] = {
    "role": str,
    "content": str,
    "thinking": str,
    "tool_calls": list,
    "tool_name": str,
    "tool_call_id": str,
    "outcome": str,
}
_LONGEST_NAME = 200


class UnreadableError(ValueError):
    """A file or an output tells of no chat; with half a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a file told."""

    chats: tuple[Chat, ...]
    """In the order of the file; a name is empty where the file has none."""
    left_out: int = 0
    """How many messages or outputs could not be used."""


def turn_record(turn: Turn, *, with_pictures: bool = True) -> Record:
    """Return all that a turn is, save what the store gives it (uid, hash).

    Parameters
    ----------
    with_pictures
        Whether its pictures are in it, or only told by their digests.
    """
    return {
        "prompt": turn.prompt,
        "reply": turn.reply,
        "thinking": turn.thinking,
        "model": turn.model,
        "digest": turn.digest,
        "system": turn.system,
        "pictures": [
            {"digest": one.digest, **({"data": one.base64} if with_pictures else {})}
            for one in turn.pictures
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


def turn_of(record: object) -> Turn:
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
        pictures=_pictures(record),
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
    if not turn.model.isprintable():
        raise UnreadableError("the model of a turn has odd characters")
    if turn.is_mark and (turn.prompt or turn.reply or not turn.starts_afresh):
        raise UnreadableError("a turn does not name its model")
    return turn


def chat_name_of(record: Mapping[str, Any]) -> str:
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


def encodable(text: str) -> str:
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
    return encodable(_typed(record, name, ""))


def _pictures(record: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Return the pictures whose data are there: an output tells of their digests alone.

    A notebook is given away more lightly than the pictures that it was asked about.
    """
    found: list[Picture] = []
    for told in _typed(record, "pictures", []):
        data = told.get("data", "") if isinstance(told, Mapping) else None
        if not isinstance(data, str):
            raise UnreadableError("a picture of a turn is of a wrong type")
        try:
            picture = Picture(base64.b64decode(data, validate=True))
        except ValueError as error:
            raise UnreadableError("a picture of a turn is no base64") from error
        found += [picture] if picture.data else []
    return tuple(found)


def _steps(record: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the steps, which outputs tell as one JSON text, and files as a list."""
    steps = record.get("steps")
    if isinstance(steps, str):
        try:
            steps = json.loads(steps)
        except (ValueError, RecursionError) as error:
            raise UnreadableError("the steps of a turn are no JSON") from error
    steps = _typed({"steps": steps}, "steps", [])
    return tuple(map(_step, steps))


def _step(told: object) -> Message:
    """Return a message with the fields that a step has, and no others."""
    if not isinstance(told, Mapping) or told.get("role") not in _ROLES_OF_STEPS:
        raise UnreadableError("a step of a turn is not a message")
    if not isinstance(told.get("content"), str):
        raise UnreadableError("a step of a turn is not a message")
    for name, kind in _FIELDS_OF_STEPS.items():
        if not isinstance(told.get(name, kind()), kind):
            raise UnreadableError(f"{name} of a step is of a wrong type")
    if told.get("outcome", "called") not in get_args(CallOutcome):
        raise UnreadableError("the outcome of a call is not a known one")
    step = {name: told[name] for name in _FIELDS_OF_STEPS if name in told}
    if "tool_calls" in step:
        step["tool_calls"] = [_call(one) for one in step["tool_calls"]]
    return step


def _call(told: object) -> dict[str, Any]:
    function = told.get("function") if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping) or not isinstance(function, Mapping):
        raise UnreadableError("a call of a step has no function")
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise UnreadableError("a call of a step has no name, or no arguments")
    if is_too_deep(arguments):
        raise UnreadableError("the arguments of a call are nested too deeply")
    call_id = _text(told, "id")
    named = {"id": call_id} if call_id else {}
    return {**named, "function": {"name": name, "arguments": arguments}}


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
        if is_too_deep(value):
            raise UnreadableError(f"{key} of a turn is nested too deeply")
    return found


def _time(record: Mapping[str, Any]) -> str:
    told = _text(record, "answered_at")
    if not told:
        return ""
    try:
        time = datetime.fromisoformat(told)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return time.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError) as error:
        raise UnreadableError("answered_at of a turn is not a time") from error
