"""Functions of a notebook as tools: their descriptions, and the results of calls."""

import asyncio
import contextvars
import dataclasses
import datetime
import enum
import functools
import json
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest
from corpus.kinds import KINDS
from typing_extensions import Doc

from ollama_magic.client.types import ReplyChunk
from ollama_magic.errors import PromptError
from ollama_magic.generation.python_types import read_docstring
from ollama_magic.generation.tool_calls import make_tools
from ollama_magic.generation.tools import (
    ToolResult,
    corrected_arguments,
    make_tool,
    run_tool,
)

WIRE = Path(__file__).parents[1] / "wire"
TEXT, NUMBER, COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer"}
NULL = {"type": "null"}


def get_weather(city: str) -> str:
    """Get the weather of a city

    Parameters
    ----------
    city
        name of the city
    """  # noqa: D400  (the words of the recording)
    return f"rain in {city}"


def call_tool(tool, arguments):
    """Call a tool as the loop does after a call is allowed."""
    corrected, wrong = corrected_arguments(tool, arguments)
    return ToolResult(wrong, "invalid") if wrong else run_tool(tool, corrected)


def parameters_of(function):
    return make_tool("f", function).description["function"]["parameters"]


def recorded(case):
    return json.loads((WIRE / f"{case}.json").read_text("utf-8"))


@pytest.mark.parametrize("case", ["chat_tools_stream", "chat_tools_result"])
def test_the_description_of_a_tool_matches_a_recorded_request(case):
    tool = make_tool("get_weather", get_weather)
    assert [tool.description] == recorded(case)["request"]["body"]["tools"]


def test_a_recorded_call_of_a_model_is_made():
    line = json.loads(recorded("chat_tools_stream")["response"]["lines"][0]["line"])
    (call,) = ReplyChunk.from_json(line).tool_calls
    tool = make_tool("get_weather", get_weather)
    assert call.name == tool.name
    assert call_tool(tool, call.arguments) == ToolResult("rain in Paris")


# -- signatures ----------------------------------------------------------------


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


@dataclasses.dataclass
class Place:
    name: str
    unit: Unit = Unit.C


def test_types_and_defaults_become_a_schema():
    def function(
        a,
        b: int,
        c: float = 1.5,
        d: bool = False,
        *,
        e: list[str],
        f: Unit = Unit.C,
        g: Literal["x", "y"] = "x",
        h: int | None = None,
        i: int = None,  # noqa: RUF013  (people write so)
        j: Any = None,
        k: Place = None,
    ):
        pass

    unit = {"enum": ["celsius", "fahrenheit"], "title": "Unit", "type": "string"}
    place = {
        "type": "object",
        "title": "Place",
        "properties": {"name": TEXT, "unit": {**unit, "default": "celsius"}},
        "required": ["name"],
    }
    assert parameters_of(function) == {
        "type": "object",
        "properties": {
            "a": {},
            "b": COUNT,
            "c": NUMBER,
            "d": {"type": "boolean"},
            "e": {"type": "array", "items": TEXT},
            "f": unit,
            "g": {"enum": ["x", "y"], "type": "string"},
            "h": {"anyOf": [COUNT, NULL]},
            "i": {"anyOf": [COUNT, NULL]},
            "j": {},
            "k": {"anyOf": [place, NULL]},
        },
        "required": ["a", "b", "e"],
    }


def test_extra_arguments_are_passed_if_the_function_takes_them():
    def function(a: str, **options):
        """Do it.

        Args:
            a: one
            **options: all else
        """
        return {"a": a, **options}

    assert parameters_of(function) == {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "one"}},
        "required": ["a"],
        "additionalProperties": True,
    }
    result = call_tool(make_tool("f", function), {"a": "x", "b": 2})
    assert json.loads(result.text) == {"a": "x", "b": 2}


class Station:
    """A place that measures."""

    def __init__(self, town):
        self.town = town

    def read(self, what: str) -> str:
        """Read one value."""
        return f"{what} in {self.town}"

    def __call__(self, hour: int) -> str:
        return f"{hour} o'clock in {self.town}"


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


