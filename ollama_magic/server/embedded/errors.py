"""Errors of the API: an HTTP status and Ollama's text for it.

Every module here raises ``ApiError``; ``http`` sends it. A module of its own because
all others import it.
Source: recordings of Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import json

JSON_UTF8 = "application/json; charset=utf-8"
JSON_PLAIN = "application/json"
"""The content type of errors that come from Ollama's runner."""


class ApiError(Exception):
    """An error that is sent to the client as ``{"error": text}``.

    In a stream that has begun, it becomes the last line, without its status.
    """

    def __init__(
        self, status_code: int, text: str, *, content_type: str = JSON_UTF8
    ) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.text = text
        self.content_type = content_type


def llama_error(
    status_code: int, message: str, *, kind: str = "invalid_request_error", **more: int
) -> ApiError:
    """Return an error of llama.cpp as Ollama passes it on: JSON inside JSON."""
    error = {"code": status_code, "message": message, "type": kind, **more}
    text = json.dumps({"error": error}, separators=(",", ":"))
    return ApiError(status_code, text, content_type=JSON_PLAIN)


def not_supported(what: str) -> ApiError:
    """Return the error for something that Ollama supports and this engine does not."""
    return ApiError(400, f"the embedded engine does not support {what}")


def model_not_found(name: str) -> ApiError:
    """Return the 404 of chat, generate, show and delete."""
    return ApiError(404, f"model '{name}' not found")
