"""What is told of the names on a failing line: types and shapes, no values."""

import array

import pytest

from ollama_magic.notebook.failures import describe, name_types

SECRET = "hunter2"


class Hostile:
    """Raises whenever it is looked at."""

    def __getattribute__(self, name):
        raise ValueError(name)

    def __repr__(self):
        raise ValueError

    __str__ = __repr__

    @property
    def shape(self):
        raise ValueError


class Far:
    def __init__(self):
        self.fetched = []

    def __getattr__(self, name):
        self.fetched.append(name)
        return (1, 2)


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "int"),
        (None, "NoneType"),
        (SECRET, "str, 7 characters"),
        ([SECRET] * 1000, "list, 1,000 items"),
        ({SECRET: 1}, "dict, 1 entries"),
        (pytest, "module pytest"),
        (int, "type, the class int"),
        (lambda a, *, b=SECRET: a, "function, parameters (a, b)"),
        (array.array("d"), "array.array"),
        (Hostile(), f"{Hostile.__module__.partition('.')[0]}.Hostile"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_told_by_its_type_and_size(value, text):
    assert describe(value) == text


def test_a_table_is_told_by_its_columns_and_their_types(pandas):
    told = describe(pandas.DataFrame({"user": [SECRET], "age": [36]}))
    assert told.startswith("pandas.DataFrame, 1 rows and 2 columns: user (")
    assert told.endswith("age (int64)")
    assert SECRET not in told


def test_a_column_is_told_by_its_shape_and_type(pandas):
    told = describe(pandas.Series([1.0, 2.0]))
    assert told == "pandas.Series, shape (2,), dtype float64"


def test_many_columns_are_cut(pandas):
    wide = pandas.DataFrame([range(300)], columns=[f"c{n:03}" for n in range(300)])
    assert describe(wide).endswith("and 260 more")


def test_no_value_is_ever_told():
    values = {"a": SECRET, "b": [SECRET], "c": {SECRET: SECRET}}
    told = name_types("a b c", values)
    assert len(told) == 3
    assert SECRET not in "".join(told)


def test_the_nearest_namespace_wins_and_attributes_are_no_names():
    told = name_types("x.y + y[z] if x else len(y)", {"x": 1}, {"x": "", "y": 2.0})
    assert told == ("x: int", "y: float")


def test_names_that_look_like_keywords_of_the_user_are_not_followed():
    assert name_types("for i in range(3)", {"for": 1, "i": 1}) == ("i: int",)


def test_what_is_far_away_is_not_fetched():
    far = Far()
    assert describe(far).endswith("Far")
    assert far.fetched == []


def test_a_shape_that_is_no_shape_is_left_out():
    class Lazy:
        shape = (object(), 3)

    assert ", shape" not in describe(Lazy())
