"""The end of a process when the one that started it is gone, however it ended.

The starter holds the write end of our standard input and writes nothing. When it
dies, by SIGKILL too, the system closes that end. Works alike on all systems.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

_POLL_S = 1.0


def watch(at_end: Callable[[], None]) -> None:
    """Call ``at_end`` in a thread, at most twice, once the starter is gone.

    On POSIX the parent's id is watched as well: a process that the starter forked
    (``multiprocessing``) holds a copy of the pipe's end, and keeps it open.
    """
    threading.Thread(target=_until_end_of_file, args=(at_end,), daemon=True).start()
    if hasattr(os, "getppid") and os.name == "posix":
        threading.Thread(target=_until_orphaned, args=(at_end,), daemon=True).start()


def _until_end_of_file(at_end: Callable[[], None]) -> None:
    # os.read, not sys.stdin: no lock of the interpreter's is held at exit.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    at_end()


def _until_orphaned(at_end: Callable[[], None]) -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    at_end()
