"""Model names: ``[host/][namespace/]model[:tag]``, as Ollama reads them.

Knows which names are valid and which are the same; refuses to know what is stored.
Source: Ollama ``types/model/name.go``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_HOST_RE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")
_NAMESPACE_RE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART_RE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, slots=True)
class ModelName:
    """A valid name with all four parts; no part can leave a directory."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a name, with the defaults of Ollama; ``None`` when it is not valid.

        Examples
        --------
        >>> str(ModelName.parse("smollm2"))
        'smollm2:latest'
        >>> ModelName.parse("../../etc/passwd") is None
        True
        """
        rest, namespace, host = text, _NAMESPACE, _HOST
        tag = _TAG
        if ":" in rest.rpartition("/")[2]:
            rest, _, tag = rest.rpartition(":")
        rest, _, model = rest.rpartition("/")
        if rest:
            rest, _, namespace = rest.rpartition("/")
        if rest:
            host = rest
        name = cls(host, namespace, model, tag)
        is_whole = not text.startswith("/")
        return name if is_whole and name._is_valid() else None

    def _is_valid(self) -> bool:
        return bool(
            _HOST_RE.fullmatch(self.host)
            and _NAMESPACE_RE.fullmatch(self.namespace)
            and _PART_RE.fullmatch(self.model)
            and _PART_RE.fullmatch(self.tag)
        )

    def __str__(self) -> str:
        """Return the shortest form that still has the tag."""
        short = f"{self.model}:{self.tag}"
        if self.host != _HOST:
            return f"{self.host}/{self.namespace}/{short}"
        return short if self.namespace == _NAMESPACE else f"{self.namespace}/{short}"

    @property
    def full(self) -> str:
        """All four parts, as in some of Ollama's error texts."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """Equal for names that mean the same model; case does not matter."""
        return self.full.lower()
