"""A picture for a model with vision: bytes, and the name it goes by.

Knows how a picture is sent and told apart. Knows nothing of the libraries that make
pictures, and does not look into the bytes.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Picture:
    """One picture.

    Parameters
    ----------
    data
        The file's bytes: PNG, JPEG or another format that Ollama takes.
    name
        How the footer names it: a file, or what stood in ``{{ }}``.
    """

    data: bytes
    name: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal: the same picture, the same digest."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def base64(self) -> str:
        """The bytes as the API takes them: plain base64, and no ``data:`` URL."""
        return base64.b64encode(self.data).decode("ascii")
