"""Turns files, addresses and values of the notebook into images and sounds.

``prompt`` calls it for ``-a`` and for ``{{ }}``. None of the libraries of these values
is imported: the names of their classes are enough, and their own methods write the PNG.
The values are never changed. Only ``-a`` fetches an address.
"""

from __future__ import annotations

import io
import stat
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from ollama_magic.client.files import download, is_address, public_address
from ollama_magic.client.images import (
    ENOUGH,
    MEDIA_TYPES,
    SOUND_FORMATS,
    Image,
    format_of,
)
from ollama_magic.errors import PromptError, quoted, size_text
from ollama_magic.generation.arrays import png_of_array, wav_of
from ollama_magic.generation.values import (
    as_array,
    error_text,
    is_file,
    is_from,
    unreadable_file,
)
from ollama_magic.render.text import counted

_MAX_BYTES = 20_000_000
_ACCEPTS = "Ollama accepts PNG, JPEG and WebP"
_ACCEPTS_SOUND = "Ollama accepts WAV and MP3"
_LONGEST_PATH = 1024
_OPENED = "PIL.Image.open(io.BytesIO(DATA))"


def attach(
    what: object, namespace: Mapping[str, Any], find: Callable[[str], object]
) -> tuple[str, Image]:
    """Return the image or sound that ``-a`` names, and its text for the footer.

    A file of that name wins over a variable. A value may be an image, a figure, an
    array, a sound, bytes, a path, or the address of a file on the web.

    Parameters
    ----------
    find
        Returns the value of an expression of the notebook.

    Raises
    ------
    PromptError
        There is no such file, variable or address, or it cannot be read.
    """
    named = isinstance(what, str) and not is_file(what) and _is_name(what, namespace)
    value = find(what) if named and isinstance(what, str) else what
    if isinstance(value, str) and is_address(value) and not is_file(value):
        address = public_address(value)
        image = _checked(address, download(value, max_bytes=_MAX_BYTES), _OPENED)
        return f"{address} ({image.describe()}, fetched by this machine)", image
    value = _decoded(value) if isinstance(value, str) else value
    shown = f"{what}" if named or isinstance(value, str) else ""
    if isinstance(value, str):
        image = read_image(value)
    else:
        image = _of_value(value, shown or "The value")
    return f"{shown or image.kind} ({image.describe()})", image


def counted_kinds(images: Iterable[Image], adjective: str = "") -> list[str]:
    """Return how many images and how many sounds there are, as text.

    >>> counted_kinds([Image(b""), Image(b"ID3")], "earlier ")
    ['1 earlier image', '1 earlier sound']
    """
    counts = Counter(image.kind for image in images)
    return [counted(count, f"{adjective}{kind}") for kind, count in counts.items()]


def _is_name(text: str, namespace: Mapping[str, Any]) -> bool:
    """Return whether a text begins with a name: ``fig.axes``, or one not defined."""
    name = text.partition(".")[0].partition("[")[0].strip()
    return name in namespace or (text.isidentifier() and len(text) <= 40)


def _of_value(value: object, shown: str) -> Image:
    image = image_of(value, arrays=True)
    if image is None:
        data = "" if _content(value) is None else ", and in no known format"
        raise PromptError(
            f"{shown} is not an image or a sound.",
            why=f"it is of type {type(value).__name__}{data}",
            next_step="attach a file, its bytes, a PIL image, a figure, an array of "
            "pixels, or a sound (array, rate); for other values write {{ NAME }} in "
            "the prompt",
        )
    return image


def read_image(path: str) -> Image:
    """Return an image or sound file.

    Parameters
    ----------
    path
        As the user wrote it; ``~`` is the home directory.

    Raises
    ------
    PromptError
        The file is missing, a folder, not an image or a sound, in a format that Ollama
        does not accept, or larger than 20 MB.
    """
    try:
        file = Path(path).expanduser()
        is_plain = stat.S_ISREG(file.stat().st_mode)
        data = _beginning(file, _MAX_BYTES + 1) if is_plain or file.is_dir() else b""
    except (OSError, ValueError, RuntimeError) as error:
        raise unreadable_file(path, error) from error
    return _checked(f"The file {path}", data, f"PIL.Image.open({path!r})")


