"""``map_prompts``: one prompt for each of many rows.

The only caller is the user. Everything that can be checked is checked before the
first row is sent, and however the call ends, the rows that finished are cached.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

from ollama_magic.batch.dispatch import Dispatcher
from ollama_magic.batch.progress import RowProgress, open_progress_line
from ollama_magic.batch.results import Results, RowCache
from ollama_magic.batch.rows import (
    ReplyReader,
    Template,
    parse_template,
    positions_text,
    read_rows,
)
from ollama_magic.batch.servers import UsableServers, usable_servers
from ollama_magic.batch.workers import Sender, Workers
from ollama_magic.client.decisions import RowRequest
from ollama_magic.client.types import (
    Format,
    GenerateRequest,
    KeepAlive,
    Options,
    Think,
)
from ollama_magic.errors import ConfigError, short_interrupts
from ollama_magic.generation.options import check_value
from ollama_magic.generation.schema import read_schema
from ollama_magic.generation.session import Session, current_session
from ollama_magic.generation.settings import model_options, system_message, truncation

_AHEAD = 4
"""Rows per worker that wait in an executor, so that no worker is idle."""


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
    truncate: str | None = None,
    logprobs: bool = False,
    concurrency: int = 4,
    hosts: str | Sequence[str] | None = None,
    patience: float = 600.0,
    executor: Executor | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Any:  # noqa: ANN401  (as data)
    """Run one prompt for each of many rows, several at a time, in order.

    Each reply is cached as soon as it arrives (after a hundredth of a second at most).
    After an interrupt or a crash, the same call continues where it stopped: only the
    rows in flight are lost.

    Parameters
    ----------
    template
        The prompt, with ``{name}`` where the value of a column belongs; ``{{`` and
        ``}}`` are literal braces. For rows that are single values, any name or ``{}``.
        Missing values (None, NaN, NaT) become empty text.
    data
        A list (or any iterable) of strings, numbers or dicts; a Series or DataFrame of
        pandas or dask; a table of polars or pyarrow.
    model
        The model; None uses the default model, as a cell does. If no default is set,
        the first server's default is used.
    system
        A system message for each row; None uses the setting ``system``.
    schema
        The schema of each reply, as with ``--schema``: the short form
        (``"label: one of pos, neg"``), a JSON Schema, or a Python type, such as a
        dataclass, a pydantic model, an enum or a ``Literal``.
    options
        Model options, such as ``{"temperature": 0, "num_predict": 50}``.
    format
        ``"json"``, or a JSON Schema that is sent to the server and not checked.
    think
        Whether to think first, or a level; None uses the model's default.
    keep_alive
        How long the model stays loaded: a duration (``"10m"``) or seconds.
    truncate
        What happens to a row whose prompt does not fit the context: ``"error"`` makes
        it the error of the row, ``"warn"`` takes the reply and warns; None uses the
        setting ``truncate``, which is ``"error"`` if it is empty.
    logprobs
        Whether to add how sure the model was: the mean probability of the tokens of
        each reply, in a column ``confidence``.
    concurrency
        How many rows each server receives at a time. A server processes
        ``OLLAMA_NUM_PARALLEL`` of them at once; the others wait there.
    hosts
        Several servers that share the rows; a faster server gets more of them. A
        server that lacks the model or stops responding is skipped with a warning. The
        API key is sent to the configured host only.
    patience
        How many seconds to wait for a server that is busy, limits its requests, is
        restarted or is gone. Its rows go to the other servers, or are sent again: after
        the time that the server names (``Retry-After``), or after growing pauses. 0
        does not wait. A permanent refusal (401, 402, 403, 404, a quota) ends the call
        at once.
    executor
        Any ``concurrent.futures.Executor``: a process pool, Dask's
        ``client.get_executor()``, ipyparallel's. The executor then decides how many
        rows are sent at a time. Worker processes need this package; they receive no
        API key and read their own ``OLLAMA_API_KEY``, and the server's address must be
        valid for them. An interrupt cannot end the rows they have started.
    resume
        Whether to reuse cached replies: the same request, answered by the same model.
        False sends every row again. If the setting ``cached`` is on, cached replies are
        reused even without a server.
    progress
        Whether to show a progress line.

    Returns
    -------
    list, Series or DataFrame
        For a list, a list: of strings, or with a schema of data (dicts, or instances
        of its class). For pandas, an object with the same index: a Series named
        ``reply``, or for a schema with fields a DataFrame of these fields, with a last
        column ``error`` (``error_`` if there is a field of that name). With
        ``logprobs`` a DataFrame, or a list of dicts: the reply, or the fields of its
        schema, and ``confidence`` (``confidence_`` likewise; None if the server
        reports no log probabilities). The value of a
        row that failed is its error (in a DataFrame: missing values, and the error in
        the last column).

    Raises
    ------
    PromptError
        The template, data or schema is invalid, or the rows lack a field.
    ConfigError
        A setting, a host or the executor is invalid, or there is no model.
    ServerUnreachableError, ModelNotFoundError, CapabilityError
        The only server does not answer, lacks the model, or the model lacks a
        capability. All of these are raised before any row is sent.
    OllamaMagicError
        The last server refuses for good. Finished rows are cached; the message says
        how many are left.
    Interrupted
        The user pressed stop; the message says how many rows are cached.

    Examples
    --------
    ::

        map_prompts("Translate to French: {}", ["good morning", "good night"])
        map_prompts("Sentiment of: {text}", df, schema="label: one of pos, neg")
    """
    rows, parsed = read_rows(data), parse_template(template)
    prompts, without_value = rows.prompts(parsed)
    given = {
        "model": model,
        "system": system,
        "options": options,
        "think": think,
        "keep_alive": keep_alive,
        "truncate": truncate,
    }
    arguments = Arguments(
        **checked(given),
        logprobs=logprobs,
        format=format,
        concurrency=concurrency,
        hosts=hosts,
        patience=patience,
        executor=executor,
        resume=resume,
        progress=progress,
    )
    arguments.check()
    notes = notes_about(without_value, parsed, len(prompts))
    with warning_at_the_end(notes):
        session = current_session()
        reader = _reader(schema, format, session.namespace, logprobs=logprobs)
        plan = partial(_plan, session, arguments, reader)
        values = run_rows(prompts, arguments, session, notes, plan)
    return rows.arranged(values, reader.fields)


@contextmanager
def warning_at_the_end(notes: Sequence[str]) -> Iterator[None]:
    """Warn the user of the caller of each note, however the block ends."""
    try:
        with short_interrupts():
            yield
    finally:
        for note in notes:
            warnings.warn(note, stacklevel=4)  # the block, and contextlib, between


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters that are options of a cell too, checked."""
    return {name: v if v is None else check_value(name, v) for name, v in given.items()}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """How to send the rows, as the caller gave it."""

    model: str | None
    system: str | None
    options: Options | None
    think: Think | None
    keep_alive: KeepAlive | None
    truncate: str | None
    logprobs: bool = False
    format: Format | None = None
    concurrency: int
    hosts: str | Sequence[str] | None
    patience: float
    executor: Executor | None
    resume: bool
    progress: bool

    def check(self) -> None:
        """Raise ConfigError if a value that only ``map_prompts`` takes is invalid."""
        if not (self.format in (None, "json") or isinstance(self.format, Mapping)):
            raise ConfigError(
                f"format cannot be {self.format!r}.",
                why='it must be "json" or a JSON Schema',
                next_step='format="json", or schema="name, age int" to check replies',
            )
        if not isinstance(self.logprobs, bool):
            raise ConfigError(
                f"logprobs cannot be {self.logprobs!r}.",
                why="it must be True or False: rows have no room for alternatives",
                next_step="logprobs=True",
            )
        if not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise ConfigError(
                f"concurrency cannot be {self.concurrency!r}.",
                why="it must be the number of rows to send at a time, 1 or more",
                next_step="concurrency=4",
            )
        if self.hosts is not None and not (
            self.hosts and isinstance(self.hosts, str | Sequence)
        ):
            raise ConfigError(
                f"hosts cannot be {self.hosts!r}.",
                why="it must be an address, or a list of addresses",
                next_step='hosts=["http://gpu1:11434", "http://gpu2:11434"], or leave '
                "it out",
            )
        is_bool = isinstance(self.patience, bool)
        if is_bool or not (isinstance(self.patience, Real) and self.patience >= 0):
            raise ConfigError(
                f"patience cannot be {self.patience!r}.",
                why="it must be the number of seconds to wait for a server, 0 or more",
                next_step="patience=600",
            )
        if self.executor is not None and not isinstance(self.executor, Executor):
            raise ConfigError(
                f"executor cannot be of type {type(self.executor).__name__}.",
                why="it must be a concurrent.futures.Executor",
                next_step="a Dask client has one: executor=client.get_executor()",
            )


