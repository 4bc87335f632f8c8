"""Reads the line of ``%%ollama`` into ``ChatOptions``.

The magics and the subcommands that ask use it. It checks which options can't be used
together; their flags, and how a value is read, are declared in ``generation.options``.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ollama_magic.client.models import canonical
from ollama_magic.client.options import MODEL_OPTIONS, OptionValue, read_option
from ollama_magic.errors import ConfigError, nearest, usage_error
from ollama_magic.generation.options import (
    CHAT_OPTIONS,
    THINK_LEVELS,
    ChatOptions,
    Option,
    read_models,
)
from ollama_magic.notebook.cli.line import GivenOption, SplitLine, read_line

_CELL_MAGIC = "%%ollama"

_CONTRADICTIONS = (
    (
        "once",
        ("chat", "new", "append", "last"),
        "--once neither reads nor changes the chat",
    ),
    ("new", ("last",), "--new sends no earlier turns"),
    ("schema", ("tools",), "a reply with a schema cannot call tools"),
    (
        "compare",
        ("append",),
        "a comparison adds no turn; %ollama keep MODEL does it afterwards",
    ),
    (
        "compare",
        ("tools", "extract"),
        "compared models answer in a single round",
    ),
)
"""An option, others that can't be used with it, and why."""

_BELONGS_TO = (("yes", "tools", "-T NAME"),)
"""An option, the one that it needs, and how that is written."""

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
    read = read_line(rest, CHAT_OPTIONS, _CELL_MAGIC)
    if len(read.words) > 1:
        _raise_not_a_model(read.words)
    if read.words:
        _check_not_subcommand(read.words[0])
        model = GivenOption(CHAT_OPTIONS[0], f"MODEL {read.words[0]!r}", read.words)
        read = SplitLine((model, *read.given), ())
    return make_chat_arguments(read.given, _CELL_MAGIC, target=target)


def make_chat_arguments(
    given: Sequence[GivenOption], magic: str, *, target: str | None = None
) -> ChatOptions:
    """Return the typed value of options that were read from a line.

    Raises
    ------
    UsageError
        An invalid value, an option that is given twice, or options that cannot be
        used together.
    """
    fields: dict[str, Any] = {}
    options: dict[str, OptionValue] = {}
    flags: dict[str, str] = {}
    for one in given:
        if one.option.kind == "pair" or one.option.is_model_option:
            _add_model_option(one, magic, options, flags)
        elif one.option.repeatable:
            flags[one.option.field] = one.flag
            fields[one.option.field] = (
                *fields.get(one.option.field, ()),
                _value(one, magic),
            )
        else:
            _claim(one.option.field, one.flag, flags)
            fields[one.option.field] = _value(one, magic)
    _set_models(fields, flags, magic)
    _check_together(fields, flags, magic)
    _check_belongs(fields, flags, magic)
    if target and "dry_run" in fields:
        raise usage_error(
            f"--dry-run gets no reply to assign to {target}.",
            next_step=f"{magic} --dry-run",
        )
    return ChatOptions(target=target, options=options, **fields)


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


def read_values(given: Sequence[GivenOption], magic: str) -> dict[str, object]:
    """Return the values of a subcommand's own options, by their fields.

    Raises
    ------
    UsageError
        An invalid value, or an option that is given twice.
    """
    fields: dict[str, object] = {}
    options: dict[str, OptionValue] = {}
    flags: dict[str, str] = {}
    for one in given:
        if one.option.kind == "pair":
            _add_model_option(one, magic, options, flags)
        else:
            _claim(one.option.field, one.flag, flags)
            fields[one.option.field] = _value(one, magic)
    return {**fields, "options": options} if options else fields


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


def _claim(key: str, flag: str, flags: dict[str, str]) -> None:
    """Record the flag that set something; raise an error for a second one."""
    if key not in flags:
        flags[key] = flag
        return
    earlier = flags[key]
    if earlier == flag:
        raise usage_error(f"{flag} is given twice.", next_step=f"keep only one {flag}")
    raise usage_error(
        f"{earlier} and {flag} cannot be used together.",
        next_step=f"remove {earlier} or {flag}",
    )


def _add_model_option(
    one: GivenOption, magic: str, options: dict[str, OptionValue], flags: dict[str, str]
) -> None:
    if one.option.is_model_option:
        name, text = one.option.field, one.values[0]
        flag = one.flag
    else:
        name, text = one.values
        flag = f"{one.flag} {name}"
    value = _read_model_option(name, text, magic, flag)
    earlier = options.get(name)
    if isinstance(earlier, list) and isinstance(value, list):
        options[name] = earlier + value  # -o stop A -o stop B: both, as in a Modelfile
        return
    _claim(f"-o {name}", flag, flags)
    options[name] = value


