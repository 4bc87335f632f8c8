"""Models as listings and pages: ``%ollama list``, ``ps``, ``outdated`` and ``show``.

Each row and each page also holds the values that the server sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ollama_magic.client import registry
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.json_values import JsonObject, json_text
from ollama_magic.client.models import (
    CLOUD_HOST,
    LoadedModel,
    ModelDetails,
    ModelSummary,
    is_cloud_name,
)
from ollama_magic.client.registry import ModelUpdate
from ollama_magic.errors import size_text
from ollama_magic.render.aligned import facts_text
from ollama_magic.render.safe_html import details_html
from ollama_magic.render.tables import (
    Columns,
    Listing,
    TextPage,
    age,
    exact,
    facts_html,
    pre_html,
)
from ollama_magic.render.text import counted

_NO_MODELS = "No models yet. Try: %ollama pull smollm2:135m"

_CLOUD = "cloud"
"""Shown in place of the size and the processor of a cloud model."""

MODEL_COLUMNS: Columns[ModelSummary] = {
    "Name": lambda m: m.name,
    "Size": lambda m: _CLOUD if m.cloud_host else size_text(m.size_bytes),
    "Model": lambda m: _joined(m.parameter_size, m.quantization_level),
    "Context": lambda m: f"{m.context_length:,}" if m.context_length else "",
    "Capabilities": lambda m: ", ".join(_telling(m.capabilities)),
    "Modified": lambda m: age(m.modified_at),
}


def _joined(*facts: str) -> str:
    return " · ".join(filter(None, facts))


def _telling(capabilities: Sequence[str]) -> list[str]:
    """Return the capabilities without that which nearly all models have."""
    return [one for one in capabilities if one != "completion"]


def processor(model: LoadedModel) -> str:
    """Return where a model is loaded, in the words of ``ollama ps``."""
    if is_cloud_name(model.name):
        return _CLOUD
    share = model.size_vram_bytes / model.size_bytes if model.size_bytes else 0.0
    if share >= 1:
        return "100% GPU"
    return "100% CPU" if not share else f"{1 - share:.0%}/{share:.0%} CPU/GPU"


LOADED_COLUMNS: Columns[LoadedModel] = {
    "Name": lambda m: m.name,
    "Size": lambda m: _CLOUD if is_cloud_name(m.name) else size_text(m.size_bytes),
    "Processor": processor,
    "Context": lambda m: f"{m.context_length:,}",
    "Unloads": lambda m: age(m.expires_at),
}


def list_models(client: OllamaClient, wanted: str = "") -> Listing[ModelSummary]:
    """Return the models on the server whose name contains ``wanted``, newest first."""
    models = [m for m in client.list() if wanted.lower() in m.name.lower()]
    return Listing(models, MODEL_COLUMNS, _empty(wanted))


def _empty(wanted: str) -> str:
    return f"No model name contains {wanted!r}." if wanted else _NO_MODELS


def loaded_models(client: OllamaClient) -> Listing[LoadedModel]:
    """Return the loaded models."""
    empty = "No model is loaded. The first prompt loads one."
    return Listing(client.ps(), LOADED_COLUMNS, empty)


# -- updates -------------------------------------------------------------------

_STATES = {
    "outdated": "newer version available",
    "unknown": "not checked",
    "elsewhere": "not checked",
    "local": "only on this server",
    "cloud": "cloud model",
    "current": "up to date",
}
"""In the order in which they are listed."""


def _state_text(update: ModelUpdate) -> str:
    return ": ".join(filter(None, [_STATES[update.state], update.why]))


UPDATE_COLUMNS: Columns[ModelUpdate] = {
    "Model": lambda u: u.name,
    "State": _state_text,
    "Installed": lambda u: age(u.installed_at),
    "In the registry": lambda u: age(u.pushed_at),
    "Size": lambda u: size_text(u.size_bytes) if u.size_bytes else "",
}


def list_updates(
    updates: Sequence[ModelUpdate], wanted: str = ""
) -> Listing[ModelUpdate]:
    """Return which models have a newer version, these first, and what was asked."""
    order = list(_STATES)
    rows = sorted(updates, key=lambda one: order.index(one.state))
    outdated = [one.name for one in rows if one.state == "outdated"]
    asked = sum(one.is_asked for one in rows)
    notes = []
    if outdated:
        notes.append(f"to update: %ollama pull {' '.join(outdated)}")
    if any(one.state == "elsewhere" for one in rows):
        notes.append("models from other registries: %ollama pull NAME checks them")
    notes.append(
        f"contacted: {registry.REGISTRY}, with the names of {counted(asked, 'model')}"
        if asked
        else "nothing was contacted but the server"
    )
    return Listing(rows, UPDATE_COLUMNS, _empty(wanted), note="\n".join(notes))


def pull_plan(updates: Sequence[ModelUpdate]) -> str:
    """Return on one line what ``pull --all`` pulls, and what it leaves out."""
    by_text: dict[str, list[str]] = {}
    for one in updates:
        is_pulled = one.state in {"outdated", "elsewhere"}
        text = "pulling" if is_pulled else _state_text(one)
        by_text.setdefault(text, []).append(one.name)
    pulled = by_text.pop("pulling", [])
    first = f"pulling {counted(len(pulled), 'model')}" if pulled else "nothing to pull"
    rest = [f"{text}: {', '.join(names)}" for text, names in by_text.items()]
    named = f": {', '.join(pulled)}" if pulled else ""
    return " · ".join([f"{first}{named}", *rest])


@dataclass(frozen=True, slots=True, repr=False)
class ModelPage(TextPage):
    """The details of a model, as text and as values."""

    details: ModelDetails = field(default_factory=ModelDetails)


def show_model(
    client: OllamaClient, model: str, part: str = "", *, verbose: bool = False
) -> ModelPage:
    """Return the details of a model, or one part of them."""
    details = client.show(model, verbose=verbose)
    if part:
        text = getattr(details, part) or f"{model} has no {part}."
        is_long = text.strip().count("\n") >= _LINES_SHOWN
        page = _fold(part.capitalize(), text.strip("\n")) if is_long else ""
        return ModelPage(text, page=page, details=details)
    text = overview(model, details, verbose=verbose)
    page = _page(model, details, verbose=verbose)
    return ModelPage(text, page=page, details=details)


_LINES_SHOWN = 40
"""A longer part of a model, such as a licence, is folded."""


def _cloud_text(model: str, details: ModelDetails) -> str:
    """Return the host of a cloud model and its name there; else an empty text."""
    if not (details.remote_host or details.remote_model or is_cloud_name(model)):
        return ""
    place = f"answered at {details.remote_host or CLOUD_HOST}"
    return " as ".join(filter(None, [place, details.remote_model]))


_MAX_VALUE = 100
"""Characters of a value of the metadata; some have 100,000 items."""


def _facts(model: str, details: ModelDetails) -> list[tuple[str, str]]:
    lengths = (details.context_length, details.embedding_length)
    context, embedding = (f"{length:,}" if length else "" for length in lengths)
    facts = {
        "Model": model,
        "Cloud model": _cloud_text(model, details),
        "Architecture": details.family,
        "Parameters": details.parameter_size,
        "Quantization": details.quantization_level,
        "Context length": context,
        "Embedding length": embedding,
        "Capabilities": ", ".join(details.capabilities),
        "Thinking": _thinking_text(details),
        "Renderer": details.renderer,
        "Parser": details.parser,
        "Template from": details.template_source,
        "Needs Ollama": details.requires,
        "Modified": exact(details.modified_at),
        "License": details.license.strip().partition("\n")[0],
    }
    return [(name, value) for name, value in facts.items() if value]


def _parts(details: ModelDetails, *, verbose: bool) -> list[tuple[str, str]]:
    """Return the headings and texts of the longer parts."""
    messages = [f"{one.get('role')}: {one.get('content')}" for one in details.messages]
    texts = {
        "Default options": details.parameters,
        "System message": details.system,
        "Messages": "\n".join(messages),
    }
    if verbose:
        tensors = [map(str, tensor.values()) for tensor in details.tensors]
        texts |= {
            "Metadata": _rows(details.model_info),
            "Metadata of the image encoder": _rows(details.projector_info),
            "Tensors": "\n".join(map("  ".join, tensors)),
        }
    return [(name, text.strip("\n")) for name, text in texts.items() if text.strip()]


def overview(model: str, details: ModelDetails, *, verbose: bool = False) -> str:
    """Return the most important details of a model, one per line; or all of them."""
    lines = [facts_text(_facts(model, details))]
    for heading, text in _parts(details, verbose=verbose):
        lines += ["", heading, *(f"  {line}" for line in text.split("\n"))]
    return "\n".join(lines)


def _page(model: str, details: ModelDetails, *, verbose: bool) -> str:
    """Return the same as HTML, with the longer parts folded, and more of them."""
    rest = [("Template", details.template), ("License", details.license)]
    parts = [*_parts(details, verbose=verbose), *rest]
    folds = [
        _fold(heading, text.strip("\n")) for heading, text in parts if text.strip()
    ]
    return "".join([facts_html(_facts(model, details)), *folds])


def _fold(heading: str, text: str) -> str:
    lines = counted(text.count("\n") + 1, "line")
    return details_html(f"{heading} ({lines})", pre_html(text))


def _thinking_text(details: ModelDetails) -> str:
    default = details.thinking_default
    return ", ".join(
        f"{value}{' (default)' * (value == default)}".lower()
        for value in details.thinking_values
    )


def _rows(values: JsonObject) -> str:
    rows = ((key, json_text(value)) for key, value in values.items())
    return "\n".join(
        f"{key}  {text if len(text) <= _MAX_VALUE else f'{text[:_MAX_VALUE]}…'}"
        for key, text in rows
    )
