"""The subcommands about models: ``%ollama list``, ``show``, ``pull``, ``rm``, ..."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ollama_magic.client import actions
from ollama_magic.client.background import (
    BackgroundReader,
    ClosableStream,
    ask_in_time,
    defer_interrupt,
    held,
    run_in_background,
)
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.creation import Creation, ModelSpec, read_spec
from ollama_magic.client.models import LoadedModel, canonical, find_model, is_cloud_name
from ollama_magic.client.progress import TransferProgress
from ollama_magic.client.registry import ModelUpdate
from ollama_magic.client.types import KeepAlive, Progress
from ollama_magic.errors import (
    ConfigError,
    ModelTransferError,
    OllamaMagicError,
    ServerUnreachableError,
    last_time_text,
    size_text,
    usage_error,
)
from ollama_magic.generation.options import Option, switch
from ollama_magic.generation.status_line import load_times, note_load
from ollama_magic.notebook.commands.declare import (
    YES,
    Commands,
    Context,
    ParsedCommand,
    is_confirmed,
    options_of,
)
from ollama_magic.render import listings
from ollama_magic.render.output import ProgressLine
from ollama_magic.render.tables import Listing, age

COMMANDS = Commands()


@COMMANDS.add("list", operands="[FILTER]", aliases=("ls", "models"))
def list_models(context: Context, line: ParsedCommand) -> object:
    """Return the installed models."""
    client = context.session.client()
    return run_in_background(lambda: listings.list_models(client, *line.arguments))


@COMMANDS.add(
    "show",
    operands="MODEL",
    aliases=("info",),
    options=(
        switch("modelfile", "--modelfile"),
        switch("parameters", "--parameters"),
        switch("template", "--template"),
        switch("license", "--license"),
        switch("system", "--system"),
        switch("verbose", "-v", "--verbose"),
    ),
    completes="model",
)
def show(context: Context, line: ParsedCommand) -> object:
    """Return what the server knows about a model."""
    (model,) = line.arguments
    client, is_verbose = context.session.client(), "verbose" in line.values
    part = next((name for name in line.values if name != "verbose"), "")
    model = run_in_background(partial(actions.full_name, client, model))
    show = listings.show_model
    return run_in_background(lambda: show(client, model, part, verbose=is_verbose))


@COMMANDS.add("ps")
def ps(context: Context, _: ParsedCommand) -> object:
    """Return the loaded models."""
    client = context.session.client()
    return run_in_background(lambda: listings.loaded_models(client))


# -- memory --------------------------------------------------------------------


@COMMANDS.add(
    "load", operands="MODEL", options=options_of("keep_alive"), completes="model"
)
def load(context: Context, line: ParsedCommand) -> None:
    """Load a model and show how long it takes."""
    (model,) = line.arguments
    client, keep_alive = context.session.client(), line.values.get("keep_alive")
    model = run_in_background(partial(actions.full_name, client, model))
    last = last_time_text(load_times(context.session, client)(model))
    began = time.monotonic()
    _load(client, model, keep_alive, context.progress_line(), last)
    note_load(context.session, client, model, time.monotonic() - began)


@held()  # the progress line must say how it ended
def _load(
    client: OllamaClient,
    name: str,
    keep_alive: KeepAlive | None,
    line: ProgressLine,
    last: str,
) -> None:
    began = time.monotonic()
    with (
        _ended_on_error(line, name, "not loaded"),
        BackgroundReader(actions.load(client, name, keep_alive)) as reader,
    ):
        for _ in reader.batches():
            line.show(f"{name}: loading… {time.monotonic() - began:.0f} s{last}")
    if is_cloud_name(name):
        line.finish(f"{name}: a cloud model, which is never in memory here")
    else:
        line.finish(_loaded_text(client, name, time.monotonic() - began))


def _loaded_text(client: OllamaClient, name: str, took_s: float) -> str:
    facts = [f"loaded in {took_s:.1f} s"]
    model = _in_memory(client, name)
    if model:
        facts += [
            listings.processor(model),
            f"context {model.context_length:,}",
            f"unloads {age(model.expires_at)}",
        ]
    return f"{name}: {', '.join(facts)}"


def _in_memory(client: OllamaClient, name: str) -> LoadedModel | None:
    """Return a model that was just loaded; None if the server does not list it."""
    try:
        (loaded,) = run_in_background(partial(ask_in_time, client.ps))
    except KeyboardInterrupt:
        defer_interrupt()
        return None
    return None if isinstance(loaded, Exception) else find_model(name, loaded)


@COMMANDS.add("stop", operands="MODEL", completes="model")
def stop(context: Context, line: ParsedCommand) -> str:
    """Unload a model."""
    (model,) = line.arguments
    client = context.session.client()
    model = run_in_background(partial(actions.full_name, client, model))
    was_loaded = run_in_background(lambda: actions.stop(client, model))
    return f"{model} {'unloaded' if was_loaded else 'was not loaded'}"


# -- names ---------------------------------------------------------------------


@COMMANDS.add(
    "cp", operands="SRC DST", aliases=("copy",), options=(YES,), completes="model"
)
def copy(context: Context, line: ParsedCommand) -> str:
    """Copy a model, once the user has confirmed what the copy replaces."""
    source, destination = line.arguments
    client = context.session.client()
    installed = run_in_background(client.list)
    taken = find_model(destination, installed)
    if (
        taken
        and canonical(source) != canonical(destination)
        and find_model(source, installed)  # else the server says that it is missing
        and not is_confirmed(
            context,
            line,
            f"Replace {taken.name} ({size_text(taken.size_bytes)}) with a copy of "
            f"{source}? This can't be undone.",
            f"Model {taken.name!r} already exists and was not replaced.",
            f"%ollama cp -y {source} {destination}",
        )
    ):
        return "Nothing was copied."
    run_in_background(lambda: actions.copy(client, source, destination, overwrite=True))
    return f"Copied {source} to {destination}"


@COMMANDS.add(
    "rm",
    operands="MODEL…",
    aliases=("delete", "remove"),
    options=(YES,),
    completes="model",
    discards=True,
)
def remove(context: Context, line: ParsedCommand) -> str:
    """Delete models, once the user has confirmed it."""
    client, is_sure = context.session.client(), "yes" in line.values
    removal = run_in_background(
        lambda: actions.plan_removal(client, line.arguments, unlisted=is_sure)
    )
    names = ", ".join(removal.names)
    not_done = f"Nothing was deleted: {names}."
    command = f"%ollama rm -y {' '.join(removal.names)}"
    if not is_confirmed(context, line, removal.question(), not_done, command):
        return "Nothing was deleted."
    run_in_background(lambda: actions.remove(client, removal))
    freed = removal.freed_bytes
    return f"Deleted {names}{f', {size_text(freed)} freed' if freed else ''}"


# -- transfers -------------------------------------------------------------------


@dataclass(frozen=True)
class _Texts:
    """The words of the progress line for one kind of transfer."""

    done: str
    not_needed: str
    resumes: str
    """Shown after an interrupt: how the next transfer continues."""


_PULL = _Texts("pulled", "up to date", "the next pull resumes there")
_PUSH = _Texts("pushed", "already in the registry", "the next push sends the rest")
_CREATE = _Texts("created", "created", "complete files are not uploaded again")


_INSECURE = switch("insecure", "--insecure")


@COMMANDS.add("outdated", operands="[FILTER]")
def list_outdated(context: Context, line: ParsedCommand) -> Listing[ModelUpdate]:
    """Return which installed models have a newer version in the registry."""
    client = context.session.client()
    updates = run_in_background(lambda: actions.check_updates(client, *line.arguments))
    return listings.list_updates(updates, *line.arguments)


@COMMANDS.add(
    "pull",
    operands="[MODEL…]",
    options=(switch("all", "--all"), _INSECURE),
    completes="model",
)
def pull(context: Context, line: ParsedCommand) -> None:
    """Pull models one after the other; if one fails, the others are still pulled."""
    is_all, names = "all" in line.values, line.arguments
    if is_all == bool(names):
        raise usage_error(
            "%ollama pull takes the names of models, or --all.",
            next_step="%ollama pull NAME   |   %ollama pull --all",
        )
    client = context.session.client()
    if is_all:
        names = _all_to_pull(client, context.progress_line())
    failed: dict[str, OllamaMagicError] = {}
    for name in {canonical(name): name for name in names}.values():
        try:
            pull_model(
                client,
                name,
                context.progress_line(),
                insecure="insecure" in line.values,
            )
        except ServerUnreachableError:
            raise
        except OllamaMagicError as error:
            failed[name] = error
    if failed:
        raise _not_pulled(failed)


@held()  # the progress line must say how it ended
def _all_to_pull(client: OllamaClient, line: ProgressLine) -> tuple[str, ...]:
    """Return the models that ``pull --all`` pulls, and say which it leaves out."""
    line.show("checking which models have updates…")
    with _ended_on_error(line, "checking for updates"):
        updates = run_in_background(lambda: actions.check_updates(client))
    line.finish(listings.pull_plan(updates))
    unknown = [one for one in updates if one.state == "unknown"]
    to_pull = [one.name for one in updates if one.state in {"outdated", "elsewhere"}]
    if unknown and not to_pull:
        raise ModelTransferError(
            f"Not checked for updates: {', '.join(one.name for one in unknown)}.",
            why=unknown[0].why,
            next_step=f"%ollama pull {unknown[0].name}   pulls it without this check",
        )
    return tuple(to_pull)


def pull_model(
    client: OllamaClient, name: str, line: ProgressLine, *, insecure: bool = False
) -> None:
    """Pull a model and show its progress."""
    _show_transfer(client.pull(name, insecure=insecure), name, line, _PULL)


def _not_pulled(failed: Mapping[str, OllamaMagicError]) -> OllamaMagicError:
    if len(failed) == 1:
        return next(iter(failed.values()))
    return ModelTransferError(
        f"{len(failed)} models were not pulled: {', '.join(failed)}.",
        why="; ".join(f"{name}: {e.why or e.what}" for name, e in failed.items()),
        next_step=f"%ollama pull {' '.join(failed)}   resumes them; "
        "pull one alone for its full error",
    )


@COMMANDS.add("push", operands="MODEL", options=(_INSECURE,), completes="model")
def push(context: Context, line: ParsedCommand) -> None:
    """Push a model and show its progress."""
    (name,) = line.arguments
    client, is_insecure = context.session.client(), "insecure" in line.values
    transferring = client.push(name, insecure=is_insecure)
    _show_transfer(transferring, name, context.progress_line(), _PUSH)


@COMMANDS.add(
    "create",
    operands="NAME",
    options=(
        Option(
            "base", ("--from",), metavar="MODEL", example="llama3.2", completes="model"
        ),
        Option(
            "file",
            ("-F", "--file"),
            metavar="FILE",
            example="Modelfile",
            completes="file",
        ),
        *options_of("system", "options"),
        Option("quantize", ("-q", "--quantize"), metavar="Q", example="q4_K_M"),
        YES,
    ),
)
def create(context: Context, line: ParsedCommand) -> str | None:
    """Create a model, once the user has confirmed what it replaces."""
    (name,) = line.arguments
    client, spec = context.session.client(), _spec(line.values)
    installed = run_in_background(client.list)
    if not spec.is_from_file and find_model(spec.base, installed) is None:
        raise ConfigError(
            f"Model {spec.base!r} is not on {client.host.base_url}.",
            why="the server would download it without asking",
            next_step=f"%ollama pull {spec.base}   then create the model again",
        )
    taken = find_model(name, installed)
    if taken and not is_confirmed(
        context,
        line,
        f"Replace {taken.name} ({size_text(taken.size_bytes)})? "
        "Its settings can't be restored.",
        f"Model {taken.name!r} already exists and was not replaced.",
        f"the same line with -y: %ollama create -y {name} …",
    ):
        return f"{name} was not changed"
    transferring = Creation(client, name, spec)
    _show_transfer(transferring, name, context.progress_line(), _CREATE)
    return None


def _spec(values: Mapping[str, Any]) -> ModelSpec:
    """Return the model that the options of ``create`` describe."""
    file, base = values.get("file"), values.get("base")
    rest = {key: values[key] for key in ("system", "quantize") if key in values}
    if (file is None) == (base is None):
        raise usage_error(
            "%ollama create takes either --from or -F.",
            next_step="%ollama create NAME --from MODEL   |   "
            "%ollama create NAME -F Modelfile",
        )
    spec = ModelSpec(base=str(base)) if file is None else read_spec(str(file))
    parameters = {**spec.parameters, **values.get("options", {})}
    return replace(spec, parameters=parameters, **rest)


# -- progress ------------------------------------------------------------------


@contextmanager
def _ended_on_error(
    line: ProgressLine, name: str, failed: str = "failed", more: Callable[[], str] = str
) -> Iterator[None]:
    """Let the progress line say that the work was stopped, or has failed."""
    try:
        yield
    except BaseException as error:
        how = "stopped" if isinstance(error, KeyboardInterrupt) else failed
        line.finish(f"{name}: {how}{more()}")
        raise


@held()  # the progress line must say how it ended
def _show_transfer(
    transferring: ClosableStream[Progress], name: str, line: ProgressLine, texts: _Texts
) -> None:
    transfer = TransferProgress()
    line.show(f"{name}: contacting the server…")

    def received() -> str:
        size = transfer.completed_bytes
        return f" at {size_text(size)}; {texts.resumes}" if size else ""

    with (
        _ended_on_error(line, name, more=received),
        BackgroundReader(transferring) as reader,
    ):
        for batch in reader.batches():
            for progress in batch:
                transfer.add(progress)
            if transfer.status:
                advice = f"; you can interrupt: {texts.resumes}"
                state = transfer.line() + (advice if transfer.is_stalled else "")
                line.show(f"{name}: {state}", transfer.share)
    size = f", {size_text(transfer.total_bytes)}" if transfer.total_bytes else ""
    done = f"{texts.done}{size}"
    line.finish(f"{name}: {done if transfer.was_needed else texts.not_needed}")
