"""How much models were used, and how fast they were: sums over stored replies.

Every reply that was generated counts once, also if it was replaced or removed later, or
if a copy of the notebook has it too. Replies from the cache or from files do not count.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

from ollama_magic.client.models import canonical
from ollama_magic.history.rows import storage_keys

# NB: replies to rows of `map_prompts` have no `took_s`; those of cells are turns too.
_COUNTED = """
    SELECT DISTINCT answered_at, model, stats FROM turns
    WHERE model <> '' AND COALESCE(origin, 'here') = 'here' AND answered_at >= :since
        AND json_extract(request, '$.cached') IS NULL
        AND (:own IS NULL OR chat_id IN
            (SELECT id FROM named_chats WHERE notebook IN (:own, :shared)))
        AND uid NOT IN (SELECT replaces FROM turns
            WHERE replaces IS NOT NULL AND json_extract(request, '$.continued'))
    UNION ALL
    SELECT answered_at, model, json_extract(answer, '$.stats') FROM answers
    WHERE :own IS NULL AND answered_at >= :since
        AND json_extract(answer, '$.took_s') = 0
"""
_SUMS = f"""
    SELECT date(answered_at, 'localtime') AS day, model,
        COUNT(*), SUM(prompt), SUM(cached), SUM(prompt - cached) FILTER (WHERE reading),
        SUM(reading) / 1e9, SUM(written), SUM(written) FILTER (WHERE writing),
        SUM(writing) / 1e9, SUM(loading) / 1e9, SUM(total) / 1e9
    FROM (SELECT answered_at, model,
        COALESCE(json_extract(stats, '$.prompt_eval_count'), 0) AS prompt,
        COALESCE(json_extract(stats, '$.prompt_eval_cached_count'), 0) AS cached,
        json_extract(stats, '$.prompt_eval_duration_ns') AS reading,
        json_extract(stats, '$.eval_count') AS written,
        json_extract(stats, '$.eval_duration_ns') AS writing,
        json_extract(stats, '$.load_duration_ns') AS loading,
        json_extract(stats, '$.total_duration_ns') AS total
        FROM ({_COUNTED}))
    GROUP BY day, model ORDER BY day, model
"""  # noqa: S608  (our own text)


@dataclass(frozen=True, slots=True)
class Usage:
    """The replies of one model on one day, or sums of several."""

    day: str
    """In the time zone of this machine: ``2026-11-29``; empty for several days."""
    model: str
    """Empty for several models."""
    turns: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Tokens of prompts that the server remembered and did not read again."""
    read_tokens: int = 0
    """Tokens of prompts that were read in ``reading_s``."""
    reading_s: float = 0.0
    reply_tokens: int = 0
    written_tokens: int = 0
    """Tokens of replies that were written in ``writing_s``."""
    writing_s: float = 0.0
    loading_s: float = 0.0
    total_s: float = 0.0
    """Seconds from requests to the ends of replies, as the server counted them."""

    @property
    def tokens(self) -> int:
        """The tokens of prompts and replies."""
        return self.prompt_tokens + self.reply_tokens

    @property
    def cached_share(self) -> float:
        """The share of the prompts' tokens that the server remembered."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def reading_speed(self) -> float:
        """Tokens of prompts that were read per second, without remembered ones."""
        return self.read_tokens / self.reading_s if self.reading_s else 0.0

    @property
    def writing_speed(self) -> float:
        """Tokens of replies per second."""
        return self.written_tokens / self.writing_s if self.writing_s else 0.0


_COUNTS = tuple(field.name for field in fields(Usage) if field.name not in "day model")


def read_usage(
    database: sqlite3.Connection, notebook: str | None, since: str = ""
) -> list[Usage]:
    """Return the usage of each day and model, oldest first.

    Parameters
    ----------
    notebook
        None for all notebooks, with the rows of ``map_prompts``, which belong to none.
    since
        UTC, ISO 8601; empty for everything.
    """
    own, shared = storage_keys(notebook) if notebook else (None, None)
    values = {"own": own, "shared": shared, "since": since}
    days = (
        Usage(day or "", canonical(model), *(count or 0 for count in counts))
        for day, model, *counts in database.execute(_SUMS, values)
    )
    return summed(days, by=lambda one: (one.day, one.model))


def summed(
    usages: Iterable[Usage], by: Callable[[Usage], tuple[str, str]]
) -> list[Usage]:
    """Return the sums of usages by day and model; either may be empty."""
    sums: dict[tuple[str, str], Usage] = {}
    for one in usages:
        known = sums.setdefault(by(one), Usage(*by(one)))
        counts = {name: getattr(known, name) + getattr(one, name) for name in _COUNTS}
        sums[by(one)] = replace(known, **counts)
    return list(sums.values())


def start_of_days(days: int, now: datetime | None = None) -> str:
    """Return when the first of the last days began, as UTC; the last is today.

    Parameters
    ----------
    now
        With a time zone; the current time by default.
    """
    today = (now or datetime.now(UTC)).astimezone()
    first = today.replace(hour=0, minute=0, second=0, microsecond=0)
    moment = (first - timedelta(days=days - 1)).astimezone(UTC)
    return moment.isoformat(timespec="microseconds")
