"""Vectors of texts: reads the texts, and sends them in requests of limited size.

``ollama_magic.embed`` calls it. One bad text fails the request of its neighbours, so a
request that fails is repeated in halves until the text is found.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ollama_magic.client.advice import TOO_LONG
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import ModelSummary
from ollama_magic.errors import ConfigError, PromptError, ServerError, quoted
from ollama_magic.generation.models import capabilities_of
from ollama_magic.render.text import counted

Vector = tuple[float, ...]

_MAX_TEXTS = 256
_MAX_CHARS = 200_000
"""In one request, which many proxies limit to 1 MB."""
_IS_ONE_TEXT = re.compile(f"[(](413|500)[)]|{TOO_LONG}", re.IGNORECASE)
"""Errors that one of several texts may have caused."""


def read_texts(given: Any) -> list[str]:  # noqa: ANN401  (what users pass)
    """Return the texts to embed.

    Raises
    ------
    PromptError
        The values are not texts in order, or one of them is missing or empty.
    """
    if isinstance(given, str):
        given = [given]
    is_unfit = isinstance(given, bytes | Mapping | set) or hasattr(given, "columns")
    is_unfit = is_unfit or getattr(given, "ndim", 1) != 1
    if is_unfit or not isinstance(given, Iterable):
        raise PromptError(
            f"A value of type {type(given).__name__} cannot be embedded.",
            why="embed takes a text, or texts in a list, a one-dimensional array or "
            "one column",
            next_step='embed("a text"), or for a column: embed(df["text"])',
        )
    to_list = getattr(given, "to_pylist", None)  # pyarrow's items are not str
    texts = list(to_list() if to_list else given)
    for number, text in enumerate(texts):
        if not (isinstance(text, str) and text):
            raise PromptError(
                f"texts[{number}] cannot be embedded.",
                why="it is empty" if text == "" else f"it is {quoted(repr(text))}",
                next_step="embed([t for t in texts if isinstance(t, str) and t])",
            )
    return texts


def embed_texts(
    client: OllamaClient, model: str, texts: Sequence[str], given: Mapping[str, Any]
) -> list[Vector]:
    """Return one vector for each text, in order.

    Parameters
    ----------
    given
        The other parameters of ``OllamaClient.embed``.

    Raises
    ------
    ServerError
        The server rejected a text, which the error names, or returned no vector for it.
    """
    vectors: list[Vector] = []
    for batch in _batches(texts):
        vectors += _embed(client, model, texts, batch, given)
    return vectors


def _batches(texts: Sequence[str]) -> Iterator[range]:
    """Yield the numbers of the texts of each request."""
    start, size = 0, 0
    for number, text in enumerate(texts):
        size += len(text)
        is_full = size > _MAX_CHARS or number - start == _MAX_TEXTS
        if is_full and number > start:
            yield range(start, number)
            start, size = number, len(text)
    if texts:
        yield range(start, len(texts))


def _embed(
    client: OllamaClient,
    model: str,
    texts: Sequence[str],
    batch: range,
    given: Mapping[str, Any],
) -> list[Vector]:
    try:
        found = client.embed(model, texts[batch.start : batch.stop], **given).vectors
    except ServerError as error:
        if len(texts) == 1 or not _IS_ONE_TEXT.search(error.why):
            raise
        if len(batch) > 1:
            middle = len(batch) // 2
            halves = batch[:middle], batch[middle:]
            return [
                v for half in halves for v in _embed(client, model, texts, half, given)
            ]
        shown = quoted(texts[batch.start], limit=60)
        what = f"texts[{batch.start}] was not embedded: {shown}"
        raise ServerError(
            what,
            why=error.why,
            next_step=error.next_step,
            status_code=error.status_code,
        ) from error
    is_sound = len(set(map(len, found))) == 1 and all(map(_is_vector, found))
    if len(found) != len(batch) or not is_sound:
        kind = "vector" if is_sound or not found else "unusable vector"
        raise ServerError(
            f"The server returned {counted(len(found), kind)} for "
            f"{counted(len(batch), 'text')}.",
            why="each text needs a vector of numbers, all of the same length",
            next_step="try another embedding model: "
            "https://ollama.com/search?c=embedding",
        )
    return list(found)


def _is_vector(values: Sequence[Any]) -> bool:
    try:
        return bool(values) and math.isfinite(sum(values))
    except TypeError:  # null, or text
        return False


def embedding_model(client: OllamaClient) -> str:
    """Return the newest embedding model; some lists omit the capability (recorded).

    Raises
    ------
    ConfigError
        The server has none.
    """

    def embeds(model: ModelSummary) -> bool:
        listed = "embedding" in model.capabilities
        return listed or "embedding" in capabilities_of(client, model.name)

    for model in client.list():
        if not model.cloud_host and embeds(model):
            return model.name
    raise ConfigError(
        "No model is named, and the server has no embedding model.",
        why="no installed model has the capability: embedding",
        next_step="%ollama pull nomic-embed-text   "
        "(others: https://ollama.com/search?c=embedding)",
    )
