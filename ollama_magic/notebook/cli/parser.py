"""Reads a magic line, word by word, into the values of its options.

``%%ollama`` and all subcommands of ``%ollama`` use it, each with its own options; how a
value is read is declared in ``generation.options``. Words are split with :mod:`shlex`,
because IPython's own splitter keeps quotes, cuts ``--system="a b"`` at the blank, and
differs on Windows. :mod:`argparse` can't read the options: it loses the exact free text
of ``ask``, reads ``--seed -1`` as the option ``-1``, has no ``KEY=VALUE`` pairs, and
suggests no option and no next step. Nothing is expanded or abbreviated.
"""

from __future__ import annotations

import io
import keyword
import re
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from ollama_magic.client.models import canonical
from ollama_magic.client.options import MODEL_OPTIONS, OptionValue, read_option
from ollama_magic.errors import ConfigError, nearest, usage_error
from ollama_magic.generation.option_values import is_number, read_models
from ollama_magic.generation.options import (
    CHAT_OPTIONS,
    ChatOptions,
    Option,
    find_option,
)
from ollama_magic.generation.settings import check_together

_CELL_MAGIC = "%%ollama"

_TARGET = re.compile(r"""\s*(?!-)([^\s<="']*)\s*<<(?!<)(.*)""", re.S)


def parse_chat_arguments(line: str) -> ChatOptions:
    """Return the options on a ``%%ollama`` line.

    Raises
    ------
    UsageError
        The line has an error; the message says what to type instead.

    Examples
    --------
    >>> args = parse_chat_arguments("answer << llama3.2 -t 0.2 -o num_ctx=8192")
    >>> args.target, args.model, dict(args.options)
    ('answer', 'llama3.2', {'temperature': 0.2, 'num_ctx': 8192})
    """
    target, rest = _split_target(line)
    read = LineReader(_CELL_MAGIC, CHAT_OPTIONS)
    read.add(rest)
    read.take_template()
    if len(read.words) > 1:
        _raise_not_a_model(read.words, read.fields.get("template"))
    for word in read.words:
        _check_not_subcommand(word)
        read.add_model(word, is_first=True)
    if target and "dry_run" in read.fields:
        raise usage_error(
            f"--dry-run gets no reply to assign to {target}.",
            next_step=f"{_CELL_MAGIC} --dry-run",
        )
    return read.chat_options(target)


def _split_target(line: str) -> tuple[str | None, str]:
    match = _TARGET.fullmatch(line)
    if match is None:
        return None, line
    target, rest = match[1], match[2]
    if not target.isidentifier() or keyword.iskeyword(target):
        raise usage_error(
            f"A reply cannot be assigned to {target!r}.",
            why="a Python name must come before <<",
            next_step=f"{_CELL_MAGIC} answer <<{rest}",
        )
    return target, rest


def _begins_option(word: str) -> bool:
    """Return whether a word is an option; a dash alone is not."""
    return word.startswith("-") and word[1:2].strip() != ""


