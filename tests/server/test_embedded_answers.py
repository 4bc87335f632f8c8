"""Real inference over real HTTP: content, order, endings and queueing."""

import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = pytest.mark.embedded

MODEL = "smollm2:135m"
GREEDY = {"temperature": 0, "seed": 42}
STORY = "Write a very long story about a dragon, with many chapters."
DEADLINE_S = 60


def text_of(answer):
    return "".join(line["message"]["content"] for line in answer.lines)


def wait_until(is_true):
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_the_capital_of_france_is_paris(engine):
    """With the system message of the manifest, the tiny model answers correctly."""
    answer = engine.chat("What is the capital of France?", options=GREEDY)
    last = answer.lines[-1]
    assert "Paris" in text_of(answer)
    assert last["done_reason"] == "stop"
    assert last["eval_count"] >= len(answer.lines) - 1
    assert last["total_duration"] >= last["eval_duration"] > 1_000_000


def test_streamed_and_complete_replies_are_equal(engine):
    asked = {"content": "What is the capital of France?", "options": GREEDY}
    whole = engine.chat(**asked, stream=False).json
    assert text_of(engine.chat(**asked)) == whole["message"]["content"]


def test_the_same_seed_gives_the_same_words(engine):
    options = {"temperature": 1.0, "seed": 7, "num_predict": 12}
    first = engine.chat("Tell me a word.", options=options)
    assert text_of(first) == text_of(engine.chat("Tell me a word.", options=options))


def test_the_prompt_count_includes_cached_tokens(engine):
    counts = {
        engine.chat("Hello", options=GREEDY, stream=False).json["prompt_eval_count"]
        for _ in range(2)
    }
    assert len(counts) == 1


def test_stop_text_is_not_part_of_the_reply(engine):
    options = {**GREEDY, "stop": ["France"]}
    answer = engine.chat("What is the capital of France?", options=options)
    assert text_of(answer).startswith("The capital of")
    assert "France" not in text_of(answer)
    assert answer.lines[-1]["done_reason"] == "stop"


def test_a_reply_with_a_schema_parses(engine):
    properties = {"name": {"type": "string", "maxLength": 20}}
    properties["colour"] = {"enum": ["red", "green"]}
    schema = {"type": "object", "properties": properties}
    schema["required"] = ["name", "colour"]
    answer = engine.chat("Describe a ball as JSON.", format=schema, options=GREEDY)
    assert answer.lines[-1]["done_reason"] == "stop"
    value = json.loads(text_of(answer))
    assert isinstance(value["name"], str)
    assert value["colour"] in {"red", "green"}


def test_an_invalid_schema_is_rejected_before_anything_is_generated(engine):
    answer = engine.chat("hi", format={"$ref": "#/definitions/nowhere"})
    assert answer.status == 400
    assert "schema" in json.loads(answer.json["error"])["error"]["message"]


def test_a_long_chat_loses_its_oldest_messages(engine):
    """As Ollama does by default; the last message always stays."""
    old = {"role": "user", "content": "word " * 300}
    messages = [old, {"role": "assistant", "content": "ok"}, old]
    messages.append({"role": "user", "content": "What is the capital of France?"})
    asked = {"model": MODEL, "messages": messages, "stream": False}
    options = {**GREEDY, "num_ctx": 512, "num_predict": 8}
    answer = engine.post("/api/chat", **asked, options=options)
    assert answer.status == 200
    assert 0 < answer.json["prompt_eval_count"] < 512
    refused = engine.post("/api/chat", **asked, options=options, truncate=False)
    assert refused.status == 400
    error = json.loads(refused.json["error"])["error"]
    assert error["type"] == "exceed_context_size_error"
    assert error["n_ctx"] == 512


