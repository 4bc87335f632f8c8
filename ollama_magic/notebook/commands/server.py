"""``%ollama serve``, ``doctor``, ``config``, ``version``, ``help``, and the status."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, cast

from ollama_magic import __version__
from ollama_magic.client.background import PATIENCE_S, ask_in_time, run_in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import without_secret
from ollama_magic.client.models import find_model
from ollama_magic.errors import (
    EngineError,
    OllamaMagicError,
    ServerUnreachableError,
    quoted,
)
from ollama_magic.generation.context import check_context
from ollama_magic.generation.models import ServerModels, chosen_model, look_up
from ollama_magic.generation.options import switch
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import Settings
from ollama_magic.history.turns import Chat
from ollama_magic.notebook.commands.chats import store_text
from ollama_magic.notebook.commands.declare import Commands, Context, ParsedCommand
from ollama_magic.notebook.commands.doctor import doctor_report
from ollama_magic.notebook.commands.models import pull_model
from ollama_magic.notebook.commands.panel import answering_model_text
from ollama_magic.render.tables import Columns, Listing, TextPage, facts_page
from ollama_magic.render.text import counted
from ollama_magic.server import launch

COMMANDS = Commands()

ENVIRONMENT = {
    "OLLAMA_HOST": "Server address, if the setting host is empty",
    "OLLAMA_MODEL": "Default model, if nothing else names one",
    "OLLAMA_API_KEY": "Key of the configured host, or of ollama.com; never shown",
}
_HOW_TO_SET = (
    'Change a setting: %config OllamaMagics.model = "llama3.2"\n'
    'Permanently: c.OllamaMagics.model = "llama3.2" in ipython_config.py'
)
_PATIENCE_S = 1.25 * PATIENCE_S
"""Longer than that of the lists, so that one of them may be missing."""
_SLOW = f"did not respond within {_PATIENCE_S:g} s"
_EMBEDDED_MODEL = "smollm2:135m"


# -- serve ---------------------------------------------------------------------


@COMMANDS.add(
    "serve", options=(switch("stop", "--stop"), switch("embedded", "--embedded"))
)
def serve(context: Context, line: ParsedCommand) -> str | None:
    """Find or start a server, or stop the one that was started."""
    session, progress = context.session, context.progress_line()
    if "stop" in line.values:
        session.server = None
        return "Server stopped." if launch.stop() else "No server to stop."
    try:
        server = launch.serve(
            session.configured_client(),
            embedded="embedded" in line.values,
            on_status=progress.show,
        )
    except EngineError as error:
        if not session.settings.cached:
            raise
        progress.finish(replay_text(error))
        return None
    session.server = server
    if server.kind == "embedded" and not session.client().list():
        pull_model(session.client(), _EMBEDDED_MODEL, progress)
    progress.finish(_server_text(server))
    return None


def _server_text(server: launch.RunningServer) -> str:
    where = f"at {server.base_url} (version {server.version})"
    if server.kind == "found":
        return f"Ollama is running {where}"
    what = "the embedded engine" if server.kind == "embedded" else "Ollama"
    return f"Started {what} {where}; it stops with this kernel"


def replay_text(error: OllamaMagicError) -> str:
    """Return what a notebook of cached replies says without a server."""
    return f"no server ({error.why or error.what}); cached replies are shown"


# -- status --------------------------------------------------------------------


def status(context: Context) -> TextPage:
    """Return what ``%ollama`` alone shows; it works without a server too."""
    session, client = context.session, context.session.client()
    chat = session.chat()
    must_list = chosen_model(session, chat) is None
    ask = partial(look_up, client, must_list=must_list)
    version, models = _asked(client.version, ask)

    def look_up_models(_: bool) -> ServerModels:
        if isinstance(models, TimeoutError):
            raise ServerUnreachableError(f"the server {_SLOW}")
        if isinstance(models, Exception):
            raise models
        return cast("ServerModels", models)

    last = next((t.model for t in reversed(chat.turns) if not t.is_mark), "")
    loaded = find_model(last, getattr(models, "loaded", ()))
    length = loaded.context_length if loaded else 0
    usage = describe_use(chat, length)
    notebook = session.notebook.path or "unknown: the chat ends with the kernel"
    facts = [
        ("Package", f"ollama_magic {__version__}"),
        ("Server", client.host.base_url),
        ("Version", _version_text(version)),
        *_key_facts(session, client),
        ("Model", answering_model_text(session, look_up_models)),
        ("Chat", f"{session.chat_name}, {counted(len(chat.numbered), 'turn')}"),
        ("Context", usage),
        ("Notebook", notebook),
        ("Store", store_text(session)),
        ("Try", "%%ollama, and a prompt on the lines below it\n%ollama help"),
    ]
    return facts_page(facts)


def _asked(*calls: Callable[[], Any]) -> list[Any]:
    return run_in_background(partial(ask_in_time, *calls, patience_s=_PATIENCE_S))


def _version_text(found: Any) -> str:  # noqa: ANN401  (text, or an error)
    if isinstance(found, str):
        # NB: a server's text must not add lines, such as an advice.
        return quoted(found, limit=80)
    if isinstance(found, TimeoutError):
        return f"{_SLOW}; %ollama doctor checks it"
    # The status must be shown without a server too.
    is_there = not isinstance(found, ServerUnreachableError)
    state = "version unknown" if is_there else "not reachable"
    return f"{state} ({found.why or found.what}); {found.next_step}"


def _key_facts(session: Session, client: OllamaClient) -> list[tuple[str, str]]:
    error = session.take_key_warning(client)
    if error is None:
        return []
    return [("API key", f"not sent: {error.why}\n{error.next_step}")]


# -- doctor, config, version, help ---------------------------------------------


@COMMANDS.add("doctor")
def doctor(context: Context, _: ParsedCommand) -> TextPage:
    """Return the report."""
    return doctor_report(context.session)


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting or environment variable."""

    name: str
    value: str
    is_set: bool
    """Whether it differs from its default."""
    meaning: str


