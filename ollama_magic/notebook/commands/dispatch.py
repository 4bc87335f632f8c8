"""What ``%ollama SUBCOMMAND`` does: one short method per subcommand.

Each method asks the session or a model command and returns what is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from ollama_magic import __version__
from ollama_magic.client.background import in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.creation import ModelSpec, read_spec
from ollama_magic.client.images import without_images
from ollama_magic.client.types import KeepAlive
from ollama_magic.errors import (
    EngineError,
    OllamaMagicError,
    ServerUnreachableError,
    usage_error,
)
from ollama_magic.generation.comparison import keep
from ollama_magic.generation.confirm import Confirm
from ollama_magic.generation.context import describe_use
from ollama_magic.generation.models import (
    ServerModels,
    answering_model_text,
    cloud_host,
    find_installed,
    look_up,
    sends_text,
)
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.reply import Reply
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import chosen_model
from ollama_magic.generation.source import loaded_length
from ollama_magic.history.records import METADATA_KEY, output_metadata, position_in_chat
from ollama_magic.notebook.cli.command_line import ParsedCommand, parse_command
from ollama_magic.notebook.cli.help import help_text
from ollama_magic.notebook.code_questions import (
    CodeQuestion,
    question_to_explain,
    question_to_fix,
)
from ollama_magic.notebook.commands.chats import (
    delete_chat,
    drop,
    list_chats,
    list_history,
    new_start_text,
    prune,
    rename_chat,
    store_text,
    switch_chat,
    undo,
)
from ollama_magic.notebook.commands.config import settings_listing
from ollama_magic.notebook.commands.doctor import doctor_report
from ollama_magic.notebook.commands.models import (
    copy_model,
    create_model,
    load_model,
    pull_model,
    pull_models,
    push_model,
    remove_models,
    stop_model,
)
from ollama_magic.notebook.failing_cells import FailingCells
from ollama_magic.notebook.past_cells import cells_to_explain, failing_cell
from ollama_magic.render.model_listing import list_models, loaded_models, show_model
from ollama_magic.render.progress import ProgressLine
from ollama_magic.render.tables import TextPage
from ollama_magic.server.launch import RunningServer, serve, stop
from ollama_magic.sharing.files import export_chat, import_chats
from ollama_magic.sharing.restore import restore

if TYPE_CHECKING:
    from ollama_magic.generation.comparison import Comparison
    from ollama_magic.widgets.panel import ModelPanel

_EMBEDDED_MODEL = "smollm2:135m"

_SKIPPED_IN_A_REPLAY = frozenset({"pull", "create", "cp", "load", "stop", "rm"})
"""What makes ready for questions, or cleans up: without a server a notebook whose
answers are shown again goes on."""

_SERVER_KINDS = {
    "found": "answers",
    "ollama": "was started, and ends with this kernel",
    "embedded": "was started, and ends with this kernel: the embedded engine, "
    "a tiny model for trying out",
}


class Front(Protocol):
    """What subcommands need of the front end."""

    @property
    def failing_cells(self) -> FailingCells:
        """The cells that failed."""

    def ask(
        self, args: ChatOptions, text: str, notes: tuple[str, ...] = ()
    ) -> Reply | Comparison | None:
        """Ask a model as a cell does; the footer says the notes."""

    def show_reply(self, reply: Reply) -> None:
        """Show a reply as the cell that asked for it would."""

    def unless_shown(self, reply: Reply | Comparison | None) -> object:
        """Return the reply where the front end would not show it twice."""

    def progress_line(self) -> ProgressLine:
        """Open a line of progress."""

    def panel(self, panel: ModelPanel) -> object:
        """Return the panel, or what stands in where widgets can't be shown."""

    def confirm(self, question: str) -> bool | None:
        """Ask the user; None when there is nobody to ask."""


