"""Models as listings and pages: ``%ollama models``, ``ps`` and ``show``.

Each row and each page also holds the values that the server sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import (
    CLOUD_HOST,
    LoadedModel,
    ModelDetails,
    ModelSummary,
    is_cloud_name,
)
from ollama_magic.client.progress import size_text
from ollama_magic.render.tables import Columns, Listing, TextPage

_NO_MODELS = "No models yet. Try: %ollama pull smollm2:135m"

_CLOUD = "cloud"
"""Shown in place of the size and the processor of a cloud model."""

MODEL_COLUMNS: Columns[ModelSummary] = {
    "NAME": lambda m: m.name,
    "ID": lambda m: m.digest[:12],
    "SIZE": lambda m: _CLOUD if m.cloud_host else size_text(m.size_bytes),
    "PARAMETERS": lambda m: m.parameter_size,
    "QUANTIZATION": lambda m: m.quantization_level,
    "CONTEXT": lambda m: f"{m.context_length:,}" if m.context_length else "",
    "CAPABILITIES": lambda m: ", ".join(m.capabilities),
    "MODIFIED": lambda m: m.modified_at[:16].replace("T", " "),
}


def processor(model: LoadedModel) -> str:
    """Return where a model is loaded, in the words of ``ollama ps``."""
    if is_cloud_name(model.name):
        return _CLOUD
    share = model.size_vram_bytes / model.size_bytes if model.size_bytes else 0.0
    if share >= 1:
        return "100% GPU"
    return "100% CPU" if not share else f"{1 - share:.0%}/{share:.0%} CPU/GPU"


LOADED_COLUMNS: Columns[LoadedModel] = {
    "NAME": lambda m: m.name,
    "ID": lambda m: m.digest[:12],
    "SIZE": lambda m: _CLOUD if is_cloud_name(m.name) else size_text(m.size_bytes),
    "PROCESSOR": processor,
    "CONTEXT": lambda m: f"{m.context_length:,}",
    "UNTIL": lambda m: m.expires_at[:16].replace("T", " "),
}


def list_models(client: OllamaClient, wanted: str = "") -> Listing[ModelSummary]:
    """Return the models on the server whose name contains ``wanted``, newest first."""
    models = [m for m in client.list() if wanted.lower() in m.name.lower()]
    empty = f"No model name contains {wanted!r}." if wanted else _NO_MODELS
    return Listing(models, MODEL_COLUMNS, empty)


def loaded_models(client: OllamaClient) -> Listing[LoadedModel]:
    """Return the loaded models."""
    empty = "No model is loaded. The first prompt loads one."
    return Listing(client.ps(), LOADED_COLUMNS, empty)


@dataclass(frozen=True, slots=True, repr=False)
class ModelPage(TextPage):
    """The details of a model, as text and as values."""

    details: ModelDetails = field(default_factory=ModelDetails)


def show_model(client: OllamaClient, model: str, part: str = "") -> ModelPage:
    """Return the details of a model, or one part of them."""
    details = client.show(model)
    text = overview(model, details)
    if part:
        text = getattr(details, part) or f"{model} has no {part}."
    return ModelPage(text, details=details)


def _cloud_text(model: str, details: ModelDetails) -> str:
    """Return the host of a cloud model and its name there; else an empty text."""
    if not (details.remote_host or details.remote_model or is_cloud_name(model)):
        return ""
    place = f"answered at {details.remote_host or CLOUD_HOST}"
    return " as ".join(filter(None, [place, details.remote_model]))


def overview(model: str, details: ModelDetails) -> str:
    """Return the most important details of a model, one per line."""
    facts = {
        "model": model,
        "cloud model": _cloud_text(model, details),
        "architecture": details.family,
        "parameters": details.parameter_size,
        "quantization": details.quantization_level,
        "context length": details.context_length or "",
        "embedding length": details.embedding_length or "",
        "capabilities": ", ".join(details.capabilities),
        "thinking": ", ".join(str(value).lower() for value in details.thinking_values),
        "license": details.license.strip().partition("\n")[0],
    }
    lines = [f"{name:18}{value}" for name, value in facts.items() if value]
    for heading in ("parameters", "system"):
        text = getattr(details, heading).strip()
        if text:
            lines += ["", heading, *(f"  {line}" for line in text.split("\n"))]
    return "\n".join(lines)
