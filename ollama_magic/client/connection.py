"""The connection to one server: its address, secrets, plain responses, and transfers.

``OllamaClient`` adds a method for each other endpoint. ``Connection`` names none but
the list of models, whose names make errors helpful.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, BinaryIO, ClassVar
from urllib.parse import quote

from ollama_magic.client.background import PATIENCE_S
from ollama_magic.client.compat import close_idle
from ollama_magic.client.host import Host, parse_host
from ollama_magic.client.http import MAX_RESPONSE_BYTES, Credentials, HttpExchange
from ollama_magic.client.json_values import json_objects
from ollama_magic.client.models import ModelSummary
from ollama_magic.client.progress import Upload
from ollama_magic.client.redaction import Redactor
from ollama_magic.client.server_errors import not_ollama
from ollama_magic.client.streams import (
    BYTE_ORDER_MARK,
    ProgressStream,
    check_status,
    parse_object,
)
from ollama_magic.client.types import set_only
from ollama_magic.errors import ConfigError, OllamaMagicError, StreamInterruptedError

TIMEOUT_S = 60.0
_MAX_LIST_BYTES = 8 * 1024 * 1024  # thirty times as much in memory as objects
_RECENT_S = 60.0
_MOST_LISTS = 32

_lists: dict[str, tuple[float, Sequence[ModelSummary]]] = {}
"""When the last list of models was requested, and the list, by client identity."""
_changed_at: dict[str, float] = {}
"""When this process last changed the models of a server, by its base URL."""


class Connection:
    """A server, and how it is reached; ``OllamaClient`` describes the parameters."""

    holds_secrets: ClassVar[bool] = True
    """``{{ }}`` in a prompt never looks into this object."""

    def __init__(
        self,
        host: str | Host | None = None,
        *,
        api_key: str | None = None,
        connect_timeout_s: float = 5.0,
        idle_timeout_s: float | None = 300.0,
        headers: Mapping[str, str] | None = None,
        insecure_hosts: Sequence[str] = (),
    ) -> None:
        if host is None:
            host = os.environ.get("OLLAMA_HOST")
        self.host = host if isinstance(host, Host) else parse_host(host)
        self.insecure_hosts = tuple(insecure_hosts)
        credentials = Credentials(
            self.host,
            os.environ.get("OLLAMA_API_KEY", "") if api_key is None else api_key,
            is_from_environment=api_key is None,
            headers=headers,
            insecure_hosts=insecure_hosts,
        )
        self._credentials = credentials
        self._exchange = partial(HttpExchange, credentials, connect_timeout_s)
        self._idle_timeout_s = idle_timeout_s

    def __repr__(self) -> str:
        return f"OllamaClient({self.host.base_url!r})"

    @property
    def withheld_key(self) -> ConfigError | None:
        """Why ``OLLAMA_API_KEY`` is not sent; None if it is sent or unset."""
        return self._credentials.withheld_key

    @property
    def header_names(self) -> Sequence[str]:
        """The names of the extra headers."""
        return tuple(self._credentials.headers)

    @property
    def identity(self) -> str:
        """The same text for clients of the same server with the same credentials."""
        return f"{self.host.base_url} {self._credentials.digest}"

    @property
    def redactor(self) -> Redactor:
        """Hides the secrets of this client in text."""
        return self._credentials.redactor

    def close(self) -> None:
        """Close the connections that wait for the next request to this server.

        The client stays usable. Streams have a ``close()`` of their own.
        """
        close_idle(self.host)

    # -- the last list of models --------------------------------------------

    def recent_models(self) -> Sequence[ModelSummary]:
        """Return the last list of models, without a request; empty if there is none.

        It is kept for a minute, for all clients of this process with the same server
        and credentials, or until one of them changes the models of the server.
        """
        asked_s, models = _lists.get(self.identity, (0.0, ()))
        is_recent = self.models_changed_s < asked_s > time.monotonic() - _RECENT_S
        return models if is_recent else ()

    @property
    def models_changed_s(self) -> float:
        """When this process last changed the models of the server, monotonic."""
        return _changed_at.get(self.host.base_url, 0.0)

    def _keep_list(self, models: Sequence[ModelSummary], asked_s: float) -> None:
        _lists.pop(self.identity, None)
        _lists[self.identity] = (asked_s, models)
        if len(_lists) > _MOST_LISTS:
            _lists.pop(next(iter(_lists)), None)

    def _note_change(self) -> None:
        """Forget the lists of this server: a request changes its models."""
        _changed_at[self.host.base_url] = time.monotonic()

    # -- requests ----------------------------------------------------------

    def _models(
        self, path: str, timeout_s: float | None = None
    ) -> Sequence[Mapping[str, Any]]:
        answer = self._read(
            "GET",
            path,
            field="models",
            timeout_s=timeout_s,
            max_bytes=_MAX_LIST_BYTES,
        )
        return json_objects(answer["models"])  # older servers send null for none

    def _transfer(self, path: str, body: dict[str, Any]) -> ProgressStream:
        self._note_change()
        exchange = self._exchange("POST", path, body)
        return ProgressStream(exchange, self._list_names, self._note_change)

    def _read(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | Upload | None = None,
        *,
        field: str = "",
        is_quick: bool = True,
        timeout_s: float | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> dict[str, Any]:
        """Return the JSON object of a response; it must have ``field``, if named."""
        timeout_s = timeout_s or (TIMEOUT_S if is_quick else None)
        limits = {"response_timeout_s": timeout_s, "idle_timeout_s": timeout_s}
        with closing(self._exchange(method, path, body, **limits)) as exchange:
            exchange.open()
            check_status(exchange, self._list_names)
            answer = exchange.read(max_bytes=max_bytes).removeprefix(BYTE_ORDER_MARK)
        try:
            data = parse_object(answer, where="the response", redactor=self.redactor)
        except StreamInterruptedError:
            data = {}
        if field and field not in data:
            text = self.redactor.error(answer.decode("utf-8", "replace"))
            raise not_ollama(exchange.info, 200, text, exchange.content_type)
        return data

    def _list_names(self) -> Sequence[str]:
        """Return the names of the installed models; none if they are unknown."""
        try:
            listed = self._models("/api/tags", PATIENCE_S)
            return [ModelSummary.from_json(entry).name for entry in listed]
        except OllamaMagicError:
            return []


# -- transfers -----------------------------------------------------------------------


class Transfers(Connection):
    """Pulling, pushing and creating models, and uploading the files of new ones."""

    def pull(self, model: str, *, insecure: bool = False) -> ProgressStream:
        """Pull a model from its registry; closing the stream stops the server too.

        Pulling again resumes where it stopped. ``insecure`` allows an unencrypted
        registry.
        """
        body = set_only(model=model, insecure=insecure or None)
        return self._transfer("/api/pull", body)

    def push(self, model: str, *, insecure: bool = False) -> ProgressStream:
        """Push a model to the registry, under its name."""
        body = set_only(model=model, insecure=insecure or None)
        return self._transfer("/api/push", body)

    def create(
        self,
        model: str,
        *,
        from_model: str | None = None,
        files: Mapping[str, str] | None = None,
        adapters: Mapping[str, str] | None = None,
        system: str | None = None,
        template: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        license: str | Sequence[str] | None = None,
        quantize: str | None = None,
        renderer: str | None = None,
        parser: str | None = None,
        requires: str | None = None,
        draft_files: Mapping[str, str] | None = None,
        draft_quantize: str | None = None,
        remote_host: str | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> ProgressStream:
        """Create a model; replaces a model of that name.

        Parameters
        ----------
        from_model
            The base model; it is pulled first if necessary.
        files, adapters
            File names, each with the digest of its blob (``upload_blob``).
        parameters
            Default options. The server accepts invalid ones too, and then every
            request to the model fails.
        quantize
            Such as ``Q4_K_M``; the base model has to be of type F16 or F32.
        renderer, parser
            Names of Ollama's built-in renderer and parser, instead of a template.
        requires
            The minimum version of Ollama, such as ``0.14.0``.
        draft_files, draft_quantize
            The files of a smaller model that drafts tokens for this one, like
            ``files``, and how to quantize it (Ollama 0.30 and later).
        remote_host, info
            The server that runs the base model, and what to say about a model that is
            not here, such as its ``context_length``.
        """
        body = set_only(
            model=model,
            files=files,
            adapters=adapters,
            system=system,
            template=template,
            parameters=parameters,
            messages=messages,
            license=license,
            quantize=quantize,
            renderer=renderer,
            parser=parser,
            requires=requires,
            draft_files=draft_files,
            draft_quantize=draft_quantize,
            remote_host=remote_host,
            info=info,
            **{"from": from_model},
        )
        return self._transfer("/api/create", body)

    def blob_exists(self, digest: str) -> bool:
        """Return whether the server has the blob ``digest`` (``sha256:...``)."""
        with closing(
            self._exchange("HEAD", _blob_path(digest), response_timeout_s=TIMEOUT_S)
        ) as exchange:
            exchange.open()
            if exchange.status_code == 404:
                return False
            check_status(exchange, self._list_names)
        return True

    def upload_blob(
        self,
        digest: str,
        file: BinaryIO,
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Upload a file for ``create``, unless the server has it already.

        Parameters
        ----------
        file
            Open for reading in binary mode; sent from its current position.
        on_progress
            Called now and then with the bytes sent and the total. An exception that
            it raises ends the upload.
        """
        if self.blob_exists(digest):  # otherwise the server would close the connection
            return
        upload = Upload(file, on_progress)
        self._read("POST", _blob_path(digest), upload, is_quick=False)


def _blob_path(digest: str) -> str:
    return f"/api/blobs/{quote(digest, safe=':')}"
