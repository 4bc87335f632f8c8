"""How sure a model was: ``--logprobs`` in a cell, and in Python."""

import json
from math import exp, log
from typing import Literal

import pytest
from fake_ollama import reply_line

import ollama_magic
from ollama_magic.client.types import GenerateRequest
from ollama_magic.errors import ConfigError
from ollama_magic.generation.session import current_session
from ollama_magic.history.cache import request_key


def sends(fake_ollama, *tokens):
    """Reply with these tokens, each with a probability, and one alternative."""

    def lines(body):
        for text, probability in tokens:
            one = {
                "token": text,
                "logprob": log(probability),
                "bytes": [*text.encode()],
            }
            top = [one, {"token": "Not", "logprob": log(0.1), "bytes": [78, 111, 116]}]
            count = body.get("top_logprobs", 0)
            found = [one | ({"top_logprobs": top[:count]} if count else {})]
            told = {"logprobs": found} if body.get("logprobs") else {}
            yield reply_line(body, content=text) | told
        yield reply_line(body, done=True, done_reason="stop")

    fake_ollama.chat(lines)


def test_a_cell_shades_its_tokens_and_a_replay_shows_the_same(kernel, fake_ollama):
    sends(fake_ollama, ("Rome", 0.36), (" is", 1.0), (" old", 0.64))
    code = "%%ollama r << --logprobs --cached\nSay"
    ran = kernel.run(code, "a")
    assert 'title="36 %&#10;10 % “Not”">Rome</span> is<span' in ran.html
    assert ran.text.startswith("Rome is old\n")
    assert "token probability 61 % on average, 1 of 3 tokens below 50 %" in ran.text
    body = fake_ollama.bodies("/api/chat")[-1]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)
    kernel.run("%config OllamaMagics.host = '127.0.0.1:9'")
    again = kernel.run(code, "a")
    shown = [json.dumps(one.outputs, sort_keys=True) for one in (ran, again)]
    assert shown[0] == shown[1]
    frame = "f = r.logprobs.to_frame()\nprint([*f.columns], [*f.token], len(f))"
    columns = ["token", "probability", "logprob", "alternatives"]
    pytest.importorskip("pandas")
    assert kernel.run(frame).streams == f"{columns} {['Rome', ' is', ' old']} 3\n"


def test_python_and_a_server_that_tells_nothing(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    sends(fake_ollama, ("A", 0.25), ("b", 1.0))
    reply = ollama_magic.ask("Hi", logprobs=0)
    assert reply.confidence == pytest.approx(0.5)
    assert [one.text for one in reply.logprobs] == ["A", "b"]
    assert reply.logprobs[0].top_logprobs == ()
    assert ollama_magic.chat("Hi", logprobs=False).confidence is None
    fake_ollama.reply("Hello")
    reply = ollama_magic.ask("Hi", logprobs=3)
    assert reply.confidence is None
    assert "no log probabilities from this server" in reply.footer
    asked = fake_ollama.bodies("/api/generate")
    assert [body.get("top_logprobs") for body in asked] == [None, 3]
    with pytest.raises(ConfigError) as caught:
        ollama_magic.ask("Hi", logprobs=21)
    assert "0 to 20" in caught.value.why


def test_rows_get_a_column_of_confidence(fake_ollama, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    sends(fake_ollama, ('"p', 0.25), ('os"', 1.0))
    rows = pandas.Series(["x", "y"], index=[7, 8])
    schema = Literal["pos", "neg"]
    for _ in range(2):  # the second call reads the cache
        got = ollama_magic.map_prompts("{}", rows, schema=schema, logprobs=True)
        assert [*got.columns] == ["reply", "confidence", "error"]
        assert [*got.reply] == ["pos", "pos"]
        assert got.confidence[8] == pytest.approx(exp(log(0.25) / 2))
    assert len(fake_ollama.bodies("/api/generate")) == 2
    fake_ollama.reply('{"confidence": 3}')
    with pytest.warns(UserWarning, match="no log probabilities from this server"):
        got = ollama_magic.map_prompts(
            "{}", ["z"], schema="confidence int", logprobs=True
        )
    assert got == [{"confidence": 3, "confidence_": None}]


def test_tokens_do_not_spell_a_secret_that_the_text_hides(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    monkeypatch.setenv("OLLAMA_API_KEY", "sk-Ab12Cd34Ef56Gh78")
    for tokens in (["sk-Ab12", "Cd34Ef", "56Gh78"], ["sk-Ab12Cd34Ef56Gh78"]):
        sends(fake_ollama, ("It is ", 0.5), *((token, 0.5) for token in tokens))
        reply = ollama_magic.ask("Say", logprobs=2, cached=True)
        assert "It is" in reply.text
        told = b"".join(one.utf8 for one in reply.logprobs)
        assert b"Cd34" not in told
        assert "Cd34" not in reply._repr_html_() + str(reply)
        key = request_key(GenerateRequest(**reply.request))
        kept = current_session().store.find_cached_reply(key)
        assert b"Cd34" not in b"".join(one.utf8 for one in kept.logprobs)
        assert "Cd34" not in kept.to_json()
