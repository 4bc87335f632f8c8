"""The options of a prompt, declared once.

The parser, the help and Tab completion use ``CHAT_OPTIONS``, and so do the Python
functions and ``%config``: wherever a value comes from, its row says what is valid.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
    ValuesView,
)
from dataclasses import dataclass, field, replace
from functools import partial
from io import IOBase
from numbers import Real
from typing import Any, Literal

from ollama_magic.client.options import OptionValue, check_options
from ollama_magic.errors import ConfigError, nearest, quoted
from ollama_magic.generation.option_values import (
    read_alternatives,
    read_cells,
    read_count,
    read_keep_alive,
    read_models,
    read_think,
)

FORMATS = ("markdown", "text", "html", "code", "json")

TRUNCATIONS = ("warn", "error")

ALTERNATIVES = 5
"""How many likely tokens ``--logprobs`` shows for each one."""

Completes = Literal[
    "",
    "model",
    "models",
    "chat",
    "option",
    "command",
    "file",
    "schema",
    "questions",
    "image",
    "tool",
    "compared",
    "level",
    "template",
]
"""The kind of value that follows an option or a subcommand, for Tab completion.

``models`` are several with commas between them, ``compared`` those of the last
comparison; ``schema``, ``image`` and ``tool`` values of the notebook that can be one.
"""


def read_text(text: str) -> str:
    """Return the text; raise if it is empty."""
    if not text.strip():
        raise ValueError("it cannot be empty")
    return text


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a magic line.

    Parameters
    ----------
    field
        The field of ``ChatOptions`` that it sets, or the name of a model option.
    flags
        The long form last.
    metavar
        The name of its value in the help.
    kind
        ``switch`` takes no value, ``value`` one, ``optional`` one after ``=`` only,
        ``pair`` two (or ``KEY=VALUE``) and may be repeated.
    const
        The value of a switch, or of an ``optional`` option without its value.
    choices
        The only valid values.
    read
        Converts text; raises ValueError with what the value must be.
    example
        A valid value, for error messages.
    completes
        What Tab offers for the value, besides ``choices``.
    takes_numbers
        Whether ``-1`` after it is its value and not the option ``-1``.
    is_model_option
        Whether it is short for a model option (``-o``).
    repeatable
        Whether it may be repeated; its values become a tuple.
    discards
        It deletes, overwrites or skips a question: a typo is never corrected to it.
    takes_objects
        From Python it takes any object, which is checked where it is used.
    """

    field: str
    flags: tuple[str, ...]
    metavar: str = ""
    kind: Literal["switch", "value", "optional", "pair"] = "value"
    const: object = True
    choices: tuple[str, ...] = ()
    read: Callable[[str], object] = read_text
    example: str = ""
    completes: Completes = ""
    takes_numbers: bool = False
    is_model_option: bool = False
    repeatable: bool = False
    discards: bool = False
    takes_objects: bool = False

    @property
    def label(self) -> str:
        """The option as the help writes it: ``-s, --system TEXT``."""
        names = ", ".join(self.flags)
        if self.kind == "optional":
            return f"{names}[={self.metavar}]"
        return f"{names} {self.metavar}".rstrip()

    def check(self, value: object) -> object:
        """Return a value from Python, checked as one on the line is.

        Raises
        ------
        ValueError
            The value is invalid; the message says what it must be.
        ConfigError
            A model option in it is invalid.
        """
        may_be_flag = self.kind in {"switch", "optional"}
        if self.takes_objects or (may_be_flag and isinstance(value, bool)):
            return value
        if self.kind == "switch":
            raise ValueError("it must be True or False")
        if self.kind == "pair":
            if not isinstance(value, Mapping):
                raise ValueError("it must be a dict of model options")
            return check_options(value)
        if self.choices:
            if value not in self.choices:
                raise ValueError(f"it must be one of {', '.join(self.choices)}")
            return value
        is_numeric = isinstance(value, Real) and not isinstance(value, bool)
        if is_numeric and self.takes_numbers:
            return self.read(str(value))
        if isinstance(value, str):
            return self.read(value)
        raise ValueError(f"it cannot be of type {type(value).__name__}")


def switch(
    field: str,
    *flags: str,
    const: object = True,
    discards: bool = False,
) -> Option:
    """Return an option that takes no value."""
    return Option(field, flags, kind="switch", const=const, discards=discards)


