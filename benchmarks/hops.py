"""What the package does on five ways: ``python -m benchmarks.hops URL`` prints JSON.

The ways are a cell, a click in the panel, ``map_prompts``, ``%ollama pull`` and
``ask``. Each runs once to import what it needs, and then again under a profiler that
sees all threads. ``benchmarks.structure`` starts this module in a process of its own,
since the profiler slows everything down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

PROMPT, REPLY = "Which word is it?", "Yes."
"""The text of the prompt, and what the model ``yes:1b`` replies."""


class Trace:
    """The modules and functions that are entered, and the dataclasses that are made."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.functions: set[tuple[str, str]] = set()
        self.changes = 0
        self.made: list[Any] = []
        self._last: dict[int, str] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, _: object) -> None:
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if not module.startswith("ollama_magic") or code.co_qualname == "<module>":
            return
        if code.co_filename == "<string>":  # the methods that dataclasses write
            if event == "return" and code.co_name == "__init__":
                self.made.append(frame.f_locals["self"])
        elif event == "call":
            thread = threading.get_ident()
            self.modules.add(module)
            self.functions.add((module, code.co_qualname))
            self.changes += module != self._last.get(thread)
            self._last[thread] = module

    def types(self) -> list[str]:
        """Return the names of the dataclasses of which an object was made."""
        return sorted({type(one).__name__ for one in self.made})

    def types_with(self, *texts: str) -> list[str]:
        """Return those of which an object holds one of these texts.

        A field may hold it inside lists, dicts and other dataclasses of ours.
        """

        def holds(value: object) -> bool:
            match value:
                case str():
                    return any(text in value for text in texts)
                case bytes():
                    return any(text.encode() in value for text in texts)
                case Mapping():
                    return any(map(holds, value.values()))
                case list() | tuple() | set() | frozenset():
                    return any(map(holds, value))
            if not dataclasses.is_dataclass(value) or isinstance(value, type):
                return False
            names = (one.name for one in dataclasses.fields(value))
            return any(holds(getattr(value, name)) for name in names)

        return sorted({type(one).__name__ for one in self.made if holds(one)})


def traced(way: Callable[[], object]) -> Trace:
    """Run a way twice; return the trace of the second time."""
    with contextlib.redirect_stdout(io.StringIO()):
        way()
    trace = Trace()
    with trace.running():
        way()
    return trace


def ways(shell: InteractiveShell, url: str) -> dict[str, Callable[[], object]]:
    """Return the five ways by their names."""
    import ollama_magic
    from ollama_magic.client.client import OllamaClient
    from ollama_magic.widgets.manager import ModelManager
    from ollama_magic.widgets.panel import ModelPanel

    numbers = iter(range(100))  # a row that was asked before is cached
    manager = ModelManager(OllamaClient(url))
    panel = ModelPanel(manager)

    changed = threading.Event()
    manager.subscribe(changed.set)

    def click() -> None:
        panel._name.value = "yes:1b"
        panel._pull.click()
        while manager.is_busy:
            changed.wait(10)
            changed.clear()

    def rows() -> None:
        data = [f"row {next(numbers)}"]
        ollama_magic.map_prompts("{}", data, model="yes:1b", progress=False)

    return {
        "cell": lambda: shell.run_cell_magic("ollama", "yes:1b -s x", PROMPT),
        "click": click,
        "map_prompts": rows,
        "pull": lambda: shell.run_line_magic("ollama", "pull yes:1b"),
        "ask": lambda: ollama_magic.ask(PROMPT, model="yes:1b"),
    }


def main(url: str) -> None:
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "ollama_magic")
    shell.run_line_magic("config", f"OllamaMagics.host = {url!r}")
    found = {}
    for name, way in ways(shell, url).items():
        trace = traced(way)
        found[name] = {
            "modules": sorted(trace.modules),
            "functions": len(trace.functions),
            "changes": trace.changes,
            "types": trace.types(),
            "with_text": trace.types_with(PROMPT, REPLY),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
