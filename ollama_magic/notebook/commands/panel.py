"""The subcommands with a widget: ``%ollama use`` and ``%ollama panel``."""

from __future__ import annotations

from ollama_magic.client.background import run_in_background
from ollama_magic.client.models import find_model
from ollama_magic.errors import ServerUnreachableError
from ollama_magic.generation.models import (
    check_cloud,
    chosen_model,
    cloud_host,
    find_chat_model,
    sends_text,
)
from ollama_magic.generation.session import Session
from ollama_magic.generation.status_line import load_times
from ollama_magic.notebook.commands.declare import Commands, Context, ParsedCommand
from ollama_magic.render.tables import TextPage

COMMANDS = Commands()


@COMMANDS.add("use", operands="[MODEL]", completes="model")
def use(context: Context, line: ParsedCommand) -> object:
    """Store the default model of this notebook; without a name, show a choice."""
    session = context.session
    if not line.arguments:
        return _choose(context)
    (model,) = line.arguments
    client = session.client()
    cloud = cloud_host(model, None)
    try:
        found = run_in_background(lambda: find_chat_model(client, model))
        model, cloud = found.name, found.cloud_host
    except ServerUnreachableError:
        if not session.settings.cached:
            raise
    return TextPage(_use(session, session.notebook.key, model, cloud))


def _use(session: Session, notebook: str, model: str, cloud: str) -> str:
    check_cloud(session.settings, session.client(), model, cloud)
    session.store.choose_model(notebook, model)
    return f"This notebook now uses {model}{sends_text(cloud)}"


def _choose(context: Context) -> object:
    from ollama_magic.widgets.picker import ModelChoice  # ipywidgets: at first use

    session = context.session
    key, client = session.notebook.key, session.client()
    models = run_in_background(client.list)

    def use(model: str) -> str:
        cloud = cloud_host(model, find_model(model, models))
        return _use(session, key, model, cloud)

    return context.widget(ModelChoice(models, _default_name(session), use))


def _default_name(session: Session) -> str:
    chosen = chosen_model(session, session.chat())
    return chosen.name if chosen else ""


@COMMANDS.add("panel")
def panel(context: Context, _: ParsedCommand) -> object:
    """Return the model panel."""
    from ollama_magic.widgets.panel import open_panel  # ipywidgets: at first use

    session = context.session
    key, client = session.notebook.key, session.client()

    def use(model: str, host: str) -> str:
        return _use(session, key, model, host)

    return context.widget(
        open_panel(
            client,
            notebook=key,
            default=_default_name(session),
            use=use,
            last_load_s=load_times(session, client),
        )
    )
