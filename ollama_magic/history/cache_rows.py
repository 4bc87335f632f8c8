"""Answers that are kept for the same request, as rows; see ``kept_answers``.

Each function does its work inside a transaction that its caller has begun.
"""

from __future__ import annotations

import sqlite3

from ollama_magic.client.model_names import canonical, has_tag
from ollama_magic.history.cache import KeptAnswer


def find(
    database: sqlite3.Connection, key: str, model: str, digest: str
) -> KeptAnswer | None:
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
    return KeptAnswer.from_json(row[0]) if row else None


def latest_prompts(database: sqlite3.Connection) -> list[str]:
    """Return the different prompts of the latest turns, without very long ones."""
    found = database.execute(
        """
        SELECT prompt FROM turns WHERE model <> '' AND LENGTH(prompt) <= 1000
        GROUP BY prompt ORDER BY MAX(answered_at) DESC LIMIT 200
        """
    )
    return [prompt for (prompt,) in found]


def keep(database: sqlite3.Connection, key: str, answer: KeptAnswer) -> None:
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


def measure(database: sqlite3.Connection, before: str) -> tuple[int, int]:
    """Return how many answers were given before a moment, and their bytes."""
    count, size = database.execute(
        "SELECT COUNT(*), COALESCE(SUM(LENGTH(CAST(answer AS BLOB))), 0) FROM answers"
        " WHERE answered_at < ?",
        (before,),
    ).fetchone()
    return count, size


def forget(database: sqlite3.Connection, before: str) -> None:
    """Delete the answers that were given before a moment."""
    database.execute("DELETE FROM answers WHERE answered_at < ?", (before,))
