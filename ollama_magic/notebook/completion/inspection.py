"""Shift+Tab on our lines and in prompts: help, details of a model, what is sent.

The popup of completions asks for it too, for the entry that is selected, so no property
of the user's objects is computed here either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_magic.client.models import ModelSummary, matching_names
from ollama_magic.client.options import MODEL_OPTIONS
from ollama_magic.errors import PromptError, size_text
from ollama_magic.generation.options import CHAT_OPTIONS, Option, find_option
from ollama_magic.generation.prompt import fill
from ollama_magic.generation.values import as_array
from ollama_magic.notebook.cli.help import help_text
from ollama_magic.notebook.commands import find_command
from ollama_magic.notebook.commands.declare import Command
from ollama_magic.notebook.completion import static_values
from ollama_magic.notebook.completion.lines import LineCompleter, Place, place_of
from ollama_magic.notebook.completion.words import Word, position_after, split
from ollama_magic.render.tables import TextPage
from ollama_magic.render.text import counted

_PLACEHOLDER = re.compile(r"\{\{([^{}\n]*)(?:\}\}|$)")
_MAGIC = re.compile(r"\s*%%?ollama\b")
_MOST_LINES = 30


@dataclass(frozen=True, slots=True)
class Inspector:
    """What Shift+Tab shows, from what Tab has."""

    completer: LineCompleter

    def page(self, code: str, cursor: int) -> str:
        """Return what is known about the word at the cursor; empty if nothing is."""
        start = code.rfind("\n", 0, cursor) + 1
        line = code[start:].partition("\n")[0]
        column = cursor - start
        magic = None if code[:start].strip() else _MAGIC.match(line)
        if magic and column <= magic.end():
            return help_text()
        end = _end_of_word(line, column)
        place = place_of(line[:end], code[:start])
        if place is None:
            return ""
        text = "" if place.is_raw else self._in_text(line, column, place)
        if not text and not place.is_prompt:
            text = self._on_line(place)
        return str(TextPage(text))

    def _in_text(self, line: str, column: int, place: Place) -> str:
        command = find_command(place.words.split(" ", 1)[0])
        if not place.is_prompt and not (command and command.takes_text):
            return ""
        for match in _PLACEHOLDER.finditer(line):
            if match.start() <= column <= match.end():
                return self._value(match[1].strip())
        return ""

    def _on_line(self, place: Place) -> str:
        words, word = split(place.words)
        if place.is_cell:
            return self._on_word(words, word, None)
        command = find_command((words[0] if words else word.value).rstrip("?"))
        if command is None or not words:
            return help_text(command.name) if command else ""
        return self._on_word(words[1:], word, command)

    def _on_word(
        self, words: Sequence[str], word: Word, command: Command | None
    ) -> str:
        options = command.options if command else CHAT_OPTIONS
        position = position_after(words, options)
        if position.waits is not None:
            return self._option(position.waits, word.value, position.host, command)
        flag, _, value = word.value.partition("=")
        if option := find_option(options, flag):
            return self._option(option, value, position.host, command)
        if command is None and word.value.startswith("@"):
            texts = dict(self.completer.sources.templates())
            return texts.get(word.value[1:], "")
        takes_model = command is None or command.completes == "model"
        if takes_model and not position.waits_anything:
            return self._model(word.value, position.host)
        return help_text(command.name) if command and not command.takes_text else ""

    def _option(
        self, option: Option, value: str, host: str, command: Command | None
    ) -> str:
        """Return the help of an option, or what is known about its value."""
        name = value.partition("=")[0]
        if option.field == "options" and name in MODEL_OPTIONS:
            about = MODEL_OPTIONS[name]
            return (
                f"-o {name} {about.type}\n\n{about.about}\n\n-o {name} {about.example}"
            )
        if option.completes in {"model", "models"} and value:
            return self._model(value.rpartition(",")[2], host)
        if option.completes == "tool" and value:
            return ""  # IPython shows the function
        is_own = command is not None and option not in CHAT_OPTIONS
        return help_text(command.name if command and is_own else option.flags[-1])

    def _model(self, name: str, host: str) -> str:
        models = self.completer.models(host)
        names = matching_names(name, [model.name for model in models]) if name else []
        return "\n\n".join(_details(one) for one in models if one.name in names)

    def _value(self, expression: str) -> str:
        sources = self.completer.sources
        namespace, _ = sources.values()
        value = static_values.resolve(expression, namespace)
        shown = f"{{{{ {expression} }}}}"
        is_image = static_values.is_image(value) and as_array(value) is None
        if value is static_values.UNKNOWN:
            return f"{shown} is computed when the cell is run."
        if is_image and type(value) is not str:
            return f"{shown} is sent as an image or a sound: {type(value).__name__}"
        if value is static_values.MISSING and re.search(r"[.\[]", expression):
            return ""
        return _as_sent(shown, namespace, sources.hide)


def _end_of_word(line: str, column: int) -> int:
    while column < len(line) and not line[column].isspace():
        column += 1
    return column


def _as_sent(
    placeholder: str, namespace: Mapping[str, Any], hide: Callable[[str], str]
) -> str:
    try:
        text, (label, *_), _ = fill(placeholder, namespace, hide)
    except PromptError as error:
        return str(error)
    except ValueError:  # it is no placeholder
        return ""
    lines = text.split("\n")
    more = ["…"] if len(lines) > _MOST_LINES else []
    shown = [line if len(line) < 200 else f"{line[:199]}…" for line in lines]
    note = label.partition(" (")[2].rstrip(")")
    size = counted(len(text), "character") + (f", {note}" if note else "")
    return "\n".join(
        [f"{placeholder} is sent as {size}:", "", *shown[:_MOST_LINES], *more]
    )


def _details(model: ModelSummary) -> str:
    size = size_text(model.size_bytes) if model.size_bytes else ""
    context = f"{model.context_length:,} tokens" if model.context_length else ""
    facts = {
        "parameters": " ".join(filter(None, (model.parameter_size, model.family))),
        "quantization": model.quantization_level,
        "size": "" if model.cloud_host else size,
        "context": context,
        "capabilities": ", ".join(model.capabilities),
        "modified": model.modified_at[:10],
        "cloud model": f"prompts are sent to {model.cloud_host}"
        * bool(model.cloud_host),
    }
    lines = [f"  {name:14}{value}" for name, value in facts.items() if value]
    return "\n".join([model.name, *lines, f"  more: %ollama show {model.name}"])
