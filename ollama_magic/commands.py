"""What ``%ollama SUBCOMMAND`` does: one short method per subcommand.

Each method asks the session or a model command and returns what is shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Protocol

from ollama_magic._version import __version__
from ollama_magic.arrivals import in_background
from ollama_magic.conversation import Turn
from ollama_magic.errors import ConfigError, OllamaMagicError
from ollama_magic.history.store import ChatSummary
from ollama_magic.line.arguments import ChatArguments
from ollama_magic.line.command_line import ParsedCommand, parse_command
from ollama_magic.line.help_text import help_text
from ollama_magic.listing import Columns, Listing
from ollama_magic.model_commands import (
    copy_model,
    list_models,
    loaded_models,
    pull_model,
    removal_question,
    remove_models,
    show_model,
)
from ollama_magic.question import default_model
from ollama_magic.rendering.progress_line import ProgressLine
from ollama_magic.rendering.text_page import TextPage
from ollama_magic.reply import Reply
from ollama_magic.serve import RunningServer, serve, stop
from ollama_magic.session import Session

_EMBEDDED_MODEL = "smollm2:135m"

_CHAT_COLUMNS: Columns[ChatSummary] = {
    "CHAT": lambda c: c.name,
    "TURNS": lambda c: c.turns,
    "MODEL": lambda c: c.last_model,
    "LAST ANSWER (UTC)": lambda c: _minute(c.last_answered_at),
}

_SERVER_KINDS = {
    "found": "answers",
    "ollama": "was started, and ends with this kernel",
    "embedded": "was started, and ends with this kernel: the embedded engine, "
    "a tiny model for trying out",
}


class Front(Protocol):
    """What subcommands need of the front end."""

    def ask(self, args: ChatArguments, text: str) -> Reply | None:
        """Ask a model as a cell does."""

    def unless_shown(self, reply: Reply | None) -> Reply | None:
        """Return the reply where the front end would not show it twice."""

    def progress_line(self) -> ProgressLine:
        """Open a line of progress."""

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
        return method(command)

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
        for model in command.arguments:
            pull_model(self._session.client(), model, self._front.progress_line())

    def _cp(self, command: ParsedCommand) -> object:
        return copy_model(self._session.client(), *command.arguments)

    def _rm(self, command: ParsedCommand) -> object:
        client, names = self._session.client(), command.arguments
        if "yes" not in command.options:
            answer = self._front.confirm(removal_question(client, names))
            if answer is None:
                raise ConfigError(
                    f"Nothing was deleted: {', '.join(names)}.",
                    why="a deletion must be confirmed, and there is nobody to ask",
                    next_step=f"%ollama rm -y {' '.join(names)}",
                )
            if not answer:
                return TextPage("nothing was deleted")
        return remove_models(client, names)

    def _use(self, command: ParsedCommand) -> object:
        (model,) = command.arguments
        client = self._session.client()
        in_background(lambda: client.show(model))  # a wrong name is an error here
        self._session.store.choose_model(self._session.notebook.key, model)
        return TextPage(f"this notebook uses {model}")

    # -- chats ---------------------------------------------------------------

    def _ask(self, command: ParsedCommand) -> object:
        reply = self._front.ask(command.chat_arguments, command.text)
        return self._front.unless_shown(reply)

    def _chats(self, _: ParsedCommand) -> object:
        chats = self._session.store.chats(self._session.notebook.key)
        empty = "No chats yet. Begin one with a %%ollama cell."
        return Listing(chats, _CHAT_COLUMNS, empty)

    def _chat(self, command: ParsedCommand) -> object:
        (name,) = command.arguments
        self._session.store.set_current_chat(self._session.notebook.key, name)
        turns = len([t for t in self._session.chat().turns if not t.is_mark])
        return TextPage(f"cells go on with chat {name} ({turns} turns)")

    def _new(self, command: ParsedCommand) -> object:
        session, key = self._session, self._session.notebook.key
        if command.arguments:
            session.store.set_current_chat(key, command.arguments[0])
        session.store.mark_new(key, session.chat_name, session.cells.cell_id)
        session.cells.turn_kept()
        return TextPage(
            f"chat {session.chat_name} starts afresh; "
            "%ollama undo brings the turns before it back"
        )

    def _history(self, _: ParsedCommand) -> object:
        turns = [t for t in self._session.chat().turns if not t.is_mark]
        numbers = {turn.uid: number for number, turn in enumerate(turns, 1)}
        columns: Columns[Turn] = {
            "TURN": lambda t: numbers[t.uid],
            "PROMPT": lambda t: _short(t.prompt),
            "REPLY": lambda t: _short(t.reply),
            "MODEL": lambda t: t.model,
            "STATUS": lambda t: t.status,
            "ANSWERED (UTC)": lambda t: _minute(t.answered_at),
        }
        empty = f"Chat {self._session.chat_name} has no turns yet."
        return Listing(turns, columns, empty)

    def _undo(self, _: ParsedCommand) -> object:
        session = self._session
        gone = session.store.undo(session.notebook.key, session.chat_name)
        if gone is None:
            return TextPage(f"chat {session.chat_name} has no turns to take back")
        what = (
            "the fresh start" if gone.is_mark else f"the turn {_short(gone.prompt)!r}"
        )
        return TextPage(f"took back {what}")

    def _last(self, command: ParsedCommand) -> object:
        reply = self._session.last_reply
        if reply is None:
            return TextPage("No reply yet in this kernel.")
        if "json" in command.options:
            whole = {"request": reply.request, "reply": reply.provenance}
            return TextPage(json.dumps(whole, indent=2, ensure_ascii=False))
        return reply

    # -- server --------------------------------------------------------------

    def _serve(self, command: ParsedCommand) -> object:
        session, line = self._session, self._front.progress_line()
        if "stop" in command.options:
            session.server = None
            return TextPage("stopped" if stop() else "nothing was running")
        server = serve(
            session.configured_url,
            api_key=os.environ.get("OLLAMA_API_KEY"),
            embedded="embedded" in command.options,
            on_status=line.show,
        )
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
        model = default_model(session, session.chat())
        return [
            f"ollama_magic {__version__}",
            f"server    {client.host.base_url}   {_version_text(client.version)}",
            f"model     {model or 'the newest on the server'}",
            f"chat      {session.chat_name}, {len(turns)} turns",
            f"notebook  {session.notebook.path or 'unknown: the chat lasts as long'}"
            f"{'' if session.notebook.path else ' as this kernel'}",
            "",
            "try       %%ollama, and a prompt under it",
            "          %ollama list · pull NAME · history · help",
        ]

    def _version(self, _: ParsedCommand) -> object:
        client = self._session.client()
        server = _version_text(client.version)
        return TextPage(f"ollama_magic {__version__}\nserver {server}")

    def _help(self, command: ParsedCommand) -> object:
        return TextPage(help_text(*command.arguments))


def _version_text(ask_version: Callable[[], str]) -> str:
    try:
        return in_background(ask_version)
    except OllamaMagicError as error:  # the state must be shown without a server too
        return f"not reachable ({error.why or error.what}); try %ollama serve"


def _server_text(server: RunningServer) -> str:
    what = _SERVER_KINDS[server.kind]
    return f"{server.base_url} (version {server.version}) {what}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"


def _minute(timestamp: str) -> str:
    return timestamp[:16].replace("T", " ")
