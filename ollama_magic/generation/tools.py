"""Python functions as tools: how one is described to a model, and how it is called.

``tool_calls`` makes the tools of a request here, and calls them once a call is allowed.
Only a ``Tool`` is ever called: a name from a model is looked up nowhere else. Before a
call is allowed, arguments are checked by their JSON Schema alone; validators of the
user's types run only afterwards.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional

from ollama_magic.client.background import run_in_background, track_connection
from ollama_magic.errors import PromptError, quoted
from ollama_magic.generation.python_types import (
    UnsupportedTypeError,
    adapter_for,
    json_schema_of,
    load_as,
    read_docstring,
)
from ollama_magic.generation.schema_check import (
    Json,
    MismatchError,
    as_meant,
    check_schema,
    faults,
)
from ollama_magic.generation.values import error_text, value_text
from ollama_magic.history.turns import CallOutcome

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MAX_CHARACTERS = 20_000
"""A result that is longer is cut, with a note; about 5,000 tokens."""

_AROUND = "wrap it in a small function whose parameters have names and types"
_NO_TYPE = (
    "use a type that JSON can express (str, int, float, bool, list, dict, a dataclass, "
    "an enum), or no type hint"
)


@dataclass(frozen=True)
class Tool:
    """A function of the user that a model may call."""

    name: str
    """The name that the model calls it by."""
    function: Callable[..., Any]
    description: Mapping[str, Any]
    """One entry of ``tools`` of a request: name, description and JSON Schema."""
    types: Mapping[str, TypeAdapter[Any]]
    """The types of the parameters that have one."""
    filled: frozenset[str] = frozenset()
    """Parameters whose default is part of their type: ``n: int = Field(3)``."""
    sends_to: str = ""
    """The site that the arguments of each call are sent to, if it is one of ours."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call."""

    text: str
    """The text that is sent to the model."""
    outcome: CallOutcome = "called"
    sent_to: str = ""
    """The site that the arguments were sent to."""
    sources: tuple[tuple[str, str], ...] = ()
    """The title and the address of each page that the text is from."""
    advice: str = ""
    """What the user can do about a failure."""


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    type: TypeAdapter[Any] | None
    text: str
    """What it is for, as its type says: ``Annotated[int, "how many"]``."""
    is_required: bool
    is_filled: bool
    takes_the_rest: bool
    """Whether it is ``**kwargs``, which has no type here."""


# -- the description of a tool ------------------------------------------------------


def make_tool(name: str, function: object, *, sends_to: str = "") -> Tool:
    """Return a function as a tool: its signature, hints and docstring as a schema.

    Parameters
    ----------
    name
        The name that the model calls it by.
    function
        A function, a method, a ``functools.partial`` or an object with ``__call__``.
        Arguments that a partial fixes by name are hidden from the model.
    sends_to
        The site that its calls are sent to.

    Raises
    ------
    PromptError
        It cannot be called as models call tools: by name, with JSON values, for one
        result.
    """
    if name == "<lambda>":
        why = "it has no name that a model could call"
        raise _unfit(name, why, "define it with def")
    if isinstance(function, type):
        step = f"create an instance and use its name: {name}_tool = {name}(...)"
        raise _unfit(name, "it is a class", step)
    if not callable(function):
        why = f"it is not a function, but of type {type(function).__name__}"
        raise _unfit(name, why, "name a function that is defined in a cell above")
    called = _called(function)
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        why = "it is a generator, but a call must return one result"
        raise _unfit(name, why, "return a list instead of using yield")
    parameters = _parameters(name, function)
    summary, texts = read_docstring(_doc(function))
    description = {
        "name": name,
        "description": summary,
        "parameters": _schema(name, parameters, texts),
    }
    types = {one.name: one.type for one in parameters if one.type is not None}
    filled = frozenset(one.name for one in parameters if one.is_filled)
    described = {"type": "function", "function": description}
    return Tool(name, function, described, types, filled, sends_to)


def _inside(function: Any) -> tuple[Any, frozenset[str]]:  # noqa: ANN401
    """Return the callable inside partials, and the names that these fix."""
    names: set[str] = set()
    while isinstance(function, functools.partial):
        names.update(function.keywords)
        function = function.func
    return function, frozenset(names)


