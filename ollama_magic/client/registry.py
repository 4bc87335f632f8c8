"""Asks Ollama's registry whether installed models have a newer version there.

Called only when the user asks for it. The digest of an installed model is the SHA-256
of its manifest, so one manifest per model answers the question. The names of models
come from the server: only the registry is contacted, whatever host a name contains.
No token, header of the settings or cookie is sent, and redirects are not followed.

Sources: Ollama ``server/images.go`` (``pullModelManifest``), ``types/model/name.go``
and ``app/ui/ui.go`` (``modelUpstream``), version 0.33.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from ollama_magic.client.background import ask_in_time
from ollama_magic.client.host import parse_host
from ollama_magic.client.http import Credentials, HttpExchange
from ollama_magic.client.json_values import (
    JsonObject,
    json_int,
    json_object,
    json_objects,
    json_text,
)
from ollama_magic.client.models import ModelSummary
from ollama_magic.errors import OllamaMagicError, ServerUnreachableError, quoted

REGISTRY = "https://registry.ollama.ai"

_HOST_NAMES = ("registry.ollama.ai", "ollama.com", "ollama.ai")
"""The registry in names of models."""
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_MAX_BYTES = 4 * 1024 * 1024
"""A manifest has a few lines, or one for each tensor of a large model."""
_CONNECT_TIMEOUT_S = 5.0
_PATIENCE_S = 10.0
"""For one model."""
_TOTAL_S = 90.0
_AT_ONCE = 6
MOST_ASKED = 500
"""A server that lists more could make this machine flood the registry."""

State = Literal["outdated", "current", "local", "elsewhere", "cloud", "unknown"]
"""``local``: the registry does not have this model, or the model was made or changed
here. ``elsewhere``: from another registry, which is not asked."""


@dataclass(frozen=True, slots=True)
class ModelUpdate:
    """Whether the registry has a newer version of an installed model."""

    name: str
    state: State
    why: str = ""
    """The reason for the states ``local``, ``elsewhere`` and ``unknown``."""
    installed_at: str = ""
    """As the server reports it."""
    pushed_at: str = ""
    """When the version in the registry was uploaded: UTC, ISO 8601; may be empty."""
    size_bytes: int = 0
    """Size of the version in the registry; layers that are installed are not pulled."""
    is_asked: bool = False
    """Whether its name was sent to the registry."""


def find_updates(
    installed: Sequence[ModelSummary], *, registry: str = ""
) -> tuple[ModelUpdate, ...]:
    """Return for each model whether the registry has a newer version.

    A failure is the state ``unknown`` of its model. If the registry cannot be reached,
    only the first few models wait for it.

    Parameters
    ----------
    registry
        The address of another registry in place of Ollama's, for tests.
    """
    paths = {model.name: _path(model.name) for model in installed}
    can_ask = [m for m in installed if not m.cloud_host and paths[m.name].is_here]
    asked, left_out = can_ask[:MOST_ASKED], can_ask[MOST_ASKED:]
    found = dict(_asked(asked, paths, registry or REGISTRY))
    why = f"only {MOST_ASKED} models are checked at once; filter them by name"
    found |= {m.name: _update(m, "unknown", why) for m in left_out}
    return tuple(found.get(m.name) or _not_asked(m, paths[m.name]) for m in installed)


# -- names ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Path:
    host: str
    """The registry that a model's name contains; empty for the default."""
    manifest: str
    """The path of its manifest; empty if the name is invalid."""

    @property
    def is_here(self) -> bool:
        return bool(self.manifest) and self.host.lower() in {"", *_HOST_NAMES}


def _path(name: str) -> _Path:
    """Return where the manifest of a model is.

    >>> _path("llama3.2"), _path("hf.co/a/b:Q4").host
    (_Path(host='', manifest='/v2/library/llama3.2/manifests/latest'), 'hf.co')
    """
    before, _, last = name.strip().rpartition("/")
    model, colon, tag = last.partition(":")
    host, _, namespace = before.rpartition("/")
    parts = (namespace or "library", model, tag if colon else "latest")
    if not all(map(_PART.fullmatch, parts)):
        return _Path(host, "")
    return _Path(host, "/v2/{}/{}/manifests/{}".format(*parts))


def _not_asked(model: ModelSummary, path: _Path) -> ModelUpdate:
    if model.cloud_host:
        return _update(model, "cloud")
    if not path.manifest:
        return _update(model, "unknown", "the registry has no names like this")
    return _update(model, "elsewhere", f"from {quoted(path.host, limit=80)}")


def _update(model: ModelSummary, state: State, why: str = "") -> ModelUpdate:
    return ModelUpdate(model.name, state, why, installed_at=model.modified_at)


# -- requests ------------------------------------------------------------------


