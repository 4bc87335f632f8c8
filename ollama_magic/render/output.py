"""One output of a cell: updated in place while it is live, then replaced by its end.

The displays publish through this module, as do the progress lines of pulls, creations
and ``map_prompts``. It lets out no other MIME types than HTML and plain text. How the
end replaces the live output depends on the front end: see ``OutputMode``.
"""

from __future__ import annotations

import shutil
import sys
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Protocol

from ollama_magic.render.safe_html import page_html
from ollama_magic.render.sources import link_html
from ollama_magic.render.text import escaped, one_line
from ollama_magic.render.theme import BAR, BAR_REST, with_style

_ENVELOPE_BYTES = 550
MIME_TYPES = ("text/html", "text/plain")
"""All that is published: JupyterLab does not sanitise ``text/markdown``."""

OutputMode = Literal["clear", "update", "repeat", "once"]
"""What is shown live, and how the complete output replaces it.

clear
    The cell has no other outputs: live outputs are cleared, and one display follows.
update
    The front end applies updates: one display is updated in place until the end.
repeat
    The front end may lose updates: one display is updated in place, then emptied, and
    the complete output follows as another display.
once
    The front end, or what captures the output, ignores updates: nothing is shown live,
    and the complete output is one display.

Only ``clear`` can clear outputs of the user.
"""


class LiveOutput:
    """An output that is updated in place; nothing is sent twice.

    Parameters
    ----------
    publish
        That of ``shell.display_pub``.
    """

    def __init__(self, publish: Callable[..., Any]) -> None:
        self._publish = publish
        self._display_id = uuid.uuid4().hex[:16]  # sent with every frame
        self._html: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything has been shown."""
        return self._html is not None

    def show(self, html: str, text: str = "", above: Collection[str] = ()) -> int:
        """Show this; return the bytes sent, 0 if it is shown already.

        Parameters
        ----------
        text
            For front ends without HTML. It is sent with the first frame only, since
            these front ends ignore updates.
        above
            See ``with_style``.
        """
        html = with_style(html, above)
        if html == self._html or not (html or self.is_open):
            return 0
        plain = {"text/plain": text} if text and not self.is_open else {}
        self.publish({"text/html": html} | plain, {})
        return len(html) + _ENVELOPE_BYTES

    def publish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """Show a MIME bundle."""
        self._publish(
            data=data,
            metadata=metadata,
            transient={"display_id": self._display_id},
            update=self.is_open,
        )
        self._html = data.get("text/html", "")

    def empty(self) -> None:
        """Show nothing any more."""
        if self.is_open:
            self.publish({"text/html": "", "text/plain": ""}, {})


class FinalOutput:
    """Replaces the live output by the complete one.

    Parameters
    ----------
    publish, clear_output
        Those of ``shell.display_pub``.
    mode
        See ``OutputMode``.
    """

    def __init__(
        self,
        publish: Callable[..., Any],
        clear_output: Callable[..., Any],
        *,
        mode: OutputMode,
    ) -> None:
        self._publish = publish
        self._clear_output = clear_output
        self._mode = mode

    def finish(
        self, live: LiveOutput, data: Mapping[str, str], metadata: Mapping[str, Any]
    ) -> None:
        """Show the complete output in place of the live one."""
        final = {mime: data[mime] for mime in MIME_TYPES if mime in data}
        if self._mode == "update":
            live.publish(final, metadata)
            return
        self.discard(live)
        self._publish(data=final, metadata=metadata, transient={}, update=False)

    def discard(self, live: LiveOutput) -> None:
        """Remove the live output: an error or the complete output takes its place."""
        if self._mode == "clear":
            self._clear_output(wait=True)
        else:
            live.empty()


# -- progress lines ------------------------------------------------------------

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
