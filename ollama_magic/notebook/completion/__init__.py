"""Tab completion of ``%ollama`` and ``%%ollama`` in IPython and its front ends.

On our lines and in prompts it offers what fits there, and hides the completions of
Python, which mean nothing there. It never raises an error, runs no code of the user,
and answers at once; only a server whose models nothing has listed yet has half a second
to do so. The work is done in a thread that is given up then. It may be called from
several threads (VS Code uses another one).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ollama_magic.notebook.compat import (
    NoCompletions,
    install_inspector,
    uninstall_inspector,
)

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from ollama_magic.notebook.completion.lines import LineCompleter
    from ollama_magic.notebook.completion.sources import Sources

T = TypeVar("T")

IMPORTS = threading.RLock()
"""Held while a thread of this module imports; the preload then waits."""

_IDENTIFIER = "ollama_magic"
_LIMIT_S = 0.6
_PAGE_S = 2.0
"""A limit for what Shift+Tab shows."""


def install(
    shell: Any,  # noqa: ANN401  (IPython is not typed)
    sources: Sources,
) -> Callable[[], None]:
    """Add the completion to a shell; a second call replaces the first.

    Returns
    -------
    callable
        Imports what the first Tab needs.
    """
    from IPython.core.completer import context_matcher

    uninstall(shell)
    made: list[LineCompleter] = []

    def completer() -> LineCompleter:
        with IMPORTS:
            if not made:  # in the thread: the imports take longer than the rest
                from ollama_magic.notebook.completion.lines import LineCompleter
                from ollama_magic.notebook.completion.sources import ModelLists

                models = ModelLists(sources.server, sources.connect)
                made.append(LineCompleter(models, sources))
            return made[0]

    def import_all() -> None:
        with IMPORTS:
            completer()
            from ollama_magic.notebook import commands  # noqa: F401  (for later)

    @context_matcher(identifier=_IDENTIFIER, priority=100)  # type: ignore[untyped-decorator]
    def match(context: CompletionContext) -> SimpleMatcherResult:
        if "%" in context.text_until_cursor and not made:
            threading.Thread(target=import_all, name=_IDENTIFIER, daemon=True).start()
        return _match(context, completer)

    def page(code: str, cursor: int) -> str:
        if "%ollama" not in code:
            return ""
        pages = in_time(lambda: _inspector(completer())(code, cursor), _PAGE_S)
        return pages[0] if pages else ""

    shell.Completer.custom_matchers.append(match)
    install_inspector(shell, page)
    return import_all


def _inspector(completer: LineCompleter) -> Callable[[str, int], str]:
    from ollama_magic.notebook.completion.inspection import Inspector

    return Inspector(completer).page


def uninstall(shell: Any) -> None:  # noqa: ANN401
    """Remove the completion from a shell."""
    uninstall_inspector(shell)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [
        matcher
        for matcher in matchers
        if getattr(matcher, "matcher_identifier", "") != _IDENTIFIER
    ]


def _match(
    context: CompletionContext, completer: Callable[[], LineCompleter]
) -> SimpleMatcherResult:
    """Return what IPython offers at the cursor; at our places nothing else."""
    from IPython.core.completer import SimpleCompletion

    nothing: SimpleMatcherResult = {"completions": [], "matched_fragment": ""}
    if "%ollama" not in context.full_text:
        return nothing
    lines = context.full_text.split("\n")
    above, line = lines[: context.cursor_line], lines[context.cursor_line]
    text, after = context.text_until_cursor, line[context.cursor_position :]
    offers = in_time(
        lambda: completer().complete(text, "".join(f"{a}\n" for a in above), after)
    )
    offer = offers[0] if offers else None
    if offers and offer is None:
        return nothing
    entries = offer.entries if offer else ()
    made = [SimpleCompletion(entry.text, type=entry.type) for entry in entries]
    return {
        "completions": made or NoCompletions(),
        "matched_fragment": offer.typed if offer else "",
        "suppress": True,
        "ordered": True,
    }


def in_time(work: Callable[[], T], limit_s: float = _LIMIT_S) -> Sequence[T]:
    """Return the result of a function in a list; empty if it is late or fails."""
    results: list[T] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception:  # noqa: BLE001  (Tab shows no errors)
            return

    thread = threading.Thread(target=run, name=_IDENTIFIER, daemon=True)
    thread.start()
    thread.join(limit_s)
    return list(results)
