"""What ``%ollama`` does about models: list, ps, show, pull, cp, rm.

One function per subcommand; each returns what is shown, or None when it has shown
it itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from ollama_magic.arrivals import Arrivals
from ollama_magic.client import OllamaClient
from ollama_magic.errors import ConfigError, ModelNotFoundError
from ollama_magic.listing import Columns, Listing
from ollama_magic.model_names import canonical, find_model
from ollama_magic.rendering.progress_line import ProgressLine
from ollama_magic.rendering.text_page import TextPage
from ollama_magic.server_errors import nearest_names
from ollama_magic.transfer import Transfer, size_text
from ollama_magic.wire import LoadedModel, ModelDetails, ModelSummary

_NO_MODELS = "No models yet. Try: %ollama pull smollm2:135m"

_MODEL_COLUMNS: Columns[ModelSummary] = {
    "NAME": lambda m: m.name,
    "ID": lambda m: m.digest[:12],
    "SIZE": lambda m: size_text(m.size_bytes),
    "PARAMETERS": lambda m: m.parameter_size,
    "QUANTIZATION": lambda m: m.quantization_level,
    "CONTEXT": lambda m: f"{m.context_length:,}" if m.context_length else "",
    "CAPABILITIES": lambda m: ", ".join(m.capabilities),
    "MODIFIED": lambda m: m.modified_at[:16].replace("T", " "),
}


def _processor(model: LoadedModel) -> str:
    share = model.size_vram_bytes / model.size_bytes if model.size_bytes else 0.0
    if share >= 1:
        return "100% GPU"
    return "100% CPU" if not share else f"{1 - share:.0%}/{share:.0%} CPU/GPU"


_LOADED_COLUMNS: Columns[LoadedModel] = {
    "NAME": lambda m: m.name,
    "ID": lambda m: m.digest[:12],
    "SIZE": lambda m: size_text(m.size_bytes),
    "PROCESSOR": _processor,
    "CONTEXT": lambda m: f"{m.context_length:,}",
    "UNTIL": lambda m: m.expires_at[:16].replace("T", " "),
}

_SHOW_PARTS = ("modelfile", "parameters", "template", "license", "system")


def list_models(client: OllamaClient, wanted: str = "") -> Listing[ModelSummary]:
    """Return the models on the server, newest first, whose name has ``wanted``."""
    models = [m for m in client.list() if wanted.lower() in m.name.lower()]
    empty = f"No model has {wanted!r} in its name." if wanted else _NO_MODELS
    return Listing(models, _MODEL_COLUMNS, empty)


def loaded_models(client: OllamaClient) -> Listing[LoadedModel]:
    """Return the models in memory."""
    empty = "No model is loaded; the first question loads one."
    return Listing(client.ps(), _LOADED_COLUMNS, empty)


def show_model(client: OllamaClient, model: str, part: str = "") -> TextPage:
    """Return what the server tells of a model, or one part of it."""
    details = client.show(model)
    if part:
        return TextPage(getattr(details, part) or f"{model} has no {part}.")
    return TextPage(_overview(model, details))


def _overview(model: str, details: ModelDetails) -> str:
    facts = {
        "model": model,
        "architecture": details.family,
        "parameters": details.parameter_size,
        "quantization": details.quantization_level,
        "context length": details.context_length or "",
        "embedding length": details.embedding_length or "",
        "capabilities": ", ".join(details.capabilities),
        "license": details.license.strip().partition("\n")[0],
    }
    lines = [f"{name:18}{value}" for name, value in facts.items() if value]
    for heading in ("parameters", "system"):
        text = getattr(details, heading).strip()
        if text:
            lines += ["", heading, *(f"  {line}" for line in text.split("\n"))]
    return "\n".join(lines)


def pull_model(client: OllamaClient, model: str, line: ProgressLine) -> None:
    """Pull a model and show how far it is.

    Raises
    ------
    KeyboardInterrupt
        Interrupted; the server keeps what came, and pulling again goes on there.
    """
    transfer = Transfer()
    try:
        with Arrivals(client.pull(model)) as arrivals:
            for batch in arrivals:
                for progress in batch:
                    transfer.add(progress)
                line.show(f"{model}: {transfer.line()}", transfer.share)
    except BaseException as error:
        is_interrupt = isinstance(error, KeyboardInterrupt)
        ended = "stopped by you" if is_interrupt else "failed"
        if came := transfer.completed_bytes:
            ended += f" at {size_text(came)}; pulling again goes on from there"
        line.finish(f"{model}: {ended}")
        raise
    pulled = f"pulled, {size_text(transfer.total_bytes)}"
    line.finish(f"{model}: {pulled if transfer.was_needed else 'up to date'}")


def copy_model(client: OllamaClient, source: str, destination: str) -> TextPage:
    """Copy a model under another name; refuses to overwrite one."""
    taken = find_model(destination, client.list())
    if taken and canonical(source) != canonical(destination):
        raise ConfigError(
            f"Model {taken.name!r} is there already.",
            why="a copy would overwrite it without asking",
            next_step=f"%ollama rm {taken.name}   and copy again, "
            "or choose another name",
        )
    client.copy(source, destination)
    return TextPage(f"copied {source} to {destination}")


def removal_question(client: OllamaClient, names: Sequence[str]) -> str:
    """Return the question before a removal: each model and the space that it takes.

    Raises
    ------
    ModelNotFoundError
        As ``remove_models`` does.
    """
    installed = client.list()
    _refuse_missing(client, names, installed)
    parts = []
    for name in names:
        model = find_model(name, installed)
        parts.append(f"{name} ({size_text(model.size_bytes)})" if model else name)
    return f"Delete {', '.join(parts)}? This can't be undone."


def remove_models(client: OllamaClient, names: Sequence[str]) -> TextPage:
    """Delete models, one after the other; stops at the first that fails.

    Raises
    ------
    ModelNotFoundError
        One of several is not there, and nothing was deleted.
    """
    names = list({canonical(name): name for name in names}.values())
    _refuse_missing(client, names, client.list())
    for name in names:
        client.delete(name)
    return TextPage(f"deleted {', '.join(names)}")


def _refuse_missing(
    client: OllamaClient, names: Sequence[str], installed: Sequence[ModelSummary]
) -> None:
    # NB: of a single name the server itself decides; it can also delete a model that
    # is damaged, and that it lists no more.
    missing = [name for name in names if find_model(name, installed) is None]
    if len(names) == 1 or not missing:
        return
    known = [model.name for model in installed]
    near = dict.fromkeys(n for name in missing for n in nearest_names(name, known))
    guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    is_one = len(missing) == 1
    raise ModelNotFoundError(
        f"Nothing was deleted: {', '.join(map(repr, missing))} "
        f"{'is' if is_one else 'are'} not on {client.host.base_url}.",
        why=f"the server lists no {'model' if is_one else 'models'} of "
        f"{'that name' if is_one else 'those names'}",
        next_step=f"{guess}See %ollama list",
    )
