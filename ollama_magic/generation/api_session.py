"""Who asks when Python does: the notebook's session, or one of the script's own.

Knows where the session of a loaded extension is, and what stands in for a notebook
where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from IPython.core.getipython import get_ipython

from ollama_magic.generation.prompt import CellPrompt
from ollama_magic.generation.session import Session
from ollama_magic.history.notebook_path import FindCell
from ollama_magic.render.output import OutputMode

_KEY = "ollama_magic"


@dataclass
class Defaults:
    """The settings of a script: the defaults of ``%config OllamaMagics``."""

    host: str = ""
    model: str = ""
    system: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    keep_alive: str = ""
    think: bool | str | None = None
    format: str = "markdown"
    footer: bool = True
    cached: bool = False
    tool_rounds: int = 8
    history_file: str = ""
    notebook: str = ""
    update_hz: float = 10.0
    timeout: float = 300.0
    insecure_hosts: list[str] = field(default_factory=list)


@dataclass
class _Shell:
    """What a session asks of a shell, where there is none."""

    user_ns: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _NoCells:
    """What a session asks about cells, where there are none."""

    raw_cell: str = ""
    cell_id: str | None = None
    is_told: bool = False
    told_id: str | None = None
    somebody_is_there: bool = True
    deleted_cells: tuple[str, ...] = ()

    def find_with(self, find: FindCell) -> None:
        """Find nothing: there is no cell."""

    def forget_deleted(self) -> None:
        """Forget nothing."""

    def turn_kept(self) -> None:
        """Note nothing: no cell has asked."""

    def claim_output(self) -> OutputMode:
        """Return the way that needs nothing of a front end."""
        return "once"

    def prompts_in(self, source: str) -> Iterable[CellPrompt]:
        """Return nothing: no cell is known here."""
        return ()


def current_session() -> Session:
    """Return the session of this notebook where the extension is loaded.

    Elsewhere one of this process: settings are the defaults, and the environment says
    which server and model; its chats last as long as the process unless they are named.
    """
    shell = get_ipython()
    magics = shell.meta.get(_KEY) if shell is not None else None
    session: Session = magics.session if magics is not None else _of_this_process()
    return session


def close_own_session() -> None:
    """Close the session of this process, if there is one; the next call makes another.

    For long-lived programs, and for tests.
    """
    if _of_this_process.cache_info().currsize:
        _of_this_process().close()
        _of_this_process.cache_clear()


@cache
def _of_this_process() -> Session:
    return Session(_Shell(), Defaults(), _NoCells())
