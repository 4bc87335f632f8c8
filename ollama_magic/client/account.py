"""What a server says about its account at ollama.com and about the cloud.

Sources: Ollama ``api/types.go`` (0.33.0-rc2), and recordings of a server that is not
signed in. The values of ``plan`` are not documented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ollama_magic.client.json_values import JsonObject, json_fields


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a server is signed in to."""

    id: str = ""
    email: str = ""
    name: str = ""
    plan: str = ""
    """Such as ``free``."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the response of ``POST /api/me``."""
        return cls(**json_fields(cls, data))


@dataclass(frozen=True, slots=True)
class CloudStatus:
    """Whether a server may use Ollama's cloud."""

    disabled: bool = False
    source: str = ""
    """What disables it: ``env``, ``config``, ``both`` or ``none``."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read ``cloud`` of ``GET /api/status``."""
        return cls(data.get("disabled") is True, **json_fields(cls, data))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model that Ollama recommends."""

    model: str = ""
    description: str = ""
    context_length: int = 0
    max_output_tokens: int = 0
    vram_bytes: int = 0
    required_plan: str = ""
    """The plan that a cloud model needs; empty if it needs none."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``recommendations``."""
        return cls(**json_fields(cls, data, {"vram": data.get("vram_bytes")}))
