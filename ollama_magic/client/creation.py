"""A new model under way: its files are read and sent, then the server makes it.

Knows which files a model wants, where a Modelfile's paths begin, and how an upload is
followed and ended. Asks nobody, and shows nothing.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from ollama_magic.client.background import ClosableStream
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.modelfile import ModelSpec, parse_modelfile
from ollama_magic.client.progress import size_text
from ollama_magic.client.types import Progress
from ollama_magic.errors import ConfigError

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
