"""One prompt, several models at once: ``%%ollama --compare``, and ``%ollama keep``.

All requests are prepared and checked before the first is sent. Then all replies stream
at the same time, each into its column. None of them is in the chat until ``keep`` makes
one of them a turn.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, cached_property, partial
from typing import Any, Protocol

from ollama_magic.client.background import held, let_through, run_in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import canonical, matching_names, require_capability
from ollama_magic.errors import ConfigError, Interrupted, nearest
from ollama_magic.generation.lookups import Lookups
from ollama_magic.generation.models import (
    ServerModels,
    ask_for_models,
    cached_reply,
    capabilities_of,
    explained,
)
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prepare import PreparedRequest, prepare
from ollama_magic.generation.reply import Reply, make_reply, make_turn, of_cell
from ollama_magic.generation.response import Response, Result, receive
from ollama_magic.generation.run import discarded_on_error, fill_cache
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import merged
from ollama_magic.generation.status_line import Waiting, with_facts
from ollama_magic.history.records import METADATA_KEY
from ollama_magic.render.columns import Column, columns_bundle
from ollama_magic.render.text import counted

_NOTE = "continue with one of these: %ollama keep MODEL"
_SAID_ONCE = ("layout", "version", "chat", "turn", "position", "prompt", "system")
_IN_THE_TEXT = ("reply", "thinking")


class ComparisonDisplay(Protocol):
    """Where the replies are shown while they stream; columns are numbered from 0."""

    def waiting(self, text: str) -> None:
        """Show what happens before the first request is sent."""

    def begin(self, names: Sequence[str]) -> None:
        """Open a column for each model."""

    def waits(self, number: int, text: str) -> None:
        """Show why a column is still empty."""

    def feed(self, number: int, content: str, thinking: str = "") -> None:
        """Show new text and thinking in a column."""

    def complete(self, number: int, column: Column) -> None:
        """Show the complete column."""

    def tick(self) -> None:
        """Redraw what is due; called several times a second."""

    def finish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """Show all complete columns as the one output."""

    def discard(self) -> None:
        """Remove what was shown: an error takes its place."""


@dataclass(frozen=True)
class Comparison:
    """Replies to one prompt, in the order in which their models were named.

    Iterate over it, or index it by model or position: ``comparison["llama3.2"]``,
    ``comparison[0]``. Displayed, it looks like the output of its cell.
    """

    replies: tuple[Reply, ...]
    """The replies, one for each model."""
    note: str = ""
    """A line under the replies."""

    def __iter__(self) -> Iterator[Reply]:
        return iter(self.replies)

    def __len__(self) -> int:
        return len(self.replies)

    def __getitem__(self, model: str | int) -> Reply:
        """Return the reply of a model, whose tag ``latest`` can be left out.

        Raises
        ------
        KeyError
            The model was not compared.
        IndexError
            There is no reply at this position.
        """
        if isinstance(model, int):
            return self.replies[model]
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

        Its columns are model, text, prompt tokens, cached tokens (those of the prompt
        that the server remembered), tokens, tokens/s, seconds (as the server counted
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
                "prompt tokens": reply.stats.prompt_eval_count,
                "cached tokens": reply.stats.prompt_eval_cached_count,
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
        records = [reply.provenance for reply in self.replies]
        left_out = {*_SAID_ONCE, *_IN_THE_TEXT}
        return {
            "kind": "comparison",
            **{name: records[0][name] for name in _SAID_ONCE},
            "compared": [
                {name: value for name, value in one.items() if name not in left_out}
                for one in records
            ],
        }


def column_of(reply: Reply) -> Column:
    """Return a reply as a column with its model as the heading."""
    # The heading names the model; the footer need not.
    first, *rest = reply.footer or ("",)
    footer = (first.removeprefix(reply.model).strip(), *rest)
    return Column(reply.model, replace(reply, footer=tuple(filter(None, footer))))


@dataclass(frozen=True)
class Compared:
    """The last comparison; ``keep`` makes one of its replies a turn."""

    candidates: tuple[Candidate, ...]
    cell_id: str | None
    """The cell that compared."""
    times_kept: int = 0
    """How often a reply was made a turn."""

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(candidate.model for candidate in self.candidates)


def compare(
    session: Session, options: ChatOptions, text: str, display: ComparisonDisplay
) -> Comparison:
    """Ask several models at once, show their replies as they stream, return them all.

    Raises
    ------
    OllamaMagicError
        One of the requests cannot be sent, so none is; or every model failed, and the
        columns say why.
    Interrupted
        The user interrupted; partial replies are shown.
    """
    options = merged(session.settings, options)
    with held():  # an interrupt ends the replies, not this function
        with discarded_on_error(display), let_through():  # {{ }} may run user code
            columns = _prepared(session, options, text, display)
        stopped = _read(session, columns, display)
        session.compared = Compared(tuple(columns), session.cells.cell_id)
        session.cells.count_turn()  # the next prompt of this cell is another turn
        if stopped and all(one.is_stopped and one.response.is_empty for one in columns):
            display.discard()
            raise stopped
        for one in columns:
            one.show(display)
        note = "" if options.once or options.quiet else _NOTE
        comparison = Comparison(tuple(one.reply for one in columns), note)
        display.finish(*comparison._repr_mimebundle_())
        faults = [one.response.fault for one in columns]
        fault = stopped or (faults[0] if all(faults) else None)
        if stopped is not None:
            stopped.is_shown = True
        if fault is not None:
            raise fault
    return comparison


class Candidate:
    """One model's request, its response while it streams, and its reply."""

    def __init__(
        self, number: int, session: Session, prepared: PreparedRequest
    ) -> None:
        self.number = number
        self.prepared = prepared
        self.model = prepared.request.model
        self.lookups = Lookups(prepared)
        self.waiting = Waiting(session, prepared, self.lookups)
        self._session = session
        options, request = prepared.options, prepared.request
        cached = cached_reply(session, options, request, prepared.digest)
        self.response = Response.of(cached) if cached else Response()
        self._is_shown = False

    @property
    def is_stopped(self) -> bool:
        """Whether the user has ended it."""
        return isinstance(self.response.fault, KeyboardInterrupt)

    @cached_property
    def result(self) -> Result:
        """Its result, once its response has ended."""
        request, fault = self.prepared.request, self.response.fault
        fault = explained(self._session, self.prepared.options, request, fault)
        result = Result((request,), (self.response,), fault)
        return with_facts(self._session, self.prepared, result, self.lookups)

    @cached_property
    def reply(self) -> Reply:
        """Its reply, once its response has ended; it is in no chat."""
        session, prepared, result = self._session, self.prepared, self.result
        fill_cache(session, prepared, result)
        turn = make_turn(prepared, result)
        return make_reply(session, prepared, result, turn, is_kept=False)

    def show(self, display: ComparisonDisplay) -> None:
        """Show the complete column, once."""
        if not self._is_shown:
            self._is_shown = True
            display.complete(self.number, column_of(self.reply))


