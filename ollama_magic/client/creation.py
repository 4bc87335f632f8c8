"""Creates models: reads a Modelfile, uploads its files, lets the server build.

Used by ``%ollama create`` through :mod:`ollama_magic.client.actions`. Only GGUF and
safetensors files are uploaded, since the Modelfile may come from another person.
Source: Ollama ``docs/modelfile.mdx`` and ``parser/parser.go``.
"""

from __future__ import annotations

import codecs
import difflib
import hashlib
import os
import re
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, NoReturn

from ollama_magic.client.background import ClosableStream
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.files import read_file
from ollama_magic.client.options import OptionValue, read_option
from ollama_magic.client.types import Progress
from ollama_magic.errors import ConfigError, size_text

_MAX_MODELFILE_BYTES = 4_000_000
_TEXT_FIELDS = ("system", "template", "renderer", "parser", "requires")
_TEXTS = tuple(name.upper() for name in _TEXT_FIELDS)
_KNOWN = ("FROM", "PARAMETER", "ADAPTER", "DRAFT", "LICENSE", "MESSAGE", *_TEXTS)
_ROLES = ("system", "user", "assistant")
_NEWLINE = re.compile(r"\r\n|\r|\n")
_INSTRUCTION = re.compile(r"[ \t]*([A-Za-z]+)[ \t]+(.*)")


@dataclass(frozen=True)
class ModelSpec:
    """The description of a new model: its base, and what is added to it."""

    base: str = ""
    """A model's name, or the path of a GGUF file."""
    more_files: tuple[str, ...] = ()
    """Paths of files that belong to the base, such as its image encoder."""
    system: str | None = None
    template: str | None = None
    parameters: Mapping[str, OptionValue] = field(default_factory=dict)
    """Its default options."""
    adapters: tuple[str, ...] = ()
    """Paths of GGUF files."""
    licenses: tuple[str, ...] = ()
    messages: tuple[Mapping[str, Any], ...] = ()
    """Messages at the start of every chat with it."""
    renderer: str | None = None
    """Name of Ollama's built-in code that replaces the template."""
    parser: str | None = None
    """Name of Ollama's built-in code that parses the output."""
    requires: str | None = None
    """The minimum version of Ollama, such as ``0.14.0``."""
    quantize: str | None = None
    """Such as ``q4_K_M``, for a base of type F16 or F32."""
    drafts: tuple[str, ...] = ()
    """Paths of the files of a smaller model that drafts tokens for this one."""

    @property
    def is_from_file(self) -> bool:
        """Whether the base is a file and not a model on the server.

        No model name starts or ends like a path.
        """
        return _is_path(self.base)


def _is_path(text: str) -> bool:
    has_path = text.startswith((".", "/", "~")) or "\\" in text
    return has_path or text.lower().endswith(".gguf")


