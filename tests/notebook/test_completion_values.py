"""What Tab offers of the notebook's values, and that it runs no code of theirs."""

import enum
import functools
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from ollama_magic import Choice, Score
from ollama_magic.notebook.completion import placeholders, static_values
from ollama_magic.notebook.completion.words import Entry, Word, file_offer, split


class Hostile:
    """Raises when any of its code runs."""

    kept = 1
    __slots__ = ("__dict__", "set_slot", "unset_slot")

    def __init__(self):
        object.__setattr__(self, "own", {"a": 1})
        object.__setattr__(self, "set_slot", "text")

    def __getattribute__(self, name):
        raise AssertionError(name)

    def __dir__(self):
        raise AssertionError("dir")

    def __repr__(self):
        raise AssertionError("repr")

    __str__ = __len__ = __iter__ = __bool__ = __repr__

    def __eq__(self, other):
        raise AssertionError("eq")

    def __hash__(self):
        raise AssertionError("hash")

    @property
    def computed(self):
        raise AssertionError("computed")

    @functools.cached_property
    def cached(self):
        raise AssertionError("cached")

    def method(self, city):
        raise AssertionError("method")


class HostileDict(dict):
    """Raises when it is asked in any other way than as the dict that it is."""

    def __getattribute__(self, name):
        raise AssertionError(name)

    __iter__ = __len__ = keys = items = get = __getitem__ = __missing__ = lambda *_: (
        pytest.fail("ran")
    )


class Broken:
    __module__ = None


class HidesItsDict:
    __dict__ = property(lambda self: pytest.fail("ran"))
    __class__ = property(lambda self: pytest.fail("ran"))


def get_weather(city, *, days=1):
    """Return the weather."""


def generate(n):
    yield n


@dataclass
class Person:
    name: str
    age: int


class Mood(enum.Enum):
    GOOD = 1


NAMESPACE = {
    "broken": Broken(),
    "hostile": Hostile(),
    "odd": HidesItsDict(),
    "keyed": HostileDict({"a": {"deep": 1}, "b c": 2, 'it"s': 3, 4: 5, "{x}": 6}),
    "rows": [{"id": 1}],
    "text": "hello",
    "_private": 1,
    "In": [],
    "types": types,
    "get_weather": get_weather,
    "generate": generate,
    "unnamed": lambda x: x,
    "Person": Person,
    "Mood": Mood,
    "shape": {"type": "object", "properties": {}},
    "photo": Path("a photo.PNG"),
    "notes": Path("notes.txt"),
    "png": b"\x89PNG\r\n\x1a\n....",
}
HIDDEN = {"In": 1}


def offered(text, after="", wanted=placeholders.IN_PROMPT, namespace=NAMESPACE):
    offer = placeholders.complete(text, after, namespace, HIDDEN, wanted)
    return [entry.text for entry in offer.entries], offer.typed


VALUES = [
    "broken",
    "hostile",
    "odd",
    "keyed",
    "rows",
    "text",
    "shape",
    "photo",
    "notes",
    "png",
]
CASES = {
    "names": ("", VALUES, ""),
    "names after a blank": (" ro", ["rows"], "ro"),
    "attributes": (
        " hostile.",
        ["own", "cached", "computed", "kept", "set_slot"],
        "",
    ),
    "attribute": ("hostile.se", ["set_slot"], "se"),
    "keys": ("keyed[", ['"a"]', '"b c"]', '"it\\"s"]', "4]"], ""),
    "keys in quotes": ("keyed['", ["'a']", "'b c']", "'it\"s']"], "'"),
    "key": ('keyed["b', ['"b c"]'], '"b'),
    "key without its quote": ("keyed[b", ['"b c"]'], "b"),
    "number": ("keyed[4", ["4]"], "4"),
    "key of an item": ("keyed['a'][", ['"deep"]'], ""),
    "key of an item of a list": ("rows[0][", ['"id"]'], ""),
    "key of an attribute": ("hostile.own[", ['"a"]'], ""),
    "item that is not there": ("rows[9][", [], ""),
    "of what would run": ("hostile.computed.", [], ""),
    "of a call": ("get_weather().", [], ""),
    "of a module": ("types.", [], ""),
    "of an unknown name": ("nothing.", [], ""),
    "an operator": ("rows + te", [], ""),
    "of an unset slot": ("hostile.unset_slot.", [], ""),
}


