"""A guard for a program that knows nothing of us: it ends when our starter ends.

``python -m ollama_magic.server.embedded.guard -- PROGRAM [ARGUMENT…]`` runs it with
an empty standard input, ends it at the end of file of its own, and otherwise ends
with the program's exit code.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence

from ollama_magic.server.embedded import parent_watch as lifeline

_PATIENCE_S = 5.0


def run(command: Sequence[str]) -> int:
    """Run a command until it ends, or until our starter does.

    Returns
    -------
    int
        The command's exit code; 127 if it could not be started.
    """
    ended = threading.Event()
    lifeline.watch(ended.set)
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 127

    def end_with_starter() -> None:
        ended.wait()
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()

    threading.Thread(target=end_with_starter, daemon=True).start()
    return process.wait()


def guarded(command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` under a guard, for ``Popen``."""
    return [sys.executable, "-m", __name__, "--", *command]


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:]))
