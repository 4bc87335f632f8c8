"""``%ollama pull``, ``push`` and ``create``: model data that is transferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ollama_magic.client import actions
from ollama_magic.client.actions import TransferStream
from ollama_magic.client.background import BackgroundReader, run_in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.creation import ModelSpec, read_spec
from ollama_magic.client.interrupts import held
from ollama_magic.client.models import canonical, find_model
from ollama_magic.client.progress import TransferProgress, size_text
from ollama_magic.errors import (
    ConfigError,
    ModelTransferError,
    OllamaMagicError,
    ServerUnreachableError,
    usage_error,
)
from ollama_magic.generation.options import Option
from ollama_magic.notebook.commands.declare import (
    YES,
    Commands,
    Context,
    ParsedCommand,
    is_confirmed,
    options_of,
)
from ollama_magic.render.progress import ProgressLine
from ollama_magic.render.tables import TextPage

COMMANDS = Commands()


@dataclass(frozen=True)
class _Texts:
    """What the progress line says of one kind of transfer."""

    done: str
    not_needed: str
    resumes: str
    """What an interrupt costs."""


_PULL = _Texts("pulled", "up to date", "the next pull resumes there")
_PUSH = _Texts("pushed", "already in the registry", "the next push sends the rest")
_CREATE = _Texts("created", "created", "complete files are not uploaded again")


@COMMANDS.add("pull", operands="MODEL…", completes="model")
def pull(context: Context, line: ParsedCommand) -> None:
    """Pull models one after the other; if one fails, the others are still pulled."""
    client = context.session.client()
    failed: dict[str, OllamaMagicError] = {}
    for name in {canonical(name): name for name in line.arguments}.values():
        try:
            pull_model(client, name, context.progress_line())
        except ServerUnreachableError:
            raise
        except OllamaMagicError as error:
            failed[name] = error
    if failed:
        raise _not_pulled(failed)


def pull_model(client: OllamaClient, name: str, line: ProgressLine) -> None:
    """Pull a model and show its progress."""
    _show_transfer(actions.pull(client, name), name, line, _PULL)


def _not_pulled(failed: Mapping[str, OllamaMagicError]) -> OllamaMagicError:
    if len(failed) == 1:
        return next(iter(failed.values()))
    return ModelTransferError(
        f"{len(failed)} models were not pulled: {', '.join(failed)}.",
        why="; ".join(f"{name}: {e.why or e.what}" for name, e in failed.items()),
        next_step=f"%ollama pull {' '.join(failed)}   resumes them; "
        "pull one alone for its full error",
    )


@COMMANDS.add("push", operands="MODEL", completes="model")
def push(context: Context, line: ParsedCommand) -> None:
    """Push a model and show its progress."""
    (name,) = line.arguments
    transferring = actions.push(context.session.client(), name)
    _show_transfer(transferring, name, context.progress_line(), _PUSH)


@COMMANDS.add(
    "create",
    operands="NAME",
    options=(
        Option(
            "base",
            ("--from",),
            metavar="MODEL",
            example="llama3.2",
            completes="model",
        ),
        Option(
            "file",
            ("-F", "--file"),
            metavar="FILE",
            example="Modelfile",
            completes="file",
        ),
        *options_of("system", "options"),
        Option("quantize", ("--quantize",), metavar="Q", example="q4_K_M"),
        YES,
    ),
)
def create(context: Context, line: ParsedCommand) -> TextPage | None:
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
        return TextPage(f"{name} was not changed")
    transferring = actions.create(client, name, spec)
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


def _show_transfer(
    transferring: TransferStream, name: str, line: ProgressLine, texts: _Texts
) -> None:
    with held():  # the progress line must say how it ended
        _transfer(transferring, name, line, texts)


def _transfer(
    transferring: TransferStream, name: str, line: ProgressLine, texts: _Texts
) -> None:
    transfer = TransferProgress()
    line.show(f"{name}: contacting the server…")
    try:
        with BackgroundReader(transferring) as arrivals:
            for batch in arrivals:
                for progress in batch:
                    transfer.add(progress)
                if transfer.status:
                    advice = f"; you can interrupt: {texts.resumes}"
                    state = transfer.line() + (advice if transfer.is_stalled else "")
                    line.show(f"{name}: {state}", transfer.share)
    except BaseException as error:
        is_interrupt = isinstance(error, KeyboardInterrupt)
        ended = "stopped" if is_interrupt else "failed"
        if received := transfer.completed_bytes:
            ended += f" at {size_text(received)}; {texts.resumes}"
        line.finish(f"{name}: {ended}")
        raise
    size = f", {size_text(transfer.total_bytes)}" if transfer.total_bytes else ""
    done = f"{texts.done}{size}"
    line.finish(f"{name}: {done if transfer.was_needed else texts.not_needed}")