@pytest.mark.parametrize(("text", "expected", "typed"), CASES.values(), ids=CASES)
def test_a_placeholder_offers_what_a_prompt_can_use(text, expected, typed):
    found, replaced = offered(text)
    assert found == expected
    assert replaced == typed or not expected


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ('keyed["b', '"]}}', ['"b c']),
        ("keyed['b", "']", ["'b c"]),
        ("keyed[b", "]}}", ['"b c"']),
        ('keyed["b', '" }}', ['"b c]']),
        ("keyed[4", " ] }}", ["4"]),
    ],
)
def test_what_an_editor_has_closed_is_not_closed_again(text, after, expected):
    assert offered(text, after)[0] == expected


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("tool", ["get_weather", *placeholders.WEB_TOOLS]),
        ("image", ["photo", "png"]),
        ("schema", ["Person", "Mood", "shape"]),
    ],
)
def test_an_option_offers_only_values_that_it_can_use(what, expected):
    assert offered("", wanted=placeholders.BY_OPTION[what])[0] == expected


def test_labels_and_questions_can_be_chosen_from():
    namespace = {"labels": {"a": "x"}, "words": ["a", "b"], "empty": [], "n": 3}
    namespace |= {"which": Choice(["a", "b"]), "scale": Score(["a", "b"])}
    wanted = placeholders.BY_OPTION["questions"]
    found, _ = offered("", wanted=wanted, namespace=namespace)
    assert found == ["labels", "words", "which", "scale"]


def test_methods_can_be_tools():
    wanted = placeholders.BY_OPTION["tool"]
    assert offered("hostile.", wanted=wanted)[0] == ["method"]


def test_figures_arrays_and_pil_images_are_images():
    np = pytest.importorskip("numpy")
    figure = pytest.importorskip("matplotlib.figure").Figure()
    namespace = {
        "figure": figure,
        "axes": figure.subplots(2),
        "line": figure.axes[0].plot([1, 2]),
        "pixels": np.zeros((3, 3)),
        "series": np.zeros(3),
        "sound": (np.zeros(3), 8000),
        "pil": pytest.importorskip("PIL.Image").new("L", (1, 1)),
    }
    found, _ = offered("", wanted=placeholders.BY_OPTION["image"], namespace=namespace)
    assert found == ["figure", "axes", "line", "pixels", "sound", "pil"]


def test_columns_of_a_table_are_attributes_and_keys():
    pd = pytest.importorskip("pandas")
    namespace = {"df": pd.DataFrame({"city": ["a"], "n people": [1], "size": [2]})}
    found, _ = offered("df.", namespace=namespace)
    assert found[0] == "city"
    assert {"shape", "columns", "size"} <= set(found)
    assert not {"head", "describe", "n people"} & set(found)
    assert offered("df[", namespace=namespace)[0] == [
        '"city"]',
        '"n people"]',
        '"size"]',
    ]
    offer = placeholders.complete("df.ci", "", namespace, {})
    assert [one.kind for one in offer.entries] == ["column"]
    assert offered('df["city"].na', namespace=namespace)[0] == ["name"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "int, 3"),
        ("hello", "str, 5 characters"),
        ([1], "list of 1"),
        (get_weather, "(city, days)"),
        (Person, "name, age"),
        (static_values.UNKNOWN, ""),
    ],
)
def test_a_value_is_described_in_a_few_words(value, text):
    assert static_values.describe(value) == text


def test_a_value_of_the_users_class_is_described_by_its_class():
    assert static_values.describe(NAMESPACE["hostile"]) == "Hostile"
    assert static_values.describe(NAMESPACE["keyed"]) == "HostileDict of 5"
    assert static_values.describe(1 << 20_000) == "int"  # Python would not write it


def test_a_note_is_short_and_harmless():
    entry = Entry("a", "model", "x\x1b[31m\n" + "y" * 100)
    assert entry.type.replace("\xa0", "").isprintable()
    assert " " not in entry.type  # JupyterLab shows only the first line
    assert len(entry.type) < 90


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for name in ("a.csv", "a b.txt", "plot.PNG", ".hidden", "data/x.csv", "it's.md"):
        (tmp_path / name).write_text("1234")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("", "", ["'a b.txt'", "a.csv", "data/", '"it\'s.md"', "plot.PNG"]),
        ("a", "", ["'a b.txt'", "a.csv"]),
        ('"a b', "", ['"a b.txt"']),
        ('"a b', '"', ['"a b.txt']),
        (".", "", [".hidden"]),
        ("data/", "", ["data/x.csv"]),
        ("'da", "", ["'data/"]),
        ("missing/", "", []),
    ],
)
def test_files_and_folders_are_offered(folder, text, after, expected):
    _, word = split(text)
    offer = file_offer(word, after)
    assert [entry.text for entry in offer.entries] == expected
    assert offer.typed == text


def test_images_among_files(folder):
    found = file_offer(Word(), "", static_values.is_media_file).entries
    assert [entry.text for entry in found] == ["data/", "plot.PNG"]


def test_every_offered_path_is_read_as_it_was_meant(folder):
    for entry in file_offer(Word(), "").entries:
        (path,), rest = split(f"{entry.text} ")
        assert Path(path).exists()
        assert rest == Word()
