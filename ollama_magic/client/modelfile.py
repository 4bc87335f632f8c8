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

from ollama_magic.client.options import OptionValue, read_option
from ollama_magic.errors import ConfigError

_TEXTS = ("SYSTEM", "TEMPLATE", "RENDERER", "PARSER", "REQUIRES")
_KNOWN = ("FROM", "PARAMETER", "ADAPTER", "LICENSE", "MESSAGE", *_TEXTS)
_ROLES = ("system", "user", "assistant")
_NEWLINE = re.compile(r"\r\n|\r|\n")
_INSTRUCTION = re.compile(r"[ \t]*([A-Za-z]+)[ \t]+(.*)")


@dataclass(frozen=True)
class ModelSpec:
    """A model to be made: what it starts from, and what is laid on top of that."""

    base: str = ""
    """A model's name, or the path of a GGUF file."""
    more_files: tuple[str, ...] = ()
    """Paths of what belongs to that file, such as the part that sees images."""
    system: str | None = None
    template: str | None = None
    parameters: Mapping[str, OptionValue] = field(default_factory=dict)
    """Default options of every request to it."""
    adapters: tuple[str, ...] = ()
    """Paths of GGUF files."""
    licenses: tuple[str, ...] = ()
    messages: tuple[Mapping[str, Any], ...] = ()
    """A conversation that every chat with it begins with."""
    renderer: str | None = None
    """Name of what Ollama makes the prompt with, in place of a template."""
    parser: str | None = None
    """Name of what Ollama reads the output with."""
    requires: str | None = None
    """The least version of Ollama, such as ``0.14.0``."""
    quantize: str | None = None
    """Such as ``q4_K_M``, for a base of type F16 or F32."""

    @property
    def is_from_file(self) -> bool:
        """Whether it starts from a file, and not from a model of the server.

        A path has a beginning or an end that no name of a model has.
        """
        return _is_path(self.base)


def _is_path(text: str) -> bool:
    has_path = text.startswith((".", "/", "~")) or "\\" in text
    return has_path or text.lower().endswith(".gguf")


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
    # NB: not splitlines(), which also cuts at characters that belong to a template.
    lines = iter(enumerate(_NEWLINE.split(text), start=1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _INSTRUCTION.fullmatch(line)
        if match is None or not match[2].strip():
            _refuse(number, f"{line.strip()!r} is no instruction with a value")
        word, value = match[1].upper(), match[2].strip()
        if word in {"MESSAGE", "PARAMETER"}:
            name, *rest = value.split(maxsplit=1)
            yield number, word, f"{name} {_to_the_end(''.join(rest), lines, number)}"
        else:
            yield number, word, _to_the_end(value, lines, number)


def _to_the_end(value: str, lines: Iterator[tuple[int, str]], began: int) -> str:
    """Return a value with all the lines of its quoted text.

    A quote ends where a line ends with it, so that there may be some inside. Ollama
    writes plain quotes around several lines when there are none.
    """
    quote = next((quote for quote in ('"""', '"') if value.startswith(quote)), "")
    parts = [value]
    while quote and not _is_whole("\n".join(parts).rstrip(), quote):
        _, line = next(lines, (0, None))
        if line is None:
            _refuse(began, "its quotes are not closed")
        parts.append(line)
    return "\n".join(parts).rstrip()


def _is_whole(value: str, quote: str) -> bool:
    return value.endswith(quote) and len(value) >= 2 * len(quote)


def _unquoted(value: str) -> str:
    for quote in ('"""', '"'):
        if value.startswith(quote) and _is_whole(value, quote):
            return value[len(quote) : -len(quote)]
    return value


def _add(spec: ModelSpec, number: int, word: str, value: str) -> ModelSpec:
    text = _unquoted(value)
    added: dict[str, Any] = {}
    match word:
        case "FROM" if spec.is_from_file and _is_path(text):
            added["more_files"] = (*spec.more_files, text)
        case "FROM" if spec.base:
            _refuse(number, "there is a FROM already, and only files may be several")
        case "FROM":
            added["base"] = text
        case _ if word in _TEXTS:
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
            _refuse(number, f"{word} is none of the instructions known here", guess)
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