_objects = partial(Option, repeatable=True, takes_objects=True)

CHAT_OPTIONS: tuple[Option, ...] = (
    Option(
        "model",
        ("-m", "--model"),
        "MODEL",
        example="llama3.2",
        completes="model",
        repeatable=True,
    ),
    Option(
        "compare",
        ("--compare",),
        "A,B",
        read=read_models,
        example="llama3.2,qwen3",
        completes="models",
    ),
    Option(
        "system",
        ("-s", "--system"),
        "TEXT",
        read=str,
        example='"Answer in one sentence."',
    ),
    Option("chat", ("-c", "--chat"), "NAME", example="ideas", completes="chat"),
    switch("new", "--new", discards=True),
    switch("once", "-1", "--once"),
    Option("last", ("--last",), "N", read=read_count, example="2", takes_numbers=True),
    Option("truncate", ("--truncate",), "|".join(TRUNCATIONS), choices=TRUNCATIONS),
    switch("append", "--append"),
    Option(
        "temperature",
        ("-t", "--temperature"),
        "F",
        example="0.2",
        takes_numbers=True,
        is_model_option=True,
    ),
    Option(
        "seed", ("--seed",), "N", example="42", takes_numbers=True, is_model_option=True
    ),
    Option(
        "options",
        ("-o", "--option"),
        "KEY VALUE",
        kind="pair",
        example="num_ctx 8192",
        completes="option",
        takes_numbers=True,
    ),
    Option(
        "keep_alive",
        ("--keep-alive",),
        "DURATION",
        read=read_keep_alive,
        example="10m",
        takes_numbers=True,
    ),
    Option(
        "think",
        ("--think",),
        "LEVEL",
        kind="optional",
        read=read_think,
        example="high",
        completes="level",
    ),
    switch("think", "--no-think", const=False),
    switch("hide_thinking", "--hide-thinking"),
    Option(
        "logprobs",
        ("--logprobs",),
        "N",
        kind="optional",
        read=read_alternatives,
        example="10",
        takes_numbers=True,
    ),
    Option("format", ("-f", "--format"), "|".join(FORMATS), choices=FORMATS),
    Option(
        "schema",
        ("--schema",),
        "SPEC",
        example="'name, age int, tags: list of keywords'",
        completes="schema",
        takes_objects=True,
    ),
    Option(
        "choose",
        ("--choose",),
        "LABELS",
        example="'bug: Software errors; billing: Payments'",
        completes="questions",
        takes_objects=True,
    ),
    _objects("files", ("-F", "--file"), "PATH", example="data.csv", completes="file"),
    Option("cells", ("--cells",), "N-M", read=read_cells, example="3-7"),
    switch("above", "--above"),
    switch("outputs", "--outputs"),
    _objects("images", ("-a", "--image"), "X", example="plot.png", completes="image"),
    _objects(
        "tools", ("-T", "--tool"), "NAME", example="get_weather", completes="tool"
    ),
    switch("yes", "--yes", discards=True),
    switch("cached", "--cached"),
    switch("extract", "-x", "--extract"),
    Option("dry_run", ("--dry-run",), "json", kind="optional", choices=("json",)),
    switch("stream", "--no-stream", const=False),
    switch("raw", "--raw"),
    Option("host", ("--host",), "URL", example="http://127.0.0.1:11434"),
    switch("quiet", "-q", "--quiet"),
)


def find_option(options: Iterable[Option], flag: str) -> Option | None:
    """Return the option with exactly this flag."""
    return next((option for option in options if flag in option.flags), None)


_BY_FIELD = {option.field: option for option in reversed(CHAT_OPTIONS)}


def check_value(field: str, value: object) -> Any:  # noqa: ANN401  (of any type)
    """Return the value of an option from Python or ``%config``, checked.

    Raises
    ------
    ConfigError
        The value is invalid.
    """
    option = _BY_FIELD[field]
    try:
        is_list = option.takes_objects and option.repeatable
        return _tuple_of(value) if is_list else option.check(value)
    except ValueError as error:
        shown = quoted(repr(value), limit=80)
        raise ConfigError(
            f"{field} cannot be {shown}.",
            why=str(error),
            next_step=f"{field}={example_of(field, value)}",
        ) from error


_SINGLE = (str, bytes, bytearray, memoryview, IOBase)


