"""What a refusal of the server means: status and words -> error class, next step.

Knows no HTTP library and asks nothing: whoever has a list of the installed models
passes their names in. The server's wordings are a table of their own,
:mod:`ollama_magic.client.server_words`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ollama_magic.client.host import parse_host
from ollama_magic.client.model_names import canonical
from ollama_magic.client.server_words import (
    ANOTHER_ADDRESS,
    LACKING,
    NEXT_STEPS,
    PERHAPS_A_PROXY,
    TRANSFER_STEPS,
    Steps,
)
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


def nearest_names(model: str, installed: Sequence[str], *, limit: int = 3) -> list[str]:
    """Return the installed names most like ``model``, the likeliest first.

    Examples
    --------
    >>> nearest_names("llama3.2:3bb", ["qwen3:4b", "llama3.2:3b"])
    ['llama3.2:3b']
    >>> nearest_names("smollm2", ["smollm2:135m", "pirate:latest"])
    ['smollm2:135m']
    """
    # ":latest" is in so many names that it would make all of them alike.
    by_spelling = {canonical(n).removesuffix(":latest"): n for n in installed}
    wanted = canonical(model).removesuffix(":latest")
    alike = difflib.get_close_matches(wanted, by_spelling, n=limit, cutoff=0.7)
    same_base = [n for n in by_spelling if _base(n) == _base(wanted)]
    same_base.sort(key=lambda name: _likeness(wanted, name), reverse=True)
    return [by_spelling[n] for n in dict.fromkeys([*same_base, *alike])][:limit]


def _base(name: str) -> str:
    return canonical(name).rpartition(":")[0]


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()


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