def test_a_message_that_is_too_long_is_rejected_not_truncated(engine):
    answer = engine.chat("word " * 600, options={"num_ctx": 256})
    assert answer.status == 400
    assert "exceeds the available context size" in answer.json["error"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "x"}], "shift": True}),
        ("/api/generate", {"prompt": "x", "template": "{{ .Prompt }}"}),
        ("/api/generate", {"prompt": "x", "context": [1, 2]}),
        ("/api/generate", {"prompt": "x", "raw": True, "format": "json"}),
        ("/api/generate", {"prompt": "x", "options": {"num_keep": 4}}),
    ],
)
def test_fields_without_effect_are_rejected(engine, path, field):
    answer = engine.post(path, model=MODEL, **field)
    assert answer.status == 400
    assert "the embedded engine does not support" in answer.json["error"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (
            "/api/chat",
            {"messages": [{"role": "user", "content": "Say \N{GRINNING FACE}"}]},
        ),
        ("/api/generate", {"prompt": "one two", "raw": True}),
    ],
)
def test_tokens_have_probabilities_and_alternatives(engine, path, asked, stream):
    asked = {"model": MODEL, "options": {"num_predict": 6}, "stream": stream} | asked
    lines = engine.post(path, **asked, logprobs=True, top_logprobs=2).lines
    tokens = [token for line in lines for token in line.get("logprobs", ())]
    assert len(tokens) >= 2
    texts = [
        line.get("response", line.get("message", {}).get("content")) for line in lines
    ]
    data = b"".join(bytes(token["bytes"]) for token in tokens)
    assert data.startswith("".join(texts).encode())
    for token in tokens:
        assert token.keys() == {"token", "logprob", "bytes", "top_logprobs"}
        assert token["logprob"] <= 0
        first, second = token["top_logprobs"]
        assert first["logprob"] >= second["logprob"]
    alone = engine.post(path, **asked, logprobs=True).lines
    assert all("top_logprobs" not in t for x in alone for t in x.get("logprobs", ()))
    assert any(line.get("logprobs") for line in alone)
    refused = engine.post(path, **asked, logprobs=True, top_logprobs=21)
    assert refused.json == {"error": "top_logprobs must be between 0 and 20"}


def test_another_num_ctx_reloads_the_model(engine):
    engine.chat("hi", options={"num_predict": 1})
    options = {"num_predict": 1, "num_ctx": 700}
    answer = engine.chat("hi", options=options, stream=False).json
    (model,) = engine.ask("GET", "/api/ps").json["models"]
    assert model["context_length"] == 700
    again = engine.chat("hi", options=options, stream=False).json
    assert again["load_duration"] < answer["load_duration"]


def test_num_ctx_is_limited_to_the_trained_context(engine):
    engine.post("/api/generate", model=MODEL, options={"num_ctx": 10**6})
    (model,) = engine.ask("GET", "/api/ps").json["models"]
    assert model["context_length"] == 8192


def test_keep_alive_zero_unloads_after_the_reply(engine):
    engine.chat("hi", options={"num_predict": 1}, keep_alive=0)
    assert engine.loaded() == []


def test_a_short_keep_alive_expires(engine):
    engine.chat("hi", options={"num_predict": 1}, keep_alive="100ms")
    wait_until(lambda: engine.loaded() == [])


def test_a_negative_keep_alive_lasts_centuries(engine):
    engine.post("/api/generate", model=MODEL, keep_alive=-1)
    (model,) = engine.ask("GET", "/api/ps").json["models"]
    assert model["expires_at"] > "2300"


def test_unload_lets_a_running_reply_finish(engine):
    connection, response = begin_story(engine, num_predict=60)
    unloaded = engine.post("/api/generate", model=MODEL, keep_alive=0)
    assert unloaded.json["done_reason"] == "unload"
    last = json.loads(response.read().splitlines()[-1])
    connection.close()
    assert last["done"]
    wait_until(lambda: engine.loaded() == [])


def begin_story(engine, num_predict):
    """Start a long reply, and return after its first line."""
    connection, response = engine.open(
        "POST",
        "/api/generate",
        {"model": MODEL, "prompt": STORY, "options": {"num_predict": num_predict}},
    )
    assert not json.loads(response.readline())["done"]
    return connection, response


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_a_disconnected_client_frees_the_model(engine):
    """The story would take a minute; the next reply starts at once."""
    connection, response = begin_story(engine, num_predict=4000)
    response.close()
    connection.close()
    started = time.monotonic()
    engine.chat("hi", options={"num_predict": 1})
    assert time.monotonic() - started < 30


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_disconnected_client_frees_the_processor(engine):
    connection, response = begin_story(engine, num_predict=4000)
    response.close()
    connection.close()

    def is_idle():
        before = cpu_seconds(engine.process.pid)
        time.sleep(0.5)  # the period of measurement, not a wait
        return cpu_seconds(engine.process.pid) - before < 0.05

    started = time.monotonic()
    wait_until(is_idle)
    assert time.monotonic() - started < 30


