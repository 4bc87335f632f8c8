"""The options of Ollama's models: their names, their JSON types, how text becomes one.

Knows what ``options`` of a request may hold, and nothing about magics or HTTP.
Sources: Ollama ``api/types.go`` (structs ``Options`` and ``Runner``) and
``docs/modelfile.mdx``. The server ignores a name that it does not know without a
word, and answers a wrong type with status 500: both are caught here, before sending.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, NoReturn

from ollama_magic.errors import ConfigError

OptionType = Literal["int", "float", "bool", "texts"]
OptionValue = bool | int | float | list[str]


class ModelOption(NamedTuple):
    """What a model option takes: its JSON type, and a value that works."""

    type: OptionType
    """``texts`` is a list of strings."""
    example: str


MODEL_OPTIONS: Mapping[str, ModelOption] = MappingProxyType(
    {
        "temperature": ModelOption("float", "0.2"),
        "seed": ModelOption("int", "42"),
        "num_ctx": ModelOption("int", "8192"),
        "num_predict": ModelOption("int", "256"),
        "top_k": ModelOption("int", "40"),
        "top_p": ModelOption("float", "0.9"),
        "min_p": ModelOption("float", "0.05"),
        "typical_p": ModelOption("float", "0.7"),
        "repeat_last_n": ModelOption("int", "64"),
        "repeat_penalty": ModelOption("float", "1.1"),
        "presence_penalty": ModelOption("float", "0.5"),
        "frequency_penalty": ModelOption("float", "0.5"),
        "stop": ModelOption("texts", "END"),
        "num_keep": ModelOption("int", "4"),
        "draft_num_predict": ModelOption("int", "4"),
        "num_batch": ModelOption("int", "512"),
        "num_gpu": ModelOption("int", "99"),
        "main_gpu": ModelOption("int", "0"),
        "num_thread": ModelOption("int", "4"),
        "use_mmap": ModelOption("bool", "true"),
    }
)
"""All that a request may set, those that people set most first."""

_INT64 = 2**63  # Go's int on the server

_TYPE_IN_WORDS: Mapping[OptionType, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "texts": "a text, or a JSON list of texts",
}


def check_option(name: str, value: object) -> OptionValue:
    """Return a value as the server takes it.

    Parameters
    ----------
    name
        A name of :data:`MODEL_OPTIONS`.
    value
        A JSON value. A whole float stands for an int. One text for ``stop`` becomes
        a list of that text, since the server refuses a plain string.

    Raises
    ------
    ConfigError
        The name is not one that Ollama knows (with the nearest one), or the value
        has another type than Ollama expects.

    Examples
    --------
    >>> check_option("stop", "END")
    ['END']
    >>> check_option("num_ctx", 4096.0)
    4096
    """
    option = MODEL_OPTIONS.get(name)
    if option is None:
        _refuse_name(name)
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
    _refuse_value(name, option, value)


def check_options(options: Mapping[str, object]) -> dict[str, OptionValue]:
    """Return options with every name and value checked by :func:`check_option`.

    Raises
    ------
    ConfigError
        As :func:`check_option`.
    """
    return {name: check_option(name, value) for name, value in options.items()}


def read_option(name: str, text: str) -> OptionValue:
    """Return the value that a text on a magic line stands for: JSON, else the text.

    For numbers also ``.5`` and ``5.``, which are not JSON. For ``stop`` a JSON text
    or list of texts is read, and anything else is the text itself.

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
        _refuse_name(name)
    value = _from_json(text)
    if option.type in {"int", "float"} and isinstance(value, str):
        value = _from_number(text)
    elif option.type == "texts" and not isinstance(value, str | list):
        value = text
    return check_option(name, value)


def nearest_option(name: str) -> str | None:
    """Return the known name that is most like one that is not known, if any is."""
    likely = name.strip("-").lower().replace("-", "_")
    if likely in MODEL_OPTIONS:
        return likely
    return next(iter(difflib.get_close_matches(likely, MODEL_OPTIONS, n=1)), None)


def _from_json(text: str) -> object:
    try:
        return json.loads(text, parse_constant=str)  # NaN and Infinity are no JSON
    except ValueError:
        return text


def _from_number(text: str) -> float | str:
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text


def _refuse_name(name: str) -> NoReturn:
    nearest = nearest_option(name)
    known = f"known are: {', '.join(MODEL_OPTIONS)}"
    raise ConfigError(
        f"Ollama knows no model option {name!r}.",
        next_step=f"did you mean {nearest!r}?" if nearest else known,
    )


def _refuse_value(name: str, option: ModelOption, value: object) -> NoReturn:
    raise ConfigError(
        f"The model option {name!r} cannot be {value!r}.",
        why=f"it takes {_TYPE_IN_WORDS[option.type]}",
        next_step=f"for example {name} {option.example}",
    )
