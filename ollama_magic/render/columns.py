"""Replies of several models side by side: complete, while they stream, in a terminal.

``generation`` shows comparisons with this module. The columns are one output, and only
those that changed are converted again. In a terminal each reply is printed once, when
it is complete: two texts that grow at the same time can't be read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_magic.render.reply import ReplyView, plain_footer, reply_bundle, reply_plain
from ollama_magic.render.safe_html import note_html, page_html
from ollama_magic.render.streaming import (
    THINKING_INTERVAL_S,
    LiveDisplay,
    LiveReply,
    Throttle,
)
from ollama_magic.render.terminal import TerminalDisplay, dim_marks
from ollama_magic.render.text import escaped, one_line, visible_text
from ollama_magic.render.theme import BORDER, with_style

_GRID = (
    "display:grid;gap:1em 1.5em;"
    "grid-template-columns:repeat(auto-fit,minmax(min(18em,100%),1fr))"
)
# NB: without min-width a column is as wide as the longest line of its code.
_COLUMN = "min-width:0;overflow-x:auto"
_HEADING = (
    f"border-bottom:1px solid {BORDER};margin:.4em 0 .6em;"
    "overflow-wrap:anywhere;padding-bottom:.3em"
)
_NOTE = "margin-top:.8em"


@dataclass(frozen=True)
class Column:
    """One model's column: its heading and its reply."""

    name: str
    """The heading: the model."""
    view: ReplyView


def columns_bundle(columns: Sequence[Column], note: str = "") -> dict[str, str]:
    """Return ``text/html`` and ``text/plain`` of complete columns.

    Parameters
    ----------
    note
        A small line under all columns.
    """
    page = grid_html((column.name, _column_html(column)) for column in columns)
    texts = [
        part for one in columns for part in (*_text_parts(one), *_footer_lines(one))
    ]
    if note:
        page += f'<div style="{_NOTE}">{note_html(note)}</div>'
        texts.append(visible_text(note))
    return {"text/html": with_style(page), "text/plain": "\n\n".join(texts)}


def grid_html(columns: Iterable[tuple[str, str]]) -> str:
    """Return columns side by side, or stacked if the page is narrow.

    Parameters
    ----------
    columns
        The heading of each, and its safe HTML.
    """
    cells = [
        f'<div style="{_COLUMN}">{_heading_html(name)}{safe}</div>'
        for name, safe in columns
    ]
    return f'<div style="{_GRID}">{"".join(cells)}</div>'


def _column_html(column: Column) -> str:
    """Return a complete column without its heading."""
    return reply_bundle(column.view)["text/html"]


def _text_parts(column: Column) -> list[str]:
    """Return the heading and the answer of a column as text."""
    answer = reply_plain(column.view).strip("\n")
    heading = f"## {one_line(column.name)}"
    return [heading, answer] if answer else [heading]


def _footer_lines(column: Column) -> list[str]:
    """Return the footer as a list of one line; empty if the footer is off."""
    line = " · ".join(plain_footer(column.view))
    return [visible_text(line)] if line else []


def _heading_html(name: str) -> str:
    return page_html(f'<h4 style="{_HEADING}">{escaped(one_line(name))}</h4>')


class ColumnsDisplay(LiveDisplay):
    """Shows several replies in one cell, as columns of one output."""

    _columns: Sequence[_LiveColumn] = ()

    def waiting(self, text: str) -> None:
        """Show what happens before the requests are sent."""
        if self._is_live:
            self._output.show(note_html(text), visible_text(text))

    def begin(self, names: Sequence[str]) -> None:
        """Open a column for each model; later calls refer to it by its index."""
        self._throttle = Throttle(self._hz, self._clock, replies=len(names))
        self._columns = [_LiveColumn(name, self._view, self._clock) for name in names]

    def waits(self, number: int, text: str) -> None:
        """Show why nothing has arrived from a model yet; may be called often."""
        self._columns[number].waiting = text

    def feed(self, number: int, content: str, thinking: str = "") -> None:
        """Add new text of a model, if any."""
        if self._is_live and self._columns[number].reply.add(content, thinking):
            self._throttle.at_once()

    def complete(self, number: int, column: Column) -> None:
        """Show the complete reply in a column."""
        self._columns[number].complete(column)
        self._throttle.at_once()

    def tick(self) -> None:
        """Paint if a paint is due; call it about every tenth of a second."""
        now = self._clock()
        if not (self._is_live and self._throttle.is_due(now)):
            return
        page = grid_html((column.name, column.html(now)) for column in self._columns)
        if sent := self._output.show(page):
            self._throttle.painted(now, sent)


class _LiveColumn:
    """One model's reply as it streams, with the HTML that it was last painted as."""

    def __init__(self, name: str, view: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.reply = LiveReply(view, clock)
        self.waiting = ""
        self._finished: list[str] = []  # HTML of the finished segments
        self._is_complete = False
        self._html = ""
        self._previewed_s = 0.0

    def complete(self, column: Column) -> None:
        self._html, self._is_complete = _column_html(column), True

    def html(self, now: float) -> str:
        """Return the current HTML; it is made again only after a change."""
        if self._is_complete:
            return self._html
        reply, converter = self.reply, self.reply.converter
        if converter.has_pending:
            self._finished += [segment.html for segment in converter.finished()]
            text = "".join(self._finished) + converter.open_html()
            self._html = reply.folded + page_html(text)
        elif not (reply.has_text or reply.is_thinking):
            self._html = note_html(self.waiting)
        elif not reply.has_text and now >= self._previewed_s + THINKING_INTERVAL_S:
            self._html = reply.preview_html()
            self._previewed_s = now
        return self._html


class TerminalColumns:
    """Shows several replies as plain text, and a status line while it waits.

    Parameters
    ----------
    write
        ``sys.stdout.write`` or a replacement.
    is_tty
        Whether a line can be rewritten and dimmed; None asks ``sys.stdout``.
    clock
        Seconds, monotonic.
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
        self._dim, self._normal = dim_marks(is_tty)
        self._line = TerminalDisplay(write, is_tty=is_tty)
        self._clock = clock
        self._began_s = 0.0
        self._running: dict[int, str] = {}

    def waiting(self, text: str) -> None:
        """Show what happens before the requests are sent."""
        self._line.waiting(text)

    def begin(self, names: Sequence[str]) -> None:
        """Record which models are running."""
        self._running = dict(enumerate(map(one_line, names)))
        self._began_s = self._clock()

    def waits(self, number: int, text: str) -> None:
        """Show nothing: the status line names all running models."""

    def feed(self, number: int, content: str, thinking: str = "") -> None:
        """Show nothing: the reply is printed when it is complete."""

    def complete(self, number: int, column: Column) -> None:
        """Print one reply under its heading."""
        self._running.pop(number, None)
        self._line.discard()
        self._write("\n\n".join(_text_parts(column)) + "\n")
        for line in _footer_lines(column):
            self._write(f"{self._dim}{line}{self._normal}\n")
        self._write("\n")

    def tick(self) -> None:
        """Show on the status line which models are running."""
        if self._running:
            names = ", ".join(self._running.values())
            seconds = self._clock() - self._began_s
            self._line.waiting(f"waiting for {names}… {seconds:.0f} s")

    def finish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """Remove the status line: everything is printed."""
        self._line.discard()

    def discard(self) -> None:
        """Remove the status line."""
        self._line.discard()
