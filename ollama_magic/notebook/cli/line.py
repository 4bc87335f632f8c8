"""Splits a magic line as a POSIX shell does, and separates its options.

The options that are allowed are passed in. Words are split with :mod:`shlex`, because
IPython's own splitter keeps quotes, cuts ``--system="a b"`` at the blank, and differs
on Windows. :mod:`argparse` can't read the options: it loses the exact free text of
``ask``, reads ``--seed -1`` as the option ``-1``, has no ``KEY=VALUE`` pairs, and its
errors have no nearest option and no next step. Nothing is expanded or abbreviated.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ollama_magic.errors import nearest, usage_error
from ollama_magic.generation.options import Option, find_option, is_number


@dataclass(frozen=True, slots=True)
class GivenOption:
    """An option on the line, with the flag and the values that were typed."""

    option: Option
    flag: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitLine:
    """The parts of a line: options, plain words, and the free text at its end."""

    given: tuple[GivenOption, ...]
    words: tuple[str, ...]
    text: str = ""


def read_line(
    line: str, options: Sequence[Option], magic: str, *, ends_in_text: bool = False
) -> SplitLine:
    """Read a line with some options.

    Parameters
    ----------
    line
        What follows the magic.
    options
        The options that are allowed.
    magic
        How errors name it: ``%%ollama``, ``%ollama rm``.
    ends_in_text
        The options end at the first plain word, and the rest of the line is free
        text, returned exactly as it was typed, including quotes.

    Raises
    ------
    UsageError
        Unbalanced quotes, an unknown option, or a missing or superfluous value.
    """
    return _LineReader(line, options, magic, ends_in_text=ends_in_text).read()


def _begins_option(word: str) -> bool:
    """Return whether a word is an option; a dash alone is not."""
    return word.startswith("-") and word[1:2].strip() != ""


class _LineReader:
    """Reads the words of a line one by one, which leaves the free text untouched."""

    def __init__(
        self, line: str, options: Sequence[Option], magic: str, *, ends_in_text: bool
    ) -> None:
        # NB: half a surrogate pair, from a program, can be neither sent nor stored.
        self._line = line.encode("utf-8", "replace").decode()
        self._options = options
        self._magic = magic
        self._ends_in_text = ends_in_text
        self._stream = io.StringIO(self._line)
        self._lexer = shlex.shlex(self._stream, posix=True)
        self._lexer.whitespace_split = True
        self._lexer.commenters = ""
        self._lexer.whitespace += "\xa0"  # pasted from a web page

    def read(self) -> SplitLine:
        """Read the whole line."""
        given: list[GivenOption] = []
        plain: list[str] = []
        options_ended = False
        while True:
            rest = self._line[self._stream.tell() :].strip()
            if self._ends_in_text and (options_ended or not _begins_option(rest)):
                return SplitLine(tuple(given), (), rest)
            word = self._next_word()
            if word is None:
                return SplitLine(tuple(given), tuple(plain))
            if options_ended or not _begins_option(word):
                plain.append(word)
            elif word == "--":
                options_ended = True
            else:
                given.extend(self._read_options(word))

    def _next_word(self) -> str | None:
        """Return the next word without its quotes; None at the end of the line."""
        try:
            return self._lexer.get_token()
        except ValueError as error:
            is_cell = self._magic.startswith("%%")
            hint = "; the prompt goes on the lines below" if is_cell else ""
            raise usage_error(
                f"Unbalanced quotes on this line: {self._magic} {self._line}",
                why=str(error),
                next_step=f"close the quote, or put \\ before it{hint}",
            ) from error

    def _read_options(self, word: str) -> Iterator[GivenOption]:
        """Read a word that begins with a dash, and its values."""
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            option = self._find(flag)
            yield self._with_values(option, flag, value if equals else None)
            return
        letters = word[1:]
        while letters:  # -q1, -t0.2 and -qt0.2, as POSIX has it
            flag, letters = f"-{letters[0]}", letters[1:]
            option = self._find(flag)
            if option.kind == "switch":
                yield GivenOption(option, flag)
            else:
                attached = letters.removeprefix("=") if letters else None
                yield self._with_values(option, flag, attached)
                return

    def _find(self, flag: str) -> Option:
        option = find_option(self._options, flag)
        if option is not None:
            return option
        flags = [name for option in self._options for name in option.flags]
        likely = nearest(flag, flags)
        meant = find_option(self._options, likely) if likely else None
        # NB: the suggestion must not delete anything.
        page = f"%ollama help {self._magic.partition(' ')[2]}".rstrip()
        hint = f"all options: {page}"
        if meant and not meant.discards:
            hint = f"did you mean {likely}? All options: {page}"
        if self._ends_in_text:
            hint += f"   Text that begins with a dash: {self._magic} -- TEXT"
        raise usage_error(
            f"{self._magic} has no option {flag}.",
            next_step=hint,
        )

    def _with_values(
        self, option: Option, flag: str, attached: str | None
    ) -> GivenOption:
        if option.kind == "switch":
            if attached is not None:
                raise usage_error(
                    f"{flag} takes no value, but got {attached!r}.",
                    next_step=f"{self._magic} {flag}",
                )
            return GivenOption(option, flag)
        if option.kind == "optional":
            return GivenOption(option, flag, () if attached is None else (attached,))
        first = self._next_value(option, flag) if attached is None else attached
        if option.kind == "value":
            return GivenOption(option, flag, (first,))
        key, equals, value = first.partition("=")
        if not equals:
            value = self._next_value(option, flag)
        return GivenOption(option, flag, (key, value))

    def _next_value(self, option: Option, flag: str) -> str:
        word = self._next_word()
        if word is not None and (
            (option.takes_numbers and is_number(word)) or not self._is_flag(word)
        ):
            return word
        why = "the line ends after it" if word is None else f"{word} is an option"
        raise usage_error(
            f"{flag} needs a value: {flag} {option.metavar}",
            why=why,
            next_step=f"{self._magic} {flag} {_example(option)}",
        )

    def _is_flag(self, word: str) -> bool:
        flag = word.partition("=")[0] if word.startswith("--") else word
        return flag == "--" or find_option(self._options, flag) is not None


def _example(option: Option) -> str:
    return option.choices[0] if option.choices else option.example
