import itertools
import json
import time

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from ollama_magic.client.streams import MAX_LINE_BYTES, read_objects
from ollama_magic.errors import StreamInterruptedError

TEXT = st.text(max_size=20)
OBJECTS = st.lists(
    st.dictionaries(
        TEXT, st.recursive(st.none() | st.booleans() | TEXT, st.lists), max_size=3
    ),
    max_size=5,
)


def cut(data, places):
    """Split bytes at the given positions, in any order, with duplicates."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@examples(25)
@given(
    objects=OBJECTS,
    places=st.lists(st.integers(0, 10_000), max_size=30),
    newline=st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \r\n"]),
    escaped=st.booleans(),
    ends=st.booleans(),
)
def test_any_split_gives_the_same_objects(objects, places, newline, escaped, ends):
    """Where the network splits a response does not matter."""
    lines = [json.dumps(item, ensure_ascii=escaped).encode() for item in objects]
    data = newline.join(lines) + (newline if ends else b"")
    assert list(read_objects(cut(data, places))) == objects


@examples(150)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_arbitrary_bytes_give_objects_or_our_error(data, places):
    try:
        found = list(read_objects(cut(data, places)))
    except StreamInterruptedError:
        return
    assert all(isinstance(item, dict) for item in found)


@examples(40)
@given(
    objects=OBJECTS,
    places=st.lists(st.integers(0, 10_000), max_size=30),
    between=st.sampled_from(["", " ", "\n", "\r\n\r\n"]),
    indent=st.sampled_from([None, 1, 4, "\t"]),
)
def test_objects_need_not_be_on_separate_lines(objects, places, between, indent):
    """Some servers write no newlines, others indent, each over several lines."""
    if indent is not None and "\n" not in between:
        between += "\n"
    data = between.join(json.dumps(item, indent=indent) for item in objects).encode()
    assert list(read_objects(cut(data, places))) == objects


def test_an_indented_object_is_yielded_before_the_next_piece_is_read():
    def pieces():
        yield b'{\n  "a": {\n    "b": 1\n  }\n}\n'
        raise AssertionError("asked too early")

    assert next(read_objects(pieces())) == {"a": {"b": 1}}


def test_the_objects_before_an_invalid_one_on_a_line_are_valid():
    objects = read_objects([b'{"a": 1} {"b": 2}, {"c": 3}\n'])
    assert [next(objects), next(objects)] == [{"a": 1}, {"b": 2}]
    with pytest.raises(StreamInterruptedError):
        next(objects)


def test_many_objects_without_newlines_are_linear():
    data = b'{"a": "xyz"}' * 200_000
    began = time.process_time()
    assert sum(1 for _ in read_objects([data])) == 200_000
    assert time.process_time() - began < 5  # 0.3 s; the rest is for busy machines


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"])
def test_only_newline_ends_a_line(char):
    """Text readers split at all of these, in the middle of the text."""
    line = json.dumps({"a": f"x{char}y"}, ensure_ascii=False).encode() + b"\n"
    assert list(read_objects([line])) == [{"a": f"x{char}y"}]


def test_objects_are_yielded_before_the_next_piece_is_read():
    def pieces():
        yield b'{"a": 1}\n{"b"'
        raise AssertionError("asked too early")

    assert next(read_objects(pieces())) == {"a": 1}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"hello", "hello"),
        (b"[1]", "[1]"),
        (b'{"a": 1', '{"a": 1'),
        (b'"\x1b[31m"', '"\\x1b[31m"'),
        (b"x" * 500, "x" * 79 + "…"),
        (b'{"a": ' + b"9" * 5000 + b"}", '{"a": ' + "9" * 73 + "…"),
        (b"[" * 100_000, "[" * 79 + "…"),
    ],
    ids=["word", "list", "cut", "escape", "long", "digits", "deep"],
)
def test_an_invalid_line_is_shown_with_its_number(line, shown):
    """The line is numbered, escaped and truncated to 80 characters."""
    objects = read_objects([b'{"a": 1}\n\n' + line + b"\n"])
    assert next(objects) == {"a": 1}
    with pytest.raises(StreamInterruptedError) as info:
        next(objects)
    assert info.value.why == f"line 3 is not JSON: {shown}"


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d\ude00", "😀"),
        (r"a\ud83d", "a\ufffd"),
        (r"\ude00b", "\ufffdb"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\u2028é", "\u2028é"),
    ],
)
def test_lone_surrogates_become_replacement_characters(escaped, text):
    """A lone surrogate cannot be encoded, and every later write would fail."""
    (found,) = read_objects([b'{"a": "%s"}' % escaped.encode()])
    assert found == {"a": text}
    found["a"].encode()


def test_invalid_utf8_becomes_replacement_characters():
    assert list(read_objects([b'{"a": "x\xffy"}'])) == [{"a": "x\ufffdy"}]


@pytest.mark.parametrize("ends", [b"", b"\n"])
def test_a_line_over_the_limit_is_an_error(ends):
    with pytest.raises(StreamInterruptedError) as info:
        list(
            read_objects([b'{"a": "xxxxxxxxxxx', b'xxxxx"}' + ends], max_line_bytes=20)
        )
    assert info.value.why == "a line of more than 20 bytes"


def test_an_endless_line_is_an_error_before_it_fills_the_memory():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 65536
            yield b"x" * 65536

    with pytest.raises(StreamInterruptedError):
        list(read_objects(endless()))
    assert taken <= MAX_LINE_BYTES + 65536


def test_one_long_line_in_many_pieces_is_linear():
    """A reader that joins after every piece takes minutes for this one."""
    line = b'{"a": "' + b"x" * 10_000_000 + b'"}\n'
    pieces = [line[i : i + 1024] for i in range(0, len(line), 1024)]
    began = time.process_time()
    (found,) = read_objects(pieces)
    assert len(found["a"]) == 10_000_000
    assert time.process_time() - began < 3  # 0.1 s; the rest is for busy machines
