"""What ``%ollama`` shows of models, and asks before it changes them.

One function per subcommand; each returns what is shown, or None when it has shown
it itself. What is done, and not shown, is in :mod:`ollama_magic.client.actions`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ollama_magic.client import actions as model_actions
from ollama_magic.client.actions import Transferring
from ollama_magic.client.background import Arrivals, in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.creation import ModelSpec
from ollama_magic.client.interrupts import held, put_back
from ollama_magic.client.models import LoadedModel, canonical, find_model
from ollama_magic.client.progress import Transfer, size_text
from ollama_magic.client.types import KeepAlive
from ollama_magic.errors import (
    ConfigError,
    ModelTransferError,
    OllamaMagicError,
    ServerUnreachableError,
)
from ollama_magic.generation.confirm import Confirm, is_confirmed
from ollama_magic.render.model_listing import processor
from ollama_magic.render.progress import ProgressLine
from ollama_magic.render.tables import TextPage

# -- transfers -----------------------------------------------------------------


@dataclass(frozen=True)
class _Words:
    """How a transfer is spoken of."""

    done: str
    not_needed: str
    resumes: str
    """What an interrupt costs."""


_PULL = _Words("pulled", "up to date", "pulling again goes on from there")
_PUSH = _Words("pushed", "the registry has it", "pushing again sends what is missing")
_CREATE = _Words("created", "created", "what the server has whole is not sent again")


def pull_models(
    client: OllamaClient, names: Sequence[str], open_line: Callable[[], ProgressLine]
) -> None:
    """Pull models one after the other; one that fails does not stop the others.

    Raises
    ------
    OllamaMagicError
        Of those that failed, when all have had their turn.
    ServerUnreachableError
        At once: there is nobody to ask for the others.
    KeyboardInterrupt
        Interrupted; the server keeps what came, and pulling again goes on there.
    """
    failed: dict[str, OllamaMagicError] = {}
    for name in {canonical(name): name for name in names}.values():
        try:
            pull_model(client, name, open_line())
        except ServerUnreachableError:
            raise
        except OllamaMagicError as error:
            failed[name] = error
    if failed:
        raise _not_pulled(failed)


def _not_pulled(failed: Mapping[str, OllamaMagicError]) -> OllamaMagicError:
    if len(failed) == 1:
        return next(iter(failed.values()))
    return ModelTransferError(
        f"{len(failed)} models were not pulled: {', '.join(failed)}.",
        why="; ".join(f"{name}: {e.why or e.what}" for name, e in failed.items()),
        next_step=f"%ollama pull {' '.join(failed)}   goes on where each stopped; "
        "alone, each says more",
    )


def pull_model(client: OllamaClient, name: str, line: ProgressLine) -> None:
    """Pull a model and show how far it is; errors are those of ``pull_models``."""
    _show_transfer(model_actions.pull(client, name), name, line, _PULL)


def push_model(client: OllamaClient, name: str, line: ProgressLine) -> None:
    """Push a model to the registry that its name says, and show how far it is."""
    _show_transfer(model_actions.push(client, name), name, line, _PUSH)


def _show_transfer(
    stream: Transferring, name: str, line: ProgressLine, words: _Words
) -> None:
    with held():  # the line that stays says how it ended
        _transfer(stream, name, line, words)


def _transfer(
    stream: Transferring, name: str, line: ProgressLine, words: _Words
) -> None:
    transfer = Transfer()
    line.show(f"{name}: asking the server…")
    try:
        with Arrivals(stream) as arrivals:
            for batch in arrivals:
                for progress in batch:
                    transfer.add(progress)
                if transfer.status:
                    advice = f"; interrupt: {words.resumes}"
                    state = transfer.line() + (advice if transfer.is_stalled else "")
                    line.show(f"{name}: {state}", transfer.share)
    except BaseException as error:
        is_interrupt = isinstance(error, KeyboardInterrupt)
        ended = "stopped by you" if is_interrupt else "failed"
        if came := transfer.completed_bytes:
            ended += f" at {size_text(came)}; {words.resumes}"
        line.finish(f"{name}: {ended}")
        raise
    size = f", {size_text(transfer.total_bytes)}" if transfer.total_bytes else ""
    done = f"{words.done}{size}"
    line.finish(f"{name}: {done if transfer.was_needed else words.not_needed}")


# -- a new model ---------------------------------------------------------------


def create_model(
    client: OllamaClient,
    name: str,
    spec: ModelSpec,
    line: ProgressLine,
    confirm: Confirm | None,
) -> TextPage | None:
    """Make a model and show how far it is.

    Parameters
    ----------
    confirm
        Asks before a model of that name is replaced; None is sure.

    Raises
    ------
    ConfigError
        The model to start from is not on the server, which would fetch it unasked;
        or a model would be replaced, and there is nobody to ask.
    """
    installed = in_background(client.list)
    if not spec.is_from_file and find_model(spec.base, installed) is None:
        raise ConfigError(
            f"Model {spec.base!r} is not on {client.host.base_url}.",
            why="the server would fetch it from its registry without asking",
            next_step=f"%ollama pull {spec.base}   then create it again",
        )
    taken = find_model(name, installed)
    if (
        taken
        and confirm
        and not is_confirmed(
            confirm,
            f"Replace {taken.name} ({size_text(taken.size_bytes)})? "
            "Its settings can't be brought back.",
            f"Model {taken.name!r} is there already, and was not replaced.",
            f"the same line with -y: %ollama create -y {name} …",
        )
    ):
        return TextPage(f"{name} stays as it was")
    _show_transfer(model_actions.create(client, name, spec), name, line, _CREATE)
    return None


# -- names ---------------------------------------------------------------------


def copy_model(
    client: OllamaClient, source: str, destination: str, confirm: Confirm | None
) -> TextPage:
    """Copy a model under another name, once the user has confirmed what it replaces.

    Parameters
    ----------
    confirm
        Asks before a model is replaced; None is sure.

    Raises
    ------
    ConfigError
        A model would be replaced, and there is nobody to ask.
    """
    taken = in_background(lambda: model_actions.existing(client, destination))
    is_itself = canonical(source) == canonical(destination)
    if (
        taken
        and confirm
        and not is_itself
        and not is_confirmed(
            confirm,
            f"Replace {taken.name} ({size_text(taken.size_bytes)}) by a copy of "
            f"{source}? This can't be undone.",
            f"Model {taken.name!r} is there already, and was not replaced.",
            f"%ollama cp -y {source} {destination}",
        )
    ):
        return TextPage("nothing was copied")
    in_background(
        lambda: model_actions.copy(client, source, destination, overwrite=True)
    )
    return TextPage(f"copied {source} to {destination}")


def remove_models(
    client: OllamaClient, names: Sequence[str], confirm: Confirm | None
) -> TextPage:
    """Delete models, once the user has confirmed it.

    Parameters
    ----------
    confirm
        Asks; None is sure.

    Raises
    ------
    ConfigError
        There is nobody to ask.
    ModelNotFoundError
        As :func:`model_actions.plan_removal` and ``remove`` do.
    """
    removal = in_background(lambda: model_actions.plan_removal(client, names))
    listed = ", ".join(removal.names)
    if confirm and not is_confirmed(
        confirm,
        removal.question(),
        f"Nothing was deleted: {listed}.",
        f"%ollama rm -y {' '.join(removal.names)}",
    ):
        return TextPage("nothing was deleted")
    in_background(lambda: model_actions.remove(client, removal))
    freed = removal.freed_bytes
    space = f", {size_text(freed)} freed" if freed else ""
    return TextPage(f"deleted {listed}{space}")


# -- memory --------------------------------------------------------------------


def load_model(
    client: OllamaClient, name: str, keep_alive: KeepAlive | None, line: ProgressLine
) -> None:
    """Load a model, and show that it takes its time.

    Raises
    ------
    KeyboardInterrupt
        Interrupted; the server gives up the load.
    """
    with held():  # the line that stays says how it ended
        _load(client, name, keep_alive, line)


def _load(
    client: OllamaClient, name: str, keep_alive: KeepAlive | None, line: ProgressLine
) -> None:
    began = time.monotonic()
    try:
        with Arrivals(model_actions.load(client, name, keep_alive)) as arrivals:
            for _ in arrivals:
                line.show(f"loading {name}… {time.monotonic() - began:.0f} s")
    except BaseException as error:
        is_interrupt = isinstance(error, KeyboardInterrupt)
        line.finish(f"{name}: {'stopped by you' if is_interrupt else 'not loaded'}")
        raise
    line.finish(_loaded_text(client, name, time.monotonic() - began))


def _loaded_text(client: OllamaClient, name: str, took_s: float) -> str:
    facts = [f"loaded in {took_s:.1f} s"]
    model = _in_memory(client, name)
    if model:
        facts += [
            processor(model),
            f"context {model.context_length:,}",
            f"until {model.expires_at[:16].replace('T', ' ')}",
        ]
    return f"{name}: {', '.join(facts)}"


def _in_memory(client: OllamaClient, name: str) -> LoadedModel | None:
    """Return a model that was just loaded; None when nobody says, or has the time."""
    try:
        return find_model(name, in_background(client.ps))
    except OllamaMagicError:
        return None
    except KeyboardInterrupt:
        put_back()
        return None


def stop_model(client: OllamaClient, name: str) -> TextPage:
    """Take a model out of memory."""
    was_loaded = in_background(lambda: model_actions.stop(client, name))
    return TextPage(
        f"{name} {'was taken out of' if was_loaded else 'was not in'} memory"
    )
