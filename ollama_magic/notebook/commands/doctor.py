"""``%ollama doctor``: checks the setup and suggests fixes.

The report is pasted into bug reports, so it contains no secrets: it says whether a key
is set, and shows addresses without user or password. A check that fails with an error
is a line of the report.
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
from ollama_magic.errors import (
    OllamaMagicError,
    ServerError,
    ServerUnreachableError,
    quoted,
    size_text,
)
from ollama_magic.generation.models import ServerModels, look_up
from ollama_magic.generation.session import Session
from ollama_magic.notebook.commands.chats import store_text
from ollama_magic.notebook.commands.panel import answering_model_text
from ollama_magic.notebook.compat import is_terminal
from ollama_magic.render.aligned import facts_text
from ollama_magic.render.listings import processor
from ollama_magic.render.safe_html import details_html
from ollama_magic.render.tables import TextPage, lines_html, strong_html, table_html
from ollama_magic.render.text import counted

T = TypeVar("T")

_PATIENCE_S = 5.0
"""How long a server may take for each response before it counts as silent."""

_NEEDED = ("ipython", "ipywidgets", "requests", "markdown", "nh3")
_OPTIONAL = "jupyterlab notebook pandas numpy pillow matplotlib pydantic xllamacpp pip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    text: str
    mark: Literal["ok", "note", "problem"] = "ok"
    next_step: str = ""


def doctor_report(session: Session) -> TextPage:
    """Return the report, problems first; it does not wait long for a slow server.

    Raises
    ------
    KeyboardInterrupt
        The user interrupted.
    """
    found = [finding for check in _CHECKS for finding in _findings(check, session)]
    marks = list(_MARKS)
    found.sort(key=lambda one: marks.index(one.mark))  # otherwise in their order
    problems, notes, passed = (
        [one for one in found if one.mark == mark] for mark in marks
    )
    verdict = counted(len(problems), "problem") if problems else "No problems found"
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    about = f"ollama_magic doctor, {now}"
    facts = [(f"{one.mark:8} {one.topic}", _text(one)) for one in found]
    text = "\n".join([verdict, about, "", facts_text(facts)])
    first = table_html((), [_cells(one) for one in (*problems, *notes)])
    checks = table_html((), [_cells(one)[1:] for one in passed])
    page = "".join(
        [
            strong_html(verdict),
            first if problems or notes else "",
            details_html(f"{counted(len(passed), 'check')} passed", checks),
            lines_html(about),
        ]
    )
    return TextPage(text, page=page)


_MARKS = ("problem", "note", "ok")
"""In the order of the report."""


def _text(finding: Finding) -> str:
    text = " ".join(finding.text.split())  # a server's text must not add lines
    return f"{text}\nnext: {finding.next_step}" if finding.next_step else text


def _cells(finding: Finding) -> tuple[str, str, str]:
    return finding.mark, finding.topic, _text(finding)


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
    except Exception as error:  # noqa: BLE001  (the report must show what is broken)
        topic = check.__name__.strip("_").replace("_", " ")
        text = f"check failed: {type(error).__name__}: {error}"
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
    installed = [f"{name} {v}" for name, v in found.items() if v != "missing"]
    missing = [name for name, v in found.items() if v == "missing"]
    yield Finding("optional", ", ".join(installed) or "none")
    if missing:
        yield Finding("optional", f"not installed: {', '.join(missing)}", "note")


# -- the server ----------------------------------------------------------------


def _address(session: Session) -> Iterator[Finding]:
    setting, environment = session.settings.host, os.environ.get("OLLAMA_HOST", "")
    source = "default"
    if setting:
        source = f"OllamaMagics.host = {without_secret(setting)!r}"
    elif environment:
        source = f"OLLAMA_HOST={without_secret(environment)!r}"
    yield Finding("address", f"{source}, which means {session.configured_url}")
    if session.server is not None:
        text = f"{session.server.base_url}, found by %ollama serve"
        yield Finding("address", f"{text} ({session.server.kind})")
    if model := os.environ.get("OLLAMA_MODEL"):
        yield Finding("address", f"OLLAMA_MODEL={model!r}")


def _server(session: Session) -> Iterator[Finding]:
    client, began = session.client(), time.monotonic()
    try:
        server_version = _within_patience(client, client.version)
    except ServerError as error:  # a proxy may hide it
        yield Finding("server", f"version unknown: {error.why}", "note")
    else:
        took = 1000 * (time.monotonic() - began)
        kind = "embedded engine" if "embedded" in server_version else "Ollama"
        yield Finding("server", f"{kind} {server_version}, responds in {took:.0f} ms")
    installed = _within_patience(client, client.list)
    if installed:
        size = size_text(disk_bytes(installed))
        cloud = sum(bool(model.cloud_host) for model in installed)
        clouds = f", including {counted(cloud, 'cloud model')}" if cloud else ""
        yield Finding("models", f"{len(installed)} installed, {size}{clouds}")
    else:
        yield Finding(
            "models", "none installed", "problem", "%ollama pull smollm2:135m"
        )
    for model in _within_patience(client, client.ps):
        yield Finding("loaded", _loaded_text(model, installed))


def _model(session: Session) -> Iterator[Finding]:
    client = session.client()

    def look_up_models(must_list: bool) -> ServerModels:
        return _within_patience(client, lambda: look_up(client, must_list=must_list))

    text = answering_model_text(session, look_up_models)
    yield Finding("model", text, "note" if text.startswith("none selected") else "ok")


def _loaded_text(model: LoadedModel, installed: list[ModelSummary]) -> str:
    summary = find_model(model.name, installed)
    trained = summary.context_length if summary else 0
    most = f" (trained for {trained:,})" if trained else ""
    size = size_text(model.size_bytes)
    context = f"context {model.context_length:,}{most}"
    return f"{model.name}, {size}, {processor(model)}, {context}"


def _within_patience(client: OllamaClient, ask: Callable[[], T]) -> T:
    deadline = time.monotonic() + _PATIENCE_S

    def check() -> None:
        if time.monotonic() > deadline:
            raise ServerUnreachableError(
                f"{client.host.base_url} did not respond within {_PATIENCE_S:g} s.",
                next_step="check its load, or use %ollama serve --embedded",
            )

    return run_in_background(ask, on_tick=check)


def _proxies(session: Session) -> Iterator[Finding]:
    host = session.client().host
    # NB: requests reads them in the same way; for loopback the client ignores them.
    proxy = getproxies().get(urlsplit(host.base_url).scheme) or getproxies().get("all")
    if not proxy:
        yield Finding("proxy", "not set")
    elif host.is_loopback:
        yield Finding("proxy", "set, but not used for this machine")
    elif proxy_bypass(urlsplit(host.base_url).hostname or ""):
        yield Finding("proxy", f"set, but NO_PROXY excludes {host.name}")
    else:
        text = f"requests to {host.name} go through {without_secret(proxy)}"
        step = f"if the proxy blocks Ollama, add {host.name} to NO_PROXY"
        yield Finding("proxy", text, "note", step)


def _key(session: Session) -> Iterator[Finding]:
    is_set = bool(os.environ.get("OLLAMA_API_KEY"))
    yield Finding("API key", "OLLAMA_API_KEY is set" if is_set else "not set")
    if names := session.client().header_names:
        yield Finding("headers", f"{', '.join(names)} (values not shown)")
    withheld = session.take_key_warning(session.client())
    if withheld is not None:
        text = f"{withheld.what} {withheld.why}"
        yield Finding("API key", text, "note", withheld.next_step)
    if not session.client().host.is_loopback:
        text = f"prompts are sent to {session.client().host.name}"
        yield Finding("privacy", text, "note")


# -- the notebook --------------------------------------------------------------


def _chat(session: Session) -> Iterator[Finding]:
    notebook, name = session.notebook, os.environ.get("JPY_SESSION_NAME")
    if notebook.path:
        yield Finding("notebook", notebook.path)
    else:
        reason = f"JPY_SESSION_NAME={name!r}" if name else "not set by the front end"
        step = '%config OllamaMagics.notebook = "/path/of/this.ipynb"'
        text = f"unknown ({reason}): the chat ends with this kernel"
        yield Finding("notebook", text, "note", step)
    turns = counted(len(session.chat().numbered), "turn")
    yield Finding("chat", f"{session.chat_name}, {turns}")
    path = session.store.path
    if path is None:
        step = '%config OllamaMagics.history_file = "/path/to/a/writable/file"'
        text = "in memory only; the chats end with the kernel"
        yield Finding("store", text, "problem", step)
        return
    yield Finding("store", store_text(session))
    if path.exists() and os.name == "posix":
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            text = f"readable by other users of this machine (mode {mode:o})"
            yield Finding("store", text, "problem", f"!chmod 600 '{path}'")


def _front_end(session: Session) -> Iterator[Finding]:
    if is_terminal(session.shell):
        yield Finding("front end", "terminal: plain text, no widgets")
        return
    kernel = type(session.shell.kernel).__module__
    yield Finding("front end", f"kernel: {kernel}")
    if session.cells.is_identified:
        yield Finding("front end", "identifies the running cell")
    else:
        text = "sends no cell ids: re-running a cell adds a turn"
        if session.notebook.path:
            text += ", unless the cell is in the saved notebook"
        yield Finding("front end", text, "note")
    if session.cells.is_interactive:
        yield Finding("front end", "can ask you questions")
    else:
        yield Finding("front end", "not interactive: cannot ask you questions", "note")


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
