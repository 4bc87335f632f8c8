"""How tables, arrays and long texts are sent."""

import io

import pytest

from ollama_magic.errors import PromptError
from ollama_magic.generation.prompt import fill
from ollama_magic.generation.values import MAX_CHARACTERS, value_text


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas")


@pytest.fixture
def numpy():
    return pytest.importorskip("numpy")


def test_a_small_table_is_complete(pandas):
    frame = pandas.DataFrame({"name": ["Ada", None], "age": [36, 41]})
    found = value_text(frame)
    lines = found.text.splitlines()
    assert lines[0] == "DataFrame of 2 rows and 2 columns"
    assert lines[1] == "column: type, missing values"
    assert lines[2].startswith("name: ")
    assert lines[2].endswith(", 1")
    assert lines[3] == "age: int64, 0"
    assert lines[4:] == [
        "rows as CSV, the index first:",
        ",name,age",
        "0,Ada,36",
        "1,,41",
    ]
    assert found.note == ""


def test_a_large_table_is_a_sample_with_a_note(pandas):
    frame = pandas.DataFrame({"n": range(100_000)})
    found = value_text(frame)
    assert "DataFrame of 100,000 rows and 1 column\n" in found.text
    assert "[99,985 rows left out]" in found.text
    assert "99999,99999" in found.text
    assert len(found.text) < 1_000
    assert found.note == "15 of 100,000 rows"


def test_a_wide_table_and_long_cells_stay_within_the_budget(pandas):
    frame = pandas.DataFrame({f"c{n}": ["x" * 1_000] * 3 for n in range(200)})
    found = value_text(frame)
    assert "[140 more columns]" in found.text
    assert "… [1,000 characters]" in found.text
    assert len(found.text) <= MAX_CHARACTERS + 100
    assert found.note == "60 of 200 columns, long values cut"


def test_lists_arrays_and_bytes_in_a_table_are_cut_like_text(pandas, numpy):
    row = {
        "list": list(range(5_000)),
        "array": numpy.arange(768.0),
        "bytes": b"x" * 900,
        "dict": {n: n for n in range(500)},
        "short": [1, 2],
        "none": None,
    }
    found = value_text(pandas.DataFrame([row, row]))
    assert len(found.text) < 3_000
    assert found.text.count(" characters]") == 8
    assert found.text.count('"[1, 2]",\n') == 1
    assert found.note == "long values cut"


def test_a_lone_surrogate_in_a_table_becomes_a_question_mark(pandas):
    frame = pandas.DataFrame({"t": ["a\ud800b", 1]}, dtype=object)
    assert value_text(frame).text.endswith(",t\n0,a?b\n1,1")


class TablesOfPolars:
    """Imitate the parts of polars that are used."""

    def __init__(self, columns):
        self.table = columns
        self.columns = list(columns)
        self.rows = list(zip(*columns.values(), strict=True))
        self.shape = (len(self.rows), len(columns))
        self.dtypes = ["Int64"] * len(columns)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        rows, columns = key
        assert rows == slice(None)
        return type(self)({name: self.table[name] for name in self.columns[columns]})

    def head(self, count):
        return type(self)({name: v[:count] for name, v in self.table.items()})

    def tail(self, count):
        return type(self)({name: v[-count:] for name, v in self.table.items()})

    def null_count(self):
        return self

    def row(self, _):
        return [values.count(None) for values in self.table.values()]

    def iter_rows(self):
        return iter(self.rows)


def polars_frame(columns):
    try:
        import polars
    except ImportError:
        module = {"__module__": "polars.dataframe.frame"}
        return type("DataFrame", (TablesOfPolars,), module)(columns)
    return polars.DataFrame(columns)


def test_a_table_of_polars_is_sampled_like_one_of_pandas():
    found = value_text(polars_frame({"n": list(range(100)), "m": [None, 1] * 50}))
    lines = found.text.splitlines()
    assert lines[:3] == [
        "DataFrame of 100 rows and 2 columns",
        "column: type, missing values",
        "n: Int64, 0",
    ]
    assert lines[3:7] == ["m: Int64, 50", "rows as CSV:", "n,m", "0,"]
    assert lines[-6:-4] == ["[85 rows left out]", "95,1"]
    assert found.note == "15 of 100 rows"


