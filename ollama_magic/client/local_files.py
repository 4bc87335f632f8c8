"""Reads files of this machine that a cell, or a file from somebody else, names."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file; of a larger one, one byte more than the limit.

    Its size says nothing: files of ``/proc`` have none, and may be endless.

    Raises
    ------
    OSError
        It cannot be read; or it is a pipe or a device, which may never end.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder has its own error
        raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
    with path.open("rb") as file:
        return file.read(max_bytes + 1)
