"""Tab completion of ``%ollama`` and ``%%ollama`` in IPython and its front ends.

Offers options and subcommands from their declarations, and names of models and chats
from callables. On such a line no other completions are offered; below ``%%ollama`` is a
prompt, which is left to IPython. It never raises an error, waits at most half a second
for a server, and may be called from several threads (VS Code uses another one).
"""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ollama_magic.notebook.compat import NoCompletions

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from ollama_magic.generation.options import Completes, Option

Names = Callable[[], Sequence[str]]

_IDENTIFIER = "ollama_magic"
_WAIT_S = 0.5

_CELL_LINE = re.compile(r"%%ollama\s+(?:[^\s<]+\s*<<\s*)?(?P<words>.*)")
_PROMPT_ABOVE = re.compile(r"%%ollama(?:\s|$)")
_LINE_LINE = re.compile(r"\s*(?:[^=]+=\s*)?%ollama\s+(?P<words>.*)")


def install(
    shell: Any,  # noqa: ANN401  (IPython is not typed)
    models: Names,
    chats: Names,
    compared: Names = tuple,
) -> None:
    """Add the completion to a shell; a second call replaces the first.

    Parameters
    ----------
    shell
        The IPython shell.
    models
        Returns names of models. It may be slow: it runs in a thread, and Tab waits
        half a second.
    chats
        Returns names of chats, without delay. If either raises, nothing is offered.
    compared
        Returns the names of the models in the last comparison.
    """
    from IPython.core.completer import context_matcher

    uninstall(shell)

    def variables() -> Sequence[str]:
        hidden = shell.user_ns_hidden
        known = list(shell.user_ns)  # a cell may add names meanwhile
        return [name for name in known if name not in hidden and name[:1] != "_"]

    completer = _Completer(_CachedNames(models), chats, variables, compared)

    @context_matcher(identifier=_IDENTIFIER, priority=100)  # type: ignore[untyped-decorator]
    def match(context: CompletionContext) -> SimpleMatcherResult:
        return completer.match(context)

    shell.Completer.custom_matchers.append(match)


