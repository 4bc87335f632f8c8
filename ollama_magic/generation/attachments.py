"""What ``-a`` names: a file, or a value of the notebook, as a picture.

Knows where a picture may come from; what one is, it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ollama_magic.client.images import Picture
from ollama_magic.errors import PromptError
from ollama_magic.generation.images import picture_of, read_picture
from ollama_magic.generation.prompt import find_value


def attach(what: object, namespace: Mapping[str, Any]) -> Picture:
    """Return the picture that ``what`` names, or is.

    A file of that name comes before a value of the notebook. A value may be a picture,
    a figure, an array, bytes, or a path.

    Raises
    ------
    PromptError
        It is neither, or cannot be read.
    """
    if not isinstance(what, str):
        return _of_value(what, f"a {type(what).__name__}")
    if _is_file(what) or not _is_name(what, namespace):
        return read_picture(what)
    value = find_value(what, namespace)
    return read_picture(value) if isinstance(value, str) else _of_value(value, what)


def _of_value(value: object, shown: str) -> Picture:
    picture = picture_of(value, arrays=True)
    if picture is None:
        raise PromptError(
            f"{shown} is no picture.",
            why=f"it is of type {type(value).__name__}",
            next_step="a picture is a file, bytes of one, a PIL image, a matplotlib "
            "figure or an array of pixels; other values: {{ NAME }} in the prompt",
        )
    return picture


def _is_name(text: str, namespace: Mapping[str, Any]) -> bool:
    """Tell whether a text begins with a name of the notebook, as ``fig.axes`` does."""
    name = text.partition(".")[0].partition("[")[0].strip()
    return name in namespace


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long, or no home directory
        return False