def _read_model_option(name: str, text: str, magic: str, flag: str) -> OptionValue:
    try:
        return read_option(name, text)
    except ConfigError as error:
        next_step = error.next_step
        if name in MODEL_OPTIONS:
            next_step = f"{magic} {flag} {MODEL_OPTIONS[name].example}"
        raise usage_error(error.what, why=error.why, next_step=next_step) from error


def _value(one: GivenOption, magic: str) -> object:
    option = one.option
    if not one.values:
        return option.const
    (text,) = one.values
    if option.choices:
        if text not in option.choices:
            _raise_invalid_choice(option, one.flag, text, magic)
        return text
    if option.field == "model":
        _check_model(text, magic)
    try:
        value = option.read(text)
    except ValueError as error:
        raise usage_error(
            f"{one.flag} cannot be {text!r}.",
            why=str(error),
            next_step=f"{magic} {one.flag} {option.example}",
        ) from error
    if option.field == "compare":
        for name in read_models(text):
            _check_model(name, magic)
    return value


def _raise_invalid_choice(option: Option, flag: str, text: str, magic: str) -> NoReturn:
    likely = nearest(text, option.choices) or option.choices[0]
    joint = "=" if option.kind == "optional" else " "
    raise usage_error(
        f"{flag} cannot be {text!r}.",
        why=f"it must be one of {', '.join(option.choices)}",
        next_step=f"{magic} {flag}{joint}{likely}",
    )


def _check_model(text: str, magic: str) -> None:
    check_model_name(text, magic)
    if "?" in text or len(text.split()) > 1:
        _raise_not_a_model((text,))


def _raise_not_a_model(words: Sequence[str]) -> NoReturn:
    text = " ".join(words)
    if "<<" in words:
        raise usage_error(
            f"NAME << must come first on the line: {text!r}.",
            next_step=f"{_CELL_MAGIC} answer << [MODEL] [options]",
        )
    from ollama_magic.notebook.commands import find_command

    command = find_command(words[0])
    is_offered = command is not None and not command.discards
    raise usage_error(
        f"{_CELL_MAGIC} takes one model on its line, not {text!r}.",
        why="the prompt goes on the lines below",
        next_step=f"%ollama ask {text}"
        + (f"   or the subcommand: %ollama {text}" if is_offered else ""),
    )


def _check_not_subcommand(word: str) -> None:
    """Raise an error if a cell names a subcommand where its model belongs."""
    from ollama_magic.notebook.commands import find_command

    command = find_command(word)
    if command is None:
        return
    line = f"%ollama {'help ' if command.discards else ''}{word}"
    raise usage_error(
        f"{word!r} is a subcommand, not a model.",
        why="subcommands have a single % and no lines below",
        next_step=f"{line}   A model with that name: {_CELL_MAGIC} -m {word}",
    )


def _check_belongs(
    fields: Mapping[str, object], flags: Mapping[str, str], magic: str
) -> None:
    """Raise an error for an option that would be ignored."""
    for one, other, flag in _BELONGS_TO:
        if one in fields and other not in fields:
            raise usage_error(
                f"{flags[one]} has no effect without {flag}.",
                next_step=f"{magic} {flag} {flags[one]}",
            )


def _set_models(fields: dict[str, Any], flags: dict[str, str], magic: str) -> None:
    """Set ``model`` or ``compare``, by how many models were given in any way."""
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
            _raise_same_model(name, seen, magic)
        seen[canonical(name)] = name
    if len(names) == 1:
        fields["model"] = names[0]
    elif names:
        fields["compare"] = names
        flags["compare"] = flags[written]


def _raise_same_model(name: str, seen: Mapping[str, str], magic: str) -> NoReturn:
    earlier = seen[canonical(name)]
    is_same = earlier == name
    raise usage_error(
        f"The model {name!r} is given twice."
        if is_same
        else f"{earlier!r} and {name!r} are the same model.",
        why="a comparison needs different models",
        next_step=f"{magic} --compare {earlier},ANOTHER   or one model alone: "
        f"{magic} {earlier}",
    )


def _check_together(
    fields: Mapping[str, Any], flags: Mapping[str, str], magic: str
) -> None:
    """Raise an error for options that cannot be used together."""
    models = (fields.get("model"), *fields.get("compare", ()))
    level = next((name for name in models if name in THINK_LEVELS), None)
    if level is not None and fields.get("think") is True:
        raise usage_error(
            f"{level!r} was read as the name of a model.",
            why="a thinking level is written with =",
            next_step=f"{magic} --think={level}",
        )
    for one, others, why in _CONTRADICTIONS:
        for other in others:
            if fields.get(one) and other in fields and fields[other] != 0:
                raise usage_error(
                    f"{flags[one]} and {flags[other]} cannot be used together.",
                    why=why,
                    next_step=f"remove {flags[one]} or {flags[other]}",
                )
