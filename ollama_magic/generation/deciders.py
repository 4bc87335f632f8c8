"""Which models decide: those that answer ``/v1/systemone``."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_magic.client.decisions import DECIDERS
from ollama_magic.client.models import ModelSummary


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