_SETTING_COLUMNS: Columns[SettingRow] = {
    "Setting": lambda row: row.name,
    "Value": lambda row: row.value,
    "": lambda row: "set" if row.is_set else "",
    "Meaning": lambda row: row.meaning,
}


@COMMANDS.add("config")
def config(context: Context, _: ParsedCommand) -> Listing[SettingRow]:
    """Return the settings of the magics and the environment variables."""
    settings, defaults = context.session.settings, Settings()
    rows = []
    for one in sorted(fields(Settings), key=lambda one: one.name):
        value = getattr(settings, one.name)
        shown = without_secret(value) if one.name == "host" else repr(value)
        is_set = value != getattr(defaults, one.name)
        rows.append(SettingRow(one.name, shown, is_set, one.metadata["help"]))
    for name, meaning in ENVIRONMENT.items():
        value = os.environ.get(name, "")
        is_hidden = value and name.endswith("KEY")
        shown = "(not shown)" if is_hidden else without_secret(value)
        rows.append(SettingRow(name, shown, bool(value), meaning))
    return Listing(rows, _SETTING_COLUMNS, "", note=_HOW_TO_SET)


@COMMANDS.add("version")
def version(context: Context, _: ParsedCommand) -> str:
    """Return both versions."""
    (found,) = _asked(context.session.client().version)
    return f"ollama_magic {__version__}\nserver {_version_text(found)}"


@COMMANDS.add("help", operands="[WORD]", aliases=("-h", "--help"), completes="command")
def show_help(_: Context, line: ParsedCommand) -> TextPage:
    """Return the help."""
    from ollama_magic.notebook.cli.help import help_page  # it lists these subcommands

    return help_page(*line.arguments)


def describe_use(chat: Chat, length: int) -> str:
    """Return how much context a chat uses, as text; empty before its first turn.

    Parameters
    ----------
    length
        The context length that its model is loaded with; 0 if unknown.
    """
    turns = chat.sent()
    if not turns:
        return ""
    stats = turns[-1].stats
    used = stats.prompt_eval_count + stats.eval_count
    of = f" of {length:,}" if length else ""
    share = f" ({used / length:.0%})" if length else ""
    at_last = f"{used:,}{of} tokens{share} at the last turn; " if used else ""
    system = [{"content": text}] if (text := chat.system()) else []
    now = check_context(turns, system, options={}, length=length, counted=turns[-1])
    return f"{at_last}the chat now: {now.size_text} (estimate)"
