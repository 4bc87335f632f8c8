"""One prompt, several models at once: what a ``%%ollama --compare`` cell runs.

All requests are prepared and checked before the first is sent. Then all replies stream
at the same time, each into its column. No turn is recorded: ``%ollama keep`` does that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache, cached_property, partial
from typing import Any, Protocol

from ollama_magic.client.background import held, let_through, run_in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import canonical, require_capability
from ollama_magic.errors import (
    ConfigError,
    Interrupted,
    ModelNotFoundError,
    NotOllamaError,
    ServerError,
)
from ollama_magic.generation.comparison import (
    Candidate,
    Compared,
    Comparison,
    column_of,
)
from ollama_magic.generation.generate import Result, fill_cache, with_source
from ollama_magic.generation.models import ServerModels
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.prepare import (
    PreparedRequest,
    ask_for_models,
    cached_reply,
    explained,
    prepare,
)
from ollama_magic.generation.reply import Reply, make_reply, make_turn
from ollama_magic.generation.response import Response, receive
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import merged
from ollama_magic.history.turns import fingerprint
from ollama_magic.render.columns import Column

_NOTE = "continue with one of these: %ollama keep MODEL"


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


def compare(
    session: Session, options: ChatOptions, text: str, display: ComparisonDisplay
) -> Comparison:
    """Ask several models at once, show their replies as they stream, return them all.

    Raises
    ------
    OllamaMagicError
        One of the requests cannot be sent, and then none is; or every model failed,
        and the columns say why.
    Interrupted
        The user interrupted; partial replies are shown.
    """
    options = merged(session.settings, options)
    with held():  # an interrupt ends the replies, not this function
        cell_id = session.cells.cell_id
        before = session.chat(options.chat).before(cell_id)
        try:
            with let_through():  # a placeholder may run code of the user
                columns = _prepared(session, options, text, display)
        except BaseException:
            display.discard()
            raise
        stopped = _read(session, columns, display)
        based_on = fingerprint(() if options.new or options.once else before.turns)
        candidates = tuple(Candidate(one.prepared, one.result) for one in columns)
        session.compared = Compared(candidates, cell_id, based_on)
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
        if fault is not None:
            raise fault
    return comparison


class _Column:
    """One model's response while it streams, and its reply when it has ended."""

    def __init__(
        self, number: int, session: Session, prepared: PreparedRequest
    ) -> None:
        self.number = number
        self.prepared = prepared
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
        return with_source(self._session, self.prepared, result)

    @cached_property
    def reply(self) -> Reply:
        """Its reply, once its response has ended; it is in no chat."""
        turn = make_turn(self.prepared, self.result)
        fill_cache(self._session, self.prepared, self.result)
        return make_reply(
            self._session, self.prepared, self.result, turn, is_kept=False
        )

    def show(self, display: ComparisonDisplay) -> None:
        """Show the complete column, once."""
        if not self._is_shown:
            self._is_shown = True
            display.complete(self.number, column_of(self.reply))


def _prepared(
    session: Session, options: ChatOptions, text: str, display: ComparisonDisplay
) -> list[_Column]:
    """Return a column with a checked request for each model."""
    client = session.client(options.host)

    @cache
    def look_up(must_list: bool) -> ServerModels:
        display.waiting(f"contacting {client.host.base_url}…")
        return ask_for_models(client, options, must_list)

    columns = [
        _Column(number, session, prepare(session, client, alone, text, look_up))
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
    model = prepared.model
    if model is None:
        try:
            run_in_background(partial(client.show, prepared.request.model))
        except ModelNotFoundError:
            raise
        except (ServerError, NotOllamaError):  # it may reply all the same
            return
    require_capability("completion", model)


def _read(
    session: Session, columns: Sequence[_Column], display: ComparisonDisplay
) -> Interrupted | None:
    """Receive all responses; return the interrupt if the user ended them early."""
    display.begin([one.prepared.request.model for one in columns])
    began_s = time.monotonic()
    asked = [one for one in columns if not one.response.has_ended]
    of = {one.response: one for one in asked}

    def show(response: Response, text: str, thinking: str) -> None:
        column = of[response]
        hides = column.prepared.options.hide_thinking
        display.feed(column.number, text, "" if hides else thinking)
        if response.has_ended:
            column.show(display)

    def tick() -> None:
        for one in asked:
            waits_for = one.prepared.waits_for(one.response)
            if waits_for and not one.response.has_ended:
                seconds = time.monotonic() - began_s
                display.waits(one.number, f"{waits_for} {seconds:.0f} s")
        display.tick()

    streams = [one.prepared.client.send(one.prepared.request) for one in asked]
    hz = session.settings.update_hz
    receive(streams, [one.response for one in asked], show, tick, hz=hz)
    if not any(one.is_stopped for one in asked):
        return None
    came = sum(one.response.size for one in columns)
    return Interrupted(f"stopped; partial replies shown ({came:,} characters)")
