"""What a refusal of the server means: status and words -> error class, next step.

Knows no HTTP library and asks nothing: whoever has a list of the installed models
passes their names in. The server's wordings are a table of their own,
:mod:`ollama_magic.client.server_errors`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ollama_magic.client.host import parse_host
from ollama_magic.client.models import nearest_names
from ollama_magic.errors import (
    CapabilityError,
    ConfigError,
    ModelNotFoundError,
    ModelTransferError,
    NotOllamaError,
    OllamaMagicError,
    ServerError,
    quoted,
)

_TRANSFERS = {"pull": "Pull", "push": "Push", "create": "Creation"}
_MAKE_ADDRESS = (
    'if you trust it, make it the address: %config OllamaMagics.host = "{url}"'
)
_LOOKED_AT = 20_000  # characters of the server's words
_MAX_WORDS = 300
_VERBS = {
    "chat": ("answer", " with "),
    "generate": ("answer", " with "),
    "embed": ("embed", " with "),
    "tags": ("list its models", ""),
    "ps": ("list the loaded models", ""),
    "version": ("tell its version", ""),
    "blobs": ("take a file", ""),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was asked for, in the words that an error needs."""

    base_url: str
    """The server, without user or password."""
    action: str
    """The endpoint's name: ``chat``, ``pull``, ``tags``."""
    model: str = ""
    withheld_key: ConfigError | None = None
    """Why the API key was not sent; None: it was, or there is none."""

    @property
    def is_transfer(self) -> bool:
        """Whether it moves a model: a pull, a push or a creation."""
        return self.action in _TRANSFERS


def refusal(
    attempt: Attempt,
    status_code: int,
    body: bytes,
    *,
    content_type: str = "",
    installed: Sequence[str] = (),
    hide: Callable[[str], str] = str,
) -> OllamaMagicError:
    """Return the error for an answer whose status is not 200.

    Parameters
    ----------
    installed
        Names of the models on the server, so that a wrong one gets the nearest.
    hide
        Takes our secrets out of the words of the server, which may echo them.
    """
    text, is_json = _error_text(body)
    text = hide(text)
    if not is_json and ("html" in content_type or text.lstrip().startswith("<")):
        return not_ollama(attempt, status_code, text, content_type)
    if status_code == 404 and is_json and attempt.model:
        return _model_not_found(attempt, text, installed)
    return server_error(attempt, text, status_code=status_code)


def server_error(
    attempt: Attempt, text: str, *, status_code: int = 200, progress: str = ""
) -> ServerError:
    """Return the error for the server's words.

    Parameters
    ----------
    status_code
        200 when the words came inside of a stream.
    progress
        How far a transfer came, as in ``12.4 of 42.5 GB``.
    """
    text = text[:_LOOKED_AT]
    where = "mid-stream" if status_code == 200 else str(status_code)
    words = quoted(_unwrapped(text), limit=_MAX_WORDS)
    why = f"server ({where}): {words or 'no text'}"
    if capability := _lacking(attempt, text):
        what, next_step = capability
        return CapabilityError(
            what, why=why, next_step=next_step, status_code=status_code
        )
    if attempt.is_transfer:
        return transfer_error(
            attempt, why=why, status_code=status_code, progress=progress
        )
    return ServerError(
        _what(attempt, status_code),
        why=why,
        next_step=_next_step(attempt, status_code, text),
        status_code=status_code,
    )


def transfer_error(
    attempt: Attempt, *, why: str, status_code: int = 200, progress: str = ""
) -> ModelTransferError:
    """Return the error for a pull, push or creation that did not succeed.

    Parameters
    ----------
    progress
        How far it came, as in ``12.4 of 42.5 GB``; empty when nothing moved.
    """
    noun = _TRANSFERS[attempt.action]
    came = f" stopped at {progress}." if progress else " did not succeed."
    next_step = _first_match(TRANSFER_STEPS[attempt.action], why)
    return ModelTransferError(
        f"{noun} of {_shown(attempt.model)}{came}",
        why=why,
        next_step=next_step.format(model=quoted(attempt.model, limit=200)),
        status_code=status_code,
    )


def not_ollama(
    attempt: Attempt, status_code: int, text: str, content_type: str
) -> NotOllamaError:
    """Return the error for an answer that no Ollama server gives."""
    text = text[:65536]
    kind = quoted(content_type.partition(";")[0], limit=80) or "no content type"
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    if title:
        kind += f' ("{quoted(title[1], limit=200)}")'
    elif text.strip():
        kind += f": {quoted(text, limit=80)}"
    return NotOllamaError(
        f"What answered at {attempt.base_url} is not an Ollama server.",
        why=f"server ({status_code}): {kind}",
        next_step=ANOTHER_ADDRESS if status_code < 500 else PERHAPS_A_PROXY,
    )


