"""One output of a cell: updated in place while it is live, then replaced by its end.

The displays and progress lines publish through this module, and it lets out no other
MIME types than HTML and plain text. How the end replaces the live output depends on the
front end: see ``OutputMode``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from ollama_magic.render.theme import with_style

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