def name_of(function: object) -> str:
    """Return the name of a function, also inside partials, or of an object's class."""
    inner, _ = _inside(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _called(function: object) -> Any:  # noqa: ANN401  (any callable)
    """Return the function inside partials and objects with ``__call__``."""
    inner, _ = _inside(function)
    is_function = inspect.isroutine(inner) or hasattr(inner, "__wrapped__")
    return inner if is_function else type(inner).__call__


def _doc(function: object) -> str:
    inner, _ = _inside(function)
    called = _called(inner)
    doc = called.__doc__
    if not doc and called is not inner:
        doc = type(inner).__doc__
    return doc if isinstance(doc, str) else ""


def _parameters(tool: str, function: Callable[..., Any]) -> list[_Parameter]:
    try:
        found = inspect.signature(function).parameters.values()
        scope = getattr(inspect.unwrap(_called(function)), "__globals__", {})
    except Exception as error:  # of builtins; annotations are the user's code
        why = quoted(str(error), limit=300)
        raise _unfit(tool, f"its parameters cannot be read: {why}", _AROUND) from error
    _, fixed = _inside(function)
    parameters = []
    for one in found:
        if one.kind is one.POSITIONAL_ONLY:
            why = f"arguments are passed by name, but {one.name} is positional-only"
            raise _unfit(tool, why, _AROUND)
        if one.kind is one.VAR_POSITIONAL:
            why = f"arguments are passed by name, but *{one.name} is positional-only"
            raise _unfit(tool, why, _AROUND)
        if one.name not in fixed:
            is_rest = one.kind is one.VAR_KEYWORD
            hint = one.empty if is_rest else _resolved(tool, one, scope)
            kind = None if hint is one.empty else _adapter(tool, one.name, hint)
            is_open = one.default is one.empty or _is_field(one.default)
            default = kind.get_default_value() if is_open and kind else None
            is_filled = default is not None
            is_required = is_open and not is_filled and not is_rest
            parameters.append(
                _Parameter(
                    one.name, kind, _text_of(hint), is_required, is_filled, is_rest
                )
            )
    return parameters


def _is_field(default: object) -> bool:
    """Return whether a default is ``Field(...)``, which describes the parameter."""
    return type(default).__module__ == "pydantic.fields"


def _adapter(tool: str, parameter: str, hint: Any) -> TypeAdapter[Any]:  # noqa: ANN401
    try:
        return adapter_for(hint)
    except UnsupportedTypeError as error:
        raise _unfit_type(tool, parameter, str(error)) from error


def _text_of(hint: Any) -> str:  # noqa: ANN401
    """Return the plain text beside a type, or that of ``Doc("…")`` (PEP 727)."""
    found = getattr(hint, "__metadata__", ())
    texts = (getattr(one, "documentation", one) for one in found)
    return next((text for text in texts if isinstance(text, str)), "")


def _resolved(tool: str, parameter: inspect.Parameter, scope: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the type of a parameter, also when it is written as text."""
    hint = parameter.annotation
    if _is_field(parameter.default):
        hint = Annotated[Any if hint is parameter.empty else hint, parameter.default]
    if hint is parameter.empty:
        return hint

    def holder() -> None:
        """Hold this one annotation, so that no other can fail."""

    holder.__annotations__ = {parameter.name: hint}
    try:
        hints = typing.get_type_hints(holder, scope, include_extras=True)
        hint = hints[parameter.name]
    except Exception as error:  # an annotation is the user's code
        why = f"the type {hint!r} of {parameter.name} cannot be resolved"
        reason = quoted(str(error), limit=200)
        step = "correct it, or define the type in a cell above, outside of functions"
        raise _unfit(tool, f"{why}: {reason}", step) from error
    if parameter.default is not None or hint is Any:
        return hint
    if typing.get_origin(hint) is Annotated:  # its metadata stays at the top
        return Annotated[(Optional[hint.__origin__], *hint.__metadata__)]  # noqa: UP045  (any hint)
    return Optional[hint]  # noqa: UP045  (any hint)


def _schema(tool: str, parameters: list[_Parameter], texts: Mapping[str, str]) -> Json:
    properties: Json = {}
    for one in parameters:
        if not one.takes_the_rest:
            text = one.text or texts.get(one.name)
            described = {"description": text} if text else {}
            properties[one.name] = {**described, **_schema_of(tool, one)}
    required = [one.name for one in parameters if one.is_required]
    schema: Json = {"type": "object", "properties": properties, "required": required}
    if any(one.takes_the_rest for one in parameters):
        schema["additionalProperties"] = True
    return schema


def _schema_of(tool: str, parameter: _Parameter) -> Json:
    if parameter.type is None:
        return {}
    try:
        schema = json_schema_of(parameter.type)
        check_schema(schema)
    except UnsupportedTypeError as error:
        raise _unfit_type(tool, parameter.name, str(error)) from error
    except PromptError as error:
        why = f"parameter {parameter.name}: {error.what} {error.why}"
        raise _unfit(tool, why, error.next_step) from error
    return typing.cast("Json", _inlined(schema, {}))


def _inlined(schema: Any, known: Json, inside: tuple[str, ...] = ()) -> Any:  # noqa: ANN401  (any JSON)
    """Return a schema with its definitions in place of the references to them.

    Ollama keeps no ``$ref`` in the parameters of tools. Where a definition contains
    itself, only its type is kept; pydantic checks the value when the tool is called.
    """
    if isinstance(schema, list):
        return [_inlined(one, known, inside) for one in schema]
    if not isinstance(schema, dict):
        return schema
    known = {**known, **schema.get("$defs", {})}
    rest = {name: one for name, one in schema.items() if name != "$defs"}
    reference = schema.get("$ref")
    name = reference.removeprefix("#/$defs/") if isinstance(reference, str) else ""
    if name in inside:
        return {key: one for key, one in known[name].items() if key == "type"}
    if name in known:
        del rest["$ref"]
        return _inlined({**known[name], **rest}, known, (*inside, name))
    return {name: _inlined(one, known, inside) for name, one in rest.items()}


def _unfit(name: str, why: str, next_step: str) -> PromptError:
    return PromptError(
        f"{name} cannot be used as a tool.", why=why, next_step=next_step
    )


def _unfit_type(tool: str, parameter: str, why: str) -> PromptError:
    reason = quoted(why, limit=300)
    return _unfit(tool, f"parameter {parameter}: {reason}", _NO_TYPE)


# -- the call ------------------------------------------------------------------


def corrected_arguments(
    tool: Tool, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """Return the arguments to call a tool with, and what is wrong with them.

    What is wrong is text for the model; empty if nothing is. None of the user's code
    runs. Small models write JSON text in place of a number, a list or null, and null
    for what they leave out: both are corrected if the type leaves no doubt.
    """
    corrected = dict(as_meant(arguments, tool.description["function"]["parameters"]))
    return corrected, quoted(_wrong_with(tool, corrected), limit=1000)


def run_tool(tool: Tool, arguments: Mapping[str, Any]) -> ToolResult:
    """Call a tool with arguments from :func:`corrected_arguments`.

    What the function raises becomes a result, except ``KeyboardInterrupt`` and
    ``SystemExit``. The arguments stay unchanged, even if the function changes its own.
    """
    built, wrong = _built(tool, arguments)
    if wrong:
        return ToolResult(quoted("; ".join(wrong), limit=1000), "invalid")
    try:
        result = tool.function(**built)
        if inspect.isawaitable(result):
            result = _awaited(result)
        if isinstance(result, ToolResult):
            return result
        return ToolResult(_result_text(result))
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  (of the user)
        return ToolResult(error_text(error), "failed")


def _wrong_with(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """Return what is wrong with arguments, as text for the model; empty if nothing."""
    schema = tool.description["function"]["parameters"]
    known, required = schema["properties"], schema["required"]
    _, fixed = _inside(tool.function)
    takes_more = schema.get("additionalProperties", False)
    unknown = [
        name
        for name in arguments
        if name not in known and (name in fixed or not takes_more)
    ]
    found = [
        f"argument {name} is missing" for name in required if name not in arguments
    ]
    found += [f"there is no argument {quoted(name, limit=80)}" for name in unknown]
    if found:
        names = [f"{n} (required)" if n in required else n for n in known]
        found.append(f"{tool.name} takes {', '.join(names) or 'no arguments'}")
    for name in arguments:
        found += _argument_faults(name, faults(arguments[name], known.get(name, {})))
    return "; ".join(found)


def _argument_faults(name: str, found: Sequence[tuple[str, str]]) -> list[str]:
    return [
        f"argument {f'{name}/{place}' if place else name}: {quoted(why, limit=300)}"
        for place, why in found
    ]


def _built(
    tool: Tool, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return arguments as the types of the parameters, and what the types reject."""
    built: dict[str, Any] = {}
    wrong: list[str] = []
    for name, value in arguments.items():
        kind = tool.types.get(name)
        try:
            built[name] = copy.deepcopy(value) if kind is None else load_as(kind, value)
        except MismatchError as error:
            wrong += _argument_faults(name, error.faults)
    for name in tool.filled - arguments.keys():
        default = tool.types[name].get_default_value()
        built |= {} if default is None else {name: default.value}
    return built, wrong


def _awaited(awaitable: Awaitable[object]) -> object:
    """Return the result of an ``async`` function; an interrupt cancels it.

    The loop of a notebook is running and cannot wait for it, so each call has a loop
    and a thread of its own.
    """

    async def wait() -> object:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop may just have ended
                loop.call_soon_threadsafe(task.cancel)

        on_interrupt = ExitStack()
        on_interrupt.callback(cancel)
        track_connection(on_interrupt)
        return await awaitable

    return run_in_background(lambda: asyncio.run(wait()))


def _result_text(result: object) -> str:
    return "null" if result is None else value_text(result, limit=MAX_CHARACTERS).text
