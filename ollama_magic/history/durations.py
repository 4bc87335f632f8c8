"""How long models took, as the turns of all notebooks on this machine recorded it."""

from __future__ import annotations

import sqlite3

_RECENT_TURNS = 5000
_COLD_S = 1.0
"""A model that was in memory reports a shorter load."""


def last_load_s(database: sqlite3.Connection, model: str) -> float:
    """Return the seconds that the latest cold load of a model took; 0 if none did."""
    row = database.execute(
        """
        SELECT seconds FROM (
            SELECT model, json_extract(stats, '$.load_duration_ns') / 1e9 AS seconds
            FROM turns ORDER BY answered_at DESC LIMIT ?)
        WHERE model = ? AND seconds >= ? LIMIT 1
        """,
        (_RECENT_TURNS, model, _COLD_S),
    ).fetchone()
    return float(row[0]) if row else 0.0
