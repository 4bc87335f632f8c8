"""When to paint: how often, and how much is sent again and again.

A front end draws a whole output anew at every update, so paints are spread out by what
the last one took and by the bytes that it sent. Knows nothing of what is painted.
"""

from __future__ import annotations

from collections.abc import Callable

_MAX_INTERVAL_S = 1.0
_SHARE_OF_TIME = 8
"""Between paints passes this many times what the last one took."""
_BYTES_PER_S = 20_000
"""How much is sent again and again, at most, envelopes of messages included."""


class Pace:
    """Tells when the next paint is due.

    Parameters
    ----------
    hz
        How often to paint, at most, per second.
    clock
        Seconds, never going back.
    replies
        How many replies are painted together; each may take what one alone may.
    """

    def __init__(
        self, hz: float, clock: Callable[[], float], *, replies: int = 1
    ) -> None:
        self._min_interval_s = 1 / hz
        self._clock = clock
        self._bytes_per_s = _BYTES_PER_S * replies
        self._due_s = 0.0

    def is_due(self, now: float) -> bool:
        """Whether it is time to paint."""
        return now >= self._due_s

    def painted(self, began_s: float, sent: int) -> None:
        """Note a paint that began then and sent so many bytes."""
        took_s = self._clock() - began_s
        pause_s = min(took_s * _SHARE_OF_TIME, _MAX_INTERVAL_S)
        wait_s = max(pause_s, self._min_interval_s, sent / self._bytes_per_s)
        self._due_s = began_s + wait_s

    def hold(self, now: float, seconds: float) -> None:
        """Paint nothing for a time."""
        self._due_s = now + seconds

    def at_once(self) -> None:
        """Let the next paint come without waiting."""
        self._due_s = 0.0
