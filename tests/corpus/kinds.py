"""Types that people use as schemas: a JSON value of each, and what it becomes.

``REJECTED`` has a JSON value that the type of the same name does not accept.
"""

import collections
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import pydantic
from typing_extensions import TypeAliasType


class Colour(enum.Enum):
    RED = "red"


class Stars(enum.IntEnum):
    ONE = 1
    TWO = 2


class Mood(enum.StrEnum):
    GOOD = "good"


@dataclasses.dataclass
class Pet:
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    inner: Pet
    tags: tuple[str, ...] = ()


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Tree(TypedDict):
    name: str
    children: "list[Tree]"


@dataclasses.dataclass
class Chain:
    name: str
    following: "Chain | None" = None


class Knot(pydantic.BaseModel):
    following: "Knot | None" = None


class Team(pydantic.RootModel[list[Pet]]):
    pass


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    born: datetime.date
    colour: Colour


class City(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(alias="cityName", min_length=2)
    people: int = pydantic.Field(default=0, ge=0)


class Named(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def check(cls, name):
        if name.islower():
            raise ValueError("begin it with a capital")
        return name


class Span(pydantic.BaseModel):
    first: int
    last: int

    @pydantic.model_validator(mode="after")
    def check(self):
        if self.last < self.first:
            raise ValueError("last comes before first")
        return self

    @pydantic.computed_field
    @property
    def length(self) -> int:
        return self.last - self.first


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


T = TypeVar("T")


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]
    more: bool = False


@pydantic.dataclasses.dataclass
class Range:
    low: Annotated[int, pydantic.Field(ge=0)]


UserId = NewType("UserId", int)
Words = TypeAliasType("Words", "str | list[Words]")
DAY = datetime.date(2026, 1, 31)
ID = uuid.UUID(int=1)

KINDS = {
    "text": (str, "a", "a"),
    "a whole number": (int, 3, 3),
    "a number": (float, 1.5, 1.5),
    "a flag": (bool, True, True),
    "nothing": (type(None), None, None),
    "anything": (Any, {"a": [1]}, {"a": [1]}),
    "a list": (list[str], ["a"], ["a"]),
    "a bare list": (list, [1, "a"], [1, "a"]),
    "a list of lists": (list[list[int]], [[1], []], [[1], []]),
    "a set": (set[str], ["a", "a"], {"a"}),
    "a tuple": (tuple[int, str], [1, "a"], (1, "a")),
    "a tuple of any length": (tuple[int, ...], [1, 2], (1, 2)),
    "a named tuple": (Point, [1, 2.5], Point(1, 2.5)),
    "a sequence": (Sequence[int], [1], [1]),
    "a deque": (collections.deque[int], [1], collections.deque([1])),
    "a dict": (dict[str, Pet], {"a": {"name": "Rex"}}, {"a": Pet("Rex")}),
    "a dict with numbers as keys": (dict[int, str], {"1": "a"}, {1: "a"}),
    "a bare dict": (dict, {"a": 1}, {"a": 1}),
    "a mapping": (Mapping[str, int], {"a": 1}, {"a": 1}),
    "a choice": (Literal["pos", "neg"], "pos", "pos"),
    "a mixed choice": (Literal["pos", 1, None], 1, 1),
    "an enum": (Colour, "red", Colour.RED),
    "an enum of numbers": (Stars, 2, Stars.TWO),
    "an enum of texts": (Mood, "good", Mood.GOOD),
    "optional": (Pet | None, None, None),
    "old optional": (Optional[Pet], {"name": "Rex"}, Pet("Rex")),  # noqa: UP045
    "one of two": (Union[Pet, Movie], {"title": "Alien"}, {"title": "Alien"}),  # noqa: UP007
    "a number or a text": (int | str, "3", "3"),
    "told apart by a field": (
        Annotated[Cat | Dog, pydantic.Field(discriminator="kind")],
        {"kind": "cat", "lives": 7},
        Cat(kind="cat", lives=7),
    ),
    "a list of those": (list[Cat | Dog], [{"kind": "dog"}], [Dog(kind="dog")]),
    "a date": (datetime.date, "2026-01-31", DAY),
    "a time": (datetime.time, "12:30:00", datetime.time(12, 30)),
    "a moment": (
        datetime.datetime,
        "2026-01-31T12:30:00",
        datetime.datetime(2026, 1, 31, 12, 30),
    ),
    "a duration": (datetime.timedelta, "PT90S", datetime.timedelta(seconds=90)),
    "a decimal": (decimal.Decimal, 0.5, decimal.Decimal("0.5")),
    "a decimal as text": (decimal.Decimal, "0.50", decimal.Decimal("0.50")),
    "an id": (uuid.UUID, str(ID), ID),
    "an address": (
        ipaddress.IPv4Address,
        "127.0.0.1",
        ipaddress.IPv4Address("127.0.0.1"),
    ),
    "a URL": (
        pydantic.HttpUrl,
        "https://a.example/",
        pydantic.HttpUrl("https://a.example/"),
    ),
    "a path": (pathlib.PurePosixPath, "a/b", pathlib.PurePosixPath("a/b")),
    "bytes": (bytes, "a", b"a"),
    "limits": (Annotated[int, pydantic.Field(ge=1, le=5)], 1, 1),
    "limits of a list": (
        Annotated[list[int], pydantic.Field(min_length=1, max_length=2)],
        [1],
        [1],
    ),
    "a pattern": (Annotated[str, pydantic.Field(pattern="^[A-Z]{2}$")], "NO", "NO"),
    "a short text": (pydantic.constr(max_length=5), "abc", "abc"),
    "a validator": (
        Annotated[str, pydantic.AfterValidator(str.upper)],
        "a",
        "A",
    ),
    "a new type": (UserId, 3, 3),
    "a model": (City, {"cityName": "Oslo"}, City(cityName="Oslo")),
    "a model with text for a number": (
        City,
        {"cityName": "Oslo", "people": "3"},
        City(cityName="Oslo", people=3),
    ),
    "a model with a validator": (Named, {"name": "Ada"}, Named(name="Ada")),
    "a model with a validator of all": (
        Span,
        {"first": 1, "last": 2},
        Span(first=1, last=2),
    ),
    "a strict model": (
        Strict,
        {"born": "2026-01-31", "colour": "red"},
        Strict(born=DAY, colour=Colour.RED),
    ),
    "a generic model": (
        Page[Pet],
        {"items": [{"name": "a"}]},
        Page[Pet](items=[Pet("a")]),
    ),
    "a root model": (Team, [{"name": "a"}], Team([Pet("a")])),
    "a dataclass": (Box, {"inner": {"name": "a"}}, Box(Pet("a"))),
    "a dataclass of pydantic": (Range, {"low": 1}, Range(low=1)),
    "a typed dict": (Movie, {"title": "Alien"}, {"title": "Alien"}),
    "an adapter": (pydantic.TypeAdapter(list[Pet]), [{"name": "a"}], [Pet("a")]),
    "a recursive alias": (Words, ["a", ["b"]], ["a", ["b"]]),
    "a recursive typed dict": (
        Tree,
        {"name": "a", "children": [{"name": "b", "children": []}]},
        {"name": "a", "children": [{"name": "b", "children": []}]},
    ),
    "typed dicts in types": (
        list[Annotated[Tree | None, "as said"]],
        [{"name": "a", "children": []}, None],
        [{"name": "a", "children": []}, None],
    ),
    "a recursive dataclass": (
        Chain,
        {"name": "a", "following": {"name": "b"}},
        Chain("a", Chain("b")),
    ),
    "a recursive model": (Knot, {"following": {}}, Knot(following=Knot())),
}

REJECTED = {
    "a list": (["a", 3], "at 1: Input should be a valid string"),
    "a tuple": ([1], "at 1: Field required"),
    "a choice": ("x", "at the top level: Input should be 'pos'"),
    "an enum of numbers": (3, "at the top level: Input should be 1 or 2"),
    "limits": (0, "at the top level: Input should be greater than or equal to 1"),
    "limits of a list": ([], "at the top level: List should have at least 1 item"),
    "a pattern": ("no", "at the top level: String should match pattern"),
    "told apart by a field": (
        {"kind": "cow"},
        "at the top level: Input tag 'cow' found using 'kind' does not match",
    ),
    "a date": ("soon", "at the top level: Input should be a valid date"),
    "a decimal": ("half", "at the top level: Input should be a valid decimal"),
    "a model": ({"cityName": "Oslo", "x": 1}, "at x: Extra inputs are not permitted"),
    "a model with a validator": ({"name": "ada"}, "at name: begin it with a capital"),
    "a model with a validator of all": (
        {"first": 2, "last": 1},
        "at the top level: last comes before first",
    ),
    "a strict model": (
        {"born": 3, "colour": "red"},
        "at born: Input should be a valid date",
    ),
    "a dataclass of pydantic": ({"low": -1}, "at low: Input should be greater than"),
    "a recursive typed dict": (
        {"name": "a", "children": [{}]},
        "at children/0/name: Field required",
    ),
}