def image_of(value: object, *, arrays: bool = False) -> Image | None:
    """Return a value of the notebook as an image or a sound; None if it is neither.

    Parameters
    ----------
    arrays
        Whether arrays are read, which are text in ``{{ }}``: a numpy array or tensor of
        shape (h, w) or (h, w, 1, 3 or 4), with uint8, bool, or floats from 0 to 1, as
        an image, and one with its sampling rate as a sound.

    Raises
    ------
    PromptError
        It is an image that cannot be sent: its format, its size, or an error in its
        own methods; or ``arrays`` is set and the array has another shape or type.

    Notes
    -----
    Images are: bytes that begin like one, a ``pathlib.Path`` or an open file with such
    bytes, PIL images, figures of matplotlib, seaborn, plotly and altair, what
    matplotlib draws (axes, lines, bars, also several in a list), IPython's ``Image``
    and ``Audio``, and any object whose ``_repr_png_`` returns one.
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, type):  # a class has the methods, but no image
        return None
    what = f"The {type(value).__name__}"
    try:
        if isinstance(value, Path):
            return _of_path(value)
        if (content := _content(value)) is not None:
            return _of_bytes(content)
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
    what = "The sound" if format_of(data) in SOUND_FORMATS else what
    return _checked(what, data, "PIL.Image.open(PATH)")


def _checked(what: str, data: bytes, opening: str) -> Image:
    """Return the data of an image or a sound as an ``Image``, if it can be sent."""
    kind = format_of(data)
    if not kind:
        raise PromptError(
            f"{what} is not an image or a sound.",
            why=f"{_ACCEPTS}, WAV and MP3; its data is none of these",
            next_step="for a text file use -F",
        )
    if kind == "HEIC" and (readable := _of_heic(data)):
        data, kind = readable, "JPEG"
    if kind not in MEDIA_TYPES:
        raise _not_taken(what, kind, opening)
    if len(data) > _MAX_BYTES:
        raise PromptError(
            f"{what} is too large for a prompt.",
            why=f"the limit is {size_text(_MAX_BYTES)}",
            next_step="cut it into parts of 30 seconds"
            if kind in SOUND_FORMATS
            else "make it smaller in a cell above: import PIL.Image; image = "
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


def _of_bytes(data: bytes) -> Image | None:
    kind = format_of(data)
    what = "The sound" if kind in SOUND_FORMATS else "The image"
    return _checked(what, data, _OPENED) if kind else None


def _content(value: Any) -> bytes | None:  # noqa: ANN401
    """Return bytes, or the content of an open file; None for another value."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    is_temporary = is_from(value, "tempfile", "_TemporaryFileWrapper")
    return _of_file(value) if is_temporary or isinstance(value, io.IOBase) else None


def _of_file(file: Any) -> bytes:  # noqa: ANN401  (a binary file, open for reading)
    """Return the whole content; the position in the file stays as it is."""
    is_text = isinstance(file, io.TextIOBase)
    if is_text or file.closed or not (file.readable() and file.seekable()):
        return b""
    place = file.tell()
    try:
        file.seek(0)
        data = file.read(_MAX_BYTES + 1)
    finally:
        file.seek(place)
    return data if isinstance(data, bytes) else b""


def _of_heic(data: bytes) -> bytes:
    """Return a photo as JPEG; empty if Pillow or its plug-in is not installed."""
    try:
        pillow = import_module("PIL.Image")
    except ImportError:
        return b""
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
    with suppress(OSError):  # no plug-in knows the format
        image = pillow.open(io.BytesIO(data)).convert("RGB")
        return _saved(image.save, format="jpeg", quality=90)
    return b""


def _decoded(text: str) -> str | bytes:
    """Return the bytes of base64 text or of a ``data:`` address; a path as it is."""
    head, _, encoded = text.rpartition(";base64,")
    is_encoded = head.startswith("data:") or len(text) > _LONGEST_PATH
    return (is_encoded and _of_base64(encoded)) or text


def _of_base64(data: object) -> bytes:
    """Return bytes, or base64 text as bytes; empty for anything else."""
    with suppress(ValueError):
        data = b64decode(data) if isinstance(data, str) else data
    return bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b""


# -- objects of libraries ------------------------------------------------------


def _data_of(value: Any, *, arrays: bool) -> bytes | None:  # noqa: ANN401
    if is_from(value, "IPython", "SVG"):
        raise _not_taken("The image", "SVG", "")
    for library, names, file_of in FILE_CLASSES:
        if is_from(value, library, *names):
            return file_of(value)
    figure = _figure_of(value)
    if figure is not None:
        return _saved(figure.savefig, bbox_inches="tight")
    if as_array(value) is not None:
        return png_of_array(value) if arrays else None
    # On the class: some objects answer to any attribute.
    if callable(getattr(type(value), "_repr_png_", None)):
        shown = value._repr_png_()
        data = shown[0] if isinstance(shown, tuple) and shown else shown
        return None if data is None else _of_base64(data)
    return wav_of(value) if arrays else None


def _saved(
    save: Callable[..., object], *, format: str = "png", **options: object
) -> bytes:
    buffer = io.BytesIO()
    save(buffer, format=format, **options)
    return buffer.getvalue()