def parse_modelfile(text: str) -> ModelSpec:
    r"""Parse a Modelfile.

    Raises
    ------
    ConfigError
        An unknown instruction, role or option, a missing value, an unclosed quote, or
        no ``FROM``. The error names the line.

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
            why="a model needs a base: another model, or a GGUF file",
            next_step="start it with: FROM llama3.2",
        )
    return spec


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, the word and the value of each instruction."""
    # NB: not splitlines(), which also splits at characters that a template may have.
    lines = iter(enumerate(_NEWLINE.split(text), start=1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _INSTRUCTION.fullmatch(line)
        if match is None or not match[2].strip():
            _reject(number, f"{line.strip()!r} is not an instruction with a value")
        word, value = match[1].upper(), match[2].strip()
        if word in {"MESSAGE", "PARAMETER"}:
            name, *rest = value.split(maxsplit=1)
            yield number, word, f"{name} {_to_the_end(''.join(rest), lines, number)}"
        else:
            yield number, word, _to_the_end(value, lines, number)


def _to_the_end(value: str, lines: Iterator[tuple[int, str]], began: int) -> str:
    """Return a value with all lines of its quoted text.

    A quote ends at the end of a line, so that the text may contain quotes. Ollama
    itself puts plain quotes around multi-line text that contains none.
    """
    quote = next((quote for quote in ('"""', '"') if value.startswith(quote)), "")
    parts = [value]
    while quote and not _is_whole("\n".join(parts).rstrip(), quote):
        _, line = next(lines, (0, None))
        if line is None:
            _reject(began, "its quotes are unbalanced")
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
            _reject(number, "only files can have a second FROM")
        case "FROM":
            added["base"] = text
        case _ if word in _TEXTS:
            added[word.lower()] = text
        case "ADAPTER":
            added["adapters"] = (*spec.adapters, text)
        case "DRAFT":
            added["drafts"] = (*spec.drafts, text)
        case "LICENSE":
            added["licenses"] = (*spec.licenses, text)
        case "MESSAGE":
            added["messages"] = (*spec.messages, _message(number, value))
        case "PARAMETER":
            added["parameters"] = _with_parameter(spec, number, value)
        case _:
            near = difflib.get_close_matches(word, _KNOWN, n=1)
            known = f"use one of {', '.join(_KNOWN)}"
            guess = f"did you mean {near[0]}?" if near else known
            _reject(number, f"unknown instruction {word}", guess)
    return replace(spec, **added)


def _message(number: int, value: str) -> dict[str, str]:
    role, _, content = value.partition(" ")
    if role.lower() not in _ROLES or not content.strip():
        _reject(number, f"MESSAGE needs a role ({', '.join(_ROLES)}) and a text")
    return {"role": role.lower(), "content": _unquoted(content.strip())}


def _with_parameter(
    spec: ModelSpec, number: int, value: str
) -> Mapping[str, OptionValue]:
    name, _, text = value.partition(" ")
    try:
        read = read_option(name.lower(), _unquoted(text.strip()))
    except ConfigError as error:
        _reject(number, error.what, error.next_step)
    earlier = spec.parameters.get(name.lower())
    if isinstance(earlier, list) and isinstance(read, list):
        read = earlier + read  # each stop text has its own line
    return {**spec.parameters, name.lower(): read}


def _reject(number: int, why: str, next_step: str = "") -> NoReturn:
    raise ConfigError(
        f"Line {number} of the Modelfile is invalid.",
        why=why,
        next_step=next_step or "correct that line, then create the model again",
    )


_HASH_BYTES = 4 * 1024 * 1024


# -- files ---------------------------------------------------------------------


def read_spec(file: str) -> ModelSpec:
    """Read a Modelfile; a GGUF file is a model by itself.

    Paths in a Modelfile are relative to its folder. As in Ollama, a base that is a file
    there is not a model on the server.

    Raises
    ------
    ConfigError
        It cannot be read, or is invalid.
    """
    path = Path(os.path.expanduser(file))
    try:
        data = read_file(path, _MAX_MODELFILE_BYTES)
        if data.startswith(b"GGUF"):
            return ModelSpec(base=str(path.resolve()))
        spec = parse_modelfile(_text(data[:_MAX_MODELFILE_BYTES]))
    except (OSError, ValueError) as error:
        is_binary = isinstance(error, UnicodeDecodeError)
        raise ConfigError(
            f"The file {file} cannot be read.",
            why="it is neither text nor GGUF" if is_binary else _reason(error),
            next_step="%ollama create NAME -F Modelfile   (or -F MODEL.gguf)",
        ) from error
    folder = path.resolve().parent

    def absolute(text: str) -> str:
        # NB: not Path.expanduser, which raises for a user that does not exist.
        return str(folder / os.path.expanduser(text))

    is_file = spec.is_from_file or os.path.isfile(absolute(spec.base))
    return replace(
        spec,
        base=absolute(spec.base) if is_file else spec.base,
        more_files=tuple(map(absolute, spec.more_files)),
        adapters=tuple(map(absolute, spec.adapters)),
        drafts=tuple(map(absolute, spec.drafts)),
    )


def _text(data: bytes) -> str:
    # NB: PowerShell's ">" writes UTF-16, so a saved Modelfile may be that.
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _readable(text: str) -> Path:
    path = Path(os.path.expanduser(text))
    if os.path.isdir(path):
        raise ConfigError(
            f"{text} is a folder.",
            why="%ollama create needs a GGUF file",
            next_step="name the .gguf file; for a folder of safetensors, run "
            "ollama create in a terminal",
        )
    try:
        # NB: reading a pipe would block, and a device never ends.
        is_model = (path.is_file() or not path.exists()) and _is_model(path)
    except (OSError, ValueError) as error:  # ValueError: a name that none can have
        is_of_server = path.name.startswith("sha256-")
        raise ConfigError(
            f"The file {text} cannot be read.",
            why=_reason(error),
            next_step="write the model's name after FROM; it is a file of the server"
            if is_of_server
            else f"paths are relative to {Path.cwd()}; write the full path",
        ) from error
    if not is_model:
        raise ConfigError(
            f"The file {text} is not a model and was not uploaded.",
            why="it is neither GGUF nor safetensors",
            next_step="name a .gguf file, or a model on the server, after FROM, "
            "ADAPTER or DRAFT",
        )
    return path


def _is_model(path: Path) -> bool:
    """Return whether a file starts like GGUF or safetensors.

    A Modelfile from another person may name any file of this machine, and the server
    keeps what it receives.
    """
    with path.open("rb") as file:
        head, size_bytes = file.read(9), os.fstat(file.fileno()).st_size
    # Safetensors start with the length of their header, which is JSON.
    header_bytes = int.from_bytes(head[:8], "little")
    is_safetensors = head[8:] == b"{" and header_bytes <= size_bytes - 8
    return head.startswith(b"GGUF") or is_safetensors


# -- creation ------------------------------------------------------------------


def _check_drafts(spec: ModelSpec, bases: Sequence[str]) -> None:
    if same := set(spec.drafts) & set(bases):
        raise ConfigError(
            "A model cannot draft its own tokens.",
            why=f"{same.pop()} stands after FROM and after DRAFT",
            next_step="name a smaller model of the same family after DRAFT",
        )


class _Closed(Exception):  # noqa: N818  (not an error: it ends an upload)
    """The stream was closed during an upload."""


_Events = SimpleQueue[Progress | str | BaseException]


class Creation:
    """The uploads and then the server's work, as one stream of progress.

    Raises
    ------
    ConfigError
        A file cannot be read, or is not a model; nothing was sent.
    """

    def __init__(self, client: OllamaClient, name: str, spec: ModelSpec) -> None:
        self._client = client
        self._name = name
        self._spec = spec
        bases = (spec.base, *spec.more_files) if spec.is_from_file else ()
        _check_drafts(spec, bases)
        self._files = {
            "files": tuple(map(_readable, bases)),
            "adapters": tuple(map(_readable, spec.adapters)),
            "draft_files": tuple(map(_readable, spec.drafts)),
        }
        self._stream: ClosableStream[Progress] | None = None
        self._is_closed = threading.Event()
        self._events: _Events = SimpleQueue()

    def __iter__(self) -> Iterator[Progress]:
        digests: dict[str, Any] = {}
        for field_name, paths in self._files.items():
            for path in paths:
                uploaded = yield from self._upload(path)
                digests.setdefault(field_name, {})[path.name] = uploaded
        if self._is_closed.is_set():
            return
        spec = self._spec
        # NB: a name without .gguf is fine; the server looks at the bytes.
        self._stream = self._client.create(
            self._name,
            from_model=None if spec.is_from_file else spec.base,
            **digests,
            license=spec.licenses or None,
            parameters=spec.parameters or None,
            messages=spec.messages or None,
            **{name: getattr(spec, name) for name in (*_TEXT_FIELDS, "quantize")},
        )
        yield from self._stream

    def close(self) -> None:
        """Stop at once; an upload stops after its current block."""
        self._is_closed.set()
        self._events.put(_Closed())
        if self._stream is not None:
            self._stream.close()

    def _upload(self, path: Path) -> Generator[Progress, None, str]:
        """Upload a file; yields its progress and returns its digest."""
        # Uploading reports through a callback, so a thread does it.
        threading.Thread(
            target=self._run, args=(path,), name="ollama-upload", daemon=True
        ).start()
        while True:
            event = self._events.get()
            if isinstance(event, _Closed):
                return ""
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, str):
                return event
            yield event

    def _run(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._events.put(self._send(path, file))
        except BaseException as error:  # noqa: BLE001  (raised again in _upload)
            self._events.put(error)

    def _send(self, path: Path, file: BinaryIO) -> str:
        size_bytes = path.stat().st_size

        def report(sent: int, size: int) -> None:
            status = f"uploading {path.name}"
            self._put(Progress(status, str(path), size, sent))

        hasher = hashlib.sha256()
        while piece := file.read(_HASH_BYTES):
            hasher.update(piece)
            so_far = f"{size_text(file.tell())} of {size_text(size_bytes)}"
            self._put(Progress(f"reading {path.name}: {so_far}"))
        digest = f"sha256:{hasher.hexdigest()}"
        file.seek(0)
        report(0, size_bytes)
        self._client.upload_blob(digest, file, on_progress=report)
        report(size_bytes, size_bytes)
        return digest

    def _put(self, progress: Progress) -> None:
        if self._is_closed.is_set():
            raise _Closed
        self._events.put(progress)
