"""All forms of a schema, and what matches it."""

import dataclasses
import datetime
import decimal
import enum
import json
from itertools import pairwise
from typing import Annotated, Literal, Optional, TypedDict

import pydantic
import pytest
from corpus.kinds import DAY, KINDS, REJECTED, Chain, Colour, Pet

from ollama_magic.errors import PromptError
from ollama_magic.generation import schema_cost
from ollama_magic.generation.schema import read_schema, what_is_wrong
from ollama_magic.generation.schema_check import as_meant, check_schema, faults

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
    other = tmp_path / "marked.json"
    other.write_text(json.dumps(wanted), "utf-8-sig")
    for spec in (wanted, json.dumps(wanted), str(path), str(other)):
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
    "deep JSON": ('{"not": ' * 60 + "{}" + "}" * 60, "nested more than 50 levels"),
    "very deep JSON": ('{"not": ' * 9000 + "{}" + "}" * 9000, "cannot be used"),
    "no file": ("nosuch.json", "No such file"),
    "a number": (7, "JSON has no type for 7"),
    "a plain class": (type("Thing", (), {}), "JSON has no type for <class"),
    "a function": (print, "it is a function"),
    "None": (None, "would match only null"),
    "labels": (["pos", "neg"], "JSON has no type for ['pos', 'neg']"),
    "a dict of types": ({"name": str, "age": int}, "no keyword of JSON Schema"),
    "a dict of names of types": ({"name": "str"}, "no keyword of JSON Schema"),
    "text without a keyword": ('{"name": "str"}', "no keyword of JSON Schema"),
    "a schema inside of another format": (
        {"name": "person", "schema": {"type": "object"}},
        "no keyword of JSON Schema",
    ),
    "a value that is not JSON": ({"enum": [Colour.RED]}, "is not JSON serializable"),
    "a number that is not JSON": ('{"minimum": NaN}', "not JSON compliant"),
    "a pattern that cannot be read": ({"pattern": "["}, "at pattern: '['"),
    "a choice of another type": ("stars int: one of 1, x", "not of type int"),
    "a type with an unknown name": ("list[Nobody]", "no variable 'Nobody'"),
    "a type with a call": ("list[open('x')]", "can have only names, brackets and |"),
    "a type that is not one": ("str['a']", "TypeError"),
    "a type without an attribute": ("str.Nowhere", "AttributeError"),
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


@pytest.mark.parametrize(("kind", "said", "value"), KINDS.values(), ids=KINDS)
def test_common_types_are_schemas(kind, said, value):
    schema = read_schema(kind)
    assert what_is_wrong(json.dumps(said), schema) == ""
    loaded = schema.load(said)
    # NB: two equal addresses are not equal in pydantic 2.10.
    assert loaded == value or (kind is pydantic.HttpUrl and str(loaded) == str(value))
    assert type(loaded) is type(value)


NAMES = {"Pet": Pet, "Colour": Colour, "enum": enum, "s": "s", "mine": "Pet"}
WRITTEN = {
    "int": int,
    "list[str]": list[str],
    "list[Pet]": list[Pet],
    "dict[str, list[Pet]]": dict[str, list[Pet]],
    "Pet | None": Pet | None,
    "Literal['pos', 'neg']": Literal["pos", "neg"],
    "Optional[Colour]": Optional[Colour],  # noqa: UP045
    "tuple[int, ...]": tuple[int, ...],
    "mine": Pet,
}


@pytest.mark.parametrize(("text", "kind"), WRITTEN.items(), ids=WRITTEN)
def test_a_type_can_be_written_on_the_line(text, kind):
    assert read_schema(text, NAMES).json == read_schema(kind).json


def test_a_text_that_names_itself_is_an_error():
    with pytest.raises(PromptError, match="there is no variable 's'"):
        read_schema("s", NAMES)


def test_names_with_hyphens_and_dots_are_still_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my-schema.json", "a.b", "a|b"):
        (tmp_path / name).write_text('{"type": "object"}')
        assert read_schema(name).json == {"type": "object"}


class Endless(pydantic.BaseModel):
    inner: "Endless"


ENDLESS = {
    "itself": {"$ref": "#"},
    "each other": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}},
    },
    "as one of several": {"anyOf": [{"type": "string"}, {"$ref": "#"}]},
    "as a part": {
        "type": "object",
        "properties": {"a": {"not": {"$ref": "#/properties/a"}}},
    },
    "required": {
        "type": "object",
        "properties": {"a": {"$ref": "#"}},
        "required": ["a"],
    },
    "in each alternative": {
        "$defs": {
            "n": {
                "type": "array",
                "minItems": 1,
                "items": {"oneOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]},
            }
        },
        "$ref": "#/$defs/n",
    },
    "a model": Endless,
}


@pytest.mark.parametrize("spec", ENDLESS.values(), ids=ENDLESS)
def test_a_schema_that_contains_itself_without_end_is_an_error(spec):
    with pytest.raises(PromptError) as caught:
        read_schema(spec)
    assert caught.value.what == "No value can match the schema."


def test_a_label_needs_no_quotes():
    label = read_schema(Literal["pos", "neg"])
    for text in ("pos", ' "pos"\n', "I think so.</think>\npos"):
        assert label.read(text) == "pos"
    assert what_is_wrong("so so", label).startswith("it is not JSON")
    assert read_schema(Colour).read("red") is Colour.RED
    assert read_schema({"enum": ["a", 1]}).read("a") == "a"
    assert read_schema(str | None).read("Hello, you.") == "Hello, you."
    assert read_schema(datetime.date).read("2026-01-31") == DAY
    assert what_is_wrong("a", read_schema("name str")).startswith("it is not JSON")
    assert what_is_wrong("a", read_schema({"required": ["a"]})).startswith("it is not")


