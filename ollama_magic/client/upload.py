"""A file on its way to the server, in the shape that requests sends with a length."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

_PIECE_BYTES = 1024 * 1024


class Upload:
    """What is left of ``file``; reports the bytes sent and the bytes in all.

    The file has to be seekable, so that its length can be told beforehand.
    """

    def __init__(
        self, file: BinaryIO, on_progress: Callable[[int, int], object] | None = None
    ) -> None:
        self._file = file
        self._on_progress = on_progress
        self._sent_bytes = 0
        begin = file.tell()
        self._size_bytes = file.seek(0, os.SEEK_END) - begin
        file.seek(begin)

    def __len__(self) -> int:
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        # That this is here tells requests that it is no text; it calls read().
        return iter(lambda: self.read(_PIECE_BYTES), b"")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes to send; empty at the end."""
        piece = self._file.read(size)
        self._sent_bytes += len(piece)
        if self._on_progress is not None and piece:
            self._on_progress(self._sent_bytes, self._size_bytes)
        return piece
