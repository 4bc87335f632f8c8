"""When two spellings name one model, by the rules of Ollama's server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)
_DEFAULT_PREFIXES = ("registry.ollama.ai/", "library/")


def canonical(name: str) -> str:
    """Return the spelling under which equal names are equal.

    Case does not matter, no tag means ``latest``, and the default registry and
    namespace may be written or left out (recorded from a server of version 0.33).

    Examples
    --------
    >>> canonical("registry.ollama.ai/library/Pirate"), canonical("smollm2:135M")
    ('pirate:latest', 'smollm2:135m')
    """
    name = name.strip().lower()
    for prefix in _DEFAULT_PREFIXES:
        name = name.removeprefix(prefix)
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def find_model(name: str, models: Iterable[N]) -> N | None:
    """Return the model of that name, however it is spelt, or None."""
    wanted = canonical(name)
    return next((model for model in models if canonical(model.name) == wanted), None)
