"""Find the notebook that a kernel runs for.

The session asks once per configuration. Nothing is guessed: where no front end tells
the path, the chats belong to the running kernel alone.
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
    """Its real path, or a name for this session alone; what the store knows a notebook
    by that has changed its path, is known to the session."""
    path: str | None
    """Absolute path of the ``.ipynb``; None when it cannot be told."""

    @property
    def is_durable(self) -> bool:
        """Whether the notebook will be known again after the kernel has ended."""
        return self.path is not None


def find_notebook(shell: Any, configured: str = "") -> Notebook:  # noqa: ANN401  (IPython is not typed)
    """Return the notebook that a shell runs for.

    Told by ``configured``, else by VS Code, else by the Jupyter server. Otherwise the
    notebook is this session of the kernel, or of the shell where there is no kernel.
    Asking again gives the same answer, also after the working directory has changed.

    Parameters
    ----------
    shell
        The IPython shell.
    configured
        A path that the user set; it need not exist nor end in ``.ipynb``.
    """
    vscode_file = shell.user_ns.get("__vsc_ipynb_file__")
    session_name = _session_name(shell)
    known: dict[tuple[object, ...], Notebook] = shell.meta.setdefault(_META_KEY, {})
    told = (configured, str(vscode_file), session_name)
    if told not in known:
        path = (
            _configured_path(configured)
            or _vscode_path(vscode_file)
            or _server_path(session_name)
        )
        key = path or _session_key(shell)
        known[told] = Notebook(key, path)
    return known[told]


def _configured_path(configured: str) -> str | None:
    # NB: not Path.expanduser, which raises where there is no home directory.
    return os.path.realpath(os.path.expanduser(configured)) if configured else None


def _vscode_path(value: object) -> str | None:
    if not isinstance(value, str) or not _is_absolute_notebook(value):
        return None
    path = Path(value)
    # Every unsaved notebook of a folder has the same few names: no identity.
    if _UNSAVED.fullmatch(path.name) and not path.exists():
        return None
    return os.path.realpath(value)


def _session_name(shell: Any) -> str | None:  # noqa: ANN401
    # A terminal is no notebook of a server, also where it was started from one.
    has_kernel = getattr(shell, "kernel", None) is not None
    return os.environ.get(SESSION_NAME) if has_kernel else None


def _server_path(value: str | None) -> str | None:
    if not value or not value.endswith(".ipynb") or not is_set_for_this_kernel(value):
        return None
    if _is_absolute_notebook(value):
        return os.path.realpath(value)
    # Kernels start in the folder of their notebook, so the end of that folder's path
    # must agree with the relative path, and the file must be there.
    here = Path.cwd() / Path(value).name
    is_told = here.parts[-len(Path(value).parts) :] == Path(value).parts
    return os.path.realpath(here) if is_told and here.is_file() else None


def _is_absolute_notebook(value: str) -> bool:
    return value.endswith(".ipynb") and Path(value).is_absolute()


def _session_key(shell: Any) -> str:  # noqa: ANN401
    # NB: not the kernel id. A connection file can be chosen and used again, and the
    # next session's user would be handed this one's chat.
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
