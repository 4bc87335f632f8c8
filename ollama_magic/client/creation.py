"""What a new model is made of, and how a Modelfile says so.

Knows the instructions of Ollama's Modelfile and which field of a request each one is.
Reads no files and asks no server. Source: Ollama ``docs/modelfile.mdx`` and
``parser/parser.go``.
"""

from __future__ import annotations

import codecs
import difflib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, NoReturn

from ollama_magic.client.background import ClosableStream
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.options import OptionValue, read_option
from ollama_magic.client.progress import size_text
from ollama_magic.client.types import Progress
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


_HASH_BYTES = 4 * 1024 * 1024


# -- what it is made of --------------------------------------------------------


def read_spec(file: str) -> ModelSpec:
    """Return what a Modelfile describes, or a model of a GGUF file as it is.

    Paths in a Modelfile are seen from its folder, and what is a file there is no
    model of the server: as Ollama does it.

    Raises
    ------
    ConfigError
        It cannot be read, or is not understood.
    """
    path = Path(file).expanduser()
    try:
        with path.open("rb") as opened:
            if opened.read(4) == b"GGUF":
                return ModelSpec(base=str(path.resolve()))
        spec = parse_modelfile(_text(path.read_bytes()))
    except (OSError, UnicodeDecodeError) as error:
        is_binary = isinstance(error, UnicodeDecodeError)
        raise ConfigError(
            f"The file {file} cannot be read.",
            why="it is neither text nor GGUF" if is_binary else _reason(error),
            next_step="%ollama create NAME -F Modelfile   (or -F MODEL.gguf)",
        ) from error
    folder = path.resolve().parent

    def whole(text: str) -> str:
        return str(folder / Path(text).expanduser())

    is_file = spec.is_from_file or Path(whole(spec.base)).is_file()
    return replace(
        spec,
        base=whole(spec.base) if is_file else spec.base,
        more_files=tuple(map(whole, spec.more_files)),
        adapters=tuple(map(whole, spec.adapters)),
    )


def _text(data: bytes) -> str:
    # NB: PowerShell's ">" writes UTF-16, so that is what saved Modelfiles may be.
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _readable(text: str) -> Path:
    path = Path(text).expanduser()
    if path.is_dir():
        raise ConfigError(
            f"{text} is a folder.",
            why="a model is made of one GGUF file here",
            next_step="name the .gguf file; a folder of safetensors: ollama create "
            "in a terminal",
        )
    try:
        # NB: a pipe would be waited for, and a device has no end.
        is_model = (path.is_file() or not path.exists()) and _is_model(path)
    except OSError as error:
        is_of_server = path.name.startswith("sha256-")
        raise ConfigError(
            f"The file {text} cannot be read.",
            why=_reason(error),
            next_step="it is a file of the server: write the model's name after FROM"
            if is_of_server
            else f"paths are seen from {Path.cwd()}; write the whole path",
        ) from error
    if not is_model:
        raise ConfigError(
            f"The file {text} is no model, and was not sent.",
            why="it begins neither like GGUF nor like safetensors",
            next_step="name a .gguf file, or a model of the server, after FROM or "
            "ADAPTER",
        )
    return path


def _is_model(path: Path) -> bool:
    """Return whether a file begins like GGUF or safetensors.

    A Modelfile of somebody else may name any file of this machine, and a server keeps
    what it is sent.
    """
    with path.open("rb") as file:
        head, size_bytes = file.read(9), os.fstat(file.fileno()).st_size
    # Safetensors begin with the length of their header, which is JSON.
    header_bytes = int.from_bytes(head[:8], "little")
    is_safetensors = head[8:] == b"{" and header_bytes <= size_bytes - 8
    return head.startswith(b"GGUF") or is_safetensors


# -- how it is made ------------------------------------------------------------


class _Closed(Exception):  # noqa: N818  (no error: the way out of an upload)
    """The stream was closed while a file was on its way."""


_Report = Callable[[Progress], None]
_News = SimpleQueue[Progress | str | BaseException]


class Creation:
    """Uploads, then the server's own work, as one stream of progress.

    Raises
    ------
    ConfigError
        A file that it is made of cannot be read, or is no model; nothing was sent.
    """

    def __init__(self, client: OllamaClient, name: str, spec: ModelSpec) -> None:
        self._client = client
        self._name = name
        self._spec = spec
        bases = (spec.base, *spec.more_files) if spec.is_from_file else ()
        self._bases = tuple(map(_readable, bases))
        self._adapters = tuple(map(_readable, spec.adapters))
        self._stream: ClosableStream[Progress] | None = None
        self._is_closed = threading.Event()
        self._news: _News = SimpleQueue()

    def __iter__(self) -> Iterator[Progress]:
        files: dict[str, str] = {}
        adapters: dict[str, str] = {}
        for path in self._bases:
            files[path.name] = yield from self._upload(path)
        for path in self._adapters:
            adapters[path.name] = yield from self._upload(path)
        if self._is_closed.is_set():
            return
        spec = self._spec
        # NB: a file whose name has no .gguf is still one; the server goes by its bytes.
        self._stream = self._client.create(
            self._name,
            from_model=None if spec.is_from_file else spec.base,
            files=files or None,
            adapters=adapters or None,
            system=spec.system,
            template=spec.template,
            parameters=spec.parameters or None,
            messages=spec.messages or None,
            license=spec.licenses or None,
            quantize=spec.quantize,
            renderer=spec.renderer,
            parser=spec.parser,
            requires=spec.requires,
        )
        yield from self._stream

    def close(self) -> None:
        """End it at once; bytes on their way to the server end with their piece."""
        self._is_closed.set()
        self._news.put(_Closed())
        if self._stream is not None:
            self._stream.close()

    def _upload(self, path: Path) -> Generator[Progress, None, str]:
        """Send a file; yield how far it is, and return its digest."""
        # A thread sends, for sending only calls back, and a stream is to yield.
        threading.Thread(
            target=self._run, args=(path,), name="ollama-upload", daemon=True
        ).start()
        while True:
            news = self._news.get()
            if isinstance(news, _Closed):
                return ""
            if isinstance(news, BaseException):
                raise news
            if isinstance(news, str):
                return news
            yield news

    def _run(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._news.put(self._send(path, file))
        except BaseException as error:  # noqa: BLE001  (raised again in _upload)
            self._news.put(error)

    def _send(self, path: Path, file: BinaryIO) -> str:
        size_bytes = path.stat().st_size

        def tell(sent: int, size: int) -> None:
            status = f"uploading {path.name}"
            self._tell(Progress(status, str(path), size, sent))

        hasher = hashlib.sha256()
        while piece := file.read(_HASH_BYTES):
            hasher.update(piece)
            so_far = f"{size_text(file.tell())} of {size_text(size_bytes)}"
            self._tell(Progress(f"reading {path.name}: {so_far}"))
        digest = f"sha256:{hasher.hexdigest()}"
        file.seek(0)
        tell(0, size_bytes)
        self._client.upload_blob(digest, file, on_progress=tell)
        tell(size_bytes, size_bytes)
        return digest

    def _tell(self, progress: Progress) -> None:
        if self._is_closed.is_set():
            raise _Closed
        self._news.put(progress)
