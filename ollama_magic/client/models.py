"""Models as a server describes them: their names, their details, their capabilities.

Decides whether two spellings name one model, which names run in Ollama's cloud, and
what a model can do; every capability error of the package is made here. Names follow
the rules of Ollama's server.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self, TypeVar

from ollama_magic.client.json_values import (
    JsonObject,
    json_fields,
    json_object,
    json_text,
)
from ollama_magic.errors import CapabilityError, quoted


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)
CLOUD_HOST = "ollama.com"
"""Where cloud models run if the server does not say where."""
_DEFAULT_PREFIXES = ("registry.ollama.ai/", "library/")


# -- names ---------------------------------------------------------------------


def canonical(name: str) -> str:
    """Return the one spelling of a model's name, for comparing names.

    Case does not matter, no tag means ``latest``, and the default registry and
    namespace may be left out (recorded from a server of version 0.33).

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
    """Return whether a model's name includes a tag."""
    return ":" in name.rpartition("/")[2]


def is_cloud_name(name: str) -> bool:
    """Return whether a server forwards requests for this name to ollama.com.

    It also does so for names that it does not list (Ollama ``internal/modelref``).

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


def matching_names(name: str, names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that a name may stand for.

    That is the same name; or, if there is none and it has no tag, every tag of the
    model.

    Examples
    --------
    >>> matching_names("llama3.2", ["llama3.2:3b", "qwen3:4b"])
    ['llama3.2:3b']
    >>> matching_names("llama3.2", ["llama3.2:3b", "Llama3.2:latest"])
    ['Llama3.2:latest']
    """
    others, wanted = list(names), canonical(name)
    equal = [other for other in others if canonical(other) == wanted]
    if equal or has_tag(name):
        return equal
    return [other for other in others if _base(other) == _base(wanted)]


def nearest_names(model: str, installed: Sequence[str]) -> list[str]:
    """Return up to three installed names similar to ``model``, the best match first.

    Examples
    --------
    >>> nearest_names("llama3.2:3bb", ["qwen3:4b", "llama3.2:3b"])
    ['llama3.2:3b']
    >>> nearest_names("smollm2", ["smollm2:135m", "pirate:latest"])
    ['smollm2:135m']
    >>> nearest_names("gemma", ["qwen3:4b", "gemma3:12b"])
    ['gemma3:12b']
    """
    # So many names end in ":latest" that it would make them all similar.
    by_spelling = {canonical(n).removesuffix(":latest"): n for n in installed}
    wanted = canonical(model).removesuffix(":latest")
    similar = difflib.get_close_matches(wanted, by_spelling, n=3, cutoff=0.7)
    same_base = [n for n in by_spelling if _base(n) == _base(wanted)]
    same_base.sort(key=lambda name: _similarity(wanted, name), reverse=True)
    begun = [n for n in by_spelling if n.rpartition("/")[2].startswith(wanted)]
    begun = begun if len(wanted) > 1 else []
    likely = dict.fromkeys([*same_base, *similar, *begun])
    return [by_spelling[n] for n in likely][:3]


def find_model(name: str, models: Iterable[N]) -> N | None:
    """Return the model of that name in any spelling, or None."""
    wanted = canonical(name)
    return next((model for model in models if canonical(model.name) == wanted), None)


def _base(name: str) -> str:
    return canonical(name).rpartition(":")[0]


