"""Find the notebook that a kernel runs for, and read its file.

The session calls ``find_notebook`` once per configuration. Nothing is guessed: if no
front end gives the path, the chats belong to the running kernel alone. The file is
evidence for ``identity`` only, since it may be older than the notebook on the screen.

A Jupyter server sets ``JPY_SESSION_NAME`` for each kernel that it starts, and every
process below that kernel inherits it: papermill, ``jupyter execute``, an engine of
ipyparallel. These must not join the chat of the outer notebook, so
``_is_set_for_this_kernel`` finds the topmost process with the value, which the server
started. It is this kernel, or a wrapper that started it (``conda run``, ``uv run``, a
shell, a virtual environment's launcher on Windows). A server passes the path of the
connection file to what it starts, so the command line of such a wrapper has this
kernel's connection file; that of an outer kernel has another. If processes cannot be
read, the answer is no: a chat that ends with the session is better than a wrong one.

Sources: nbformat 4.5 (cells have ids since then: letters, digits, ``-`` and ``_``, at
most 64). VS Code names a cell by a document address and a number, which means nothing
at another path.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psutil import Process

SESSION_PREFIX = "session:"
"""Keys of notebooks without a file begin with this; they last for one session.

The prefix alone is the key of the named chats of all such sessions.
"""
VSCODE_SCHEME = "vscode:"
"""Substitutes for the ids of cells begin with this; see ``CellWithoutId``."""

_META_KEY = "ollama_magic_notebooks"  # in ``shell.meta``, which outlives a reload
_SESSION_NAME = "JPY_SESSION_NAME"
_UNSAVED = re.compile(r"Untitled-\d+\.ipynb")
_PAIRED = re.compile(r"^\W*formats:.*\bipynb\b", re.MULTILINE)
_HEADER = 4096  # characters
_MAX_BYTES = 200 * 2**20
_CELL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ASKS = re.compile(r"ollama(?!\s+(?:keep|continue|versions)\b)")
_NUMBERED = re.compile(r"[A-Za-z]*[_-]?\d+")


# -- the notebook of a kernel ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notebook:
    """The notebook that chats belong to."""

    key: str
    """Its real path, or a name for this session.

    The store may have an older key for a notebook that was moved.
    """
    path: str | None
    """The absolute path of the file; None if unknown."""
    is_text: bool = False
    """Whether it is a text file that jupytext shows as a notebook.

    Its cells have other ids whenever it is opened.
    """


def find_notebook(
    shell: Any,  # noqa: ANN401  (IPython is not typed)
    configured: str = "",
    *,
    is_in_notebook: bool = False,
) -> Notebook:
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
    is_in_notebook
        Whether JupyterLab sent the running cell from a notebook. It also names a
        console after the text file that it was opened for.
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
    if is_in_notebook and known[sources].path is None:
        known[sources] = _text_notebook(session_name) or known[sources]
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
    return os.environ.get(_SESSION_NAME) if has_kernel else None


def _server_path(value: str | None) -> str | None:
    if not value or not value.endswith(".ipynb") or not _is_set_for_this_kernel(value):
        return None
    if _is_absolute_notebook(value):
        return os.path.realpath(value)
    # Kernels start in the folder of their notebook, so the end of its path must match
    # the relative path, and the file must exist.
    here = Path.cwd() / Path(value).name
    matches = here.parts[-len(Path(value).parts) :] == Path(value).parts
    return os.path.realpath(here) if matches and here.is_file() else None


def _text_notebook(value: str | None) -> Notebook | None:
    """Return the notebook of a text file, or the ``.ipynb`` that it is paired with."""
    path = Path(value or "")
    if not (
        path.is_absolute() and path.is_file() and _is_set_for_this_kernel(str(value))
    ):
        return None
    paired = path.with_suffix(".ipynb")
    if paired.is_file() and _PAIRED.search(read_text(str(path))[:_HEADER]):
        path = paired
    real = os.path.realpath(path)
    return Notebook(real, real, is_text=path is not paired)


def read_text(path: str) -> str:
    """Return the text of a file; empty if it cannot be read."""
    with suppress(OSError):
        return Path(path).read_text("utf-8", "replace")
    return ""


def _is_absolute_notebook(value: str) -> bool:
    return value.endswith(".ipynb") and Path(value).is_absolute()


def _session_key(shell: Any) -> str:  # noqa: ANN401
    # NB: not the kernel id. A connection file can be reused, and the user of the next
    # session would get this one's chat.
    session = getattr(getattr(shell, "kernel", None), "session", None)
    name = getattr(session, "session", None)
    return f"{SESSION_PREFIX}{name or uuid.uuid4()}"


def _is_set_for_this_kernel(value: str) -> bool:
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
        return bool(process.environ().get(_SESSION_NAME) == value)
    return False


def _starts(wrapper: Process, kernel: Process) -> bool:
    """Return whether two command lines name the same connection file."""
    command = " ".join(wrapper.cmdline())
    files = [word for word in kernel.cmdline() if word.endswith(".json")]
    return any(file in command for file in files)


# -- its cells and its file ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CellWithoutId:
    """A running cell for which the front end sends no id."""

    source: str
    session: str = ""
    """The session of the notebook in VS Code; empty elsewhere."""
    handle: str = ""
    """VS Code's name for the cell in that session, usually a number."""

    @property
    def address(self) -> str:
        """A substitute for an id in this session; empty outside of VS Code."""
        if not (self.session and self.handle):
            return ""
        return f"{VSCODE_SCHEME}{self.session}:{self.handle}"

    @property
    def index(self) -> int | None:
        """The position of the cell when the notebook was opened, if it existed."""
        return int(self.handle) if self.handle.isdecimal() else None


