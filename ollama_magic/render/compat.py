"""The way of an output to the front end; a shorter one for updates.

Knows how ipykernel publishes; knows nothing of what is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

Publish = Callable[..., Any]
"""As ``shell.display_pub.publish`` is called."""


def publisher_of(shell: Any) -> Publish:  # noqa: ANN401  (IPython is not typed)
    """Return what publishes outputs of a shell.

    Where it is ipykernel's own, updates of a display go straight to its session: they
    change what is there already, so that nothing printed before them has to be flushed
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
        # NB: hooks are to see every message, and so is the history of displays that
        # newer IPythons keep.
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