@pytest.mark.parametrize("name", REJECTED)
def test_an_invalid_value_is_reported_with_its_place(name):
    value, said = REJECTED[name]
    kind, *_ = KINDS[name]
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
    schema = read_schema(rejecting(ValueError("n is odd")))
    assert what_is_wrong('{"n": 3}', schema) == "at the top level: n is odd"
    schema = read_schema(rejecting(KeyError("n")))
    assert what_is_wrong('{"n": 3}', schema) == (
        "at the top level: a validator raised KeyError: 'n'"
    )
    assert schema.load({"n": 2}).n == 2


def test_a_decimal_is_asked_for_as_a_number():
    price = Annotated[decimal.Decimal, pydantic.Field(gt=0)]
    assert read_schema(price).json == {**NUMBER, "exclusiveMinimum": 0}


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


# -- a small schema has a small effect -------------------------------------------------


def doubling(keyword, depth=40):
    """Return a schema whose parts each name the next one twice."""
    parts = {
        f"p{n}": {keyword: [{"$ref": f"#/$defs/p{n + 1}"}] * 2} for n in range(depth)
    }
    return {"$ref": "#/$defs/p0", "$defs": {**parts, f"p{depth}": TEXT}}


def nested_choices(depth):
    return {"anyOf": [nested_choices(depth - 1)] * 8} if depth else {"type": "object"}


@pytest.mark.parametrize("value", ["x", 1])
@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_checking_a_value_stops_when_it_takes_too_much_work(keyword, value):
    """Without the limit, each of these takes centuries."""
    schema = doubling(keyword)
    if (keyword, value) == ("anyOf", "x"):
        return  # the first alternative matches
    assert faults(value, schema) == [("", schema_cost.TOO_MUCH_WORK)]


def test_parsing_texts_in_a_value_stops_too():
    assert as_meant([[[["x"]]]], nested_choices(6)) == [[[["x"]]]]


def test_equal_items_are_found_in_one_pass():
    unique = {"type": "array", "uniqueItems": True}
    assert faults([{"a": n} for n in range(10_000)], unique) == []
    assert faults([1, True, "1", None, [1], {"a": 1}], unique) == []
    for equal in (
        [{"a": 1}, {"a": 1.0}],
        ["x", "x"],
        [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
    ):
        assert faults(equal, unique) == [("", "it has equal items")]


EVIL = "a" * 40 + "!"


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (EVIL, {"pattern": "^(a+)+$"}),
        (EVIL, {"pattern": "^(a|a)*$"}),
        (EVIL, {"pattern": "^" + "a?" * 40 + "a" * 40 + "$"}),
        (EVIL, {"pattern": "(a|a)" * 40 + "$"}),
        ("a" * 9000 + "!", {"pattern": "a*a*$"}),
        ({EVIL: 1}, {"patternProperties": {"^(a+)+$": {}}}),
        (
            {EVIL: 1},
            {"additionalProperties": False, "patternProperties": {"(a+)+$": {}}},
        ),
        (
            {EVIL: 1},
            {
                "unevaluatedProperties": False,
                "allOf": [{"patternProperties": {"(a+)+$": {}}}],
            },
        ),
        ([{"a": EVIL}], {"items": {"properties": {"a": {"pattern": "^(a+)+$"}}}}),
    ],
)
def test_a_pattern_that_may_take_forever_is_matched_elsewhere(
    monkeypatch, value, schema
):
    """A search that holds the interpreter could not be stopped in a thread."""
    check_schema(schema)
    seen = []
    monkeypatch.setattr(
        "ollama_magic.generation.schema_check.faults_in_time",
        lambda *given: seen.append(given) or [("", "late")],
    )
    assert faults(value, schema) == [("", "late")]
    assert seen == [(value, schema)]


def test_such_a_pattern_is_matched_if_it_ends_in_time(monkeypatch):
    names = {"pattern": "^([A-Z][a-z]+ ?)+$"}
    assert faults("Ada Lovelace And Charles Babbage", names) == []
    assert "does not match" in faults("ada Lovelace And Charles Babbage", names)[0][1]
    monkeypatch.setattr(schema_cost, "_TIME_LIMIT_S", 1.0)
    (fault,) = faults(EVIL, {"pattern": "^(a+)+$"})
    assert "takes too long" in fault[1]


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("2026-11-29", r"^\d{4}-\d{2}-\d{2}$"),
        ("ann@example.org", r"^[^@\s]+@[^@\s]+\.[a-z]+$"),
        ("ABC-123", r"^([A-Z]{3})-(\d+)$"),
        ("Friday", "^(" + "|".join(f"{n}day" for n in range(50)) + "|Friday)$"),
        ("x" * 5000, "^x"),
    ],
)
def test_usual_patterns_are_matched_here(monkeypatch, value, pattern):
    monkeypatch.setattr("subprocess.run", None)
    assert faults(value, {"pattern": pattern}) == []


def test_a_long_row_of_references_is_checked_fast():
    names = [f"p{n}" for n in range(3000)]
    row = {name: {"$ref": f"#/$defs/{after}"} for name, after in pairwise(names)}
    check_schema({"$ref": "#/$defs/p0", "$defs": {**row, names[-1]: TEXT}})
    back = dict(reversed(row.items()))
    check_schema({"$ref": "#/$defs/p0", "$defs": {names[-1]: TEXT, **back}})


@pytest.mark.parametrize("pattern", ["(" * 3000 + ")" * 3000, "a{99999999999}"])
def test_a_pattern_that_cannot_be_compiled_is_an_error(pattern):
    with pytest.raises(PromptError, match="is not a valid JSON Schema"):
        check_schema({"properties": {"a": {"pattern": pattern}}})
