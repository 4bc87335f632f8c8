"""How tables, arrays and long texts are sent."""

import pytest

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