def redirected(attempt: Attempt, location: str) -> NotOllamaError:
    """Return the error for an answer that points elsewhere: it is not followed.

    Following would send the prompt, and perhaps more, to a host nobody chose.
    """
    try:
        target = urlsplit(location)
        # NB: a command that is offered to be pasted holds nothing that is not a host.
        host = parse_host(f"{target.scheme}://{target.netloc.rpartition('@')[2]}")
        place, next_step = host.base_url, _MAKE_ADDRESS.format(url=host.base_url)
    except (ValueError, ConfigError):
        place, next_step = quoted(location, limit=200) or "nowhere", ANOTHER_ADDRESS
    return NotOllamaError(
        f"{attempt.base_url} redirects to {place}, and redirects are not followed.",
        why="the prompt would go to a host that you did not choose",
        next_step=next_step,
    )


def _error_text(body: bytes) -> tuple[str, bool]:
    """Return the server's words, and whether they came as Ollama's JSON."""
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text, False
    if not isinstance(data, dict) or "error" not in data:
        return text, False
    return error_words(data["error"]), True


def error_words(error: object) -> str:
    """Return the text of an ``error`` field, be it text or an object of OpenAI's."""
    if isinstance(error, dict):
        error = error.get("message", error)
    return error if isinstance(error, str) else json.dumps(error)


def _unwrapped(text: str) -> str:
    """Return the message inside of an error that is itself JSON text.

    The server passes the errors of its runner on as they are (recorded for schemas,
    images and over-long prompts).
    """
    if not text.startswith("{"):
        return text
    inner, is_json = _error_text(text.encode("utf-8", "replace"))
    return inner if is_json else text


def _model_not_found(
    attempt: Attempt, text: str, installed: Sequence[str]
) -> ModelNotFoundError:
    # The words differ from endpoint to endpoint; the status and the name tell all.
    near = " or ".join(map(_shown, nearest_names(attempt.model, installed)))
    model = quoted(attempt.model, limit=200)
    if attempt.action in {"delete", "copy", "push"}:
        next_step = f"did you mean {near}? See %ollama list" if near else "%ollama list"
    elif near:
        next_step = f"did you mean {near}? If not: %ollama pull {model}"
    else:
        next_step = f"%ollama pull {model}"
    return ModelNotFoundError(
        f"Model {_shown(attempt.model)} is not on {attempt.base_url}.",
        why=f"server (404): {quoted(_unwrapped(text), limit=_MAX_WORDS)}",
        next_step=next_step,
        status_code=404,
    )


def _lacking(attempt: Attempt, text: str) -> tuple[str, str] | None:
    """Return what and next for a model that cannot do what was asked."""
    for pattern, cannot, drop, capability in LACKING:
        if re.search(pattern, text, re.IGNORECASE):
            what = f"Model {_shown(attempt.model)} cannot {cannot}."
            advice = f'choose a model that lists "{capability}": %ollama list'
            return what, f"{drop}, or {advice}" if drop else advice
    return None


def _what(attempt: Attempt, status_code: int) -> str:
    if status_code == 503:
        return f"The server at {attempt.base_url} is busy."
    if status_code == 200:
        return f"{_shown(attempt.model)} broke off while it answered."
    verb, joint = _VERBS.get(attempt.action, (attempt.action, " "))
    about = joint + _shown(attempt.model) if attempt.model else ""
    refused = "could not" if status_code >= 500 else "refused to"
    return f"The server at {attempt.base_url} {refused} {verb}{about}."


def _next_step(attempt: Attempt, status_code: int, text: str) -> str:
    said = f"{status_code} {text}"
    return _first_match(NEXT_STEPS, said).format(model=quoted(attempt.model, limit=200))


def _first_match(table: Steps, said: str) -> str:
    return next(
        step for pattern, step in table if re.search(pattern, said, re.IGNORECASE)
    )


def _shown(model: str) -> str:
    return f"'{quoted(model, limit=200)}'"


Steps = Sequence[tuple[str, str]]
"""Pattern, and the next step; ``{model}`` in a step is the name that was asked for."""

ANOTHER_ADDRESS = (
    "set the address of an Ollama server: "
    '%config OllamaMagics.host = "http://HOST:PORT"'
)
PERHAPS_A_PROXY = (
    "a proxy may have answered in its place: add the host to NO_PROXY, "
    'or set another address: %config OllamaMagics.host = "http://HOST:PORT"'
)
SERVER_LOG = "see the server's log: https://docs.ollama.com/troubleshooting"

