"""Event handlers of a shell: how they are kept harmless, and how they are taken back.

IPython prints "Error in callback" in every cell when a handler raises. Kernels other
than ipykernel have other objects in the same places, so each handler of this package
is ``harmless_handler``: its cell goes on, and the error is in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

_Owner = TypeVar("_Owner")
_Event = TypeVar("_Event")


def harmless_handler(
    handler: Callable[[_Owner, _Event], None],
) -> Callable[[_Owner, _Event], None]:
    """Return an event handler (a method) that logs its errors and never raises."""

    @wraps(handler)
    def handle(owner: _Owner, event: _Event) -> None:
        try:
            handler(owner, event)
        except Exception:  # the user's cell must go on
            log = logging.getLogger(__name__)
            log.debug("%s failed", handler.__qualname__, exc_info=True)

    return handle


def unregister_all(shell: Any, owner: object) -> None:  # noqa: ANN401  (IPython is not typed)
    """Take back all handlers that are methods of an object; harmless without any.

    By the object and not by the method: ``%autoreload`` gives objects new classes, and
    their methods no longer equal those that were registered.
    """
    for handlers in shell.events.callbacks.values():
        handlers[:] = [
            handler
            for handler in handlers
            if getattr(handler, "__self__", None) is not owner
        ]
