"""Actions on models, shared by the ``%ollama`` commands and the panel.

They add to the client what an action needs besides its request: what a name would
overwrite, what a removal frees. They show nothing and never ask for confirmation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ollama_magic.client.background import ClosableStream, ask_in_time
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import (
    ModelSummary,
    canonical,
    find_model,
    has_tag,
    matching_names,
    nearest_names,
)
from ollama_magic.client.registry import ModelUpdate, find_updates
from ollama_magic.client.types import KeepAlive
from ollama_magic.errors import (
    CapabilityError,
    ConfigError,
    ModelNotFoundError,
    size_text,
)

# -- names ---------------------------------------------------------------------


def existing(client: OllamaClient, name: str) -> ModelSummary | None:
    """Return the model of this name in any spelling, or None."""
    return find_model(name, client.list())


def full_name(client: OllamaClient, name: str) -> str:
    """Return the name with its tag, if only one tag of the model is installed."""
    if has_tag(name):
        return name
    (installed,) = ask_in_time(client.list)
    known = [] if isinstance(installed, Exception) else installed
    names = matching_names(name, [model.name for model in known])
    return names[0] if len(names) == 1 else name


def copy(
    client: OllamaClient, source: str, destination: str, *, overwrite: bool = False
) -> None:
    """Copy a model to another name.

    Raises
    ------
    ConfigError
        A model of that name exists, and ``overwrite`` is false.
    """
    taken = None if overwrite else existing(client, destination)
    if taken is not None and canonical(source) != canonical(destination):
        raise ConfigError(
            f"Model {taken.name!r} already exists.",
            why="the copy would overwrite it",
            next_step=f"%ollama cp -y {source} {taken.name}   overwrites it",
        )
    client.copy(source, destination)


# -- removal -------------------------------------------------------------------


@dataclass(frozen=True)
class Removal:
    """The names to delete, and what that frees."""

    names: tuple[str, ...]
    """As given, without duplicates."""
    models: tuple[ModelSummary, ...]
    """Those that the server lists."""
    freed_bytes: int
    """Space that it frees; a model with another name keeps its space."""

    def space_text(self) -> str:
        """Return the freed space as a sentence."""
        if self.freed_bytes:
            return f"It frees {size_text(self.freed_bytes)}."
        return "It frees no space: the model is kept under another name."

    def question(self) -> str:
        """Return the question to confirm."""
        parts = []
        for name in self.names:
            model = find_model(name, self.models)
            parts.append(f"{name} ({size_text(model.size_bytes)})" if model else name)
        return f"Delete {', '.join(parts)}? {self.space_text()} This can't be undone."


def plan_removal(
    client: OllamaClient, names: Sequence[str], *, unlisted: bool = False
) -> Removal:
    """Return what removing ``names`` would delete.

    Parameters
    ----------
    unlisted
        A single name need not be listed: the server can also delete a damaged model.

    Raises
    ------
    ModelNotFoundError
        A name is not listed.
    """
    installed = client.list()
    missing = [name for name in names if find_model(name, installed) is None]
    if missing and not (unlisted and len(names) == 1):
        raise _missing(client, missing, installed)
    return plan_removal_of(names, installed)


def plan_removal_of(names: Sequence[str], installed: Sequence[ModelSummary]) -> Removal:
    """Return what removing ``names`` would delete, from a known list of models."""
    names = tuple({canonical(name): name for name in names}.values())
    found = [find_model(name, installed) for name in names]
    going = tuple(model for model in found if model is not None)
    staying = {model.digest for model in installed if model not in going}
    freed = disk_bytes(model for model in going if model.digest not in staying)
    return Removal(names, going, freed)


def disk_bytes(models: Iterable[ModelSummary]) -> int:
    """Return the disk space of models, counting each digest once."""
    sizes = {model.digest or model.name: model.size_bytes for model in models}
    return sum(sizes.values())


def remove(client: OllamaClient, removal: Removal) -> None:
    """Delete the planned models one by one; stops at the first failure.

    Raises
    ------
    ModelNotFoundError
        The server does not have one of them; those before it are deleted.
    """
    for name in removal.names:
        client.delete(name)


def _missing(
    client: OllamaClient, missing: Sequence[str], installed: Sequence[ModelSummary]
) -> ModelNotFoundError:
    known = [model.name for model in installed]
    near = dict.fromkeys(n for name in missing for n in nearest_names(name, known))
    guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    damaged = f"; a damaged model that is not listed: %ollama rm -y {missing[0]}"
    is_one = len(missing) == 1
    return ModelNotFoundError(
        f"Nothing was deleted: {', '.join(map(repr, missing))} "
        f"{'is' if is_one else 'are'} not on {client.host.base_url}.",
        why=f"the server lists no model of {'that name' if is_one else 'those names'}",
        next_step=f"{guess}See %ollama list{'' if near or not is_one else damaged}",
        status_code=404,
    )


# -- updates -------------------------------------------------------------------


def check_updates(
    client: OllamaClient, wanted: str = "", *, registry: str = ""
) -> tuple[ModelUpdate, ...]:
    """Return which installed models have a newer version in Ollama's registry.

    The registry receives the names of the models, so this is only called when the user
    asks for it. It takes seconds; call it in a thread.

    Parameters
    ----------
    wanted
        Check only models whose name contains this.
    registry
        The address of another registry, for tests.
    """
    version, installed = ask_in_time(client.version, client.list)
    if isinstance(installed, Exception):
        raise installed
    models = [m for m in installed if wanted.lower() in m.name.lower()]
    if isinstance(version, str) and "embedded" in version:
        why = "from the embedded engine"
        return tuple(ModelUpdate(m.name, "local", why, m.modified_at) for m in models)
    return find_updates(models, registry=registry)


# -- memory --------------------------------------------------------------------


def load(
    client: OllamaClient, name: str, keep_alive: KeepAlive | None = None
) -> ClosableStream[Any]:
    """Load a model into memory; iterating over it waits, perhaps for minutes.

    Closing it cancels the load. An embedding model is loaded by embedding nothing.
    """
    return _Load(client, name, keep_alive)


class _Load:
    def __init__(
        self, client: OllamaClient, name: str, keep_alive: KeepAlive | None
    ) -> None:
        self._stream = client.generate(name, "", keep_alive=keep_alive)
        self._load_embedding_model = partial(
            client.embed, name, [], keep_alive=keep_alive
        )
        self.close = self._stream.close

    def __iter__(self) -> Iterator[object]:
        try:
            yield from self._stream
        except CapabilityError:
            self._load_embedding_model()


def stop(client: OllamaClient, name: str) -> bool:
    """Unload a model; a reply in progress is completed first.

    Returns
    -------
    bool
        Whether it was in memory, or the server does not say. Models that share a file
        share their memory, and the server lists them under one of their names (recorded
        from 0.33), so a digest identifies them here.

    Raises
    ------
    ModelNotFoundError
        There is no such model.
    """
    loaded, installed = ask_in_time(client.ps, client.list)
    if isinstance(loaded, Exception):
        was_loaded = True
    else:
        known = [] if isinstance(installed, Exception) else installed
        model = find_model(name, known)
        digest = model.digest if model else None
        was_loaded = find_model(name, loaded) is not None or any(
            other.digest == digest for other in loaded
        )
    try:
        client.generate(name, "", keep_alive=0, stream=False).complete()
    except CapabilityError:  # it is an embedding model
        client.embed(name, [], keep_alive=0)
    return was_loaded
