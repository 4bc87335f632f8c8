"""Replies of several models side by side, as the one output of their cell.

Knows how columns are laid out. What stands in them is made by ``reply_view``; what is
added here is constant markup around escaped names.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_magic.render.incremental import ReplyConverter
from ollama_magic.render.output import FinalOutput, LiveOutput, OutputMode
from ollama_magic.render.reply import ReplyView, reply_bundle, reply_plain
from ollama_magic.render.safe_html import note_html, page_html, warm_up
from ollama_magic.render.streaming import THINKING_INTERVAL_S, LiveThinking, Throttle
from ollama_magic.render.terminal import DIM, NORMAL, TerminalDisplay
from ollama_magic.render.text import escaped, one_line, visible_text
from ollama_magic.render.theme import BORDER, with_code_style

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
    """What one model is shown with."""

    name: str
    """The heading: its model."""
    view: ReplyView


def columns_bundle(columns: Sequence[Column], note: str = "") -> dict[str, str]:
    """Return ``text/html`` and ``text/plain`` of complete columns.

    Parameters
    ----------
    note
        A quiet line under all of them.
    """
    page = grid_html((column.name, column_html(column)) for column in columns)
    texts = [column_plain(column) for column in columns]
    if note:
        page += f'<div style="{_NOTE}">{note_html(note)}</div>'
        texts.append(visible_text(note))
    return {"text/html": with_code_style(page), "text/plain": "\n\n".join(texts)}


def grid_html(columns: Iterable[tuple[str, str]]) -> str:
    """Return columns side by side, below one another where the page is narrow.

    Parameters
    ----------
    columns
        The name of each, and safe HTML.
    """
    cells = [
        f'<div style="{_COLUMN}">{_heading_html(name)}{safe}</div>'
        for name, safe in columns
    ]
    return f'<div style="{_GRID}">{"".join(cells)}</div>'


def column_html(column: Column) -> str:
    """Return what stands under the heading of a complete column."""
    return reply_bundle(column.view)["text/html"]


def column_plain(column: Column) -> str:
    """Return a complete column as text: heading, answer, and a line of figures."""
    return "\n\n".join([*text_parts(column), *footer_line(column)])


def text_parts(column: Column) -> list[str]:
    """Return the heading and the answer of a column as text."""
    answer = reply_plain(column.view).strip("\n")
    heading = f"## {one_line(column.name)}"
    return [heading, answer] if answer else [heading]


def footer_line(column: Column) -> list[str]:
    """Return the line of figures; none where the footer is off."""
    line = " · ".join(column.view.footer)
    return [visible_text(line)] if line else []


def _heading_html(name: str) -> str:
    return page_html(f'<h4 style="{_HEADING}">{escaped(one_line(name))}</h4>')


class ColumnsDisplay:
    """Shows several replies in one cell.

    Parameters
    ----------
    publish, clear_output
        Those of ``shell.display_pub``.
    view
        How the texts are shown: ``markdown``, ``text`` or ``json``.
    hz
        How often to paint, at most, per second.
    mode
        What is shown live, and how the complete replies take its place.
    clock
        Seconds, never going back.
    """

    def __init__(
        self,
        publish: Callable[..., Any],
        clear_output: Callable[..., Any],
        *,
        view: str = "markdown",
        hz: float = 10.0,
        mode: OutputMode,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view = view
        self._clock = clock
        self._is_live = mode != "once"
        self._output = LiveOutput(publish)
        self._last = FinalOutput(publish, clear_output, mode=mode)
        self._hz = hz
        self._throttle = Throttle(hz, clock)
        self._columns: list[_LiveColumn] = []
        # Loaded while the servers are being waited for: 0.2 s before the first text.
        threading.Thread(target=warm_up, name="ollama-warm-up", daemon=True).start()

    def waiting(self, text: str) -> None:
        """Say what is done before anybody is asked."""
        if self._is_live:
            self._output.show(note_html(text), visible_text(text))

    def begin(self, names: Sequence[str]) -> None:
        """Open a column for each model; from now on they are called by number."""
        self._throttle = Throttle(self._hz, self._clock, replies=len(names))
        self._columns = [_LiveColumn(name, self._view, self._clock) for name in names]

    def waits(self, number: int, text: str) -> None:
        """Say that nothing of a model has come yet; as often as you like."""
        self._columns[number].wait(text)

    def feed(self, number: int, content: str, thinking: str = "") -> None:
        """Take what came of a model, maybe nothing."""
        if self._is_live and self._columns[number].add(content, thinking):
            self._throttle.at_once()

    def complete(self, number: int, column: Column) -> None:
        """Show a column as it stays."""
        self._columns[number].complete(column)
        self._throttle.at_once()

    def tick(self) -> None:
        """Paint when it is time; to be called every tenth of a second or so."""
        now = self._clock()
        if not (self._is_live and self._throttle.is_due(now)):
            return
        page = grid_html((column.name, column.html(now)) for column in self._columns)
        if sent := self._output.show(page):
            self._throttle.painted(now, sent)

    def finish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """Show all complete columns as the one output."""
        self._last.finish(self._output, data, metadata)

    def discard(self) -> None:
        """Take away what was shown: an error takes its place."""
        self._last.discard(self._output)


class _LiveColumn:
    """One model's reply as it comes, with the HTML that was made of it last."""

    def __init__(self, name: str, view: str, clock: Callable[[], float]) -> None:
        self.name = name
        self._converter = ReplyConverter(view)
        self._thinking = LiveThinking(clock)
        self._folded = ""  # what was thought before the text
        self._finished: list[str] = []  # HTML of the pieces that stay as they are
        self._has_text = False
        self._is_complete = False
        self._waits_for = ""
        self._html = ""
        self._previewed_s = 0.0

    def wait(self, text: str) -> None:
        self._waits_for = text

    def add(self, content: str, thinking: str) -> bool:
        """Take what came; return whether the first text is in it."""
        if thinking:
            self._thinking.add(thinking)
        if not content:
            return False
        if self._thinking.is_open:
            self._thinking.close()
            if not self._has_text:
                self._folded = self._thinking.html()
        is_first, self._has_text = not self._has_text, True
        self._converter.add(content)
        return is_first

    def complete(self, column: Column) -> None:
        self._html, self._is_complete = column_html(column), True

    def html(self, now: float) -> str:
        """Return what is to be seen now; made anew only where something changed."""
        if self._is_complete:
            return self._html
        if self._has_text:
            if self._converter.has_pending:
                self._finished += [piece.html for piece in self._converter.finished()]
                text = "".join(self._finished) + self._converter.open_html()
                self._html = self._folded + page_html(text)
        elif not self._thinking.is_open:
            self._html = note_html(self._waits_for)
        elif now >= self._previewed_s + THINKING_INTERVAL_S:
            self._html = self._thinking.preview_html()
            self._previewed_s = now
        return self._html


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
