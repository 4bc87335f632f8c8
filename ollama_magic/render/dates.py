"""Times as people read them: ``3 days ago``, with the exact local time as a title."""

from __future__ import annotations

from datetime import UTC, datetime

from ollama_magic.render.aligned import Cell
from ollama_magic.render.text import counted

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_PERIODS = (
    (365 * _DAY, "year"),
    (30 * _DAY, "month"),
    (7 * _DAY, "week"),
    (_DAY, "day"),
    (_HOUR, "hour"),
    (_MINUTE, "min"),
)
_FOREVER_S = 10 * 365 * _DAY
"""A model that stays in memory expires in centuries."""


def age(timestamp: str, now: datetime | None = None) -> Cell:
    """Return how long ago a time was, or in how long it will be.

    Parameters
    ----------
    timestamp
        RFC 3339; anything else is shown as nothing.
    now
        With a time zone; the current time by default.

    Examples
    --------
    >>> now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    >>> age("2026-11-20T12:00:00.1234567+02:00", now).text
    '3 days ago'
    >>> age("2026-11-23T12:03:59Z", now).text, age("2318-01-01T00:00:00Z", now).text
    ('in 4 min', 'never')
    """
    then = _read(timestamp)
    if then is None:
        return Cell("")
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    title = exact(timestamp)
    if seconds < -_FOREVER_S:
        return Cell("never", title)
    for length, noun in _PERIODS:
        # NB: the rest of five minutes that have just begun is shown as five.
        amount = seconds if seconds > 0 else _MINUTE / 2 - seconds
        if count := int(amount // length):
            text = f"{count} min" if noun == "min" else counted(count, noun)
            return Cell(f"{text} ago" if seconds > 0 else f"in {text}", title)
    return Cell("just now" if seconds >= 0 else "in seconds", title)


def exact(timestamp: str) -> str:
    """Return a time in the time zone of this machine: ``2026-11-23 14:04``."""
    then = _read(timestamp)
    return f"{then.astimezone():%Y-%m-%d %H:%M}" if then else ""


def _read(timestamp: str) -> datetime | None:
    try:
        then = datetime.fromisoformat(timestamp)
        # NB: some servers leave out the zone; the first and last year have no others.
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        then.astimezone()
    except (ValueError, OverflowError, OSError):
        return None
    return then
