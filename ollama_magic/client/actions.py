"""What can be done about models: the one set of actions of magics, panel and Python.

Each takes a client and does its work, or raises an error in words. Knows what an
action needs besides its request (what a name would overwrite, what a removal frees).
Shows nothing, and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_magic.client.background import ClosableStream
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.creation import Creation, ModelSpec
from ollama_magic.client.models import (
    ModelSummary,
    canonical,
    find_model,
    nearest_names,
)
from ollama_magic.client.progress import size_text
from ollama_magic.client.types import KeepAlive, Progress
from ollama_magic.errors import CapabilityError, ConfigError, ModelNotFoundError

TransferStream = ClosableStream[Progress]
"""A pull, push or create under way: iterate it; closing it stops the server too."""


# -- transfers -----------------------------------------------------------------


def pull(client: OllamaClient, name: str) -> TransferStream:
    """Fetch a model, or bring it up to date; goes on where an earlier one stopped."""
    return client.pull(name)


def push(client: OllamaClient, name: str) -> TransferStream:
    """Send a model to the registry that its name says."""
    return client.push(name)


def create(client: OllamaClient, name: str, spec: ModelSpec) -> TransferStream:
    """Make a model; one of that name is replaced (:func:`existing` tells).

    Files are sent first, each as ``uploading FILE`` with its bytes.

    Raises
    ------
    ConfigError
        A file that it is made of cannot be read.
    """
    return Creation(client, name, spec)


# -- names ---------------------------------------------------------------------


def existing(client: OllamaClient, name: str) -> ModelSummary | None:
    """Return the model that has this name, however it is spelt; None without one."""
    return find_model(name, client.list())


def copy(
    client: OllamaClient, source: str, destination: str, *, overwrite: bool = False
) -> None:
    """Give a model a second name.

    Raises
    ------
    ConfigError
        A model has that name already, and ``overwrite`` is false.
    """
    taken = None if overwrite else existing(client, destination)
    if taken is not None and canonical(source) != canonical(destination):
        raise ConfigError(
            f"Model {taken.name!r} is there already.",
            why="a copy would overwrite it",
            next_step=f"%ollama cp -y {source} {taken.name}   overwrites it",
        )
    client.copy(source, destination)


# -- removal -------------------------------------------------------------------


@dataclass(frozen=True)
class Removal:
    """Names to be deleted, and what goes with them."""

    names: tuple[str, ...]
    """As they were given, each model once."""
    models: tuple[ModelSummary, ...]
    """Those of them that the server lists."""
    freed_bytes: int
    """Space that goes; a model that keeps another name takes its space on."""

    def space_text(self) -> str:
        """Return what a removal frees, as a sentence."""
        if self.freed_bytes:
            return f"It frees {size_text(self.freed_bytes)}."
        return "It frees no space: the same model stays under another name."

    def question(self) -> str:
        """Return what to ask before it is done."""
        parts = []
        for name in self.names:
            model = find_model(name, self.models)
            parts.append(f"{name} ({size_text(model.size_bytes)})" if model else name)
        return f"Delete {', '.join(parts)}? {self.space_text()} This can't be undone."


def plan_removal(client: OllamaClient, names: Sequence[str]) -> Removal:
    """Return what the removal of ``names`` would be.

    Raises
    ------
    ModelNotFoundError
        One of several is not there. Of a single name the server itself decides: it
        can also delete a model that is damaged, and that it lists no more.
    """
    installed = client.list()
    missing = [name for name in names if find_model(name, installed) is None]
    if missing and len(names) > 1:
        raise _missing(client, missing, installed)
    return plan_removal_of(names, installed)


def plan_removal_of(names: Sequence[str], installed: Sequence[ModelSummary]) -> Removal:
    """Return the same, where the models on the server are known already."""
    names = tuple({canonical(name): name for name in names}.values())
    found = [find_model(name, installed) for name in names]
    going = tuple(model for model in found if model is not None)
    staying = {model.digest for model in installed if model not in going}
    freed = disk_bytes(model for model in going if model.digest not in staying)
    return Removal(names, going, freed)


def disk_bytes(models: Iterable[ModelSummary]) -> int:
    """Return the space that models take; names of the same one take it once."""
    sizes = {model.digest or model.name: model.size_bytes for model in models}
    return sum(sizes.values())


def remove(client: OllamaClient, removal: Removal) -> None:
    """Delete what was planned, one after the other; stops at the first that fails.

    Raises
    ------
    ModelNotFoundError
        The server does not know one; those before it are gone.
    """
    for name in removal.names:
        client.delete(name)


def _missing(
    client: OllamaClient, missing: Sequence[str], installed: Sequence[ModelSummary]
) -> ModelNotFoundError:
    known = [model.name for model in installed]
    near = dict.fromkeys(n for name in missing for n in nearest_names(name, known))
    guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    is_one = len(missing) == 1
    return ModelNotFoundError(
        f"Nothing was deleted: {', '.join(map(repr, missing))} "
        f"{'is' if is_one else 'are'} not on {client.host.base_url}.",
        why=f"the server lists no {'model' if is_one else 'models'} of "
        f"{'that name' if is_one else 'those names'}",
        next_step=f"{guess}See %ollama list",
        status_code=404,
    )


# -- memory --------------------------------------------------------------------


def load(
    client: OllamaClient, name: str, keep_alive: KeepAlive | None = None
) -> ClosableStream[Any]:
    """Load a model into memory; iterate it to wait, which may take minutes.

    Closing it while it waits makes the server give up the load. A model that only
    embeds is loaded by embedding nothing.
    """
    return _Load(client, name, keep_alive)


class _Load:
    def __init__(
        self, client: OllamaClient, name: str, keep_alive: KeepAlive | None
    ) -> None:
        self._client = client
        self._name = name
        self._keep_alive = keep_alive
        self._stream = client.generate(name, "", keep_alive=keep_alive)

    def __iter__(self) -> Iterator[object]:
        try:
            yield from self._stream
        except CapabilityError:
            self._client.embed(self._name, [], keep_alive=self._keep_alive)

    def close(self) -> None:
        """Give up the wait, and the load with it."""
        self._stream.close()


def stop(client: OllamaClient, name: str) -> bool:
    """Take a model out of memory; a running answer goes on to its end.

    Returns
    -------
    bool
        Whether it was in memory. Models that share their file share their memory:
        the server lists them under one of their names (recorded from 0.33), so a
        model is found here by its digest too.

    Raises
    ------
    ModelNotFoundError
        There is no such model.
    """
    loaded = client.ps()
    model = find_model(name, client.list())
    digest = model.digest if model else None
    was_loaded = find_model(name, loaded) is not None or any(
        other.digest == digest for other in loaded
    )
    try:
        client.generate(name, "", keep_alive=0, stream=False).complete()
    except CapabilityError:  # it only embeds
        client.embed(name, [], keep_alive=0)
    return was_loaded
