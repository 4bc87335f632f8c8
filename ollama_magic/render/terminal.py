"""A reply in a terminal: text as it comes, once, with no way to steer the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ollama_magic.render.reply import call_lines, tool_steps
from ollama_magic.render.text import visible_text

DIM, NORMAL = "\x1b[2m", "\x1b[0m"


class TerminalDisplay:
    """Shows one reply as plain text.

    Parameters
    ----------
    write
        ``sys.stdout.write``, or what stands in for it.
    is_tty
        Whether a line can be rewritten and dimmed; a file or a pipe gets plain text
        and nothing else. None asks ``sys.stdout``.
    """

    def __init__(
        self, write: Callable[[str], Any], *, is_tty: bool | None = None
    ) -> None:
        self._write = write
        self._is_tty = sys.stdout.isatty() if is_tty is None else is_tty
        self._dim, self._normal = (DIM, NORMAL) if self._is_tty else ("", "")
        self._waiting = ""
        self._is_thinking = False
        self._shown = ""
        self._calls_ended = 0
        self._lines_of_call = 0  # of the first call that has not ended
        self._unended = ""  # a carriage return that may be half of a line's end

    def waiting(self, text: str) -> None:
        """Show on one line that nothing has come yet, and why."""
        text = visible_text(text)
        if self._is_tty and text != self._waiting:
            self._write("\r" + text.ljust(len(self._waiting)))
            self._waiting = text

    def feed(self, content: str, thinking: str = "") -> None:
        """Write what came."""
        if content or thinking:
            self._end_waiting()
        if thinking:
            if not self._is_thinking:
                self._write(self._dim)
                self._is_thinking = True
            self._write(visible_text(thinking))
        if content:
            self._end_thinking()
            content = self._unended + content
            self._unended = "\r" if content.endswith("\r") else ""
            text = visible_text(content.removesuffix("\r"))
            self._shown += text
            self._write(text)

    def finish(
        self,
        data: Mapping[str, str],
        metadata: Mapping[str, Any],
        footer: Sequence[str] = (),
    ) -> None:
        """Write what the complete reply has beyond what was written, and the footer."""
        self._end_waiting()
        self._end_thinking()
        whole = visible_text(data.get("text/plain", ""))
        self._write(whole.removeprefix(self._shown) + "\n")
        if footer:
            line = visible_text(" · ".join(footer))
            self._write(f"{self._dim}{line}{self._normal}\n")

    def again(self, steps: Sequence[Mapping[str, Any]] = ()) -> None:
        """End what was written and write the steps that are new; an answer follows."""
        self._end_waiting()
        self._end_thinking()
        for call in tool_steps(steps)[self._calls_ended :]:
            lines = call_lines(call)
            for line in lines[self._lines_of_call :]:
                self._write(f"{self._dim}{line}{self._normal}\n")
            has_ended = call.result is not None
            self._calls_ended += has_ended
            self._lines_of_call = 0 if has_ended else len(lines)
            if not has_ended:
                break
        if not steps:
            self._write("\n\n")
        self._shown = self._unended = ""

    def discard(self) -> None:
        """Take away the line that says what is waited for."""
        self._end_waiting()
        self._end_thinking()

    def _end_waiting(self) -> None:
        if self._waiting:
            self._write("\r" + " " * len(self._waiting) + "\r")
            self._waiting = ""

    def _end_thinking(self) -> None:
        if self._is_thinking:
            self._write(f"{self._normal}\n\n")
            self._is_thinking = False
