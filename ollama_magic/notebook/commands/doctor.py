"""``%ollama doctor``: what works, what does not, and what to type then.

A page to read and to paste into an issue, so it holds no secret: of keys only whether
they are there, of addresses never user or password. Each check stands alone: one that
fails is a line of the page.
"""

from __future__ import annotations

import os
import platform
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ollama_magic import __version__
from ollama_magic.client.actions import disk_bytes
from ollama_magic.client.background import run_in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import without_secret
from ollama_magic.client.models import LoadedModel, ModelSummary, find_model
from ollama_magic.client.progress import size_text
from ollama_magic.errors import OllamaMagicError, ServerUnreachableError, quoted
from ollama_magic.generation.models import ServerModels, answering_model_text, look_up
from ollama_magic.generation.session import Session
from ollama_magic.notebook.commands.chats import store_text
from ollama_magic.render.model_listing import processor
from ollama_magic.render.tables import TextPage
from ollama_magic.render.text import counted

T = TypeVar("T")

_PATIENCE_S = 5.0
"""How long a server may take for each answer before it counts as silent."""

_NEEDED = ("ipython", "ipywidgets", "requests", "markdown", "nh3", "pymdown-extensions")
_OPTIONAL = "jupyterlab notebook pandas numpy pillow matplotlib pydantic xllamacpp pip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the page."""

    topic: str
    text: str
    mark: Literal["ok", "note", "problem"] = "ok"
    next_step: str = ""


def doctor_report(session: Session) -> TextPage:
    """Return the page; a server that is slow is not waited for long.

    Raises
    ------
    KeyboardInterrupt
        The user interrupted.
    """
    findings = [finding for check in _CHECKS for finding in _findings(check, session)]
    problems = sum(finding.mark == "problem" for finding in findings)
    end = counted(problems, "problem")
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    lines = [f"ollama_magic doctor, {now}", ""]
    for one in findings:
        text = " ".join(one.text.split())  # else a server could write lines of its own
        lines.append(f"{one.mark:8} {one.topic:11} {text}")
        if one.next_step:
            lines.append(f"{'':20} next: {one.next_step}")
    return TextPage("\n".join([*lines, "", end if problems else "no problem found"]))


def _findings(
    check: Callable[[Session], Iterator[Finding]], session: Session
) -> list[Finding]:
    found = []
    try:
        for finding in check(session):
            found.append(finding)
    except OllamaMagicError as error:
        text = f"{error.what} {error.why}".strip()
        topic = check.__name__.strip("_").replace("_", " ")
        found.append(Finding(topic, quoted(text), "problem", error.next_step))
    except Exception as error:  # noqa: BLE001  (the page is for when things are broken)
        topic = check.__name__.strip("_").replace("_", " ")
        text = f"could not be looked at: {type(error).__name__}: {error}"
        found.append(Finding(topic, quoted(text), "problem"))
    return found


# -- this machine --------------------------------------------------------------


def _versions(_: Session) -> Iterator[Finding]:
    names = ", ".join(f"{name} {_version(name)}" for name in _NEEDED)
    yield Finding("versions", f"ollama_magic {__version__}, {names}")
    system = f"Python {platform.python_version()}, {platform.platform()}"
    yield Finding("system", system)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _optional(_: Session) -> Iterator[Finding]:
    found = {name: _version(name) for name in _OPTIONAL.split()}
    there = [f"{name} {v}" for name, v in found.items() if v != "missing"]
    missing = [name for name, v in found.items() if v == "missing"]
    yield Finding("optional", ", ".join(there) or "none")
    if missing:
        yield Finding("optional", f"not installed: {', '.join(missing)}", "note")


# -- the server ----------------------------------------------------------------


def _address(session: Session) -> Iterator[Finding]:
    setting, environment = session.settings.host, os.environ.get("OLLAMA_HOST", "")
    told = "nothing set, so the default"
    if setting:
        told = f"OllamaMagics.host = {without_secret(setting)!r}"
    elif environment:
        told = f"OLLAMA_HOST={without_secret(environment)!r}"
    yield Finding("address", f"{told}, read as {session.configured_url}")
    if session.server is not None:
        how = f"%ollama serve made sure of {session.server.base_url}"
        yield Finding("address", f"{how} ({session.server.kind})")
    if model := os.environ.get("OLLAMA_MODEL"):
        yield Finding("address", f"OLLAMA_MODEL={model!r}")


def _server(session: Session) -> Iterator[Finding]:
    client, began = session.client(), time.monotonic()
    told = _soon(client, client.version)
    took = 1000 * (time.monotonic() - began)
    kind = "the embedded engine" if "embedded" in told else "Ollama"
    yield Finding("server", f"{kind} {told} answers in {took:.0f} ms")
    installed = _soon(client, client.list)
    if installed:
        size = size_text(disk_bytes(installed))
        cloud = sum(bool(model.cloud_host) for model in installed)
        of_cloud = f", {cloud} of them cloud" if cloud else ""
        yield Finding("models", f"{len(installed)} installed, {size}{of_cloud}")
    else:
        yield Finding("models", "none", "problem", "%ollama pull smollm2:135m")
    for model in _soon(client, client.ps):
        yield Finding("loaded", _loaded_text(model, installed))


