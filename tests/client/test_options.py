"""Model options: known names, JSON types, text to value."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_magic.client.options import (
    MODEL_OPTIONS,
    check_option,
    check_options,
    nearest_option,
    read_option,
)
from ollama_magic.errors import ConfigError

KEPT = {
    "int": ("num_ctx", 4096, 4096),
    "whole float for an int": ("num_ctx", 4096.0, 4096),
    "negative int": ("num_predict", -1, -1),
    "int for a float": ("temperature", 1, 1),
    "float": ("temperature", 0.7, 0.7),
    "bool": ("use_mmap", False, False),
    "one text becomes a list": ("stop", "END", ["END"]),
    "texts": ("stop", ["a", "b"], ["a", "b"]),
    "no texts": ("stop", [], []),
}


@pytest.mark.parametrize(("name", "value", "expected"), KEPT.values(), ids=KEPT)
def test_a_valid_value_is_kept_or_converted(name, value, expected):
    checked = check_option(name, value)
    assert checked == expected
    assert type(checked) is type(expected)


REFUSED = {
    "text for an int": ("num_ctx", "big"),
    "half for an int": ("num_predict", 4.7),
    "bool for an int": ("seed", True),
    "bool for a float": ("temperature", False),
    "text for a bool": ("use_mmap", "true"),
    "number for a bool": ("use_mmap", 1),
    "number for a text": ("stop", 5),
    "number among texts": ("stop", ["a", 5]),
    "null": ("temperature", None),
    "not a number": ("temperature", float("nan")),
    "infinite": ("temperature", float("inf")),
    "infinite int": ("seed", float("inf")),
    "more than Go's int holds": ("seed", 10**400),
    "more than a float holds": ("temperature", 10**400),
}


@pytest.mark.parametrize(("name", "value"), REFUSED.values(), ids=REFUSED)
def test_a_value_of_another_type_is_an_error(name, value):
    """The server would answer with status 500, or accept a nonsense value."""
    with pytest.raises(ConfigError, match=f"The model option '{name}' cannot be"):
        check_option(name, value)


def test_a_type_error_names_the_right_type():
    with pytest.raises(ConfigError) as caught:
        check_option("use_mmap", "yes")
    assert caught.value.lines() == [
        "The model option 'use_mmap' cannot be 'yes'.",
        "  why:  it takes true or false",
        "  next: for example use_mmap true",
    ]


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError) as caught:
        check_option("num_ctxt", 1)
    assert caught.value.lines() == [
        "Unknown model option 'num_ctxt'.",
        "  next: did you mean 'num_ctx'?",
    ]


def test_an_unknown_name_without_a_similar_one_lists_them_all():
    with pytest.raises(ConfigError) as caught:
        check_option("xyzzy", 1)
    assert all(name in caught.value.next_step for name in MODEL_OPTIONS)


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        ("num-ctx", "num_ctx"),
        ("--num_ctx", "num_ctx"),
        ("TEMPERATURE", "temperature"),
        ("temprature", "temperature"),
        ("xyzzy", None),
    ],
)
def test_the_nearest_name_ignores_dashes_and_case(typed, known):
    assert nearest_option(typed) == known


def test_check_options_checks_each():
    assert check_options({"stop": "a", "seed": 1}) == {"stop": ["a"], "seed": 1}
    with pytest.raises(ConfigError):
        check_options({"seed": 1, "sed": 1})


READ = {
    "int": ("num_ctx", "8192", 8192),
    "exponent": ("seed", "1e3", 1000),
    "no digit before the point": ("temperature", ".5", 0.5),
    "no digit after the point": ("temperature", "5.", 5.0),
    "bool": ("use_mmap", "true", True),
    "plain stop": ("stop", "</s>", ["</s>"]),
    "stop that looks like a number": ("stop", "5", ["5"]),
    "stop that looks like null": ("stop", "null", ["null"]),
    "JSON text for stop": ("stop", r'"\n"', ["\n"]),
    "JSON list for stop": ("stop", '["a", "b"]', ["a", "b"]),
    "brackets in stop": ("stop", "[/INST]", ["[/INST]"]),
    "a list as text": ("stop", '"[a,b]"', ["[a,b]"]),
}


@pytest.mark.parametrize(("name", "text", "expected"), READ.values(), ids=READ)
def test_text_is_json_or_else_text(name, text, expected):
    assert read_option(name, text) == expected


@pytest.mark.parametrize("text", ["[a,b]", "['a', 'b']", "[a, 1,\n]", "['a']"])
def test_a_list_that_has_lost_its_quotes_is_not_one_text(text):
    with pytest.raises(ConfigError, match="looks like a list") as info:
        read_option("stop", text)
    assert '-o stop \'["a", "b"]\'' in info.value.next_step


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-inf", "1_0", "hot", ""])
def test_text_that_is_not_a_json_number_is_an_error(text):
    with pytest.raises(ConfigError):
        read_option("temperature", text)


@pytest.mark.parametrize("name", MODEL_OPTIONS)
def test_every_example_is_valid(name):
    read_option(name, MODEL_OPTIONS[name].example)


@given(st.sampled_from(list(MODEL_OPTIONS)), st.text())
def test_any_text_is_a_json_value_or_a_clear_error(name, text):
    with contextlib.suppress(ConfigError):
        json.dumps(read_option(name, text), allow_nan=False)