class LineReader:
    """The options, the words and the free text of a line.

    Parameters
    ----------
    magic
        How errors name it: ``%%ollama``, ``%ollama rm``.
    options
        The options that are allowed.
    ends_in_text
        The options end at the first plain word, and the rest of the line is free
        text, kept exactly as it was typed, including quotes.
    """

    def __init__(
        self, magic: str, options: Sequence[Option], *, ends_in_text: bool = False
    ) -> None:
        self.fields: dict[str, Any] = {}
        """The values of the options by their fields; ``options`` has model options."""
        self.flags: dict[str, str] = {}
        """The flags that set the fields, as they were typed."""
        self.words: list[str] = []
        self.text = ""
        self._magic = magic
        self._options = options
        self._ends_in_text = ends_in_text

    def add(self, line: str) -> None:
        """Read a line, or one more part of it.

        Raises
        ------
        UsageError
            Unbalanced quotes, an unknown option, a missing, superfluous or invalid
            value, or an option that is given twice.
        """
        # NB: half a surrogate pair, from a program, can be neither sent nor stored.
        self._line = line.encode("utf-8", "replace").decode()
        self._stream = io.StringIO(self._line)
        self._lexer = shlex.shlex(self._stream, posix=True)
        self._lexer.whitespace_split = True
        self._lexer.commenters = ""
        self._lexer.whitespace += "\xa0"  # pasted from a web page
        options_ended = False
        while True:
            rest = self._line[self._stream.tell() :].strip()
            if self._ends_in_text and (options_ended or not _begins_option(rest)):
                self.text = rest
                return
            word = self._next_word()
            if word is None:
                return
            if options_ended or not _begins_option(word):
                self.words.append(word)
            elif word == "--":
                options_ended = True
            else:
                self._read_options(word)

    def take_template(self) -> None:
        """Read ``@NAME`` among the words as the name of a template."""
        names = [word for word in self.words if word.startswith("@")]
        self.words = [word for word in self.words if not word.startswith("@")]
        for name in names:
            self._set("template", name, name[1:])

    def add_model(self, name: str, *, is_first: bool = False) -> None:
        """Add a model that was named without a flag."""
        flag, earlier = f"MODEL {name!r}", self.fields.get("model", ())
        value = self._value(CHAT_OPTIONS[0], flag, name)
        self.fields["model"] = (value, *earlier) if is_first else (*earlier, value)
        self.flags.setdefault("model", flag)

    def chat_options(self, target: str | None = None) -> ChatOptions:
        """Return what was read as the options of a prompt.

        Raises
        ------
        UsageError
            Options that cannot be used together, or one that needs another.
        """
        self._set_models()
        check_together(self.fields, self.flags, self._magic)
        return ChatOptions(target=target, **self.fields)

    # -- words -----------------------------------------------------------------

    def _next_word(self) -> str | None:
        """Return the next word without its quotes; None at the end of the line."""
        try:
            return self._lexer.get_token()
        except ValueError as error:
            is_cell = self._magic == _CELL_MAGIC
            hint = "; the prompt goes on the lines below" if is_cell else ""
            raise usage_error(
                f"Unbalanced quotes on this line: {self._magic} {self._line}",
                why=str(error),
                next_step=f"close the quote, or put \\ before it{hint}",
            ) from error

    def _read_options(self, word: str) -> None:
        """Read a word that begins with a dash, and its values."""
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            self._read_option(flag, value if equals else None)
            return
        meant = find_option(self._options, f"-{word}".partition("=")[0])
        if meant is not None and not meant.discards:  # -model, not -m odel
            raise usage_error(
                f"{self._magic} has no option {word}.",
                next_step=f"long options have two dashes: {self._magic} -{word}",
            )
        letters = word[1:]
        while letters:  # -q1, -t0.2 and -qt0.2, as POSIX has it
            flag, letters = f"-{letters[0]}", letters[1:]
            if self._find(flag).kind == "switch":
                self._read_option(flag, None)
            else:
                self._read_option(flag, letters.removeprefix("=") if letters else None)
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
        raise usage_error(f"{self._magic} has no option {flag}.", next_step=hint)

    def _next_value(self, option: Option, flag: str) -> str:
        word = self._next_word()
        if word is not None and (
            (option.takes_numbers and is_number(word)) or not self._is_flag(word)
        ):
            return word
        example = option.choices[0] if option.choices else option.example
        raise usage_error(
            f"{flag} needs a value: {flag} {option.metavar}",
            why="the line ends after it" if word is None else f"{word} is an option",
            next_step=f"{self._magic} {flag} {example}",
        )

    def _is_flag(self, word: str) -> bool:
        flag = word.partition("=")[0] if word.startswith("--") else word
        return flag == "--" or find_option(self._options, flag) is not None

    # -- values ----------------------------------------------------------------

    def _read_option(self, flag: str, attached: str | None) -> None:
        """Set the field of an option, by the value attached to it or the next word."""
        option = self._find(flag)
        if option.kind == "switch" and attached is not None:
            raise usage_error(
                f"{flag} takes no value, but got {attached!r}.",
                next_step=f"{self._magic} {flag}",
            )
        if option.kind == "switch" or (option.kind == "optional" and attached is None):
            self._set(option.field, flag, option.const)
            return
        text = self._next_value(option, flag) if attached is None else attached
        if option.kind == "pair":
            name, equals, text = text.partition("=")
            if not equals:
                text = self._next_value(option, flag)
            self._set_model_option(name, text, f"{flag} {name}")
        elif option.is_model_option:
            self._set_model_option(option.field, text, flag)
        elif option.repeatable:
            earlier = self.fields.get(option.field, ())
            self.fields[option.field] = (*earlier, self._value(option, flag, text))
            self.flags[option.field] = flag
        else:
            self._set(option.field, flag, self._value(option, flag, text))

    def _set(self, field: str, flag: str, value: object) -> None:
        if field not in self.fields:
            self.fields[field], self.flags[field] = value, flag
        elif value is not self.fields[field] or not isinstance(value, bool):
            self._raise_given_twice(self.flags[field], flag)

    def _set_model_option(self, name: str, text: str, flag: str) -> None:
        options: dict[str, OptionValue] = self.fields.setdefault("options", {})
        value = self._model_option(name, text, flag)
        earlier, key = options.get(name), f"-o {name}"
        if isinstance(earlier, list) and isinstance(value, list):
            options[name] = earlier + value  # -o stop A -o stop B, as in a Modelfile
            return
        if key in self.flags:
            self._raise_given_twice(self.flags[key], flag)
        options[name], self.flags[key] = value, flag

    def _model_option(self, name: str, text: str, flag: str) -> OptionValue:
        try:
            return read_option(name, text)
        except ConfigError as error:
            is_example = error.next_step.startswith("-o ")
            next_step = f"{self._magic} " * is_example + error.next_step
            if name in MODEL_OPTIONS and not is_example:
                next_step = f"{self._magic} {flag} {MODEL_OPTIONS[name].example}"
            raise usage_error(error.what, why=error.why, next_step=next_step) from error

    def _raise_given_twice(self, earlier: str, flag: str) -> NoReturn:
        if earlier == flag:
            raise usage_error(
                f"{flag} is given twice.", next_step=f"keep only one {flag}"
            )
        raise usage_error(
            f"{earlier} and {flag} cannot be used together.",
            next_step=f"remove {earlier} or {flag}",
        )

    def _value(self, option: Option, flag: str, text: str) -> object:
        joint = "=" if option.kind == "optional" else " "
        if option.choices and text not in option.choices:
            likely = nearest(text, option.choices) or option.choices[0]
            several = len(option.choices) > 1
            raise usage_error(
                f"{flag} cannot be {text!r}.",
                why=f"it must be {'one of ' * several}{', '.join(option.choices)}",
                next_step=f"{self._magic} {flag}{joint}{likely}",
            )
        if option.field == "model":
            self._check_model(text)
        try:
            value = option.read(text)
        except ValueError as error:
            raise usage_error(
                f"{flag} cannot be {text!r}.",
                why=str(error),
                next_step=f"{self._magic} {flag}{joint}{option.example}",
            ) from error
        if option.field == "compare":
            for name in read_models(text):
                self._check_model(name)
        return value

    # -- models ----------------------------------------------------------------

    def _check_model(self, text: str) -> None:
        check_model_name(text, self._magic)
        if all(text.partition(",")):
            raise usage_error(
                f"A model name cannot contain a comma: {text!r}.",
                next_step=f"to compare models: {self._magic} --compare {text}",
            )
        if "?" in text or len(text.split()) > 1:
            _raise_not_a_model((text,))

    def _set_models(self) -> None:
        """Set ``model`` or ``compare``, by how many models were given in any way."""
        fields, flags, magic = self.fields, self.flags, self._magic
        if "model" in fields and "compare" in fields:
            raise usage_error(
                f"{flags['model']} and --compare cannot be used together.",
                why="--compare lists all models to ask",
                next_step=f"{magic} --compare "
                f"{','.join([*fields['model'], *fields['compare']])}",
            )
        written = "compare" if "compare" in fields else "model"
        names: tuple[str, ...] = fields.pop(written, ())
        seen: dict[str, str] = {}
        for name in names:
            if canonical(name) in seen:
                self._raise_same_model(seen[canonical(name)], name)
            seen[canonical(name)] = name
        if len(names) == 1:
            fields["model"] = names[0]
        elif names:
            fields["compare"] = names
            flags["compare"] = flags[written]

    def _raise_same_model(self, earlier: str, name: str) -> NoReturn:
        raise usage_error(
            f"The model {name!r} is given twice."
            if earlier == name
            else f"{earlier!r} and {name!r} are the same model.",
            why="a comparison needs different models",
            next_step=f"{self._magic} --compare {earlier},ANOTHER   "
            f"or one model alone: {self._magic} {earlier}",
        )