RequestOf = Callable[[str, str], RowRequest]
"""Makes the request for a prompt, to a model; empty if it is unknown."""
Plan = Callable[[UsableServers], tuple[ReplyReader, RequestOf]]
"""Decides, once the servers are known, what is sent, and how replies are read."""


def _plan(
    session: Session, arguments: Arguments, reader: ReplyReader, _usable: UsableServers
) -> tuple[ReplyReader, RequestOf]:
    format = arguments.format if reader.schema is None else reader.schema.json
    return reader, prompt_requests(session, arguments, format)


def prompt_requests(
    session: Session,
    arguments: Arguments,
    format: Format | None,
    **more: Any,  # noqa: ANN401
) -> RequestOf:
    """Return a function that makes the request for a prompt.

    Parameters
    ----------
    more
        Other fields of the request.
    """
    system = system_message(session.settings, arguments.system)
    system = system and session.redactor.text(system)
    options = model_options(session.settings, arguments.options or {})
    truncate = truncation(session.settings, arguments.truncate, is_data=True)
    fields = {
        "options": options,
        "format": format,
        "think": arguments.think,
        "keep_alive": arguments.keep_alive,
        "truncate": False if truncate == "error" else None,
        "logprobs": arguments.logprobs,
        **more,
    }

    def request_of(prompt: str, model: str) -> GenerateRequest:
        return GenerateRequest(model, prompt, system, **fields)

    return request_of


