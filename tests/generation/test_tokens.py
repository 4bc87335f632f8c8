"""Estimates against the counts of a real server (SmolLM2 and Gemma, recorded)."""

import pytest

from ollama_magic.generation.context import estimate_messages, estimate_tokens

# Contents of the messages, and the prompt_eval_count of the server.
COUNTED = [
    ([""], 9),
    (["hi"], 10),
    (["What is the capital of France?"], 16),
    (["Why is the sky blue? Answer in one sentence."], 20),
    (["Describe a person named Ann who is 30."], 20),
    (["What is 2+2?"], 16),
    (["Count to 100"], 15),
    (["<b>a & b</b> <b>a & b</b> <b>a & b</b>"], 27),
    (["Repeat exactly: 😀 é 漢字 <b>&</b>"], 26),
    (["😀🎉 😀🎉 😀🎉 😀🎉 😀🎉 😀"], 28),
    (
        [
            "You are a helpful assistant. Be short.",
            "My name is Ann.",
            "Hello Ann!",
            "What is my name?",
        ],
        47,
    ),
]


@pytest.mark.parametrize(("contents", "counted"), COUNTED)
def test_estimates_are_within_a_quarter_of_real_counts(contents, counted):
    messages = [{"role": "user", "content": content} for content in contents]
    assert estimate_messages(messages) == pytest.approx(counted, rel=0.25)


def test_an_empty_text_has_no_tokens():
    assert estimate_tokens("") == 0
    assert estimate_messages([]) == 0


def test_more_text_is_never_fewer_tokens():
    text = "Eine Frage: què és això? 这是什么 🙂 def f(x): return x + 1"
    counts = [estimate_tokens(text[:end]) for end in range(len(text) + 1)]
    assert counts == sorted(counts)


def test_chinese_counts_more_than_english_of_the_same_length():
    assert estimate_tokens("天" * 100) > 4 * estimate_tokens("a" * 100)


def test_missing_content_counts_as_empty():
    assert estimate_messages([{"role": "assistant", "content": None}]) > 0
