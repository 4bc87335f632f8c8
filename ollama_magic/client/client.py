"""The client: one typed method per endpoint of Ollama's REST API.

Knows paths, field names and which answer belongs to which type. Knows no notebook:
it runs in a plain script. Every failure leaves as an error of
:mod:`ollama_magic.errors`; bugs keep their traceback. Source: Ollama ``docs/api.md``
and recordings of a real server (0.33.0-rc2).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, ClassVar
from urllib.parse import quote

from ollama_magic.client.compat import Upload
from ollama_magic.client.host import Host, parse_host
from ollama_magic.client.http import (
    MAX_ANSWER_BYTES,
    Call,
    Credentials,
    Exchange,
    Server,
)
from ollama_magic.client.models import LoadedModel, ModelDetails, ModelSummary
from ollama_magic.client.redaction import Redactor
from ollama_magic.client.server_errors import Attempt, not_ollama
from ollama_magic.client.streams import (
    ProgressStream,
    ReplyStream,
    Stream,
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
)
from ollama_magic.errors import (
    ConfigError,
    OllamaMagicError,
    StreamInterruptedError,
)

__all__ = ["OllamaClient", "ProgressStream", "ReplyStream", "Stream"]

_ANSWER_TIMEOUT_S = 60.0  # for questions that the server answers from its own lists
_MAX_VERSION_BYTES = 64 * 1024
_MAX_LIST_BYTES = 8 * 1024 * 1024  # as objects they take thirty times as much
_ModelList = list[ModelSummary]  # `list` is a method below
_LoadedList = list[LoadedModel]


class OllamaClient:
    """A client of one Ollama server; safe to share between threads.

    Parameters
    ----------
    host
        Its address, in any form that ``OLLAMA_HOST`` may have; None reads
        ``OLLAMA_HOST``, and without that it is http://127.0.0.1:11434.
    api_key
        Bearer token, sent to this host alone; None reads ``OLLAMA_API_KEY``, empty
        text sends none. User and password in the host's URL go before it.
    connect_timeout_s
        How long a connection may take to be made.
    idle_timeout_s
        How long a reply may be silent once it has begun; None is for ever. There is
        no limit before its first token (a cold model loads for minutes), and none
        on transfers (checking a large download is silent for minutes).
    insecure_hosts
        Machines, as ``HOST:PORT``, that may get key and password over plain http.
        To others the key of ``OLLAMA_API_KEY`` is not sent without encryption
        (``withheld_key`` says so); a key or password that was given is an error.

    Raises
    ------
    ConfigError
        The host or the key cannot be used, or a secret that was given would go to
        another machine without encryption.
    """

    holds_secrets: ClassVar[bool] = True
    """A prompt does not look into it."""

    def __init__(
        self,
        host: str | Host | None = None,
        *,
        api_key: str | None = None,
        connect_timeout_s: float = 5.0,
        idle_timeout_s: float | None = 300.0,
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
            insecure_hosts=insecure_hosts,
        )
        self._server = Server(self.host, credentials, connect_timeout_s)
        self._idle_timeout_s = idle_timeout_s

    def __repr__(self) -> str:
        return f"OllamaClient({self.host.base_url!r})"

    @property
    def withheld_key(self) -> ConfigError | None:
        """Why ``OLLAMA_API_KEY`` is not sent: http:// to another machine; else None."""
        return self._server.credentials.withheld_key

    @property
    def identity(self) -> str:
        """The same text for clients of the same server with the same credentials."""
        return f"{self.host.base_url} {self._server.credentials.digest}"

    @property
    def redactor(self) -> Redactor:
        """Hides the secrets of this client in text."""
        return self._server.credentials.redactor

    # -- replies -----------------------------------------------------------

    def send(self, request: ChatRequest | GenerateRequest) -> ReplyStream:
        """Return the reply to ``request``; it is sent at the first ``next``.

        A request with ``stream`` false gives exactly one chunk, the complete reply.
        """
        call = Call(
            "POST",
            request.path,
            _json(request.body()),
            idle_timeout_s=self._idle_timeout_s,
        )
        attempt = self._attempt(request.path, request.model)
        return ReplyStream(Exchange(self._server, call), attempt, self._names)

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
        """Return the next message of a chat, fragment by fragment.

        Parameters
        ----------
        messages
            ``{"role": ..., "content": ...}``, oldest first. None at all only load
            the model, or unload it with ``keep_alive=0``.
        format
            ``"json"``, or a JSON Schema that the reply will follow.
        think
            Whether, or how hard, to think first; None leaves it to the model.
        keep_alive
            How long the model stays loaded afterwards: a duration (``"10m"``) or
            seconds; 0 unloads it at once, a negative number keeps it.
        tools
            JSON descriptions of functions that the model may ask to be called.

        Returns
        -------
        ReplyStream
            Iterate over it, or call its ``complete()``.
        """
        request = ChatRequest(
            model,
            messages,
            options=options or {},
            format=format,
            think=think,
            keep_alive=keep_alive,
            tools=tools,
            stream=stream,
        )
        return self.send(request)

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
        """Return the reply to one prompt without a history; see ``chat``.

        Parameters
        ----------
        images
            Images for a model with vision, each as plain base64.
        suffix
            Text that follows the reply, for models that fill in the middle.
        raw
            Send the prompt without the model's template around it.
        """
        request = GenerateRequest(
            model,
            prompt,
            system=system,
            options=options or {},
            format=format,
            think=think,
            keep_alive=keep_alive,
            images=images,
            suffix=suffix,
            raw=raw,
            stream=stream,
        )
        return self.send(request)

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
        """Return one vector per text, in order.

        Parameters
        ----------
        truncate
            Cut texts that are longer than the model's context (the server's
            default); False makes them an error.
        dimensions
            Length of the vectors, for models that offer a choice.
        """
        body = _set_only(
            model=model,
            input=input if isinstance(input, str) else list(input),
            truncate=truncate,
            dimensions=dimensions,
            options=options or None,
            keep_alive=keep_alive,
        )
        return Embeddings.from_json(
            self._ask(
                "POST",
                "/api/embed",
                body,
                model=model,
                needs="embeddings",
                may_last=True,
            )
        )

    # -- the server and its models -----------------------------------------

    def version(self) -> str:
        """Return the version of the server."""
        answer = self._ask(
            "GET", "/api/version", needs="version", max_bytes=_MAX_VERSION_BYTES
        )
        return str(answer["version"])

    def list(self) -> _ModelList:
        """Return the models on the server, the last modified first."""
        return [ModelSummary.from_json(entry) for entry in self._models("/api/tags")]

    def ps(self) -> _LoadedList:
        """Return the models that are in memory."""
        return [LoadedModel.from_json(entry) for entry in self._models("/api/ps")]

    def show(self, model: str, *, verbose: bool = False) -> ModelDetails:
        """Return what the server knows of a model.

        ``verbose`` fills the long lists of ``model_info`` too (megabytes).
        """
        body = _set_only(model=model, verbose=verbose or None)
        return ModelDetails.from_json(
            self._ask("POST", "/api/show", body, model=model, needs="details")
        )

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name; a model of that name is replaced unasked."""
        body = {"source": source, "destination": destination}
        self._tell("POST", "/api/copy", body, model=source)

    def delete(self, model: str) -> None:
        """Remove a model from the server; it is not asked for twice."""
        self._tell("DELETE", "/api/delete", {"model": model}, model=model)

    # -- transfers ---------------------------------------------------------

    def pull(self, model: str, *, insecure: bool = False) -> ProgressStream:
        """Fetch a model from its registry; closing the stream stops the server too.

        What was fetched is kept: pulling again goes on where it stopped.
        ``insecure`` allows a registry without encryption.
        """
        body = _set_only(model=model, insecure=insecure or None)
        return self._transfer("/api/pull", body, model)

    def push(self, model: str, *, insecure: bool = False) -> ProgressStream:
        """Send a model to the registry that its name says."""
        body = _set_only(model=model, insecure=insecure or None)
        return self._transfer("/api/push", body, model)

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
        """Make a model; one of that name is replaced unasked.

        Parameters
        ----------
        from_model
            The model to start from. One that is not there is pulled first.
        files, adapters
            File names, each with the digest of its uploaded blob
            (``upload_blob``).
        parameters
            Default options. The server takes wrong ones too, and every request to
            the model fails then.
        quantize
            Such as ``Q4_K_M``; the server has to have a model of type F16 or F32.
        renderer, parser
            Names of those that are built into Ollama, in place of a template.
        requires
            The least version of Ollama that can run it, such as ``0.14.0``.
        """
        body = _set_only(
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
        )
        if from_model is not None:
            body["from"] = from_model
        return self._transfer("/api/create", body, model)

    def blob_exists(self, digest: str) -> bool:
        """Return whether the server has the file of ``digest`` (``sha256:...``)."""
        path = f"/api/blobs/{quote(digest, safe=':')}"
        exchange = Exchange(self._server, _call("HEAD", path))
        try:
            exchange.open()
            if exchange.status_code == 404:
                return False
            check_status(exchange, self._attempt(path), self._names)
        finally:
            exchange.close()
        return True

    def upload_blob(
        self,
        digest: str,
        file: BinaryIO,
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Send a file to the server, for ``create``, unless it has it.

        Parameters
        ----------
        file
            Open for reading in binary mode; sent from its current position on.
        on_progress
            Called with the bytes sent and the bytes in all, from time to time. What
            it raises ends the upload.
        """
        if self.blob_exists(digest):  # else the server would hang up on us midway
            return
        path = f"/api/blobs/{quote(digest, safe=':')}"
        self._tell("POST", path, Upload(file, on_progress), may_last=True)

    # -- how it is done ----------------------------------------------------

    def _attempt(self, path: str, model: str = "") -> Attempt:
        action = path.split("/")[2]
        return Attempt(self.host.base_url, action, model, self.withheld_key)

    def _models(self, path: str) -> Iterator[Mapping[str, Any]]:
        answer = self._ask("GET", path, needs="models", max_bytes=_MAX_LIST_BYTES)
        return _objects(answer["models"])

    def _transfer(self, path: str, body: dict[str, Any], model: str) -> ProgressStream:
        exchange = Exchange(self._server, Call("POST", path, _json(body)))
        return ProgressStream(exchange, self._attempt(path, model), self._names)

    def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        model: str = "",
        needs: str = "",
        may_last: bool = False,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> dict[str, Any]:
        """Return the JSON object that answers, with the field ``needs`` in it."""
        attempt = self._attempt(path, model)
        call = _call(method, path, body, may_last=may_last)
        answer, content_type = self._answer(call, attempt, max_bytes)
        redactor = self.redactor
        try:
            data = parse_object(answer, where="the answer", redactor=redactor)
        except StreamInterruptedError:
            data = {}
        if not data or (needs and needs not in data):
            said = redactor.error(answer.decode("utf-8", "replace"))
            raise not_ollama(attempt, 200, said, content_type)
        return data

    def _tell(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | Upload,
        *,
        model: str = "",
        may_last: bool = False,
    ) -> None:
        """Send what is answered by a status and an empty body."""
        call = _call(method, path, body, may_last=may_last)
        self._answer(call, self._attempt(path, model))

    def _answer(
        self, call: Call, attempt: Attempt, max_bytes: int = MAX_ANSWER_BYTES
    ) -> tuple[bytes, str]:
        exchange = Exchange(self._server, call)
        try:
            exchange.open()
            check_status(exchange, attempt, self._names)
            return exchange.read(max_bytes=max_bytes), exchange.content_type
        finally:
            exchange.close()

    def _names(self) -> Sequence[str]:
        """Return the installed models, to correct a wrong name by; none if unknown."""
        try:
            return [model.name for model in self.list()]
        except OllamaMagicError:
            return []


def _call(
    method: str,
    path: str,
    body: dict[str, Any] | Upload | None = None,
    *,
    may_last: bool = False,
) -> Call:
    """Return a call for one plain answer, which comes soon unless it ``may_last``."""
    sent = _json(body) if isinstance(body, dict) else body
    timeout_s = None if may_last else _ANSWER_TIMEOUT_S
    return Call(
        method, path, sent, answer_timeout_s=timeout_s, idle_timeout_s=timeout_s
    )


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode("ascii")


def _set_only(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Older servers say null where they mean an empty list."""
    entries = value if isinstance(value, list) else ()
    return (entry for entry in entries if isinstance(entry, Mapping))