FindCell = Callable[[CellWithoutId], str | None]
"""Returns the id of a cell; None if it is unknown."""


def stable_cell_id(cell_id: str | None) -> str:
    """Return the id of a cell if it is valid at other paths too, else an empty text.

    Examples
    --------
    >>> stable_cell_id("f3b2-a1"), stable_cell_id("f3b2-a1 2")
    ('f3b2-a1', 'f3b2-a1')
    >>> stable_cell_id("vscode-notebook-cell:/home/ann/a.ipynb#W0sZmlsZQ%3D%3D")
    ''
    """
    name = (cell_id or "").partition(" ")[0]
    return name if _CELL_ID.fullmatch(name) else ""


def _is_random(name: str) -> bool:
    """Return whether an id is unique, unlike ``3`` and ``cell-12``.

    Some tools number the cells of every notebook, such as nbstripout.
    """
    return len(name) >= 8 and not _NUMBERED.fullmatch(name)


@dataclass(frozen=True, slots=True)
class NotebookFile:
    """The cells of a notebook file, and the replies in its outputs."""

    path: str
    state: tuple[int, int, int]
    """The state of the file on disk; another one whenever it is saved."""
    changed_at: str
    """UTC, ISO 8601, as in the store."""
    has_ids: bool
    """Whether cells of this format have ids."""
    cell_ids: frozenset[str]
    cells: tuple[tuple[str, str], ...]
    """The id and source of all cells, in order.

    The id is empty if another cell has it too; the source, if the cell is not code.
    """
    sources: Mapping[str, str]
    """The sources of code cells that mention ollama, by id."""
    answers: frozenset[str]
    """The times of the replies in its outputs, from their metadata."""
    shows_chat: bool
    """Whether a reply in its outputs belongs to a chat."""
    shown_in: Mapping[str, str]
    """The cell that shows a reply, by the time of the reply.

    The second reply in a cell has the id ``ID 2``, as in the store.
    """

    def has_turn(self, cell_id: str | None, prompt: str, answered_at: str) -> bool:
        """Return whether this notebook shows the reply of a turn, or has its cell."""
        if answered_at in self.answers:
            return True
        name = stable_cell_id(cell_id)
        source = self.sources.get(name)
        return source is not None and (_is_random(name) or prompt in source)

    def find_cell(self, source: str, index: int | None = None) -> str:
        """Return the id of the code cell with this source; empty if it is not certain.

        Parameters
        ----------
        index
            The position of the cell, if several have this source.
        """
        if not source.strip():
            return ""
        same = {
            position: cell_id
            for position, (cell_id, saved) in enumerate(self.cells)
            if _lines(saved) == _lines(source)
        }
        if len(same) == 1:
            return next(iter(same.values()))
        return same.get(index, "") if index is not None else ""

    @property
    def is_numbered(self) -> bool:
        """Whether a tool has numbered the cells, which replaced their ids."""
        return bool(self.cell_ids) and not any(map(_is_random, self.cell_ids))

    def asks(self, prompt: str) -> bool:
        """Return whether a cell is ``%%ollama`` with exactly this prompt."""
        bodies = (source.partition("\n")[2] for source in self.sources.values())
        return any(body.strip("\n") == prompt for body in bodies if body)

    def deleted_since(self, before: NotebookFile) -> frozenset[str]:
        """Return the ids of cells that were deleted since an earlier state.

        There are none if a tool has given all cells new ids.
        """
        if before.path != self.path or self.is_numbered:
            return frozenset()
        return before.cell_ids - self.cell_ids


