"""The progress of a pull, push or creation, summed over its layers.

Commands and the panel show it. A server reports progress per layer; it may decrease,
and need not reach its total.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ollama_magic.client.types import Progress
from ollama_magic.errors import duration_text, size_text

_UPLOAD_BYTES = 1024 * 1024
_WINDOW_S = 10.0
"""The speed is that of the last seconds, so that a stall soon shows."""

MAX_LAYERS = 1000
"""A model has a dozen. The cost of a line grows with them, so more are ignored."""

STALL_S = 60.0
"""Seconds without data before a layer counts as stalled; Ollama retries by itself."""


class TransferProgress:
    """The sum over all layers, with speed and time left.

    Parameters
    ----------
    clock
        A monotonic clock, in seconds.
    stall_s
        After this many seconds without a new byte it counts as stalled.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        stall_s: float = STALL_S,
    ) -> None:
        self._clock = clock
        self._stall_s = stall_s
        self._moved_at = clock()
        self._layers: dict[str, tuple[int, int]] = {}
        self._seen: deque[tuple[float, int]] = deque()
        self.status = ""
        self.was_needed = False
        """Whether a layer was ever incomplete, so that something was transferred."""

    @property
    def completed_bytes(self) -> int:
        """Transferred bytes, summed over the layers reported so far."""
        # NB: list() copies at once; another thread may be adding a layer.
        return sum(completed for completed, _ in list(self._layers.values()))

    @property
    def total_bytes(self) -> int:
        """Total bytes of the layers reported so far."""
        return sum(total for _, total in list(self._layers.values()))

    @property
    def share(self) -> float | None:
        """Completed share, from 0 to 1; None while no size is known."""
        total = self.total_bytes
        return min(self.completed_bytes / total, 1.0) if total else None

    @property
    def bytes_per_second(self) -> float:
        """Recent speed; 0 at first, in a stall, or if bytes decrease."""
        if len(self._seen) < 2:
            return 0.0
        (began, first), (now, last) = self._seen[0], self._seen[-1]
        return max(last - first, 0) / (now - began) if now - began >= 0.5 else 0.0

    @property
    def still_s(self) -> float:
        """Seconds since the last new byte or the last change of status."""
        return self._clock() - self._moved_at

    @property
    def is_stalled(self) -> bool:
        """Whether a layer is incomplete and has received nothing for long."""
        is_under_way = self.completed_bytes < self.total_bytes
        return is_under_way and self.still_s >= self._stall_s

    def add(self, progress: Progress) -> None:
        """Add one status line."""
        is_new = progress.digest not in self._layers
        if is_new and len(self._layers) >= MAX_LAYERS:
            return
        before = self.completed_bytes
        if progress.status != self.status:
            self._moved_at = self._clock()
        self.status = progress.status
        if not progress.digest:
            # NB: the last line of a layer need not reach its total; the next status
            # means that all layers are complete.
            self._layers = {d: (total, total) for d, (_, total) in self._layers.items()}
            return
        self._layers[progress.digest] = (progress.completed_bytes, progress.total_bytes)
        self.was_needed |= progress.completed_bytes < progress.total_bytes
        now = self._clock()
        if self.completed_bytes != before:
            self._moved_at = now
        self._seen.append((now, self.completed_bytes))
        while now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()

    def line(self) -> str:
        """Return the state as one line of text."""
        status = _in_words(self.status)
        if self.share is None:
            return status
        done, total = self.completed_bytes, self.total_bytes
        parts = [status, f"{size_text(done)} of {size_text(total)}"]
        speed = self.bytes_per_second
        if self.is_stalled:
            parts.append(f"stalled: no data for {duration_text(self.still_s)}")
        elif speed and done < total:
            left_s = (total - done) / speed
            parts += [f"{size_text(speed)}/s", f"{duration_text(left_s)} left"]
        return " · ".join(parts)


_WORDS = (
    (re.compile(r"(pulling|downloading) (?!manifest)\S+"), "downloading"),
    (re.compile(r"pulling manifest"), "asking the registry"),
    (re.compile(r"pushing (?!manifest)\S+"), "uploading"),
    (re.compile(r"verifying .*digest.*"), "checking"),
    (re.compile(r"(writing|pushing) manifest|removing .*layers.*"), "finishing"),
)
"""Ollama's status lines (``server/images.go``, 0.33), and what they mean."""


def _in_words(status: str) -> str:
    words = (text for pattern, text in _WORDS if pattern.fullmatch(status))
    return next(words, status)


class Upload:
    """The rest of a file as the body of a request; reports bytes sent and in total.

    The file has to be seekable, since its length is sent first.
    """

    def __init__(
        self, file: BinaryIO, on_progress: Callable[[int, int], object] | None = None
    ) -> None:
        self._file = file
        self._on_progress = on_progress
        self._sent_bytes = 0
        start = file.tell()
        self._size_bytes = file.seek(0, os.SEEK_END) - start
        file.seek(start)

    def __len__(self) -> int:
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        # requests streams a body that has this, and then calls read().
        return iter(lambda: self.read(_UPLOAD_BYTES), b"")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes to send; b"" at the end."""
        data = self._file.read(size)
        self._sent_bytes += len(data)
        if self._on_progress is not None and data:
            self._on_progress(self._sent_bytes, self._size_bytes)
        return data
