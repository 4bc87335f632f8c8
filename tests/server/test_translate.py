"""Translation between Ollama and llama.cpp, without an engine."""

import json

import pytest

from ollama_magic.server.embedded.protocol import (
    FOREVER_S,
    ApiError,
    ModelName,
    in_future,
    keep_alive_s,
    read_request,
)
from ollama_magic.server.embedded.translate import (
    ChunkReader,
    Delta,
    LoadOptions,
    chat_messages,
    check_options,
    load_options,
    response_format,
    sampling,
    template_arguments,
    without_oldest,
)

TIMINGS = {
    "cache_n": 10,
    "prompt_n": 6,
    "prompt_ms": 8.5,
    "predicted_n": 3,
    "predicted_ms": 0.001,
}


def chunk(finish_reason=None, **delta):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"choices": [choice], "object": "chat.completion.chunk"}


def call_chunk(**fragment):
    return chunk(tool_calls=[fragment])


def read_all(*chunks):
    reader = ChunkReader()
    return reader, [delta for delta in map(reader.read, chunks) if delta]


def test_thinking_and_content_are_separate():
    reader, deltas = read_all(
        chunk(role="assistant", content=None),
        chunk(reasoning_content="Hm"),
        chunk(content="Paris"),
        {**chunk("stop"), "timings": TIMINGS},
    )
    assert deltas == [Delta(thinking="Hm"), Delta(content="Paris")]
    assert reader.done_reason == "stop"


def test_plain_completions_are_read():
    reader, deltas = read_all(
        {"choices": [{"text": "a", "finish_reason": None}]},
        {"choices": [{"text": "b", "finish_reason": "length"}]},
    )
    assert [delta.content for delta in deltas] == ["a", "b"]
    assert reader.done_reason == "length"


def test_a_tool_call_is_joined_from_its_fragments():
    reader, deltas = read_all(
        call_chunk(index=0, id="call_1", function={"name": "get", "arguments": ""}),
        call_chunk(index=0, function={"arguments": '{"ci'}),
        call_chunk(index=1, id="call_2", function={"name": "now", "arguments": ""}),
        call_chunk(index=0, function={"arguments": 'ty": "Rome"}'}),
        chunk("tool_calls"),
    )
    (delta,) = deltas
    assert delta.tool_calls == (
        {
            "id": "call_1",
            "function": {"index": 0, "name": "get", "arguments": {"city": "Rome"}},
        },
        {"id": "call_2", "function": {"index": 1, "name": "now", "arguments": {}}},
    )
    assert reader.done_reason == "stop"


def test_a_truncated_tool_call_is_ignored():
    reader, deltas = read_all(
        call_chunk(index=0, function={"name": "get", "arguments": '{"ci'}),
        chunk("length"),
    )
    assert deltas == []
    assert reader.done_reason == "length"


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"'])
def test_arguments_that_are_not_an_object_are_an_error(arguments):
    reader = ChunkReader()
    function = {"name": "get", "arguments": arguments}
    reader.read(call_chunk(index=0, function=function))
    with pytest.raises(ApiError, match="'get' with arguments"):
        reader.read(chunk("tool_calls"))


def test_durations_are_nanoseconds_and_the_cache_counts_as_prompt():
    reader, _ = read_all({**chunk("stop"), "timings": TIMINGS})
    assert reader.stats() == {
        "prompt_eval_count": 16,
        "prompt_eval_cached_count": 10,
        "prompt_eval_duration": 8_500_000,
        "eval_count": 3,
        "eval_duration": 1_000,
    }


def test_a_chat_with_tools_is_converted():
    call = {"function": {"name": "get", "arguments": {"city": "Rome"}}, "id": "c1"}
    sent = chat_messages(
        [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "thinking": "Hm", "tool_calls": [call]},
            {"role": "tool", "content": "sunny", "tool_name": "get"},
        ]
    )
    assert sent[1]["reasoning_content"] == "Hm"
    (sent_call,) = sent[1]["tool_calls"]
    assert sent_call["type"] == "function"
    assert json.loads(sent_call["function"]["arguments"]) == {"city": "Rome"}
    assert sent[2] == {"role": "tool", "content": "sunny", "name": "get"}


def test_arguments_as_text_are_rejected():
    call = {"function": {"name": "get", "arguments": '{"city": "Rome"}'}}
    with pytest.raises(ApiError, match="arguments of a tool call"):
        chat_messages([{"role": "assistant", "tool_calls": [call]}])


def test_the_oldest_message_is_dropped_first_and_results_with_their_call():
    system = {"role": "system", "content": "s"}
    call = {"role": "assistant", "tool_calls": [{}]}
    result = {"role": "tool", "content": "r"}
    last = {"role": "user", "content": "l"}
    chat = [system, call, result, result, last]
    assert without_oldest(chat) == [system, last]
    assert without_oldest([system, last]) is None
    assert without_oldest([last]) is None
    assert without_oldest([]) is None


