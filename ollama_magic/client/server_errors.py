"""Turns a server's error response into an error: class, cause and next step.

Streams and the client call it; the sentences are in :mod:`ollama_magic.client.advice`.
Ollama sends its errors as JSON. A response with another body, such as a web page, is
taken as that of a proxy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ollama_magic.client import advice
from ollama_magic.client.host import parse_host
from ollama_magic.client.models import (
    canonical,
    capability_error,
    is_cloud_name,
    missing_capability,
    nearest_names,
)
from ollama_magic.errors import (
    ConfigError,
    ContextExceededError,
    ModelNotFoundError,
    ModelTransferError,
    NotOllamaError,
    ServerError,
    duration_text,
    quoted,
    size_text,
)

_TRANSFERS = {"pull": "Pull", "push": "Push", "create": "Creation"}
_VERBS = {
    "chat": ("answer", " with "),
    "generate": ("answer", " with "),
    "embed": ("embed", " with "),
    "tags": ("list its models", ""),
    "ps": ("list the loaded models", ""),
    "version": ("return its version", ""),
    "blobs": ("accept a file", ""),
    "me": ("name its account", ""),
    "signout": ("sign out", ""),
    "status": ("say whether it uses the cloud", ""),
    "experimental/model-recommendations": ("recommend models", ""),
    "experimental/web_search": ("search the web", ""),
    "experimental/web_fetch": ("fetch a page", ""),
    "web_search": ("search the web", ""),
    "web_fetch": ("fetch a page", ""),
    "balance": ("return a balance", ""),
    "usage": ("return the usage", ""),
    "systemone": ("decide", " with "),
}
_SIGNIN_URL = re.compile(r"https://ollama\.com/[!#-;=?-~]{1,2000}")
"""Visible ASCII without quotes and angle brackets."""
_LOGIN_PAGE = re.compile(
    r"log[ -]?in\b|sign[ _-]?in|oauth|\bsso\b|saml|/auth", re.IGNORECASE
)
_SEARCHED_CHARS = 20_000
_MAX_WORDS = 300


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request and its response as error messages describe them."""

    base_url: str
    """The server, without user or password."""
    action: str
    """The endpoint's name: ``chat``, ``pull``, ``tags``."""
    model: str = ""
    size_bytes: int = 0
    """Size of its body."""
    sent: str = ""
    """The secret that it carries: ``key``, ``password`` or nothing."""
    has_proxy: bool = False
    """Whether it went through a proxy that the environment sets."""
    withheld_step: str = ""
    """How to allow the key that it does not carry, if it would be unencrypted."""
    wants_password: bool = False
    """Whether the response asks for a user name and a password."""
    retry_after_s: float = 0.0
    """How long the server asks to wait; 0 if it does not."""

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
) -> ServerError:
    """Return the error for a response whose status is not 200.

    Parameters
    ----------
    installed
        Names of the models on the server, to suggest the nearest.
    hide
        Redacts the server's message, which may repeat our secrets.
    """
    text, data = _message(body)
    text = hide(text)
    if data is not None and _is_missing_model(info, status_code, text, installed):
        return _model_not_found(info, status_code, text, installed)
    # Ollama's errors are JSON with `error`, except for an unknown path, a wrong method
    # and a foreign host.
    is_text = data is None and status_code not in {404, 405} and bool(text.strip())
    is_foreign = is_text or (status_code >= 500 and "error" not in (data or {}))
    if data is None:
        text = _described(text, content_type, is_foreign=is_foreign)
    elif not signin_url(data):
        text += hide(_elsewhere(data.get("signin_url")))
    return server_error(
        info,
        text,
        status_code=status_code,
        signin_url=signin_url(data or {}),
        is_foreign=is_foreign,
    )


def server_error(
    info: RequestInfo,
    text: str,
    *,
    status_code: int = 200,
    progress: str = "",
    signin_url: str = "",
    is_foreign: bool = False,
) -> ServerError:
    """Return the error for the server's message.

    Parameters
    ----------
    status_code
        200 if the message arrived inside a stream.
    progress
        How far a transfer got, such as ``12.4 of 42.5 GB``.
    signin_url
        Where the user of the server signs in to ollama.com.
    is_foreign
        Whether a proxy sent it, and not Ollama.
    """
    text = text[:_SEARCHED_CHARS]
    where = "mid-stream" if status_code == 200 else str(status_code)
    words = quoted(_unwrapped(text), limit=_MAX_WORDS)
    why = f"server ({where}): {words or 'no text'}"
    if capability := missing_capability(text):
        return capability_error(
            capability, info.model, why=why, status_code=status_code
        )
    matched = f"{status_code} {'page ' if is_foreign else ''}{text}"
    is_too_long = re.search(advice.TOO_LONG, text, re.IGNORECASE)
    if is_too_long and info.action in advice.TOO_LONG_STEPS and status_code != 413:
        return _too_long(info, text, why, status_code)
    if info.is_transfer:
        error: ServerError = transfer_error(
            info, why=why, status_code=status_code, progress=progress
        )
    else:
        what = _what(info, matched, status_code)
        error = ServerError(what, why=why, status_code=status_code)
    # Ollama passes on what its registry says about a transfer.
    is_registry = info.is_transfer and not is_foreign
    is_login = status_code == 401 and (info.wants_password or not is_registry)
    if signin_url or is_login or (info.withheld_step and status_code in {401, 403}):
        error.next_step = _login_step(info, signin_url)
    elif not is_registry:
        step = _next_step(info, matched, status_code)
        has_proxy = is_foreign and info.has_proxy
        error.next_step = (
            f"{_network_proxy(info)}; otherwise {step}" if has_proxy else step
        )
    error.retry_after_s, error.signin_url = info.retry_after_s, signin_url
    return error


