"""Which notebook, which cell, and what the user typed into it.

Knows what front ends tell a kernel, in the environment, in the namespace and in the
metadata of execute requests. Refuses to guess: where nobody tells the notebook, its
chats belong to the running kernel and to nobody else.

Sources, each seen in a running front end unless noted:

* JupyterLab 4.6 and Notebook 7.6 (jupyter_server 2.21): ``JPY_SESSION_NAME`` is the
  absolute path of the notebook, also for a new one, and is told anew when a kernel
  restarts after a rename. In a console it is a path that ends in ``Console 1``. Older
  servers give a path relative to a root that the kernel is not told, or a UUID.
  Processes below a kernel inherit it: see ``session_name``.
* Execute requests of both carry ``cellId`` and ``deletedCells`` (cells deleted since
  the last request, each told once) in their metadata.
* VS Code (its sources, not seen): ``__vsc_ipynb_file__`` in the namespace, which for
  an unsaved notebook is a path that does not exist (``Untitled-1.ipynb``).
  In requests ``cellId`` is the address of a document with a number in it (a letter
  for its length, digits to the base 7, ``s``, the scheme in base 64):
  ``vscode-notebook-cell:/home/ann/a.ipynb#W0sZmlsZQ%3D%3D``. At each opening of the
  notebook cells are numbered anew; ``header.session`` is another one then, and stays
  when the kernel restarts.
* Colab (not seen): ``metadata.colab.cell_id``.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ollama_magic.history.identity import CellWithoutId
from ollama_magic.history.notebook_path import FindCell
from ollama_magic.notebook.output_mode import output_mode
from ollama_magic.notebook.shell_events import harmless_handler, unregister_all
from ollama_magic.render.output import OutputMode

if TYPE_CHECKING:
    from ollama_magic.generation.prompt import CellPrompt

_MAGIC = "%%ollama"
_LINE_MAGIC = re.compile(r"\s*(?:[\w.,\s]+=\s*)?%ollama(?:\s|$)")
_VSCODE_CELL = "vscode-notebook-cell:"
_HANDLE = re.compile(r"[W-Za-z]+([0-6]+)s")  # digits to the base 7, then the scheme


class CellTracker:
    """Knows the cell that is running, as far as the front end tells.

    Parameters
    ----------
    shell
        The IPython shell, on whose events it registers.
    """

    def __init__(self, shell: Any) -> None:  # noqa: ANN401
        self.raw_cell = ""
        """The running cell as it was typed; empty when no cell is running."""
        self._shell = shell
        self._told_id: object = None
        self._find: FindCell = _by_address
        self._found: tuple[object, str | None] = (None, None)
        self._deleted: set[str] = set()
        self._heard_of_deleted: str | None = None
        self._turns_kept: tuple[object, int] = (None, 0)
        self._is_output_claimed = False
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)

    @property
    def cell_id(self) -> str | None:
        """The id of the running cell; None where nothing tells it.

        Where the front end gives no id that lasts, the session finds the cell in the
        saved notebook; in one run the answer stays the same, whatever is saved by then.

        A cell that asks several times in one run has an id for each of its turns:
        the second is ``ID 2``. Cell ids themselves have no blanks.
        """
        parent = self._execute_request()
        cell_id = self.told_id or self._found_id(parent)
        number = self._number_of_turns_kept(parent)
        return f"{cell_id} {number + 1}" if cell_id and number else cell_id

    @property
    def told_id(self) -> str | None:
        """The id that the front end gave; None where it gave none that lasts."""
        told = self._told(self._execute_request())
        return None if _is_address(told) else told

    @property
    def is_told(self) -> bool:
        """Whether the front end tells which cell runs, in any way."""
        return self._told(self._execute_request()) is not None

    def find_with(self, find: FindCell) -> None:
        """Use a function that returns the id of a cell that has no id that lasts."""
        self._find = find

    def _told(self, parent: Mapping[str, Any]) -> str | None:
        return _cell_id(_mapping(parent.get("metadata"))) or _text(self._told_id)

    def _found_id(self, parent: Mapping[str, Any]) -> str | None:
        told = self._told(parent) or ""
        session = _text(_mapping(parent.get("header")).get("session")) if told else ""
        cell = CellWithoutId(self.raw_cell, session or "", _handle(told))
        if not (cell.source or cell.address):
            return None
        run = (_message_id(parent), cell)
        if run[0] is None or self._found[0] != run:
            self._found = (run, self._find(cell))
        return self._found[1]

    @property
    def somebody_is_there(self) -> bool:
        """Whether a person can answer; nbclient says that there is none.

        A kernel that does not pass this on, such as xeus-python, may have one.
        """
        content = _mapping(self._execute_request().get("content"))
        return bool(content.get("allow_stdin", True))

    @property
    def deleted_cells(self) -> tuple[str, ...]:
        """Ids of cells that the front end has reported deleted, with any request.

        Each is reported once, so they are collected until :meth:`forget_deleted`.
        """
        self._hear_of_deleted()
        return tuple(sorted(self._deleted))

    def claim_output(self) -> OutputMode:
        """Return how the next output of the running cell is to be shown.

        Only the first one to claim can have the output of the cell to itself.
        """
        request = self._execute_request()
        code = _mapping(request.get("content")).get("code", self.raw_cell)
        # A cell that `run_cell` or `%run` runs within another shares its output.
        owns_it = code == self.raw_cell and owns_output(self.raw_cell)
        is_first, self._is_output_claimed = not self._is_output_claimed, True
        return output_mode(self._shell, request, owns_output=owns_it and is_first)

    def prompts_in(self, source: str) -> Iterable[CellPrompt]:
        """Return the prompts that the source of a cell shows."""
        from ollama_magic.notebook.cli.cell_prompts import prompts_in

        return prompts_in(source)

    def forget_deleted(self) -> None:
        """Note that the turns of deleted cells are gone."""
        self._deleted.clear()

    def _hear_of_deleted(self) -> None:
        parent = self._execute_request()
        deleted = _mapping(parent.get("metadata")).get("deletedCells")
        if isinstance(deleted, list) and self._heard_of_deleted != _message_id(parent):
            self._heard_of_deleted = _message_id(parent)
            self._deleted |= {c for c in deleted if isinstance(c, str) and c}

    def turn_kept(self) -> None:
        """Note that the running cell has left a turn: its next one is another."""
        parent = self._execute_request()
        number = self._number_of_turns_kept(parent)
        self._turns_kept = (_message_id(parent), number + 1)

    def unregister(self) -> None:
        """Take the event handlers back; harmless a second time."""
        unregister_all(self._shell, self)

    @harmless_handler
    def _before_cell(self, info: Any) -> None:  # noqa: ANN401
        self.raw_cell = info.raw_cell or ""
        self._is_output_claimed = False
        self._told_id = getattr(info, "cell_id", None)
        self._hear_of_deleted()
        self._deleted.discard(self.told_id or "")  # cut, and pasted elsewhere
        if _message_id(self._execute_request()) is None:
            self._turns_kept = (None, 0)  # no request tells one run from the next

    @harmless_handler
    def _after_cell(self, _result: object) -> None:
        # What runs from now on, such as a widget's callback, is no cell. After a
        # cell that a cell ran, the outer one is not taken up again: not known is safe.
        self.raw_cell = ""
        self._told_id = None

    def _execute_request(self) -> Mapping[str, Any]:
        return _request_of(getattr(self._shell, "kernel", None))

    def _number_of_turns_kept(self, parent: Mapping[str, Any]) -> int:
        message_id, number = self._turns_kept
        return number if message_id == _message_id(parent) else 0


def _by_address(cell: CellWithoutId) -> str | None:
    return cell.address or None


def _is_address(cell_id: str | None) -> bool:
    return cell_id is not None and cell_id.startswith(_VSCODE_CELL)


def _handle(address: str) -> str:
    """Return VS Code's name for a cell within one opening of its notebook.

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


