"""One output of a cell that is updated in place, under a display id of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ollama_magic.render.theme import with_code_style

_ENVELOPE_BYTES = 550
MIME_TYPES = ("text/html", "text/plain")
"""Nothing else gets out: JupyterLab does not sanitise ``text/markdown``."""

OutputMode = Literal["clear", "update", "repeat", "once"]
"""What is shown live, and how the complete output takes its place.

clear
    The output of the cell is this and nothing else: live outputs are cleared, and one
    display follows.
update
    The front end applies updates: one display is updated in place, to the end.
repeat
    The front end may lose updates: one display is updated in place, then emptied, and
    the complete output follows as another display.
once
    The front end, or what captures the output, ignores updates: nothing is shown live,
    and the complete output is one display.

Only ``clear`` ever clears anything of the user's.
"""


class LiveOutput:
    """Sends nothing twice.

    Parameters
    ----------
    publish
        That of ``shell.display_pub``.
    """

    def __init__(self, publish: Callable[..., Any]) -> None:
        self._publish = publish
        self._display_id = uuid.uuid4().hex[:16]  # goes with every frame
        self._html: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything was shown."""
        return self._html is not None

    def show(self, html: str, text: str = "") -> int:
        """Show this now; return the bytes sent: none when it is there already.

        Parameters
        ----------
        text
            What a front end shows that has no HTML. It gets the first frame alone,
            since such front ends ignore updates.
        """
        html = with_code_style(html)
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
        """Leave nothing to be seen, where anything was shown."""
        if self.is_open:
            self.publish({"text/html": "", "text/plain": ""}, {})


class FinalOutput:
    """How what was shown while it came becomes the one output of the end.

    Parameters
    ----------
    publish, clear_output
        Those of ``shell.display_pub``.
    mode
        How; see :data:`OutputMode`.
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
        """Show what is complete in place of what was shown."""
        final = {mime: data[mime] for mime in MIME_TYPES if mime in data}
        if self._mode == "update":
            live.publish(final, metadata)
            return
        self.discard(live)
        self._publish(data=final, metadata=metadata, transient={}, update=False)

    def discard(self, live: LiveOutput) -> None:
        """Take away what was shown: an error or the complete output takes its place."""
        if self._mode == "clear":
            self._clear_output(wait=True)
        else:
            live.empty()
