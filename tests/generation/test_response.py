"""How chunks add up to a response."""

import pytest

from ollama_magic.client.logprobs import TokenLogprob
from ollama_magic.client.types import ReplyChunk, Stats
from ollama_magic.generation.response import Response, added_stats
from ollama_magic.history.cache import CachedReply

HARMONY = "<|channel|>analysis<|message|>"
FINAL = "<|channel|>final<|message|>"


def cut(text, size):
    return [text[at : at + size] for at in range(0, len(text), size)]


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
        (list("<thinking>hm</thinking>\nYes"), "Yes", "hm"),
        (list("<thought>hm</thought>\nYes"), "Yes", "hm"),
        (list("[THINK]hm[/THINK]Yes"), "Yes", "hm"),
        (list("<seed:think>hm</seed:think>Yes"), "Yes", "hm"),
        (list("◁think▷hm◁/think▷Yes"), "Yes", "hm"),
        (list(f"{HARMONY}hm<|end|><|start|>assistant{FINAL}Yes"), "Yes", "hm"),
        (["<think>a</thinking>b</think>ok"], "ok", "a</thinking>b"),
        (["[THIS] is text"], "[THIS] is text", ""),
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


LONE = "Hm, two.\nSo yes.</think>\n\nYes, `2`."


@pytest.mark.parametrize("size", [1, 3, 7, 100])
@pytest.mark.parametrize("end", ["</think>", "</thinking>", "</thought>", "[/THINK]"])
def test_thinking_may_lack_its_opening_tag(size, end):
    """The template of the model has it, and writes it before the response."""
    text = LONE.replace("</think>", end)
    response, shown, _ = response_of(*cut(text, size))
    assert (response.text, response.thinking) == ("Yes, `2`.", "Hm, two.\nSo yes.")
    assert shown.endswith("Yes, `2`.")
    assert response.has_restarted == (size < 100)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So.\n</think>Yes", "Yes"),
        ("So.\n</think> Yes", "Yes"),
        ('So.</think>{"p": 1}', '{"p": 1}'),
        ("So.</think> [1]", "[1]"),
        ("So.</think>\r\nYes", "Yes"),
        ("So.</think>", ""),
        ("So.</think>\n", ""),
        ("</think>\n\nYes", "Yes"),
        ("So `x` is.\n```\na\n```\n</think>\nYes </think>", "Yes </think>"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 100])
def test_text_follows_a_lone_end_of_thinking(text, answer, size):
    response, _, _ = response_of(*cut(text, size))
    assert response.text == answer
    assert "</think>" not in response.thinking


@pytest.mark.parametrize(
    "text",
    [
        "The tag </think> ends it.",
        "Write `</think>`\nat the end.",
        "```\n</think>\n```\nis a tag.",
        "```\nSo.</think>\n",
        "Use <think>so</think>\nfor it.",
        "a </thinker>\nb",
        "x < y\n</thin",
    ],
)
@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_tag_in_a_sentence_or_in_code_is_text(text, size):
    response, shown, _ = response_of(*cut(text, size))
    assert (response.text, response.thinking) == (text, "")
    assert shown == text


def test_native_thinking_makes_a_later_tag_text():
    response = Response()
    response.read([ReplyChunk(thinking="so")])
    response.read([ReplyChunk(content="The end:\n</think>\nis a tag.", done=True)])
    assert response.text == "The end:\n</think>\nis a tag."


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("end", ["</think>", "[/THINK]"])
def test_an_end_tag_at_the_start_of_the_text_is_dropped(size, end):
    """Some servers send the thinking apart, but leave its end in the text."""
    response = Response()
    response.read([ReplyChunk(thinking="so")])
    for piece in cut(f"{end}\n\nYes", size):
        response.read([ReplyChunk(content=piece)])
    response.read([ReplyChunk(done=True)])
    assert (response.text, response.thinking) == ("Yes", "so")


def test_thinking_without_its_tag_is_timed():
    now = iter([1.0, 3.5])
    response = Response(clock=lambda: next(now))
    for chunk in ("So", ", yes", ".</think>", "\nYes"):
        response.read([ReplyChunk(content=chunk)])
    assert (response.text, response.thinking_s) == ("Yes", 2.5)


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


def test_the_tokens_of_a_response_keep_their_probabilities_in_the_cache():
    tokens = [TokenLogprob("Hi", -0.1, (72, 105), (TokenLogprob("Yo", -2.0),))] * 2
    response = Response()
    for token in tokens:
        response.read([ReplyChunk(content="Hi", logprobs=(token,))])
    assert response.logprobs == tokens
    cached = CachedReply("m", "d", "HiHi", logprobs=tuple(response.logprobs))
    assert Response.of(CachedReply.from_json(cached.to_json())).logprobs == tokens
    old = '{"model": "m", "digest": "", "text": "x", "tool_calls": [], "stats": {}}'
    assert CachedReply.from_json(old).logprobs == ()


def test_the_cached_tokens_of_a_continued_reply_are_those_of_its_prompt():
    before = Stats(prompt_eval_count=10, prompt_eval_cached_count=4, eval_count=5)
    after = Stats(prompt_eval_count=15, prompt_eval_cached_count=14, eval_count=2)
    whole = added_stats(before, after)
    assert (whole.prompt_eval_count, whole.prompt_eval_cached_count) == (10, 4)
