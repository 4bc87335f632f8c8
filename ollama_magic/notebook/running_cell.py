"""The running cell: its id, its source, its output, and the cell below it.

The session and the magics ask :class:`CellTracker`. It does not guess: if the front end
does not identify the notebook, its chats belong to the running kernel only.

Sources, seen in running front ends unless noted:

* JupyterLab 4.6 and Notebook 7.6 (jupyter_server 2.21): ``JPY_SESSION_NAME`` is the
  absolute path of the notebook, also of a new one, and is updated when a kernel
  restarts after a rename. In a console it is a path that ends in ``Console 1``. Older
  servers set a path relative to a root that the kernel does not know, or a UUID.
  Processes started by a kernel inherit it: see ``history.notebooks``.
* Execute requests of both carry ``cellId`` and ``deletedCells`` (cells deleted since
  the last request, each reported once) in their metadata. Both apply updates of a
  display to the output of a cell, but not to what an ``ipywidgets.Output`` has
  captured. Callbacks of widgets run on a ``comm_msg``. Both insert one cell
  below for the first payload ``set_next_input`` of an execute reply, and would
  overwrite the asking cell for one with ``replace``.
* A code console of JupyterLab sends ``cellId`` too, but no ``deletedCells``. It
  overwrites the asking cell for ``set_next_input`` (its source).
* VS Code (its source): ``__vsc_ipynb_file__`` in the namespace, which for an unsaved
  notebook is a path that does not exist (``Untitled-1.ipynb``). In requests ``cellId``
  is the address of a document with a number in it (a letter for its length, digits to
  the base 7, ``s``, the scheme in base 64):
  ``vscode-notebook-cell:/home/ann/a.ipynb#W0sZmlsZQ%3D%3D``. Cells are renumbered
  whenever the notebook is opened; ``header.session`` is a different one then, and
  stays the same when the kernel restarts. Re-run cells lose updates (seen).
* jupyter console, qtconsole, Spyder and jupyter-server-nbmodel ignore updates;
  jupyter-server-documents shows each as one more output. None of them sends a cell id,
  and neither does nbclient, which has no user.
* JupyterLab sends all cells of Run All at once, each with the date when it was sent.
* Colab (its source): ``metadata.colab.cell_id``.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ollama_magic.notebook import compat
from ollama_magic.notebook.compat import harmless_handler

if TYPE_CHECKING:
    from ollama_magic.history.notebooks import FindCell
    from ollama_magic.render.output import OutputMode

_MAGIC = "%%ollama"
_LINE_MAGIC = re.compile(r"\s*(?:[\w.,\s]+=\s*)?%ollama(?:\s|$)")
_VSCODE_CELL = "vscode-notebook-cell:"
_HANDLE = re.compile(r"[W-Za-z]+([0-6]+)s")  # digits to the base 7, then the scheme

_UNKNOWN = datetime.min.replace(tzinfo=UTC)
_AT_ONCE = timedelta(seconds=0.25)  # between two cells of Run All; people need longer


class CellTracker:
    """The running cell, as far as the front end identifies it.

    Parameters
    ----------
    shell
        The IPython shell, on whose events it registers.
    """

    def __init__(self, shell: Any) -> None:  # noqa: ANN401  (IPython is not typed)
        self.raw_cell = ""
        """The running cell as it was typed; empty when no cell is running."""
        self._shell = shell
        self._event_id: object = None
        self._find: FindCell = lambda cell: cell.address or None
        self._found: tuple[object, str | None] = (None, None)
        self._deleted: set[str] = set()
        self._deleted_read_from: str | None = None
        self._turns: tuple[object, int] = (None, 0)
        self._is_output_claimed = False
        self._run: tuple[str | None, datetime, str] = (None, _UNKNOWN, "")
        self._ended_at = _UNKNOWN
        self._sent_above: tuple[str, ...] = ()
        self._note_run()
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)

    # -- its id ------------------------------------------------------------

    @property
    def cell_id(self) -> str | None:
        """The id of the running cell; None if it is unknown.

        If the front end sends no permanent id, the session finds the cell in the saved
        notebook. The id stays the same during a run, even if the notebook is saved
        meanwhile.

        A cell that asks several times in one run has an id for each of its turns: the
        second is ``ID 2``. Cell ids themselves have no blanks.
        """
        request = self._request()
        cell_id = self._sent_id(request)
        if cell_id is None or _is_address(cell_id):
            cell_id = self._found_id(request)
        number = self._number_of_turns(request)
        return f"{cell_id} {number + 1}" if cell_id and number else cell_id

    @property
    def permanent_id(self) -> str | None:
        """The permanent id that the front end sent; None if there is none."""
        sent = self._sent_id(self._request())
        return None if _is_address(sent) else sent

    @property
    def is_identified(self) -> bool:
        """Whether the front end identifies the running cell in any way."""
        return self._sent_id(self._request()) is not None

    @property
    def is_in_notebook(self) -> bool:
        """Whether JupyterLab sent the cell from a notebook, not from a console."""
        return "deletedCells" in _mapping(self._request().get("metadata"))

    def find_with(self, find: FindCell) -> None:
        """Set the function that finds the id of a cell without a permanent one."""
        self._find = find

    def count_turn(self) -> None:
        """Count a turn of the running cell: the next one gets another id."""
        request = self._request()
        self._turns = (_message_id(request), self._number_of_turns(request) + 1)

    @property
    def sent_together(self) -> tuple[str, tuple[str, ...]]:
        """When the cell was sent, and the ids of those sent at once and before it."""
        return self._run[1].isoformat(timespec="microseconds"), self._sent_above

    def _note_run(self) -> None:
        """Find out whether a cell was sent together with the one that ran before it."""
        request = self._request()
        last_message_id, last_sent_at, last_id = self._run
        message_id, sent_at = _message_id(request), _sent_at(request)
        if message_id is not None and message_id == last_message_id:
            return  # a cell that runs within another
        cell_id = self.permanent_id or ""
        above = (*self._sent_above, *filter(None, [last_id]))
        latest = min(last_sent_at + _AT_ONCE, self._ended_at)
        is_together = _UNKNOWN < last_sent_at <= sent_at < latest
        self._sent_above = above if is_together and cell_id not in above else ()
        self._run, self._ended_at = (message_id, sent_at, cell_id), _UNKNOWN

    def _sent_id(self, request: Mapping[str, Any]) -> str | None:
        return _cell_id(request) or _text(self._event_id)

    def _found_id(self, request: Mapping[str, Any]) -> str | None:
        from ollama_magic.history.notebooks import CellWithoutId

        handle = _handle(self._sent_id(request) or "")
        session = _text(_header(request).get("session")) if handle else None
        if not (self.raw_cell or session):
            return None
        cell = CellWithoutId(self.raw_cell, session or "", handle)
        run = (_message_id(request), cell)
        if run[0] is None or self._found[0] != run:
            self._found = (run, self._find(cell))
        return self._found[1]

    def _number_of_turns(self, request: Mapping[str, Any]) -> int:
        message_id, number = self._turns
        return number if message_id == _message_id(request) else 0

    # -- deleted cells -----------------------------------------------------

    @property
    def deleted_cells(self) -> tuple[str, ...]:
        """Ids of deleted cells.

        Front ends report each once, with any request, so they are collected until
        :meth:`forget_deleted`.
        """
        self._read_deleted()
        return tuple(sorted(self._deleted))

    def forget_deleted(self) -> None:
        """Forget the deleted cells: their turns are gone."""
        self._deleted.clear()

    def _read_deleted(self) -> None:
        request = self._request()
        deleted = _mapping(request.get("metadata")).get("deletedCells")
        message_id = _message_id(request)
        if isinstance(deleted, list) and self._deleted_read_from != message_id:
            self._deleted_read_from = message_id
            self._deleted |= {c for c in deleted if isinstance(c, str) and c}

    # -- its source and its output -----------------------------------------

    @property
    def is_interactive(self) -> bool:
        """Whether a user can answer questions; nbclient says that none can.

        A kernel that does not pass this on, such as xeus-python, may have one.
        """
        content = _mapping(self._request().get("content"))
        return bool(content.get("allow_stdin", True))

    def claim_output(self) -> OutputMode:
        """Return how the next output of the running cell is shown while it changes.

        Only the first claim has the output of the cell to itself. Front ends that
        ignore updates would show the first frame for ever: others are live only.
        """
        request = self._request()
        code = _mapping(request.get("content")).get("code", self.raw_cell)
        # A cell that `run_cell` or `%run` runs within another shares its output.
        owns_it = code == self.raw_cell and owns_output(self.raw_cell)
        is_first, self._is_output_claimed = not self._is_output_claimed, True
        if compat.is_captured(self._shell, _message_id(request)):
            return "once"
        if owns_it and is_first:
            return "clear"
        cell_id = _cell_id(request) or ""
        if _header(request).get("msg_type") != "execute_request" or not cell_id:
            return "once"
        return "repeat" if cell_id.startswith("vscode-") else "update"

    # -- the cell below ----------------------------------------------------

    def put_below(self, source: str) -> str:
        """Put source below the running cell, after what this run has put there.

        Returns
        -------
        str
            Where it is, for the footer: ``the cell below``; empty if there is no place.
        """
        place = self._place_below()
        if not place:
            return ""
        earlier, replaces_cell = compat.next_input(self._shell)
        # NB: a cell magic must be at the top of its cell.
        is_alone = replaces_cell or earlier.startswith("%%")
        if is_alone or (earlier and source.startswith("%%")):
            return ""
        self._shell.set_next_input(f"{earlier}\n\n{source}" if earlier else source)
        return place

    def _place_below(self) -> str:
        if not self.raw_cell:
            return ""  # a widget's callback, for example: it has no cell below
        if compat.is_terminal(self._shell):
            return "the next prompt" if compat.has_prompt(self._shell) else ""
        session_name = os.environ.get("JPY_SESSION_NAME", "")
        is_notebook = not session_name or session_name.endswith(".ipynb")
        is_notebook = is_notebook or self.is_in_notebook or self._names_its_cells()
        if not (self.is_interactive and is_notebook):  # a console of JupyterLab
            return ""
        if self.is_identified:
            return "the cell below"
        # NB: jupyter-server-nbmodel drops the request for a cell, and nbclassic does
        # not; a request does not identify either.
        return "the next cell" if not session_name else "the next cell, if one appears"

    def _names_its_cells(self) -> bool:
        """Return whether the running cell has a name of VS Code or Colab."""
        sent = self._sent_id(self._request())
        metadata = _mapping(self._request().get("metadata"))
        return _is_address(sent) or "colab" in metadata

    # -- events ------------------------------------------------------------

    def unregister(self) -> None:
        """Unregister the event handlers; a second call does nothing."""
        compat.unregister_all(self._shell, self)

    @harmless_handler
    def _before_cell(self, info: Any) -> None:  # noqa: ANN401
        self.raw_cell = info.raw_cell or ""
        self._is_output_claimed = False
        self._event_id = getattr(info, "cell_id", None)
        self._note_run()
        self._read_deleted()
        self._deleted.discard(self.permanent_id or "")  # cut and pasted elsewhere
        if _message_id(self._request()) is None:
            self._turns = (None, 0)  # there are no message ids to tell runs apart

    @harmless_handler
    def _after_cell(self, _result: object) -> None:
        # Code that runs from now on, such as a widget's callback, is not a cell. After
        # a nested cell, the outer cell is treated as unknown, to be safe.
        self.raw_cell = ""
        self._event_id = None
        self._ended_at = datetime.now(UTC)

    def _request(self) -> Mapping[str, Any]:
        return compat.current_request(self._shell)


# -- requests --------------------------------------------------------------------


def _is_address(cell_id: str | None) -> bool:
    return cell_id is not None and cell_id.startswith(_VSCODE_CELL)


def _handle(address: str) -> str:
    """Return VS Code's name for a cell, valid until its notebook is closed.

    Examples
    --------
    >>> _handle("vscode-notebook-cell:/home/ann/a.ipynb#X10sZmlsZQ%3D%3D")
    '7'
    >>> _handle("vscode-notebook-cell:/home/ann/a.ipynb#ch0000012")
    'ch0000012'
    >>> _handle("")
    ''
    """
    fragment = address.rpartition("#")[2] if _is_address(address) else ""
    number = _HANDLE.match(fragment)
    return str(int(number[1], 7)) if number else "".join(fragment.split())


def _cell_id(request: Mapping[str, Any]) -> str | None:
    metadata = _mapping(request.get("metadata"))
    colab_id = _mapping(metadata.get("colab")).get("cell_id")
    return _text(metadata.get("cellId")) or _text(colab_id)


def _header(request: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(request.get("header"))


def _sent_at(request: Mapping[str, Any]) -> datetime:
    date = _header(request).get("date")
    return date.astimezone(UTC) if isinstance(date, datetime) else _UNKNOWN


def _message_id(request: Mapping[str, Any]) -> str | None:
    return _text(_header(request).get("msg_id"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# -- what its source says -----------------------------------------------------------


def magic_body(raw_cell: str, line: str, cell: str) -> str:
    """Return the body of ``%%ollama`` as it was typed.

    IPython removes ``>>> ``, ``... `` and ``In [1]: `` anywhere in a cell. The body is
    taken from ``raw_cell`` if that cell is this very magic, and otherwise from ``cell``
    (``run_cell_magic``, functions, scripts, other magics around it).

    Parameters
    ----------
    raw_cell
        The running cell as it was typed.
    line
        The text after ``%%ollama``, as IPython passes it.
    cell
        The body, as IPython passes it.
    """
    first, _, body = _dedented(raw_cell).partition("\n")
    is_this = first.startswith(_MAGIC) and first[len(_MAGIC) :].strip() == line.strip()
    return body if is_this and _could_become(body, cell) else cell


def owns_output(raw_cell: str) -> bool:
    """Return whether all output of the cell comes from this magic.

    That is so for ``%%ollama``, and for a cell whose only statement is a ``%ollama``
    line, also if its value is assigned.
    """
    if _is_cell_magic(raw_cell):
        return True
    code = re.sub(r"^[^\S\n]*#.*$", "", raw_cell, flags=re.MULTILINE)
    lines = [one for one in code.replace("\\\n", " ").splitlines() if one.strip()]
    return len(lines) == 1 and _LINE_MAGIC.match(lines[0]) is not None


def shows_itself(raw_cell: str) -> bool:
    """Return whether IPython would show the magic's value below what it has shown.

    It does so for a value that ends a cell: of ``%%ollama``, or of ``%ollama`` as the
    last line. A value that is assigned or returned by a function is used elsewhere.
    """
    last = raw_cell.rstrip().rpartition("\n")[2]
    return _is_cell_magic(raw_cell) or last.startswith("%ollama")


def _is_cell_magic(raw_cell: str) -> bool:
    first, _, _ = _dedented(raw_cell).partition("\n")
    return re.match(rf"{_MAGIC}(\s|$)", first) is not None


def _dedented(raw_cell: str) -> str:
    """Remove leading blank lines, comments, and the indent of the whole cell."""
    text = re.sub(r"\A(?:[^\S\n]*(?:#[^\n]*)?\n)+", "", raw_cell)
    return textwrap.dedent(text) if text[:1] in {" ", "\t"} else text


def _could_become(typed: str, passed: str) -> bool:
    """Return whether IPython can have made ``passed`` of ``typed``.

    It only removes text from the beginnings of lines.
    """
    typed_lines, passed_lines = typed.splitlines(), passed.splitlines()
    return len(typed_lines) == len(passed_lines) and all(
        typed_line.endswith(passed_line)
        for typed_line, passed_line in zip(typed_lines, passed_lines, strict=True)
    )
