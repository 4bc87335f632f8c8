"""The settings, declared once; how options override them, and which go together.

``OllamaMagics`` makes its traits from ``Settings``, a session outside IPython uses its
defaults, and ``%ollama config`` and the documentation list its fields. An option always
overrides the setting of the same name. ``LineReader`` calls ``check_together`` when it
has read a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ollama_magic.client.options import OptionValue
from ollama_magic.errors import ConfigError, usage_error
from ollama_magic.generation.option_values import THINK_LEVELS
from ollama_magic.generation.options import (
    FORMATS,
    TRUNCATIONS,
    ChatOptions,
    check_value,
    example_of,
)


def _setting(default: Any, help: str, **facts: object) -> Any:  # noqa: ANN401
    """Return the field of a setting; ``facts`` are for its trait.

    They are ``choices``, ``min``, ``max``; and ``is_text``: without a default, text is
    valid too.
    """
    return field(default=default, metadata={"help": help, **facts})


@dataclass(frozen=True)
class Settings:
    """The settings of ``%config OllamaMagics``, at one moment."""

    host: str = _setting(
        "", "Server address, as in OLLAMA_HOST; empty: OLLAMA_HOST, or this machine."
    )
    model: str = _setting("", "Default model of new chats; empty: OLLAMA_MODEL.")
    system: str = _setting("", "System message of chats that have none.")
    options: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": 'Model options of every request, as with -o: {"temperature": 0}.'
        },
    )
    keep_alive: str = _setting(
        "", "How long models stay loaded: 10m, seconds, 0 (unload), -1 (for ever)."
    )
    think: bool | str | None = _setting(
        None,
        "Whether models think: True, False, a level, or None (the model's default).",
        is_text=True,
    )
    allow_cloud: bool | None = _setting(
        None,
        "Cloud models: None, only if named; True, also by default; False, never.",
    )
    format: str = _setting(
        "markdown", "How replies are shown, as with -f.", choices=FORMATS
    )
    truncate: str = _setting(
        "",
        "Prompts longer than the context: warn, error; empty: error for data.",
        choices=("", *TRUNCATIONS),
    )
    footer: bool = _setting(True, "Show the footer under replies.")
    cached: bool = _setting(False, "Reuse cached replies, as with --cached.")
    tool_rounds: int = _setting(
        8, "Rounds of tool calls after which the model has to reply.", min=1
    )
    history_file: str = _setting(
        "", "File that stores the chats; empty: a file in your data directory."
    )
    notebook: str = _setting("", "Path of this notebook, if it can't be detected.")
    update_hz: float = _setting(
        10.0,
        "Screen updates per second while a reply streams; after 3 s gradually fewer, "
        "but at least 3.",
        min=0.5,
        max=30.0,
    )
    timeout: float = _setting(
        300.0,
        "Seconds without data after which a reply is abandoned; 0: never.",
        min=0.0,
    )
    insecure_hosts: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Hosts that may receive the API key and headers over plain HTTP: "
            "['gpu.lan:11434']."
        },
    )
    headers: dict[str, str] = field(
        default_factory=dict,
        metadata={
            "help": "Extra headers for the configured host, never shown: "
            '{"X-API-Key": os.environ["MY_KEY"]}.'
        },
    )


SETTING_NAMES = tuple(one.name for one in fields(Settings))
_SAME_AS_OPTION = (
    "model",
    "system",
    "options",
    "keep_alive",
    "think",
    "format",
    "truncate",
)


def check_setting(name: str, value: Any) -> Any:  # noqa: ANN401  (of any type)
    """Return the value of a setting, checked with the option of the same name.

    Raises
    ------
    ConfigError
        The value is invalid.
    """
    if name not in _SAME_AS_OPTION or value in ("", None, {}):  # not set
        return value
    try:
        return check_value(name, value)
    except ConfigError as error:
        if name == "options":  # its error names the option
            raise
        next_step = f"%config OllamaMagics.{name} = {example_of(name, value)}"
        raise ConfigError(error.what, why=error.why, next_step=next_step) from error


def merged(settings: Settings, options: ChatOptions) -> ChatOptions:
    """Return the options of a prompt, with the settings for those not given.

    The model and the system message depend on the chat too: ``models.chosen_model``
    and ``prepare`` choose them.

    Raises
    ------
    ConfigError
        A setting has an invalid value.
    """
    has_schema = options.schema is not None
    # NB: with a schema the setting `think` is ignored: with both, some models do not
    # think and others write no JSON (ollama#11545, #14645, #15260).
    think = settings.think if options.think is None and not has_schema else None
    keep_alive = options.keep_alive
    if keep_alive is None and settings.keep_alive:
        keep_alive = check_setting("keep_alive", settings.keep_alive)
    return replace(
        options,
        options=model_options(settings, options.options),
        keep_alive=keep_alive,
        think=think if options.think is None else options.think,
        format=options.format or ("json" if has_schema else settings.format),
        truncate=truncation(settings, options.truncate, is_data=has_schema),
        cached=options.cached or settings.cached,
        quiet=options.quiet or not settings.footer,
    )


def truncation(settings: Settings, given: str | None, *, is_data: bool) -> str:
    """Return what happens to a prompt that does not fit: ``warn`` or ``error``.

    A person sees a warning beside a reply; data go on to the next step without it.
    """
    setting: str = check_setting("truncate", settings.truncate)
    return given or setting or ("error" if is_data else "warn")


def model_options(
    settings: Settings, given: Mapping[str, OptionValue]
) -> dict[str, OptionValue]:
    """Return the model options of a request: those given, then those of the settings.

    Raises
    ------
    ConfigError
        The setting ``options`` has an invalid value.
    """
    # NB: the trait checks what is assigned, but a dict can be changed in place.
    return {**check_setting("options", settings.options), **given}


def system_message(settings: Settings, given: str | None) -> str | None:
    """Return the system message of a new chat, or of a request outside of chats."""
    return (settings.system or None) if given is None else given


# -- which options go together ------------------------------------------------------

_CONTRADICTIONS = (
    (
        "once",
        ("chat", "new", "append", "last"),
        "--once neither reads nor changes the chat",
    ),
    (
        "choose",
        (
            *("compare", "chat", "new", "append", "last", "schema", "format", "tools"),
            *("extract", "logprobs", "hide_thinking", "cells", "above"),
        ),
        "--choose makes a decision, which belongs to no chat",
    ),
    ("new", ("last",), "--new sends no earlier turns"),
    ("schema", ("tools",), "a reply with a schema cannot call tools"),
    (
        "compare",
        ("append",),
        "a comparison adds no turn; %ollama keep MODEL does it afterwards",
    ),
    ("above", ("cells",), "--above sends all cells above this one"),
    ("compare", ("tools", "extract"), "compared models answer in a single round"),
)
"""An option, others that can't be used with it, and why."""

