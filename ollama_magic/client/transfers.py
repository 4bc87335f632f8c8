"""Transfers: pulling, pushing and creating models, and the files they are made of.

They are the methods of :class:`OllamaClient` whose progress is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, BinaryIO
from urllib.parse import quote

from ollama_magic.client.compat import Upload
from ollama_magic.client.connection import TIMEOUT_S, Connection
from ollama_magic.client.streams import ProgressStream, check_status
from ollama_magic.client.types import set_only


class Transfers(Connection):
    """The transfers of a client."""

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
