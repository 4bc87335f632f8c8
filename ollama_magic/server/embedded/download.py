"""One wheel from the user's own package index, through the user's own pip.

Knows pip's command line and what its failures mean. What pip prints is never passed
on: it names hosts, and may hold credentials of private indexes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ollama_magic.server.embedded.errors import Refusal
from ollama_magic.server.embedded.guard import guarded

_POLL_S = 0.1

_MEANINGS = (
    (
        ("No module named pip",),
        "this Python has no pip; run: python -m ensurepip (or: uv pip install pip)",
    ),
    (("No space left on device",), "no space left on device"),
    (
        ("401 Client Error", "403 Client Error", "Forbidden for url"),
        "the package index refused pip's credentials; check: pip config list",
    ),
    (
        ("SSLError", "CERTIFICATE_VERIFY_FAILED", "confirming the ssl certificate"),
        "pip does not trust the package index; check: pip config list",
    ),
    (
        ("Retrying", "connection error", "Max retries", "timed out"),
        "pip could not reach the package index; check the network, proxy and: "
        "pip config list",
    ),
    (
        ("DO NOT MATCH THE HASHES", "Hashes are required"),
        "pip refused the package because of a hash; check: pip config list",
    ),
    (
        ("No matching distribution", "Could not find a version"),
        "the package index has no wheel of it",
    ),
)


def download_wheel(
    requirement: str, folder: Path, on_bytes: Callable[[int], None]
) -> Path:
    """Fetch one wheel, without what it depends on.

    Parameters
    ----------
    requirement
        Name and exact version.
    folder
        An empty directory, for the wheel and for pip's temporary files.
    on_bytes
        Called about ten times a second with the bytes that are on disk so far. It may
        raise, which ends pip.

    Raises
    ------
    Refusal
        500: what went wrong, in words without hosts or credentials.

    Notes
    -----
    The size of pip's growing file is the one measure of progress that every pip has
    (``--progress-bar raw`` came with 24.1). Only wheels: a source archive could run
    code. The guard ends pip if this process is killed.
    """
    target = folder / "wheel"
    log = folder / "pip.log"
    exit_code = _run(_pip(requirement, target), folder, log, on_bytes)
    wheels = list(target.glob("*.whl"))
    if exit_code or not wheels:
        text = log.read_text(encoding="utf-8", errors="replace")
        raise Refusal(500, f"could not fetch {requirement}: {_meaning(text)}")
    return wheels[0]


def _run(
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
            # End of file: the guard ends pip, if it still runs.
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
                continue  # moved away by pip meanwhile
    return largest


def _meaning(text: str) -> str:
    for signs, meaning in _MEANINGS:
        if any(sign in text for sign in signs):
            return meaning
    return "pip failed; to see why, run: pip download --no-deps with that package"