def _prepared(
    session: Session, options: ChatOptions, text: str, display: ComparisonDisplay
) -> list[Candidate]:
    """Return a column with a checked request for each model."""
    client = session.client(options.host)

    @cache
    def look_up(must_list: bool) -> ServerModels:
        display.waiting(f"contacting {client.host.base_url}…")
        return ask_for_models(client, options, must_list)

    columns = [
        Candidate(number, session, prepare(session, client, alone, text, look_up))
        for number, alone in enumerate(options.for_each_model())
    ]
    _check_differ([one.prepared for one in columns])
    for one in columns:
        if not one.response.has_ended:
            _check_can_answer(client, one.prepared)
    return columns


def _check_differ(all_prepared: Sequence[PreparedRequest]) -> None:
    """Raise if two of the names mean the same model on this server."""
    seen: dict[str, str] = {}
    for prepared in all_prepared:
        name = canonical(prepared.request.model)
        if name in seen:
            raise ConfigError(
                f"{seen[name]!r} and {prepared.named!r} are the same model here.",
                why="a comparison needs different models",
                next_step=f"name a different one: %%ollama --compare {name},ANOTHER",
            )
        seen[name] = prepared.named


def _check_can_answer(client: OllamaClient, prepared: PreparedRequest) -> None:
    """Raise if a model does not exist or cannot chat, before any request is sent."""
    if prepared.model is None and not prepared.is_slow:
        run_in_background(partial(capabilities_of, client, prepared.request.model))
    require_capability("completion", prepared.model)


