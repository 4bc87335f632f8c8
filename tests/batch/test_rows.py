"""Templates and rows: fields, kinds of data, and the shape of the results."""

from collections import namedtuple
from dataclasses import dataclass
from decimal import Decimal

import pydantic
import pytest

from ollama_magic.batch.rows import ReplyReader, parse_template, read_rows
from ollama_magic.errors import PromptError, ReplyDataError
from ollama_magic.generation.schema import read_schema

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")


def prompts(template, data):
    return read_rows(data).prompts(parse_template(template))[0]


def error_lines(template, data):
    with pytest.raises(PromptError) as caught:
        prompts(template, data)
    return caught.value.lines()


@pytest.mark.parametrize(
    ("template", "data", "expected"),
    [
        ("Say {}", ["a", "b"], ["Say a", "Say b"]),
        ("Say {word}, {word}", ("a",), ["Say a, a"]),
        ("Say {}", range(2), ["Say 0", "Say 1"]),
        ("Say {}", (c for c in "ab"), ["Say a", "Say b"]),
        ("{{}} {a}{b}", [{"a": 1, "b": 2}], ["{} 12"]),
        ("{a}.", [{"a": 1}, {"b": 2}], ["1.", "."]),
        ("{0}", [{0: "x"}], ["x"]),
        ("{my text}", [{"my text": "x"}], ["x"]),
        ("{}", pd.Series(["x", "y"]), ["x", "y"]),
        ("{a}", pd.Series([{"a": 1}]), ["1"]),
        ("{b} {a}", pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), ["x 1", "y 2"]),
        ("{}", np.array([1.5, 2.5]), ["1.5", "2.5"]),
        ("{}", [], []),
    ],
)
def test_each_row_has_its_prompt(template, data, expected):
    assert prompts(template, data) == expected


def test_values_are_never_parsed():
    rows = [{"a": "{b} {{c}} {}", "b": "secret"}]
    assert prompts("{a}", rows) == ["{b} {{c}} {}"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        np.float32("nan"),
        pd.NaT,
        pd.NA,
        Decimal("NaN"),
        np.datetime64("NaT"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_missing_values_are_empty_text(value):
    assert prompts("<{}>", [value, 0]) == ["<>", "<0>"]


def test_missing_values_of_a_dataframe_are_empty_text():
    table = pd.DataFrame({"a": [1.5, None], "t": pd.to_datetime(["2026-01-02", None])})
    assert prompts("{a}|{t}", table) == ["1.5|2026-01-02 00:00:00", "|"]


def test_an_unknown_column_lists_the_columns_and_suggests_the_nearest():
    table = pd.DataFrame({"text": ["x"], "label": ["y"]})
    assert error_lines("{txet}", table) == [
        "The rows have no column 'txet'.",
        "  why:  the template contains {txet}; the columns are: text, label",
        "  next: did you mean {text}?",
    ]


def test_a_field_without_a_name_is_not_guessed():
    assert error_lines("{}", [{"a": 1}])[:2] == [
        "The template contains {}, but the fields of the rows have names.",
        "  why:  the template contains {}; the columns are: a",
    ]


def test_two_names_need_rows_with_names():
    assert error_lines("{a} {b}", ["x"])[0] == (
        "The template has 2 fields, but each row is one value."
    )


@pytest.mark.parametrize(
    "name",
    ["a.b", "Time: UTC", "price [USD]", "wow!", "a!r", "x:>5", "a[0]", "é ü", "a\nb"],
)
def test_a_column_may_have_any_name_without_braces(name):
    table = pd.DataFrame({name: ["x"], "a": ["y"]})
    assert prompts(f"<{{{name}}}> {{a}}", table) == ["<x> y"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{{a}}}", "{x}"),
        ("{{a}} {a}", "{a} x"),
        ("{a}{{", "x{"),
        ("}}{a}", "}x"),
        ('{{"q": "{a}", "n": {{}}}}', '{"q": "x", "n": {}}'),
    ],
)
def test_double_braces_are_literal(template, expected):
    assert prompts(template, [{"a": "x"}]) == [expected]


def test_rows_without_any_value_have_a_position():
    rows = [{"a": "", "b": None}, {"a": "x", "b": None}, {"a": " ", "b": ""}, {}]
    assert read_rows(rows).prompts(parse_template("<{a} {b}>"))[1] == [0, 2, 3]
    assert read_rows(rows).prompts(parse_template("{a}"))[1] == []


@pytest.mark.parametrize(
    "field", ["{a.b}", "{a[0]}", "{a!r}", "{a:>5}", "{a.__class__}", '{"a": 1}']
)
def test_a_field_is_a_plain_name(field):
    """No attribute, item, conversion or format: a template can't reach into values."""
    what, _, step = error_lines(f"Is {field}?", [{"a": "x"}])
    assert what == f"The template's field {field} is not a plain name."
    assert "{{ or }}" in step


@pytest.mark.parametrize(
    "template", ["{", "}", "{a", "a}", "{a}}", "{{a}", "{a{b}}", '{"a": {"b": 1}}']
)
def test_a_single_brace_explains_how_to_write_braces(template):
    what, _, step = error_lines(template, [{"a": "x"}])
    assert what == "The template is invalid."
    assert "{{ or }}" in step


def test_a_template_without_fields_is_an_error():
    assert "has no field" in error_lines("Say {{ text }}", ["a"])[0]


@pytest.mark.parametrize("data", ["text", b"text", {"a": [1, 2]}, 5, None])
def test_data_without_rows_is_an_error(data):
    what, _, step = error_lines("{}", data)
    assert what == "The data cannot be used."
    assert "pandas.DataFrame(data)" in step


