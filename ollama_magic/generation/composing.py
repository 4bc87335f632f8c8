"""All that goes into one prompt: the text, filled in, its files and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ollama_magic.client.images import Picture
from ollama_magic.errors import PromptError
from ollama_magic.generation.attachments import attach
from ollama_magic.generation.files import with_files
from ollama_magic.generation.prompt import FilledPrompt, fill


def compose(
    text: str,
    namespace: Mapping[str, Any],
    *,
    files: Sequence[str] = (),
    images: Sequence[object] = (),
    raw: bool = False,
    hide: Callable[[str], str] = str,
) -> FilledPrompt:
    """Return a prompt as a model is sent it.

    Parameters
    ----------
    files, images
        As ``-F`` and ``-a`` name them; from Python an image may be a value.
    raw
        Whether ``{{ }}`` is left as it is.
    hide
        Takes secrets out of the text, whoever put them there.

    Raises
    ------
    PromptError
        There is no text, or something in it or with it cannot be sent.
    """
    text = text.strip("\n")
    if not text.strip():
        raise PromptError(
            "The cell has no prompt.",
            why="there is no text under the %%ollama line",
            next_step="write the prompt under it, or on one line: %ollama ask TEXT",
        )
    filled = FilledPrompt(text, ()) if raw else fill(text, namespace, hide)
    # NB: after the placeholders, so that no file's braces are ever filled in.
    whole, names = with_files(hide(filled.text), files, hide)
    attached = [attach(image, namespace) for image in images]
    labels = [_label(*pair) for pair in zip(images, attached, strict=True)]
    return FilledPrompt(
        whole,
        (*names, *labels, *filled.filled),
        # In the order of their numbers: those in the text are [image 1] and so on.
        (*filled.pictures, *attached),
    )


def _label(what: object, picture: Picture) -> str:
    name = what if isinstance(what, str) else "picture"
    return f"{name} ({picture.describe()})"
