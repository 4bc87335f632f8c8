"""End a process when the process that started it is gone, however it ended.

The parent holds the write end of the child's standard input and writes nothing. When
the parent dies, even by SIGKILL, the operating system closes that end. Our own
processes call ``watch``; for other programs (``ollama serve``, pip) this module is a
command, ``python -m ollama_magic.server.embedded.watchdog -- PROGRAM [ARGUMENT…]``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

_GRACE_S = 5.0
_POLL_S = 1.0


def watch(on_orphaned: Callable[[], None]) -> None:
    """Call ``on_orphaned`` in a thread, at most twice, once the parent is gone.

    On POSIX the parent's id is watched too: a process that the parent forked
    (``multiprocessing``) inherits the write end of the pipe and keeps it open.
    """
    watchers = [_wait_for_end_of_file]
    if os.name == "posix":
        watchers.append(_wait_for_new_parent)
    for watcher in watchers:
        threading.Thread(target=watcher, args=(on_orphaned,), daemon=True).start()


def _wait_for_end_of_file(on_orphaned: Callable[[], None]) -> None:
    # os.read, not sys.stdin: at exit no lock of the interpreter is held.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    on_orphaned()


def _wait_for_new_parent(on_orphaned: Callable[[], None]) -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    on_orphaned()


def guarded(command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` under a watchdog, for ``Popen``."""
    return [sys.executable, "-m", __name__, "--", *command]


def run(command: Sequence[str]) -> int:
    """Run a command, with empty standard input, until it or our parent ends.

    Returns
    -------
    int
        The command's exit code; 127 if it could not be started.
    """
    is_orphaned = threading.Event()
    watch(is_orphaned.set)
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 127

    def end_with_parent() -> None:
        is_orphaned.wait()
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()

    threading.Thread(target=end_with_parent, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:]))
