"""Reads what is before the cursor and decides what Tab offers there.

Options, subcommands and their descriptions come from their declarations and the manual,
values from the notebook, models and chats from callables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ollama_magic.client.models import ModelSummary, canonical
from ollama_magic.errors import size_text
from ollama_magic.generation.option_values import THINK_LEVELS
from ollama_magic.generation.options import CHAT_OPTIONS, Completes, Option, find_option
from ollama_magic.notebook.cli.help import note, summary
from ollama_magic.notebook.completion import in_time, placeholders, static_values
from ollama_magic.notebook.completion.words import (
    NOTHING,
    Entry,
    Offer,
    Position,
    Word,
    file_offer,
    position_after,
    split,
    starting,
)

if TYPE_CHECKING:
    from ollama_magic.notebook.commands.declare import Command
    from ollama_magic.notebook.completion.sources import Sources

_LEVELS_S = 0.1

_CELL_LINE = re.compile(r"%%ollama\s+(?:[^\s<]+\s*<<\s*)?(?P<words>.*)")
_PROMPT_ABOVE = re.compile(r"%%ollama(?:[^\S\n](?P<words>.*))?\n")
_LINE_LINE = re.compile(r"\s*(?:[^=]+=\s*)?%ollama\s+(?P<words>.*)")
_COMMENTS = re.compile(r"(?:[^\S\n]*(?:#[^\n]*)?\n)+")


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor on a line of ours or in a prompt."""

    words: str
    """The line after the magic's name, up to the cursor; in a prompt, its line."""
    is_cell: bool = False
    """It is the line of ``%%ollama``."""
    is_prompt: bool = False
    is_raw: bool = False
    """``{{ }}`` is text in this prompt."""


def place_of(text: str, above: str) -> Place | None:
    """Return where the cursor is; None if not in anything of ours.

    Parameters
    ----------
    text
        The line up to the cursor.
    above
        The lines above it, each with its end.
    """
    above = above[match.end() :] if (match := _COMMENTS.match(above)) else above
    if prompt := _PROMPT_ABOVE.match(above):
        words, _ = split(prompt["words"] or "")
        return Place(text, is_prompt=True, is_raw="--raw" in words)
    if not above and (cell := _CELL_LINE.fullmatch(text)):
        return Place(cell["words"], is_cell=True)
    line = _LINE_LINE.fullmatch(text)
    return Place(line["words"]) if line else None


