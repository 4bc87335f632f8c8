"""Turns as plain JSON values, for files of chats and for the metadata of outputs.

``sharing`` writes and reads these records; every output with a reply has one in its
metadata, from which chats are restored. Records are untrusted: each field that is read
has its name and type checked.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any, get_args

from ollama_magic import __version__
from ollama_magic.client.images import Image
from ollama_magic.client.json_values import MAX_DEPTH, is_too_deep, json_int
from ollama_magic.client.types import Stats
from ollama_magic.history.turns import (
    CallOutcome,
    Message,
    Status,
    Turn,
    TurnPosition,
    without_surrogates,
)

Record = dict[str, Any]

_SETTINGS: dict[str, tuple[type, ...]] = {
    "options": (dict,),
    "format": (str, dict),
    "think": (bool, str),
    "keep_alive": (str, int, float),
    "extract": (bool,),
    "code_below": (str,),
    "cells": (dict,),
    "template": (str,),
    "typed": (str,),
}
RECORDED_SETTINGS = tuple(_SETTINGS)
"""The settings of a request that are stored with its turn."""

_TEXTS = ["prompt", "reply", "thinking", "model", "digest", "done_reason", "based_on"]
_OTHERS = ("system", "starts_afresh", "cell_id", "status", "answered_at")
_OPTIONAL_TEXTS: dict[str, tuple[str, ...]] = {
    "assistant": ("thinking",),
    "tool": ("tool_name", "tool_call_id", "outcome", "sent_to"),
}
"""For each role of a message, the optional text fields."""
_MAX_NAME_LENGTH = 200

METADATA_KEY = "ollama_magic"
"""The key of our metadata in an output."""
METADATA_LAYOUT = 1
"""The layout of the metadata; outputs with another layout are not read."""
TURN_CELL_KEY = "of_cell"
"""The key in our metadata of the cell of the turn, if another cell has the output."""
_KEYS_NOT_IN_OUTPUTS = ("reply", "cell_id")
"""The notebook has the cell id; ``text/plain`` has the reply."""


class UnreadableError(ValueError):
    """A file or an output has no readable chat; the message says why."""


def turn_to_record(turn: Turn, *, with_images: bool = True) -> Record:
    """Return a turn as JSON values, without what the store adds (uid, hash).

    Parameters
    ----------
    with_images
        Whether to include images, or only their digests.
    """
    return {
        **{name: getattr(turn, name) for name in (*_TEXTS, *_OTHERS)},
        # The key that files of earlier versions have.
        "pictures": [
            {"digest": one.digest, **({"data": one.base64} if with_images else {})}
            for one in turn.images
        ],
        "steps": list(turn.steps),
        "stats": asdict(turn.stats),
        **{key: turn.request[key] for key in _SETTINGS if key in turn.request},
    }


def turn_from_record(record: object) -> Turn:
    """Return the turn in a record.

    Lone surrogates become ``?``, as in the store; times become UTC.

    Raises
    ------
    UnreadableError
        The record is not a turn.
    """
    if not isinstance(record, Mapping):
        raise UnreadableError("a turn is not an object")
    for name in ("prompt", "model"):
        if name not in record:
            raise UnreadableError(f"a turn has no {name}")
    texts: dict[str, Any] = {name: _text(record, name) for name in _TEXTS}
    turn = Turn(
        **texts,
        system=None if record.get("system") is None else _text(record, "system"),
        images=_images(record),
        steps=_steps(record),
        starts_afresh=_typed(record, "starts_afresh", False),
        cell_id=_text(record, "cell_id") or None,
        status=_one_of(Status, _text(record, "status") or "complete", "status"),
        stats=_stats(record),
        request=_settings(record),
        answered_at=_time(record),
    )
    if not turn.model.isprintable() or len(turn.model) > _MAX_NAME_LENGTH:
        raise UnreadableError("the model name of a turn is too long or not printable")
    if turn.model.startswith("-"):  # on the line of a cell, it would be an option
        raise UnreadableError("the model name of a turn begins with a dash")
    if turn.is_mark and (turn.prompt or turn.reply or not turn.starts_afresh):
        raise UnreadableError("a turn has an empty model name")
    return turn


def turns_from_records(records: Iterable[object]) -> tuple[Turn, ...]:
    """Return the turns in records.

    Raises
    ------
    UnreadableError
        A record is not a turn; the message has its number, from 1.
    """
    turns = []
    for number, record in enumerate(records, 1):
        try:
            turns.append(turn_from_record(record))
        except UnreadableError as error:
            raise UnreadableError(f"turn {number}: {error}") from error
    return tuple(turns)


def chat_name_from_record(record: Mapping[str, Any]) -> str:
    """Return the name of the chat of a record.

    Raises
    ------
    UnreadableError
        The name is missing, or could not be typed.
    """
    name = _text(record, "chat")
    if not name.strip() or not name.isprintable() or len(name) > _MAX_NAME_LENGTH:
        raise UnreadableError(
            "the name of the chat is empty, too long or not printable"
        )
    return name


def _typed(record: Mapping[str, Any], name: str, default: Any) -> Any:  # noqa: ANN401
    value = record.get(name)
    if value is None:
        return default
    if type(value) is not type(default):
        raise UnreadableError(f"{name} of a turn has the wrong type")
    return value


def _text(record: Mapping[str, Any], name: str) -> str:
    return without_surrogates(_typed(record, name, ""))


def _images(record: Mapping[str, Any]) -> tuple[Image, ...]:
    """Return the images whose data are present.

    Outputs only have digests: notebooks are shared more freely than images.
    """
    found: list[Image] = []
    for item in _typed(record, "pictures", []):
        data = item.get("data", "") if isinstance(item, Mapping) else None
        if not isinstance(data, str):
            raise UnreadableError("an image of a turn has the wrong type")
        try:
            image = Image(base64.b64decode(data, validate=True))
        except ValueError as error:
            raise UnreadableError("an image of a turn is not base64") from error
        found += [image] if image.data else []
    return tuple(found)


def _steps(record: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the steps: JSON text in outputs, a list in files."""
    steps = record.get("steps")
    if isinstance(steps, str):
        try:
            steps = json.loads(steps)
        except (ValueError, RecursionError) as error:
            raise UnreadableError("the steps of a turn are not JSON") from error
    return tuple(map(_step, _typed({"steps": steps}, "steps", [])))