CALLABLES = {
    "function": (get_weather, "Get the weather of a city", {"city": "Oslo"}),
    "decorated": (logged(get_weather), "Get the weather of a city", {"city": "Oslo"}),
    "cached": (
        functools.lru_cache(get_weather),
        "Get the weather of a city",
        {"city": "Oslo"},
    ),
    "method": (Station("Oslo").read, "Read one value.", {"what": "rain"}),
    "partial of a method": (
        functools.partial(Station("Oslo").read, "rain"),
        "Read one value.",
        {},
    ),
    "object": (Station("Oslo"), "A place that measures.", {"hour": 3}),
    "partial of an object": (
        functools.partial(Station("Oslo"), hour=3),
        "A place that measures.",
        {},
    ),
    "lambda": (lambda city: f"{city}!", "", {"city": "Oslo"}),
    "without docstring, cached": (functools.lru_cache(lambda: "Oslo"), "", {}),
}


@pytest.mark.parametrize(
    ("function", "said", "arguments"), CALLABLES.values(), ids=CALLABLES
)
def test_any_callable_can_be_a_tool(function, said, arguments):
    tool = make_tool("it", function)
    assert tool.description["function"]["description"] == said
    assert list(tool.description["function"]["parameters"]["properties"]) == list(
        arguments
    )
    result = call_tool(tool, arguments)
    assert "Oslo" in result.text
    assert result.outcome == "called"


def test_arguments_that_a_partial_fixes_are_hidden_and_unchanged():
    def search(text: str, key: str = "", **more):
        return f"{text} with {key} {more}"

    tool = make_tool("search", functools.partial(search, key="s3cret", other=1))
    assert "s3cret" not in json.dumps(tool.description)
    assert list(tool.description["function"]["parameters"]["properties"]) == ["text"]
    assert call_tool(tool, {"text": "a"}).text == "a with s3cret {'other': 1}"
    for name in ("key", "other"):
        result = call_tool(tool, {"text": "a", name: "mine"})
        assert result.outcome != "called"
        assert f"there is no argument {name}" in result.text


def test_a_tool_from_python_has_the_name_of_its_function():
    given = [functools.partial(get_weather, city="Oslo"), Station("Oslo")]
    assert [tool.name for tool in make_tools(given, {})] == ["get_weather", "Station"]
    with pytest.raises(PromptError, match="no name that a model could call"):
        make_tools([lambda city: city], {})
    (tool,) = make_tools(["short"], {"short": lambda city: city})
    assert tool.name == "short"


def test_hints_written_as_text_are_resolved(monkeypatch):
    source = """
from __future__ import annotations
import typing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
if typing.TYPE_CHECKING:
    import nowhere

@dataclass
class Pet:
    name: str
    age: int | None = None

def feed(pets: list[Pet], much: float = 1.0) -> nowhere.Thing:
    return [pet.name for pet in pets]

def lost(x: nowhere.Thing): pass
def broken(x: "a number"): pass
"""
    cells = types.ModuleType("cells")
    monkeypatch.setitem(sys.modules, "cells", cells)
    space = vars(cells)
    exec(compile(source, "cell", "exec"), space)  # as IPython runs a cell
    tool = make_tool("feed", space["feed"])
    schema = tool.description["function"]["parameters"]
    assert schema["properties"]["pets"]["items"]["required"] == ["name"]
    assert call_tool(tool, {"pets": [{"name": "Rex"}]}).text == '["Rex"]'
    with pytest.raises(PromptError) as caught:
        make_tool("lost", space["lost"])
    assert str(caught.value) == (
        "lost cannot be used as a tool.\n"
        "  why:  the type 'nowhere.Thing' of x cannot be resolved: "
        "name 'nowhere' is not defined\n"
        "  next: correct it, or define the type in a cell above, outside of functions"
    )
    with pytest.raises(PromptError, match=r"a number.* of x cannot be resolved"):
        make_tool("broken", space["broken"])


async def yields_later(x: str):
    yield x


def yields(x: str):
    yield x


class Unsigned:
    __signature__ = "none"

    def __call__(self):
        pass


class Node:
    pass


@dataclasses.dataclass
class Endless:
    inner: "Endless"


