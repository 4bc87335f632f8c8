"""Turns a server's error response into an error: class, cause and next step.

Streams and the client call it. The tables at the top say how Ollama words its errors,
and the next step for each: patterns ignore case and are tried in order, and the first
match counts. Sources: recordings of a real server (0.33.0-rc2); the texts that need a
large or a broken model are from Ollama's ``server/sched.go`` and ``llm/server.go``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ollama_magic.client.host import parse_host
from ollama_magic.client.models import (
    capability_error,
    missing_capability,
    nearest_names,
)
from ollama_magic.errors import (
    ConfigError,
    ModelNotFoundError,
    ModelTransferError,
    NotOllamaError,
    OllamaMagicError,
    ServerError,
    quoted,
)

_Steps = Sequence[tuple[str, str]]
"""Pattern, and the next step; ``{model}`` in a step is the requested name."""

ANOTHER_ADDRESS = (
    "set the address of an Ollama server: "
    '%config OllamaMagics.host = "http://HOST:PORT"'
)
SERVER_LOG = "see the server's log: https://docs.ollama.com/troubleshooting"

_PERHAPS_A_PROXY = (
    "a proxy may have answered: add the host to NO_PROXY, "
    'or set another address: %config OllamaMagics.host = "http://HOST:PORT"'
)
_REDIRECT_TARGET = (
    'if you trust it, set it as the address: %config OllamaMagics.host = "{url}"'
)
_NAME = "write the name as [NAMESPACE/]NAME[:TAG]; see %ollama list"

_NEXT_STEPS: _Steps = (
    ("ollama cloud is disabled", "choose a local model: %ollama list"),
    (
        r"^403 \s*$",
        "the server rejects requests for this host name: set OLLAMA_HOST to "
        "localhost or an IP address",
    ),
    (
        "^40[13] ",
        "set OLLAMA_API_KEY to a token that this server accepts "
        "(for a cloud model: ollama signin)",
    ),
    ("to an HTTPS (server|port)", "write the address with https://"),
    ("^404 model ", _NAME),
    ("^404 ", f"update Ollama there, or {ANOTHER_ADDRESS}"),
    ("^405 ", ANOTHER_ADDRESS),
    ("server busy|^503 ", "wait for its other requests to finish, then run this again"),
    (
        "option .* must be of type",
        "correct the option (-o KEY VALUE), or the model's default: "
        "%ollama show {model} --parameters",
    ),
    (
        "exceeds the (available )?context|exceeds maximum|longer than the context",
        "send less (--last N, --new), or enlarge the context: -o num_ctx N",
    ),
    ("invalid duration", "write --keep-alive as 10m, in seconds, as 0 or as -1"),
    ("invalid think value", "write --think, or --think=low, medium, high or max"),
    ("schema|invalid format", "correct the JSON Schema, or leave it out"),
    ("base64", "send the image as a file or as plain base64"),
    ("invalid model name|name .* is invalid|model is required", _NAME),
    (
        "more system memory|out of memory|unable to load model|failed to load|"
        "runner process has terminated",
        "free memory (%ollama ps, %ollama stop MODEL), or choose a smaller model",
    ),
    (
        "while running the model|^200 ",
        "run this again; the server restarts the model",
    ),
    ("^4", "correct the part of the request that it names"),
    ("", f"run this again; if the error repeats, {SERVER_LOG}"),
)
"""Matched with the status, a space and the server's message; 200: inside a stream."""

_NETWORK = (
    "no such host|connection refused|timeout|timed out|retries exceeded|"
    "unreachable|reset|connection (was )?closed"
)


def _plain_http(method: str) -> tuple[str, str]:
    return (
        "HTTP response to HTTPS client",
        "that registry is not encrypted; if you trust the network: "
        f'OllamaClient().{method}("{{model}}", insecure=True)',
    )


