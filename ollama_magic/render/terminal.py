"""A reply in a terminal: plain text, printed as it streams.

The magics use it where there is no kernel. Text is printed once and not rewritten; no
control character reaches the terminal except those written here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ollama_magic.render.reply import (
    ReplyView,
    call_lines,
    plain_footer,
    reply_plain,
    tool_steps,
)
from ollama_magic.render.sources import sources_lines
from ollama_magic.render.text import VisiblePieces, visible_text

DIM, NORMAL = "\x1b[2m", "\x1b[0m"


def dim_marks(is_tty: bool) -> tuple[str, str]:
    """Return what begins and ends dim text; nothing where styles are not wanted."""
    return (DIM, NORMAL) if is_tty and not os.environ.get("NO_COLOR") else ("", "")


class TerminalDisplay:
    """Shows one reply as plain text.

    Parameters
    ----------
    write
        ``sys.stdout.write`` or a replacement.
    is_tty
        Whether a line can be rewritten and dimmed; files and pipes get plain text
        only. None asks ``sys.stdout``. With ``NO_COLOR``, nothing is dimmed.
    """

    def __init__(
        self, write: Callable[[str], Any], *, is_tty: bool | None = None
    ) -> None:
        self._write = write
        self._is_tty = sys.stdout.isatty() if is_tty is None else is_tty
        self._dim, self._normal = dim_marks(self._is_tty)
        self._waiting = ""
        self._is_thinking = False
        self._shown = ""
        self._calls_printed = 0
        self._lines_of_call = 0  # printed lines of the call that is running
        self._pieces, self._thoughts = VisiblePieces(), VisiblePieces()

    def waiting(self, text: str) -> None:
        """Show on the status line why nothing has arrived yet."""
        text = visible_text(text)
        if self._is_tty and text != self._waiting:
            self._write("\r" + text.ljust(len(self._waiting)))
            self._waiting = text

    def feed(self, content: str, thinking: str = "") -> None:
        """Print new text."""
        if content or thinking:
            self._end_waiting()
        if thinking:
            if not self._is_thinking:
                self._write(self._dim)
                self._is_thinking = True
            self._write(self._thoughts.add(thinking))
        if content:
            self._end_thinking()
            text = self._pieces.add(content)
            self._shown += text
            self._write(text)

    def finish(
        self,
        data: Mapping[str, str],
        metadata: Mapping[str, Any],
        footer: Sequence[str] = (),
    ) -> None:
        """Print the rest of the complete reply, and the footer."""
        self._end_waiting()
        self._end_thinking()
        whole = visible_text(data.get("text/plain", ""))
        self._write(whole.removeprefix(self._shown) + "\n")
        if footer:
            line = visible_text(" · ".join(footer))
            self._write(f"{self._dim}{line}{self._normal}\n")

    def finish_reply(self, view: ReplyView, metadata: Mapping[str, Any]) -> None:
        """Print the rest of a complete reply, and its footer."""
        plain = reply_plain(view)
        if view.steps and (sources := sources_lines(view.steps)):
            plain = "\n\n".join([*filter(None, [plain]), "\n".join(sources)])
        self.finish({"text/plain": plain}, metadata, plain_footer(view))

    def again(self, steps: Sequence[Mapping[str, Any]] = ()) -> bool:
        """Print the new steps, and return True; the next answer follows."""
        self._end_waiting()
        self._end_thinking()
        for call in tool_steps(steps)[self._calls_printed :]:
            lines = call_lines(call)
            for line in lines[self._lines_of_call :]:
                self._write(f"{self._dim}{line}{self._normal}\n")
            has_ended = call.result is not None
            self._calls_printed += has_ended
            self._lines_of_call = 0 if has_ended else len(lines)
            if not has_ended:
                break
        if not steps:
            self._write("\n\n")
        self._shown, self._pieces = "", VisiblePieces()
        return True

    def discard(self) -> None:
        """Remove the status line."""
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
