"""Replies of several models in a terminal: one after the other, as each is complete."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ollama_magic.render.columns import Column, footer_line, one_line, text_parts
from ollama_magic.render.terminal import DIM, NORMAL, TerminalDisplay


class TerminalColumns:
    """Shows several replies as plain text, and one line while it waits.

    Parameters
    ----------
    write
        ``sys.stdout.write``, or what stands in for it.
    is_tty
        Whether a line can be rewritten and dimmed. None asks ``sys.stdout``.
    clock
        Seconds, never going back.
    """

    def __init__(
        self,
        write: Callable[[str], Any],
        *,
        is_tty: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        is_tty = sys.stdout.isatty() if is_tty is None else is_tty
        self._dim, self._normal = (DIM, NORMAL) if is_tty else ("", "")
        self._line = TerminalDisplay(write, is_tty=is_tty)
        self._clock = clock
        self._began_s = 0.0
        self._under_way: dict[int, str] = {}

    def waiting(self, text: str) -> None:
        """Say what is done before anybody is asked."""
        self._line.waiting(text)

    def begin(self, names: Sequence[str]) -> None:
        """Note who is waited for."""
        self._under_way = dict(enumerate(map(one_line, names)))
        self._began_s = self._clock()

    def waits(self, number: int, text: str) -> None:
        """Show nothing: one line tells of all that are waited for."""

    def feed(self, number: int, content: str, thinking: str = "") -> None:
        """Show nothing: two texts that grow at once can't be read."""

    def complete(self, number: int, column: Column) -> None:
        """Write one reply under its heading."""
        self._under_way.pop(number, None)
        self._line.discard()
        self._write("\n\n".join(text_parts(column)) + "\n")
        for line in footer_line(column):
            self._write(f"{self._dim}{line}{self._normal}\n")
        self._write("\n")

    def tick(self) -> None:
        """Show on one line who is waited for."""
        if self._under_way:
            names = ", ".join(self._under_way.values())
            seconds = self._clock() - self._began_s
            self._line.waiting(f"waiting for {names}… {seconds:.0f} s")

    def finish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """End the line that waits: all is written."""
        self._line.discard()

    def discard(self) -> None:
        """Take away the line that says what is waited for."""
        self._line.discard()