class Odd(enum.Enum):
    A = object()


def takes(hint):
    def function(x):
        pass

    function.__annotations__ = {"x": hint}
    return function


UNFIT = {
    "a number": (7, "it is not a function, but of type int"),
    "a string": ("print", "it is not a function"),
    "a class": (Station, "it is a class"),
    "async generator": (yields_later, "it is a generator"),
    "generator": (yields, "it is a generator"),
    "partial of a generator": (functools.partial(yields, x="a"), "it is a generator"),
    "positional-only": (len, "obj is positional-only"),
    "any number": (lambda *parts: parts, "*parts is positional-only"),
    "without a signature": (Unsigned(), "its parameters cannot be read: "),
    "an unknown type": (takes(Station), "parameter x: JSON has no type for <class"),
    "in a list": (takes(list[Node]), "parameter x: JSON has no type for <class"),
    "in itself without end": (takes(Endless), "parameter x: No value can match"),
    "an enum of objects": (takes(Odd), "parameter x: Unable to serialize unknown type"),
}


@pytest.mark.parametrize(("function", "said"), UNFIT.values(), ids=UNFIT)
def test_a_function_that_a_model_cannot_call_is_an_error(function, said):
    with pytest.raises(PromptError) as caught:
        make_tool("it", function)
    assert caught.value.what == "it cannot be used as a tool."
    assert said in caught.value.why
    assert caught.value.next_step


def test_pydantic_models_are_described_in_place_and_built():
    pydantic = pytest.importorskip("pydantic")

    class Point(pydantic.BaseModel):
        x: int = pydantic.Field(gt=0)

    class Line(pydantic.BaseModel):
        points: list[Point]

    def draw(lines, one=None):
        return f"{lines[0].points[0].x + one.points[0].x}"

    draw.__annotations__ = {"lines": list[Line], "one": Line | None}
    tool = make_tool("draw", draw)
    text = json.dumps(tool.description)
    assert "$ref" not in text
    assert "$defs" not in text
    line = {"points": [{"x": 2}]}
    assert call_tool(tool, {"lines": [line], "one": line}) == ToolResult("4")
    result = call_tool(tool, {"lines": [{"points": [{"x": 0}]}], "one": line})
    assert result.outcome != "called"
    assert result.text.startswith("argument lines/0/points/0/x: 0 is less than or equ")


RECURSIVE = [name for name in KINDS if name.startswith("a recursive")]


@pytest.mark.parametrize("name", RECURSIVE)
def test_a_recursive_type_is_described_once_and_built(name):
    kind, said, value = KINDS[name]
    got = []

    def function(x):
        got.append(x)

    function.__annotations__ = {"x": kind}
    tool = make_tool("f", function)
    assert "$ref" not in json.dumps(tool.description)
    assert call_tool(tool, {"x": said}) == ToolResult("null")
    assert got == [value]


def test_what_is_wrong_inside_a_recursive_type_is_reported():
    kind, *_ = KINDS["a recursive dataclass"]
    deep = {"name": "a", "following": {"name": "b", "following": {"name": 3}}}
    result = call_tool(make_tool("f", takes(kind)), {"x": deep})
    assert result.outcome == "invalid"
    assert result.text.startswith("argument x/following/following/name: ")


def test_annotated_parameters_keep_their_limits_and_texts():
    pydantic = pytest.importorskip("pydantic")
    many = Annotated[int, pydantic.Field(ge=1, description="how many")]

    def function(n: many, m: many = None, k: many = 2):
        """Do it.

        :param n: said elsewhere
        """
        return [n, m, k]

    function.__annotations__ = {"n": many, "m": many, "k": many}
    counted = {**COUNT, "minimum": 1}
    assert parameters_of(function)["properties"] == {
        "n": {**counted, "description": "how many"},
        "m": {"anyOf": [counted, NULL], "description": "how many"},
        "k": {**counted, "description": "how many"},
    }
    tool = make_tool("f", function)
    assert call_tool(tool, {"n": 3, "m": None}).text == "[3, null, 2]"
    result = call_tool(tool, {"n": 0})
    assert result == ToolResult(
        "argument n: 0 is less than the minimum of 1", "invalid"
    )


