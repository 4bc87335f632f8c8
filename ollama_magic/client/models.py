"""What a model name means, by the rules of Ollama's server.

Tells when two spellings name one model, and which names run in Ollama's cloud.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

from ollama_magic.client.types import (
    JsonObject,
    json_int,
    json_names,
    json_object,
    json_text,
)
from ollama_magic.errors import CapabilityError


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


@dataclass(frozen=True, slots=True)
class _Want:
    cannot: str
    """What a model without it cannot, and was asked to."""
    without: str
    """How the same is asked without it."""
    search: str
    """Of the library of models, in a browser."""


_WANTS = {
    "thinking": _Want(
        "think, and was asked to",
        "leave out --think (or set %config OllamaMagics.think = None)",
        "thinking",
    ),
    "vision": _Want(
        "see, and was shown an image",
        "leave out -a (or the image in {{ }})",
        "vision",
    ),
    "tools": _Want("call functions, and was given some", "leave out -T", "tools"),
    "embedding": _Want("embed texts, and was asked to", "", "embedding"),
}


def check_capability(
    capability: str, model: ModelSummary | None, installed: Sequence[ModelSummary]
) -> None:
    """Refuse to ask a model for what it cannot do.

    Parameters
    ----------
    capability
        Ollama's word for it.
    model
        None where the server did not list it: then nothing is known, and it is asked.
    installed
        Where others are looked for that can.

    Raises
    ------
    CapabilityError
        With the installed models that can.
    """
    known = model.capabilities if model is not None else ()
    if model is None or not known or capability in known:
        return
    want = _WANTS[capability]
    able = [other.name for other in installed if capability in other.capabilities]
    others = (
        f"ask one that can: {', '.join(able)}"
        if able
        else f"pull one that can: https://ollama.com/search?c={want.search}"
    )
    raise CapabilityError(
        f"Model {model.name!r} cannot {want.cannot}.",
        why=f"the server lists it with: {', '.join(known)}",
        next_step=f"{want.without}, or {others}" if want.without else others,
    )


def sees_images(model: ModelSummary | None) -> bool:
    """Whether a model takes images, as far as it is known."""
    return model is None or not model.capabilities or "vision" in model.capabilities


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model on the server, as ``GET /api/tags`` lists it (newest first)."""

    name: str
    digest: str = ""
    size_bytes: int = 0
    modified_at: str = ""
    """RFC 3339 with up to nine decimals, in the server's time zone."""
    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int = 0
    """Tokens that the model was trained for; 0 when the server does not say."""
    capabilities: tuple[str, ...] = ()
    remote_host: str = ""
    """Set for cloud models: where the prompt really goes."""
    remote_model: str = ""
    """Set for cloud models: what it is called there."""

    @property
    def cloud_host(self) -> str:
        """Where a cloud model answers; empty for a model of this server."""
        is_cloud = bool(self.remote_model) or is_cloud_name(self.name)
        return self.remote_host or (CLOUD_HOST if is_cloud else "")

    @property
    def can_chat(self) -> bool:
        """Whether it writes text, as far as the server says what it can do."""
        return not self.capabilities or "completion" in self.capabilities

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``models``."""
        details = json_object(data.get("details"))
        return cls(
            name=json_text(data.get("name") or data.get("model")),
            digest=json_text(data.get("digest")),
            size_bytes=json_int(data.get("size")),
            modified_at=json_text(data.get("modified_at")),
            family=json_text(details.get("family")),
            parameter_size=json_text(details.get("parameter_size")),
            quantization_level=json_text(details.get("quantization_level")),
            context_length=json_int(details.get("context_length")),
            capabilities=json_names(data.get("capabilities")),
            remote_host=json_text(data.get("remote_host")),
            remote_model=json_text(data.get("remote_model")),
        )


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, as ``GET /api/ps`` lists it."""

    name: str
    digest: str = ""
    size_bytes: int = 0
    size_vram_bytes: int = 0
    """How much of it is in GPU memory; 0 on a CPU."""
    context_length: int = 0
    """Tokens of context that it was loaded with."""
    expires_at: str = ""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``models``."""
        return cls(
            name=json_text(data.get("name") or data.get("model")),
            digest=json_text(data.get("digest")),
            size_bytes=json_int(data.get("size")),
            size_vram_bytes=json_int(data.get("size_vram")),
            context_length=json_int(data.get("context_length")),
            expires_at=json_text(data.get("expires_at")),
        )


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """What ``POST /api/show`` tells of a model."""

    modelfile: str = ""
    parameters: str = ""
    """One line per parameter, padded columns, as the server formats them."""
    template: str = ""
    system: str = ""
    license: str = ""
    capabilities: tuple[str, ...] = ()
    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int = 0
    embedding_length: int = 0
    remote_host: str = ""
    """Set for cloud models: where they answer."""
    remote_model: str = ""
    """Set for cloud models: what they are called there."""
    model_info: JsonObject = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the answer; lengths come from ``model_info`` by architecture."""
        details = json_object(data.get("details"))
        info = json_object(data.get("model_info"))
        architecture = json_text(info.get("general.architecture"))
        return cls(
            modelfile=json_text(data.get("modelfile")),
            parameters=json_text(data.get("parameters")),
            template=json_text(data.get("template")),
            system=json_text(data.get("system")),
            license=json_text(data.get("license")),
            capabilities=json_names(data.get("capabilities")),
            family=json_text(details.get("family")),
            parameter_size=json_text(details.get("parameter_size")),
            quantization_level=json_text(details.get("quantization_level")),
            context_length=json_int(info.get(f"{architecture}.context_length")),
            embedding_length=json_int(info.get(f"{architecture}.embedding_length")),
            remote_host=json_text(data.get("remote_host")),
            remote_model=json_text(data.get("remote_model")),
            model_info=info,
        )


def nearest_names(model: str, installed: Sequence[str], *, limit: int = 3) -> list[str]:
    """Return the installed names most like ``model``, the likeliest first.

    Examples
    --------
    >>> nearest_names("llama3.2:3bb", ["qwen3:4b", "llama3.2:3b"])
    ['llama3.2:3b']
    >>> nearest_names("smollm2", ["smollm2:135m", "pirate:latest"])
    ['smollm2:135m']
    """
    # ":latest" is in so many names that it would make all of them alike.
    by_spelling = {canonical(n).removesuffix(":latest"): n for n in installed}
    wanted = canonical(model).removesuffix(":latest")
    alike = difflib.get_close_matches(wanted, by_spelling, n=limit, cutoff=0.7)
    same_base = [n for n in by_spelling if _base(n) == _base(wanted)]
    same_base.sort(key=lambda name: _likeness(wanted, name), reverse=True)
    return [by_spelling[n] for n in dict.fromkeys([*same_base, *alike])][:limit]


def _base(name: str) -> str:
    return canonical(name).rpartition(":")[0]


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()