def _step(data: object) -> Message:
    """Return a message of a model or a tool, with known keys only."""
    if not isinstance(data, Mapping) or not isinstance(data.get("content"), str):
        raise UnreadableError("a step of a turn is not a message")
    step: Message = {"role": _text(data, "role"), "content": _text(data, "content")}
    if step["role"] not in _OPTIONAL_TEXTS:
        raise UnreadableError(
            "a step of a turn has a role other than assistant and tool"
        )
    for name in _OPTIONAL_TEXTS[step["role"]]:
        if text := _text(data, name):
            step[name] = text
    _one_of(CallOutcome, step.get("outcome", "called"), "outcome of a tool call")
    if step["role"] == "tool" and (sources := _typed(data, "sources", [])):
        step["sources"] = [*map(_source, sources)]
    if step["role"] == "assistant" and (calls := _typed(data, "tool_calls", [])):
        step["tool_calls"] = [_call(call) for call in calls]
    return step


def _source(data: object) -> dict[str, str]:
    if not isinstance(data, Mapping):
        raise UnreadableError("a source of a turn is not an object")
    return {name: _text(data, name) for name in ("title", "url")}


def _call(data: object) -> dict[str, Any]:
    function = data.get("function") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(function, Mapping):
        raise UnreadableError("a tool call of a turn has no function")
    arguments = _typed(function, "arguments", {})
    if not _text(function, "name"):
        raise UnreadableError("a tool call of a turn has no name")
    _check_depth(arguments, "the arguments of a tool call")
    call = {"function": {"name": _text(function, "name"), "arguments": arguments}}
    return {"id": _text(data, "id"), **call} if data.get("id") else call


def _check_depth(value: object, what: str) -> None:
    if is_too_deep(value):
        raise UnreadableError(f"{what}: nested more than {MAX_DEPTH} levels deep")


def _one_of(known: Any, value: str, name: str) -> Any:  # noqa: ANN401  (a Literal)
    if value not in get_args(known):
        raise UnreadableError(f"{name} of a turn is unknown")
    return value


def _stats(record: Mapping[str, Any]) -> Stats:
    data: Mapping[str, Any] = _typed(record, "stats", {})
    found = {field.name: _typed(data, field.name, 0) for field in fields(Stats)}
    return Stats(**{name: json_int(value) for name, value in found.items()})


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: record[key] for key in _SETTINGS if record.get(key) is not None}
    for key, value in found.items():
        if not isinstance(value, _SETTINGS[key]):
            raise UnreadableError(f"{key} of a turn has the wrong type")
        _check_depth(value, f"{key} of a turn")
    return found


def _time(record: Mapping[str, Any]) -> str:
    """Return the time of a turn, which is never in the future."""
    text = _text(record, "answered_at")
    if not text:
        return ""
    try:
        time = datetime.fromisoformat(text)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        past = min(time.astimezone(UTC), datetime.now(UTC))
        return past.isoformat(timespec="microseconds")
    except (ValueError, OverflowError) as error:
        raise UnreadableError("answered_at of a turn is not a time") from error


_NO_POSITION = {"chat": None, "turn": None, "position": None}


def output_metadata(turn: Turn, position: TurnPosition | None, plain: str) -> Record:
    """Return the metadata of the output of a turn.

    Parameters
    ----------
    position
        None for a one-off prompt.
    plain
        The ``text/plain`` of the output. If it is not exactly the reply, the reply is
        included.
    """
    record = turn_to_record(turn, with_images=False)
    data = {k: v for k, v in record.items() if k not in _KEYS_NOT_IN_OUTPUTS}
    if turn.reply != plain and not turn.is_mark:
        data["reply"] = turn.reply
    for name in ("thinking", "pictures", "steps"):
        if not data[name]:
            del data[name]
    if "steps" in data:
        # One text: notebook servers fail on deeply nested metadata.
        data["steps"] = json.dumps(data["steps"], ensure_ascii=False)
    return {
        "layout": METADATA_LAYOUT,
        "version": __version__,
        **(position or _NO_POSITION),
        **data,
    }


def read_output_metadata(data: object, plain: str) -> tuple[TurnPosition, Turn] | None:
    """Return the turn of an output and its position; None for a one-off prompt.

    Raises
    ------
    UnreadableError
        The metadata has another layout, or was not written by this package.
    """
    if not isinstance(data, dict) or data.get("layout") != METADATA_LAYOUT:
        raise UnreadableError("its metadata has another layout")
    if data.get("chat") is None:
        return None
    turn = turn_from_record({"reply": plain if data.get("model") else "", **data})
    number, position = data.get("turn"), data.get("position")
    if type(number) is not int or type(position) is not int or not turn.answered_at:
        raise UnreadableError("its metadata has no position")
    name = chat_name_from_record(data)
    place = TurnPosition(chat=name, turn=number, position=position)
    return place, replace(turn, cell_id=None)