def test_plain_text_beside_a_type_describes_its_parameter():
    def function(
        n: Annotated[int, "how many"],
        m: Annotated[int, Doc("how often")] = 1,
        k: Annotated[int, "how long"] = None,  # noqa: RUF013  (people write so)
    ):
        """Do it.

        :param n: said elsewhere
        """

    assert parameters_of(function)["properties"] == {
        "n": {**COUNT, "description": "how many"},
        "m": {**COUNT, "description": "how often"},
        "k": {"anyOf": [COUNT, NULL], "description": "how long"},
    }


def test_a_default_that_is_a_field_describes_its_parameter():
    pydantic = pytest.importorskip("pydantic")

    def function(
        n: int = pydantic.Field(ge=1, description="how many"),
        m: int = pydantic.Field(3, le=9),
        to: list = pydantic.Field(default_factory=list),  # noqa: B008
        word=pydantic.Field("hi", description="what to say"),  # noqa: B008
        other: Annotated[int, pydantic.Field(default=2)] = 5,
    ):
        to.append(n)
        return [n, m, to, word, other]

    schema = parameters_of(function)
    assert schema["required"] == ["n"]
    assert schema["properties"]["n"] == {
        **COUNT,
        "minimum": 1,
        "description": "how many",
    }
    assert schema["properties"]["word"]["description"] == "what to say"
    tool = make_tool("f", function)
    for _ in range(2):  # each call has a new list
        assert call_tool(tool, {"n": 1}).text == '[1, 3, [1], "hi", 5]'
    assert call_tool(tool, {"n": 1, "m": 10}).outcome == "invalid"


