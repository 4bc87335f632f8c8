"""Errors as text: the user's frames, and the types on the failing line."""

import array
import gc
import json
import linecache
import sys
import weakref

import pytest

from ollama_magic.notebook.failure_text import (
    came_through,
    describe,
    failure_text,
    name_types,
)

CELL = "/tmp/kernel/7.py"


def name_of_cell(file):
    return "In[7]" if file == CELL else None


def failure(source, **names):
    """Run source as a cell that fails, and return the text of its error."""
    linecache.cache[CELL] = (len(source), None, source.splitlines(True), CELL)
    names |= {"__name__": "__main__"}
    try:
        exec(compile(source, CELL, "exec"), names)
    except Exception as error:  # noqa: BLE001  (any may be the case)
        return failure_text(error, name_of_cell)
    raise AssertionError("it did not fail")


def test_frames_above_the_cell_are_left_out_and_library_runs_are_folded():
    told = failure("import json\njson.loads('{')", json=json)
    assert told.traceback.splitlines()[:3] == [
        "Cell In[7], line 2, in <module>",
        "    json.loads('{')",
        "    [2 calls in json left out]",
    ]
    assert told.traceback.splitlines()[3].startswith("File json/decoder.py, line ")
    assert told.traceback.splitlines()[-1].startswith("json.decoder.JSONDecodeError: ")
    assert told.line == "json.loads('{')"
    assert told.names == ("json: module json",)


def test_no_path_of_this_machine_is_in_the_text(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def ratio(a, b):\n    return a / b\n")
    monkeypatch.syspath_prepend(tmp_path)
    told = failure("import mine\nmine.ratio(1, 0)")
    assert str(tmp_path) not in told.traceback
    assert "File mine.py, line 2, in ratio\n    return a / b" in told.traceback
    assert told.line == "return a / b"
    assert told.names == ("a: int", "b: int")


def test_locals_of_the_failing_frame_come_first():
    told = failure("x = 'text'\ndef f(x):\n    return x + y\ny = []\nf((1,))")
    assert told.names == ("x: tuple, 1 item", "y: list, 0 items")


def test_a_statement_of_several_lines_is_shown_whole():
    told = failure("a, b = 1, 0\nprint(\n    a /\n    b\n)")
    assert told.line == "a /\nb"
    assert told.names == ("a: int", "b: int")


def test_causes_come_before_their_effects():
    told = failure(
        "try:\n    {}['k']\nexcept KeyError as e:\n    raise ValueError('v') from e"
    )
    before, _, after = told.traceback.partition("This caused:")
    assert before.rstrip().endswith("KeyError: 'k'")
    assert after.rstrip().endswith("ValueError: v")


def test_a_deep_recursion_is_folded():
    told = failure("def f(n):\n    return f(n + 1)\nf(0)")
    assert "calls left out]" in told.traceback
    assert told.traceback.count("return f(n + 1)") < 15
    assert told.names == ("f: function, parameters (n)", "n: int")


def test_circular_causes_end():
    told = failure(
        "a, b = ValueError(1), ValueError(2)\na.__cause__ = b\nb.__cause__ = a\nraise a"
    )
    assert told.traceback.count("ValueError: 1") == 1


def test_escape_codes_are_removed_and_long_messages_cut():
    told = failure("raise ValueError('\\x1b[31m' + 'red ' * 100_000)")
    assert "\x1b" not in told.traceback
    assert len(told.traceback) < 6100
    assert "characters left out]" in told.traceback


def test_an_error_whose_message_raises_does_no_harm():
    told = failure(
        "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\n"
        "raise Odd"
    )
    assert "Odd: <exception str() failed>" in told.traceback


def test_the_errors_of_a_group_are_listed():
    told = failure("raise ExceptionGroup('several', [ValueError('a'), KeyError('b')])")
    assert told.traceback.endswith("  - ValueError: a\n  - KeyError: 'b'")


def test_a_syntax_error_has_its_line():
    with pytest.raises(SyntaxError) as caught:
        compile("x = 1\nfor x in y\n    x", CELL, "exec")
    told = failure_text(caught.value, name_of_cell)
    assert told.traceback.startswith("  Cell In[7], line 2\n    for x in y\n")
    assert told.traceback.endswith("SyntaxError: expected ':'")
    assert told.line == "for x in y"
    assert told.names == ()


def test_objects_of_the_error_are_freed():
    """Only text is kept, without frames or objects of frames."""

    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)
    told = failure("def f(big):\n    return big + 1\nf(held.pop())", held=[big])
    del big
    sys.last_value = None
    gc.collect()
    assert gone() is None
    assert told.names[0].startswith("big: ")


def test_the_modules_that_an_error_passed_through_are_known():
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    assert came_through(caught.value, "json.decoder")
    assert not came_through(caught.value, "ollama_magic.notebook.magics")


# -- names ---------------------------------------------------------------------

SECRET = "hunter2"


class Hostile:
    """Raises whenever it is inspected."""

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
        ({SECRET: 1}, "dict, 1 item"),
        (pytest, "module pytest"),
        (int, "type, the class int"),
        (lambda a, *, b=SECRET: a, "function, parameters (a, b)"),
        (array.array("d"), "array.array"),
        (Hostile(), f"{Hostile.__module__.partition('.')[0]}.Hostile"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_described_by_its_type_and_size(value, text):
    assert describe(value) == text


def test_a_table_is_described_by_its_columns_and_their_types(pandas):
    told = describe(pandas.DataFrame({"user": [SECRET], "age": [36]}))
    assert told.startswith("pandas.DataFrame, 1 row and 2 columns: user (")
    assert told.endswith("age (int64)")
    assert SECRET not in told


def test_a_column_is_described_by_shape_and_type(pandas):
    told = describe(pandas.Series([1.0, 2.0]))
    assert told == "pandas.Series, shape (2,), dtype float64"


def test_many_columns_are_cut(pandas):
    wide = pandas.DataFrame([range(300)], columns=[f"c{n:03}" for n in range(300)])
    assert describe(wide).endswith("and 260 more")


def test_no_value_is_ever_in_the_text():
    values = {"a": SECRET, "b": [SECRET], "c": {SECRET: SECRET}}
    told = name_types("a b c", values)
    assert len(told) == 3
    assert SECRET not in "".join(told)


def test_the_nearest_namespace_wins_and_attributes_are_ignored():
    told = name_types("x.y + y[z] if x else len(y)", {"x": 1}, {"x": "", "y": 2.0})
    assert told == ("x: int", "y: float")


def test_keywords_are_not_looked_up():
    assert name_types("for i in range(3)", {"for": 1, "i": 1}) == ("i: int",)


def test_remote_objects_are_not_fetched():
    far = Far()
    assert describe(far).endswith("Far")
    assert far.fetched == []


def test_an_invalid_shape_is_left_out():
    class Lazy:
        shape = (object(), 3)

    assert ", shape" not in describe(Lazy())