def test_rows_cannot_mix_dicts_and_values():
    assert error_lines("{a}", [{"a": 1}, "x"])[1] == (
        "  why:  some rows are dicts and others are not"
    )


def test_a_duplicate_column_is_an_error_if_it_is_used():
    table = pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"])
    assert prompts("{b}", table) == ["3"]
    assert error_lines("{a}", table)[0] == "The rows have 2 columns named 'a'."


class FrameOfPolars:
    """The one method of a polars DataFrame that is used."""

    def to_dicts(self):
        return [{"a": "x"}, {"a": "y"}]


def test_a_polars_dataframe_gives_a_list():
    assert prompts("{a}", FrameOfPolars()) == ["x", "y"]
    assert read_rows(FrameOfPolars()).arranged([1, 2], None) == [1, 2]


class Columns:
    """A table that is iterated by its columns, as most are."""

    def __init__(self, **methods):
        self.columns = ["a", "b"]
        vars(self).update(methods)

    def __iter__(self):
        return iter(self.columns)


FRAME = pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}, index=[7, 9])


@pytest.mark.parametrize(
    "table",
    [
        Columns(to_pylist=lambda: FRAME.to_dict("records")),
        Columns(__dask_graph__=dict, compute=lambda: FRAME),
        Columns(to_pandas=lambda: FRAME),
        Columns(toPandas=lambda: FRAME),
    ],
    ids=["pyarrow", "dask", "cudf", "spark"],
)
def test_a_table_is_read_by_rows(table):
    assert prompts("{a}{b}", table) == ["x1", "y2"]


def test_a_column_of_pyarrow_or_dask_is_read_by_values():
    values = Columns(to_pylist=lambda: ["x", "y"])
    assert prompts("{}", values) == ["x", "y"]
    series = Columns(__dask_graph__=dict, compute=lambda: FRAME["a"])
    assert prompts("{}", series) == ["x", "y"]
    assert list(read_rows(series).index) == [7, 9]


Pair = namedtuple("Pair", ["a", "b"])


MODEL = pydantic.create_model("Model", a=str, b=int)


@dataclass
class Record:
    a: str
    b: int


@pytest.mark.parametrize(
    "rows",
    [
        [Pair("x", 1), Pair("y", 2)],
        FRAME.itertuples(),
        np.array([("x", 1), ("y", 2)], dtype=[("a", "U1"), ("b", "i8")]),
        [Record("x", 1), Record("y", 2)],
        [MODEL(a="x", b=1), MODEL(a="y", b=2)],
    ],
    ids=["named tuples", "itertuples", "structured", "dataclass", "pydantic"],
)
def test_a_row_with_named_fields_is_not_a_single_value(rows):
    assert prompts("{a}{b}", rows) == ["x1", "y2"]


@pytest.mark.parametrize("template", [str.upper, 5, None, b"{}"], ids=str)
def test_a_template_is_text(template):
    what, *_, step = error_lines(template, ["a"])
    kind = type(template).__name__
    assert what == f"The template cannot be of type {kind}."
    assert "map_prompts(" in step


def test_a_table_of_an_unknown_kind_is_rejected():
    assert error_lines("{}", Columns())[1:] == [
        "  why:  type Columns yields its columns, not its rows",
        "  next: pass a list of strings or dicts, or a pandas Series or DataFrame; "
        "for a dict of columns: pandas.DataFrame(data)",
    ]


# -- the shape of what is returned -------------------------------------------------

FAILED = ReplyDataError("no")


def test_texts_for_a_dataframe_are_a_series_with_its_index():
    rows = read_rows(pd.DataFrame({"a": [1, 2]}, index=["x", "x"]))
    found = rows.arranged(["one", FAILED], None)
    expected = pd.Series(["one", FAILED], ["x", "x"], dtype=object, name="reply")
    pd.testing.assert_series_equal(found, expected)


def test_lists_are_a_series_of_lists():
    found = read_rows(pd.Series([1, 2])).arranged([["a"], ["b"]], None)
    assert found.tolist() == [["a"], ["b"]]


def test_objects_become_columns_and_errors_the_last_column():
    rows = read_rows(pd.Series(["a", "b"], index=[7, 9]))
    found = rows.arranged([{"label": "pos", "n": 1}, FAILED], ["label", "n"])
    assert list(found.columns) == ["label", "n", "error"]
    assert found.index.tolist() == [7, 9]
    assert found.label[7] == "pos"
    assert found[["label", "n"]].isna().loc[9].all()
    assert found.error.tolist() == [None, FAILED]


def test_a_field_named_error_keeps_its_name():
    found = read_rows(pd.Series(["a"])).arranged([{"error": "typo"}], ["error"])
    assert found.to_dict("records") == [{"error": "typo", "error_": None}]


@dataclass(slots=True)
class Slotted:
    label: str
    n: int = 3


@dataclass
class Plain:
    label: str
    n: int = 3


@pytest.mark.parametrize("kind", [Plain, Slotted])
def test_instances_are_columns_with_their_defaults(kind):
    reader = ReplyReader(read_schema(kind, {}))
    value = reader.value('{"label": "pos"}')
    assert value == kind("pos")
    found = read_rows(pd.Series(["a"])).arranged([value], reader.fields)
    assert found.to_dict("records") == [{"label": "pos", "n": 3, "error": None}]


def test_an_empty_dataframe_still_has_the_columns():
    fields = ReplyReader(read_schema("label, n int", {})).fields
    found = read_rows(pd.DataFrame({"a": []})).arranged([], fields)
    assert list(found.columns) == ["label", "n", "error"]
    assert len(found) == 0


@pytest.mark.parametrize("spec", ["[label]", {"type": "string"}, {"type": "object"}])
def test_a_schema_that_is_not_an_object_has_no_fields(spec):
    assert ReplyReader(read_schema(spec, {})).fields is None
