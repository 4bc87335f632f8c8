"""The client: one typed method per endpoint of Ollama's REST API.

Everything in this package talks to servers through it, and it also works alone, in a
plain script. Every failure is raised as an error of :mod:`ollama_magic.errors`. Source:
Ollama ``docs/api.md`` and recordings of a real server (0.33.0-rc2).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, BinaryIO, ClassVar
from urllib.parse import quote

from ollama_magic.client.background import PATIENCE_S
from ollama_magic.client.compat import Upload
from ollama_magic.client.host import Host, parse_host
from ollama_magic.client.http import (
    MAX_RESPONSE_BYTES,
    Credentials,
    HttpExchange,
)
from ollama_magic.client.models import LoadedModel, ModelDetails, ModelSummary
from ollama_magic.client.redaction import Redactor
from ollama_magic.client.server_errors import not_ollama
from ollama_magic.client.streams import (
    BYTE_ORDER_MARK,
    ProgressStream,
    ReplyStream,
    check_status,
    parse_object,
)
from ollama_magic.client.types import (
    ChatRequest,
    Embeddings,
    Format,
    GenerateRequest,
    KeepAlive,
    Options,
    Think,
    json_objects,
    set_only,
)
from ollama_magic.errors import ConfigError, OllamaMagicError, StreamInterruptedError

_TIMEOUT_S = 60.0
_MAX_VERSION_BYTES = 64 * 1024
_MAX_LIST_BYTES = 8 * 1024 * 1024  # thirty times as much in memory as objects
_ModelList = list[ModelSummary]  # `list` is a method below
_LoadedList = list[LoadedModel]


class OllamaClient:
    """A client of one Ollama server; safe to share between threads.

    Parameters
    ----------
    host
        Its address, in any form of ``OLLAMA_HOST``; None reads ``OLLAMA_HOST``, which
        defaults to http://127.0.0.1:11434.
    api_key
        Bearer token, sent to this host alone; None reads ``OLLAMA_API_KEY``, an empty
        one is not sent. User and password in the host's URL take precedence.
    connect_timeout_s
        How long connecting may take.
    idle_timeout_s
        How long a reply may be silent once it has begun; None sets no limit. Neither
        the first token (loading a model takes minutes) nor transfers have a limit.
    headers
        Extra headers of each request, for a proxy in front of the server; their values
        are kept secret like the key.
    insecure_hosts
        Machines, as ``HOST:PORT``, that may receive secrets over plain http.
        Others do not get ``OLLAMA_API_KEY`` unencrypted (see ``withheld_key``); a key,
        password or header that you pass is an error then.

    Raises
    ------
    ConfigError
        The host, the key or a header is invalid, or a secret that you pass would be
        sent to another machine unencrypted.
    """

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

    # -- replies -----------------------------------------------------------

    def send(self, request: ChatRequest | GenerateRequest) -> ReplyStream:
        """Return the reply to ``request``, which is sent at the first ``next``.

        A request with ``stream`` false gives exactly one chunk, the whole reply.
        """
        exchange = self._exchange(
            "POST",
            request.path,
            request.body(),
            idle_timeout_s=self._idle_timeout_s,
        )
        return ReplyStream(exchange, self._list_names)

    def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        options: Options | None = None,
        format: Format | None = None,
        think: Think | None = None,
        keep_alive: KeepAlive | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        stream: bool = True,
    ) -> ReplyStream:
        """Return the next message of a chat, chunk by chunk.

        Parameters
        ----------
        messages
            ``{"role": ..., "content": ...}``, oldest first. An empty list only loads
            the model, or unloads it with ``keep_alive=0``.
        format
            ``"json"``, or a JSON Schema that the reply must match.
        think
            Whether to think first, or a level such as ``"high"``; None uses the model's
            default.
        keep_alive
            How long the model stays loaded afterwards: a duration (``"10m"``) or
            seconds; 0 unloads it at once, a negative number keeps it loaded.
        tools
            JSON descriptions of the tools that the model may call.

        Returns
        -------
        ReplyStream
            Iterate over it, or call its ``complete()``.
        """
        given = (options or {}, format, think, keep_alive, tools, stream)
        return self.send(ChatRequest(model, messages, *given))

    def generate(
        self,
        model: str,
        prompt: str,
        *,
        system: str | None = None,
        options: Options | None = None,
        format: Format | None = None,
        think: Think | None = None,
        keep_alive: KeepAlive | None = None,
        images: Sequence[str] = (),
        suffix: str | None = None,
        raw: bool = False,
        stream: bool = True,
    ) -> ReplyStream:
        """Return the reply to one prompt without a chat; see ``chat``.

        Parameters
        ----------
        images
            Images for a model with vision, each as plain base64.
        suffix
            Text after the reply, for models that fill in the middle.
        raw
            Whether to send the prompt without the model's template.
        """
        given = (system, options or {}, format, think, keep_alive)
        more = (images, suffix, raw, stream)
        return self.send(GenerateRequest(model, prompt, *given, *more))

    def embed(
        self,
        model: str,
        input: str | Sequence[str],
        *,
        truncate: bool | None = None,
        dimensions: int | None = None,
        options: Options | None = None,
        keep_alive: KeepAlive | None = None,
    ) -> Embeddings:
        """Return one vector per text, in the same order.

        Parameters
        ----------
        truncate
            Whether to truncate texts that exceed the model's context (the server's
            default is to do so); False makes them an error.
        dimensions
            Length of the vectors, if the model offers a choice.
        """
        body = set_only(
            model=model,
            input=input if isinstance(input, str) else list(input),
            truncate=truncate,
            dimensions=dimensions,
            options=options or None,
            keep_alive=keep_alive,
        )
        answer = self._read(
            "POST", "/api/embed", body, field="embeddings", is_quick=False
        )
        return Embeddings.from_json(answer)

    # -- the server and its models -----------------------------------------

    def version(self) -> str:
        """Return the version of the server; ``unknown`` if a proxy hides it."""
        answer = self._read(
            "GET", "/api/version", field="version", max_bytes=_MAX_VERSION_BYTES
        )
        version = answer["version"]
        return version if isinstance(version, str) else "unknown"

    def list(self) -> _ModelList:
        """Return the models on the server, last modified first."""
        return [ModelSummary.from_json(entry) for entry in self._models("/api/tags")]

    def ps(self) -> _LoadedList:
        """Return the models in memory."""
        return [LoadedModel.from_json(entry) for entry in self._models("/api/ps")]

    def show(self, model: str, *, verbose: bool = False) -> ModelDetails:
        """Return the details of a model.

        ``verbose`` includes the long lists of ``model_info`` (megabytes).
        """
        body = set_only(model=model, verbose=verbose or None)
        answer = self._read("POST", "/api/show", body, field="details")
        return ModelDetails.from_json(answer)

    def copy(self, source: str, destination: str) -> None:
        """Copy a model to another name; replaces a model of that name."""
        body = {"source": source, "destination": destination}
        self._read("POST", "/api/copy", body)

    def delete(self, model: str) -> None:
        """Delete a model from the server, without confirmation."""
        self._read("DELETE", "/api/delete", {"model": model})

    # -- transfers ---------------------------------------------------------

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
            **{"from": from_model},
        )
        return self._transfer("/api/create", body)

    def blob_exists(self, digest: str) -> bool:
        """Return whether the server has the blob ``digest`` (``sha256:...``)."""
        with closing(
            self._exchange("HEAD", _blob_path(digest), response_timeout_s=_TIMEOUT_S)
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
        return ProgressStream(self._exchange("POST", path, body), self._list_names)

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
        timeout_s = timeout_s or (_TIMEOUT_S if is_quick else None)
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


def _blob_path(digest: str) -> str:
    return f"/api/blobs/{quote(digest, safe=':')}"