@dataclass(frozen=True, slots=True)
class LineCompleter:
    """What Tab offers at a place.

    Parameters
    ----------
    models
        Returns the models of a host (of ``--host``, or empty) that are known.
    sources
        What the session knows.
    """

    models: Callable[[str], Sequence[ModelSummary]]
    sources: Sources

    def complete(self, text: str, above: str = "", after: str = "") -> Offer | None:
        """Return what fits at the cursor; None if Python is written there.

        Parameters
        ----------
        after
            The line after the cursor.
        """
        place = place_of(text, above)
        if place is None:
            return None
        if place.is_prompt:
            return NOTHING if place.is_raw else self._in_text(text, after)
        words, word = split(place.words)
        if place.is_cell:
            return self._options_line(words, word, after, models=True)
        return self._command_line(words, word, after, place.words)

    def _in_text(self, text: str, after: str) -> Offer:
        match = placeholders.OPEN.search(text)
        if match is None:
            return NOTHING
        return placeholders.complete(match[1], after, *self.sources.values())

    def _command_line(
        self, words: list[str], word: Word, after: str, line: str
    ) -> Offer:
        from ollama_magic.notebook.commands import find_command

        if not words:
            return starting(word.raw, self._entries("command"))
        command = find_command(words[0])
        if command is None:
            return NOTHING
        if command.takes_text and placeholders.OPEN.search(line):
            return self._in_text(line, after)
        if command.asks:
            is_run = command.completes == "model"
            if command.takes_text and not is_run and word.raw.startswith("@"):
                return self._template_offer(words[1:], word)
            return self._options_line(words[1:], word, after, models=is_run)
        return self._operand(
            command, position_after(words[1:], command.options), word, after
        )

    def _operand(
        self, command: Command, position: Position, word: Word, after: str
    ) -> Offer:
        if command.name == "help" and word.raw.startswith("-"):
            return starting(word.raw, _flags(CHAT_OPTIONS))
        offer = self._option(position, word, after)
        if offer is None:
            return self._plain(command, position.plain, word, after)
        about = [note(command.usage, one.text) or one.note for one in offer.entries]
        entries = tuple(
            replace(one, note=text)
            for one, text in zip(offer.entries, about, strict=True)
        )
        return replace(offer, entries=entries)

    def _plain(
        self, command: Command, before: Sequence[str], word: Word, after: str
    ) -> Offer:
        index, operands = len(before), command.operands.split()
        here = operands[index].strip("[]").split("|") if index < len(operands) else []
        if choices := [one for one in here if one.islower()]:
            told = [Entry(one, "word", note(command.usage, one)) for one in choices]
            return starting(word.raw, told)
        if command.completes == "template" and "NAME" in here:
            names = self.sources.templates()
            return starting(word.raw, [Entry(n, "template", t) for n, t in names])
        if before and command.most is not None:
            return NOTHING
        if command.completes == "file":
            return file_offer(word, after)
        if command.completes == "model":
            return self._model_offer(word.raw, besides=before)
        return starting(word.raw, self._entries(command.completes))

    def _options_line(
        self,
        words: list[str],
        word: Word,
        after: str,
        *,
        models: bool,
    ) -> Offer:
        position = position_after(words, CHAT_OPTIONS)
        if position.plain and not models:
            return NOTHING  # the free text of `ask`
        if offer := self._option(position, word, after):
            return offer
        if models and word.raw.startswith("@"):
            return starting(word.raw, self._entries("template"))
        names = NOTHING
        if models and not position.plain and "model" not in position.given:
            names = self._model_offer(word.raw, position.host)
        if word.raw:
            return names
        left = [one for one in CHAT_OPTIONS if _may_follow(one, position.given)]
        saved = self._entries("template") if names.entries else ()
        return Offer("", (*names.entries, *saved, *_flags(left, long_only=True)))

    def _template_offer(self, words: list[str], word: Word) -> Offer:
        """Return the templates if the text of ``ask`` begins here."""
        position = position_after(words, CHAT_OPTIONS)
        is_begun = position.plain or position.waits or position.waits_anything
        return NOTHING if is_begun else starting(word.raw, self._entries("template"))

    def _option(self, position: Position, word: Word, after: str) -> Offer | None:
        """Return what fits an option or its value; None if neither belongs here."""
        if position.waits_anything:
            return NOTHING
        if word.raw.startswith("--think="):
            return starting(word.after_equals().raw, self._levels(position))
        if position.waits is not None:
            return self._value(position.waits, word, after, position.host)
        option = find_option(position.options, word.value.partition("=")[0])
        if "=" in word.raw and option is not None:
            value = word.after_equals()
            return self._value(option, value, after, position.host)
        if not word.raw.startswith("-"):
            return None
        left = [one for one in position.options if _may_follow(one, position.given)]
        return starting(word.raw, _flags(left))

    def _levels(self, position: Position) -> Iterable[Entry]:
        """Return what the model takes after ``--think=``, if that is known soon."""
        named = "".join(position.plain[:1])
        found = in_time(lambda: self.sources.thinking(named, position.host), _LEVELS_S)
        values = found[0] if found and found[0] else (*THINK_LEVELS, True, False)
        return [Entry(f"{one}".lower(), "level") for one in values]

    def _value(self, option: Option, word: Word, after: str, host: str) -> Offer:
        what = option.completes
        if option.choices:
            return starting(word.raw, [Entry(one, "value") for one in option.choices])
        if what == "models":
            *before, last = word.raw.split(",")
            return self._model_offer(last, host, besides=before)
        if what == "model":
            return self._model_offer(word.raw, host)
        if what == "file":
            return file_offer(word, after)
        if what in placeholders.BY_OPTION:
            return self._named_value(what, word, after)
        return starting(word.raw, self._entries(what))

    def _named_value(self, what: str, word: Word, after: str) -> Offer:
        wanted = placeholders.BY_OPTION[what]
        expression = word.raw
        if what == "schema":  # "list[Person]", "Person | None"
            expression = re.split(r"[^\w.]", word.raw)[-1]
        named = placeholders.complete(expression, after, *self.sources.values(), wanted)
        if what in {"tool", "questions"} or (word.quote and named.entries):
            return named
        fits = static_values.is_media_file if what == "image" else _is_json_file
        files = file_offer(word, after, fits)
        if what == "schema" and not word.raw.startswith(("/", ".", "~")):
            return named if named.entries or not word.raw else files
        if named.typed != files.typed:
            return named if named.entries else files
        return Offer(named.typed, (*named.entries, *files.entries))

    def _model_offer(
        self, typed: str, host: str = "", besides: Sequence[str] = ()
    ) -> Offer:
        typed = typed.lstrip("\"'")  # in quotes, VS Code also shows names with a dot
        models = self.models(host)
        wanted, given = canonical(typed), {canonical(name) for name in besides}
        left = [model for model in models if canonical(model.name) not in given]
        left.sort(key=lambda model: canonical(model.name) != wanted)
        offer = starting(
            typed, [Entry(one.name, "model", model_note(one)) for one in left]
        )
        if {canonical(entry.text) for entry in offer.entries} == {wanted}:
            return Offer(typed)  # it is complete; see ``starting``
        return offer

    def _entries(self, what: Completes) -> Iterable[Entry]:
        sources = self.sources
        found: Iterable[tuple[str, str]] = ()
        if what == "chat":
            found = sources.chats()
        elif what == "compared":
            found = [(name, "compared") for name in sources.compared()]
        elif what == "template":
            found = [(f"@{name}", text) for name, text in sources.templates()]
        elif what == "option":
            from ollama_magic.client.options import MODEL_OPTIONS

            found = [(name, one.about) for name, one in MODEL_OPTIONS.items()]
        elif what == "command":
            from ollama_magic.notebook.commands import COMMANDS

            found = [(c.name, summary("commands.md", c.usage)) for c in COMMANDS]
        kind = {"option": "model option", "compared": "model"}.get(what, what)
        return [Entry(text, kind, note) for text, note in found]


def model_note(model: ModelSummary) -> str:
    """Return what tells a model from others: ``3.2B · 2.0 GB · vision``."""
    if model.cloud_host:
        size = "cloud"
    else:
        size = size_text(model.size_bytes) if model.size_bytes else ""
    special = [one for one in model.capabilities if one != "completion"]
    parts = (model.parameter_size, size, ", ".join(special))
    return " · ".join(filter(None, parts))


def _may_follow(option: Option, given: set[str]) -> bool:
    is_open = option.repeatable or option.kind == "pair"
    return is_open or option.field not in given


def _flags(options: Iterable[Option], *, long_only: bool = False) -> list[Entry]:
    return [
        Entry(flag, "option", summary("options.md", option.label))
        for option in options
        for flag in (option.flags[-1:] if long_only else reversed(option.flags))
    ]


def _is_json_file(name: str) -> bool:
    return name.lower().endswith(".json")
