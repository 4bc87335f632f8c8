"""A progress line, updated in place: in a notebook, or in a terminal.

Pulls, creations and ``map_prompts`` report to it: a text, and the share that is done if
it is known.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from ollama_magic.render.output import FinalOutput, LiveOutput, OutputMode
from ollama_magic.render.safe_html import page_html
from ollama_magic.render.sources import link_html
from ollama_magic.render.text import escaped, one_line
from ollama_magic.render.theme import BAR, BAR_REST

_INTERVAL_S = 0.2
_BAR_WIDTH_EM = 14


class ProgressLine(Protocol):
    """Shows progress."""

    def offer(self, title: str, url: str) -> None:
        """Show a link to open, until the final state takes its place."""

    def show(self, text: str, share: float | None = None) -> None:
        """Show the current state, if an update is due."""

    def finish(self, text: str) -> None:
        """Show the final state."""


class NotebookProgress:
    """A progress line as one output of the cell.

    Parameters
    ----------
    publish, clear_output
        Those of ``shell.display_pub``.
    mode
        What is shown live, and how the final state replaces it.
    """

    def __init__(
        self,
        publish: Callable[..., Any],
        clear_output: Callable[..., Any],
        *,
        mode: OutputMode,
    ) -> None:
        self._is_live = mode != "once"
        self._output = LiveOutput(publish)
        self._final = FinalOutput(publish, clear_output, mode=mode)
        self._shown_at = float("-inf")
        self._link = ("", "")

    def offer(self, title: str, url: str) -> None:
        """Show a link above the line."""
        self._link = (title, url)

    def show(self, text: str, share: float | None = None) -> None:
        """Show the current state, at most five times a second."""
        now = time.monotonic()
        if self._is_live and now - self._shown_at >= _INTERVAL_S:
            self._shown_at = now
            self._output.publish(_bundle(text, share, *self._link), {})

    def finish(self, text: str) -> None:
        """Replace the line by the final state."""
        self._final.finish(self._output, _bundle(text), {})


def _bundle(
    text: str, share: float | None = None, title: str = "", url: str = ""
) -> dict[str, str]:
    text = one_line(text)
    page = _line_html(text, share)
    if not url:
        return {"text/html": page, "text/plain": text}
    return {
        "text/html": link_html(title, url) + page,
        "text/plain": f"{title}: {url}\n{text}",
    }


def _line_html(text: str, share: float | None) -> str:
    # Constant markup around escaped text: statuses come from the server.
    bar = "" if share is None else bar_html(share)
    return page_html(f"<div>{bar}{escaped(text)}</div>")


def bar_html(share: float) -> str:
    """Return a bar that is full up to a share from 0 to 1."""
    return (
        f'<span style="display:inline-block;width:{_BAR_WIDTH_EM}em;height:.6em;'
        f'margin-right:.8em;background:{BAR_REST}">'
        f'<span style="display:block;width:{share:.1%};height:100%;'
        f'background:{BAR}"></span></span>'
    )


class TerminalProgress:
    """A progress line in a terminal, rewritten in place.

    Parameters
    ----------
    write
        ``sys.stdout.write`` or a replacement.
    is_tty
        Whether the line can be rewritten; files and pipes get the final state only.
        None asks ``sys.stdout``.
    """

    def __init__(
        self, write: Callable[[str], Any], *, is_tty: bool | None = None
    ) -> None:
        self._write = write
        self._is_tty = sys.stdout.isatty() if is_tty is None else is_tty
        self._shown = ""

    def offer(self, title: str, url: str) -> None:
        """Print the address on a line of its own: one that wraps stays a link."""
        self._write(f"{one_line(title)}:\n{one_line(url)}\n")

    def show(self, text: str, share: float | None = None) -> None:
        """Rewrite the line if it changed."""
        line = one_line(text)
        line = line if share is None else f"{share:4.0%}  {line}"
        # A line that wraps cannot be rewritten: each state would add a line.
        self._rewrite(line[: shutil.get_terminal_size().columns - 1])

    def _rewrite(self, line: str) -> None:
        if self._is_tty and line != self._shown:
            self._write("\r" + line.ljust(len(self._shown)))
            self._shown = line

    def finish(self, text: str) -> None:
        """Rewrite the line and end it."""
        self._rewrite(one_line(text))
        self._write("\n" if self._is_tty else f"{one_line(text)}\n")