def test_a_disconnected_client_of_a_complete_reply_frees_the_model(engine):
    engine.post("/api/generate", model=MODEL)
    body = {"model": MODEL, "prompt": STORY, "stream": False}
    body["options"] = {"num_predict": 4000}
    netloc = engine.base_url.removeprefix("http://")
    host, _, port = netloc.partition(":")
    data = json.dumps(body).encode()
    head = (
        f"POST /api/generate HTTP/1.1\r\nHost: {netloc}\r\n"
        f"Authorization: Bearer {engine.token}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + data)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(engine.chat, "hi", options={"num_predict": 1})
            connection.close()
            started = time.monotonic()
            assert waiting.result(DEADLINE_S).status == 200
    assert time.monotonic() - started < 30


def test_requests_on_one_model_run_one_after_the_other(engine):
    def story(_):
        options = {"num_predict": 25}
        body = {"model": MODEL, "prompt": STORY, "options": options}
        return [
            line["created_at"] for line in engine.post("/api/generate", **body).lines
        ]

    with ThreadPoolExecutor(3) as pool:
        spans = sorted((times[0], times[-1]) for times in pool.map(story, range(3)))
    for (_, end), (start, _) in pairwise(spans):
        assert end <= start


def test_the_waiting_request_of_a_disconnected_client_is_dropped(engine):
    """Its request must not run later."""
    connection, response = begin_story(engine, num_predict=40)
    waiting, _ = ask_without_reading(engine, num_predict=4000)
    waiting.close()
    response.read()
    connection.close()
    started = time.monotonic()
    engine.chat("hi", options={"num_predict": 1})
    assert time.monotonic() - started < 30


def kill_runner(engine):
    task = Path(f"/proc/{engine.process.pid}/task/{engine.process.pid}/children")
    # Each thread lists the children that it started.
    tasks = task.parents[1].glob("*/children")
    (runner,) = [pid for path in tasks for pid in path.read_text().split()]
    os.kill(int(runner), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_crash_of_the_model_is_only_an_error(engine):
    """The text is that of chat_runner_killed_midstream; the next request reloads."""
    connection, response = begin_story(engine, num_predict=4000)
    kill_runner(engine)
    *_, last = map(json.loads, response.read().splitlines())
    connection.close()
    wanted = "an error was encountered while running the model: unexpected EOF"
    assert last == {"error": wanted}
    assert engine.names() == [MODEL]
    assert engine.chat("hi", options={"num_predict": 1}).status == 200


def ask_without_reading(engine, num_predict):
    connection = http.client.HTTPConnection(engine.base_url.removeprefix("http://"))
    options = {"num_predict": num_predict}
    body = json.dumps({"model": MODEL, "prompt": STORY, "options": options})
    headers = {"Authorization": f"Bearer {engine.token}"}
    connection.request("POST", "/api/generate", body, headers)
    return connection, body


def test_a_load_does_not_delay_lists(engine):
    engine.post("/api/generate", model=MODEL, keep_alive=0)
    has_loaded = threading.Event()

    def load():
        engine.post("/api/generate", model=MODEL, options={"num_ctx": 8192})
        has_loaded.set()

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        answers = 0
        while not has_loaded.is_set():
            assert engine.ask("GET", "/api/tags").status == 200
            answers += 1
        loading.result()
    assert answers >= 5


def test_a_reply_that_was_cut_off_is_continued(engine):
    """The counts of the second part include the first: ``continue`` relies on it."""
    asked = {"role": "user", "content": "What is the capital of France?"}
    once = engine.post("/api/chat", **options(4, [asked])).json
    assert once["done_reason"] == "length"
    more = engine.post("/api/chat", **options(40, [asked, once["message"]])).json
    whole = engine.post("/api/chat", **options(48, [asked])).json
    text = once["message"]["content"] + more["message"]["content"]
    assert text == whole["message"]["content"]
    tokens = once["prompt_eval_count"] + once["eval_count"]
    assert more["prompt_eval_count"] == tokens
    assert 0 < more["prompt_eval_cached_count"] < tokens


def options(num_predict, messages):
    limited = GREEDY | {"num_predict": num_predict}
    return {"model": MODEL, "messages": messages, "stream": False, "options": limited}
