"""How much models were used, how fast they were, and how long they will take.

Every reply that was generated counts once, also if it was replaced or removed later, or
if a copy of the notebook has it too. Replies from the cache or from files do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from math import log
from sqlite3 import Connection
from statistics import linear_regression, median
from typing import NamedTuple

from ollama_magic.client.models import canonical
from ollama_magic.history.rows import storage_keys
from ollama_magic.history.turns import fingerprint

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
    database: Connection, notebook: str | None, since: str = ""
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


# -- how long models took ------------------------------------------------------

_RECENT_TURNS = 5000
COLD_S = 1.0
"""A model that was in memory reports a shorter load."""
_LONG_ENOUGH = 100
"""Tokens; the time for fewer says little about the speed."""
_SAMPLES = 50
_NEAREST = 5
_SIMILAR = 2.0
"""Prompts of similar length: one at most twice as long as the other."""
_FARTHEST = 4.0
"""No estimate follows from prompts that are all longer or shorter than by this."""
_USUAL_POWER = 1.25
"""Between that of large models, 1, and of the smallest (SmolLM2 on a CPU), 1.5."""

_OF_MODEL = """
    SELECT json_extract(stats, '$.load_duration_ns') / 1e9 AS load_s,
        json_extract(stats, '$.prompt_eval_count') AS tokens,
        json_extract(stats, '$.prompt_eval_cached_count') AS cached,
        json_extract(stats, '$.prompt_eval_duration_ns') / 1e9 AS reading_s,
        based_on, pictures, answered_at
    FROM (SELECT * FROM turns ORDER BY answered_at DESC LIMIT :recent)
    WHERE model = :model AND origin IS NOT 'file'
        AND COALESCE(json_extract(request, '$.server'), '') = :server
        AND json_extract(request, '$.cached') IS NULL
"""


class ReadingTime(NamedTuple):
    """How long a model took to read a prompt."""

    tokens: int
    """Without those that the server remembered."""
    seconds: float


def last_load_s(database: Connection, model: str, server: str = "") -> float:
    """Return the seconds that the latest cold load of a model took; 0 if none did.

    Parameters
    ----------
    server
        Where it was loaded; empty for an Ollama on this machine.
    """
    row = database.execute(
        f"SELECT load_s FROM ({_OF_MODEL}) WHERE load_s >= :cold LIMIT 1",  # noqa: S608
        _values(model, server),
    ).fetchone()
    return float(row[0]) if row else 0.0


def reading_times(
    database: Connection, model: str, server: str = ""
) -> list[ReadingTime]:
    """Return how long a model took to read its latest prompts of some length.

    Servers before 0.34 do not report what they remembered: of such turns only the first
    of a conversation counts. Of turns with equal counts only the slowest does.
    """
    found = database.execute(
        f"""
        SELECT read, MAX(reading_s) FROM (
            SELECT tokens - COALESCE(cached, 0) AS read, tokens, reading_s, answered_at
            FROM ({_OF_MODEL})
            WHERE pictures IS NULL AND reading_s > 0 AND (cached > 0 OR based_on = :new)
                AND tokens - COALESCE(cached, 0) >= :long_enough)
        GROUP BY tokens, read ORDER BY MAX(answered_at) DESC LIMIT :samples
        """,  # noqa: S608  (our own text)
        _values(model, server),
    )
    return [ReadingTime(*row) for row in found]


def _values(model: str, server: str) -> dict[str, object]:
    return {
        "model": model,
        "server": server,
        "recent": _RECENT_TURNS,
        "cold": COLD_S,
        "new": fingerprint(()),
        "long_enough": _LONG_ENOUGH,
        "samples": _SAMPLES,
    }


def expected_reading_s(tokens: int, times: Sequence[ReadingTime]) -> float:
    """Return about how long reading so many tokens will take; 0 if unknown.

    It follows from the prompts whose length is most similar. Long prompts are read more
    slowly, because each token attends to all before it.

    Examples
    --------
    >>> expected_reading_s(1000, [ReadingTime(1000, 10.0), ReadingTime(2000, 30.0)])
    10.0
    >>> expected_reading_s(9000, [ReadingTime(1000, 10.0)])
    0.0
    """
    power = _power(times)
    length = log(max(tokens, 1))
    near = sorted((abs(log(max(one.tokens, 1)) - length), one) for one in times)
    near = near[:_NEAREST]
    return (
        median(
            [
                one.seconds * (tokens / one.tokens) ** power
                for distance, one in near
                if distance <= max(log(_SIMILAR), near[0][0])
            ]
        )
        if near and near[0][0] <= log(_FARTHEST)
        else 0.0
    )


def _power(times: Sequence[ReadingTime]) -> float:
    """Return the power of the length that the time grows with, between 1 and 2."""
    lengths = [log(one.tokens) for one in times]
    if not times or max(lengths) - min(lengths) < log(_SIMILAR):
        return _USUAL_POWER
    slope, _ = linear_regression(lengths, [log(one.seconds) for one in times])
    return min(max(slope, 1.0), 2.0)
