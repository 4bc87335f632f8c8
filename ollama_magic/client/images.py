"""Image and sound files in memory: their format and size, and pixels as PNG.

Prompts and turns use it. It reads the headers itself, so that no library is needed.
Ollama takes sounds in the field ``images`` too, so both are an ``Image`` here.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ollama_magic.errors import size_text

MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WebP": "image/webp",
    "WAV": "audio/wav",
    "MP3": "audio/mpeg",
}
"""The formats that Ollama accepts (``DetectMediaKind`` in its ``llm/media.go``)."""

MAX_HEARD_S = 30
"""Models such as gemma4 hear only the beginning of a longer sound."""

SOUND_FORMATS = ("WAV", "MP3", "FLAC", "Ogg", "AIFF", "M4A")

_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = {
    "PNG": (_PNG,),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*"),
    "FLAC": (b"fLaC",),
    "Ogg": (b"OggS",),
}
_RIFF = {
    (b"RIFF", b"WEBP"): "WebP",
    (b"RIFF", b"WAVE"): "WAV",
    (b"FORM", b"AIFF"): "AIFF",
}
_MARKUP = (b"<svg", b"<?xml", b"<!--", b"<!DOCTYPE svg")
_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
    "M4A": {b"M4A ", b"M4B "},
}
"""The brands in a file of ISO's base format; the more specific formats first."""

ENOUGH = 4096
"""Bytes at the start of a file that :func:`format_of` needs."""


def format_of(data: bytes) -> str:
    r"""Return the format of an image or a sound from its first bytes; else empty.

    It also names formats that Ollama rejects, which are not in ``MEDIA_TYPES``.

    Examples
    --------
    >>> format_of(b"GIF89a..."), format_of(b"\xff\xd8\xff\xe0"), format_of(b"text")
    ('GIF', 'JPEG', '')
    """
    for name, signatures in _SIGNATURES.items():
        if data.startswith(signatures):
            return name
    if found := _RIFF.get((data[:4], data[8:12])):
        return found
    if data[:3] == b"ID3" or any(True for _ in _mp3_frames(data)):
        return "MP3"
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":  # reserved, always zero
        return "BMP"
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4]), ENOUGH)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
        return next((name for name, known in _BRANDS.items() if known & brands), "")
    head = data[:ENOUGH].removeprefix(b"\xef\xbb\xbf").lstrip()
    return "SVG" if head.startswith(_MARKUP) and b"<svg" in head else ""


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels; None if the header does not say."""
    read = {"PNG": _png_size, "JPEG": _jpeg_size, "WebP": _webp_size}
    reader = read.get(format_of(data))
    try:
        return None if reader is None else reader(data)
    except struct.error:  # cut short
        return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while True:
        mark, kind, length = struct.unpack_from(">BBH", data, place)
        if mark != 0xFF:
            return None
        if kind == 0xFF:  # a fill byte
            place += 1
        elif 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:  # a frame
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        else:
            place += 2 + length


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        low, middle, high = struct.unpack_from("<HHH", data, 24)
        return (low | (middle & 0xFF) << 16) + 1, (middle >> 8 | high << 8) + 1
    return None


def seconds_of(data: bytes) -> float | None:
    """Return the length of a sound; None if the file does not say."""
    kind = format_of(data)
    if kind == "MP3":
        return sum(_mp3_frames(data), 0.0) or None
    return _wav_seconds(data) if kind == "WAV" else None


def _wav_seconds(data: bytes) -> float | None:
    import wave

    try:
        with wave.open(io.BytesIO(data)) as sound:
            width = sound.getnchannels() * sound.getsampwidth()
            # NB: a program that streams does not know the length and writes a huge one.
            frames = min(sound.getnframes(), len(data) // width)
            return float(frames / sound.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):  # not PCM, or cut short
        return None


_MPEG1 = 3
_KILOBITS = {
    _MPEG1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HERTZ = (44_100, 48_000, 32_000)


def _mp3_frames(data: bytes) -> Iterator[float]:
    """Yield the seconds of each frame of an MP3, after its tag (ISO 11172-3, 13818-3).

    Nothing is yielded for other data: a frame must be followed by another, if the data
    goes on.
    """
    at = 0
    if data[:3] == b"ID3":  # its size has seven bits in each byte
        at = 10 + sum(byte << 7 * (9 - n) for n, byte in enumerate(data[6:10], 6))
    while frame := _mp3_frame(data, at):
        seconds, size = frame
        at += size
        if (
            at + 4 <= len(data)
            and not _mp3_frame(data, at)
            and data[at : at + 3] != b"TAG"
        ):
            return
        yield seconds


def _mp3_frame(data: bytes, at: int) -> tuple[float, int] | None:
    """Return the seconds and the bytes of the frame at a place, if one begins there."""
    head = int.from_bytes(data[at : at + 4])
    version, layer = head >> 19 & 3, head >> 17 & 3
    rate, hertz, padding = head >> 12 & 15, head >> 10 & 3, head >> 9 & 1
    is_layer_3 = head >> 21 == 0x7FF and layer == 1 and version != 1
    if not is_layer_3 or rate in {0, 15} or hertz == 3:
        return None
    per_second = _HERTZ[hertz] // {_MPEG1: 1, 2: 2, 0: 4}[version]
    kilobits = _KILOBITS[_MPEG1 if version == _MPEG1 else 2][rate - 1]
    samples = 1152 if version == _MPEG1 else 576
    return samples / per_second, samples * 125 * kilobits // per_second + padding


def png_of(width: int, height: int, channels: int, samples: bytes) -> bytes:
    """Return 8-bit samples, row by row, as a PNG file.

    Parameters
    ----------
    channels
        1 is grey, 3 is RGB, 4 is RGBA.
    """
    color_type = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    stride = width * channels
    rows = range(0, height * stride, stride)
    # The zero before each row means that the row is not filtered.
    body = zlib.compress(b"".join(b"\0" + samples[at : at + stride] for at in rows))
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    return _PNG + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


@dataclass(frozen=True, slots=True)
class Image:
    """An image or sound file, as it is sent.

    Notes
    -----
    Source: Ollama ``docs/api.md`` (``images`` are base64) and recordings of a real
    server, which rejects ``data:`` URLs.
    """

    data: bytes
    """The file: PNG, JPEG or WebP, WAV or MP3."""

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def kind(self) -> Literal["image", "sound"]:
        """What users call it."""
        return "sound" if format_of(self.data) in SOUND_FORMATS else "image"

    @property
    def capability(self) -> str:
        """Ollama's name for what a model needs to take it."""
        return {"image": "vision", "sound": "audio"}[self.kind]

    @property
    def media_type(self) -> str:
        """``image/png`` or the like, from the first bytes."""
        return MEDIA_TYPES.get(format_of(self.data), "application/octet-stream")

    @property
    def base64(self) -> str:
        """The file in base64, for the ``images`` of a message."""
        return b64encode(self.data).decode("ascii")

    def describe(self) -> str:
        """Return the format, the pixels or seconds if known, and the size in bytes."""
        size, seconds = size_of(self.data), seconds_of(self.data)
        extent = [f"{size[0]} x {size[1]}"] if size else []
        if seconds is not None:
            is_long = seconds > MAX_HEARD_S
            note = f" (models hear about {MAX_HEARD_S} s)" if is_long else ""
            extent.append(f"{seconds:.1f} s{note}")
        return ", ".join([format_of(self.data), *extent, size_text(len(self.data))])


