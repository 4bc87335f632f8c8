"""``%ollama template``: saved prompts, which ``%%ollama @NAME`` sends."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from IPython.core.error import UsageError

from ollama_magic.errors import ConfigError, PromptError, nearest, usage_error
from ollama_magic.generation.options import ChatOptions
from ollama_magic.notebook import templates
from ollama_magic.notebook.cli.parser import parse_chat_arguments
from ollama_magic.notebook.commands.chats import short
from ollama_magic.notebook.commands.declare import (
    YES,
    Commands,
    Context,
    ParsedCommand,
    is_confirmed,
)
from ollama_magic.notebook.compat import past_cells
from ollama_magic.render.tables import Columns, Listing

ASK = Commands()
_ASK_LINE = re.compile(r"\s*(?:\w+\s*=\s*)?%ollama\s+(ask\s[^\n]+)\s*")


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """One template as ``%ollama template`` lists it."""

    name: str
    where: str
    """``prompts/review.md`` beside the notebook; ``yours``, in all notebooks."""
    sets: str
    text: str


_COLUMNS: Columns[TemplateRow] = {
    "Name": lambda row: f"@{row.name}",
    "Where": lambda row: row.where,
    "Sets": lambda row: row.sets,
    "Prompt": lambda row: short(row.text),
}


@ASK.add(
    "template",
    operands="[list|save|show|rm|export] [NAME]",
    aliases=("templates",),
    options=(YES,),
    completes="template",
)
def template(context: Context, line: ParsedCommand) -> object:
    """Save, list, show, delete and export templates."""
    action, name = (*line.arguments, "", "")[:2]
    if action in {"", "list", "ls"}:
        return _listing(context)
    run = _ACTIONS.get(_OTHER_WORDS.get(action, action))
    if run is None:
        likely = nearest(action, [one for one in _ACTIONS if one != "rm"])
        used = action.removeprefix("@")
        step = "%ollama help template"
        if used in templates.by_name(context.session):
            step = f"to use it: %%ollama @{used}   to read it: %ollama template show "
            step += used
        elif likely:
            step = f"did you mean: %ollama template {likely} {name}".rstrip()
        raise usage_error(f"%ollama template has no {action!r}.", next_step=step)
    if not name:
        raise usage_error(
            f"%ollama template {action} needs the name of a template.",
            next_step=f"%ollama template {action} review   All: %ollama template",
        )
    return run(context, line, name.removeprefix("@"))


def _listing(context: Context) -> Listing[TemplateRow]:
    rows, seen = [], set[str]()
    for name, path, is_shared in templates.paths(context.session):
        where = f"{templates.FOLDER}/{path.name}" if is_shared else "yours"
        if name in seen:
            where += ", hidden"
        seen.add(name)
        try:
            one = templates.read(path, is_shared=is_shared)
        except PromptError as error:
            rows.append(TemplateRow(name, where, "", f"[{error.why}]"))
            continue
        rows.append(TemplateRow(name, where, ", ".join(one.sets), one.text))
    note = f"{templates.FOLDER}/ is the folder beside this notebook; it wins over yours"
    empty = "No templates yet. Run a prompt, then: %ollama template save NAME"
    return Listing(rows, _COLUMNS, empty, note=note if rows else "")


def _save(context: Context, line: ParsedCommand, name: str) -> str | None:
    """Save the prompt of the last cell as it was typed, with its options."""
    path = templates.own_path(context.session, name)
    options, text = _last_prompt(context)
    text = context.session.redactor.text(text)
    options, dropped = templates.kept(options)
    if path.exists() and not _may_replace(context, line, path.stem, "save"):
        return None
    templates.save(path, templates.written(text.strip("\n"), options), is_private=True)
    left = f"\nnot kept: {', '.join(dropped)}" if dropped else ""
    return f"Saved: {short(text)}\nto use it: %%ollama @{path.stem}{left}"


def _last_prompt(context: Context) -> tuple[ChatOptions, str]:
    for source in reversed(past_cells(context.session.shell)):
        with suppress(UsageError, PromptError):  # it was not sent either
            options, text = templates.applied(context.session, *_prompt_in(source))
            if text.strip():
                return options, text
    raise ConfigError(
        "There is no prompt to save.",
        why="no %%ollama cell was run in this kernel",
        next_step="run the cell with the prompt, then: %ollama template save NAME",
    )


def _prompt_in(source: str) -> tuple[ChatOptions, str]:
    """Return the prompt of a cell as it was typed; an empty text if it has none."""
    from ollama_magic.notebook.commands import CELL_PROMPT, parse_command

    if cell := CELL_PROMPT.fullmatch(source):
        return parse_chat_arguments(cell[1] or ""), cell[2] or ""
    if line := _ASK_LINE.fullmatch(source):
        command = parse_command(line[1])
        return command.chat_arguments, command.text
    return ChatOptions(), ""


def _may_replace(context: Context, line: ParsedCommand, name: str, action: str) -> bool:
    return is_confirmed(
        context,
        line,
        f"Replace the template {name}?",
        f"The template {name!r} was not replaced.",
        f"%ollama template {action} {name} -y",
    )


def _show(context: Context, line: ParsedCommand, name: str) -> str:
    found = templates.find(context.session, name)
    text = templates.written(found.text, found.options)
    return f"{found.path}\n\n{text}"


def _remove(context: Context, line: ParsedCommand, name: str) -> str | None:
    path = templates.own_path(context.session, name)
    if not path.is_file():
        found = templates.find(context.session, name)
        raise ConfigError(
            f"The template {name!r} is a file beside the notebook.",
            why="it may belong to other people too",
            next_step=f"delete the file yourself: {found.path}",
        )
    command = f"%ollama template rm {name} -y"
    question = f"Delete the template {name}? This cannot be undone."
    not_done = f"The template {name!r} was not deleted."
    if not is_confirmed(context, line, question, not_done, command):
        return None
    path.unlink(missing_ok=True)
    return f"Deleted the template {name}."


def _export(context: Context, line: ParsedCommand, name: str) -> str | None:
    own = templates.own_path(context.session, name)
    path = templates.own_path(context.session, name, is_shared=True)
    if not own.is_file():
        found = templates.find(context.session, name)
        return f"It is beside the notebook already: {found.path}"
    if path.exists() and not _may_replace(context, line, name, "export"):
        return None
    one = templates.read(own, is_shared=False)
    templates.save(path, templates.written(one.text, one.options), is_private=False)
    return f"Written: {path}"


_ACTIONS: dict[str, Callable[[Context, ParsedCommand, str], object]] = {
    "save": _save,
    "show": _show,
    "rm": _remove,
    "export": _export,
}
_OTHER_WORDS = {"delete": "rm", "remove": "rm", "add": "save"}
