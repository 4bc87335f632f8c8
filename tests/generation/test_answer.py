"""How chunks add up to an answer."""

import pytest

from ollama_magic.client.types import ReplyChunk, Stats
from ollama_magic.generation.answer import Answer


def answer_of(*contents, **last):
    answer = Answer()
    shown = [answer.read([ReplyChunk(content=c)]) for c in contents]
    shown.append(answer.read([ReplyChunk(done=True, **last)]))
    return answer, "".join(one for one, _ in shown), "".join(one for _, one in shown)


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
    """Whatever the cuts, the parts are the same, and nothing is lost."""
    answer, shown_text, shown_thinking = answer_of(*contents)
    assert answer.text == shown_text
    assert answer.text == text
    assert answer.thinking == shown_thinking
    assert answer.thinking.strip() == thinking


def test_leading_blanks_of_an_answer_without_tags_are_kept():
    answer, _, _ = answer_of("  ", "    code")
    assert answer.text == "      code"


def test_native_thinking_is_timed_and_kept_apart():
    now = iter([1.0, 3.5])
    answer = Answer(clock=lambda: next(now))
    answer.read([ReplyChunk(thinking="so")])
    answer.read([ReplyChunk(thinking=", yes")])
    answer.read([ReplyChunk(content="Yes")])
    assert (answer.thinking, answer.text) == ("so, yes", "Yes")
    assert answer.thinking_s == 2.5


def test_the_last_chunk_brings_reason_and_stats():
    answer, _, _ = answer_of("x", done_reason="length", stats=Stats(eval_count=7))
    assert (answer.done_reason, answer.stats.eval_count) == ("length", 7)


def test_what_is_held_back_comes_out_when_the_answer_breaks_off():
    answer = Answer()
    answer.read([ReplyChunk(content="<thi")])
    assert answer.is_empty
    assert answer.end() == ("<thi", "")
    assert answer.text == "<thi"
