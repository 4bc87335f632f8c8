import dataclasses
import json

import pytest

from ollama_magic.client.models import LoadedModel, ModelDetails, ModelSummary
from ollama_magic.client.types import (
    ChatRequest,
    Embeddings,
    GenerateRequest,
    Progress,
    ReplyChunk,
    Stats,
    ToolCall,
)


def test_a_chat_line_and_a_generate_line_are_the_same_chunk():
    chat = {"model": "m", "message": {"content": "a", "thinking": "b"}, "done": False}
    generate = {"model": "m", "response": "a", "thinking": "b", "done": False}
    chunk = ReplyChunk(content="a", thinking="b", model="m")
    assert ReplyChunk.from_json(chat) == ReplyChunk.from_json(generate) == chunk


@pytest.mark.parametrize("value", [{"city": "Bonn"}, ["a"], 3, True])
def test_content_that_is_not_text_is_kept_as_json(value):
    """Some models with a format respond with JSON instead of text."""
    chunk = ReplyChunk.from_json({"response": value, "done": True})
    assert json.loads(chunk.content) == value


def test_done_is_true_only_if_the_server_says_so():
    assert not ReplyChunk.from_json({"done": "true"}).done
    assert not ReplyChunk.from_json({"done": 1}).done


def test_stats_belong_to_the_last_chunk_and_have_units():
    line = {"response": "", "eval_count": 8, "eval_duration": 400_000_000}
    assert ReplyChunk.from_json(line).stats == Stats()
    stats = ReplyChunk.from_json(line | {"done": True}).stats
    assert (stats.eval_count, stats.eval_duration_ns) == (8, 400_000_000)
    assert stats.tokens_per_second == pytest.approx(20)
    assert Stats().tokens_per_second == 0


def test_a_tool_call_has_its_arguments_by_name():
    call = {"id": "c1", "function": {"name": "f", "arguments": {"x": 1}}}
    line = {"message": {"content": "", "tool_calls": [call]}}
    assert ReplyChunk.from_json(line).tool_calls == (ToolCall("f", {"x": 1}, "c1"),)


LARGE = ["1" + "0" * 400, "-1" + "0" * 400, str(2**63), "1e300"]


@pytest.mark.parametrize(
    "number", [*LARGE, "1e999", "-1e999", "NaN", '"12"', "true", "null", "[]"]
)
def test_invalid_numbers_count_as_zero(number):
    line = json.loads(f'{{"status": "x", "total": {number}, "completed": {number}}}')
    assert Progress.from_json(line) == Progress("x")


def test_numbers_of_64_bits_are_kept():
    assert Progress.from_json({"total": 2**63 - 1}).total_bytes == 2**63 - 1


@pytest.mark.parametrize(
    "kind",
    [
        ReplyChunk,
        ModelSummary,
        LoadedModel,
        ModelDetails,
        Progress,
        Embeddings,
        Stats,
        ToolCall,
    ],
)
@pytest.mark.parametrize("junk", [None, "x", 1, [], [None], {}, {"a": 1}])
def test_fields_of_a_wrong_type_never_raise(kind, junk):
    """A server may be of any version, or not be Ollama at all."""
    fields = [
        "model",
        "name",
        "digest",
        "size",
        "details",
        "models",
        "message",
        "response",
        "thinking",
        "tool_calls",
        "done",
        "capabilities",
        "function",
        "arguments",
        "model_info",
        "embeddings",
        "status",
        "total",
        "completed",
        "license",
        "parameters",
        "eval_count",
    ]
    assert isinstance(kind.from_json(dict.fromkeys(fields, junk)), kind)


def test_embeddings_are_rows_of_numbers():
    vectors = Embeddings.from_json({"embeddings": [[1, 0.5], [0, 1]]}).vectors
    assert vectors == ((1, 0.5), (0, 1))


# -- requests --

HI = {"role": "user", "content": "hi"}


def test_a_chat_body_holds_only_what_was_set():
    """Everything else keeps the defaults of the server and the model."""
    assert ChatRequest("m", [HI]).body() == {
        "model": "m",
        "messages": [HI],
        "stream": True,
    }


def test_a_generate_body_holds_only_what_was_set():
    assert GenerateRequest("m", "hi").body() == {
        "model": "m",
        "prompt": "hi",
        "stream": True,
    }


def test_a_full_chat_body_has_the_names_of_the_api():
    schema = {"type": "object"}
    tool = {"type": "function"}
    request = ChatRequest(
        "m",
        (HI,),
        options={"seed": 1},
        format=schema,
        think="high",
        keep_alive="10m",
        tools=(tool,),
        stream=False,
    )
    assert request.body() == {
        "model": "m",
        "messages": [HI],
        "stream": False,
        "options": {"seed": 1},
        "format": schema,
        "think": "high",
        "keep_alive": "10m",
        "tools": [tool],
    }


def test_a_full_generate_body_has_the_names_of_the_api():
    request = GenerateRequest(
        "m",
        "hi",
        system="s",
        options={"seed": 1},
        format="json",
        think=True,
        keep_alive=5,
        images=("aGk=",),
        suffix="z",
        raw=True,
    )
    assert request.body() == {
        "model": "m",
        "prompt": "hi",
        "system": "s",
        "suffix": "z",
        "raw": True,
        "stream": True,
        "options": {"seed": 1},
        "format": "json",
        "think": True,
        "keep_alive": 5,
        "images": ["aGk="],
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("think", False), ("keep_alive", 0), ("system", ""), ("suffix", "")],
)
def test_false_zero_and_empty_text_are_set(name, value):
    """They have a meaning for the server; only None is "not set"."""
    assert GenerateRequest("m", "hi", **{name: value}).body()[name] == value


def test_paths_belong_to_the_requests():
    assert (ChatRequest.path, GenerateRequest.path) == ("/api/chat", "/api/generate")


def test_requests_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ChatRequest("m", [HI]).model = "other"


def test_a_body_is_a_copy():
    options = {"seed": 1}
    ChatRequest("m", [HI], options=options).body()["options"]["seed"] = 2
    assert options == {"seed": 1}