def _excess(tokens: int) -> str:
    return f"{tokens:,} token{'' if tokens == 1 else 's'} too many"


def _too_long(
    info: RequestInfo, text: str, why: str, status_code: int
) -> ContextExceededError:
    noun = "text" if info.action == "embed" else "prompt"
    step = advice.TOO_LONG_STEPS[info.action]
    counts = re.search(advice.TOO_LONG_COUNTS, text)
    tokens, length = map(int, counts.groups()) if counts else (0, 0)
    error = ContextExceededError(
        f"The {noun} is longer than the context of {_shown(info.model)}.",
        why=why,
        next_step=f"{_excess(tokens - length)}; {step}" if counts else step,
        status_code=status_code,
    )
    error.prompt_tokens, error.context_length = tokens, length
    return error


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
        next_step=_first(advice.TRANSFER_STEPS[info.action], why, info),
        status_code=status_code,
    )


def not_ollama(
    info: RequestInfo, status_code: int, text: str, content_type: str
) -> NotOllamaError:
    """Return the error for a successful response that is not Ollama's."""
    described = _described(text, content_type, is_foreign=True) or _kind(content_type)
    is_page = _is_page(text, content_type)
    what = "answered with a web page" if is_page else "is not an Ollama server"
    next_step = _network_proxy(info) if info.has_proxy else advice.ANOTHER_ADDRESS
    if is_page and _LOGIN_PAGE.search(described):
        next_step = _login_step(info, "")
    return NotOllamaError(
        f"The server at {info.base_url} {what}.",
        why=f"server ({status_code}): {described}",
        next_step=next_step,
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
        place = host.base_url
        next_step = advice.REDIRECT_TARGET.format(url=place)
    except (ValueError, ConfigError):
        place = quoted(location, limit=200) or "nowhere"
        next_step = advice.ANOTHER_ADDRESS
    if _LOGIN_PAGE.search(location):
        next_step = _login_step(info, "")
    return NotOllamaError(
        f"{info.base_url} redirects to {place}; redirects are not followed.",
        why="the prompt would go to a host that you did not choose",
        next_step=next_step,
    )


def signin_url(data: Mapping[str, object]) -> str:
    """Return where the user of the server signs in; empty if an error names no place.

    Only addresses of ollama.com count: the user is asked to open it.
    """
    url = data.get("signin_url")
    is_url = isinstance(url, str) and _SIGNIN_URL.fullmatch(url)
    return str(url) if is_url else ""


def _elsewhere(url: object) -> str:
    """Return a warning about an address to sign in that is not at ollama.com."""
    if not isinstance(url, str) or not url:
        return ""
    try:
        host = urlsplit(url).hostname or "no host"
    except ValueError:
        host = "no host"
    # NB: front ends make links of addresses in errors, so the address is not shown.
    return f" (to sign in it names {quoted(host, limit=80)}, which is not ollama.com)"


def error_words(error: object) -> str:
    """Return the text of an ``error`` field: a string, or an object like OpenAI's."""
    if isinstance(error, dict):
        error = error.get("message", error)
    return error if isinstance(error, str) else json.dumps(error)


def _message(body: bytes) -> tuple[str, Mapping[str, object] | None]:
    """Return the server's message, and the JSON object that holds it, if any.

    Ollama calls it ``error``; the frameworks of proxies call it ``detail`` or
    ``message``.
    """
    text = body.decode("utf-8-sig", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text, None
    names = ("error", "detail", "message")
    name = next((n for n in names if isinstance(data, dict) and n in data), None)
    return (text, None) if name is None else (error_words(data[name]), data)


def _is_page(text: str, content_type: str) -> bool:
    return "html" in content_type or text.lstrip().startswith("<")


def _described(text: str, content_type: str, *, is_foreign: bool) -> str:
    """Return the type and title of a body that is not Ollama's; else the text."""
    text = text[:65536]
    is_page = _is_page(text, content_type)
    if not (is_page or (is_foreign and text.strip())):
        return text
    kind = _kind(content_type)
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    if title:
        return f'{kind} ("{quoted(title[1], limit=200)}")'
    return f"{kind}: {quoted(text, limit=80)}" if text.strip() else kind


def _kind(content_type: str) -> str:
    return quoted(content_type.partition(";")[0], limit=80) or "no content type"


def _unwrapped(text: str) -> str:
    """Return the message of an error that is JSON text itself.

    The server passes on its runner's errors unchanged (recorded for schemas, images
    and over-long prompts).
    """
    return _message(text.encode("utf-8", "replace"))[0] if text[:1] == "{" else text


def _is_missing_model(
    info: RequestInfo, status_code: int, words: str, installed: Sequence[str]
) -> bool:
    """Return whether an error means that the server lacks the model.

    Other servers send a 404 for an endpoint that they lack, also as JSON.
    """
    wording = {404: "model", 400: r"model\b.* not found"}.get(status_code)
    is_listed = canonical(info.model) in map(canonical, installed)
    if not info.model or is_listed or wording is None:
        return False
    return re.search(wording, words, re.IGNORECASE) is not None


_PATH = re.compile(r"^[./~\\]|\.gguf$", re.IGNORECASE)
"""A name that is a path: of a folder, or of a model file."""


def _model_not_found(
    info: RequestInfo, status_code: int, text: str, installed: Sequence[str]
) -> ModelNotFoundError:
    # Each endpoint words this differently; the status and the name say enough.
    near = " or ".join(map(_shown, nearest_names(info.model, installed)))
    model = quoted(info.model, limit=200)
    if _PATH.search(info.model):
        next_step = "to use a model file: %ollama create NAME -F FILE.gguf"
    elif info.action in {"delete", "copy", "push"}:
        next_step = f"did you mean {near}? See %ollama list" if near else "%ollama list"
    elif near:
        next_step = f"did you mean {near}? If not: %ollama pull {model}"
    else:
        next_step = f"%ollama pull {model}"
    return ModelNotFoundError(
        f"Model {_shown(info.model)} is not on {info.base_url}.",
        why=f"server ({status_code}): {quoted(_unwrapped(text), limit=_MAX_WORDS)}",
        next_step=next_step,
        status_code=status_code,
    )


def _what(info: RequestInfo, matched: str, status_code: int) -> str:
    if status_code == 200:
        return f"{_shown(info.model)} failed while it was answering."
    verb, joint = _VERBS.get(info.action, (info.action, " "))
    about = joint + _shown(info.model) if info.model else ""
    refused = "could not" if status_code >= 500 else "refused to"
    usual = f"The server at {info.base_url} {refused} {verb}{about}."
    return _first([*advice.WHAT, ("", "")], matched, info) or usual


def _next_step(info: RequestInfo, matched: str, status_code: int) -> str:
    if status_code == 502 and is_cloud_name(info.model):
        return advice.CLOUD_UNREACHABLE
    return _first(advice.NEXT_STEPS, matched, info)


def _login_step(info: RequestInfo, signin_url: str) -> str:
    """Return how to log in; it depends on the secret that was sent, and refused."""
    if signin_url:
        return advice.SIGN_IN
    if info.withheld_step:
        return f"the API key was not sent; {info.withheld_step}"
    if info.sent == "password":
        return f"correct the user name and the password: {_login(info)}"
    if info.wants_password:
        return f"give a user name and a password: {_login(info)}"
    header = '%config OllamaMagics.headers = {"NAME": "VALUE"}'
    verb = "correct" if info.sent else "set"
    return (
        f"{verb} OLLAMA_API_KEY, or send the header that it requires: {header} "
        "(for a cloud model: %ollama signin)"
    )


def _login(info: RequestInfo) -> str:
    scheme, _, address = info.base_url.partition("://")
    return f'%config OllamaMagics.host = "{scheme}://USER:PASSWORD@{address}"'


def _network_proxy(info: RequestInfo) -> str:
    host = urlsplit(info.base_url).hostname or ""
    return advice.NETWORK_PROXY.format(host=host)


def _first(table: advice.Steps, words: str, info: RequestInfo) -> str:
    """Return the first sentence whose pattern occurs in the server's message."""
    sentence = next(
        found for pattern, found in table if re.search(pattern, words, re.IGNORECASE)
    )
    wait_s, since = info.retry_after_s, advice.SINCE.get(info.action)
    return sentence.format(
        model=quoted(info.model, limit=200),
        url=info.base_url,
        path=f"/{'v1' if info.action == 'systemone' else 'api'}/{info.action}",
        since=f" (Ollama {since} and later have it)" if since else "",
        size=size_text(info.size_bytes),
        wait=f" ({duration_text(wait_s)})" if wait_s else "",
    )


def _shown(model: str) -> str:
    return f"'{quoted(model, limit=200)}'"