def _model(session: Session) -> Iterator[Finding]:
    client = session.client()

    def look_up_models(must_list: bool) -> ServerModels:
        return _soon(client, lambda: look_up(client, must_list=must_list))

    yield Finding("model", answering_model_text(session, look_up_models))


def _loaded_text(model: LoadedModel, installed: list[ModelSummary]) -> str:
    summary = find_model(model.name, installed)
    trained = summary.context_length if summary else 0
    most = f" of {trained:,} that it was trained for" if trained else ""
    size = size_text(model.size_bytes)
    context = f"context {model.context_length:,}{most}"
    return f"{model.name}, {size}, {processor(model)}, {context}"


def _soon(client: OllamaClient, ask: Callable[[], T]) -> T:
    deadline = time.monotonic() + _PATIENCE_S

    def check() -> None:
        if time.monotonic() > deadline:
            raise ServerUnreachableError(
                f"{client.host.base_url} takes longer than {_PATIENCE_S:.0f} s.",
                next_step="look at that machine's load, or %ollama serve --embedded",
            )

    return run_in_background(ask, on_tick=check)


def _proxies(session: Session) -> Iterator[Finding]:
    host = session.client().host
    # NB: they are read as requests reads them; for loopback it is told not to.
    proxy = getproxies().get(urlsplit(host.base_url).scheme) or getproxies().get("all")
    if not proxy:
        yield Finding("proxy", "none is set")
    elif host.is_loopback:
        yield Finding("proxy", "is set, and not used for this machine")
    elif proxy_bypass(urlsplit(host.base_url).hostname or ""):
        yield Finding("proxy", f"is set, and NO_PROXY leaves out {host.name}")
    else:
        text = f"{without_secret(proxy)} is between here and {host.name}"
        step = f"if it does not answer for Ollama: add {host.name} to NO_PROXY"
        yield Finding("proxy", text, "note", step)


def _key(session: Session) -> Iterator[Finding]:
    is_set = bool(os.environ.get("OLLAMA_API_KEY"))
    yield Finding("API key", "OLLAMA_API_KEY is set" if is_set else "none is set")
    withheld = session.tell_of_key(session.client())
    if withheld is not None:
        text = f"{withheld.what} {withheld.why}"
        yield Finding("API key", text, "note", withheld.next_step)
    if not session.client().host.is_loopback:
        text = "prompts leave this machine"
        yield Finding("privacy", f"{text}, to {session.client().host.name}", "note")


# -- the notebook --------------------------------------------------------------


def _chat(session: Session) -> Iterator[Finding]:
    notebook, told = session.notebook, os.environ.get("JPY_SESSION_NAME")
    if notebook.path:
        yield Finding("notebook", notebook.path)
    else:
        reason = f"JPY_SESSION_NAME={told!r}" if told else "the front end says nothing"
        step = '%config OllamaMagics.notebook = "/path/of/this.ipynb"'
        text = f"unknown ({reason}): the chat lasts as long as this kernel"
        yield Finding("notebook", text, "note", step)
    turns = len([turn for turn in session.chat().turns if not turn.is_mark])
    yield Finding("chat", f"{session.chat_name}, {turns} turns")
    path = session.store.path
    if path is None:
        step = '%config OllamaMagics.history_file = "/a/file/that/can/be/written"'
        text = "in memory only: it ends with the kernel"
        yield Finding("store", text, "problem", step)
        return
    yield Finding("store", store_text(session))
    if path.exists() and os.name == "posix":
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            text = f"others on this machine can read it (mode {mode:o})"
            yield Finding("store", text, "problem", f"!chmod 600 '{path}'")


def _front_end(session: Session) -> Iterator[Finding]:
    kernel = getattr(session.shell, "kernel", None)
    if kernel is None:
        yield Finding("front end", "a terminal: text as it comes, no widgets")
        return
    yield Finding("front end", f"a kernel of {type(kernel).__module__}")
    is_told = session.cells.is_identified
    ids = "tells which cell runs" if is_told else "tells no cell ids"
    mark: Literal["ok", "note"] = "ok" if is_told else "note"
    consequence = "" if is_told else ": a re-run adds a turn"
    if session.notebook.path and not is_told:
        consequence += ", unless the saved notebook has the cell"
    yield Finding("front end", f"{ids}{consequence}", mark)
    can_ask = session.cells.is_interactive
    asks = "questions can be answered" if can_ask else "nobody can answer questions"
    yield Finding("front end", asks, "ok" if can_ask else "note")


_CHECKS: tuple[Callable[[Session], Iterator[Finding]], ...] = (
    _versions,
    _address,
    _server,
    _model,
    _proxies,
    _key,
    _chat,
    _front_end,
    _optional,
)