class Commands:
    """The subcommands of the line magic.

    Parameters
    ----------
    session
        The state that they read and change.
    front
        How they ask the user and show what takes time.
    """

    def __init__(self, session: Session, front: Front) -> None:
        self._session = session
        self._front = front

    def run(self, line: str) -> object:
        """Run one line and return what is to be shown, or None."""
        command = parse_command(line)
        method: Callable[[ParsedCommand], object]
        method = getattr(self, f"_{command.name}")
        try:
            return method(command)
        except ServerUnreachableError as error:
            is_replay = self._session.settings.cached
            if not (is_replay and command.name in _SKIPPED_IN_A_REPLAY):
                raise
            return TextPage(f"nothing was done: {_replay_text(error)}")

    # -- models --------------------------------------------------------------

    def _list(self, command: ParsedCommand) -> object:
        client = self._session.client()
        return in_background(lambda: list_models(client, *command.arguments))

    def _ps(self, _: ParsedCommand) -> object:
        client = self._session.client()
        return in_background(lambda: loaded_models(client))

    def _show(self, command: ParsedCommand) -> object:
        (model,) = command.arguments
        client, part = self._session.client(), next(iter(command.options), "")
        return in_background(lambda: show_model(client, model, part))

    def _pull(self, command: ParsedCommand) -> None:
        client = self._session.client()
        pull_models(client, command.arguments, self._front.progress_line)

    def _push(self, command: ParsedCommand) -> None:
        (model,) = command.arguments
        push_model(self._session.client(), model, self._front.progress_line())

    def _create(self, command: ParsedCommand) -> object:
        (name,) = command.arguments
        client, spec = self._session.client(), _spec(command.values)
        line = self._front.progress_line()
        return create_model(client, name, spec, line, self._confirm(command))

    def _cp(self, command: ParsedCommand) -> object:
        source, destination = command.arguments
        client = self._session.client()
        return copy_model(client, source, destination, self._confirm(command))

    def _rm(self, command: ParsedCommand) -> object:
        client, names = self._session.client(), command.arguments
        return remove_models(client, names, self._confirm(command))

    def _confirm(self, command: ParsedCommand) -> Confirm | None:
        """Return who confirms what can't be undone; None with ``-y``."""
        return None if "yes" in command.options else self._front.confirm

    def _load(self, command: ParsedCommand) -> None:
        (model,) = command.arguments
        keep_alive = cast("KeepAlive | None", command.values.get("keep_alive"))
        line = self._front.progress_line()
        load_model(self._session.client(), model, keep_alive, line)

    def _stop(self, command: ParsedCommand) -> object:
        (model,) = command.arguments
        return stop_model(self._session.client(), model)

    def _use(self, command: ParsedCommand) -> object:
        (model,) = command.arguments
        client = self._session.client()
        cloud = cloud_host(model, None)
        try:
            found = in_background(lambda: find_installed(client, model))
            model, cloud = found.name, found.cloud_host
        except ServerUnreachableError:
            if not self._session.settings.cached:
                raise
        self._session.store.choose_model(self._session.notebook.key, model)
        return TextPage(f"this notebook uses {model}{sends_text(cloud)}")

    def _panel(self, _: ParsedCommand) -> object:
        from ollama_magic.widgets.panel import open_panel  # ipywidgets: at first use

        session = self._session
        key = session.notebook.key
        chosen = chosen_model(session, session.chat())

        def use(model: str) -> None:
            session.store.choose_model(key, model)

        return self._front.panel(
            open_panel(
                session.client(),
                notebook=key,
                default=chosen.name if chosen else "",
                use=use,
            )
        )

    # -- chats ---------------------------------------------------------------

    def _ask(self, command: ParsedCommand) -> object:
        reply = self._front.ask(command.chat_arguments, command.text)
        return self._front.unless_shown(reply)

    def _run(self, command: ParsedCommand) -> object:
        return self._ask(command)

    def _keep(self, command: ParsedCommand) -> object:
        (model,) = command.arguments
        reply = keep(self._session, model)
        self._front.show_reply(reply)
        return self._front.unless_shown(reply)

    def _fix(self, command: ParsedCommand) -> object:
        cell = failing_cell(self._front.failing_cells, command.text)
        return self._ask_about_code(command, question_to_fix(cell))

    def _explain(self, command: ParsedCommand) -> object:
        session = self._session
        running = session.cells.raw_cell
        cells = cells_to_explain(session.shell, command.text, running)
        return self._ask_about_code(command, question_to_explain(cells))

    def _ask_about_code(self, command: ParsedCommand, about: CodeQuestion) -> object:
        args = replace(command.chat_arguments, raw=True)  # braces are of the code
        reply = self._front.ask(args, about.prompt, (about.about,))
        return self._front.unless_shown(reply)

    def _chats(self, _: ParsedCommand) -> object:
        return list_chats(self._session)

    def _chat(self, command: ParsedCommand) -> object:
        (name,) = command.arguments
        new, is_sure = command.values.get("rename"), "yes" in command.options
        if new is not None and "delete" in command.options:
            raise usage_error("A chat is renamed or deleted, not both at once.")
        if new is not None:
            return rename_chat(self._session, name, str(new))
        if "delete" in command.options:
            confirm = self._front.confirm
            return delete_chat(self._session, name, confirm, is_sure=is_sure)
        return switch_chat(self._session, name)

    def _new(self, command: ParsedCommand) -> object:
        session, key = self._session, self._session.notebook.key
        if command.arguments:
            session.store.set_current_chat(key, command.arguments[0])
        mark = session.store.mark_new(key, session.chat_name, session.cells.cell_id)
        session.cells.turn_kept()
        chat = session.chat()
        return TextPage(
            new_start_text(chat, mark),
            {METADATA_KEY: output_metadata(mark, position_in_chat(chat, mark), "")},
        )

    def _history(self, command: ParsedCommand) -> object:
        return list_history(self._session, everything="all" in command.options)

    def _undo(self, _: ParsedCommand) -> object:
        return undo(self._session)

    def _drop(self, command: ParsedCommand) -> object:
        return drop(self._session, *command.arguments)

    def _prune(self, command: ParsedCommand) -> object:
        days = cast("float | None", command.values.get("older_than"))
        is_sure = "yes" in command.options
        return prune(self._session, days, self._front.confirm, is_sure=is_sure)

    def _last(self, command: ParsedCommand) -> object:
        reply = self._session.last_reply
        if reply is None:
            return TextPage("No reply yet in this kernel.")
        if "json" in command.options:
            request = without_images(reply.request)
            whole = {"request": request, "reply": reply.provenance}
            return TextPage(json.dumps(whole, indent=2, ensure_ascii=False))
        return reply

    # -- chats taken along ------------------------------------------------------

    def _export(self, command: ParsedCommand) -> object:
        force = "force" in command.options
        (file,) = command.arguments
        return TextPage(export_chat(self._session, file, force=force))

    def _import(self, command: ParsedCommand) -> object:
        name = command.values.get("chat")
        (file,) = command.arguments
        said = import_chats(
            self._session,
            file,
            name=str(name) if name else None,
            trust="trust" in command.options,
        )
        return TextPage(said)

    def _restore(self, command: ParsedCommand) -> object:
        force, trust = ("force" in command.options, "trust" in command.options)
        return TextPage(restore(self._session, force=force, trust=trust))

    # -- server --------------------------------------------------------------

    def _serve(self, command: ParsedCommand) -> object:
        session, line = self._session, self._front.progress_line()
        if "stop" in command.options:
            session.server = None
            return TextPage("stopped" if stop() else "nothing was running")
        try:
            server = serve(
                session.configured_client(),
                embedded="embedded" in command.options,
                on_status=line.show,
            )
        except EngineError as error:
            if not session.settings.cached:
                raise
            line.finish(_replay_text(error))
            return None
        session.server = server
        if server.kind == "embedded" and not session.client().list():
            pull_model(session.client(), _EMBEDDED_MODEL, line)
        line.finish(_server_text(server))
        return None

    def _status(self, _: ParsedCommand) -> object:
        return TextPage("\n".join(self._state()))

    def _state(self) -> list[str]:
        session, client = self._session, self._session.client()
        turns = [t for t in session.chat().turns if not t.is_mark]

        def look_up_models(must_list: bool) -> ServerModels:
            return in_background(lambda: look_up(client, must_list=must_list))

        last = turns[-1].model if turns else ""
        length = in_background(lambda: loaded_length(client, last)) if last else 0
        context = describe_use(session.chat(), length)
        return [
            f"ollama_magic {__version__}",
            f"server    {client.host.base_url}   {_version_text(client.version)}",
            *self._key_lines(client),
            f"model     {answering_model_text(session, look_up_models)}",
            f"chat      {session.chat_name}, {len(turns)} turns",
            *([f"context   {context}"] if context else []),
            f"notebook  {session.notebook.path or 'unknown: the chat lasts as long'}"
            f"{'' if session.notebook.path else ' as this kernel'}",
            f"store     {store_text(session)}",
            "",
            "try       %%ollama, and a prompt under it",
            "          %ollama list · pull NAME · history · help",
        ]

    def _key_lines(self, client: OllamaClient) -> list[str]:
        error = self._session.tell_of_key(client)
        if error is None:
            return []
        return [f"API key   not sent there: {error.why}", f"{'':10}{error.next_step}"]

    def _doctor(self, _: ParsedCommand) -> object:
        return doctor_report(self._session)

    def _config(self, _: ParsedCommand) -> object:
        return settings_listing(self._session.settings)

    def _version(self, _: ParsedCommand) -> object:
        client = self._session.client()
        server = _version_text(client.version)
        return TextPage(f"ollama_magic {__version__}\nserver {server}")

    def _help(self, command: ParsedCommand) -> object:
        return TextPage(help_text(*command.arguments))