def _exported(export: Callable[[], bytes], library: str, package: str) -> bytes:
    """Return what a library exports; it needs another package for that."""
    try:
        return export()
    except Exception as error:  # the package is missing, or a browser that it needs
        raise PromptError(
            f"The figure of {library} cannot be exported as an image.",
            why=error_text(error),
            next_step=f"install what {library} needs for it: !pip install -U {package}",
        ) from error


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


def _of_display(shown: Any) -> bytes:  # noqa: ANN401  (an Image or Audio of IPython)
    if shown.data is None:
        kind = type(shown).__name__
        raise PromptError(
            f"The {kind} does not contain its data.",
            why=f"it only refers to {quoted(str(shown.url or shown.filename))}",
            next_step=f"create it with its data: {kind}(url=..., embed=True)",
        )
    return _of_base64(shown.data)


def _of_plotly(figure: Any) -> bytes:  # noqa: ANN401
    return _exported(lambda: figure.to_image(format="png"), "plotly", "kaleido")


def _of_altair(chart: Any) -> bytes:  # noqa: ANN401
    return _exported(lambda: _saved(chart.save), "altair", "vl-convert-python")


FILE_CLASSES: tuple[tuple[str, tuple[str, ...], Callable[[Any], bytes]], ...] = (
    ("PIL", ("Image",), _of_pil),
    ("IPython", ("Image", "Audio"), _of_display),
    ("plotly", ("BaseFigure",), _of_plotly),
    ("altair", ("TopLevelMixin",), _of_altair),
)
"""The classes of libraries that are images or sounds, and what returns their file."""


HAS_FIGURE = {"seaborn": "figure", "sklearn": "figure_", "xarray": "fig"}
"""For each library, the attribute of its plots that is a figure of matplotlib."""


def _figure_of(value: Any) -> Any:  # noqa: ANN401
    """Return the matplotlib figure that a value is, or is a part of; or None."""
    figures: dict[int, Any] = {}
    for part in _parts(value):
        figure = _own_figure(part)
        if figure is None:
            return None
        figures[id(figure)] = figure
    if len(figures) > 1:
        raise PromptError(
            f"The axes belong to {len(figures)} figures.",
            next_step="attach each figure separately: -a fig",
        )
    return next(iter(figures.values()), None)


def _own_figure(value: Any) -> Any:  # noqa: ANN401
    if is_from(value, "matplotlib", "Figure"):
        return value
    if is_from(value, "matplotlib", "Artist"):  # axes, lines, patches, texts
        if value.figure is None:
            raise PromptError(
                f"The {type(value).__name__} is no longer part of a figure.",
                next_step="attach the figure itself: -a fig",
            )
        return _own_figure(value.figure)
    library = type(value).__module__.partition(".")[0]
    name = HAS_FIGURE.get(library)
    figure = getattr(value, name, None) if name else None
    return figure if is_from(figure, "matplotlib", "Figure") else None


def _parts(value: Any, levels: int = 3) -> Iterator[Any]:  # noqa: ANN401
    """Yield the values in lists, dicts, arrays of objects and groups of artists."""
    within: Iterable[Any]
    if is_from(value, "matplotlib", "Container", "PieContainer"):
        within = value.get_children() if hasattr(value, "get_children") else value
    elif is_from(value, "numpy", "ndarray") and value.dtype.kind == "O":
        within = value.flat
    elif isinstance(value, dict):
        within = value.values()
    elif isinstance(value, list | tuple):
        within = value
    else:
        yield value
        return
    for part in within:
        yield from _parts(part, levels - 1) if levels else (part,)


# -- errors --------------------------------------------------------------------


def _not_taken(what: str, kind: str, opening: str) -> PromptError:
    imports = "import io, PIL.Image" if "io." in opening else "import PIL.Image"
    step = f"open it in a cell: {imports}; image = {opening}, then -a image"
    if kind == "SVG":
        step = "save it as a PNG in the program that created it, then: -a FILE"
    if kind == "HEIC":
        step = "install a reader, and run this again: !pip install pillow-heif"
    if kind in SOUND_FORMATS:
        step = (
            "convert it: !ffmpeg -i FILE -ac 1 -ar 16000 sound.wav, then -a sound.wav"
        )
    return PromptError(
        f"{what} is in {kind} format.",
        why=_ACCEPTS_SOUND if kind in SOUND_FORMATS else _ACCEPTS,
        next_step=step,
    )


def _failed(what: str, error: Exception) -> PromptError:
    return PromptError(
        f"{what} did not produce an image.",
        why=error_text(error),
        next_step="display it in a cell above to see the whole error",
    )