def _similarity(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()


# -- responses of a server ------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """What the list of models and the details of one model both say."""

    modified_at: str = ""
    """RFC 3339 with up to nine decimals, in the server's time zone."""
    format: str = ""
    """Such as ``gguf``."""
    family: str = ""
    families: tuple[str, ...] = ()
    parent_model: str = ""
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int = 0
    """Tokens that the model was trained for; 0 if the server does not say."""
    embedding_length: int = 0
    capabilities: tuple[str, ...] = ()
    remote_host: str = ""
    """For cloud models: where the prompt really goes."""
    remote_model: str = ""
    """For cloud models: their name there."""


@dataclass(frozen=True, slots=True)
class ModelSummary(_Described):
    """A model on the server, as ``GET /api/tags`` lists it (newest first)."""

    name: str
    digest: str = ""
    size_bytes: int = 0

    @property
    def cloud_host(self) -> str:
        """Where a cloud model runs; empty for a model of this server."""
        is_cloud = bool(self.remote_model) or is_cloud_name(self.name)
        return self.remote_host or (CLOUD_HOST if is_cloud else "")

    @property
    def can_chat(self) -> bool:
        """Whether it generates text, according to the server."""
        return not self.capabilities or "completion" in self.capabilities

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``models``."""
        details = json_object(data.get("details"))
        return cls(**json_fields(cls, _named(data), data, details))


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
        return cls(**json_fields(cls, _named(data), data))


def _named(data: JsonObject) -> JsonObject:
    """Return the name to request a model by.

    Proxies that serve several Ollamas give ``model`` a prefix, which requests need.
    """
    return {"name": data.get("model") or data.get("name")}


_LENGTHS = ("context_length", "embedding_length")


@dataclass(frozen=True, slots=True)
class ModelDetails(_Described):
    """The answer of ``POST /api/show`` about a model."""

    modelfile: str = ""
    parameters: str = ""
    """One line per parameter, in padded columns, as the server formats them."""
    template: str = ""
    system: str = ""
    license: str = ""
    renderer: str = ""
    """Ollama's built-in code that replaces the template."""
    parser: str = ""
    """Ollama's built-in code that parses the output."""
    template_source: str = ""
    """Where the template comes from."""
    requires: str = ""
    """The minimum version of Ollama."""
    thinking_values: tuple[bool | str, ...] = ()
    """The values of ``think`` that it takes; empty if the server does not list them."""
    thinking_default: bool | str | None = None
    """The value without ``think``; None if the server does not say."""
    messages: tuple[JsonObject, ...] = ()
    """The messages at the start of every chat with it."""
    model_info: JsonObject = field(default_factory=dict)
    """The metadata of its file; without its long lists, unless ``verbose``."""
    projector_info: JsonObject = field(default_factory=dict)
    """The metadata of the file that encodes its images."""
    tensors: tuple[JsonObject, ...] = ()
    """Name, type and shape of each tensor, if ``verbose``."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the answer; lengths come from ``model_info``, by architecture."""
        details = json_object(data.get("details"))
        info = json_object(data.get("model_info"))
        architecture = json_text(info.get("general.architecture"))
        names = {f"{architecture}.{n}": n for n in _LENGTHS}
        lengths = {names[n]: value for n, value in info.items() if n in names}
        thinking = json_object(data.get("thinking"))
        values, default = thinking.get("values"), thinking.get("default")
        values = values if isinstance(values, list) else []
        return cls(
            **json_fields(cls, lengths, data, details),
            thinking_values=tuple(one for one in values if isinstance(one, bool | str)),
            thinking_default=default if isinstance(default, bool | str) else None,
        )


# -- capabilities --------------------------------------------------------------


class _Capability(NamedTuple):
    feature: str
    """What a model without it does not support."""
    without: str
    """How to send the same request without it; empty if that is impossible."""
    wording: str
    """Pattern of the server's error if a model lacks it."""
    library: str = "https://ollama.com/search"
    """A page with models that have it."""


_CAPABILITIES = {
    "thinking": _Capability(
        "thinking",
        "leave out think (--think, or %config OllamaMagics.think = None)",
        "does not support thinking",
        "https://ollama.com/search?c=thinking",
    ),
    "tools": _Capability(
        "tools",
        "leave out the tools (-T)",
        "does not support tools",
        "https://ollama.com/search?c=tools",
    ),
    "vision": _Capability(
        "images",
        "leave out the image (-a, or in {{ }})",
        "does not support (multimodal|image|vision)|missing data required for image|"
        "(image|vision) (input )?(is|are) not supported",
        "https://ollama.com/search?c=vision",
    ),
    "audio": _Capability(
        "sounds",
        "leave out the sound (-a, or in {{ }})",
        "does not support audio|audio (input )?(is|are) not supported",
        "https://ollama.com/search?q=audio",
    ),
    "embedding": _Capability(
        "embeddings",
        "",
        "does not support embedding",
        "https://ollama.com/search?c=embedding",
    ),
    "decision": _Capability(
        "decisions",
        "",
        "does not support decision",
        "https://ollama.com/search?c=decision",
    ),
    "insert": _Capability(
        "fill-in-the-middle", "leave out suffix", "does not support insert"
    ),
    "completion": _Capability(
        "chat", "", "does not support (chat|generate|completion)"
    ),
}
"""By Ollama's name for it; a server's error is compared in this order."""


def require_capability(
    capability: str,
    model: ModelSummary | None,
    installed: Sequence[ModelSummary] | None = None,
) -> None:
    """Raise ``CapabilityError`` if the model is known to lack a capability.

    Parameters
    ----------
    capability
        Ollama's name for it.
    model
        None if the server does not list it. Then nothing is known, and the server
        decides, as it does if it is too old to list capabilities.
    installed
        The models among which the error suggests others; None if they are unknown.
    """
    if model is not None and not may_support(capability, model):
        raise capability_error(
            capability,
            model.name,
            why=f"its capabilities: {', '.join(model.capabilities)}",
            installed=installed,
        )


def capability_error(
    capability: str,
    model: str,
    *,
    why: str,
    installed: Sequence[ModelSummary] | None = None,
    status_code: int = 0,
) -> CapabilityError:
    """Return the error for a model that lacks a capability."""
    feature, without, _, library = _CAPABILITIES[capability]
    able = [one.name for one in installed or () if capability in one.capabilities]
    if able:
        other = f"choose a model that supports {feature}: {', '.join(able)}"
    elif installed is None:
        other = f'choose a model with the capability "{capability}": %ollama list'
    else:
        other = f"pull a model that supports {feature}: {library}"
    return CapabilityError(
        f"Model '{quoted(model, limit=200)}' does not support {feature}.",
        why=why,
        next_step=f"{without}, or {other}" if without else other,
        status_code=status_code,
    )


def missing_capability(text: str) -> str | None:
    """Return the capability that a model lacks according to the server's error."""
    for name, capability in _CAPABILITIES.items():
        if re.search(capability.wording, text, re.IGNORECASE):
            return name
    return None


def may_support(capability: str, model: ModelSummary | None) -> bool:
    """Return whether a model has a capability, or may, if the server does not say."""
    return model is None or not model.capabilities or capability in model.capabilities


_DECIDERS = ("nimble", "tev1", "clef", "clef-flash")
"""Models that decide, for servers that do not list capabilities."""


def is_decider(model: ModelSummary | None, name: str) -> bool:
    """Return whether a model is one that decides."""
    if model is not None and model.capabilities:
        return "decision" in model.capabilities
    return name.rpartition("/")[2].partition(":")[0].lower() in _DECIDERS


def local_decider(
    installed: Sequence[ModelSummary], *, allow_cloud: bool | None
) -> str:
    """Return the newest model that decides; empty if there is none."""
    able = (
        model.name
        for model in installed
        if "decision" in model.capabilities
        and (allow_cloud is True or not model.cloud_host)
    )
    return next(able, "")


def check_chats(model: ModelSummary | None) -> None:
    """Raise ``CapabilityError`` if a model is known to decide alone."""
    if model is None or "completion" in model.capabilities:
        return
    if is_decider(model, model.name):
        raise CapabilityError(
            f"Model {model.name!r} is a decision model and does not chat.",
            why=f"its capabilities: {', '.join(model.capabilities) or 'unknown'}",
            next_step=f'%%ollama {model.name} --choose "LABEL: TEXT; LABEL: TEXT"',
        )
