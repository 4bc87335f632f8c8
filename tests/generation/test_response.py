"""How chunks add up to a response."""

import pytest

from ollama_magic.client.types import ReplyChunk, Stats
from ollama_magic.generation.response import Response


def response_of(*contents, **last):
    response = Response()
    shown = [response.read([ReplyChunk(content=c)]) for c in contents]
    shown.append(response.read([ReplyChunk(done=True, **last)]))
    return response, "".join(one for one, _ in shown), "".join(one for _, one in shown)


@pytest.mark.parametrize(
    ("contents", "text", "thinking"),
    [
        (["Hel", "lo"], "Hello", ""),
        (["<think>hm</think>Yes"], "Yes", "hm"),
        (list("<think>hm, so</think>\n\nYes"), "Yes", "hm, so"),
        (["\n<think>", "\nhm", "</th", "ink>\n", "Yes"], "Yes", "hm"),
        (["<think>hm</think>", "\n\n", "Yes"], "Yes", "hm"),
        (["<", "b>bold"], "<b>bold", ""),
        (["<thi"], "<thi", ""),
        (["<think>cut off"], "", "cut off"),
        (["<think>a < b</think>ok"], "ok", "a < b"),
        (["Use <think> tags</think>"], "Use <think> tags</think>", ""),
        ([" ", " indented"], "  indented", ""),
    ],
)
def test_thinking_between_tags_is_kept_apart_from_the_text(contents, text, thinking):
    """The parts do not depend on where the chunks end."""
    response, shown_text, shown_thinking = response_of(*contents)
    assert response.text == shown_text
    assert response.text == text
    assert response.thinking == shown_thinking
    assert response.thinking.strip() == thinking


def test_leading_blanks_of_a_response_without_tags_are_kept():
    response, _, _ = response_of("  ", "    code")
    assert response.text == "      code"


def test_native_thinking_is_timed_and_kept_apart():
    now = iter([1.0, 3.5])
    response = Response(clock=lambda: next(now))
    response.read([ReplyChunk(thinking="so")])
    response.read([ReplyChunk(thinking=", yes")])
    response.read([ReplyChunk(content="Yes")])
    assert (response.thinking, response.text) == ("so, yes", "Yes")
    assert response.thinking_s == 2.5


def test_the_last_chunk_has_reason_and_stats():
    response, _, _ = response_of("x", done_reason="length", stats=Stats(eval_count=7))
    assert (response.done_reason, response.stats.eval_count) == ("length", 7)


def test_held_back_text_is_returned_when_the_response_ends_early():
    response = Response()
    response.read([ReplyChunk(content="<thi")])
    assert response.is_empty
    assert response.end() == ("<thi", "")
    assert response.text == "<thi"
