"""``%ollama continue``: what is done with a reply that is already there."""

from __future__ import annotations

from ollama_magic.errors import ConfigError
from ollama_magic.generation.options import ChatOptions, Option, read_count
from ollama_magic.history.turns import Turn
from ollama_magic.notebook.commands.chats import find_turn
from ollama_magic.notebook.commands.declare import (
    Commands,
    Context,
    ParsedCommand,
    options_of,
)
from ollama_magic.render.tables import TextPage

ASK = Commands()

_TURN = Option(
    "turn",
    ("--turn",),
    "T",
    read=lambda text: str(read_count(text)),
    example="2",
    takes_numbers=True,
)


@ASK.add(
    "continue",
    options=(*options_of("chat", "options", "hide_thinking", "host"), _TURN),
)
def continue_reply(context: Context, line: ParsedCommand) -> object:
    """Go on with a reply that was cut off or stopped, in place."""
    given = dict(line.values)
    chat = context.session.chat(given.get("chat"))
    turn = find_turn(chat, given.pop("turn", ""))
    if turn.status == "complete":
        return TextPage("The reply is complete. To ask for more, write a new prompt.")
    _check_can_continue(turn)
    request = turn.request
    given["options"] = request.get("options", {}) | given.get("options", {})
    options = ChatOptions(
        model=None if turn.is_from_file else turn.model,
        system=turn.sent_system,
        images=turn.images,
        new=turn.starts_afresh,
        think=request.get("think"),
        keep_alive=request.get("keep_alive"),
        raw=True,
        **given,
    )
    return context.unless_shown(context.ask(options, turn.prompt, begun=turn))


def _check_can_continue(turn: Turn) -> None:
    if not turn.reply.strip():
        raise ConfigError(
            "There is no text to go on with.",
            why="the reply ended before its first word",
            next_step="run its cell again",
        )
    if "format" in turn.request:
        raise ConfigError(
            "A JSON reply cannot be continued.",
            why="the server begins the JSON anew with each request",
            next_step="run its cell again, with a higher -o num_predict if it was cut",
        )