def _spec(values: Mapping[str, Any]) -> ModelSpec:
    """Return what the options of ``create`` describe.

    Raises
    ------
    UsageError
        Neither or both of ``--from`` and ``-F``.
    """
    file, base = values.get("file"), values.get("base")
    rest = {key: values[key] for key in ("system", "quantize") if key in values}
    if (file is None) == (base is None):
        raise usage_error(
            "%ollama create takes either a model to start from, or a file.",
            next_step="%ollama create NAME --from MODEL   |   "
            "%ollama create NAME -F Modelfile",
        )
    spec = ModelSpec(base=str(base)) if file is None else read_spec(str(file))
    parameters = {**spec.parameters, **values.get("options", {})}
    return replace(spec, parameters=parameters, **rest)


def _replay_text(error: OllamaMagicError) -> str:
    """Say that there is no server, where that need not be the end of it."""
    return f"no server ({error.why or error.what}); answers of earlier runs are shown"


def _version_text(ask_version: Callable[[], str]) -> str:
    try:
        return in_background(ask_version)
    except OllamaMagicError as error:  # the state must be shown without a server too
        return f"not reachable ({error.why or error.what}); {error.next_step}"


def _server_text(server: RunningServer) -> str:
    what = _SERVER_KINDS[server.kind]
    return f"{server.base_url} (version {server.version}) {what}"
