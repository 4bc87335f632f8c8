"""The model options that a request may set: names, JSON types, reading from text.

Options are checked before anything is sent, since the server silently ignores unknown
names and answers wrong types with status 500. Sources: Ollama ``api/types.go`` (structs
``Options`` and ``Runner``) and ``docs/modelfile.mdx``.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, NoReturn

from ollama_magic.errors import ConfigError

_LIST = re.compile(r"\[.*,.*\]|\[\s*'.*'\s*\]", re.DOTALL)
OptionType = Literal["int", "float", "bool", "texts"]
OptionValue = bool | int | float | list[str]


class ModelOption(NamedTuple):
    """The JSON type of a model option, an example, and what it does."""

    type: OptionType
    """``texts`` is a list of strings."""
    example: str
    about: str


MODEL_OPTIONS: Mapping[str, ModelOption] = MappingProxyType(
    {
        "temperature": ModelOption(
            "float", "0.2", "randomness of the reply; 0 is the most deterministic"
        ),
        "seed": ModelOption(
            "int", "42", "start of the random numbers, to repeat a reply"
        ),
        "num_ctx": ModelOption(
            "int", "8192", "tokens of context; a change loads the model again"
        ),
        "num_predict": ModelOption(
            "int", "256", "most tokens of a reply; -1 sets no limit"
        ),
        "top_k": ModelOption("int", "40", "choose among this many tokens"),
        "top_p": ModelOption(
            "float", "0.9", "choose among tokens that have this probability together"
        ),
        "min_p": ModelOption(
            "float", "0.05", "leave out tokens below this share of the likeliest"
        ),
        "typical_p": ModelOption(
            "float", "0.7", "prefer tokens of typical probability; 1 is off"
        ),
        "repeat_last_n": ModelOption(
            "int", "64", "how many tokens back repetition counts"
        ),
        "repeat_penalty": ModelOption(
            "float", "1.1", "penalty for repeated tokens; 1 is off"
        ),
        "presence_penalty": ModelOption(
            "float", "0.5", "penalty for tokens that occurred at all"
        ),
        "frequency_penalty": ModelOption(
            "float", "0.5", "penalty for tokens by how often they occurred"
        ),
        "stop": ModelOption(
            "texts", "END", "a text that ends the reply; can be repeated"
        ),
        "num_keep": ModelOption(
            "int", "4", "first tokens to keep when the context is full"
        ),
        "draft_num_predict": ModelOption(
            "int", "4", "tokens that a draft model proposes at a time"
        ),
        "num_batch": ModelOption(
            "int", "512", "tokens of the prompt that are read at a time"
        ),
        "num_gpu": ModelOption("int", "99", "layers of the model on the GPU"),
        "main_gpu": ModelOption("int", "0", "the GPU that does the small work"),
        "num_thread": ModelOption("int", "4", "threads of the CPU"),
        "use_mmap": ModelOption("bool", "true", "map the model's file into memory"),
    }
)
"""Everything that a request may set, the most common first."""

_INT64 = 2**63  # Go's int on the server

_TYPE_NAMES: Mapping[OptionType, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "texts": "a string, or a JSON list of strings",
}


def check_option(name: str, value: object) -> OptionValue:
    """Return a value in the form that the server accepts.

    Parameters
    ----------
    name
        A name of :data:`MODEL_OPTIONS`.
    value
        A JSON value. A whole float counts as an int. A string for ``stop`` becomes a
        list, since the server rejects a plain string.

    Raises
    ------
    ConfigError
        Ollama does not know the name (the error suggests the nearest), or expects
        another type.

    Examples
    --------
    >>> check_option("stop", "END")
    ['END']
    >>> check_option("num_ctx", 4096.0)
    4096
    """
    option = MODEL_OPTIONS.get(name)
    if option is None:
        _reject_name(name)
    kind = option.type
    if kind == "texts":
        items = value if isinstance(value, list) else [value]
        texts = [item for item in items if isinstance(item, str)]
        if len(texts) == len(items):
            return texts
    elif kind == "bool":
        if isinstance(value, bool):
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "float" and abs(value) <= sys.float_info.max:
            return value
        if kind == "int" and abs(value) < _INT64 and value == int(value):
            return int(value)
    _reject_value(name, option, value)


def check_options(options: Mapping[str, object]) -> dict[str, OptionValue]:
    """Return options with every name and value checked by :func:`check_option`.

    Raises
    ------
    ConfigError
        As :func:`check_option`.
    """
    return {name: check_option(name, value) for name, value in options.items()}


def read_option(name: str, text: str) -> OptionValue:
    """Return the value of a text on a magic line: its JSON value, or the text itself.

    Numbers may also be ``.5`` or ``5.``, which are not JSON. For ``stop``, a JSON
    string or list of strings is decoded, and anything else is the text itself.

    Raises
    ------
    ConfigError
        As :func:`check_option`.

    Examples
    --------
    >>> read_option("temperature", ".5")
    0.5
    >>> read_option("stop", "5"), read_option("stop", '["a", "b"]')
    (['5'], ['a', 'b'])
    """
    option = MODEL_OPTIONS.get(name)
    if option is None:
        _reject_name(name)
    value = _from_json(text)
    if option.type in {"int", "float"} and isinstance(value, str):
        value = _from_number(text)
    elif option.type == "texts" and not isinstance(value, str | list):
        value = text
    elif option.type == "texts" and value == text and _LIST.fullmatch(text):
        # The line has lost the quotes of a list.
        raise ConfigError(
            f"The model option {name!r} cannot be {text}.",
            why="it looks like a list, but is not JSON",
            next_step=f"""-o {name} '["a", "b"]', or one text: -o {name} '"[a,b]"'""",
        )
    return check_option(name, value)


def nearest_option(name: str) -> str | None:
    """Return the known name that is most similar to an unknown one, if any."""
    likely = name.strip("-").lower().replace("-", "_")
    if likely in MODEL_OPTIONS:
        return likely
    return next(iter(difflib.get_close_matches(likely, MODEL_OPTIONS, n=1)), None)


def _from_json(text: str) -> object:
    try:
        return json.loads(text, parse_constant=str)  # NaN and Infinity are not JSON
    except ValueError:
        return text


def _from_number(text: str) -> float | str:
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text


def _reject_name(name: str) -> NoReturn:
    nearest = nearest_option(name)
    known = f"use one of: {', '.join(MODEL_OPTIONS)}"
    raise ConfigError(
        f"Unknown model option {name!r}.",
        next_step=f"did you mean {nearest!r}?" if nearest else known,
    )


def _reject_value(name: str, option: ModelOption, value: object) -> NoReturn:
    raise ConfigError(
        f"The model option {name!r} cannot be {value!r}.",
        why=f"it takes {_TYPE_NAMES[option.type]}",
        next_step=f"for example {name} {option.example}",
    )
