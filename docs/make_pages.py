"""Write the reference pages from the tables that the parser and the help use.

Run it after a change of these tables: ``python docs/make_pages.py``. A test compares
the pages with what this would write.
"""

from __future__ import annotations

from pathlib import Path

from ollama_magic.generation.options import CHAT_OPTIONS, Option
from ollama_magic.notebook.cli import manual
from ollama_magic.notebook.cli.command_table import COMMANDS, Command
from ollama_magic.notebook.cli.manual import Entry
from ollama_magic.notebook.commands.config import ENVIRONMENT
from ollama_magic.notebook.magics import OllamaMagics

HERE = Path(__file__).parent
NOTE = (
    "<!-- Made by docs/make_pages.py from the tables in ollama_magic/line/; "
    "change these. -->"
)


def pages() -> dict[str, str]:
    """Return the pages by their file names."""
    return {
        "options.md": options_page(),
        "commands.md": commands_page(),
        "settings.md": settings_page(),
    }


def options_page() -> str:
    """Return what every option of ``%%ollama`` does."""
    intro = (
        "Options stand in any order on the line of `%%ollama`, before or after MODEL, "
        "and on that of `%ollama ask`, `fix` and `explain`. Quoting is that of a POSIX "
        "shell; long options may be written `--system=TEXT`, and are never "
        "abbreviated. What is wrong is told before anything is sent. "
        "`%ollama help --schema` shows one of these entries in the notebook."
    )
    toc = [f"- [`{o.label}`](#{anchor(o.label)}): {o.help}" for o in CHAT_OPTIONS]
    parts = [option_entry(option) for option in CHAT_OPTIONS]
    return page("Options of a cell", intro, toc, parts)


def option_entry(option: Option) -> str:
    """Return the section of one option."""
    facts = []
    if option.choices:
        facts.append(f"Values: {', '.join(f'`{c}`' for c in option.choices)}.")
    if option.repeatable or option.kind == "pair":
        facts.append("May be given several times.")
    lead = " ".join([f"{sentence(option.help)}", *facts])
    return section(option.label, lead, manual.OPTIONS[option.flags[-1]])


def commands_page() -> str:
    """Return what every subcommand of ``%ollama`` does."""
    intro = (
        "The words are Ollama's own, where it has one. `%ollama` alone shows the state "
        "of things; `%ollama pull?` or `%ollama help pull` shows one of these entries "
        "in the notebook."
    )
    toc = [f"- [`{c.usage}`](#{anchor(c.usage)}): {c.summary}" for c in COMMANDS]
    return page("Subcommands", intro, toc, [command_entry(c) for c in COMMANDS])


def command_entry(command: Command) -> str:
    """Return the section of one subcommand."""
    lead = command.summary
    if command.aliases:
        lead += f" Also: {', '.join(f'`{alias}`' for alias in command.aliases)}."
    if command.options == CHAT_OPTIONS:
        lead += " Takes all [options of a cell](options.md)."
    told = section(command.usage, lead, manual.COMMANDS[command.name])
    if not command.options or command.options == CHAT_OPTIONS:
        return told
    rows = [f"| `{cell(o.label)}` | {cell(o.help)} |" for o in command.options]
    return "\n".join([told, "", "| option | meaning |", "| --- | --- |", *rows])


def settings_page() -> str:
    """Return what every setting means."""
    intro = (
        "Set one for this kernel with `%config OllamaMagics.NAME = VALUE`, for good in "
        "`ipython_config.py` with `c.OllamaMagics.NAME = VALUE`. `%ollama config` "
        "shows them with their values."
    )
    traits = sorted(OllamaMagics.class_own_traits(config=True).items())
    rows = [
        f"| `{name}` | `{trait.default()!r}` | {cell(trait.help)} |"
        for name, trait in traits
    ]
    table = ["| setting | default | meaning |", "| --- | --- | --- |", *rows]
    variables = [f"| `{name}` | {cell(text)} |" for name, text in ENVIRONMENT.items()]
    environment = ["| variable | meaning |", "| --- | --- |", *variables]
    parts = ["\n".join(table), "## Environment", "\n".join(environment)]
    return "\n\n".join([NOTE, "# Settings", intro, *parts]) + "\n"


def page(title: str, intro: str, toc: list[str], parts: list[str]) -> str:
    """Return a page with a list of its sections on top."""
    return "\n\n".join([NOTE, f"# {title}", intro, "\n".join(toc), *parts]) + "\n"


def section(heading: str, lead: str, entry: Entry) -> str:
    """Return a heading, a sentence, the text of the manual and its example."""
    example = "\n".join(f"    {line}".rstrip() for line in entry.example.split("\n"))
    text = "".join(f"\\{c}" if c in "<>*[]_" else c for c in entry.text)
    return "\n\n".join([f"## `{heading}`", lead, text, example])


def sentence(text: str) -> str:
    """Return half a sentence as a whole one."""
    return f"{text[0].upper()}{text[1:]}."


def anchor(heading: str) -> str:
    """Return the name that GitHub gives a heading."""
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", r"\|")


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
