"""``%ollama ask``, ``run``, ``keep`` and ``last``: prompts and their replies."""

from __future__ import annotations

import json

from ollama_magic.client.images import without_images
from ollama_magic.generation.comparison import keep
from ollama_magic.generation.options import CHAT_OPTIONS, switch
from ollama_magic.notebook.commands.declare import Commands, Context, ParsedCommand
from ollama_magic.render.tables import TextPage

COMMANDS = Commands()


@COMMANDS.add(
    "run",
    operands="MODEL TEXT",
    options=CHAT_OPTIONS,
    takes_text=True,
    completes="model",
)
@COMMANDS.add("ask", operands="TEXT", options=CHAT_OPTIONS, takes_text=True)
def ask(context: Context, line: ParsedCommand) -> object:
    """Send the text of the line as the prompt."""
    return context.unless_shown(context.ask(line.chat_arguments, line.text))


@COMMANDS.add("keep", operands="MODEL", completes="compared")
def keep_reply(context: Context, line: ParsedCommand) -> object:
    """Make the reply of one compared model the turn of the cell that compared."""
    (model,) = line.arguments
    reply = keep(context.session, model)
    context.show_reply(reply)
    return context.unless_shown(reply)


@COMMANDS.add(
    "last",
    options=(switch("json", "--json"),),
)
def last(context: Context, line: ParsedCommand) -> object:
    """Return the last reply, or its request and metadata as JSON."""
    reply = context.session.last_reply
    if reply is None:
        return TextPage("No reply yet in this kernel.")
    if "json" in line.options:
        request = without_images(reply.request)
        data = {"request": request, "reply": reply.provenance}
        return TextPage(json.dumps(data, indent=2, ensure_ascii=False))
    return reply