def test_tables_and_arrays_in_a_list_or_dict_are_sampled(pandas, numpy):
    frame = pandas.DataFrame({"n": range(300)})
    found = value_text({"a": frame, "b": numpy.zeros(5_000), "c": "text"})
    assert "a:\nDataFrame of 300 rows and 1 column" in found.text
    assert found.text.endswith("\n\nc:\ntext")
    assert found.note == "a: 15 of 300 rows; b: a sample of 5,000 values"
    found = value_text([frame] * 1_000)
    assert found.note == "cut"
    assert value_text([1, {2}]).text == "[1, {2}]"


class Named:
    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


def test_a_text_that_its_library_abridged_has_a_note():
    assert value_text(Named("[1, 2, ..., 9]")).note == "maybe abridged"
    assert value_text(Named("x")).note == value_text("a text, and …").note == ""


@pytest.mark.parametrize(
    "value",
    [
        object(),
        (n for n in "ab"),
        lambda: 1,
        print,
        Named,
        int,
        io.TextIOWrapper(io.BytesIO(), "utf-8"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_without_a_text_is_an_error_and_is_never_sent(value):
    with pytest.raises(
        PromptError, match="has no text that a model can read"
    ) as caught:
        fill("What is {{ value }}?", {"value": value})
    assert caught.value.why == f"it is {value!r}"


def test_a_groupby_is_an_error_and_is_never_sent(pandas):
    groups = pandas.DataFrame({"a": [1, 2]}).groupby("a")
    with pytest.raises(PromptError, match="has no text"):
        fill("{{ groups }}", {"groups": groups})


def test_a_series_has_its_name(pandas):
    found = value_text(pandas.Series([1, 2], name="age"))
    assert found.text.splitlines() == [
        "Series of 2 values, type int64",
        "rows as CSV, the index first:",
        ",age",
        "0,1",
        "1,2",
    ]


def test_columns_of_any_name_and_an_empty_table_work(pandas):
    assert "0 rows" in value_text(pandas.DataFrame()).text
    frame = pandas.DataFrame([[1, 2]], columns=["a", "a"])
    assert "a: int64, 0" in value_text(frame).text
    multi = frame.set_axis([("x", 1), ("x", 2)], axis=1)
    assert "2 columns" in value_text(multi).text


def test_the_table_itself_is_not_changed(pandas):
    frame = pandas.DataFrame({"t": ["x" * 500]})
    value_text(frame)
    assert frame["t"][0] == "x" * 500


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ([1.0, None, 3.0], ["from 1 to 3, mean 2", "1 of 3 values are NaN"]),
        ([None, None], ["2 of 2 values are NaN"]),
        ([], []),
    ],
)
def test_the_range_of_an_array_leaves_out_nan(numpy, values, facts):
    found = value_text(numpy.array(values, dtype=float))
    assert found.text.splitlines()[1:-1] == facts


def test_an_array_is_described_by_its_shape_and_range(numpy):
    found = value_text(numpy.arange(12.0).reshape(3, 4))
    assert found.text.startswith(
        "array of shape (3, 4), type float64\nfrom 0 to 11, mean"
    )
    assert "[[ 0." in found.text
    large = value_text(numpy.zeros((2_000, 2_000)))
    assert large.note == "a sample of 4,000,000 values"
    assert len(large.text) < 1_000
    assert value_text(numpy.array([])).text.startswith("array of shape (0,)")
    assert value_text(numpy.array(["a", "b"])).text.splitlines()[-1] == "['a' 'b']"


def test_the_footer_says_what_was_left_out(pandas):
    frame = pandas.DataFrame({"n": range(50)})
    _, filled, _ = fill("Look at {{ df }} and {{ df.n }}", {"df": frame})
    assert filled == ("df (15 of 50 rows)", "df.n (15 of 50 rows)")


def test_values_are_never_scanned_again(pandas):
    frame = pandas.DataFrame({"{{ x }}": ["{{ secret }}"]})
    text, *_ = fill("{{ df }}", {"df": frame, "secret": "s3cret"})
    assert "s3cret" not in text
    assert "{{ secret }}" in text


def test_a_class_that_only_looks_like_a_table_is_text():
    class DataFrame:
        def __str__(self):
            return "mine"

    assert value_text(DataFrame()).text == "mine"
