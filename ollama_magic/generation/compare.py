"""One prompt, several models at once: what a ``%%ollama --compare`` cell runs.

All questions are prepared and checked before the first is sent; then all answers come
at the same time, each into its column. Writes no history: ``keeping`` does, later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
from typing import Any, Protocol

from ollama_magic.client.background import Batch, ManyArrivals, in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.interrupts import held, let_through
from ollama_magic.client.models import canonical
from ollama_magic.client.types import ReplyChunk
from ollama_magic.errors import (
    CapabilityError,
    ConfigError,
    Interrupted,
    ModelNotFoundError,
    NotOllamaError,
    OllamaMagicError,
    ServerError,
)
from ollama_magic.generation.answer import Answer, Fragment
from ollama_magic.generation.comparison import (
    Candidate,
    Compared,
    Comparison,
    column_of,
)
from ollama_magic.generation.models import ServerModels
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.outcome import Outcome, Round, utc_now
from ollama_magic.generation.prepare import Asking, Question, prepare
from ollama_magic.generation.reply import Reply, make_reply, make_turn
from ollama_magic.generation.session import Session
from ollama_magic.generation.source import Source, find_source, keep_answers
from ollama_magic.history.turns import fingerprint
from ollama_magic.render.columns import Column

_NOTE = "%ollama keep MODEL takes one of these as the turn"


class Display(Protocol):
    """Where answers are shown while they come; columns are called by number."""

    def waiting(self, text: str) -> None:
        """Say what is done before anybody is asked."""

    def begin(self, names: Sequence[str]) -> None:
        """Open a column for each model."""

    def waits(self, number: int, text: str) -> None:
        """Say that nothing of a model has come yet."""

    def feed(self, number: int, content: str, thinking: str = "") -> None:
        """Take what came of a model."""

    def complete(self, number: int, column: Column) -> None:
        """Show a column as it stays."""

    def tick(self) -> None:
        """Take the passing of a moment."""

    def finish(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """Show all complete columns as the one output."""

    def discard(self) -> None:
        """Take away what was shown: an error takes its place."""


def compare(
    session: Session, args: ChatOptions, text: str, display: Display
) -> Comparison:
    """Ask several models at once, show their answers as they come, return them all.

    Raises
    ------
    OllamaMagicError
        A question can't be asked, and then none was sent; or every model failed, and
        then the columns tell why.
    Interrupted
        The user interrupted; what came is shown.
    """
    with held():  # what was begun is brought to an end
        return _compare(session, args, text, display)


def _compare(
    session: Session, args: ChatOptions, text: str, display: Display
) -> Comparison:
    cell_id = session.cells.cell_id
    before = session.chat(args.chat).before(cell_id)
    try:
        with let_through():  # values of the user's are looked at
            runs = _prepared(session, args, text, display)
    except BaseException:
        display.discard()
        raise
    stopped = _read(runs, display)
    candidates = tuple(run.candidate for run in runs)
    based_on = fingerprint(() if args.new or args.once else before.turns)
    session.compared = Compared(candidates, cell_id, based_on)
    session.cells.turn_kept()  # this cell's: what it asks next is another
    if stopped and all(run.answer.is_empty and run.is_stopped for run in runs):
        display.discard()
        raise stopped
    for number, run in enumerate(runs):
        if not run.is_shown:
            display.complete(number, column_of(run.reply))
    comparison = Comparison(tuple(run.reply for run in runs), _note(session, args))
    display.finish(*comparison._repr_mimebundle_())
    faults = [run.fault for run in runs]
    fault = stopped or (faults[0] if all(faults) else None)
    if fault is not None:
        raise fault
    return comparison


def _note(session: Session, args: ChatOptions) -> str:
    is_quiet = args.quiet or not session.settings.footer
    return "" if args.once or is_quiet else _NOTE


class _Run:
    """One model's answer under way."""

    def __init__(self, asking: Asking, question: Question) -> None:
        self.asking = asking
        self.question = question
        digest = question.model.digest if question.model else ""
        self._kept = asking.kept_answer(question.request, digest)
        self.answer = Answer.of(self._kept) if self._kept else Answer()
        self.fault: BaseException | None = None
        self.has_ended = self._kept is not None
        self.is_shown = False
        """Whether its column has been shown as it stays."""
        self._ended_at = utc_now()
        self._reply: Reply | None = None

    def take(self, batch: Batch[ReplyChunk]) -> Fragment:
        """Take what came, and return what it adds to what is shown."""
        fragments = [self.answer.add(chunk) for chunk in batch.items]
        if batch.has_ended:
            fragments.append(self.answer.end())
            if not (batch.error is None or isinstance(batch.error, OllamaMagicError)):
                raise batch.error  # a bug keeps its traceback
            request = self.question.request
            self.fault = self.asking.explained(batch.error, request)
            self.has_ended = True
            self._ended_at = utc_now()
        thinking = "".join(fragment.thinking for fragment in fragments)
        return Fragment(
            "".join(fragment.text for fragment in fragments),
            "" if self.asking.args.hide_thinking else thinking,
        )

    def stop(self) -> None:
        """Note that the user has ended it, if it had not ended by itself."""
        if not self.has_ended:
            self.answer.end()
            self.fault = Interrupted()
            self._ended_at = utc_now()

    @property
    def is_stopped(self) -> bool:
        """Whether the user has ended it."""
        return isinstance(self.fault, KeyboardInterrupt)

    def waits_for(self, seconds: float) -> str:
        """Say that there is nothing to see of it yet, and why; else nothing."""
        is_hidden = self.asking.args.hide_thinking and not self.answer.has_text
        if self.has_ended or not (self.answer.is_empty or is_hidden):
            return ""
        model = self.question.request.model
        to = self.question.cloud_host
        waits_for = f"sending to {to}…" if to else f"waiting for {model}…"
        what = waits_for if self.answer.is_empty else f"{model} thinks…"
        if self.question.context.fits is False:
            what = f"this will probably not fit; {what}"
        return f"{what} {seconds:.0f} s"

    @property
    def candidate(self) -> Candidate:
        """What has come of it."""
        return Candidate(self.asking, self.question, self._outcome, self._source)

    @property
    def _outcome(self) -> Outcome:
        request = self.question.request
        only = Round(request, self.answer, self._kept, self._ended_at)
        return Outcome((only,), self.fault)

    @cached_property
    def _source(self) -> Source:
        """Return who answered, once it has ended."""
        return find_source(self.asking, self.question, self._outcome)

    @property
    def reply(self) -> Reply:
        """Its reply, once it has ended, as one that is in no chat."""
        if self._reply is None:
            asking, question = self.asking, self.question
            outcome, source = replace(self._outcome, tells_all=True), self._source
            fresh = asking.args.new
            turn = make_turn(question, outcome, source, None, starts_afresh=fresh)
            if asking.is_cached and outcome.fault is None:
                keep_answers(asking, outcome, source)
            self._reply = make_reply(
                asking, question, outcome, source, turn, is_kept=False
            )
        return self._reply


