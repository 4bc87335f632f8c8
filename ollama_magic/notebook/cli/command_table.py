"""The subcommands of ``%ollama``, declared once.

The parser, the help and Tab completion are made from :data:`COMMANDS`. Knows what a
subcommand is called and what may follow it; not what it does.
"""

from __future__ import annotations

from dataclasses import dataclass

from ollama_magic.generation.options import (
    CHAT_OPTIONS,
    Completes,
    Option,
    read_days,
    switch,
)


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand.

    Parameters
    ----------
    name
        Ollama's own word, where it has one.
    summary
        One sentence for the help.
    operands
        What follows it, as the help writes it.
    least, most
        How many words may follow; ``most`` None is any number.
    aliases
        Other words for it.
    options
        Its options; of switches at most one may be given, besides ``-y``.
    asks
        It asks a model: its options are those of ``%%ollama``.
    takes_text
        What follows the options is free text.
    completes
        What Tab offers for the first operand, or for all when there may be many.
    discards
        It deletes or takes away: a wrong word is never corrected to it.
    """

    name: str
    summary: str
    operands: str = ""
    least: int = 0
    most: int | None = 0
    aliases: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    asks: bool = False
    takes_text: bool = False
    completes: Completes = ""
    discards: bool = False

    @property
    def usage(self) -> str:
        """The line that the help shows: ``%ollama rm MODEL… [-y]``."""
        parts = ["%ollama", self.name]
        if self.asks:
            parts.append("[options]")
        elif self.options:
            flags = "|".join(
                f"{option.flags[0]} {option.metavar}".rstrip()
                for option in self.options
            )
            parts += [self.operands, f"[{flags}]"]
            return " ".join(part for part in parts if part)
        return " ".join([*parts, self.operands]).rstrip()


_SURE = switch("yes", "-y", "--yes", help="do not ask", discards=True)
_TRUST = switch(
    "trust", "--trust", help="send system messages and tool results of the file too"
)


def options_of(*fields: str) -> tuple[Option, ...]:
    """Return the options of ``%%ollama`` for some fields."""
    return tuple(option for option in CHAT_OPTIONS if option.field in fields)


COMMANDS: tuple[Command, ...] = (
    Command(
        "list",
        "Models on the server; FILTER is a part of their name.",
        operands="[FILTER]",
        most=1,
        aliases=("ls", "models"),
    ),
    Command("ps", "Models in memory."),
    Command(
        "show",
        "What the server tells of a model, or one part of it.",
        operands="MODEL",
        least=1,
        most=1,
        aliases=("info",),
        options=(
            switch("modelfile", "--modelfile", help="its Modelfile"),
            switch("parameters", "--parameters", help="its default options"),
            switch("template", "--template", help="its prompt template"),
            switch("license", "--license", help="its licence"),
            switch("system", "--system", help="its system message"),
        ),
        completes="model",
    ),
    Command(
        "pull",
        "Fetch models, or bring them up to date; interrupt to stop.",
        operands="MODEL…",
        least=1,
        most=None,
        completes="model",
    ),
    Command(
        "cp",
        "Copy a model to a second name; takes no extra space.",
        operands="SRC DST",
        least=2,
        most=2,
        aliases=("copy",),
        options=(_SURE,),
        completes="model",
    ),
    Command(
        "rm",
        "Delete models from the server, once you have confirmed it.",
        operands="MODEL…",
        least=1,
        most=None,
        aliases=("delete", "remove"),
        options=(_SURE,),
        completes="model",
        discards=True,
    ),
    Command(
        "load",
        "Load a model into memory, so that the first answer does not wait for it.",
        operands="MODEL",
        least=1,
        most=1,
        options=options_of("keep_alive"),
        completes="model",
    ),
    Command(
        "stop",
        "Take a model out of memory.",
        operands="MODEL",
        least=1,
        most=1,
        completes="model",
    ),
    Command(
        "create",
        "Make a model of another one, of a Modelfile, or of a GGUF file.",
        operands="NAME",
        least=1,
        most=1,
        options=(
            Option(
                "base",
                ("--from",),
                "the model to start from",
                "MODEL",
                example="llama3.2",
                completes="model",
            ),
            Option(
                "file",
                ("-F", "--file"),
                "a Modelfile, or a GGUF file",
                "FILE",
                example="Modelfile",
                completes="file",
            ),
            *options_of("system", "options"),
            Option(
                "quantize",
                ("--quantize",),
                "make the weights smaller, from F16 or F32",
                "Q",
                example="q4_K_M",
            ),
            _SURE,
        ),
    ),
    Command(
        "push",
        "Send a model to the registry that its name says.",
        operands="MODEL",
        least=1,
        most=1,
        completes="model",
    ),
    Command(
        "use",
        "Set the model of this notebook: for cells and calls that name none.",
        operands="MODEL",
        least=1,
        most=1,
        completes="model",
    ),
    Command(
        "ask",
        "Ask in one line, with the options of %%ollama.",
        operands="TEXT",
        least=1,
        most=None,
        options=CHAT_OPTIONS,
        asks=True,
        takes_text=True,
    ),
    Command(
        "run",
        "Ask a model that is named first, as ollama run does; else it is ask.",
        operands="MODEL TEXT",
        least=2,
        most=None,
        options=CHAT_OPTIONS,
        asks=True,
        takes_text=True,
        completes="model",
    ),
    Command(
        "keep",
        "Take the reply of one compared model as the turn of the cell that compared.",
        operands="MODEL",
        least=1,
        most=1,
        completes="compared",
    ),
    Command(
        "fix",
        "Ask about the last cell that failed, or cell n: the cause, and a better cell.",
        operands="[n]",
        most=1,
        options=CHAT_OPTIONS,
        asks=True,
    ),
    Command(
        "explain",
        "Ask what code does: of the last cell, or of a RANGE such as 3-5.",
        operands="[RANGE]",
        most=None,
        options=CHAT_OPTIONS,
        asks=True,
    ),
    Command("panel", "A panel that lists, pulls, copies, deletes and loads models."),
    Command("chats", "The chats of this notebook."),
    Command(
        "chat",
        "Go on with another chat (made when it is new), rename one, or delete one.",
        operands="NAME",
        least=1,
        most=1,
        options=(
            Option("rename", ("--rename",), "its new name", "NEW", example="ideas"),
            switch(
                "delete",
                "--delete",
                help="for good, once you have confirmed it",
                discards=True,
            ),
            _SURE,
        ),
        completes="chat",
    ),
    Command(
        "new",
        "Start the chat (or the chat NAME) afresh; %ollama undo takes it back.",
        operands="[NAME]",
        most=1,
        aliases=("reset",),
        completes="chat",
        discards=True,
    ),
    Command(
        "history",
        "The turns of the chat; stale ones were answered on an older text.",
        options=(
            switch("all", "--all", help="also those that left it, and why they did"),
        ),
    ),
    Command(
        "undo",
        "Take back the last change of the chat; again, the one before.",
        discards=True,
    ),
    Command(
        "drop",
        "Take turn N, by its number in history, out of the chat.",
        operands="N",
        least=1,
        most=1,
        discards=True,
    ),
    Command(
        "prune",
        "Remove for good what is in no chat any more, of all notebooks.",
        options=(
            Option(
                "older_than",
                ("--older-than",),
                "also chats, and answers kept by --cached, of so many days ago",
                "DAYS",
                read=read_days,
                example="90",
                takes_numbers=True,
                discards=True,
            ),
            _SURE,
        ),
        discards=True,
    ),
    Command(
        "last",
        "Show the last reply again.",
        options=(
            switch("json", "--json", help="with its request and its figures, as JSON"),
        ),
    ),
    Command(
        "export",
        "Write the chat to a file: .md to read, .json for tools, .ipynb to run.",
        operands="FILE",
        least=1,
        most=1,
        options=(
            switch(
                "force",
                "--force",
                help="overwrite a file that is there",
                discards=True,
            ),
        ),
        completes="file",
    ),
    Command(
        "import",
        "Make a chat of a file: of export, a notebook, or a JSON list of messages.",
        operands="FILE",
        least=1,
        most=1,
        options=(*options_of("chat"), _TRUST),
        completes="file",
    ),
    Command(
        "restore",
        "Rebuild the chats from the notebook's own file, as it was last saved.",
        options=(
            switch(
                "force",
                "--force",
                help="where the texts differ, take the notebook's",
                discards=True,
            ),
            _TRUST,
        ),
    ),
    Command(
        "serve",
        "Make sure that a server answers: the one there is, or one that is started.",
        options=(
            switch("stop", "--stop", help="end the server that this started"),
            switch("embedded", "--embedded", help="start the small engine inside"),
        ),
    ),
    Command(
        "doctor",
        "What works, what does not, and what to type then; fit for an issue.",
    ),
    Command("config", "The settings, what they are now, and how they are changed."),
    Command("version", "Versions of ollama_magic and of the server."),
    Command(
        "help",
        "This page, or the page of a subcommand or an option.",
        operands="[WORD]",
        most=1,
        aliases=("-h", "--help"),
        completes="command",
    ),
)


def find_command(word: str) -> Command | None:
    """Return the subcommand of this name or alias."""
    return next(
        (command for command in COMMANDS if word in (command.name, *command.aliases)),
        None,
    )
