"""The cache of replies, for prompts that are run again with ``--cached``.

Two requests are the same if everything that can change the reply is equal; the model
is compared separately. The functions at the end work on the table ``answers``, inside
their caller's transaction.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from sqlite3 import Connection
from typing import Any, Self

from ollama_magic.client.decisions import AnyRequest
from ollama_magic.client.logprobs import TokenLogprob
from ollama_magic.client.models import canonical, has_tag
from ollama_magic.client.types import Stats, ToolCall
from ollama_magic.errors import ServerUnreachableError, quoted

_IRRELEVANT_FIELDS = ("model", "stream", "keep_alive", "truncate")
"""Fields of a request that do not change the reply, and the model."""
_COMPARED = 1000
"""The number of characters of a prompt that are compared with other prompts."""


@dataclass(frozen=True, slots=True)
class CachedReply:
    """A complete reply, with its model and server."""

    model: str
    """The model's name in the request."""
    digest: str
    """The model's digest; empty if unknown."""
    text: str
    thinking: str = ""
    thinking_s: float = 0.0
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    done_reason: str = ""
    stats: Stats = field(default_factory=Stats)
    context_length: int = 0
    """The context length the model was loaded with; 0 if unknown."""
    host_kind: str = "loopback"
    server_note: str = ""
    """The note about the server in the footer."""
    answered_at: str = ""
    """UTC, ISO 8601."""
    took_s: float = 0.0
    """Seconds from the request to the end of the reply; 0 if unknown."""

    def to_json(self) -> str:
        """Return the reply as text."""
        return json.dumps(self, default=_fields_of)  # asdict takes four times as long

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote, and ignore fields of newer versions."""
        data: dict[str, Any] = json.loads(text)
        known = {one.name for one in fields(cls)}
        data["tool_calls"] = tuple(ToolCall(**call) for call in data["tool_calls"])
        data["stats"] = Stats(**data["stats"])
        data["logprobs"] = TokenLogprob.list_from_json(data.get("logprobs"))
        return cls(**{name: value for name, value in data.items() if name in known})


def _fields_of(value: Any) -> dict[str, Any]:  # noqa: ANN401  (a dataclass)
    return {one.name: getattr(value, one.name) for one in fields(value)}


class UsedReplies:
    """The cached replies that each cell used or stored in its last run in this kernel.

    Parameters
    ----------
    running
        Returns the id of the running cell, empty if it is unknown, and when the front
        end sent it; empty if there are no cells.
    """

    def __init__(self, running: Callable[[], tuple[str, str]]) -> None:
        self._running = running
        self._of_cells: dict[str, tuple[str, set[tuple[str, str, str]]]] = {}

    @property
    def cells(self) -> frozenset[str]:
        """The ids of the cells."""
        return frozenset(self._of_cells)

    @property
    def replies(self) -> frozenset[tuple[str, str, str]]:
        """The replies: their key, model and digest in the table ``answers``."""
        return frozenset().union(*(used for _, used in self._of_cells.values()))

    def add(self, key: str, reply: CachedReply) -> None:
        """Take note of a reply; those of an earlier run of the cell are forgotten."""
        cell, sent_at = self._running()
        if not sent_at:
            return  # a script, such as a server that runs for months
        run = self._of_cells.get(cell)
        if run is None or (cell and run[0] != sent_at):
            run = self._of_cells[cell] = (sent_at, set())
        run[1].add((key, canonical(reply.model), reply.digest))

    def forget(self, cells: Iterable[str]) -> None:
        """Forget the replies of deleted cells."""
        for cell in cells:
            self._of_cells.pop(cell, None)


def request_key(request: AnyRequest) -> str:
    """Return a key that is equal for equal requests, to any model.

    It covers messages, images, tools, options, format and thinking, but not
    ``keep_alive``, streaming and ``truncate``: a truncated reply is not cached.
    """
    body = {k: v for k, v in request.body().items() if k not in _IRRELEVANT_FIELDS}
    text = json.dumps([request.path, body], sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def not_cached_error(
    error: ServerUnreachableError, file: str, asked: str, nearest: str
) -> ServerUnreachableError:
    """Return the error for a prompt without a cached reply or a server.

    Parameters
    ----------
    error
        Why there is no server.
    file
        The file with the cached replies.
    asked
        The prompt.
    nearest
        The most similar prompt in the file; empty if there is none.
    """
    why = f"--cached is on, and {file} has no reply to this exact request"
    if nearest == asked:
        why += "; it has the prompt, with other options or after other turns"
    elif nearest:
        why += f"; the most similar prompt in it is '{quoted(nearest, limit=120)}'"
    return ServerUnreachableError(
        f"{error.what} No reply to this prompt is cached.",
        why=f"{why}; {error.why}" if error.why else why,
        next_step=error.next_step,
    )


def find_cached_reply(
    database: Connection, key: str, model: str, digest: str
) -> CachedReply | None:
    """Return the latest reply to a request; an empty model or digest matches any.

    A model name without a tag also matches other tags, if it has no reply itself.
    """
    name = canonical(model) if model else ""
    row = database.execute(
        """
        SELECT answer FROM answers
        WHERE key = :key AND (:digest = '' OR digest = :digest) AND (
            :model = '' OR model = :model
            OR (:base <> '' AND substr(model, 1, length(:base)) = :base))
        ORDER BY model = :model DESC, answered_at DESC LIMIT 1
        """,
        {
            "key": key,
            "model": name,
            "base": "" if not name or has_tag(model) else name.removesuffix("latest"),
            "digest": digest,
        },
    ).fetchone()
    try:
        return CachedReply.from_json(row[0]) if row else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None  # no version of this package wrote it


def nearest_prompt(database: Connection, prompt: str) -> str:
    """Return the prompt of a turn that is most similar; empty if there is none.

    Turns are searched, since cached replies are stored without prompts.
    """
    found = database.execute(
        f"""
        SELECT prompt FROM turns WHERE model <> '' AND LENGTH(prompt) <= {_COMPARED}
        GROUP BY prompt ORDER BY MAX(answered_at) DESC LIMIT 200
        """  # noqa: S608  (a number of ours)
    )
    latest = [prompt for (prompt,) in found]
    near = difflib.get_close_matches(prompt[:_COMPARED], latest, n=1, cutoff=0.6)
    return near[0] if near else ""


def store_cached_replies(
    database: Connection, replies: Iterable[tuple[str, CachedReply]]
) -> None:
    """Store replies by their keys, in place of earlier ones of the same model."""
    database.executemany(
        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
        [
            (key, canonical(one.model), one.digest, one.answered_at, one.to_json())
            for key, one in replies
        ],
    )


def copy_cached_replies(
    source: Connection,
    target: Connection,
    replies: Iterable[tuple[str, str, str]],
) -> None:
    """Copy replies, by key, model and digest, from one database to another."""
    for reply in replies:
        found = source.execute(
            "SELECT * FROM answers WHERE key = ? AND model = ? AND digest = ?", reply
        )
        target.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", found)


def measure_old_replies(database: Connection, before: str) -> tuple[int, int]:
    """Return the number and bytes of replies from before a time."""
    count, size = database.execute(
        "SELECT COUNT(*), COALESCE(SUM(LENGTH(CAST(answer AS BLOB))), 0) FROM answers"
        " WHERE answered_at < ?",
        (before,),
    ).fetchone()
    return count, size


def delete_old_replies(database: Connection, before: str) -> None:
    """Delete replies from before a time."""
    database.execute("DELETE FROM answers WHERE answered_at < ?", (before,))