_TRANSFER_STEPS: Mapping[str, _Steps] = {
    "pull": (
        (
            "no space left",
            "free disk space on the server (%ollama rm MODEL), then pull again; "
            "it resumes",
        ),
        (
            "file does not exist|not found",
            "check the name; models are listed at https://ollama.com/search",
        ),
        ("newer version", "update Ollama on the server, then pull again"),
        _plain_http("pull"),
        ("invalid model name", _NAME),
        (
            _NETWORK,
            "check that the server can reach the registry, then: "
            "%ollama pull {model} (it resumes)",
        ),
        ("", "%ollama pull {model} (it resumes)"),
    ),
    "push": (
        ("model is required", _NAME),
        ("no such file", "check the name: %ollama list"),
        _plain_http("push"),
        (
            "unauthorized|denied|401|403",
            "sign in on the server (ollama signin), and push to your own "
            "namespace: %ollama cp {model} YOU/NAME",
        ),
        ("", "%ollama push {model}   sends only what is missing"),
    ),
    "create": (
        ("no space left", "free disk space on the server: %ollama rm MODEL"),
        ("pull model manifest", "check the name of the base model: %ollama list"),
        ("invalid model name", _NAME),
        ("template error", "correct the template"),
        ("unsupported quantization", "choose one of the types that it lists"),
        ("", "correct what it names, then create the model again"),
    ),
}
"""By endpoint; matched with the server's message alone."""

_TRANSFERS = {"pull": "Pull", "push": "Push", "create": "Creation"}
_VERBS = {
    "chat": ("answer", " with "),
    "generate": ("answer", " with "),
    "embed": ("embed", " with "),
    "tags": ("list its models", ""),
    "ps": ("list the loaded models", ""),
    "version": ("return its version", ""),
    "blobs": ("accept a file", ""),
}
_SEARCHED_CHARS = 20_000
_MAX_WORDS = 300


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request as error messages describe it."""

    base_url: str
    """The server, without user or password."""
    action: str
    """The endpoint's name: ``chat``, ``pull``, ``tags``."""
    model: str = ""

    @property
    def is_transfer(self) -> bool:
        """Whether it is a pull, a push or a creation."""
        return self.action in _TRANSFERS


def response_error(
    info: RequestInfo,
    status_code: int,
    body: bytes,
    *,
    content_type: str = "",
    installed: Sequence[str] = (),
    hide: Callable[[str], str] = str,
) -> OllamaMagicError:
    """Return the error for a response whose status is not 200.

    Parameters
    ----------
    installed
        Names of the models on the server, to suggest the nearest.
    hide
        Redacts the server's message, which may repeat our secrets.
    """
    text, is_json = _error_text(body)
    text = hide(text)
    if not is_json and ("html" in content_type or text.lstrip().startswith("<")):
        return not_ollama(info, status_code, text, content_type)
    if status_code == 404 and is_json and info.model:
        return _model_not_found(info, text, installed)
    return server_error(info, text, status_code=status_code)


def server_error(
    info: RequestInfo, text: str, *, status_code: int = 200, progress: str = ""
) -> ServerError:
    """Return the error for the server's message.

    Parameters
    ----------
    status_code
        200 if the message arrived inside a stream.
    progress
        How far a transfer got, such as ``12.4 of 42.5 GB``.
    """
    text = text[:_SEARCHED_CHARS]
    where = "mid-stream" if status_code == 200 else str(status_code)
    words = quoted(_unwrapped(text), limit=_MAX_WORDS)
    why = f"server ({where}): {words or 'no text'}"
    if capability := missing_capability(text):
        return capability_error(
            capability, info.model, why=why, status_code=status_code
        )
    if info.is_transfer:
        return transfer_error(info, why=why, status_code=status_code, progress=progress)
    return ServerError(
        _what(info, status_code),
        why=why,
        next_step=_next_step(_NEXT_STEPS, f"{status_code} {text}", info.model),
        status_code=status_code,
    )


def transfer_error(
    info: RequestInfo, *, why: str, status_code: int = 200, progress: str = ""
) -> ModelTransferError:
    """Return the error for a pull, push or creation that failed.

    Parameters
    ----------
    progress
        How far it got, such as ``12.4 of 42.5 GB``; empty if it never started.
    """
    noun = _TRANSFERS[info.action]
    end = f"stopped at {progress}" if progress else "failed"
    return ModelTransferError(
        f"{noun} of {_shown(info.model)} {end}.",
        why=why,
        next_step=_next_step(_TRANSFER_STEPS[info.action], why, info.model),
        status_code=status_code,
    )


