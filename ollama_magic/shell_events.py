"""Event handlers of a shell, given back by whoever registered them.

Knows IPython's events; knows nothing of what is done in them.
"""

from __future__ import annotations

from typing import Any


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
