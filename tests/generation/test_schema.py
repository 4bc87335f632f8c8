"""All the ways to say what a reply has to look like."""

import dataclasses
import enum
import json
from typing import Literal, TypedDict

import pytest

from ollama_magic.errors import PromptError
from ollama_magic.generation.schema import read_schema
from ollama_magic.generation.schema_check import check_schema, what_is_wrong

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
def test_the_short_form(spec, properties):
    assert read_schema(spec).json == {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def test_brackets_ask_for_a_list():
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


def test_a_dataclass_and_back():
    schema = read_schema("Person", {"Person": Person})
    assert schema.json["required"] == ["name", "age", "pets"]
    assert schema.json["properties"]["age"] == {"anyOf": [COUNT, {"type": "null"}]}
    assert schema.json["properties"]["mood"] == {"enum": ["good", "bad"]}
    value = {"name": "Ada", "age": 36, "pets": [{"name": "Rex"}], "colour": "red"}
    assert what_is_wrong(json.dumps(value), schema.json) == ""
    assert schema.make(value) == Person("Ada", 36, [Pet("Rex")])
    assert read_schema(list[Pet]).make([{"name": "a"}]) == [Pet("a")]


def test_a_typed_dict_stays_a_dict():
    schema = read_schema(Movie)
    assert schema.json["properties"] == {"title": TEXT, "year": COUNT}
    assert schema.make({"title": "Alien", "year": 1979})["year"] == 1979


def test_a_pydantic_model_and_back():
    pydantic = pytest.importorskip("pydantic")

    class City(pydantic.BaseModel):
        name: str
        people: int = 0

    schema = read_schema("City", {"City": City})
    assert schema.json["properties"]["name"]["type"] == "string"
    assert schema.make({"name": "Oslo", "people": "3"}) == City(name="Oslo", people=3)


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
    "no type": ("age integer", "'integer' is no type"),
    "no field": ("name, 3d", "is no field"),
    "twice": ("a, b, a int", "is there twice"),
    "nothing": (" , ", "has no fields"),
    "no JSON": ('{"type": ', "it is no JSON"),
    "no file": ("nosuch.json", "No such file"),
    "a number": (7, "describes no JSON"),
    "a plain class": (dict, "describes no JSON"),
}


@pytest.mark.parametrize(("spec", "said"), WRONG.values(), ids=WRONG)
def test_what_is_none_is_told(spec, said):
    with pytest.raises(PromptError) as caught:
        read_schema(spec)
    assert said in str(caught.value)
    assert "next:" in str(caught.value)


def test_a_type_that_json_has_not_names_the_field():
    @dataclasses.dataclass
    class Odd:
        when: complex

    with pytest.raises(PromptError, match="field when: JSON has no type for complex"):
        raise_all(Odd)


def raise_all(kind):
    try:
        read_schema(kind)
    except PromptError as error:
        raise PromptError(str(error)) from error


def test_a_json_schema_that_is_none_is_told_before_it_is_sent():
    with pytest.raises(PromptError, match="no JSON Schema"):
        check_schema({"type": "objekt"})
    check_schema(read_schema("name, age int").json)


def test_what_is_wrong_says_where():
    schema = read_schema("[name, age int]").json
    wrong = what_is_wrong('[{"name": "Ada", "age": "old"}]', schema)
    assert wrong.startswith("at 0/age: ")
    assert what_is_wrong("no", schema).startswith("it is no JSON")
    assert "'age' is a required property" in what_is_wrong('[{"name": ""}]', schema)
