"""One output of a cell that is updated in place, under a display id of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ollama_magic.rendering.theme import with_code_style

_ENVELOPE_BYTES = 550
MIME_TYPES = ("text/html", "text/plain")
"""Nothing else gets out: JupyterLab does not sanitise ``text/markdown``."""


class LiveOutput:
    """Sends nothing twice.

    Parameters
    ----------
    publish
        That of ``shell.display_pub``.
    """

    def __init__(self, publish: Callable[..., Any]) -> None:
        self._publish = publish
        self._display_id = uuid.uuid4().hex
        self._html: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything was shown."""
        return self._html is not None

    def show(self, html: str) -> int:
        """Show this now; return the bytes sent: none when it is there already."""
        html = with_code_style(html)
        if html == self._html or not (html or self.is_open):
            return 0
        self.publish({"text/html": html}, {})
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


class LastOutput:
    """How what was shown while it came becomes the one output of the end.

    Parameters
    ----------
    publish, clear_output
        Those of ``shell.display_pub``.
    owns_output
        Whether the output of the cell is this and nothing else. If so, live outputs
        are cleared and one display follows; if not, one display is updated in place
        and nothing of the user's is ever cleared.
    """

    def __init__(
        self,
        publish: Callable[..., Any],
        clear_output: Callable[..., Any],
        *,
        owns_output: bool,
    ) -> None:
        self._publish = publish
        self._clear_output = clear_output
        self._owns_output = owns_output

    def finish(
        self, live: LiveOutput, data: Mapping[str, str], metadata: Mapping[str, Any]
    ) -> None:
        """Show what is complete in place of what was shown."""
        final = {mime: data[mime] for mime in MIME_TYPES if mime in data}
        if self._owns_output:
            self._clear_output(wait=True)
            self._publish(data=final, metadata=metadata, transient={}, update=False)
        else:
            live.publish(final, metadata)

    def discard(self, live: LiveOutput) -> None:
        """Take away what was shown: an error takes its place."""
        if self._owns_output:
            self._clear_output(wait=True)
        elif live.is_open:
            live.publish({"text/html": "", "text/plain": ""}, {})