def run_rows(
    prompts: Sequence[str],
    arguments: Arguments,
    session: Session,
    notes: list[str],
    plan: Plan,
    *,
    decides: bool = False,
) -> list[object]:
    """Return the value of each row, or its error.

    Parameters
    ----------
    notes
        Gets what the caller has to warn about.
    decides
        Whether a model that decides is preferred.
    """
    if not prompts:
        return []
    prompts = [*map(session.redactor.text, prompts)]
    usable = usable_servers(
        session, arguments.hosts, arguments.model, arguments.think, decides=decides
    )
    notes += usable.notes
    reader, request_of = plan(usable)
    is_offline = usable.fault is not None
    cache = RowCache(session.store, reader, usable.servers, any_digest=is_offline)
    model = usable.model or cache.model_of(request_of(one, "") for one in prompts)
    output = open_progress_line(session) if arguments.progress else None
    progress = RowProgress(model or "no model", len(prompts), usable.note, output)
    results = Results(prompts, reader, cache, progress, resume=arguments.resume)
    dispatcher = Dispatcher(
        usable.servers,
        usable.fault,
        rows_per_server=arguments.concurrency * (_AHEAD if arguments.executor else 1),
        patience_s=arguments.patience,
    )
    workers = Workers(dispatcher, Sender(reader.schema, arguments.executor))
    try:
        results.run(workers, lambda prompt: request_of(prompt, model))
    finally:
        notes += dispatcher.notes
    values = results.values()
    notes += [*results.notes(), *reader.notes(values), *session.take_warnings()]
    return values


def notes_about(
    without_value: Sequence[int], template: Template, total: int
) -> list[str]:
    """Return a note about rows that have no value for the template."""
    if not without_value:
        return []
    fields = " or ".join(f"{{{field}}}" for field in template.fields)
    return [
        f"{len(without_value):,} of {total:,} rows without a value for {fields} "
        f"({positions_text(without_value)}): leave them out, since the "
        "model makes up its reply"
    ]


def _reader(
    schema: object,
    format: Format | None,
    namespace: Mapping[str, Any],
    *,
    logprobs: bool,
) -> ReplyReader:
    if schema is not None and not (format is None or format == "json"):
        raise ConfigError(
            "schema and format cannot be combined.",
            why="the schema is sent as format",
            next_step="leave format out",
        )
    read = None if schema is None else read_schema(schema, namespace)
    return ReplyReader(read, logprobs)
