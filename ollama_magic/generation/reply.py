"""The reply to a prompt, as a value for the next cell, and how it is made.

``make_turn`` turns a result into what the chat keeps, and ``make_reply`` into what the
cell shows, with its footer and notices.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from ollama_magic.client.types import Stats, ToolCall
from ollama_magic.errors import ReplyDataError, quoted
from ollama_magic.generation.prepare import PreparedRequest
from ollama_magic.generation.response import Result
from ollama_magic.generation.schema import Schema, mismatch_notice, with_names
from ollama_magic.generation.schema_check import MismatchError, read_data
from ollama_magic.generation.session import Session
from ollama_magic.generation.status_line import (
    context_share,
    early_end,
    footer_news,
    footer_notes,
    footer_parts,
    server_of,
)
from ollama_magic.history.notebooks import stable_cell_id
from ollama_magic.history.records import (
    METADATA_KEY,
    RECORDED_SETTINGS,
    TURN_CELL_KEY,
    output_metadata,
)
from ollama_magic.history.turns import (
    Message,
    Status,
    Turn,
    TurnPosition,
    without_outcome,
)
from ollama_magic.render.code import CodeBlock, code_blocks, code_to_run
from ollama_magic.render.reply import ReplyView, output_text, reply_bundle
from ollama_magic.render.sources import sources_of

_ASK_AGAIN = "run it again, or use a larger model; reply.text has the text"
_EARLY_ENDS = {"cut": "cut off", "interrupted": "interrupted", "broken": "cut off"}


@dataclass(frozen=True, kw_only=True, repr=False)
class Reply(ReplyView):
    """What a model replied, complete or in part.

    Displayed, it looks like the output of its cell; ``str(reply)`` is the text.
    """

    model: str
    """The model that answered."""
    status: Status
    """``"complete"``, ``"cut"`` (at a length limit), ``"interrupted"`` (by you), or
    ``"broken"`` (by an error)."""
    done_reason: str
    """Why the model stopped: ``"stop"``, ``"length"`` (a limit); empty if unknown."""
    stats: Stats
    """Counts of tokens, durations in nanoseconds, tokens per second."""
    sent: Mapping[str, Any]
    """The body of the request. Its parts are shared with other replies: read only."""
    exchanged: tuple[Mapping[str, Any], ...]
    """The messages, likewise."""
    tool_calls: tuple[ToolCall, ...]
    """The tool calls that the model requested, in order."""
    schema: Schema | None
    """The schema of the reply, if it has one."""
    is_cached: bool
    """Whether this is a cached reply to the same request."""
    provenance: Mapping[str, Any]
    """The output's metadata under ``ollama_magic``: prompt, model, options, times."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages that were sent, those of tool calls, and at last the reply."""
        return tuple(deepcopy(dict(message)) for message in self.exchanged)

    @property
    def request(self) -> Mapping[str, Any]:
        """The body of the request, as it was sent."""
        return deepcopy(self.sent)

    @property
    def code(self) -> tuple[CodeBlock, ...]:
        """The fenced code blocks, in order, each with ``language`` and ``source``."""
        return code_blocks(self.text)

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """Title and address of each page that the web tools returned."""
        return tuple((title, url) for title, url, _ in sources_of(self.steps))

    @property
    def data(self) -> Any:  # noqa: ANN401  (any JSON value)
        """The text parsed as JSON; text around the JSON is ignored.

        With a schema that is a type (a dataclass, a pydantic model, ``list[str]``), a
        value of that type; a field that the reply leaves out has its default.

        Raises
        ------
        ReplyDataError
            The text is not JSON, for example cut off at a length limit; or it does not
            match its schema.
        """
        try:
            read = read_data if self.schema is None else self.schema.read
            return read(self.text)
        except MismatchError as error:
            raise ReplyDataError(
                "The reply does not match its schema.",
                why=quoted(str(error)),
                next_step=_ASK_AGAIN,
            ) from error
        except ValueError as error:
            raise ReplyDataError(
                "The reply is not JSON.",
                why=f"{error}; done reason: {self.done_reason or self.status}",
                next_step=self._next_step_to_data(),
            ) from error

    def _next_step_to_data(self) -> str:
        if self.done_reason == "length":
            return "raise the limit: -o num_predict N; the reply was cut off"
        if self.status != "complete":
            return f"run it again; the reply was {_EARLY_ENDS[self.status]}"
        if self.sent.get("tools"):
            return "ask for the JSON in the next cell: %%ollama -f json"
        return _ASK_AGAIN if self.sent.get("format") else "add -f json"

    @property
    def confidence(self) -> float | None:
        """How likely the tokens of the text were: the geometric mean, from 0 to 1.

        None without ``logprobs``.
        """
        return self.logprobs.confidence

    def to_frame(self) -> Any:  # noqa: ANN401  (pandas is not imported here)
        """Return the data as a ``pandas.DataFrame``: a row for each object of a list.

        Raises
        ------
        ReplyDataError
            As ``data`` does.
        ImportError
            pandas is not installed.
        """
        import pandas

        value = self.data
        if self.schema is not None:
            is_list = isinstance(value, list)
            value = [*map(with_names, value)] if is_list else with_names(value)
        return pandas.DataFrame(value if isinstance(value, list) else [value])

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the output."""
        return {METADATA_KEY: dict(self.provenance)}

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        model = quoted(self.model, limit=200)
        return f"<Reply of {model}, {self.status}: {self.text[:60]!r}>"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        # NB: this may be another cell than the one above the code.
        return reply_bundle(replace(self, folded=())), self.metadata

    def _repr_html_(self) -> str:
        # For web frameworks such as Streamlit; IPython uses the bundle.
        return reply_bundle(self)["text/html"]


# -- from a result to its turn and its reply -----------------------------------------

_NOTICES = {
    "cut": "[cut off]",
    "interrupted": "[interrupted]",
    "broken": "[incomplete]",
}
_RECORDED = (*RECORDED_SETTINGS, "cached", "cloud", "continued", "server")
_UNSAVED = "unsaved cells may be out of order: save the notebook"


def make_turn(
    prepared: PreparedRequest, result: Result, cell_id: str | None = None
) -> Turn:
    """Return the turn to store; the store adds its position and time."""
    response, body = result.response, prepared.request.body()
    if result.code_below:
        body |= {"extract": True, "code_below": result.code_below}
    if result.is_cached:
        body["cached"] = True
    if result.host_kind == "cloud":
        body["cloud"] = True
    if server := server_of(result.host_kind, prepared.client):
        body["server"] = server
    if prepared.begun:
        body["continued"] = True
    body |= prepared.facts
    turn = Turn(
        prompt=prepared.prompt,
        reply="" if result.ends_in_a_call else response.text,
        thinking="" if result.ends_in_a_call else response.thinking,
        model=prepared.request.model,
        digest=result.digest,
        system=prepared.system,
        images=prepared.images,
        steps=result.steps,
        starts_afresh=prepared.options.new,
        cell_id=cell_id,
        status=result.status,
        done_reason=response.done_reason,
        stats=response.stats,
        request={key: body[key] for key in _RECORDED if key in body},
        based_on=prepared.based_on,
        answered_at=result.answered_at,
    )
    begun = prepared.begun
    if begun is None:
        return turn
    return replace(
        turn,
        system=begun.system,
        steps=begun.steps,
        images=begun.images,
        cell_id=begun.cell_id,
        based_on=begun.based_on,
        origin=begun.origin,
    )


def make_reply(
    session: Session,
    prepared: PreparedRequest,
    result: Result,
    turn: Turn,
    *,
    is_kept: bool = True,
) -> Reply:
    """Return the reply, with what its cell shows.

    Parameters
    ----------
    is_kept
        Whether the turn is stored, if the prompt belongs to a chat. A reply that is not
        kept shows all of its error: no error output follows.
    """
    place, unsaved = None, []
    if prepared.chat_name is not None and is_kept:
        chat, page = session.chat(prepared.chat_name), session.page
        place = chat.position_of(turn)
        if len(chat.turns) > 1:
            unsaved = [t.uid for t in chat.turns if page.may_misplace(t.cell_id)]
    way_on, ended = _way_on(session, turn, place), result.notice(in_full=not is_kept)
    notices = (*_notices(prepared, result, ended, way_on), *session.take_warnings())
    options, share = prepared.options, context_share(turn, result)
    order_note = session.once(_UNSAVED) if unsaved else ""
    noted = result.noted(*footer_notes(prepared, place, result), order_note)
    filled, sent = prepared.filled, prepared.request.as_messages()
    news = footer_news(session, prepared, turn, place, is_unsaved=turn.uid in unsaved)
    footer = footer_parts(turn, noted, *news, filled=filled)
    reply = Reply(
        text=turn.reply,
        thinking=turn.thinking,
        hides_thinking=options.hide_thinking,
        steps=shown_steps(turn.steps, prepared),
        thinking_s=result.response.thinking_s,
        view=options.format or "markdown",
        footer=() if options.quiet else footer,
        context_share=None if options.quiet else share,
        facts=() if options.quiet else (early_end(turn), result.server_note),
        images=tuple(image.data for image in result.response.images),
        notice="\n".join(filter(None, notices)),
        model=turn.model,
        status=turn.status,
        done_reason=turn.done_reason,
        stats=turn.stats,
        exchanged=(
            *(sent[:-1] if prepared.begun else sent),
            *map(without_outcome, result.steps),
            {"role": "assistant", "content": turn.reply},
        ),
        sent=prepared.request.body(),
        tool_calls=tuple(call for one in result.responses for call in one.tool_calls),
        schema=prepared.schema,
        is_cached=result.is_cached,
        logprobs=result.response.text_logprobs,
        folded=_blocks_below(session, result),
        provenance={},
    )
    provenance = _provenance(reply, turn, place, result)
    if prepared.begun and turn.cell_id != session.cells.cell_id:
        provenance |= of_cell(turn)
    return replace(reply, provenance=provenance)


def stored_reply(
    turn: Turn, place: TurnPosition, *facts: str, hides_thinking: bool = False
) -> Reply:
    """Return the reply of a turn of a chat.

    Parameters
    ----------
    facts
        What the footer says besides the model.
    """
    if hides_thinking:
        steps = tuple(map(_without_thinking, turn.steps))
        turn = replace(turn, thinking="", steps=steps)
    reply = Reply(
        text=turn.reply,
        thinking=turn.thinking,
        steps=turn.steps,
        view="json" if turn.request.get("format") else "markdown",
        footer=(turn.model, *facts),
        notice=_NOTICES.get(turn.status, ""),
        model=turn.model,
        status=turn.status,
        done_reason=turn.done_reason,
        stats=turn.stats,
        exchanged=(
            {"role": "user", "content": turn.prompt},
            *map(without_outcome, turn.steps),
            {"role": "assistant", "content": turn.reply},
        ),
        sent={"model": turn.model, **turn.request},
        tool_calls=(),
        schema=None,
        is_cached="cached" in turn.request,
        provenance={},
    )
    provenance = output_metadata(turn, place, output_text(reply))
    return replace(reply, provenance=provenance)


def of_cell(turn: Turn) -> dict[str, object]:
    """Return what the metadata says in another cell than that of the turn."""
    is_stable = stable_cell_id(turn.cell_id)  # the notebook file has this id too
    return {TURN_CELL_KEY: turn.cell_id} if is_stable else {}


def _notices(
    prepared: PreparedRequest, result: Result, ended: str, way_on: str
) -> tuple[str, str, str]:
    """Return what is said below a reply: its end, its schema, and its context."""
    response, mismatch = result.response, ""
    if prepared.schema is not None and result.fault is None:
        mismatch = mismatch_notice(response.text, prepared.schema, response.done_reason)
    context = result.context_notice
    is_said = result.status == "cut" and (mismatch or "cut off" in context)
    return "" if is_said else ended, mismatch, context or way_on


def _way_on(session: Session, turn: Turn, place: TurnPosition | None) -> str:
    """Return what to type after a reply that ended early; empty if nothing helps."""
    longer = "To go on: run the cell again with a higher -o num_predict"
    is_cut = turn.status == "cut"
    if turn.status == "complete" or "format" in turn.request:
        return ""
    if place is None or not turn.reply.strip():
        return longer if is_cut else ""
    chat = place["chat"]
    named = "" if chat == session.chat_name else f" -c {shlex.quote(chat)}"
    return f"To go on: %ollama continue{named}"


def _provenance(
    reply: Reply, turn: Turn, place: TurnPosition | None, result: Result
) -> dict[str, Any]:
    # Hidden thinking must not end up in the notebook file either.
    steps = tuple(map(dict, reply.steps))
    shown = replace(turn, thinking=reply.shown_thinking, steps=steps)
    return {
        **output_metadata(shown, place, output_text(reply)),
        "host_kind": result.host_kind,
        "shown_as": reply.view,
        "context_length": result.context_length or None,
    }


def shown_steps(
    steps: Sequence[Message], prepared: PreparedRequest
) -> tuple[Message, ...]:
    """Return the steps to show: without thinking, if it is hidden."""
    if not prepared.options.hide_thinking:
        return tuple(steps)
    return tuple(map(_without_thinking, steps))


def _without_thinking(step: Message) -> Message:
    return {key: value for key, value in step.items() if key != "thinking"}


def _blocks_below(session: Session, result: Result) -> tuple[CodeBlock, ...]:
    """Return the blocks of a reply that the cell below has too."""
    # NB: a front end that identifies no cells may have dropped the cell.
    if not (result.code_below and session.cells.is_identified):
        return ()
    code = code_to_run(code_blocks(result.response.text))
    return code.blocks if code.hash == result.code_below else ()