def _read(
    session: Session, columns: Sequence[Candidate], display: ComparisonDisplay
) -> Interrupted | None:
    """Receive all responses; return the interrupt if the user ended them early."""
    display.begin([one.model for one in columns])
    began_s = time.monotonic()
    asked = [one for one in columns if not one.response.has_ended]
    of = {one.response: one for one in asked}

    def show(response: Response, text: str, thinking: str) -> None:
        column = of[response]
        hides = column.prepared.options.hide_thinking
        display.feed(column.number, text, "" if hides else thinking)
        if response.has_ended:
            column.show(display)
        elif text and not response.done_reason:
            column.lookups.request_length()

    def tick() -> None:
        for one in asked:
            if not one.response.has_ended:
                text = one.waiting.text(one.response, time.monotonic() - began_s)
                if text:
                    display.waits(one.number, text)
        display.tick()

    streams = [one.prepared.client.send(one.prepared.request) for one in asked]
    hz = session.settings.update_hz
    receive(streams, [one.response for one in asked], show, tick, hz=hz)
    if not any(one.is_stopped for one in asked):
        return None
    came = sum(one.response.size for one in columns)
    return Interrupted(f"stopped; partial replies shown ({counted(came, 'character')})")


# -- %ollama keep -------------------------------------------------------------------


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
    meant = matching_names(model, compared.models)
    meant = meant or [name for name in compared.models if name.startswith(model)]
    candidate = next((c for c in compared.candidates if [c.model] == meant), None)
    if candidate is None:
        likely = nearest(model, compared.models) or compared.models[0]
        raise ConfigError(
            f"Model {model!r} was not compared.",
            why=f"the last comparison had: {', '.join(compared.models)}",
            next_step=f"%ollama keep {likely}",
        )
    chat = candidate.prepared.chat_name
    if chat is None:
        raise ConfigError(
            "This comparison has no reply that can be kept.",
            why="it was made with --once, so it belongs to no chat",
            next_step="run the comparison again without --once",
        )
    if candidate.response.is_empty:
        others = [one.model for one in compared.candidates if not one.response.is_empty]
        step = f"%ollama keep {others[0]}" if others else "run the comparison again"
        raise ConfigError(
            f"The reply of {candidate.model!r} is empty and cannot be kept.",
            why=candidate.result.notice().strip("[]"),
            next_step=step,
        )
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
    cells = session.chat(chat).page  # also removes turns of deleted cells
    prepared, result = candidate.prepared, candidate.result
    turn = make_turn(prepared, result, compared.cell_id)
    turn = replace(turn, answered_at=_answered_at(compared))
    turn = session.store.record(session.notebook.key, chat, turn, cells=cells)
    others = [name for name in compared.models if name != candidate.model]
    is_quiet = not session.settings.footer  # -q was meant for the comparison
    prepared = replace(prepared, options=replace(prepared.options, quiet=is_quiet))
    noted = result.noted(f"compared with {', '.join(others)}")
    reply = make_reply(session, prepared, noted, turn)
    reply = replace(reply, provenance={**reply.provenance, **of_cell(turn)})
    place = f"turn {reply.provenance['turn']} of {chat}"
    if place not in reply.footer:  # shown also if the footer is off
        reply = replace(reply, footer=(*reply.footer, place))
    session.last_reply = reply
    return reply


def _answered_at(compared: Compared) -> str:
    """Return the time of the turn, which is the time of the comparison.

    So the outputs of a notebook that is re-run from the cache do not change. Each reply
    that is kept is a microsecond later, because the last of several is used.
    """
    last = max(candidate.result.answered_at for candidate in compared.candidates)
    moment = datetime.fromisoformat(last) + timedelta(microseconds=compared.times_kept)
    return moment.isoformat(timespec="microseconds")
