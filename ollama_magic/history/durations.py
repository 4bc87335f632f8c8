"""How long models took, as the turns of all notebooks on this machine recorded it.

Estimates come from the same model on the same server: a turn stores ``server`` in its
request if that is not an Ollama on this machine.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from math import log
from statistics import linear_regression, median
from typing import NamedTuple

from ollama_magic.history.turns import fingerprint

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


def last_load_s(database: sqlite3.Connection, model: str, server: str = "") -> float:
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
    database: sqlite3.Connection, model: str, server: str = ""
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
    near = sorted((_distance(one.tokens, tokens), one) for one in times)[:_NEAREST]
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


def _distance(one: int, other: int) -> float:
    return abs(log(max(one, 1)) - log(max(other, 1)))