def not_ollama(
    info: RequestInfo, status_code: int, text: str, content_type: str
) -> NotOllamaError:
    """Return the error for a response that no Ollama server gives."""
    text = text[:65536]
    kind = quoted(content_type.partition(";")[0], limit=80) or "no content type"
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    if title:
        kind += f' ("{quoted(title[1], limit=200)}")'
    elif text.strip():
        kind += f": {quoted(text, limit=80)}"
    return NotOllamaError(
        f"The server at {info.base_url} is not an Ollama server.",
        why=f"server ({status_code}): {kind}",
        next_step=ANOTHER_ADDRESS if status_code < 500 else _PERHAPS_A_PROXY,
    )


def redirected(info: RequestInfo, location: str) -> NotOllamaError:
    """Return the error for a redirect, which is not followed.

    Following it would send the prompt, and perhaps more, to a host that the user did
    not choose.
    """
    try:
        target = urlsplit(location)
        # NB: a command to be pasted contains nothing but a valid host.
        host = parse_host(f"{target.scheme}://{target.netloc.rpartition('@')[2]}")
        place, next_step = host.base_url, _REDIRECT_TARGET.format(url=host.base_url)
    except (ValueError, ConfigError):
        place, next_step = quoted(location, limit=200) or "nowhere", ANOTHER_ADDRESS
    return NotOllamaError(
        f"{info.base_url} redirects to {place}; redirects are not followed.",
        why="the prompt would go to a host that you did not choose",
        next_step=next_step,
    )


def error_words(error: object) -> str:
    """Return the text of an ``error`` field: a string, or an object like OpenAI's."""
    if isinstance(error, dict):
        error = error.get("message", error)
    return error if isinstance(error, str) else json.dumps(error)


def _error_text(body: bytes) -> tuple[str, bool]:
    """Return the server's message, and whether the body is Ollama's JSON."""
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text, False
    if not isinstance(data, dict) or "error" not in data:
        return text, False
    return error_words(data["error"]), True


def _unwrapped(text: str) -> str:
    """Return the message of an error that is JSON text itself.

    The server passes on its runner's errors unchanged (recorded for schemas, images
    and over-long prompts).
    """
    if not text.startswith("{"):
        return text
    inner, is_json = _error_text(text.encode("utf-8", "replace"))
    return inner if is_json else text


def _model_not_found(
    info: RequestInfo, text: str, installed: Sequence[str]
) -> ModelNotFoundError:
    # Each endpoint words this differently; the status and the name say enough.
    near = " or ".join(map(_shown, nearest_names(info.model, installed)))
    model = quoted(info.model, limit=200)
    if info.action in {"delete", "copy", "push"}:
        next_step = f"did you mean {near}? See %ollama list" if near else "%ollama list"
    elif near:
        next_step = f"did you mean {near}? If not: %ollama pull {model}"
    else:
        next_step = f"%ollama pull {model}"
    return ModelNotFoundError(
        f"Model {_shown(info.model)} is not on {info.base_url}.",
        why=f"server (404): {quoted(_unwrapped(text), limit=_MAX_WORDS)}",
        next_step=next_step,
        status_code=404,
    )


def _what(info: RequestInfo, status_code: int) -> str:
    if status_code == 503:
        return f"The server at {info.base_url} is busy."
    if status_code == 200:
        return f"{_shown(info.model)} failed while it was answering."
    verb, joint = _VERBS.get(info.action, (info.action, " "))
    about = joint + _shown(info.model) if info.model else ""
    refused = "could not" if status_code >= 500 else "refused to"
    return f"The server at {info.base_url} {refused} {verb}{about}."


def _next_step(table: _Steps, words: str, model: str) -> str:
    """Return the first step whose pattern occurs in the server's message."""
    step = next(
        step for pattern, step in table if re.search(pattern, words, re.IGNORECASE)
    )
    return step.format(model=quoted(model, limit=200))


def _shown(model: str) -> str:
    return f"'{quoted(model, limit=200)}'"
