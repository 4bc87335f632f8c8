"""Tell whether ``JPY_SESSION_NAME`` was set for this kernel or inherited from another.

A Jupyter server sets the variable for each kernel that it starts, and every process
below that kernel inherits it: a notebook that papermill runs, ``!jupyter execute``, an
engine of ipyparallel. These must not join the chat of the outer notebook.
``notebook.find_notebook`` calls this.

The topmost process that has the value is the one that the server started. It is this
kernel, or a wrapper that starts this kernel (``conda run``, ``uv run``, a shell, the
launcher of a virtual environment on Windows). A server gives the path of the
connection file to what it starts, so the command line of a wrapper contains the
connection file of this kernel, and that of an outer kernel contains another one.
Where processes cannot be read, the answer is no: a chat that lasts for the session is
a smaller loss than a chat in the wrong notebook.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psutil import Process

SESSION_NAME = "JPY_SESSION_NAME"


def is_set_for_this_kernel(value: str) -> bool:
    """Return whether the process that set the variable set it for this kernel.

    Parameters
    ----------
    value
        What the variable is in this kernel.
    """
    try:
        import psutil
    except ImportError:
        return False
    with suppress(psutil.Error, OSError):
        this = psutil.Process()
        above = [process for process in this.parents() if _has(process, value)]
        return not above or _starts(above[-1], this)
    return False


def _has(process: Process, value: str) -> bool:
    """Return whether a process has the value; one of another user cannot be read."""
    import psutil

    with suppress(psutil.Error, OSError):
        return bool(process.environ().get(SESSION_NAME) == value)
    return False


def _starts(wrapper: Process, kernel: Process) -> bool:
    """Return whether two command lines name the same connection file."""
    command = " ".join(wrapper.cmdline())
    files = [word for word in kernel.cmdline() if word.endswith(".json")]
    return any(file in command for file in files)
