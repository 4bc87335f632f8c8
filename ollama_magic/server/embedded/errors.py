"""The one way to say no: an HTTP status and Ollama's words for the reason.

Knows the shapes of Ollama's errors; refuses to know what they are about.
Source: recordings of Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import json

JSON_UTF8 = "application/json; charset=utf-8"
JSON_PLAIN = "application/json"
"""What Ollama sends when the reason comes from its runner."""


class Refusal(Exception):  # noqa: N818  (not always an error: also "not supported")
    """A request that is answered with ``{"error": text}``.

    Once a stream has begun, the text becomes its last line and the status is lost.
    """

    def __init__(
        self, status_code: int, text: str, *, content_type: str = JSON_UTF8
    ) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.text = text
        self.content_type = content_type


def engine_refusal(
    status_code: int, message: str, *, kind: str = "invalid_request_error", **more: int
) -> Refusal:
    """Return a refusal by llama.cpp as Ollama passes it on: JSON inside of JSON."""
    error = {"code": status_code, "message": message, "type": kind, **more}
    text = json.dumps({"error": error}, separators=(",", ":"))
    return Refusal(status_code, text, content_type=JSON_PLAIN)


def not_supported(what: str) -> Refusal:
    """Return the refusal of something that Ollama can and this engine cannot."""
    return Refusal(400, f"the embedded engine does not support {what}")


def model_not_found(name: str) -> Refusal:
    """Return the 404 of chat, generate, show and delete."""
    return Refusal(404, f"model '{name}' not found")
