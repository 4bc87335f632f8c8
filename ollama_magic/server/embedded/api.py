"""The endpoints of Ollama's API that this engine serves.

``http`` calls them. Each reads its request, checks the name, and hands over to the
store, the scheduler or ``generate``, with Ollama's status codes and texts.
Source: Ollama ``docs/api.md``; recordings of Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ollama_magic.server.embedded import engine, gguf, new_models
from ollama_magic.server.embedded.engine import Scheduler
from ollama_magic.server.embedded.generate import TextGenerator
from ollama_magic.server.embedded.http import HTTPExchange, Routes
from ollama_magic.server.embedded.new_models import OnStatus, Puller
from ollama_magic.server.embedded.protocol import (
    ApiError,
    ModelName,
    in_future,
    read_request,
    rfc3339,
)
from ollama_magic.server.embedded.store import (
    ModelConfig,
    ModelStore,
    StoredModel,
    is_digest,
)

_NAME_WIDTH = 30
_BLOBS = "/api/blobs/"
_NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"


class EmbeddedApi:
    """Endpoints on one store and one scheduler."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._puller = Puller(store)
        self._scheduler = Scheduler(
            lambda model: store.blob_path(model.config.blob),
        )
        self._generator = TextGenerator(self._scheduler)

    def routes(self) -> Routes:
        """Return the endpoints."""
        return {
            ("GET", "/api/version"): self._version,
            ("GET", "/api/tags"): self._tags,
            ("GET", "/api/ps"): self._ps,
            ("POST", "/api/show"): self._show,
            ("POST", "/api/chat"): self._chat,
            ("POST", "/api/generate"): self._generate,
            ("POST", "/api/pull"): self._pull,
            ("POST", "/api/push"): self._push,
            ("POST", "/api/create"): self._create,
            ("POST", "/api/copy"): self._copy,
            ("POST", "/api/embed"): self._embed,
            ("DELETE", "/api/delete"): self._delete,
            ("HEAD", f"{_BLOBS}*"): self._has_blob,
            ("POST", f"{_BLOBS}*"): self._upload_blob,
        }

    def _version(self, exchange: HTTPExchange) -> None:
        build = engine.version()
        exchange.send_json({"version": f"0.0.0-embedded-{build}".rstrip("-")})

    def _tags(self, exchange: HTTPExchange) -> None:
        exchange.send_json({"models": list(map(_tag, self._store.models()))})

    def _ps(self, exchange: HTTPExchange) -> None:
        loaded_models = [
            {
                "name": str(loaded.model.name),
                "model": str(loaded.model.name),
                "size": loaded.model.config.size_bytes,
                "digest": loaded.model.config.digest,
                "details": _details(loaded.model.config),
                "expires_at": in_future(loaded.seconds_left),
                "size_vram": 0,
                "context_length": loaded.num_ctx,
            }
            for loaded in self._scheduler.loaded()
        ]
        exchange.send_json({"models": loaded_models})

    def _show(self, exchange: HTTPExchange) -> None:
        request = read_request(exchange.body())
        model = self._named(request)
        weights = self._store.blob_path(model.config.blob)
        try:
            answer = _described(model, weights, verbose=request.get("verbose", False))
        except (gguf.GGUFError, OSError) as error:
            text = f"the weights of {model.name} cannot be read"
            raise ApiError(500, text) from error
        exchange.send_json(answer)

    def _chat(self, exchange: HTTPExchange) -> None:
        request = read_request(exchange.body())
        self._generator.chat(self._named(request), request, exchange)

    def _generate(self, exchange: HTTPExchange) -> None:
        request = read_request(exchange.body())
        self._generator.generate(self._named(request), request, exchange)

    def _pull(self, exchange: HTTPExchange) -> None:
        request = read_request(exchange.body())
        name = _name(request)
        _report_to(exchange, request, lambda status: self._puller.pull(name, status))

    def _create(self, exchange: HTTPExchange) -> None:
        request = read_request(exchange.body())
        name = _name(request)
        new_models.check_create(request)
        _report_to(
            exchange,
            request,
            lambda status: new_models.create(
                self._store, self._puller, name, request, status
            ),
        )

    def _push(self, _: HTTPExchange) -> None:
        raise ApiError(501, "the embedded engine cannot push; install Ollama for it")

    def _copy(self, exchange: HTTPExchange) -> None:
        request = read_request(exchange.body())
        model = self._named(request, "source")
        self._store.save(_name(request, "destination"), model.config)
        exchange.send_status(200)

    def _delete(self, exchange: HTTPExchange) -> None:
        self._store.delete(self._named(read_request(exchange.body())))
        exchange.send_status(200)

    def _embed(self, exchange: HTTPExchange) -> None:
        self._named(read_request(exchange.body()))
        raise ApiError(501, _NO_EMBEDDINGS)

    def _has_blob(self, exchange: HTTPExchange) -> None:
        digest = _digest(exchange)
        if not self._store.has_blob(digest):
            raise ApiError(404, f'blob "{digest}" not found')
        exchange.send_status(200)

    def _upload_blob(self, exchange: HTTPExchange) -> None:
        digest = _digest(exchange)
        with self._store.staging() as folder:
            path = folder / "blob"
            received = hashlib.sha256()
            with path.open("wb") as file:
                for piece in exchange.body_pieces():
                    received.update(piece)
                    file.write(piece)
            got = f"sha256:{received.hexdigest()}"
            if got != digest:
                text = f'digest mismatch, expected "{digest}", got "{got}"'
                raise ApiError(400, text)
            self._store.adopt(path, digest)
        exchange.send_status(201)

    def _named(self, request: Mapping[str, Any], field: str = "model") -> StoredModel:
        """Return the model that a request names."""
        model = self._store.find(_name(request, field))
        if model is None:
            raise ApiError(404, f"model '{request[field]}' not found")
        return model


