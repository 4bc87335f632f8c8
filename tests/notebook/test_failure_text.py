"""An error as text: the user's frames, the one that raised, and no more."""

import gc
import json
import linecache
import sys
import weakref

import pytest

from ollama_magic.notebook.failures import _came_through, failure_text

CELL = "/tmp/kernel/7.py"


def name_of_cell(file):
    return "In[7]" if file == CELL else None


def failure(source, **names):
    """Run source as a cell that fails and return what is told of it."""
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


def test_no_path_of_this_machine_is_told(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def ratio(a, b):\n    return a / b\n")
    monkeypatch.syspath_prepend(tmp_path)
    told = failure("import mine\nmine.ratio(1, 0)")
    assert str(tmp_path) not in told.traceback
    assert "File mine.py, line 2, in ratio\n    return a / b" in told.traceback
    assert told.line == "return a / b"
    assert told.names == ("a: int", "b: int")


def test_locals_of_the_failing_frame_come_first():
    told = failure("x = 'text'\ndef f(x):\n    return x + y\ny = []\nf((1,))")
    assert told.names == ("x: tuple, 1 items", "y: list, 0 items")


def test_a_statement_of_several_lines_is_told_as_a_whole():
    told = failure("a, b = 1, 0\nprint(\n    a /\n    b\n)")
    assert told.line == "a /\nb"
    assert told.names == ("a: int", "b: int")


def test_causes_come_before_what_came_of_them():
    told = failure(
        "try:\n    {}['k']\nexcept KeyError as e:\n    raise ValueError('v') from e"
    )
    before, _, after = told.traceback.partition("That was the cause of:")
    assert before.rstrip().endswith("KeyError: 'k'")
    assert after.rstrip().endswith("ValueError: v")


def test_a_deep_recursion_is_folded():
    told = failure("def f(n):\n    return f(n + 1)\nf(0)")
    assert "calls left out]" in told.traceback
    assert told.traceback.count("return f(n + 1)") < 15
    assert told.names == ("f: function, parameters (n)", "n: int")


def test_causes_that_go_round_in_a_circle_end():
    told = failure(
        "a, b = ValueError(1), ValueError(2)\na.__cause__ = b\nb.__cause__ = a\nraise a"
    )
    assert told.traceback.count("ValueError: 1") == 1


def test_escape_codes_are_taken_out_and_long_messages_cut():
    told = failure("raise ValueError('\\x1b[31m' + 'red ' * 100_000)")
    assert "\x1b" not in told.traceback
    assert len(told.traceback) < 6100
    assert "characters left out]" in told.traceback


def test_a_message_that_cannot_be_made_breaks_nothing():
    told = failure(
        "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\n"
        "raise Odd"
    )
    assert "Odd: <exception str() failed>" in told.traceback


def test_the_errors_of_a_group_are_listed():
    told = failure("raise ExceptionGroup('several', [ValueError('a'), KeyError('b')])")
    assert told.traceback.endswith("  - ValueError: a\n  - KeyError: 'b'")


def test_wrong_syntax_is_told_by_its_line():
    with pytest.raises(SyntaxError) as caught:
        compile("x = 1\nfor x in y\n    x", CELL, "exec")
    told = failure_text(caught.value, name_of_cell)
    assert told.traceback.startswith("  Cell In[7], line 2\n    for x in y\n")
    assert told.traceback.endswith("SyntaxError: expected ':'")
    assert told.line == "for x in y"
    assert told.names == ()


def test_what_the_error_held_is_let_go():
    """Text is all that stays: no frame, and nothing in one."""

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


def test_the_module_that_an_error_came_through_is_known():
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    assert _came_through(caught.value, "json.decoder")
    assert not _came_through(caught.value, "ollama_magic.notebook.magics")
