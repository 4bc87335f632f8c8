"""What a model can do, asked before it is sent what it cannot.

Knows Ollama's words for capabilities, and which options want which. A server that does
not tell what its models can do is left to refuse by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_magic.client.types import ModelSummary
from ollama_magic.errors import CapabilityError


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
        "see, and was shown a picture",
        "leave out -a (or the picture in {{ }})",
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


def sees_pictures(model: ModelSummary | None) -> bool:
    """Whether a model takes pictures, as far as it is known."""
    return model is None or not model.capabilities or "vision" in model.capabilities
