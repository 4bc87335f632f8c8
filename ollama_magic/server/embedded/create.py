"""Create: a new name from another model or from an uploaded GGUF file.

Knows which parts of Ollama's create this engine can honour, and refuses the others.
Source: Ollama ``docs/api.md``; recordings of Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ollama_magic.server.embedded import gguf
from ollama_magic.server.embedded.describe import config_of
from ollama_magic.server.embedded.errors import JSON_PLAIN, Refusal, not_supported
from ollama_magic.server.embedded.names import ModelName
from ollama_magic.server.embedded.pull import Puller, Report
from ollama_magic.server.embedded.store import ModelConfig, ModelStore, is_digest

_REFUSED = {
    "template": "another chat template than the one in the GGUF file",
    "adapters": "adapters",
    "quantize": "quantizing",
    "draft": "draft models",
    "renderer": "renderers of Ollama",
    "parser": "parsers of Ollama",
}


def check_create(request: Mapping[str, Any]) -> None:
    """Refuse, before anything is done, what cannot be done.

    Raises
    ------
    Refusal
        400, with a sentence.
    """
    for name, what in _REFUSED.items():
        if request.get(name):
            raise not_supported(what)
    files = request.get("files") or {}
    if not request.get("from") and not files:
        text = "neither 'from' or 'files' was specified"
        raise Refusal(400, text, content_type=JSON_PLAIN)
    if request.get("from") and files:
        raise not_supported("'from' together with 'files'")
    if len(files) > 1:
        raise not_supported("models of several files")
    if files and not all(name.lower().endswith(".gguf") for name in files):
        raise Refusal(400, "unknown type", content_type=JSON_PLAIN)


def create(
    store: ModelStore,
    puller: Puller,
    name: ModelName,
    request: Mapping[str, Any],
    report: Report,
) -> None:
    """Make the new name; success is the last line, ``success``.

    Raises
    ------
    Refusal
        500: the model or the file to start from is not there, or not usable.
    """
    if request.get("from"):
        config = _from_model(store, puller, request["from"], report)
    else:
        (digest,) = request["files"].values()
        config = _from_file(store, digest, report)
    config = _changed(config, request)
    report({"status": f"using existing layer {config.blob}"})
    report({"status": "writing manifest"})
    store.save(name, config)
    report({"status": "success"})


def _from_model(
    store: ModelStore, puller: Puller, text: str, report: Report
) -> ModelConfig:
    name = ModelName.parse(text)
    if name is None:
        raise Refusal(500, "invalid model name")
    model = store.find(name)
    if model is None:
        # As Ollama does it: what is not here is pulled.
        puller.pull(
            name, lambda line: report(line) if line["status"] != "success" else None
        )
        model = store.find(name)
    if model is None:
        raise Refusal(500, f"model '{text}' not found")
    return dataclasses.replace(model.config, parent_model=str(model.name))


def _from_file(store: ModelStore, digest: object, report: Report) -> ModelConfig:
    report({"status": "parsing GGUF"})
    if not isinstance(digest, str) or not is_digest(digest):
        raise Refusal(500, "invalid digest format")
    path = store.blob_path(digest)
    try:
        header = gguf.read_header(path)
        size_bytes = path.stat().st_size
    except FileNotFoundError as error:
        text = f"open blobs/{path.name}: no such file or directory"
        raise Refusal(500, text) from error
    except gguf.GGUFError as error:
        raise Refusal(500, str(error)) from error
    if not header.is_generative:
        raise Refusal(500, "the embedded engine runs models that write text only")
    return config_of(header, digest, size_bytes)


def _changed(config: ModelConfig, request: Mapping[str, Any]) -> ModelConfig:
    changes: dict[str, Any] = {
        "parameters": {**config.parameters, **(request.get("parameters") or {})}
    }
    if request.get("system"):
        changes["system"] = request["system"]
    if request.get("messages"):
        changes["messages"] = tuple(request["messages"])
    license_texts = request.get("license")
    if license_texts:
        given = license_texts if isinstance(license_texts, list) else [license_texts]
        changes["license"] = tuple(map(str, given))
    return dataclasses.replace(config, **changes)
