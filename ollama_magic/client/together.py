"""Exchanges that one piece of work begins, so that another thread can end them all.

A plain question to a server is a function call; whoever gives up waiting for it has no
stream to close. Knows that exchanges can be closed, and nothing else of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Closable(Protocol):
    """What can be ended from any thread, and more than once."""

    def close(self) -> None:
        """End it now."""


class Exchanges:
    """What was begun inside of :meth:`noted`; what begins too late ends at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: list[Closable] = []
        self._is_closed = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what this thread begins inside of this block."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def close(self) -> None:
        """End all of them, and those to come."""
        with self._lock:
            self._is_closed = True
            begun = list(self._begun)
        for exchange in begun:
            exchange.close()

    def _note(self, exchange: Closable) -> None:
        with self._lock:
            self._begun.append(exchange)
            is_late = self._is_closed
        if is_late:
            exchange.close()


_CURRENT: ContextVar[Exchanges | None] = ContextVar("ollama_magic_exchanges")


def note(exchange: Closable) -> None:
    """Note an exchange that begins, where somebody keeps count of them."""
    exchanges = _CURRENT.get(None)
    if exchanges is not None:
        exchanges._note(exchange)