def _name(request: Mapping[str, Any], field: str = "model") -> ModelName:
    if not request.get(field):
        raise ApiError(400, f"{field} is required")
    name = ModelName.parse(request[field])
    if name is None:
        raise ApiError(400, "invalid model name")
    return name


def _digest(exchange: HTTPExchange) -> str:
    digest = exchange.path.removeprefix(_BLOBS)
    if not is_digest(digest):
        raise ApiError(400, "invalid digest format")
    return digest


def _report_to(
    exchange: HTTPExchange, request: Mapping[str, Any], work: Callable[[OnStatus], None]
) -> None:
    """Do work, and send its status lines, or only one JSON value at the end."""
    is_streamed = request.get("stream", True)

    def on_status(line: dict[str, object]) -> None:
        exchange.check_client()
        if is_streamed:
            exchange.send_line(line)

    try:
        work(on_status)
    except OSError as error:
        # Not str(error), which contains paths.
        raise ApiError(500, error.strerror or "could not write to the store") from error
    if is_streamed:
        exchange.end_lines()
    else:
        exchange.send_json({"status": "success"})


# -- descriptions of models ---------------------------------------------------


def _details(config: ModelConfig) -> dict[str, Any]:
    """Return ``details``, as in show and ps."""
    return {
        "parent_model": config.parent_model,
        "format": "gguf",
        "family": config.family,
        "families": [config.family],
        "parameter_size": config.parameter_size,
        "quantization_level": config.quantization_level,
    }


def _tag(model: StoredModel) -> dict[str, Any]:
    """Return one entry of ``GET /api/tags``."""
    config = model.config
    lengths = {
        "context_length": config.context_length,
        "embedding_length": config.embedding_length,
    }
    return {
        "name": str(model.name),
        "model": str(model.name),
        "modified_at": rfc3339(model.modified_at),
        "size": config.size_bytes,
        "digest": config.digest,
        "details": {**_details(config), **lengths},
        "capabilities": list(config.capabilities),
    }


def _described(model: StoredModel, weights: Path, *, verbose: bool) -> dict[str, Any]:
    """Return the response of ``POST /api/show``.

    ``template`` is the Jinja template of the GGUF file, which llama.cpp uses; Ollama
    has a Go template instead.

    Raises
    ------
    GGUFError, OSError
        The weights cannot be read.
    """
    config = model.config
    header = gguf.read_header(weights, with_arrays=verbose)
    optional = {
        "license": "\n".join(config.license),
        "system": config.system,
        "parameters": "\n".join(
            f"{name:<{_NAME_WIDTH}} {json.dumps(value, ensure_ascii=False)}"
            for name, value in _parameters(config.parameters)
        ),
        "messages": list(config.messages),
    }
    return {
        **{name: value for name, value in optional.items() if value},
        "modelfile": _modelfile(model, weights),
        "template": config.template,
        "details": _details(config),
        "model_info": _model_info(header),
        "tensors": [
            {"name": tensor.name, "type": tensor.type, "shape": list(tensor.shape)}
            for tensor in header.tensors
        ],
        "capabilities": list(config.capabilities),
        "modified_at": rfc3339(model.modified_at),
    }


def _model_info(header: gguf.GGUFHeader) -> dict[str, Any]:
    info = dict(header.metadata)
    for name in ("general.name", "tokenizer.chat_template"):  # Ollama hides them
        info.pop(name, None)
    info["general.parameter_count"] = header.parameter_count
    return dict(sorted(info.items()))


def _parameters(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in sorted(parameters.items()):
        for item in value if isinstance(value, list) else [value]:
            yield name, item


def _modelfile(model: StoredModel, weights: Path) -> str:
    config = model.config
    lines = [
        '# Modelfile generated by "ollama show"',
        "# To build a new Modelfile based on this, replace FROM with:",
        f"# FROM {model.name}",
        "",
        f"FROM {weights}",
    ]
    if config.system:
        lines.append(f"SYSTEM {_quoted(config.system)}")
    for name, value in _parameters(config.parameters):
        lines.append(f"PARAMETER {name} {value}")
    for message in config.messages:
        content = _quoted(str(message.get("content", "")))
        lines.append(f"MESSAGE {message.get('role', '')} {content}")
    lines.extend(f"LICENSE {_quoted(text)}" for text in config.license)
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return f'"""{text}"""' if "\n" in text or '"' in text else text
