"""How a subcommand of ``%ollama`` is declared, and what it is given when it runs.

Each module of this package declares the subcommands of one task beside the functions
that run them. The parser, the help and Tab completion read these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ollama_magic.errors import ConfigError
from ollama_magic.generation.options import (
    CHAT_OPTIONS,
    ChatOptions,
    Completes,
    Option,
    switch,
)

if TYPE_CHECKING:
    from ollama_magic.generation.compare import Comparison
    from ollama_magic.generation.decisions import Decision
    from ollama_magic.generation.reply import Reply
    from ollama_magic.generation.session import Session
    from ollama_magic.history.turns import Turn
    from ollama_magic.notebook.failures import FailingCells
    from ollama_magic.render.output import ProgressLine
    from ollama_magic.widgets.parts import SavedAsTable


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """A line of ``%ollama`` as typed values.

    ``name`` is never an alias, and ``status`` for an empty line.
    """

    name: str
    arguments: tuple[str, ...] = ()
    """The operands; as many as the declaration allows."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The values of its options by field name: ``{"yes": True}``."""
    text: str = ""
    """The free text of ``ask`` as it was typed; the range of ``explain``."""
    chat_arguments: ChatOptions = field(default_factory=ChatOptions)
    """The options of a subcommand that asks a model."""


class Context(Protocol):
    """The part of the magics that subcommands use: session, questions, output."""

    @property
    def session(self) -> Session:
        """The state of this kernel."""

    @property
    def failing_cells(self) -> FailingCells:
        """The cells that failed."""

    def ask(
        self,
        args: ChatOptions,
        text: str,
        notes: tuple[str, ...] = (),
        begun: Turn | None = None,
    ) -> Reply | Comparison | Decision | None:
        """Ask a model as a cell does; see ``generation.run.ask``."""

    def show_reply(self, reply: Reply) -> None:
        """Show a reply, as in the cell that requested it."""

    def unless_shown(self, reply: Reply | Comparison | Decision | None) -> object:
        """Return the reply, or None where IPython would show it a second time."""

    def progress_line(self) -> ProgressLine:
        """Open a line of progress."""

    def widget(self, widget: SavedAsTable) -> object:
        """Return the widget, or its table where widgets can't be shown."""

    def confirm(self, question: str) -> bool | None:
        """Ask the user; None if no user can answer."""


Run = Callable[[Context, ParsedCommand], object]
"""Runs a subcommand and returns what is shown: a text, an object, or None."""


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand.

    Parameters
    ----------
    name
        Ollama's own word, where it has one.
    run
        The function that runs it.
    operands
        What follows the name: ``MODEL…`` is one or more, ``[NAME]`` is optional.
    aliases
        Other names for it.
    options
        Its options; at most one switch may be given that says what to do, such as
        ``--all``; others say how: ``-y``, ``--force``, ``--insecure``, ``-v``.
    takes_text
        Everything after the options is free text.
    completes
        What Tab offers for the first operand, or for all of ``MODEL…``.
    discards
        It deletes something: a mistyped word is never corrected to it.
    """

    name: str
    run: Run
    operands: str = ""
    aliases: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    takes_text: bool = False
    completes: Completes = ""
    discards: bool = False

    @property
    def least(self) -> int:
        """How many operands must be given."""
        return len([word for word in self.operands.split() if word[0] != "["])

    @property
    def most(self) -> int | None:
        """How many operands may be given; None for any number."""
        is_open = self.takes_text or "…" in self.operands
        return None if is_open else len(self.operands.split())

    @property
    def asks(self) -> bool:
        """Whether it asks a model: then it has the options of ``%%ollama``."""
        return self.options is CHAT_OPTIONS

    @property
    def usage(self) -> str:
        """The line that the help shows: ``rm MODEL… [-y]``."""
        if self.asks:
            return f"{self.name} [options] {self.operands}".rstrip()
        parts = [self.name, self.operands]
        if self.options:
            flags = [f"{one.flags[0]} {one.metavar}".rstrip() for one in self.options]
            parts.append(f"[{'|'.join(flags)}]")
        return " ".join(filter(None, parts))


class Commands(list[Command]):
    """The subcommands of one task, in the order of the help."""

    def add(self, name: str, **facts: Any) -> Callable[[Run], Run]:  # noqa: ANN401  (checked by Command)
        """Declare the decorated function as a subcommand; see :class:`Command`."""

        def declare(run: Run) -> Run:
            self.append(Command(name, run, **facts))
            return run

        return declare


YES = switch("yes", "-y", "--yes", discards=True)


def options_of(*fields: str) -> tuple[Option, ...]:
    """Return the options of ``%%ollama`` that set these fields."""
    return tuple(option for option in CHAT_OPTIONS if option.field in fields)


def is_confirmed(
    context: Context, line: ParsedCommand, question: str, not_done: str, command: str
) -> bool:
    """Return whether the user agrees, by ``-y`` or by answering.

    Parameters
    ----------
    question
        What is about to happen, and whether it can be undone.
    not_done
        The error if no user can answer.
    command
        The same command with ``-y``.

    Raises
    ------
    ConfigError
        Nobody can answer, and ``-y`` was not given.
    """
    if "yes" in line.values:
        return True
    answer = context.confirm(question)
    if answer is None:
        raise ConfigError(
            not_done,
            why="this needs your confirmation, and this run is not interactive",
            next_step=command,
        )
    return answer
