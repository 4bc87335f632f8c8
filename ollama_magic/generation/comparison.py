"""The Comparison: what several models answered to one prompt, as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ollama_magic import __version__
from ollama_magic.client.models import names_meant
from ollama_magic.generation.reply import Reply
from ollama_magic.history.records import KEY, LAYOUT
from ollama_magic.render.columns import Column, columns_bundle

_OF_ALL = ("layout", "version", "chat", "turn", "position", "prompt", "system")
_IN_THE_TEXT = ("reply", "thinking")


@dataclass(frozen=True)
class Comparison:
    """Replies to one prompt, in the order in which their models were named.

    Iterate over it, or take one by its model: ``comparison["llama3.2"]``. It shows
    itself like the output of the cell that compared.
    """

    replies: tuple[Reply, ...]
    note: str = ""
    """A line under them."""

    def __iter__(self) -> Iterator[Reply]:
        return iter(self.replies)

    def __len__(self) -> int:
        return len(self.replies)

    def __getitem__(self, model: str) -> Reply:
        """Return the reply of a model, however its name is spelt.

        Raises
        ------
        KeyError
            It was not among those that were compared.
        """
        meant = names_meant(model, self.models)
        for reply in self.replies:
            if [reply.model] == meant:
                return reply
        raise KeyError(f"{model} was not compared; there are {', '.join(self.models)}")

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(reply.model for reply in self.replies)

    def to_frame(self) -> Any:  # noqa: ANN401  (pandas is not imported here)
        """Return a ``pandas.DataFrame`` with a row for each model.

        Its columns are model, text, tokens, tokens/s, seconds (as the server counted
        them; 0 where it did not) and status.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        import pandas

        return pandas.DataFrame(
            {
                "model": reply.model,
                "text": reply.text,
                "tokens": reply.stats.eval_count,
                "tokens/s": reply.stats.tokens_per_second,
                "seconds": reply.stats.total_duration_s,
                "status": reply.status,
            }
            for reply in self.replies
        )

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.models)}>"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        columns = [column_of(reply) for reply in self.replies]
        return columns_bundle(columns, self.note), {KEY: self.provenance}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The output's metadata under ``ollama_magic``: who answered what, and how.

        It tells of no chat, as that of a one-off: no turn can be restored from it.
        """
        first = self.replies[0].provenance
        return {
            "layout": LAYOUT,
            "version": __version__,
            "kind": "comparison",
            "chat": None,
            "turn": None,
            "position": None,
            "prompt": first["prompt"],
            "system": first["system"],
            "compared": [
                {
                    name: value
                    for name, value in reply.provenance.items()
                    if name not in {*_OF_ALL, *_IN_THE_TEXT}
                }
                for reply in self.replies
            ],
        }


def column_of(reply: Reply) -> Column:
    """Return a reply as a column, whose heading is its model."""
    # The heading says who answered; the footer need not say so again.
    footer = tuple(part for part in reply.view.footer if part != reply.model)
    return Column(reply.model, replace(reply.view, footer=footer))
