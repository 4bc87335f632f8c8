"""What a new model is made of, and how a Modelfile says so.

Knows the instructions of Ollama's Modelfile and which field of a request each one is.
Reads no files and asks no server. Source: Ollama ``docs/modelfile.mdx`` and
``parser/parser.go``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from ollama_magic.errors import ConfigError
from ollama_magic.model_options import OptionValue, read_option

_KNOWN = ("FROM", "PARAMETER", "SYSTEM", "TEMPLATE", "ADAPTER", "LICENSE", "MESSAGE")
_ROLES = ("system", "user", "assistant")
_FENCE = '"""'
_INSTRUCTION = re.compile(r"[ \t]*([A-Za-z]+)[ \t]+(.*)")


@dataclass(frozen=True)
class ModelSpec:
    """A model to be made: what it starts from, and what is laid on top of that."""

    base: str = ""
    """A model's name, or the path of a GGUF file."""
    system: str | None = None
    template: str | None = None
    parameters: Mapping[str, OptionValue] = field(default_factory=dict)
    """Default options of every request to it."""
    adapters: tuple[str, ...] = ()
    """Paths of GGUF files."""
    licenses: tuple[str, ...] = ()
    messages: tuple[Mapping[str, Any], ...] = ()
    """A conversation that every chat with it begins with."""
    quantize: str | None = None
    """Such as ``q4_K_M``, for a base of type F16 or F32."""

    @property
    def is_from_file(self) -> bool:
        """Whether it starts from a file, and not from a model of the server.

        A path has a beginning or an end that no name of a model has.
        """
        has_path = self.base.startswith((".", "/", "~", "\\")) or "\\" in self.base
        return has_path or self.base.lower().endswith(".gguf")


def parse_modelfile(text: str) -> ModelSpec:
    r"""Return what a Modelfile describes.

    Raises
    ------
    ConfigError
        An instruction that there is none of, one without its value, a role or an
        option that is none, an open quote, no ``FROM``; it names the line.

    Examples
    --------
    >>> spec = parse_modelfile("FROM llama3.2\nPARAMETER seed 1\nSYSTEM Be terse.")
    >>> spec.base, dict(spec.parameters), spec.system
    ('llama3.2', {'seed': 1}, 'Be terse.')
    """
    spec = ModelSpec()
    for number, word, value in _instructions(text):
        spec = _add(spec, number, word, value)
    if not spec.base:
        raise ConfigError(
            "The Modelfile has no FROM.",
            why="a model is made of another one, or of a GGUF file",
            next_step="begin it with: FROM llama3.2",
        )
    return spec


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the number of its line, the word and the value of each instruction."""
    lines = iter(enumerate(text.removeprefix("\ufeff").splitlines(), start=1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _INSTRUCTION.fullmatch(line)
        if match is None:
            _refuse(number, f"{line.strip()!r} is no instruction with a value")
        word, value = match[1].upper(), match[2].strip()
        if value.count(_FENCE) % 2:
            value = _to_the_end(value, lines, number)
        yield number, word, value


def _to_the_end(value: str, lines: Iterator[tuple[int, str]], began: int) -> str:
    """Return a value with the lines of its text in triple quotes."""
    parts = [value]
    for _, line in lines:
        parts.append(line)
        if _FENCE in line:
            return "\n".join(parts).rstrip()
    _refuse(began, "the triple quotes are not closed")


def _unquoted(value: str) -> str:
    for quote in (_FENCE, '"'):
        is_quoted = value.startswith(quote) and value.endswith(quote)
        if is_quoted and len(value) >= 2 * len(quote):
            return value[len(quote) : -len(quote)]
    return value


def _add(spec: ModelSpec, number: int, word: str, value: str) -> ModelSpec:
    text = _unquoted(value)
    added: dict[str, Any] = {}
    match word:
        case "FROM" if spec.base:
            _refuse(number, "there is a FROM already, and a model has one")
        case "FROM":
            added["base"] = text
        case "SYSTEM" | "TEMPLATE":
            added[word.lower()] = text
        case "ADAPTER":
            added["adapters"] = (*spec.adapters, text)
        case "LICENSE":
            added["licenses"] = (*spec.licenses, text)
        case "MESSAGE":
            added["messages"] = (*spec.messages, _message(number, value))
        case "PARAMETER":
            added["parameters"] = _with_parameter(spec, number, value)
        case _:
            near = difflib.get_close_matches(word, _KNOWN, n=1)
            guess = (
                f"did you mean {near[0]}?" if near else f"known: {', '.join(_KNOWN)}"
            )
            _refuse(number, f"{word} is no instruction of a Modelfile", guess)
    return replace(spec, **added)


def _message(number: int, value: str) -> dict[str, str]:
    role, _, content = value.partition(" ")
    if role.lower() not in _ROLES or not content.strip():
        _refuse(number, f"MESSAGE takes a role ({', '.join(_ROLES)}) and a text")
    return {"role": role.lower(), "content": _unquoted(content.strip())}


def _with_parameter(
    spec: ModelSpec, number: int, value: str
) -> Mapping[str, OptionValue]:
    name, _, text = value.partition(" ")
    try:
        read = read_option(name.lower(), _unquoted(text.strip()))
    except ConfigError as error:
        _refuse(number, error.what, error.next_step)
    earlier = spec.parameters.get(name.lower())
    if isinstance(earlier, list) and isinstance(read, list):
        read = earlier + read  # several stop texts are several lines
    return {**spec.parameters, name.lower(): read}


def _refuse(number: int, why: str, next_step: str = "") -> NoReturn:
    raise ConfigError(
        f"Line {number} of the Modelfile is not understood.",
        why=why,
        next_step=next_step or "correct that line, then create it again",
    )