def _tuple_of(value: Any) -> tuple[object, ...]:  # noqa: ANN401
    """Return the values of a list; any other value is a list of one.

    Many single values can be iterated but are not lists: text, a file, an array of
    pixels, bars of a plot, a sound as a pair of samples and rate.
    """
    is_pair = isinstance(value, tuple) and any(isinstance(one, Real) for one in value)
    is_tuple_of_library = isinstance(value, tuple) and type(value) is not tuple
    if isinstance(value, _SINGLE) or is_pair or is_tuple_of_library:
        return (value,)
    if isinstance(value, Sequence | Set | Iterator | ValuesView):
        return tuple(value)
    if hasattr(value, "to_list"):  # a Series or Index of pandas, a Series of polars
        return tuple(value.to_list())
    is_text = hasattr(value, "flat") and value.dtype.kind not in "biufc"
    if is_text and all(isinstance(one, str) for one in value.flat):
        return tuple(value.flat)
    return (value,)


def example_of(field: str, value: object) -> str:
    """Return a valid value as Python code, close to the invalid ``value``."""
    option = _BY_FIELD[field]
    if option.kind == "switch":
        return "True"
    if option.kind == "pair":
        return '{"num_ctx": 8192}'
    if option.choices:
        return repr(nearest(str(value), option.choices) or option.choices[0])
    return repr(option.read(option.example.strip('"')))


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """What a template has set for one prompt."""

    name: str
    path: str
    """The file beside the notebook; empty for one of the user."""
    sets: tuple[str, ...]
    """The names of the options that it has set."""
    model: str = ""
    """The model, if a file beside the notebook has named it."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """The options of one prompt; those not given are None, False or empty."""

    target: str | None = None
    """The variable that the reply is assigned to: ``NAME << ...``."""
    template: str | None = None
    """The template that the cell names: ``@NAME``."""
    template_use: TemplateUse | None = None
    """What it has set; None before it was applied."""
    model: str | None = None
    compare: tuple[str, ...] = ()
    """Several models to compare; ``model`` is None then."""
    system: str | None = None
    """A new system message; empty text removes the current one."""
    chat: str | None = None
    new: bool = False
    once: bool = False
    last: int | None = None
    truncate: str | None = None
    """Whether a prompt that does not fit the context is an error, or a warning."""
    append: bool = False
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    """Model options of the request, temperature and seed among them."""
    keep_alive: str | int | float | None = None
    """A duration (``10m``) or seconds; 0 unloads, a negative number is for ever."""
    think: bool | str | None = None
    hide_thinking: bool = False
    logprobs: bool | int | None = None
    """Whether tokens come with log probabilities, or with how many alternatives."""
    format: str | None = None
    schema: object = None
    """The schema as it was written; from Python also a type."""
    choose: object = None
    """The labels of a decision, or its questions, as they were written."""
    files: tuple[str, ...] = ()
    cells: tuple[tuple[int, int], ...] = ()
    """Ranges of execution counts: these cells come before the prompt."""
    above: bool = False
    """All cells above the running one come before the prompt."""
    outputs: bool = False
    """They come with their outputs."""
    images: tuple[object, ...] = ()
    """Files and names as they were written; from Python also image objects."""
    tools: tuple[object, ...] = ()
    """Names of functions; from Python also the functions."""
    yes: bool = False
    """Tools are called without asking."""
    cached: bool = False
    extract: bool = False
    """The code of the reply is put into a cell below."""
    dry_run: bool | str = False
    """The request is shown and not sent; ``json`` shows it as JSON."""
    stream: bool = True
    raw: bool = False
    host: str | None = None
    quiet: bool = False

    @property
    def alternatives(self) -> int | None:
        """How many alternatives each token comes with; None without probabilities."""
        if self.logprobs is None or self.logprobs is False:
            return None
        return ALTERNATIVES if self.logprobs is True else self.logprobs

    @property
    def wants_cells(self) -> bool:
        """Whether cells of the notebook come before the prompt."""
        return bool(self.cells or self.above)

    @property
    def has_text_before(self) -> bool:
        """Whether text that the cell only names comes before the prompt."""
        return bool(self.files) or self.wants_cells

    def for_each_model(self) -> tuple[ChatOptions, ...]:
        """Return the options for each of the models that are compared, alone."""
        return tuple(replace(self, model=name, compare=()) for name in self.compare)