def _prepared(
    session: Session, args: ChatOptions, text: str, display: Display
) -> list[_Run]:
    """Return what is to be sent, all of it checked."""
    client = session.client(args.host)

    @cache
    def look_up_models(must_list: bool) -> ServerModels:
        display.waiting(f"asking {client.host.base_url}…")
        return Asking(session, client, args).look_up(must_list)

    runs = []
    for alone in args.for_each_model():
        asking = Asking(session, client, alone)
        runs.append(_Run(asking, prepare(asking, text, look_up_models)))
    _check_differ([run.question for run in runs])
    for run in runs:
        if not run.has_ended:
            _check_can_answer(client, run.question)
    return runs


def _check_differ(questions: Sequence[Question]) -> None:
    """Raise if two of the names mean the same model on this server."""
    seen: dict[str, str] = {}
    for question in questions:
        name = canonical(question.request.model)
        if name in seen:
            raise ConfigError(
                f"{seen[name]!r} and {question.named!r} are the same model here.",
                why="models are compared with one another",
                next_step=f"name another one: %%ollama --compare {name},ANOTHER",
            )
        seen[name] = question.named


def _check_can_answer(client: OllamaClient, question: Question) -> None:
    """Refuse a model that is not there, or can't write, before any is asked."""
    model = question.model
    if model is None:
        try:
            in_background(partial(client.show, question.request.model))
        except ModelNotFoundError:
            raise
        except (ServerError, NotOllamaError):  # it may answer all the same
            return
    elif not model.can_chat:
        raise CapabilityError(
            f"Model {model.name!r} cannot chat.",
            why=f"the server lists it with: {', '.join(model.capabilities)}",
            next_step='choose a model that lists "completion": %ollama list',
        )


def _read(runs: Sequence[_Run], display: Display) -> Interrupted | None:
    """Read all answers to their ends; return how the user ended them, or None."""
    display.begin([run.question.request.model for run in runs])
    began_s = time.monotonic()
    try:
        asked = [number for number, run in enumerate(runs) if not run.has_ended]
        streams = [runs[n].asking.send(runs[n].question.request) for n in asked]
        hz = runs[0].asking.session.settings.update_hz
        with ManyArrivals(streams, hz=hz) as arrivals:
            for batches in arrivals:
                for batch in batches:
                    _take(runs, asked[batch.number], batch, display)
                _tick(runs, time.monotonic() - began_s, display)
    except KeyboardInterrupt:
        for run in runs:
            run.stop()
        came = sum(len(run.answer.text) + len(run.answer.thinking) for run in runs)
        return Interrupted(f"stopped by you; {came:,} characters came")
    return None


def _take(
    runs: Sequence[_Run], number: int, batch: Batch[ReplyChunk], display: Display
) -> None:
    run = runs[number]
    fragment = run.take(batch)
    display.feed(number, fragment.text, fragment.thinking)
    if run.has_ended:
        display.complete(number, column_of(run.reply))
        run.is_shown = True


def _tick(runs: Sequence[_Run], seconds: float, display: Display) -> None:
    for number, run in enumerate(runs):
        if waits_for := run.waits_for(seconds):
            display.waits(number, waits_for)
    display.tick()
