"""Find the notebook that a kernel runs for.

The session calls ``find_notebook`` once per configuration. Nothing is guessed: if no
front end gives the path, the chats belong to the running kernel alone.

A Jupyter server sets ``JPY_SESSION_NAME`` for each kernel that it starts, and every
process below that kernel inherits it: papermill, ``jupyter execute``,
an engine of ipyparallel. These must not join the chat of the outer notebook, so
``is_set_for_this_kernel`` finds the topmost process with the value, which the server
started. It is this kernel, or a wrapper that started it (``conda run``, ``uv run``, a
shell, a virtual environment's launcher on Windows). A server passes the path of the
connection file to what it starts, so the command line of such a wrapper has this
kernel's connection file; that of an outer kernel has another. If processes cannot be
read, the answer is no: a chat that ends with the session is better than a wrong one.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ollama_magic.history.identity import CellWithoutId
from ollama_magic.history.schema import SESSION_PREFIX

if TYPE_CHECKING:
    from psutil import Process


FindCell = Callable[[CellWithoutId], str | None]

_META_KEY = "ollama_magic_notebooks"  # in ``shell.meta``, which outlives a reload

_UNSAVED = re.compile(r"Untitled-\d+\.ipynb")


@dataclass(frozen=True, slots=True)
class Notebook:
    """The notebook that chats belong to."""

    key: str
    """Its real path, or a name for this session. The store may have an older key for a
    notebook that was moved."""
    path: str | None
    """The absolute path of the ``.ipynb``; None if unknown."""

    @property
    def is_durable(self) -> bool:
        """Whether the notebook can be recognised after the kernel has ended."""
        return self.path is not None


def find_notebook(shell: Any, configured: str = "") -> Notebook:  # noqa: ANN401  (IPython is not typed)
    """Return the notebook that a shell runs for.

    Its path comes from ``configured``, else from VS Code, else from the Jupyter server.
    Otherwise the notebook is this session of the kernel, or of the shell if there is no
    kernel. Later calls return the same, even if the working directory has changed.

    Parameters
    ----------
    shell
        The IPython shell.
    configured
        A path set by the user; it need not exist nor end in ``.ipynb``.
    """
    vscode_file = shell.user_ns.get("__vsc_ipynb_file__")
    session_name = _session_name(shell)
    known: dict[tuple[object, ...], Notebook] = shell.meta.setdefault(_META_KEY, {})
    sources = (configured, str(vscode_file), session_name)
    if sources not in known:
        path = (
            _configured_path(configured)
            or _vscode_path(vscode_file)
            or _server_path(session_name)
        )
        key = path or _session_key(shell)
        known[sources] = Notebook(key, path)
    return known[sources]


def _configured_path(configured: str) -> str | None:
    # NB: not Path.expanduser, which raises without a home directory.
    return os.path.realpath(os.path.expanduser(configured)) if configured else None


def _vscode_path(value: object) -> str | None:
    if not isinstance(value, str) or not _is_absolute_notebook(value):
        return None
    path = Path(value)
    # The names of unsaved notebooks are not unique.
    if _UNSAVED.fullmatch(path.name) and not path.exists():
        return None
    return os.path.realpath(value)


def _session_name(shell: Any) -> str | None:  # noqa: ANN401
    # A terminal is not a notebook, even if a notebook server started it.
    has_kernel = getattr(shell, "kernel", None) is not None
    return os.environ.get(SESSION_NAME) if has_kernel else None


def _server_path(value: str | None) -> str | None:
    if not value or not value.endswith(".ipynb") or not is_set_for_this_kernel(value):
        return None
    if _is_absolute_notebook(value):
        return os.path.realpath(value)
    # Kernels start in the folder of their notebook, so the end of its path must match
    # the relative path, and the file must exist.
    here = Path.cwd() / Path(value).name
    is_told = here.parts[-len(Path(value).parts) :] == Path(value).parts
    return os.path.realpath(here) if is_told and here.is_file() else None


def _is_absolute_notebook(value: str) -> bool:
    return value.endswith(".ipynb") and Path(value).is_absolute()


def _session_key(shell: Any) -> str:  # noqa: ANN401
    # NB: not the kernel id. A connection file can be reused, and the user of the next
    # session would get this one's chat.
    session = getattr(getattr(shell, "kernel", None), "session", None)
    name = getattr(session, "session", None)
    return f"{SESSION_PREFIX}{name or uuid.uuid4()}"


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
    """Return whether a process has the value; False if it cannot be read."""
    import psutil

    with suppress(psutil.Error, OSError):
        return bool(process.environ().get(SESSION_NAME) == value)
    return False


def _starts(wrapper: Process, kernel: Process) -> bool:
    """Return whether two command lines name the same connection file."""
    command = " ".join(wrapper.cmdline())
    files = [word for word in kernel.cmdline() if word.endswith(".json")]
    return any(file in command for file in files)
