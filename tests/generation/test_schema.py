"""All forms of a schema, and what matches it."""

import dataclasses
import datetime
import decimal
import enum
import json
from typing import Annotated, Literal, Optional, TypedDict

import pydantic
import pytest

from ollama_magic.errors import PromptError
from ollama_magic.generation.schema import read_schema, what_is_wrong
from ollama_magic.generation.schema_check import check_schema

TEXT, NUMBER, COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer"}


def described(kind, text):
    return {**kind, "description": text}


FIELDS = {
    "one": ("name str", {"name": TEXT}),
    "types": (
        "name, age int, height float, ok bool",
        {"name": TEXT, "age": COUNT, "height": NUMBER, "ok": {"type": "boolean"}},
    ),
    "texts": ("name: the whole name", {"name": described(TEXT, "the whole name")}),
    "type and text": ("age int: in years", {"age": described(COUNT, "in years")}),
    "a list": (
        "tags: list of keywords",
        {"tags": described({"type": "array", "items": TEXT}, "list of keywords")},
    ),
    "a list of numbers": (
        "ages: list of int",
        {"ages": described({"type": "array", "items": COUNT}, "list of int")},
    ),
    "a choice": ("label: one of pos, neg", {"label": {"enum": ["pos", "neg"]}}),
    "numbers to choose": ("stars int: one of 1, 2", {"stars": {"enum": [1, 2]}}),
    "after a choice": (
        "label: one of pos, neg; score float",
        {"label": {"enum": ["pos", "neg"]}, "score": NUMBER},
    ),
    "before a choice": (
        "score float, label: one of pos, neg",
        {"score": NUMBER, "label": {"enum": ["pos", "neg"]}},
    ),
    "lines": ("name\nage int", {"name": TEXT, "age": COUNT}),
}


@pytest.mark.parametrize(("spec", "properties"), FIELDS.values(), ids=FIELDS)
def test_a_short_form_becomes_a_json_schema(spec, properties):
    assert read_schema(spec).json == {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def test_brackets_become_a_list():
    assert read_schema("[name, age int]").json == {
        "type": "array",
        "items": read_schema("name, age int").json,
    }


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Pet:
    name: str


@dataclasses.dataclass
class Person:
    name: str
    age: int | None
    pets: list[Pet]
    mood: Literal["good", "bad"] = "good"
    colour: Colour = Colour.RED
    scores: dict[str, float] = dataclasses.field(default_factory=dict)


class Movie(TypedDict):
    title: str
    year: int


def test_a_dataclass_gives_a_schema_and_instances():
    schema = read_schema("Person", {"Person": Person})
    assert schema.json["required"] == ["name", "age", "pets"]
    assert schema.json["properties"]["age"] == {"anyOf": [COUNT, {"type": "null"}]}
    mood = {"enum": ["good", "bad"], "type": "string", "default": "good"}
    assert schema.json["properties"]["mood"] == mood
    value = {"name": "Ada", "age": 36, "pets": [{"name": "Rex"}], "colour": "red"}
    assert what_is_wrong(json.dumps(value), schema) == ""
    assert schema.load(value) == Person("Ada", 36, [Pet("Rex")])
    assert read_schema(list[Pet]).load([{"name": "a"}]) == [Pet("a")]


def test_a_typed_dict_stays_a_dict():
    schema = read_schema(Movie)
    assert schema.json["properties"] == {"title": TEXT, "year": COUNT}
    assert schema.load({"title": "Alien", "year": 1979})["year"] == 1979


def test_a_pydantic_model_gives_a_schema_and_instances():
    class City(pydantic.BaseModel):
        name: str
        people: int = 0

    schema = read_schema("City", {"City": City})
    assert schema.json["properties"]["name"]["type"] == "string"
    assert schema.load({"name": "Oslo", "people": "3"}) == City(name="Oslo", people=3)


def test_a_dict_a_text_and_a_file_are_json_schemas(tmp_path):
    wanted = {"type": "object", "properties": {"a": TEXT}}
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(wanted))
    for spec in (wanted, json.dumps(wanted), str(path)):
        assert read_schema(spec).json == wanted
    assert read_schema("mine", {"mine": wanted}).json == wanted
    assert read_schema("mine", {"mine": "name, age int"}).json["required"] == [
        "name",
        "age",
    ]


WRONG = {
    "no variable": ("nosuch", "there is no variable"),
    "no type": ("age integer", "'integer' is not a type"),
    "no field": ("name, 3d", "is not a field"),
    "twice": ("a, b, a int", "occurs twice"),
    "nothing": (" , ", "has no fields"),
    "no JSON": ('{"type": ', "it is not JSON"),
    "no file": ("nosuch.json", "No such file"),
    "a number": (7, "JSON has no type for 7"),
    "a plain class": (type("Thing", (), {}), "JSON has no type for <class"),
    "a function": (print, "it is a function"),
    "a choice of another type": ("stars int: one of 1, x", "not of type int"),
}


