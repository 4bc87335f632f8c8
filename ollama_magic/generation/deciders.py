"""Which models decide: those that answer ``/v1/systemone``."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_magic.client.decisions import DECIDERS
from ollama_magic.client.models import ModelSummary
from ollama_magic.errors import CapabilityError


def is_decider(model: ModelSummary | None, name: str) -> bool:
    """Return whether a model is one that decides."""
    if model is not None and model.capabilities:
        return "decision" in model.capabilities
    return name.rpartition("/")[2].partition(":")[0].lower() in DECIDERS


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
