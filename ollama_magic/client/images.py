"""Image files in memory: their format and size, and arrays of pixels as PNG.

Prompts and turns use it. It reads the headers itself, so that no imaging library is
needed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_magic.client.progress import size_text

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WebP": "image/webp"}
"""The formats that Ollama accepts; its command line knows ``.png .jpg .webp``."""

_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = {
    "PNG": (_PNG,),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*"),
}
_MARKUP = (b"<svg", b"<?xml", b"<!--", b"<!DOCTYPE svg")
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC"}

ENOUGH = 4096
"""Bytes at the start of a file that :func:`format_of` needs."""


def format_of(data: bytes) -> str:
    r"""Return the format of an image from its first bytes; empty if it is not an image.

    It also names formats that Ollama rejects, which are not in ``MEDIA_TYPES``.

    Examples
    --------
    >>> format_of(b"GIF89a..."), format_of(b"\xff\xd8\xff\xe0"), format_of(b"text")
    ('GIF', 'JPEG', '')
    """
    for name, signatures in _SIGNATURES.items():
        if data.startswith(signatures):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":  # reserved, always zero
        return "BMP"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "")
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
    """An image file, as it is sent.

    Notes
    -----
    Source: Ollama ``docs/api.md`` (``images`` are base64) and recordings of a real
    server, which rejects ``data:`` URLs.
    """

    data: bytes
    """The file: PNG, JPEG or WebP."""

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def media_type(self) -> str:
        """``image/png`` or the like, from the first bytes."""
        return MEDIA_TYPES.get(format_of(self.data), "application/octet-stream")

    @property
    def base64(self) -> str:
        """The file in base64, for the ``images`` of a message."""
        return b64encode(self.data).decode("ascii")

    def describe(self) -> str:
        """Return the format, the size in pixels if known, and the size in bytes."""
        size = size_of(self.data)
        pixels = [f"{size[0]} x {size[1]}"] if size else []
        return ", ".join([format_of(self.data), *pixels, size_text(len(self.data))])


def without_images(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request body with descriptions in place of images."""

    def described(part: Mapping[str, Any]) -> dict[str, Any]:
        images = part.get("images") or ()
        words = [f"<{Image(b64decode(image)).describe()}>" for image in images]
        return {**part, "images": words} if words else dict(part)

    messages = [described(message) for message in body.get("messages", ())]
    return {**described(body), "messages": messages} if messages else described(body)
