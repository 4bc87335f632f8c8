"""Models on disk: weights by digest, and one small manifest per name.

Layout: ``blobs/sha256-<hex>`` and ``manifests/<quoted name>.json``; ``staging`` holds
incomplete files. Each file is written in ``staging`` and then renamed, so two kernels
can share a store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from ollama_magic.server.embedded.gguf import GGUFHeader, human_parameters
from ollama_magic.server.embedded.protocol import ModelName

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LEFTOVER_AGE_S = 24 * 3600
_MAX_FILE_NAME = 240


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The weights and settings of a model; equal ones have equal digests."""

    blob: str
    """Digest of the weights, ``sha256:…``."""
    size_bytes: int
    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int = 0
    embedding_length: int = 0
    capabilities: tuple[str, ...] = ("completion",)
    template: str = ""
    system: str = ""
    parent_model: str = ""
    license: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of_weights(cls, header: GGUFHeader, blob: str, size_bytes: int) -> Self:
        """Return the configuration of weights, read from their header."""
        template = header.chat_template
        capabilities = ["completion"]
        if "tools" in template:
            capabilities.append("tools")
        if "enable_thinking" in template or "<think>" in template:
            capabilities.append("thinking")
        return cls(
            blob=blob,
            size_bytes=size_bytes,
            family=header.architecture,
            parameter_size=human_parameters(header.parameter_count),
            quantization_level=header.quantization,
            context_length=header.context_length,
            embedding_length=header.embedding_length,
            capabilities=tuple(capabilities),
            template=template,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration, 64 hex digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A name and its configuration."""

    name: ModelName
    config: ModelConfig
    modified_at: datetime


def is_digest(text: str) -> bool:
    """Return whether a text is exactly ``sha256:`` and 64 lower-case hex digits."""
    return _DIGEST.fullmatch(text) is not None


def file_digest(path: Path) -> str:
    """Return the ``sha256:…`` of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


class ModelStore:
    """The models in one directory, which only its owner can read.

    Parameters
    ----------
    root
        Created if it does not exist.

    Raises
    ------
    OSError
        The directory cannot be created or used.
    """

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._manifests = root / "manifests"
        self._staging = root / "staging"
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        for folder in (self._blobs, self._manifests, self._staging):
            folder.mkdir(exist_ok=True)

    def models(self) -> list[StoredModel]:
        """Return all models, the newest first."""
        paths = self._manifests.glob("*.json")
        found = filter(None, map(self._read, paths))
        return sorted(found, key=lambda model: model.modified_at, reverse=True)

    def find(self, name: ModelName) -> StoredModel | None:
        """Return the model with that name (case is ignored), or ``None``."""
        return self._read(self._manifest_path(name))

    def save(self, name: ModelName, config: ModelConfig) -> None:
        """Store a model under a name, in place of any model with that name."""
        before = self.find(name)
        with self.staging() as folder:
            path = folder / "manifest.json"
            content = {"name": name.full, "config": asdict(config)}
            path.write_text(json.dumps(content), encoding="utf-8")
            path.replace(self._manifest_path(name))
        if before is not None:
            self._drop_blob_if_unused(before.config.blob)

    def delete(self, model: StoredModel) -> None:
        """Delete a model, and its weights if no other model uses them."""
        self._manifest_path(model.name).unlink(missing_ok=True)
        self._drop_blob_if_unused(model.config.blob)

    def blob_path(self, digest: str) -> Path:
        """Return the path of the weights with a digest, which need not exist.

        Raises
        ------
        ValueError
            The digest is invalid; it never becomes part of a path.
        """
        if not is_digest(digest):
            raise ValueError("invalid digest format")
        return self._blobs / digest.replace(":", "-")

    def has_blob(self, digest: str) -> bool:
        """Return whether the weights with a digest exist."""
        return self.blob_path(digest).is_file()

    def adopt(self, path: Path, digest: str) -> None:
        """Move a file, whose digest was checked, into the store."""
        path.replace(self.blob_path(digest))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a temporary directory on the disk of the store."""
        folder = Path(tempfile.mkdtemp(dir=self._staging))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> None:
        """Delete what killed processes left: files a day old that no model uses."""
        limit = time.time() - _LEFTOVER_AGE_S
        used = {model.config.blob for model in self.models()}
        for path in (*self._staging.iterdir(), *self._blobs.iterdir()):
            is_used = path.name.replace("-", ":", 1) in used
            with contextlib.suppress(OSError):
                if is_used or path.stat().st_mtime > limit:
                    continue
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _drop_blob_if_unused(self, digest: str) -> None:
        if any(model.config.blob == digest for model in self.models()):
            return
        # Windows fails while the weights are loaded; tidy() deletes them later.
        with contextlib.suppress(PermissionError):
            self.blob_path(digest).unlink(missing_ok=True)

    def _manifest_path(self, name: ModelName) -> Path:
        file_name = quote(name.key, safe="")
        if len(file_name) > _MAX_FILE_NAME:
            file_name = hashlib.sha256(name.key.encode()).hexdigest()
        return self._manifests / f"{file_name}.json"

    def _read(self, path: Path) -> StoredModel | None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            modified = os.stat(path).st_mtime
            name = ModelName.parse(content["name"])
            config = _config(content["config"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # missing, or not one of our manifests
        if name is None or not is_digest(config.blob):
            return None
        return StoredModel(name, config, datetime.fromtimestamp(modified, UTC))


def _config(data: Mapping[str, Any]) -> ModelConfig:
    known = {item.name for item in fields(ModelConfig)}
    values = {name: value for name, value in data.items() if name in known}
    for name in ("capabilities", "license", "messages"):
        values[name] = tuple(values[name])
    return ModelConfig(**values)