def read_notebook_file(
    path: str, before: NotebookFile | None = None
) -> NotebookFile | None:
    """Read a notebook file; return None if it cannot be read, or is not one.

    Parameters
    ----------
    before
        The result of an earlier call, which is returned if the file was not saved
        since.
    """
    try:
        status = Path(path).stat()
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        if before is not None and (before.path, before.state) == (path, state):
            return before
        if not path.endswith(".ipynb") or status.st_size > _MAX_BYTES:
            return None
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("nbformat") != 4:
        return None
    cells = [cell for cell in _list(content.get("cells")) if isinstance(cell, dict)]
    ids = [stable_cell_id(joined(cell.get("id"))) for cell in cells]
    times = Counter(ids)
    sources = [_source(cell) for cell in cells]
    unique_ids = [cell_id if times[cell_id] == 1 else "" for cell_id in ids]
    minor = content.get("nbformat_minor")
    # NB: the later of the two, since a moved file keeps its mtime.
    changed_at = datetime.fromtimestamp(max(status.st_mtime, status.st_ctime), UTC)
    return NotebookFile(
        path=path,
        state=state,
        changed_at=changed_at.isoformat(timespec="microseconds"),
        has_ids=isinstance(minor, int) and minor >= 5,
        cell_ids=frozenset(ids) - {""},
        cells=tuple(zip(unique_ids, sources, strict=True)),
        sources={
            cell_id: source
            for cell_id, source in zip(ids, sources, strict=True)
            if cell_id and "ollama" in source
        },
        answers=frozenset(stamp for cell in cells for stamp in _answers(cell)),
        shows_chat=any(_metadata(cell, "chat") for cell in cells),
        shown_in=_shown_in(zip(unique_ids, sources, cells, strict=True)),
    )


def _answers(cell: Mapping[str, Any]) -> list[str]:
    """Return the times of the replies in the outputs of a cell."""
    return _metadata(cell, "answered_at")


def _metadata(cell: Mapping[str, Any], key: str) -> list[str]:
    values = []
    for output in _list(cell.get("outputs")):
        found: object = output
        for name in ("metadata", "ollama_magic", key):
            found = found.get(name) if isinstance(found, dict) else None
        values += [found] if isinstance(found, str) else []
    return values


def _shown_in(
    cells: Iterable[tuple[str, str, Mapping[str, Any]]],
) -> dict[str, str]:
    """Return the cell of each reply that exactly one prompt cell shows.

    ``%ollama keep``, ``continue`` and ``versions`` show replies of other cells too.
    """
    shown = {
        cell_id: sorted(set(_answers(cell)))
        for cell_id, source, cell in cells
        if cell_id and _ASKS.search(source)
    }
    times = Counter(stamp for stamps in shown.values() for stamp in stamps)
    found = {}
    for cell_id, stamps in shown.items():
        own = [stamp for stamp in stamps if times[stamp] == 1]
        for number, stamp in enumerate(own, 1):
            found[stamp] = cell_id if number == 1 else f"{cell_id} {number}"
    return found


def _lines(source: str) -> str:
    return source.replace("\r\n", "\n")


def _source(cell: Mapping[str, Any]) -> str:
    """Return the source of a cell; empty if it is not code."""
    return joined(cell.get("source")) if cell.get("cell_type") == "code" else ""


def joined(lines: object) -> str:
    """Return a text of a notebook file, which may be a list of lines."""
    lines = lines if isinstance(lines, list) else [lines]
    return "".join(line for line in lines if isinstance(line, str))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
