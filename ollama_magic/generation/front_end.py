"""What a session needs of the front end: the running cell, and a place for replies.

In a notebook these are ``notebook.running_cell`` and a display of ``render``; in a
script, :class:`NoCells` and :class:`NoDisplay` replace them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ollama_magic.history.notebooks import FindCell
from ollama_magic.history.turns import Message
from ollama_magic.render.output import OutputMode
from ollama_magic.render.reply import ReplyView


class Cells(Protocol):
    """The running cell, as the front end describes it."""

    @property
    def raw_cell(self) -> str:
        """The source of the cell; empty if no cell is running."""

    @property
    def cell_id(self) -> str | None:
        """The id of the cell, or None."""

    @property
    def permanent_id(self) -> str | None:
        """The id from the front end, if it is permanent."""

    @property
    def is_identified(self) -> bool:
        """Whether the front end identifies the cell in any way."""

    @property
    def is_in_notebook(self) -> bool:
        """Whether JupyterLab sent it from a notebook, and not from a console."""

    def find_with(self, find: FindCell) -> None:
        """Set the function that finds the id of a cell without a permanent one."""

    @property
    def sent_together(self) -> tuple[str, tuple[str, ...]]:
        """When the cell was sent, and the ids of those sent together and before it."""

    @property
    def is_interactive(self) -> bool:
        """Whether a user can answer a question."""

    @property
    def deleted_cells(self) -> tuple[str, ...]:
        """The ids of deleted cells."""

    def forget_deleted(self) -> None:
        """Forget the deleted cells: their turns are removed."""

    def count_turn(self) -> None:
        """Count a turn of the running cell."""

    def claim_output(self) -> OutputMode:
        """Return how to show the next output of the running cell."""

    def put_below(self, source: str) -> str:
        """Put code into a cell below; return where it is, empty if there is no cell."""


@dataclass(frozen=True)
class NoCells:
    """Replaces the cells in a script."""

    raw_cell: str = ""
    cell_id: str | None = None
    is_identified: bool = False
    is_in_notebook: bool = False
    permanent_id: str | None = None
    sent_together: tuple[str, tuple[str, ...]] = ("", ())
    is_interactive: bool = True
    deleted_cells: tuple[str, ...] = ()

    def find_with(self, find: FindCell) -> None:
        """Do nothing."""

    def forget_deleted(self) -> None:
        """Do nothing."""

    def count_turn(self) -> None:
        """Do nothing."""

    def claim_output(self) -> OutputMode:
        """Return the mode that needs no front end."""
        return "once"

    def put_below(self, source: str) -> str:
        """Return that there is no cell below."""
        return ""


# -- the display -----------------------------------------------------------------------


class ReplyDisplay(Protocol):
    """Where a reply is shown while it streams and when it is complete."""

    def waiting(self, text: str) -> None:
        """Show why there is nothing to see yet."""

    def feed(self, content: str, thinking: str = "") -> None:
        """Show new text and thinking, maybe none; redraw what is due."""

    def finish_reply(self, view: ReplyView, metadata: Mapping[str, Any]) -> None:
        """Show the complete reply as the one output."""

    def finish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """Show another bundle as the one output."""

    def discard(self) -> None:
        """Remove what was shown: an error takes its place."""

    def again(self, steps: Sequence[Message] = ()) -> bool:
        """Start over: what was shown is not the reply, and another response follows.

        Parameters
        ----------
        steps
            The tool calls so far, which stay visible; see ``Turn.steps``.

        Returns
        -------
        bool
            Whether they are visible now, and not only with the complete reply.
        """


class NoDisplay:
    """Shows nothing: the caller gets the reply."""

    def waiting(self, text: str) -> None:
        """Show nothing."""

    def feed(self, content: str, thinking: str = "") -> None:
        """Show nothing."""

    def finish_reply(self, view: ReplyView, metadata: Mapping[str, Any]) -> None:
        """Show nothing."""

    def finish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """Show nothing."""

    def discard(self) -> None:
        """Show nothing."""

    def again(self, steps: Sequence[Message] = ()) -> bool:
        """Show nothing."""
        return False