@pytest.mark.parametrize(
    ("think", "arguments"),
    [
        (None, {"enable_thinking": True}),
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False}),
        ("high", {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_a_thinking_model_thinks_unless_it_is_turned_off(think, arguments):
    assert template_arguments(think, ("completion", "thinking"), "m") == arguments


@pytest.mark.parametrize("think", [None, False])
def test_a_model_without_thinking_gets_no_arguments(think):
    assert template_arguments(think, ("completion",), "m") == {}


def test_an_unknown_thinking_level_is_rejected():
    with pytest.raises(ApiError, match='invalid think value: "sometimes"'):
        template_arguments("sometimes", ("completion", "thinking"), "m")


@pytest.mark.parametrize("free", [None, ""])
def test_no_format_is_free_text(free):
    assert response_format(free) is None


def test_a_schema_is_passed_on_unchanged():
    form = response_format({"type": "object"})
    assert form == {
        "type": "json_schema",
        "json_schema": {"schema": {"type": "object"}},
    }
    assert response_format("json") == {"type": "json_object"}


@pytest.mark.parametrize("value", ["yaml", [1], 3, True])
def test_any_other_format_is_rejected(value):
    with pytest.raises(ApiError, match="invalid format"):
        response_format(value)


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ({}, 5120),
        ({"num_predict": -1}, 5120),
        ({"num_predict": 0}, 5120),
        ({"num_predict": 9}, 9),
        ({"num_predict": 10**9}, 5120),
    ],
)
def test_the_number_of_tokens_always_has_a_cap(given, tokens):
    assert sampling(given, 512)["max_tokens"] == tokens


def test_sampling_has_ollamas_defaults_and_the_given_options():
    chosen = sampling({"temperature": 0.0, "seed": 42, "stop": ["x"]}, 512)
    assert chosen == {
        "temperature": 0.0,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.0,
        "repeat_last_n": 64,
        "repeat_penalty": 1.0,
        "seed": 42,
        "stop": ["x"],
        "max_tokens": 5120,
    }


@pytest.mark.parametrize(
    ("options", "loaded"),
    [
        ({}, LoadOptions(4096)),
        ({"num_ctx": 512, "temperature": 1.0}, LoadOptions(512)),
        ({"num_ctx": 99_999}, LoadOptions(8192)),
        ({"num_ctx": -1, "num_thread": 0}, LoadOptions(4096)),
        ({"num_thread": 2, "num_gpu": 0}, LoadOptions(4096, num_thread=2, num_gpu=0)),
    ],
)
def test_load_options_are_separated_from_the_others(options, loaded):
    assert load_options(options, 8192) == loaded


def test_unknown_options_are_ignored_and_floats_truncated_as_in_ollama():
    assert check_options({"nonsense": 1, "num_predict": 4.7}) == {"num_predict": 4}


@pytest.mark.parametrize("value", [True, "3", [3], {}])
def test_only_numbers_are_integers(value):
    with pytest.raises(ApiError, match='option "seed" must be of type integer'):
        check_options({"seed": value})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 300.0),
        ("10m", 600.0),
        ("1h0m30s", 3630.0),
        (60, 60.0),
        ("1.5s", 1.5),
        (-1, FOREVER_S),
        ("-5m", FOREVER_S),
        (0, 0.0),
        ("0", 0.0),
    ],
)
def test_keep_alive_is_a_duration_or_seconds(value, seconds):
    assert keep_alive_s(value, 300.0) == seconds


@pytest.mark.parametrize("value", ["soon", "5", "", "5 m", "m", "1h-5m", True, [5]])
def test_an_invalid_keep_alive_is_rejected(value):
    with pytest.raises(ApiError) as refusal:
        keep_alive_s(value, 300.0)
    assert refusal.value.status_code == 400


@pytest.mark.parametrize("seconds", [FOREVER_S, 1e300])
def test_an_infinite_keep_alive_has_a_date(seconds):
    assert in_future(seconds) > "2300"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smollm2", "smollm2:latest"),
        ("SmolLM2:135m", "SmolLM2:135m"),
        ("registry.ollama.ai/library/pirate:latest", "pirate:latest"),
        ("me/mine", "me/mine:latest"),
        ("localhost:5000/library/a:b", "localhost:5000/library/a:b"),
    ],
)
def test_names_are_parsed_as_in_ollama(text, shown):
    assert str(ModelName.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "a b c", "..", "../x", "a/../b", ":x", "a:", "/a", "a/", "a//b", "-x"),
        *("a\n", "x" * 81, "a:b:c/d", "b\\c", "a/b/c/d"),
    ],
)
def test_invalid_names_are_rejected(text):
    assert ModelName.parse(text) is None


def test_the_case_of_names_is_ignored():
    assert ModelName.parse("A:B").key == ModelName.parse("a:b").key


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"  ", "is not JSON"),
        (b'{"model": "smo', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"messages": [3]}', "is not a JSON object"),
        (b'{"model": "a", "stream": 1}', '"stream" must be of the type bool'),
        (b'{"messages": [{"content": [1]}]}', '"content" must be of the type str'),
    ],
)
def test_invalid_bodies_are_rejected(body, words):
    with pytest.raises(ApiError, match=words) as refusal:
        read_request(body)
    assert refusal.value.status_code == 400


def test_a_null_field_counts_as_missing():
    assert read_request(b'{"model": "a", "stream": null}') == {"model": "a"}
