"""Turns files and values of the notebook into images for a model with vision.

``prompt`` calls it for ``-a`` and for ``{{ }}``. None of the libraries of these values
is imported: the names of their classes are enough, and their own methods write the PNG.
The values are never changed.
"""

from __future__ import annotations

import binascii
import io
import stat
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ollama_magic.client.images import (
    ENOUGH,
    MEDIA_TYPES,
    Image,
    format_of,
    png_of,
)
from ollama_magic.client.progress import size_text
from ollama_magic.errors import PromptError, quoted
from ollama_magic.generation.values import error_text, is_from, unreadable_file

_MAX_BYTES = 20_000_000
_ACCEPTS = "Ollama accepts PNG, JPEG and WebP"


def read_image(path: str) -> Image:
    """Return an image file.

    Parameters
    ----------
    path
        As the user wrote it; ``~`` is the home directory.

    Raises
    ------
    PromptError
        The file is missing, a folder, not an image, in a format that Ollama does not
        accept, or larger than 20 MB.
    """
    what = f"The file {path}"
    try:
        file = Path(path).expanduser()
        is_plain = stat.S_ISREG(file.stat().st_mode)
        data = _beginning(file, _MAX_BYTES + 1) if is_plain or file.is_dir() else b""
    except (OSError, ValueError, RuntimeError) as error:
        raise unreadable_file(path, error) from error
    kind = format_of(data)
    if not kind:
        raise PromptError(
            f"{what} is not an image.",
            why=f"{_ACCEPTS}; this file is none of these",
            next_step="for a text file use -F",
        )
    return _checked(what, data, f"PIL.Image.open({path!r})")


