"""The word that is being typed on a magic line, and the entries that Tab offers."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ollama_magic.errors import size_text
from ollama_magic.generation.options import Option, find_option
from ollama_magic.render.text import visible_text

_MOST_FILES = 5000
_MOST_ENTRIES = 300
_LONGEST_NOTE = 72


@dataclass(frozen=True, slots=True)
class Word:
    """A word up to the cursor."""

    raw: str = ""
    """As it is typed, with its quotes."""
    value: str = ""
    quote: str = ""
    """The quote that is still open."""

    def after_equals(self) -> Word:
        """Return the part after the first ``=``: the value of a long option."""
        raw, value = self.raw.partition("=")[2], self.value.partition("=")[2]
        return Word(raw, value, self.quote)


def split(text: str) -> tuple[list[str], Word]:
    """Return the complete words of a line, and the one that is being typed.

    >>> split('llama3.2 -s "a b" -F "my fi')
    (['llama3.2', '-s', 'a b', '-F'], Word(raw='"my fi', value='my fi', quote='"'))
    """
    words: list[str] = []
    value, start, quote, is_escaped = "", -1, "", False
    for index, char in enumerate(text):
        if start < 0:
            if char.isspace():
                continue
            start = index
        if is_escaped:
            value, is_escaped = value + char, False
        elif char == "\\" and quote != "'":
            is_escaped = True
        elif quote:
            value, quote = (value, "") if char == quote else (value + char, quote)
        elif char in "\"'":
            quote = char
        elif char.isspace():
            words.append(value)
            value, start = "", -1
        else:
            value += char
    return words, Word(text[start:] if start >= 0 else "", value, quote)


@dataclass(slots=True)
class Position:
    """The position after the complete words of a line with options."""

    options: Sequence[Option]
    waits: Option | None = None
    """The option whose value comes next."""
    waits_anything: bool = False
    """The value of a model option comes next; nothing can be offered."""
    plain: list[str] = field(default_factory=list)
    """The words that belong to no option."""
    given: set[str] = field(default_factory=set)
    """The fields of the options before."""
    host: str = ""
    """The value of ``--host``."""

    def _add(self, word: str) -> None:
        flag, equals, value = word.partition("=")
        if self.waits is not None:
            self.waits_anything = self.waits.kind == "pair" and not equals
            self.host = word if self.waits.field == "host" else self.host
            self.waits = None
        elif self.waits_anything:
            self.waits_anything = False
        elif option := find_option(self.options, flag):
            self.given.add(option.field)
            self.host = value if equals and option.field == "host" else self.host
            takes_value = option.kind in {"value", "pair"} and not equals
            self.waits = option if takes_value else None
        elif not word.startswith("-"):
            self.plain.append(word)


def position_after(words: Iterable[str], options: Sequence[Option]) -> Position:
    """Return the position after these words."""
    position = Position(options)
    for word in words:
        position._add(word)
    return position


def file_offer(
    word: Word, after: str, fits: Callable[[str], bool] = lambda _: True
) -> Offer:
    """Return the files and folders that a path may become.

    A path with blanks is quoted; the quote of a folder stays open.

    Parameters
    ----------
    after
        The line after the cursor: an editor may have closed the quote.
    fits
        Decides by the name of a file.
    """
    typed = word.value
    folder, slash, begins = typed.rpartition("/")
    entries = []
    for found, is_folder, size in _files(f"{folder}{slash}", begins):
        if not (is_folder or fits(found)) or not is_visible(found):
            continue
        path = f"{folder}{slash}{found}" + "/" * is_folder
        entries.append(
            Entry(
                _quoted(path, word.quote, after, is_open=is_folder),
                "folder" if is_folder else "file",
                "" if is_folder else size_text(size),
            )
        )
    return Offer(word.raw, tuple(entries))


def _quoted(path: str, quote: str, after: str, *, is_open: bool) -> str:
    if not quote and shlex.quote(path).strip("'") == path and "'" not in path:
        needs = shlex.quote(path) != path and not path.startswith("~")
        quote = "'" if needs and set(path) & set(' \t()&;|<>*?$`"\\') else ""
    elif not quote:
        quote = '"'
    is_closed = not quote or is_open or after.startswith(quote)
    inner = path
    if quote == '"':
        inner = path.replace("\\", "\\\\").replace('"', '\\"')
    return f"{quote}{inner}" + ("" if is_closed else quote)


def _files(folder: str, begins: str) -> Iterator[tuple[str, bool, int]]:
    """Yield names in a folder, whether they are folders, and sizes; sorted."""
    found = []
    with suppress(OSError, RuntimeError, ValueError):
        with os.scandir(Path(folder or ".").expanduser()) as entries:
            for entry in islice(entries, _MOST_FILES):
                hidden = entry.name.startswith(".") and not begins.startswith(".")
                if entry.name.startswith(begins) and not hidden:
                    found.append(entry)
        for entry in sorted(found, key=lambda one: one.name.lower())[:300]:
            with suppress(OSError):
                is_folder = entry.is_dir()
                yield entry.name, is_folder, 0 if is_folder else entry.stat().st_size


# -- entries --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One completion."""

    text: str
    """What is inserted."""
    kind: str
    """``option``, ``model``, ``variable`` …"""
    note: str = ""
    """A few words about it; whatever they come from."""

    @property
    def type(self) -> str:
        """The kind and the note, as the popup shows them beside the text.

        JupyterLab has one field for both (its first letter is the coloured mark) and
        breaks it at spaces, of which only the first line would be visible.
        """
        note = self.note if len(self.note) <= _LONGEST_NOTE else f"{self.note[:71]}…"
        shown = " ".join(visible_text(note).split())
        return (f"{self.kind} · {shown}" if shown else self.kind).replace(" ", "\xa0")


@dataclass(frozen=True, slots=True)
class Offer:
    """The completions at the cursor."""

    typed: str = ""
    """The end of the text before the cursor that they replace."""
    entries: tuple[Entry, ...] = ()


NOTHING = Offer()
"""No completion belongs here, and Python's would be wrong."""


def is_visible(text: str) -> bool:
    """Return whether a text is what it looks like, on one line."""
    return text.isprintable() and visible_text(text) == text


def starting(typed: str, entries: Iterable[Entry]) -> Offer:
    """Return the entries that begin with what was typed.

    A text with invisible characters is not offered: it may control a terminal, or look
    like another one. Nor is the word that is there already: accepting it would only
    take the next Enter.
    """
    found = [e for e in entries if e.text.startswith(typed) and is_visible(e.text)]
    if [entry.text for entry in found] == [typed]:
        found = []
    return Offer(typed, tuple(found[:_MOST_ENTRIES]))
