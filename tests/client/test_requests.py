import dataclasses

import pytest

from ollama_magic.client.types import ChatRequest, GenerateRequest

HI = {"role": "user", "content": "hi"}


def test_a_chat_body_holds_only_what_was_set():
    """Model and messages aside, the server's and the model's defaults stay."""
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
    """They mean something to the server; only None is "not set"."""
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
