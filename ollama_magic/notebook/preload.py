"""Imports what the first reply needs, while the kernel has nothing else to do.

Otherwise the first cell would import for 0.3 s before its first text. The event loop of
the kernel does it in its main thread, in short steps, and only while no cell runs: so a
cell waits for one step at most, its own imports never run at the same time as these,
and neither a fork nor a shutdown interrupts a step. Run All leaves no time for it.
Without an event loop, as in a terminal, nothing is preloaded.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from ollama_magic.notebook import completion
from ollama_magic.notebook.compat import harmless_handler, unregister_all

MODULES = (
    "urllib3",
    "charset_normalizer",
    "requests",
    "sqlite3",
    "ollama_magic.client.models",
    "ollama_magic.client.http",
    "ollama_magic.client.client",
    "ollama_magic.history.store",
    "xml.etree.ElementTree",
    "markdown",
    "ollama_magic.render.markdown",
    "ollama_magic.render.safe_html",
    "ollama_magic.generation.session",
    "ollama_magic.generation.tools",
    "ollama_magic.generation.prepare",
    "ollama_magic.generation.run",
    "ollama_magic.render.compat",
    "ollama_magic.render.streaming",
    "ollama_magic.notebook.cli.parser",
)
"""In this order, so that each takes a short time."""
FOR_TAB = (
    "ollama_magic.client.actions",
    "ollama_magic.client.creation",
    "ollama_magic.sharing.restore",
    "ollama_magic.notebook.commands",
    "ollama_magic.notebook.completion.lines",
    "ollama_magic.notebook.completion.sources",
)
_IDLE_S = 0.1
"""How long no cell has run before the first step: cells of Run All follow sooner."""
_PAUSE_S = 0.002
"""For requests to the kernel that have arrived meanwhile."""


class Preload:
    """Does steps after the cell that has loaded the extension, between cells.

    Parameters
    ----------
    shell
        The IPython shell, on whose events it registers.
    """

    def __init__(self, shell: Any) -> None:  # noqa: ANN401  (IPython is not typed)
        self._shell = shell
        self._steps: Iterator[Callable[[], object]] | None = _steps()
        self._timer: asyncio.TimerHandle | None = None
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)

    def unregister(self) -> None:
        """Stop; a second call does nothing."""
        self._steps = None
        self._stop()
        unregister_all(self._shell, self)

    @harmless_handler
    def _before_cell(self, _info: object) -> None:
        self._stop()

    @harmless_handler
    def _after_cell(self, _result: object) -> None:
        self._stop()
        if threading.current_thread() is threading.main_thread():
            self._continue_after(_IDLE_S)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _continue_after(self, seconds: float) -> None:
        if self._steps is not None:
            with suppress(RuntimeError):  # no event loop is running
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(seconds, self._step)

    def _step(self) -> None:
        if completion.IMPORTS.acquire(blocking=False):  # else Tab imports just now
            try:
                self._do_next()
            except (Exception, SystemExit):  # the first cell raises it again
                logging.getLogger(__name__).debug("a step failed", exc_info=True)
            finally:
                completion.IMPORTS.release()
        self._continue_after(_PAUSE_S)

    def _do_next(self) -> None:
        step = next(self._steps, None) if self._steps else None
        if step is None:
            self._steps = None
        else:
            step()


def _steps() -> Iterator[Callable[[], object]]:
    yield from (partial(import_module, name) for name in MODULES)
    from ollama_magic.render.safe_html import warm_up

    yield warm_up
    yield from (partial(import_module, name) for name in FOR_TAB)
