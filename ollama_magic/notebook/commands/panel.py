"""The default model: ``%ollama use``, ``%ollama panel``, and what is said about it.

The status, the doctor and the greeting name it too.
"""

from __future__ import annotations

from collections.abc import Callable

from ollama_magic.client.background import run_in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import ModelSummary, find_model, require_capability
from ollama_magic.errors import OllamaMagicError, ServerUnreachableError
from ollama_magic.generation.models import (
    ChosenModel,
    ServerModels,
    capabilities_of,
    check_cloud,
    chosen_model,
    cloud_host,
    installed_name,
    look_up,
    model_to_ask,
)
from ollama_magic.generation.session import Session
from ollama_magic.generation.status_line import load_times
from ollama_magic.notebook.commands.declare import Commands, Context, ParsedCommand

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
    return _use(session, session.notebook.key, model, cloud)


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


# -- the default model ---------------------------------------------------------------


def find_chat_model(client: OllamaClient, name: str) -> ModelSummary:
    """Return a model that can chat by its name, with or without its tag.

    A model that the server does not list has only its name.

    Raises
    ------
    ModelNotFoundError
        The server does not have it.
    CapabilityError
        It cannot chat: it embeds, for example.
    """
    models = look_up(client, must_list=False)
    name = installed_name(name, models.installed)
    if not models.is_slow:
        capabilities_of(client, name)
    model = find_model(name, models.installed)
    require_capability("completion", model, models.installed)
    return model or ModelSummary(name)


def answering_model_text(
    session: Session, look_up: Callable[[bool], ServerModels]
) -> str:
    """Return the default model and what chose it, as text.

    Parameters
    ----------
    look_up
        Asks the server for its models; its argument says whether the list is required.
    """
    chat, allow_cloud = session.chat(), session.settings.allow_cloud
    chosen, models = chosen_model(session, chat), ServerModels()
    try:
        models = look_up(chosen is None)
        chosen = chosen_model(session, chat, models.installed)
        if chosen is None:
            name = model_to_ask("", models, allow_cloud=allow_cloud)
            chosen = ChosenModel(name, "selected automatically")
    except OllamaMagicError as error:
        if chosen is None:
            return f"none selected: {error.what}"
    cloud = cloud_host(chosen.name, find_model(chosen.name, models.installed))
    return f"{chosen.name} ({chosen.source}){sends_text(cloud)}"


def sends_text(cloud: str) -> str:
    """Return a note about a cloud model; empty for a local one."""
    return f", a cloud model: prompts are sent to {cloud}" if cloud else ""
