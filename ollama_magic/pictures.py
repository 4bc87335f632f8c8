"""Pictures for models that see: what a prompt is sent with.

Knows files and values that are pictures.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, as it is sent."""

    data: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the data, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def base64(self) -> str:
        """The data as Ollama takes it: plain base64."""
        return base64.b64encode(self.data).decode("ascii")
