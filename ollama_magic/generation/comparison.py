"""A comparison of models: its replies as a value, and how one of them is kept.

``%ollama keep MODEL`` makes a turn of one reply; the chat has none of them before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

from ollama_magic import __version__
from ollama_magic.client.models import matching_names
from ollama_magic.errors import ConfigError, nearest
from ollama_magic.generation.generate import Result
from ollama_magic.generation.prepare import PreparedRequest
from ollama_magic.generation.reply import Reply, make_reply, make_turn
from ollama_magic.generation.session import Session
from ollama_magic.history.notebooks import stable_cell_id
from ollama_magic.history.records import METADATA_KEY, METADATA_LAYOUT, TURN_CELL_KEY
from ollama_magic.render.columns import Column, columns_bundle

_OF_ALL = ("layout", "version", "chat", "turn", "position", "prompt", "system")
_IN_THE_TEXT = ("reply", "thinking")


@dataclass(frozen=True)
class Comparison:
    """Replies to one prompt, in the order in which their models were named.

    Iterate over it, or index it by model: ``comparison["llama3.2"]``. Displayed, it
    looks like the output of its cell.
    """

    replies: tuple[Reply, ...]
    """The replies, one for each model."""
    note: str = ""
    """A line under the replies."""

    def __iter__(self) -> Iterator[Reply]:
        return iter(self.replies)

    def __len__(self) -> int:
        return len(self.replies)

    def __getitem__(self, model: str) -> Reply:
        """Return the reply of a model; the tag ``latest`` can be left out.

        Raises
        ------
        KeyError
            The model was not compared.
        """
        meant = matching_names(model, self.models)
        for reply in self.replies:
            if [reply.model] == meant:
                return reply
        raise KeyError(f"{model} was not compared; only {', '.join(self.models)}")

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(reply.model for reply in self.replies)

    def to_frame(self) -> Any:  # noqa: ANN401  (pandas is not imported here)
        """Return a ``pandas.DataFrame`` with a row for each model.

        Its columns are model, text, tokens, tokens/s, seconds (as the server counted
        them; 0 if it did not) and status.

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
        return columns_bundle(columns, self.note), {METADATA_KEY: self.provenance}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The output's metadata under ``ollama_magic``: prompt, models, options, times.

        It belongs to no chat, so ``%ollama restore`` does not make a turn of it.
        """
        first = self.replies[0].provenance
        return {
            "layout": METADATA_LAYOUT,
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
    """Return a reply as a column with its model as the heading."""
    # The heading names the model; the footer need not.
    footer = tuple(part for part in reply.view.footer if part != reply.model)
    return Column(reply.model, replace(reply.view, footer=footer))


@dataclass(frozen=True)
class Candidate:
    """The request to one model, and its result."""

    prepared: PreparedRequest
    result: Result

    @property
    def model(self) -> str:
        """The name of the model in the request."""
        return self.prepared.request.model


@dataclass(frozen=True)
class Compared:
    """The last comparison, of which one reply can become a turn."""

    candidates: tuple[Candidate, ...]
    cell_id: str | None
    """The cell that compared."""
    based_on: str
    """Fingerprint of the turns that were sent before the prompt."""
    times_kept: int = 0
    """How often a reply was made a turn."""

    def find(self, model: str) -> Candidate | None:
        """Return the candidate of a model; the tag ``latest`` can be left out."""
        meant = matching_names(model, self.models)
        found = [c for c in self.candidates if [c.model] == meant]
        return found[0] if found else None

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(candidate.model for candidate in self.candidates)


def keep(session: Session, model: str) -> Reply:
    """Make the reply of a model the turn of the cell that compared.

    A reply that was kept before from the same comparison is replaced.

    Returns
    -------
    Reply
        The reply, with its position in the chat.

    Raises
    ------
    ConfigError
        Nothing was compared, or not this model; its reply is empty; or the comparison
        was a one-off, which belongs to no chat.
    """
    compared = session.compared
    if compared is None:
        raise ConfigError(
            "There is no comparison to keep a reply from.",
            why="no models have been compared since the kernel started",
            next_step="%%ollama --compare MODEL,MODEL   with a prompt below it",
        )
    candidate = compared.find(model)
    if candidate is None:
        _raise_not_compared(compared, model)
    chat = candidate.prepared.chat_name
    if chat is None:
        raise ConfigError(
            "This comparison has no reply that can be kept.",
            why="it was made with --once, so it belongs to no chat",
            next_step="run the comparison again without --once",
        )
    if candidate.result.response.is_empty:
        _raise_empty(compared, candidate)
    return _kept(session, compared, candidate, chat)


def _kept(
    session: Session, compared: Compared, candidate: Candidate, chat: str
) -> Reply:
    if compared.cell_id is None:
        # Without a cell, the turn belongs to the comparison, so that another choice
        # replaces it. NB: the colon distinguishes it from the id of a cell.
        compared = replace(compared, cell_id=f"comparison:{uuid.uuid4().hex}")
    compared = replace(compared, times_kept=compared.times_kept + 1)
    session.compared = compared
    session.chat(chat)  # removes turns of deleted cells before this one is added
    prepared, result = candidate.prepared, candidate.result
    turn = make_turn(prepared, result, compared.cell_id)
    turn = replace(turn, based_on=compared.based_on, answered_at=_answered_at(compared))
    turn = session.store.record(session.notebook.key, chat, turn)
    others = [name for name in compared.models if name != candidate.model]
    is_quiet = not session.settings.footer  # -q was meant for the comparison
    prepared = replace(prepared, options=replace(prepared.options, quiet=is_quiet))
    noted = result.noted(f"compared with {', '.join(others)}")
    reply = make_reply(session, prepared, noted, turn)
    if stable_cell_id(compared.cell_id):  # the notebook file has this id too
        told = {**reply.provenance, TURN_CELL_KEY: compared.cell_id}
        reply = replace(reply, provenance=told)
    if not reply.view.footer:  # the footer is off, but the position has to be shown
        place = f"turn {reply.provenance['turn']} of {chat}"
        reply = replace(reply, view=replace(reply.view, footer=(place,)))
    session.last_reply = reply
    return reply


def _answered_at(compared: Compared) -> str:
    """Return the time of the turn: that of the comparison.

    So the outputs of a notebook that is re-run from the cache do not change. Each reply
    that is kept is a microsecond later, since the last of several counts.
    """
    last = max(candidate.result.answered_at for candidate in compared.candidates)
    moment = datetime.fromisoformat(last) + timedelta(microseconds=compared.times_kept)
    return moment.isoformat(timespec="microseconds")


def _raise_not_compared(compared: Compared, model: str) -> NoReturn:
    likely = nearest(model, compared.models) or compared.models[0]
    raise ConfigError(
        f"Model {model!r} was not compared.",
        why=f"the last comparison had: {', '.join(compared.models)}",
        next_step=f"%ollama keep {likely}",
    )


def _raise_empty(compared: Compared, candidate: Candidate) -> NoReturn:
    others = [
        one.model for one in compared.candidates if not one.result.response.is_empty
    ]
    raise ConfigError(
        f"The reply of {candidate.model!r} is empty and cannot be kept.",
        why=candidate.result.notice().strip("[]"),
        next_step=f"%ollama keep {others[0]}" if others else "run the comparison again",
    )
