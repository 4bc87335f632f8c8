"""Answers that are kept, to be shown again when the very same is asked again.

Knows what makes two requests the same, and how an answer is written down. Knows
nothing of where answers are kept.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, Self

from ollama_magic.client.models import canonical, has_tag
from ollama_magic.client.types import Request, Stats, ToolCall
from ollama_magic.errors import ServerUnreachableError, quoted

_OF_NO_MATTER = ("model", "stream", "keep_alive")
"""Fields of a request that leave the answer as it is; the model is compared apart."""


@dataclass(frozen=True, slots=True)
class CachedReply:
    """A complete answer, and what was known of who gave it."""

    model: str
    """The name by which it was asked."""
    digest: str
    """Of the model; empty where the server did not tell."""
    text: str
    thinking: str = ""
    thinking_s: float = 0.0
    tool_calls: tuple[ToolCall, ...] = ()
    done_reason: str = ""
    stats: Stats = field(default_factory=Stats)
    context_length: int = 0
    """Tokens that the model was loaded with; 0 where nobody said."""
    host_kind: str = "loopback"
    server_note: str = ""
    """What the footer said of the server."""
    answered_at: str = ""
    """UTC, ISO 8601."""

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote; what a newer version added is left out."""
        data: dict[str, Any] = json.loads(text)
        known = {one.name for one in fields(cls)}
        calls = tuple(ToolCall(**call) for call in data.pop("tool_calls"))
        stats = Stats(**data.pop("stats"))
        kept = {name: value for name, value in data.items() if name in known}
        return cls(**kept, tool_calls=calls, stats=stats)


class ReplyCache(Protocol):
    """Where answers are kept."""

    def find_cached_reply(
        self, key: str, model: str = "", digest: str = ""
    ) -> CachedReply | None:
        """Return the latest answer to a request, if there is one.

        Parameters
        ----------
        key
            That of :func:`request_key`.
        model
            Only of this model; empty: of any.
        digest
            Only of a model with this digest; empty: of any.
        """

    def cache_reply(self, key: str, answer: CachedReply) -> None:
        """Keep an answer; an earlier one of the same model gives up its place."""


def request_key(request: Request) -> str:
    """Return what is equal for requests that are the same, whichever model is asked.

    Messages, images, tools, options, format and thinking count; how long the model
    stays loaded and whether the answer is streamed do not.
    """
    body = {k: v for k, v in request.body().items() if k not in _OF_NO_MATTER}
    text = json.dumps([request.path, body], sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def not_cached_error(
    error: ServerUnreachableError, file: str, asked: str, nearest: str
) -> ServerUnreachableError:
    """Return the error for a question that neither a kept answer nor a server answers.

    Parameters
    ----------
    error
        RemovalReason there is no server.
    file
        Where answers are kept.
    asked
        The prompt.
    nearest
        The prompt in the file that is most like it; empty where none is.
    """
    why = f"--cached is on, and {file} has no answer to this very request"
    if nearest == asked:
        why += "; the prompt was asked with other options or after other turns"
    elif nearest:
        why += f"; the nearest prompt in it is '{quoted(nearest, limit=120)}'"
    return ServerUnreachableError(
        f"No kept answer to this question, and no server: {error.what}",
        why=f"{why}; {error.why}" if error.why else why,
        next_step=error.next_step,
    )


def find_cached_reply(
    database: sqlite3.Connection, key: str, model: str, digest: str
) -> CachedReply | None:
    """Return the latest answer to a request; empty ``model`` and ``digest``: of any.

    A model without a tag may be any tag of that name, where it has no answer itself.
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
    return CachedReply.from_json(row[0]) if row else None


def latest_prompts(database: sqlite3.Connection) -> list[str]:
    """Return the different prompts of the latest turns, without very long ones."""
    found = database.execute(
        """
        SELECT prompt FROM turns WHERE model <> '' AND LENGTH(prompt) <= 1000
        GROUP BY prompt ORDER BY MAX(answered_at) DESC LIMIT 200
        """
    )
    return [prompt for (prompt,) in found]


def store_cached_reply(
    database: sqlite3.Connection, key: str, answer: CachedReply
) -> None:
    """Keep an answer, in the place of an earlier one of the same model."""
    database.execute(
        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
        (
            key,
            canonical(answer.model),
            answer.digest,
            answer.answered_at,
            answer.to_json(),
        ),
    )


def measure_old_replies(database: sqlite3.Connection, before: str) -> tuple[int, int]:
    """Return how many answers were given before a moment, and their bytes."""
    count, size = database.execute(
        "SELECT COUNT(*), COALESCE(SUM(LENGTH(CAST(answer AS BLOB))), 0) FROM answers"
        " WHERE answered_at < ?",
        (before,),
    ).fetchone()
    return count, size


def delete_old_replies(database: sqlite3.Connection, before: str) -> None:
    """Delete the answers that were given before a moment."""
    database.execute("DELETE FROM answers WHERE answered_at < ?", (before,))