def magic_body(raw_cell: str, line: str, cell: str) -> str:
    """Return the body of ``%%ollama`` as it was typed.

    IPython takes ``>>> ``, ``... `` and ``In [1]: `` away anywhere in a cell. They come
    from ``raw_cell``, when that cell is this very magic; else ``cell`` is returned
    (``run_cell_magic``, functions, scripts, other magics around it).

    Parameters
    ----------
    raw_cell
        The running cell as it was typed.
    line
        What stands behind ``%%ollama``, as IPython gives it.
    cell
        The body, as IPython gives it.
    """
    first, _, body = _dedented(raw_cell).partition("\n")
    is_this = first.startswith(_MAGIC) and first[len(_MAGIC) :].strip() == line.strip()
    return body if is_this and _could_become(body, cell) else cell


def owns_output(raw_cell: str) -> bool:
    """Tell whether everything that the cell puts out comes from this magic.

    That is so for ``%%ollama``, and for a cell whose only statement is a ``%ollama``
    line, also where its value is assigned.
    """
    if _is_cell_magic(raw_cell):
        return True
    lines = _first_lines(raw_cell)
    return len(lines) == 1 and _LINE_MAGIC.match(lines[0]) is not None


def shows_itself(raw_cell: str) -> bool:
    """Tell whether IPython would show the magic's value below what it has shown.

    It does so for a value that ends a cell: of ``%%ollama``, or of ``%ollama`` as the
    last line. Where the value is assigned, or a function asked, it is wanted.
    """
    last = raw_cell.rstrip().rpartition("\n")[2]
    return _is_cell_magic(raw_cell) or last.startswith("%ollama")


def _is_cell_magic(raw_cell: str) -> bool:
    first, _, _ = _dedented(raw_cell).partition("\n")
    return re.match(rf"{_MAGIC}(\s|$)", first) is not None


def _first_lines(raw_cell: str) -> list[str]:
    """Return lines that are no comment, blank, or continuation of the line before."""
    found, is_continued = [], False
    for line in raw_cell.splitlines():
        if not is_continued:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            found.append(line)
        is_continued = line.endswith("\\")
    return found


def _dedented(raw_cell: str) -> str:
    """Drop blank lines in front, and the indent of the whole cell, as IPython does."""
    text = re.sub(r"\A(?:[^\S\n]*\n)+", "", raw_cell)
    return textwrap.dedent(text) if text[:1] in {" ", "\t"} else text


def _could_become(typed: str, given: str) -> bool:
    """Tell whether IPython can have made ``given`` of ``typed``.

    It takes away only from the beginnings of lines.
    """
    typed_lines, given_lines = typed.splitlines(), given.splitlines()
    return len(typed_lines) == len(given_lines) and all(
        typed_line.endswith(given_line)
        for typed_line, given_line in zip(typed_lines, given_lines, strict=True)
    )


def _cell_id(metadata: Mapping[str, Any]) -> str | None:
    colab_id = _mapping(metadata.get("colab")).get("cell_id")
    return _text(metadata.get("cellId")) or _text(colab_id)


def _request_of(kernel: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Return the request that a kernel works on; empty where it does not tell.

    ``get_parent`` takes a channel in ipykernel, and nothing in xeus-python.
    """
    for arguments in (("shell",), ()):
        with suppress(Exception):  # a kernel that is not ours may raise anything
            return _mapping(kernel.get_parent(*arguments))
    return {}


def _message_id(parent: Mapping[str, Any]) -> str | None:
    return _text(_mapping(parent.get("header")).get("msg_id"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