def image_of(value: object, *, arrays: bool = False) -> Image | None:
    """Return a value of the notebook as an image; None if it is not an image.

    Parameters
    ----------
    arrays
        Whether a numpy array is read as an image: of shape (h, w) or (h, w, 1, 3 or
        4), with uint8, bool, or floats from 0 to 1.

    Raises
    ------
    PromptError
        It is an image that cannot be sent: its format, its size, or an error in its
        own methods; or ``arrays`` is set and the array has another shape or type.

    Notes
    -----
    Images are: bytes that begin like one, a ``pathlib.Path`` of an image file, PIL
    images, matplotlib's figures and axes (also a list or array of axes),
    ``IPython.display.Image``, and any object whose ``_repr_png_`` returns one.
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, type):  # a class has the methods, but no image
        return None
    what = f"The {type(value).__name__}"
    try:
        if isinstance(value, Path):
            return _of_path(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return _of_bytes(value)
        data = _data_of(value, arrays=arrays)
    except PromptError:
        raise
    except Exception as error:  # the user's object may raise anything
        raise _failed(what, error) from error
    if data is None:
        return None
    if not format_of(data):
        raise PromptError(
            f"{what} did not produce an image.",
            why="its data is not in a known image format",
            next_step="save it as a PNG in a cell above, and attach the file: -a FILE",
        )
    return _checked(what, data, "PIL.Image.open(PATH)")


def _checked(what: str, data: bytes, opening: str) -> Image:
    """Return the data of an image as an ``Image``, if it can be sent."""
    kind = format_of(data)
    if kind not in MEDIA_TYPES:
        raise _not_taken(what, kind, opening)
    if len(data) > _MAX_BYTES:
        raise PromptError(
            f"{what} is too large for a prompt.",
            why=f"the limit is {size_text(_MAX_BYTES)}",
            next_step="make it smaller in a cell above: import PIL.Image; image = "
            f"{opening}; image.thumbnail((2000, 2000)), then -a image",
        )
    return Image(data)


# -- bytes and files -----------------------------------------------------------


def _of_path(path: Path) -> Image | None:
    try:
        if not path.is_file():
            return None
    except (OSError, ValueError):  # not the name of a file
        return None
    try:
        head = _beginning(path, ENOUGH)
    except OSError:
        return read_image(str(path))  # raises, with the reason
    return read_image(str(path)) if format_of(head) else None


def _beginning(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _of_bytes(value: bytes | bytearray | memoryview) -> Image | None:
    data = bytes(value)
    if not format_of(data):
        return None
    opening = "PIL.Image.open(io.BytesIO(DATA))"
    return _checked("The image", data, opening)


def _of_base64(data: object) -> bytes:
    """Return bytes, or base64 text as bytes; empty for anything else."""
    if isinstance(data, str):
        try:
            return b64decode(data)
        except binascii.Error:
            return b""
    return bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b""


# -- objects of libraries ------------------------------------------------------


def _data_of(value: Any, *, arrays: bool) -> bytes | None:  # noqa: ANN401
    if is_from(value, "PIL", "Image"):
        return _of_pil(value)
    if is_from(value, "IPython", "Image"):
        return _of_display(value)
    if is_from(value, "IPython", "SVG"):
        raise _not_taken("The image", "SVG", "")
    figure = _figure_of(value)
    if figure is not None:
        return _saved(figure.savefig, bbox_inches="tight")
    if is_from(value, "numpy", "ndarray"):
        return _of_array(value) if arrays else None
    # On the class: some objects answer to any attribute.
    if callable(getattr(type(value), "_repr_png_", None)):
        shown = value._repr_png_()
        data = shown[0] if isinstance(shown, tuple) and shown else shown
        return None if data is None else _of_base64(data)
    return None


def _saved(save: Callable[..., object], **options: object) -> bytes:
    buffer = io.BytesIO()
    save(buffer, format="png", **options)
    return buffer.getvalue()


_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
_NEAREST_MODES = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA", "I": "I;16", "F": "L"}


def _of_pil(image: Any) -> bytes:  # noqa: ANN401  (an Image)
    if image.mode == "F":
        low, high = image.getextrema()
        if low >= 0 and high <= 1:  # as floats of an array: 1 is white
            image = image.point(lambda sample: sample * 255)
    if image.mode not in _PNG_MODES:
        image = image.convert(_NEAREST_MODES.get(image.mode, "RGB"))
    # The colour profile may not apply to the converted colours.
    return _saved(image.save, icc_profile=None)


def _of_display(image: Any) -> bytes:  # noqa: ANN401  (IPython.display.Image)
    if image.data is None:
        raise PromptError(
            "The Image does not contain its data.",
            why=f"it only refers to {quoted(str(image.url or image.filename))}",
            next_step="create it with its data: Image(url=..., embed=True)",
        )
    return _of_base64(image.data)


def _figure_of(value: Any) -> Any:  # noqa: ANN401
    """Return the matplotlib figure that a value is, or is a part of; or None."""
    if is_from(value, "matplotlib", "Figure"):
        return value
    if is_from(value, "matplotlib", "Axes", "SubFigure"):
        if value.figure is None:
            raise PromptError(
                "The axes are no longer part of a figure.",
                next_step="attach the figure itself: -a fig",
            )
        return _figure_of(value.figure)
    parts = _parts(value)
    if not parts or not all(is_from(part, "matplotlib", "Axes") for part in parts):
        return None
    figures = {id(figure): figure for figure in map(_figure_of, parts)}
    if len(figures) > 1:
        raise PromptError(
            f"The axes belong to {len(figures)} figures.",
            next_step="attach each figure separately: -a fig",
        )
    return next(iter(figures.values()))


def _parts(value: Any) -> Sequence[Any]:  # noqa: ANN401
    if is_from(value, "numpy", "ndarray"):
        return list(value.flat) if value.dtype.kind == "O" else []
    return value if isinstance(value, list | tuple) else []


# -- arrays --------------------------------------------------------------------


def _of_array(array: Any) -> bytes:  # noqa: ANN401  (an ndarray)
    shape = array.shape
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in {2, 3} or channels not in {1, 3, 4} or not array.size:
        raise _not_pixels(array, f"its shape is {shape}")
    kind = array.dtype
    if kind.kind == "f":
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):  # also if one is NaN
            raise _not_pixels(array, f"its values range from {low:g} to {high:g}")
        array = (array * 255).round()
    elif kind.kind == "b":
        array = array * 255
    elif kind != "uint8":
        raise _not_pixels(array, f"its type is {kind}")
    samples = array.astype("uint8").tobytes()
    return png_of(shape[1], shape[0], channels, samples)


def _not_pixels(array: Any, why: str) -> PromptError:  # noqa: ANN401
    floats = array.dtype.kind == "f"
    example = "(x - x.min()) / (x.max() - x.min())" if floats else "x.astype('uint8')"
    return PromptError(
        "The array is not an image.",
        why=f"{why}; the shape must be (h, w), (h, w, 3) or (h, w, 4), and the values "
        "uint8, bool, or floats from 0 to 1",
        next_step=f"convert it in a cell above: image = {example}",
    )


# -- errors --------------------------------------------------------------------


def _not_taken(what: str, kind: str, opening: str) -> PromptError:
    by_hand = "save it as a PNG in the program that created it, then: -a FILE"
    imports = "import io, PIL.Image" if "io." in opening else "import PIL.Image"
    opened = f"open it in a cell: {imports}; image = {opening}, then -a image"
    return PromptError(
        f"{what} is in {kind} format.",
        why=_ACCEPTS,
        next_step=by_hand if kind in {"SVG", "HEIC"} else opened,
    )


def _failed(what: str, error: Exception) -> PromptError:
    return PromptError(
        f"{what} did not produce an image.",
        why=error_text(error),
        next_step="display it in a cell above to see the whole error",
    )
