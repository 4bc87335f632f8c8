"""``%ollama export``, ``import``, ``restore`` and ``prune``: stored chats and files."""

from __future__ import annotations

from ollama_magic.client.progress import size_text
from ollama_magic.generation.options import Option, is_number, switch
from ollama_magic.history.changes import PruneSummary
from ollama_magic.notebook.commands.chats import store_text
from ollama_magic.notebook.commands.declare import (
    YES,
    Commands,
    Context,
    ParsedCommand,
    is_confirmed,
    options_of,
)
from ollama_magic.render.tables import TextPage
from ollama_magic.render.text import counted
from ollama_magic.sharing import files
from ollama_magic.sharing.restore import restore

COMMANDS = Commands()

_TRUST = switch("trust", "--trust")


def read_days(text: str) -> float:
    """Return a number of days, above 0."""
    if not is_number(text) or not 0 < float(text) < 100_000:
        raise ValueError("it is a number of days, above 0")
    return float(text)


@COMMANDS.add(
    "export",
    operands="FILE",
    options=(switch("force", "--force", discards=True),),
    completes="file",
)
def export_chat(context: Context, line: ParsedCommand) -> TextPage:
    """Write the chat to a file."""
    (file,) = line.arguments
    force = "force" in line.values
    return TextPage(files.export_chat(context.session, file, force=force))


@COMMANDS.add(
    "import",
    operands="FILE",
    options=(*options_of("chat"), _TRUST),
    completes="file",
)
def import_chats(context: Context, line: ParsedCommand) -> TextPage:
    """Create chats from a file."""
    (file,) = line.arguments
    name = line.values.get("chat")
    trust = "trust" in line.values
    return TextPage(files.import_chats(context.session, file, name=name, trust=trust))


@COMMANDS.add(
    "restore",
    options=(switch("force", "--force", discards=True), _TRUST),
)
def restore_chats(context: Context, line: ParsedCommand) -> TextPage:
    """Rebuild the chats of this notebook."""
    force, trust = "force" in line.values, "trust" in line.values
    return TextPage(restore(context.session, force=force, trust=trust))


@COMMANDS.add(
    "prune",
    options=(
        Option(
            "older_than",
            ("--older-than",),
            metavar="DAYS",
            read=read_days,
            example="90",
            takes_numbers=True,
            discards=True,
        ),
        YES,
    ),
    discards=True,
)
def prune(context: Context, line: ParsedCommand) -> TextPage:
    """Delete what is in no chat any more, once the user has confirmed it."""
    store, key = context.session.store, context.session.notebook.key
    older_than = line.values.get("older_than")
    found = store.prunable(key, older_than)
    if found.is_empty:
        return TextPage(f"Nothing to delete. {store_text(context.session)}")
    days = "" if older_than is None else f" --older-than {older_than:g}"
    question = f"Permanently delete {_prune_text(found)}?"
    command = f"%ollama prune{days} -y"
    if not is_confirmed(context, line, question, "Nothing was deleted.", command):
        return TextPage("Nothing was deleted.")
    deleted = _prune_text(store.prune(key, older_than))
    return TextPage(f"Deleted {deleted}. {store_text(context.session)}")


def _prune_text(found: PruneSummary) -> str:
    parts = []
    if found.turns:
        parts.append(counted(found.turns, "discarded turn"))
    if found.chats:
        turns = counted(found.chat_turns, "turn")
        parts.append(f"{counted(found.chats, 'unused chat')} ({turns})")
    if found.answers:
        parts.append(counted(found.answers, "cached reply", "cached replies"))
    return f"{' and '.join(parts)} ({size_text(found.size_bytes)})"