_NEEDS = (
    ("yes", {"tools"}, "-T NAME", "-T NAME"),
    ("outputs", {"cells", "above"}, "--cells or --above", "--above"),
)
"""An option, those without which it has no effect, their name and an example."""

_NAMES_CELLS = "%ollama explain"
"""The line whose operands are cells, so that ``--outputs`` needs no other option."""


def check_together(
    fields: Mapping[str, Any], flags: Mapping[str, str], magic: str
) -> None:
    """Raise an error for options that cannot be used together, or need another.

    Parameters
    ----------
    fields
        The values of the options by their fields.
    flags
        The flags that set them, as they were typed.
    magic
        How errors name the line.

    Raises
    ------
    UsageError
        As above.
    """
    models = (fields.get("model"), *fields.get("compare", ()))
    level = next((name for name in models if name in THINK_LEVELS), None)
    if level is not None and fields.get("think") is True:
        raise usage_error(
            f"{level!r} was read as the name of a model.",
            why="a thinking level is written with =",
            next_step=f"{magic} --think={level}",
        )
    number = next((name for name in models if name and name.isdecimal()), None)
    if number is not None and "cells" in fields:
        ranges = [f"{a}" if a == b else f"{a}-{b}" for a, b in fields["cells"]]
        raise usage_error(
            f"{number!r} was read as the name of a model.",
            why="numbers of cells have commas and no blanks between them",
            next_step=f"{magic} --cells {','.join([*ranges, number])}",
        )
    for one, others, why in _CONTRADICTIONS:
        for other in others:
            if fields.get(one) and other in fields and fields[other] != 0:
                raise usage_error(
                    f"{flags[one]} and {flags[other]} cannot be used together.",
                    why=why,
                    next_step=f"remove {flags[one]} or {flags[other]}",
                )
    for one, needed, named, example in _NEEDS:
        names_cells = magic == _NAMES_CELLS and one == "outputs"
        if one in fields and not (needed & fields.keys() or names_cells):
            raise usage_error(
                f"{flags[one]} has no effect without {named}.",
                next_step=f"{magic} {example} {flags[one]}",
            )