_MAX_DRAWN = 16
_MAX_DRAWN_BYTES = 10_000_000
_MAX_DRAWN_PIXELS = 50_000_000
"""A browser needs four bytes for each, however small the file is."""


def drawn_image(text: str) -> Image | None:
    """Return an image that a model drew, in base64; None unless it is a usable PNG.

    Examples
    --------
    >>> drawn_image("PHN2Zz48c2NyaXB0Lz48L3N2Zz4=") is None  # SVG with a script
    True
    """
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    size = size_of(data) if format_of(data) == "PNG" else None
    is_small = len(data) <= _MAX_DRAWN_BYTES
    is_usable = size and is_small and 0 < size[0] * size[1] <= _MAX_DRAWN_PIXELS
    return Image(data) if is_usable else None


def fits(image: Image, shown: Sequence[Image]) -> bool:
    """Return whether an image that a model drew can be shown beside earlier ones.

    The limits of one image apply to all those of a reply: a small file may expand to a
    large image in the browser.
    """
    images = [*shown, image]
    pixels = sum(math.prod(size_of(one.data) or ()) for one in images)
    size_bytes = sum(len(one.data) for one in images)
    is_small = pixels <= _MAX_DRAWN_PIXELS and size_bytes <= _MAX_DRAWN_BYTES
    return is_small and len(images) <= _MAX_DRAWN


def without_images(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request body with descriptions in place of images."""

    def described(part: Mapping[str, Any]) -> dict[str, Any]:
        images = part.get("images") or ()
        words = [f"<{Image(b64decode(image)).describe()}>" for image in images]
        return {**part, "images": words} if words else dict(part)

    messages = [described(message) for message in body.get("messages", ())]
    return {**described(body), "messages": messages} if messages else described(body)
