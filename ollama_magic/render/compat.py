"""A faster path to the front end for updates of a display.

The magics pass its result to the displays as ``publish``. It relies on inner parts of
ipykernel's ``ZMQDisplayPublisher``: ``_hooks``, ``session``, ``pub_socket``, ``topic``,
``parent_header`` (seen in 7.4.0) and, if it exists, ``store_display_history`` (7.4.0).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

Publish = Callable[..., Any]
"""Called like ``shell.display_pub.publish``."""


def publisher_of(shell: Any) -> Publish:  # noqa: ANN401  (IPython is not typed)
    """Return the function that publishes outputs of a shell.

    With ipykernel's own publisher, updates of a display go straight to its session:
    they change an existing output, so nothing that was printed before has to be flushed
    first. That flush wakes another thread four times, and is two thirds of the cost.
    """
    published = shell.display_pub
    kernel = sys.modules.get("ipykernel.zmqshell")
    if kernel is None or type(published) is not kernel.ZMQDisplayPublisher:
        return published.publish  # type: ignore[no-any-return]

    def publish(
        data: Mapping[str, str],
        metadata: Mapping[str, Any],
        *,
        transient: Mapping[str, str],
        update: bool = False,
    ) -> None:
        # NB: hooks must see every message, and so must the display history of newer
        # versions.
        has_history = getattr(published, "store_display_history", False)
        if not update or published._hooks or has_history:
            published.publish(data, metadata, transient=transient, update=update)
            return
        content = {"data": data, "metadata": metadata, "transient": transient}
        published.session.send(
            published.pub_socket,
            "update_display_data",
            content,
            parent=published.parent_header,
            ident=published.topic,
        )

    return publish
