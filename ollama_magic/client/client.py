"""The client: one typed method per endpoint of Ollama's REST API.

Everything in this package talks to servers through it, and it also works alone, in a
plain script. Every failure is raised as an error of :mod:`ollama_magic.errors`. Source:
Ollama ``docs/api.md`` and recordings of a real server (0.33.0-rc2).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ollama_magic.client.connection import Transfers
from ollama_magic.client.decisions import (
    Answers,
    AnyRequest,
    DecisionRequest,
    Questions,
)
from ollama_magic.client.json_values import json_object, json_objects
from ollama_magic.client.models import LoadedModel, ModelDetails, ModelSummary
from ollama_magic.client.ollama_com import (
    Account,
    CloudStatus,
    Recommendation,
    SearchResult,
    WebPage,
    search_results,
)
from ollama_magic.client.streams import ReplyStream
from ollama_magic.client.types import (
    ChatRequest,
    Embeddings,
    Format,
    GenerateRequest,
    KeepAlive,
    Options,
    Think,
    set_only,
)

_MAX_VERSION_BYTES = 64 * 1024
_ModelList = list[ModelSummary]  # `list` is a method below
_LoadedList = list[LoadedModel]


class OllamaClient(Transfers):
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

    # -- replies -----------------------------------------------------------

    def send(self, request: AnyRequest) -> ReplyStream:
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

    def decide(
        self,
        model: str,
        state: Any,  # noqa: ANN401  (a text, or any JSON)
        questions: Questions,
        *,
        images: Sequence[str] = (),
        keep_alive: KeepAlive | None = None,
    ) -> Answers:
        """Return the answers to questions about a text (Ollama 0.35 and later).

        Parameters
        ----------
        model
            A model with the capability ``decision``.
        state
            The text, or an object or array.
        questions
            ``Choice``, ``YesNo`` and ``Score``, by names of your own.
        images
            Images for a model with vision (0.35.1 and later), each as plain base64.

        Raises
        ------
        ReplyDataError
            The response lacks an answer.
        """
        asked = {name: question.to_json() for name, question in questions.items()}
        request = DecisionRequest(model, state, asked, images, keep_alive)
        body, field = request.body(), "answers"
        answer = self._read("POST", request.path, body, field=field, is_quick=False)
        return Answers.from_json(answer, questions)

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
        truncate: bool | None = None,
        shift: bool | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
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
            How long the model stays loaded: a duration (``"10m"``) or seconds; 0
            unloads it at once, a negative number keeps it loaded.
        tools
            JSON descriptions of the tools that the model may call.
        truncate, shift
            Whether the server may leave out a part of a prompt that does not fit the
            context, and of a chat that outgrows it while the reply is written (its
            default is to do so). Another ``shift`` than before loads the model again.
        logprobs, top_logprobs
            Whether chunks have the log probabilities of their tokens, and those of how
            many other likely tokens, up to 20.

        Returns
        -------
        ReplyStream
            Iterate over it, or call its ``complete()``.
        """
        return self.send(
            ChatRequest(
                model,
                messages,
                tools,
                options=options or {},
                format=format,
                think=think,
                keep_alive=keep_alive,
                truncate=truncate,
                shift=shift,
                logprobs=logprobs,
                top_logprobs=top_logprobs,
                stream=stream,
            )
        )

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
        truncate: bool | None = None,
        shift: bool | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
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
        return self.send(
            GenerateRequest(
                model,
                prompt,
                system,
                images,
                suffix,
                raw,
                options=options or {},
                format=format,
                think=think,
                keep_alive=keep_alive,
                truncate=truncate,
                shift=shift,
                logprobs=logprobs,
                top_logprobs=top_logprobs,
                stream=stream,
            )
        )

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
        asked_s = time.monotonic()
        models = [ModelSummary.from_json(entry) for entry in self._models("/api/tags")]
        self._keep_list(models, asked_s)
        return models

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
        self._note_change()

    def delete(self, model: str) -> None:
        """Delete a model from the server, without confirmation."""
        self._read("DELETE", "/api/delete", {"model": model})
        self._note_change()

    # -- the account of the server -------------------------------------------

    def me(self) -> Account:
        """Return the account at ollama.com that the server is signed in to.

        Raises
        ------
        ServerError
            It is not signed in: ``status_code`` is 401, and ``signin_url`` is where to
            sign in. Or ollama.com cannot be reached.
        """
        return Account.from_json(self._read("POST", "/api/me", field="name"))

    def signout(self) -> None:
        """Sign the server out of its account."""
        self._read("POST", "/api/signout")

    def status(self) -> CloudStatus:
        """Return whether the server may use the cloud (Ollama 0.16.2 and later)."""
        answer = self._read("GET", "/api/status", field="cloud")
        return CloudStatus.from_json(json_object(answer["cloud"]))

    def recommendations(self) -> Sequence[Recommendation]:
        """Return models that Ollama recommends (Ollama 0.22.1 and later)."""
        path = "/api/experimental/model-recommendations"
        entries = json_objects(self._read("GET", path).get("recommendations"))
        return [*map(Recommendation.from_json, entries)]

    def web_search(self, query: str, *, max_results: int = 5) -> Sequence[SearchResult]:
        """Search the web through ollama.com, with the account of the server (0.18)."""
        path = "/api/experimental/web_search"
        body = {"query": query, "max_results": max_results}
        return search_results(self._read("POST", path, body, field="results"))

    def web_fetch(self, url: str) -> WebPage:
        """Return a page that ollama.com fetches; as ``web_search``."""
        path = "/api/experimental/web_fetch"
        found = self._read("POST", path, {"url": url}, field="content")
        return WebPage.from_json(url, found)
