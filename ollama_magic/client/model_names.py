"""What a model name means, by the rules of Ollama's server.

Tells when two spellings name one model, and which names run in Ollama's cloud.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)
CLOUD_HOST = "ollama.com"
"""Where cloud models answer whose place a server does not name."""
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
    return name if has_tag(name) else f"{name}:latest"


def has_tag(name: str) -> bool:
    """Return whether a name says which tag of a model it means."""
    return ":" in name.rpartition("/")[2]


def is_cloud_name(name: str) -> bool:
    """Return whether a server passes requests for this name on to ollama.com.

    It does so for names that it does not list, too (Ollama ``internal/modelref``).

    Examples
    --------
    >>> is_cloud_name("kimi-k2.6:cloud"), is_cloud_name("gpt-oss:120B-Cloud")
    (True, True)
    >>> is_cloud_name("my-cloud"), is_cloud_name("gpt-oss:120b-cloud:local")
    (False, False)
    """
    _, colon, tag = name.strip().lower().rpartition(":")
    is_cloud = tag == "cloud" or tag.endswith("-cloud")
    return bool(colon) and "/" not in tag and is_cloud


def names_meant(name: str, names: Iterable[str]) -> list[str]:
    """Return which of ``names`` a name may mean.

    That is its equal; without one, and where it has no tag, every tag of that model.

    Examples
    --------
    >>> names_meant("llama3.2", ["llama3.2:3b", "qwen3:4b"])
    ['llama3.2:3b']
    >>> names_meant("llama3.2", ["llama3.2:3b", "Llama3.2:latest"])
    ['Llama3.2:latest']
    """
    others, wanted = list(names), canonical(name)
    equal = [other for other in others if canonical(other) == wanted]
    if equal or has_tag(name):
        return equal
    base = wanted.removesuffix("latest")
    return [o for o in others if canonical(o).rpartition(":")[0] + ":" == base]


def find_model(name: str, models: Iterable[N]) -> N | None:
    """Return the model of that name, however it is spelt, or None."""
    wanted = canonical(name)
    return next((model for model in models if canonical(model.name) == wanted), None)