def check_model_name(text: str, magic: str) -> None:
    """Raise an error if an option is in the place of a model.

    Raises
    ------
    UsageError
        The name begins with a dash; Ollama's ``types/model/name.go`` allows only a
        letter or a digit there.
    """
    if text.startswith("-"):
        raise usage_error(
            f"A model name cannot begin with a dash: {text!r}.",
            next_step=f"if it is an option: {magic} {text}   "
            "Installed models: %ollama list",
        )


def _raise_not_a_model(words: Sequence[str], template: str | None = None) -> NoReturn:
    text = " ".join(words)
    if "<<" in words:
        raise usage_error(
            f"NAME << must come first on the line: {text!r}.",
            next_step=f"{_CELL_MAGIC} answer << [MODEL] [options]",
        )
    from ollama_magic.notebook.commands import find_command

    command = find_command(words[0])
    is_offered = command is not None and not command.discards
    # llama3.2 and gpt-oss:20b are names of models; "Why" and "2" are not
    is_model = len(words) > 1 and re.match(r"[a-z][\w./-]*[\d:]", words[0])
    raise usage_error(
        f"{_CELL_MAGIC} takes one model on its line, not {text!r}.",
        why="the prompt goes on the lines below",
        next_step=f"%ollama {'run' if is_model else 'ask'} "
        f"{f'@{template} ' if template else ''}{text}"
        + (f"   or the subcommand: %ollama {text}" if is_offered else ""),
    )


def _check_not_subcommand(word: str) -> None:
    """Raise an error if a cell names a subcommand where its model belongs."""
    if not word.isalpha():  # most models; the subcommands need not be imported
        return
    from ollama_magic.notebook.commands import find_command

    command = find_command(word)
    if command is None:
        return
    helps = command.discards or command.least
    line = f"%ollama {'help ' if helps else ''}{word}"
    raise usage_error(
        f"{word!r} is a subcommand, not a model.",
        why="subcommands have a single % and no lines below",
        next_step=f"{line}   A model with that name: {_CELL_MAGIC} -m {word}",
    )