def uninstall(shell: Any) -> None:  # noqa: ANN401
    """Remove the completion from a shell."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [
        matcher
        for matcher in matchers
        if getattr(matcher, "matcher_identifier", "") != _IDENTIFIER
    ]


class _CachedNames:
    """Names from a callable that may be slow: waits a little, then uses the last ones.

    Only one call runs at a time, even if several threads complete.
    """

    def __init__(self, names: Names) -> None:
        self._ask = names
        self._last: Sequence[str] = ()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Sequence[str]:
        with self._lock:
            thread = self._thread
            if thread is None or not thread.is_alive():
                thread = threading.Thread(
                    target=self._run, name=_IDENTIFIER, daemon=True
                )
                self._thread = thread
                thread.start()
        thread.join(_WAIT_S)
        return self._last

    def _run(self) -> None:
        self._last = _ask_quietly(self._ask)


def _ask_quietly(names: Names) -> Sequence[str]:
    try:
        return list(names())
    except Exception:  # noqa: BLE001  (Tab shows no errors)
        return ()


@dataclass(frozen=True, slots=True)
class _Completer:
    models: Names
    chats: Names
    variables: Names
    compared: Names

    def match(self, context: CompletionContext) -> SimpleMatcherResult:
        """Return what IPython offers at the cursor; on our lines nothing else."""
        from IPython.core.completer import SimpleCompletion

        above = context.full_text.split("\n")[: context.cursor_line]
        offer = self.complete(context.text_until_cursor, "\n".join(above))
        typed, found = offer or ("", [])
        made = [SimpleCompletion(text, type="magic") for text in found]
        return {
            "completions": made or (NoCompletions() if offer else []),
            "matched_fragment": typed,
            "suppress": offer is not None,
            "ordered": True,
        }

    def complete(self, text: str, above: str = "") -> tuple[str, list[str]] | None:
        """Return the end of ``text`` to replace, and the replacements.

        None if the line is not ours, or expects a file. ``above`` is the part of the
        cell above the line.
        """
        above = above.lstrip()
        cell_line = None if above else _CELL_LINE.fullmatch(text)
        line = None if _PROMPT_ABOVE.match(above) else _LINE_LINE.fullmatch(text)
        match = cell_line or line
        if match is None:
            return None
        parts = _split(match["words"])
        if parts is None:
            return "", []
        words, typed = parts
        if cell_line:
            return self._chat_line(words, typed, models_too=True)
        return self._command_line(words, typed)

    def _command_line(
        self, words: list[str], typed: str
    ) -> tuple[str, list[str]] | None:
        from ollama_magic.notebook.commands import COMMANDS, find_command

        if not words:
            return _starting(typed, [command.name for command in COMMANDS])
        command = find_command(words[0])
        if command is None:
            return "", []
        if command.asks:
            models_too = command.completes == "model"
            return self._chat_line(words[1:], typed, models_too=models_too)
        if typed.startswith("-"):
            return _starting(typed, _flags(command.options))
        if command.completes == "file":
            return None  # IPython knows the files
        operands = [word for word in words[1:] if not word.startswith("-")]
        is_full = bool(operands) and command.most is not None
        names = () if is_full else self._names(command.completes)
        return _starting(typed, [name for name in names if name not in operands])

    def _chat_line(
        self, words: list[str], typed: str, *, models_too: bool
    ) -> tuple[str, list[str]] | None:
        from ollama_magic.generation.options import CHAT_OPTIONS, find_option

        position = _Position.after(words)
        if position.waits is not None and position.waits.completes == "file":
            return None  # IPython knows the files
        if position.waits is not None:
            return self._value(position.waits, typed)
        if position.waits_anything or (position.has_plain and not models_too):
            return "", []  # the value of a model option, the free text of `ask`
        flag, equals, value = typed.partition("=")
        option = find_option(CHAT_OPTIONS, flag)
        if equals and option is not None:
            return self._value(option, value)
        if typed.startswith("-"):
            return _starting(typed, _flags(CHAT_OPTIONS))
        models = self.models() if models_too and not position.has_plain else ()
        flags = () if typed else _flags(CHAT_OPTIONS)
        return _starting(typed, [*models, *flags])

    def _value(self, option: Option, typed: str) -> tuple[str, list[str]]:
        if option.completes == "models":
            *earlier, typed = typed.split(",")
            return _starting(typed, [n for n in self.models() if n not in earlier])
        return _starting(typed, option.choices or self._names(option.completes))

    def _names(self, what: Completes) -> Sequence[str]:
        if what == "model":
            return self.models()
        at_once = {"chat": self.chats, "name": self.variables}
        at_once["compared"] = self.compared
        if what in at_once:
            return _ask_quietly(at_once[what])
        if what == "level":
            from ollama_magic.generation.options import THINK_LEVELS

            return [*THINK_LEVELS, "true", "false"]
        if what == "option":
            from ollama_magic.client.options import MODEL_OPTIONS

            return list(MODEL_OPTIONS)
        if what == "command":
            from ollama_magic.notebook.commands import COMMANDS

            return [command.name for command in COMMANDS]
        return ()


@dataclass(slots=True)
class _Position:
    """The position of the next word on a line with chat options."""

    waits: Option | None = None
    """The option whose value comes next."""
    waits_anything: bool = False
    """The value of a model option comes next; nothing can be offered."""
    has_plain: bool = False
    """A word that belongs to no option came before."""

    @classmethod
    def after(cls, words: Sequence[str]) -> _Position:
        """Return the position after these words."""
        position = cls()
        for word in words:
            position._add(word)
        return position

    def _add(self, word: str) -> None:
        from ollama_magic.generation.options import CHAT_OPTIONS, find_option

        if self.waits is not None:
            self.waits_anything = self.waits.kind == "pair" and "=" not in word
            self.waits = None
        elif self.waits_anything:
            self.waits_anything = False
        elif option := find_option(CHAT_OPTIONS, word):
            self.waits = option if option.kind in {"value", "pair"} else None
        elif not word.startswith("-"):
            self.has_plain = True


def _split(text: str) -> tuple[list[str], str] | None:
    """Return the complete words and the one being typed; None inside of quotes."""
    typed = re.search(r"\S*$", text)
    assert typed is not None  # it matches the empty text
    try:
        return shlex.split(text[: typed.start()]), typed[0]
    except ValueError:
        return None


def _flags(options: Sequence[Option]) -> list[str]:
    return [flag for option in options for flag in reversed(option.flags)]


def _starting(typed: str, names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the names that begin with what was typed.

    A name with invisible characters is not offered: it may control a terminal.
    """
    return typed, [n for n in names if n.startswith(typed) and n.isprintable()]
