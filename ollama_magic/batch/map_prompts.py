"""``map_prompts``: one prompt over many rows.

Knows the course of it, from what the caller gave to what he gets back: what is
wrong is told before anything is sent, and whatever ends it, what was answered is kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from ollama_magic.batch.dispatch import Course, crew_for
from ollama_magic.batch.progress import Tally
from ollama_magic.batch.results import Kept, Ledger, Reading, read_as
from ollama_magic.batch.rows import parse_template, read_rows
from ollama_magic.batch.servers import Found, Server, Surroundings, find_servers
from ollama_magic.client.models import canonical
from ollama_magic.client.options import check_options
from ollama_magic.client.types import (
    Format,
    GenerateRequest,
    KeepAlive,
    Options,
    Think,
)
from ollama_magic.errors import ConfigError, Interrupted, ServerUnreachableError
from ollama_magic.generation.options import read_keep_alive
from ollama_magic.generation.session import current_session

_OFFLINE = "no server; answers of earlier runs"
_LEVELS = ("low", "medium", "high", "max")


def map_prompts(
    template: str,
    data: Any,  # noqa: ANN401  (a list, or of pandas)
    *,
    model: str | None = None,
    system: str | None = None,
    schema: object = None,
    options: Options | None = None,
    format: Format | None = None,
    think: Think | None = None,
    keep_alive: KeepAlive | None = None,
    concurrency: int = 4,
    hosts: str | Sequence[str] | None = None,
    executor: Executor | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Any:  # noqa: ANN401  (as data)
    """Ask one prompt for each of many rows, several at a time, and keep the order.

    Each answer is kept when it comes. So an interrupt (or a crash) loses nothing but
    the rows in flight: the same call again asks only for what is missing.

    Parameters
    ----------
    template
        The prompt, with ``{name}`` where the value of a column belongs; ``{{`` and
        ``}}`` are braces. Any name, or ``{}``, for rows that are single values.
        Missing values (None, NaN, NaT) are empty text.
    data
        A list (or any iterable) of texts or numbers, or of dicts; a pandas Series or
        DataFrame; a DataFrame of polars.
    model
        The model; None: as for a cell that names none. Where it is left to the
        server's list, that of the first server counts.
    system
        A system message for each row; None: the setting ``system``.
    schema
        What each reply has to look like, as with ``--schema``: the short form
        (``"label: one of pos, neg"``), a JSON Schema, a dataclass, a pydantic model.
    options
        Model options, such as ``{"temperature": 0, "num_predict": 50}``.
    format
        ``"json"``, or a JSON Schema that is sent and not checked.
    think
        Whether, or how hard, to think first; None leaves it to the model.
    keep_alive
        How long the model stays loaded: a duration (``"10m"``) or seconds.
    concurrency
        Rows asked at a time, of each server. More than the server's
        ``OLLAMA_NUM_PARALLEL`` only wait there.
    hosts
        Several servers that share the rows, a fast one doing more. Those that lack the
        model, or go away, are left out with a warning. The API key goes to the
        configured host alone.
    executor
        Any ``concurrent.futures.Executor``: of processes, ``client.get_executor()`` of
        Dask, of ipyparallel. Then it decides how many rows are asked at a time. Workers
        in other processes must have this package; they are sent no API key and read
        their own ``OLLAMA_API_KEY``, and the address of the server must mean the same
        there. An interrupt can't end the rows that such workers have begun.
    resume
        Whether rows are answered by what earlier calls have kept: the very same
        request, answered by the same model. False asks all of them anew. Where the
        setting ``cached`` is on, that works with no server too.
    progress
        Whether a line shows how far it is.

    Returns
    -------
    list, Series or DataFrame
        For a list a list: of texts, or with a schema of data (dicts, or instances of
        its class). For pandas the same index: a Series named ``reply``, or for a schema
        with fields a DataFrame of these, with a last column ``error`` (``error_``, if
        there is such a field). A row that failed has its error as its value (in a
        DataFrame: missing values, and the error in the last column).

    Raises
    ------
    PromptError
        A field is none of the rows, or template, data or schema cannot be used.
    ConfigError
        A setting, a host or the executor cannot be used, or there is no model.
    ServerUnreachableError, ModelNotFoundError, CapabilityError
        The only server does not answer, or lacks the model or what it must be able to
        do. All of these before any row is sent.
    Interrupted
        The user pressed stop; it says how many rows are kept.

    Examples
    --------
    >>> map_prompts("Translate to French: {}", ["good morning"])  # doctest: +SKIP
    >>> schema = "label: one of pos, neg"  # doctest: +SKIP
    >>> map_prompts("Sentiment of: {text}", df, schema=schema)  # doctest: +SKIP
    """
    rows = read_rows(data)
    prompts = list(rows.prompts(parse_template(template)))
    settings = _settings(options or {}, format, think, keep_alive)
    how = _How(
        model=model,
        system=system,
        settings=settings,
        think=think,
        concurrency=concurrency,
        hosts=hosts,
        executor=executor,
        resume=resume,
        progress=progress,
    )
    how.check()
    notes: list[str] = []
    try:
        session = current_session()
        reading = _reading(schema, format, session.namespace)
        values = _answered(prompts, reading, how, Surroundings(session), notes)
        notes += session.take_warnings()
    except Interrupted:
        raise
    except KeyboardInterrupt:  # before the first row was sent
        raise Interrupted from None
    finally:
        for note in notes:
            warnings.warn(note, stacklevel=2)
    return rows.arranged(values, reading.fields)


@dataclass(frozen=True)
class _How:
    """How rows are to be asked, as the caller said it."""

    model: str | None
    system: str | None
    settings: Mapping[str, Any]
    think: Think | None
    concurrency: int
    hosts: str | Sequence[str] | None
    executor: Executor | None
    resume: bool
    progress: bool

    def check(self) -> None:
        """Refuse what is no number of rows, no host or no executor."""
        if not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise ConfigError(
                f"concurrency cannot be {self.concurrency!r}.",
                why="it is how many rows are asked at a time",
                next_step="concurrency=4",
            )
        if self.hosts is not None and not self.hosts:
            raise ConfigError(
                "hosts names no server.",
                next_step='hosts=["http://gpu1:11434", "http://gpu2:11434"], or leave '
                "it out",
            )
        if self.executor is not None and not isinstance(self.executor, Executor):
            kind = type(self.executor).__name__
            raise ConfigError(
                f"A {kind} is no executor.",
                why="it is no concurrent.futures.Executor",
                next_step="a client of Dask has one: executor=client.get_executor()",
            )

    def servers(self, around: Surroundings) -> list[Server]:
        """Return the servers that are meant, each of them once."""
        named = [self.hosts] if isinstance(self.hosts, str) else self.hosts
        hosts: Sequence[str | None] = named or [None]
        clients = [around.client(host) for host in hosts]
        return [
            Server(
                client,
                around.is_configured(client),
                around.session.host_kind(client),
            )
            for client in {c.host.base_url: c for c in clients}.values()
        ]


def _answered(
    prompts: Sequence[str],
    reading: Reading,
    how: _How,
    around: Surroundings,
    notes: list[str],
) -> list[object]:
    """Return what each row has come to."""
    if not prompts:
        return []
    found = _found(how, around)
    notes += found.notes
    settings, defaults = dict(how.settings), around.defaults
    settings["options"] = {**defaults["options"], **settings["options"]}
    system = defaults["system"] if how.system is None else how.system
    schema = None if reading.schema is None else reading.schema.json
    if schema is not None:
        settings["format"] = schema

    def requests(model: str) -> Iterator[GenerateRequest]:
        for prompt in dict.fromkeys(prompts):
            yield GenerateRequest(model, prompt, system, **settings)

    is_offline = found.fault is not None
    store = around.session.store
    kept = Kept(store, reading, found.servers, of_any_digest=is_offline)
    model = found.model or kept.model_of(requests(""))
    tally = Tally(model or "no model", len(prompts))
    tally.note = _OFFLINE if is_offline else _where(found)
    line = around.progress_line() if how.progress else None
    ledger = Ledger(prompts, reading, kept, tally, line)
    count = len(found.servers)
    with crew_for(how.executor, schema, how.concurrency, count) as crew:
        course = Course(crew, found.servers, found.fault)
        try:
            ledger.go(course, requests(model), resume=how.resume)
        finally:
            notes += course.notes
    return ledger.values(prompts)


def _found(how: _How, around: Surroundings) -> Found:
    """Return whom to ask; nobody, where that is no fault: earlier answers may do."""
    servers, model = how.servers(around), how.model or around.model
    try:
        return find_servers(servers, model, how.think)
    except ServerUnreachableError as error:
        if not around.session.settings.cached:
            raise
        return Found(model or "", servers, fault=error)


def _where(found: Found) -> str:
    """Return where prompts go, as the line of progress tells it."""
    notes = [server.note for server in found.servers]
    if found.named and canonical(found.named) != canonical(found.model):
        notes.insert(0, f"the only {found.named} here")
    return "; ".join(dict.fromkeys(filter(None, notes)))


def _reading(
    schema: object, format: Format | None, namespace: Mapping[str, Any]
) -> Reading:
    if schema is not None and not (format is None or format == "json"):
        raise ConfigError(
            "Both schema and format say what a reply looks like.",
            next_step="leave format out: the schema is sent as format",
        )
    return read_as(schema, namespace)


def _settings(
    options: Options,
    format: Format | None,
    think: Think | None,
    keep_alive: KeepAlive | None,
) -> dict[str, Any]:
    """Return the fields of each request, checked before anything is sent."""
    if not (format in (None, "json") or isinstance(format, Mapping)):
        raise ConfigError(
            f"format cannot be {format!r}.",
            why='it is "json" or a JSON Schema',
            next_step='format="json", or schema="name, age int" to have it checked',
        )
    if not (think is None or isinstance(think, bool) or think in _LEVELS):
        raise ConfigError(
            f"think cannot be {think!r}.",
            why=f"it is True, False, or one of {', '.join(_LEVELS)}",
            next_step="leave it out for what the model does by itself",
        )
    return {
        "options": check_options(options),
        "format": format,
        "think": think,
        "keep_alive": _keep_alive(keep_alive),
    }


def _keep_alive(keep_alive: KeepAlive | None) -> KeepAlive | None:
    if not isinstance(keep_alive, str):
        return keep_alive
    try:
        return read_keep_alive(keep_alive)
    except ValueError as error:
        raise ConfigError(
            f"keep_alive cannot be {keep_alive!r}.",
            why=str(error),
            next_step='keep_alive="10m"',
        ) from error
