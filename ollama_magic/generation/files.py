"""Text files that stand before a prompt, each fenced and named."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ollama_magic.client.progress import size_text
from ollama_magic.errors import PromptError
from ollama_magic.generation.values import MAX_CHARACTERS, value_text

_MAX_BYTES = 20_000_000
"""No text that a prompt could hold; what is larger is not read at all."""

_RUNS = re.compile(r"`{3,}")


def with_files(
    prompt: str, paths: Sequence[str], hide: Callable[[str], str] = str
) -> tuple[str, tuple[str, ...]]:
    """Return a prompt with text files before it, and how the footer names them.

    Parameters
    ----------
    paths
        As the user wrote them; ``~`` is the home directory.
    hide
        Takes secrets out of their texts.

    Raises
    ------
    PromptError
        One is missing, a folder, or no text.
    """
    parts, names = [], []
    for path in dict.fromkeys(paths):
        read = _read(path)
        found = value_text(read, hide=hide)
        parts.append(_fenced(path, found.text))
        names.append(f"{path} ({found.note})" if found.note else path)
    return "\n\n".join([*parts, prompt]), tuple(names)


def _read(text: str) -> str:
    path = Path(text).expanduser()
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_BYTES:
            raise _too_large(text, size_bytes)
        decoded = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PromptError(
            f"The file {text} cannot be read.",
            why=error.strerror or type(error).__name__,
            next_step=f"paths are seen from {Path.cwd()}; look there: !ls",
        ) from error
    except UnicodeDecodeError as error:
        raise _no_text(text) from error
    if "\0" in decoded:
        raise _no_text(text)
    return decoded


def _too_large(path: str, size_bytes: int) -> PromptError:
    return PromptError(
        f"The file {path} is too large for a prompt: {size_text(size_bytes)}.",
        why=f"a prompt is sent at most {MAX_CHARACTERS:,} characters of a file",
        next_step="read what you need of it in a cell above, and put that in {{ }}",
    )


def _no_text(path: str) -> PromptError:
    return PromptError(
        f"The file {path} is no text.",
        why="-F puts text into the prompt, in UTF-8",
        next_step="read it in a cell above, and put what you need in {{ }}",
    )


def fenced(text: str, language: str = "") -> str:
    """Return a text in a fence that nothing in it can close."""
    longest = max((len(run) for run in _RUNS.findall(text)), default=2)
    fence = "`" * max(3, longest + 1)
    body = text.rstrip("\n")
    return f"{fence}{language}\n{body}\n{fence}"


def _fenced(path: str, text: str) -> str:
    language = Path(path).suffix.lstrip(".")
    return f"File {Path(path).name}:\n{fenced(text, language)}"