_NAME = "write the name as [NAMESPACE/]NAME[:TAG]: %ollama list"

LACKING: Sequence[tuple[str, str, str, str]] = (
    (
        "does not support thinking",
        "think, and this cell asked for --think",
        "drop --think",
        "thinking",
    ),
    (
        "does not support tools",
        "call tools, and this request named some",
        "leave out the tools",
        "tools",
    ),
    (
        "does not support multimodal|does not support (image|vision)|"
        "(image|vision) (input )?(is|are) not supported|missing data required for image"
        "|image input is not supported",
        "see images, and this request held one",
        "leave out the image",
        "vision",
    ),
    ("does not support embedding", "embed text", "", "embedding"),
    ("does not support insert", "fill in the middle", "leave out suffix", "insert"),
    ("does not support chat", "chat", "", "completion"),
    ("does not support (generate|completion)", "write text", "", "completion"),
)
"""Pattern; what the model cannot do; what to leave out; the capability it lacks."""

NEXT_STEPS: Steps = (
    ("ollama cloud is disabled", "choose a model of this server: %ollama list"),
    (
        r"^403 \s*$",
        "the server takes no requests for this host name: set OLLAMA_HOST to "
        "localhost or an IP address",
    ),
    (
        "^40[13] ",
        "set OLLAMA_API_KEY to a token that this server takes "
        "(for a cloud model: ollama signin)",
    ),
    ("to an HTTPS (server|port)", "write the address with https://"),
    ("^404 model ", _NAME),
    ("^404 ", f"update Ollama there, or {ANOTHER_ADDRESS}"),
    ("^405 ", ANOTHER_ADDRESS),
    ("server busy|^503 ", "wait until it has answered others, then run this again"),
    (
        "option .* must be of type",
        "correct the option (-o KEY VALUE), or the model's own: "
        "%ollama show {model} --parameters",
    ),
    (
        "exceeds the (available )?context|exceeds maximum|longer than the context",
        "send less (--last N, --new), or ask for more room: -o num_ctx N",
    ),
    ("invalid duration", "write --keep-alive as 10m, as seconds, as 0 or as -1"),
    ("invalid think value", "write --think, or --think=low, medium, high or max"),
    ("schema|invalid format", "correct the JSON Schema, or leave it out"),
    ("base64", "send the image as its file or as plain base64"),
    ("invalid model name|name .* is invalid|model is required", _NAME),
    (
        "more system memory|out of memory|unable to load model|failed to load|"
        "runner process has terminated",
        "free memory (%ollama ps, %ollama stop MODEL), or choose a smaller model",
    ),
    (
        "while running the model|^200 ",
        "run this again; the server starts the model anew",
    ),
    ("^4", "correct what it names in the request"),
    ("", f"run this again; if it repeats, {SERVER_LOG}"),
)
"""For a status, a blank and the server's words; 200 means inside of a stream."""

_NETWORK = (
    "no such host|connection refused|timeout|timed out|retries exceeded|"
    "unreachable|reset|connection closed"
)


def _plain_http(verb: str) -> tuple[str, str]:
    return (
        "HTTP response to HTTPS client",
        "that registry has no encryption; if you trust the way to it: "
        f'OllamaClient().{verb}("{{model}}", insecure=True)',
    )


TRANSFER_STEPS: Mapping[str, Steps] = {
    "pull": (
        (
            "no space left",
            "free space where the server runs (%ollama rm MODEL), then pull again; "
            "it resumes",
        ),
        (
            "file does not exist|not found",
            "check the name; models are listed at https://ollama.com/search",
        ),
        ("newer version", "update Ollama where the server runs, then pull again"),
        _plain_http("pull"),
        ("invalid model name", _NAME),
        (
            _NETWORK,
            "check that the server's machine reaches the registry, then: "
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
            "sign in where the server runs (ollama signin), and push to your own "
            "namespace: %ollama cp {model} YOU/NAME",
        ),
        ("", "%ollama push {model}   sends what is missing"),
    ),
    "create": (
        ("no space left", "free space where the server runs: %ollama rm MODEL"),
        (
            "pull model manifest",
            "check the name of the model to start from: %ollama list",
        ),
        ("invalid model name", _NAME),
        ("template error", "correct the template"),
        ("unsupported quantization", "choose one of the types that it names"),
        ("", "correct what it names, then create it again"),
    ),
}
"""By endpoint, for the words alone."""