def test_dates_strict_models_and_typed_dicts_are_arguments():
    pydantic = pytest.importorskip("pydantic")

    class Trip(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(strict=True)
        day: datetime.date

    class Town(TypedDict):
        name: str

    def function(trip, town):
        return f"{trip.day.year} {town['name']}"

    function.__annotations__ = {"trip": Trip, "town": Town}
    tool = make_tool("f", function)
    day = {"trip": {"day": "2026-01-31"}, "town": {"name": "Oslo"}}
    assert call_tool(tool, day).text == "2026 Oslo"
    result = call_tool(tool, {**day, "trip": {"day": "soon"}})
    assert result.outcome == "invalid"
    assert result.text.startswith("argument trip/day: Input should be a valid date")


# -- docstrings ----------------------------------------------------------------

NUMPY = """
    Find flights
    between two towns.

    More words, which a model is not told.

    Parameters
    ----------
    start, end : str, optional
        A town,
        by its name.
    day : {"mon", "tue"}
        When: the day.
    **options
        All else.

    Returns
    -------
    price : float
        In euros.
    """

GOOGLE = """Find flights
    between two towns.

    Args:
        start (str): A town,
            by its name.
        end (Callable[[int], str], optional): A town, by its name.
        day: When: the day.
        **options (dict): All else.

    Returns:
        price: In euros.
    """

SPHINX = """
    Find flights
    between two towns.

    :param start: A town,
        by its name.
    :param str end: A town, by its name.
    :type end: str
    :param dict[str, int] day: When: the day.
    :param options: All else.
    :returns: In euros.
    :raises ValueError: never
    """


@pytest.mark.parametrize("text", [NUMPY, GOOGLE, SPHINX], ids=["numpy", "g", "sphinx"])
def test_each_style_of_docstring_is_read(text):
    summary, parameters = read_docstring(text)
    assert summary == "Find flights between two towns."
    assert parameters == {
        "start": "A town, by its name.",
        "end": "A town, by its name.",
        "day": "When: the day.",
        "options": "All else.",
    }


DOCSTRINGS = {
    "nothing": ("", "", {}),
    "blank": ("  \n  ", "", {}),
    "no summary": (":param x: one", "", {"x": "one"}),
    "no summary, Google": ("\n  Args:\n    x: one", "", {"x": "one"}),
    "no empty line": ("Do it.\n:param x: one\n:param y:", "Do it.", {"x": "one"}),
    "two sections": (
        "Do it.\n\nArgs:\n    x: one\n\nNote:\n    y: no argument",
        "Do it.",
        {"x": "one"},
    ),
    "prose that looks like one": ("Do it.\n\nNote: this.\n\n    x: y", "Do it.", {}),
    "broken": (":param :\n:type:", "", {}),
    "types of several words": (
        "Do it.\n\n:param Callable[[int], str] x: one\n:keyword int | None y: two",
        "Do it.",
        {"x": "one", "y": "two"},
    ),
    "numpy without texts": (
        "Do it.\n\nParameters\n----------\nx : int\ny : int\n    two",
        "Do it.",
        {"y": "two"},
    ),
}


@pytest.mark.parametrize(
    ("text", "summary", "parameters"), DOCSTRINGS.values(), ids=DOCSTRINGS
)
def test_unusual_docstrings_are_read(text, summary, parameters):
    assert read_docstring(text) == (summary, parameters)


def test_text_about_an_unknown_parameter_is_left_out():
    def function(x: int):
        """Do it.

        :param x: one
        :param gone: it was here once
        """

    assert parameters_of(function)["properties"] == {
        "x": {**COUNT, "description": "one"}
    }


# -- calls ---------------------------------------------------------------------


def forecast(  # noqa: PLR0917
    city: str,
    days: int = 1,
    place: Place | None = None,
    tags: set[str] | None = None,
    span: tuple[int, str] = (1, "h"),
    more: dict[str, Place] | None = None,
):
    kinds = [type(days), place, tags, span, more]
    return repr(kinds)


WRONG = {
    "a type": ({"city": 3}, "argument city: 3 is not of type 'string'"),
    "missing": (
        {"days": 2},
        "argument city is missing; forecast takes city (required), days, place, tags, "
        "span, more",
    ),
    "unknown": (
        {"city": "a", "town": "b"},
        "there is no argument town; forecast takes city (required), days, place, tags, "
        "span, more",
    ),
    "inside": (
        {"city": "a", "place": {"name": 3}},
        "argument place/name: 3 is not of type 'string'",
    ),
    "none of several": (
        {"city": "a", "tags": 3},
        "argument tags: 3 is not of type 'array' and 3 is not of type 'null'",
    ),
    "a choice": (
        {"city": "a", "place": {"name": "b", "unit": "K"}},
        "argument place/unit: 'K' is not one of ['celsius', 'fahrenheit']",
    ),
    "a flag for a number": (
        {"city": "a", "days": True},
        "argument days: True is not of type 'integer'",
    ),
    "several": (
        {"city": 3, "days": "b"},
        "argument city: 3 is not of type 'string'; "
        "argument days: 'b' is not of type 'integer'",
    ),
    "invisible": (
        {"city": "a", "\x1b[31m\n": 1},
        "there is no argument \\x1b[31m; forecast takes city (required), days, place, "
        "tags, span, more",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_reported_and_nothing_is_called(arguments, said):
    called = []

    @functools.wraps(forecast)
    def function(**given):
        called.append(given)

    tool = make_tool("forecast", function)
    assert call_tool(tool, arguments) == ToolResult(said, "invalid")
    assert called == []


AS_TEXT = {
    "a number": ({"days": "3"}, "days", 3),
    "a number with blanks": ({"days": " 3\n"}, "days", 3),
    "a list": ({"tags": '["a"]'}, "tags", {"a"}),
    "a list of Python": ({"tags": "['a', 'b']"}, "tags", {"a", "b"}),
    "a tuple of Python": ({"tags": "('a',)"}, "tags", {"a"}),
    "an object": ({"place": '{"name": "b"}'}, "place", Place("b")),
    "inside an object": (
        {"place": {"name": "b", "unit": '"celsius"'}},
        "place",
        Place("b"),
    ),
    "inside a dict": ({"more": {"c": '{"name": "d"}'}}, "more", {"c": Place("d")}),
    "null where null is a value": ({"place": None}, "place", None),
    "null as text": ({"place": "null"}, "place", None),
    "None as text": ({"place": "None"}, "place", None),
    "null for a default": ({"days": None}, "days", 1),
    "null as text for a default": ({"days": "null"}, "days", 1),
    "nothing for a default": ({"days": ""}, "days", 1),
    "null for a default inside": (
        {"place": {"name": "b", "unit": None}},
        "place",
        Place("b"),
    ),
    "text that is text": ({"city": "3"}, "city", "3"),
    "null that is text": ({"city": "null"}, "city", "null"),
}


@pytest.mark.parametrize(
    ("given", "name", "value"), AS_TEXT.values(), ids=list(AS_TEXT)
)
def test_text_and_null_are_read_as_they_are_meant(given, name, value):
    got = {}

    @functools.wraps(forecast)
    def function(**arguments):
        got.update(arguments)

    tool = make_tool("forecast", function)
    result = call_tool(tool, {"city": "a", **given})
    assert result == ToolResult("null")
    assert got.get(name, 1) == value


NOT_MEANT = {
    "null for what is required": {"city": None},
    "text for a number": {"city": "a", "days": "three"},
    "a call": {"city": "a", "days": "__import__('os').getpid()"},
    "a set": {"city": "a", "tags": "{'a'}"},
    "too long": {"city": "a", "tags": "['a'" + ",'a'" * 300 + "]"},
    "deep": {"city": "a", "tags": "[" * 900},
}


@pytest.mark.parametrize("given", NOT_MEANT.values(), ids=NOT_MEANT)
def test_other_text_stays_as_it_is_and_is_reported(given):
    tool = make_tool("forecast", forecast)
    corrected, wrong = corrected_arguments(tool, given)
    assert corrected == given
    assert wrong


def test_a_tool_without_arguments_says_so():
    result = call_tool(make_tool("now", lambda: "noon"), {"zone": "UTC"})
    assert result.text == "there is no argument zone; now takes no arguments"


def test_long_wrong_arguments_are_cut():
    tool = make_tool("get_weather", get_weather)
    result = call_tool(tool, {"city": ["x" * 50_000]})
    assert len(result.text) <= 1_000
    assert "\n" not in result.text


def test_arguments_are_converted_to_the_hinted_types():
    arguments = {
        "city": "a",
        "days": 2.0,  # JSON Schema counts it as an integer
        "place": {"name": "b", "unit": "fahrenheit"},
        "tags": ["x", "x"],
        "span": [3, "d"],
        "more": {"c": {"name": "d"}},
    }
    result = call_tool(make_tool("forecast", forecast), arguments)
    more = {"c": Place("d")}
    wanted = [int, Place("b", Unit.F), {"x"}, (3, "d"), more]
    assert result == ToolResult(repr(wanted))


def test_a_union_picks_the_type_that_matches():
    @dataclasses.dataclass
    class Circle:
        radius: float = 1.0

    @dataclasses.dataclass
    class Box:
        width: float
        height: float = 1.0

    def function(shape):
        return type(shape).__name__

    function.__annotations__ = {"shape": Circle | Box | Unit | int}
    tool = make_tool("draw", function)
    assert call_tool(tool, {"shape": {"width": 1}}).text == "Box"
    assert call_tool(tool, {"shape": {"radius": 1}}).text == "Circle"
    assert call_tool(tool, {"shape": "celsius"}).text == "Unit"
    assert call_tool(tool, {"shape": 3}).text == "int"


def test_the_arguments_in_the_chat_are_not_changed():
    def function(items: list, options: dict, raw):
        items.append(1)
        options.clear()
        raw["x"].append(2)

    arguments = {"items": [], "options": {"a": 1}, "raw": {"x": []}}
    assert call_tool(make_tool("f", function), arguments) == ToolResult("null")
    assert arguments == {"items": [], "options": {"a": 1}, "raw": {"x": []}}


class RudeError(Exception):
    def __str__(self):
        raise RuntimeError


def raises(error):
    def function():
        raise error

    return make_tool("f", function)


ERRORS = {
    "with words": (ValueError("no such\ncity"), "ValueError: no such city"),
    "without": (KeyError(), "KeyError"),
    "without readable ones": (RudeError(), "RudeError"),
    "of ours": (PromptError("No.", why="so"), "PromptError: No. why: so"),
}


@pytest.mark.parametrize(("error", "said"), ERRORS.values(), ids=ERRORS)
def test_an_error_of_the_function_is_sent_to_the_model(error, said):
    assert call_tool(raises(error), {}) == ToolResult(said, "failed")


def test_a_long_error_is_cut():
    result = call_tool(raises(ValueError("x" * 10_000)), {})
    assert len(result.text) < 600


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_caught(error):
    with pytest.raises(error):
        call_tool(raises(error()), {})


def test_an_error_in_arguments_or_in_the_result_is_sent_to_the_model():
    class Unreadable:
        @classmethod
        def make(cls):
            return cls()

        def __str__(self):
            raise ValueError("not now")

    result = call_tool(make_tool("f", Unreadable.make), {})
    assert result == ToolResult("ValueError: not now", "failed")

    @dataclasses.dataclass
    class Even:
        n: int

        def __post_init__(self):
            if self.n % 2:
                raise ValueError("n is odd")

    result = call_tool(make_tool("f", takes(Even)), {"x": {"n": 3}})
    assert result == ToolResult("argument x: n is odd", "invalid")


async def waits(x: str):
    """Wait a little.

    :param x: what to say
    """
    await asyncio.sleep(0)
    return f"{x} after a while"


class WaitingCall:
    async def __call__(self, x: str):
        return await waits(x)


WAITING = {
    "a function": waits,
    "a method": WaitingCall(),
    "a partial": functools.partial(waits),
    "decorated": logged(waits),
    "a function that is not async itself": lambda x: waits(x),  # noqa: PLW0108
}


def in_a_loop(coroutine):
    """Run a coroutine in a thread: browser tests leave a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", WAITING.values(), ids=WAITING)
def test_an_async_function_is_awaited(function):
    tool = make_tool("f", function)
    assert call_tool(tool, {"x": "rain"}) == ToolResult("rain after a while")

    async def cell():  # a notebook's own loop is running
        return call_tool(tool, {"x": "rain"})

    assert in_a_loop(cell()) == ToolResult("rain after a while")


PLACE = contextvars.ContextVar("place")


def test_an_async_function_sees_the_context_of_its_cell():
    async def place():
        return PLACE.get()

    PLACE.set("Oslo")
    assert call_tool(make_tool("f", place), {}).text == "Oslo"


FAILING = {
    "an error": (ValueError("no such city"), "ValueError: no such city"),
    "a cancelled task": (asyncio.CancelledError(), "CancelledError"),
}


@pytest.mark.parametrize(("error", "said"), FAILING.values(), ids=FAILING)
def test_an_error_of_an_async_function_is_sent_to_the_model(error, said):
    async def function():
        raise error

    assert call_tool(make_tool("f", function), {}) == ToolResult(said, "failed")


def test_a_future_of_another_loop_is_an_error():
    async def cell():
        future = asyncio.get_running_loop().create_future()
        return call_tool(make_tool("f", lambda: future), {})

    result = in_a_loop(cell())
    assert result.outcome == "failed"
    assert "different loop" in result.text


RESULTS = {
    "none": (None, "null"),
    "text": ("rain", "rain"),
    "number": (3, "3"),
    "dict": ({"a": [1, "ü"]}, '{"a": [1, "ü"]}'),
    "list": (["a"], '["a"]'),
}


@pytest.mark.parametrize(("value", "text"), RESULTS.values(), ids=RESULTS)
def test_a_result_is_text(value, text):
    assert call_tool(make_tool("f", lambda: value), {}) == ToolResult(text)


def test_a_long_result_is_cut_with_a_note():
    result = call_tool(make_tool("f", lambda: "x" * 100_000), {})
    assert result.text == "x" * 20_000 + "\n[cut: 20,000 of 100,000 characters]"
    assert result.outcome == "called"


def test_a_large_table_is_sampled():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n": range(1_000)})
    result = call_tool(make_tool("f", lambda: frame), {})
    assert "[985 rows left out]" in result.text


def test_what_a_tool_prints_is_printed(capsys):
    call_tool(make_tool("f", lambda: print("hello")), {})
    assert capsys.readouterr().out == "hello\n"
