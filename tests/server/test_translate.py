"""Between Ollama's words and llama.cpp's, with no engine."""

import json

import pytest

from ollama_magic.server.embedded.errors import ApiError
from ollama_magic.server.embedded.formats import (
    FOREVER_S,
    ModelName,
    in_future,
    keep_alive_s,
    parse_duration,
)
from ollama_magic.server.embedded.requests import (
    LoadOptions,
    check_options,
    load_options,
    read_request,
    sampling,
)
from ollama_magic.server.embedded.translate import (
    ChunkReader,
    Delta,
    chat_messages,
    response_format,
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


def test_thinking_and_content_stay_apart():
    reader, deltas = read_all(
        chunk(role="assistant", content=None),
        chunk(reasoning_content="Hm"),
        chunk(content="Paris"),
        {**chunk("stop"), "timings": TIMINGS},
    )
    assert deltas == [Delta(thinking="Hm"), Delta(content="Paris")]
    assert reader.done_reason == "stop"


def test_plain_completions_are_read_too():
    reader, deltas = read_all(
        {"choices": [{"text": "a", "finish_reason": None}]},
        {"choices": [{"text": "b", "finish_reason": "length"}]},
    )
    assert [delta.content for delta in deltas] == ["a", "b"]
    assert reader.done_reason == "length"


def test_a_tool_call_is_put_together_from_its_fragments():
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


def test_a_tool_call_that_was_cut_is_no_call():
    reader, deltas = read_all(
        call_chunk(index=0, function={"name": "get", "arguments": '{"ci'}),
        chunk("length"),
    )
    assert deltas == []
    assert reader.done_reason == "length"


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"'])
def test_arguments_that_are_no_object_are_an_error(arguments):
    reader = ChunkReader()
    function = {"name": "get", "arguments": arguments}
    reader.read(call_chunk(index=0, function=function))
    with pytest.raises(ApiError, match="'get' with arguments"):
        reader.read(chunk("tool_calls"))


def test_durations_are_nanoseconds_and_the_cache_counts_as_prompt():
    reader, _ = read_all({**chunk("stop"), "timings": TIMINGS})
    assert reader.stats() == {
        "prompt_eval_count": 16,
        "prompt_eval_duration": 8_500_000,
        "eval_count": 3,
        "eval_duration": 1_000,
    }


def test_a_conversation_with_tools_is_sent_in_the_other_form():
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


def test_arguments_sent_as_text_are_refused_in_the_recorded_words(recording):
    recorded = recording("chat_tools_arguments_as_string")
    messages = recorded["request"]["body"]["messages"]
    (line,) = recorded["response"]["lines"]
    with pytest.raises(ApiError) as refusal:
        chat_messages(messages)
    assert refusal.value.text == json.loads(line["line"])["error"]


def test_the_oldest_message_goes_first_and_tools_go_with_their_call():
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
def test_a_model_that_can_think_does_so_unless_told_not_to(think, arguments):
    assert template_arguments(think, ("completion", "thinking"), "m") == arguments


@pytest.mark.parametrize("think", [None, False])
def test_a_model_that_cannot_think_is_told_nothing(think):
    assert template_arguments(think, ("completion",), "m") == {}


def test_an_unknown_level_of_thinking_is_refused():
    with pytest.raises(ApiError, match='invalid think value: "sometimes"'):
        template_arguments("sometimes", ("completion", "thinking"), "m")


@pytest.mark.parametrize("free", [None, ""])
def test_no_format_is_free_text(free):
    assert response_format(free) is None


def test_a_schema_is_passed_on_as_it_is():
    form = response_format({"type": "object"})
    assert form == {
        "type": "json_schema",
        "json_schema": {"schema": {"type": "object"}},
    }
    assert response_format("json") == {"type": "json_object"}


@pytest.mark.parametrize("value", ["yaml", [1], 3, True])
def test_any_other_format_is_refused(value):
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


def test_sampling_has_the_defaults_of_ollama_and_what_was_given():
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
def test_load_options_are_told_from_the_others(options, loaded):
    assert load_options(options, 8192) == loaded


def test_unknown_options_are_ignored_and_floats_are_cut_as_by_ollama():
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
def test_a_bad_keep_alive_is_refused(value):
    with pytest.raises(ApiError) as refusal:
        keep_alive_s(value, 300.0)
    assert refusal.value.status_code == 400


def test_a_bare_number_lacks_its_unit_in_the_words_of_go():
    with pytest.raises(ApiError, match='time: missing unit in duration "5"'):
        parse_duration("5")


@pytest.mark.parametrize("seconds", [FOREVER_S, 1e300])
def test_for_ever_is_a_date_too(seconds):
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
def test_names_are_read_as_by_ollama(text, shown):
    assert str(ModelName.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "a b c", "..", "../x", "a/../b", ":x", "a:", "/a", "a/", "a//b", "-x"),
        *("a\n", "x" * 81, "a:b:c/d", "b\\c", "a/b/c/d"),
    ],
)
def test_names_that_are_none(text):
    assert ModelName.parse(text) is None


def test_names_that_differ_in_case_are_one():
    assert ModelName.parse("A:B").key == ModelName.parse("a:b").key


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"  ", "missing request body"),
        (b'{"model": "smo', "unexpected EOF"),
        (b"[1]", "cannot unmarshal array into Go value of type api.ChatRequest"),
        (b'{"messages": [3]}', "cannot unmarshal number into Go struct field"),
        (b'{"model": "a", "stream": 1}', "ChatRequest.stream of type bool"),
        (b"[" * 100_000, "exceeded max depth"),
    ],
)
def test_bodies_that_cannot_be_read(body, words):
    with pytest.raises(ApiError, match=words) as refusal:
        read_request(body, "ChatRequest")
    assert refusal.value.status_code == 400


def test_null_is_as_if_not_given():
    assert read_request(b'{"model": "a", "stream": null}', "ChatRequest") == {
        "model": "a"
    }
