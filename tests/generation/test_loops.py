"""What a loop of prompts costs: requests for each call, and memory for each turn."""

import json
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from fake_ollama import Answer, json_answer

import ollama_magic
from ollama_magic.client.client import OllamaClient
from ollama_magic.history.turns import Chat, Turn

SCRIPT = """\
import sys
from ollama_magic import ask
ask("Hi", model="llama3.2:3b")
print([name for name in sys.modules if name.partition(".")[0] == "IPython"])
"""
PULL = Answer([{"status": "pulling"}, {"status": "success"}])


@pytest.fixture(autouse=True)
def host(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    return fake_ollama


def paths(fake_ollama):
    """Return what was requested since the last call, late look-ups included."""
    for thread in threading.enumerate():
        if thread.name.startswith("ollama"):
            thread.join(10)
    found = sorted(request.path for request in fake_ollama.requests)
    fake_ollama.requests.clear()
    return found


def test_a_second_call_is_one_request(host):
    ollama_magic.ask("Hi", model="llama3.2:3b")
    assert paths(host) == ["/api/generate", "/api/ps", "/api/tags"]
    reply = ollama_magic.ask("Hi", model="llama3.2")
    assert reply.model == "llama3.2:3b"  # the only tag, as the kept list says
    assert reply.provenance["digest"]
    assert paths(host) == ["/api/generate"]


def test_the_first_call_waits_for_the_list_at_its_end_and_a_stream_for_none(host):
    released = threading.Event()
    listed = json_answer({"models": [{"name": "llama3.2:3b", "digest": "d" * 64}]})
    host.on("GET /api/tags", replace(listed, hold_headers=released))
    assert "".join(ollama_magic.stream("Hi", model="llama3.2:3b")) == "Hello!"
    assert paths(host) == ["/api/generate"]
    answer = host._reply
    host.chat(lambda body: released.set() or answer(body))
    reply = ollama_magic.ask("Hi", model="llama3.2:3b")
    assert reply.provenance["digest"] == "d" * 64


def test_a_model_that_is_new_is_found(host):
    ollama_magic.ask("Hi", model="llama3.2:3b")
    host.models(["llama3.2:3b", "new:1b"])
    paths(host)
    assert ollama_magic.ask("Hi", model="new").model == "new:1b"
    assert paths(host) == ["/api/generate", "/api/ps", "/api/tags"]


@pytest.mark.parametrize(
    "change",
    [
        lambda client: client.copy("llama3.2:3b", "other:1b"),
        lambda client: client.delete("llama3.2:3b"),
        lambda client: [*client.pull("llama3.2:3b")],
        lambda client: [*client.create("other:1b", from_model="llama3.2:3b")],
    ],
    ids=["copy", "delete", "pull", "create"],
)
def test_a_change_of_the_models_from_here_is_known_at_once(host, change):
    """Such as the new digest of a model that was pulled again."""
    client = OllamaClient(api_key="of-another-client")
    ollama_magic.ask("Hi", model="llama3.2:3b")
    again = {"name": "llama3.2:3b", "digest": "d" * 64}
    host.models([again])
    for path in ("POST /api/pull", "POST /api/create"):
        host.on(path, PULL)
    host.on("DELETE /api/delete", json_answer({}))
    change(client)
    reply = ollama_magic.ask("Hi", model="llama3.2:3b")
    assert reply.provenance["digest"] == again["digest"]


def test_a_list_that_was_asked_for_during_a_pull_is_not_kept(host):
    host.on("POST /api/pull", PULL)
    client = OllamaClient()
    pulling = client.pull("new:1b")
    next(pulling)
    client.list()
    assert client.recent_models()
    next(pulling)
    assert not client.recent_models()


def test_a_long_prompt_is_checked_against_the_context(host):
    """The kept list does not say how much the server remembers."""
    ollama_magic.ask("Hi", model="llama3.2:3b")
    loaded = {"name": "llama3.2:3b", "context_length": 512}
    host.on("GET /api/ps", json_answer({"models": [loaded]}))
    host.reply("Hm.", stats={"prompt_eval_count": 256, "eval_count": 2})
    paths(host)
    reply = ollama_magic.ask("word " * 2000, model="llama3.2:3b")
    assert "dropped part of the prompt" in reply.notice
    assert paths(host) == ["/api/generate", "/api/ps"]


def test_a_script_does_not_import_ipython():
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_requests_share_the_messages_of_earlier_turns():
    chat = Chat("main", tuple(Turn(f"p{n}", f"r{n}", model="m") for n in range(3)))
    first, second = chat.messages("now"), chat.messages("later")
    assert [id(message) for message in first[:-1]] == [id(m) for m in second[:-1]]


def test_a_reply_that_is_changed_changes_no_later_request(host):
    ollama_magic.chat("Hi")
    reply = ollama_magic.chat("And?")
    before = json.dumps(reply.request)
    reply.messages[0]["content"] = reply.request["messages"][0]["content"] = "forged"
    assert json.dumps(reply.request) == before
    ollama_magic.chat("So?")
    assert "forged" not in json.dumps(host.bodies("/api/chat"))