@pytest.mark.parametrize(("spec", "said"), WRONG.values(), ids=WRONG)
def test_an_invalid_schema_is_an_error(spec, said):
    with pytest.raises(PromptError) as caught:
        read_schema(spec)
    assert said in str(caught.value)
    assert "next:" in str(caught.value)


def test_a_type_with_an_undefined_name_is_an_error_that_names_it():
    @dataclasses.dataclass
    class Odd:
        when: "Nowhere"  # noqa: F821

    class Model(pydantic.BaseModel):
        when: "Nowhere"  # noqa: F821

    for kind in (Odd, list[Odd], Model):
        with pytest.raises(PromptError, match="Nowhere") as caught:
            read_schema(kind)
        assert len(str(caught.value).splitlines()) == 3


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


DAY = datetime.date(2026, 1, 31)
TYPES = {
    "a list": (list[str], ["a"], ["a"]),
    "a choice": (Literal["pos", "neg"], "pos", "pos"),
    "an enum": (Colour, "red", Colour.RED),
    "a dict": (dict[str, Pet], {"a": {"name": "Rex"}}, {"a": Pet("Rex")}),
    "optional": (Pet | None, None, None),
    "old optional": (Optional[Pet], {"name": "Rex"}, Pet("Rex")),  # noqa: UP045
    "one of two": (
        Pet | Movie,
        {"title": "Alien", "year": 1},
        {"title": "Alien", "year": 1},
    ),
    "a number": (int, 3.0, 3),
    "a date": (datetime.date, "2026-01-31", DAY),
    "a decimal": (decimal.Decimal, 0.5, decimal.Decimal("0.5")),
    "limits": (Annotated[int, pydantic.Field(ge=1)], 1, 1),
    "an adapter": (pydantic.TypeAdapter(list[Pet]), [{"name": "a"}], [Pet("a")]),
    "a root model": (Team, [{"name": "a"}], Team([Pet("a")])),
    "a strict model": (
        Strict,
        {"born": "2026-01-31", "colour": "red"},
        Strict(born=DAY, colour=Colour.RED),
    ),
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


@pytest.mark.parametrize(("kind", "said", "value"), TYPES.values(), ids=TYPES)
def test_common_types_are_schemas(kind, said, value):
    schema = read_schema(kind)
    loaded = schema.load(said)
    assert loaded == value
    assert type(loaded) is type(value)


WRONG_VALUES = {
    "of a list": (list[str], ["a", 3], "at 1: Input should be a valid string"),
    "of a choice": (
        Literal["pos", "neg"],
        "x",
        "at the top level: Input should be 'pos'",
    ),
    "limits": (
        Annotated[int, pydantic.Field(ge=1)],
        0,
        "at the top level: Input should be greater than or equal to 1",
    ),
    "inside": (Tree, {"name": "a", "children": [{}]}, "at children/0/name: Field req"),
}


@pytest.mark.parametrize(
    ("kind", "value", "said"), WRONG_VALUES.values(), ids=WRONG_VALUES
)
def test_an_invalid_value_is_reported_with_its_place(kind, value, said):
    assert what_is_wrong(json.dumps(value), read_schema(kind)).startswith(said)


def rejecting(error):
    @dataclasses.dataclass
    class Even:
        n: int

        def __post_init__(self):
            if self.n % 2:
                raise error

    return Even


def test_any_error_of_a_validator_is_a_mismatch():
    class Named(pydantic.BaseModel):
        name: str

        @pydantic.field_validator("name")
        @classmethod
        def check(cls, name):
            if name.islower():
                raise ValueError("begin it with a capital")
            return name

    wrong = what_is_wrong('{"name": "ada"}', read_schema(Named))
    assert wrong == "at name: begin it with a capital"
    schema = read_schema(rejecting(ValueError("n is odd")))
    assert what_is_wrong('{"n": 3}', schema) == "at the top level: n is odd"
    schema = read_schema(rejecting(KeyError("n")))
    assert what_is_wrong('{"n": 3}', schema) == "at the top level: KeyError: 'n'"
    assert schema.load({"n": 2}).n == 2


def test_the_fields_of_an_object_are_known():
    assert read_schema("name, age int").fields == ("name", "age")
    assert read_schema(Chain).fields == ("name", "following")
    for other in ("[name]", list[Pet], dict[str, int], int):
        assert read_schema(other).fields is None


def test_a_schema_of_a_class_has_no_titles_that_repeat_its_names():
    assert read_schema(Pet).json == {
        "type": "object",
        "title": "Pet",
        "properties": {"name": TEXT},
        "required": ["name"],
    }


def test_an_invalid_json_schema_is_an_error_before_it_is_sent():
    with pytest.raises(PromptError, match="not a valid JSON Schema"):
        check_schema({"type": "objekt"})
    check_schema(read_schema("name, age int").json)


def test_a_mismatch_is_reported_with_its_place():
    schema = read_schema("[name, age int]")
    wrong = what_is_wrong('[{"name": "Ada", "age": "old"}]', schema)
    assert wrong.startswith("at 0/age: ")
    assert what_is_wrong("no", schema).startswith("it is not JSON")
    assert "'age' is a required property" in what_is_wrong('[{"name": ""}]', schema)