def _asked(
    models: Sequence[ModelSummary], paths: dict[str, _Path], registry: str
) -> Iterator[tuple[str, ModelUpdate]]:
    """Yield the updates by the names of models; a few are asked for at once."""
    deadline_s = time.monotonic() + _TOTAL_S
    failure: object = None
    for start in range(0, len(models), _AT_ONCE):
        some = models[start : start + _AT_ONCE]
        if failure is None and time.monotonic() > deadline_s:
            failure = TimeoutError()
        if failure is not None:
            yield from ((m.name, _failed(m, failure, False)) for m in some)
            continue
        calls = [partial(_ask, m, registry, paths[m.name].manifest) for m in some]
        results = ask_in_time(*calls, patience_s=_PATIENCE_S)
        for model, result in zip(some, results, strict=True):
            is_answer = isinstance(result, ModelUpdate)
            yield model.name, result if is_answer else _failed(model, result, True)
        if all(isinstance(one, ServerUnreachableError) for one in results):
            failure = results[0]


def _failed(model: ModelSummary, error: object, is_asked: bool) -> ModelUpdate:
    why = "the registry did not answer in time"
    if isinstance(error, OllamaMagicError):
        why = quoted(error.why or error.what)
    elif not isinstance(error, TimeoutError):
        raise error if isinstance(error, BaseException) else TypeError(error)
    return replace(_update(model, "unknown", why), is_asked=is_asked)


def _ask(model: ModelSummary, registry: str, path: str) -> ModelUpdate:
    exchange = HttpExchange(
        Credentials(parse_host(registry), ""),
        _CONNECT_TIMEOUT_S,
        "GET",
        path,
        response_timeout_s=_PATIENCE_S,
        idle_timeout_s=_PATIENCE_S,
    )
    exchange.accept = _MANIFEST
    try:
        exchange.open()
        return replace(_answer(model, exchange), is_asked=True)
    finally:
        exchange.close()


def _answer(model: ModelSummary, exchange: HttpExchange) -> ModelUpdate:
    if exchange.status_code == 404:
        return _update(model, "local", "not in the registry")
    if exchange.status_code // 100 == 3:
        return _update(model, "unknown", "the registry redirects to another address")
    if exchange.status_code != 200:
        return _update(
            model, "unknown", f"the registry answered {exchange.status_code}"
        )
    data = exchange.read(max_bytes=_MAX_BYTES)
    return _compared(model, data, exchange.header("Ollama-Push-Time"))


# -- manifests -----------------------------------------------------------------


def _compared(model: ModelSummary, data: bytes, pushed: str) -> ModelUpdate:
    manifest = _manifest(data)
    if manifest is None:
        return _update(model, "unknown", "the registry did not answer with a manifest")
    push_time = _time(pushed)
    state: State = "outdated"
    why = ""
    texts = (data, json.dumps(manifest, separators=(",", ":")).encode())
    digests = {hashlib.sha256(text).hexdigest() for text in texts}
    if model.digest.removeprefix("sha256:") in digests:
        state = "current"
    elif push_time and _is_after(model.modified_at, push_time):
        state, why = "local", "made or changed here"  # a pull would replace it
    layers = (manifest["config"], *manifest["layers"])
    return ModelUpdate(
        model.name,
        state,
        why,
        installed_at=model.modified_at,
        pushed_at=push_time.isoformat() if push_time else "",
        size_bytes=sum(json_int(layer["size"]) for layer in layers),
    )


def _manifest(data: bytes) -> JsonObject | None:
    """Return a manifest in the format that Ollama wrote before version 0.19.

    Since then, a pull keeps the registry's own bytes.
    """
    try:
        given = json_object(json.loads(data))
    except (ValueError, RecursionError):
        return None
    layers = [_layer(one) for one in json_objects(given.get("layers"))]
    config = _layer(json_object(given.get("config")))
    if config is None or not layers or None in layers:
        return None
    return {
        "schemaVersion": json_int(given.get("schemaVersion")),
        "mediaType": json_text(given.get("mediaType")),
        "config": config,
        "layers": layers,
    }


def _layer(given: JsonObject) -> JsonObject | None:
    needed = ("mediaType", "digest", "size")
    if not given.keys() >= set(needed):
        return None
    optional = {key: given[key] for key in ("from", "name") if given.get(key)}
    return {key: given[key] for key in needed} | optional


def _time(text: str) -> datetime | None:
    """Return the time of ``Ollama-Push-Time``: seconds since 1970."""
    if not re.fullmatch(r"\d{1,11}", text):
        return None
    return datetime.fromtimestamp(int(text), UTC)


def _is_after(timestamp: str, moment: datetime) -> bool:
    try:
        return datetime.fromisoformat(timestamp).astimezone(UTC) >= moment
    except (ValueError, OverflowError):
        return False
