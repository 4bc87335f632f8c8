"""Several servers: how rows are distributed, and what happens when one fails."""

import threading

import pytest
from fake_ollama import Answer, FakeOllama, Wait, reply_line

from ollama_magic import map_prompts
from ollama_magic.errors import (
    ConfigError,
    ServerUnreachableError,
    StreamInterruptedError,
)

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def servers():
    with FakeOllama() as one, FakeOllama() as other:
        one.chat(lambda body: says(body, "one"))
        other.chat(lambda body: says(body, "other"))
        yield one, other


def says(body, text):
    return [
        reply_line(body, content=text),
        reply_line(body, done=True, done_reason="stop"),
    ]


def asked(fake):
    return [body["prompt"] for body in fake.bodies("/api/generate")]


def test_a_fast_server_answers_more_rows(servers, elsewhere):
    one, other = servers
    gate = threading.Event()
    one.chat(lambda body: [Wait(gate), *says(body, "one")])
    hosts = [one.url, other.url]
    call = elsewhere(map_prompts, "{}", range(12), hosts=hosts, concurrency=2)
    other.wait_for("/api/generate", count=10)
    gate.set()
    assert call.result().count("other") == 10
    assert len(asked(one)) == 2


def test_concurrency_applies_to_each_server(servers, elsewhere):
    gate = threading.Event()
    for server in servers:
        server.chat(lambda body: [Wait(gate), *says(body, "ok")])
    hosts = [server.url for server in servers]
    call = elsewhere(map_prompts, "{}", range(6), hosts=hosts, concurrency=3)
    for server in servers:
        server.wait_for("/api/generate", count=3)
    gate.set()
    assert call.result() == ["ok"] * 6


def test_a_server_named_twice_counts_once(servers, elsewhere):
    one, _ = servers
    assert map_prompts("{}", ["a"], hosts=[one.url, f"{one.url}/"]) == ["one"]
    assert len([r for r in one.requests if r.path == "/api/tags"]) == 1


def test_hosts_can_be_a_string(servers):
    assert map_prompts("{}", ["a"], hosts=servers[1].url) == ["other"]


def test_unusable_servers_are_skipped_with_a_warning(servers):
    one, other = servers
    one.models(["another:1b"])
    hosts = [one.url, NOBODY, other.url]
    with pytest.warns(UserWarning, match="Server skipped") as notes:
        found = map_prompts("{}", range(4), model="llama3.2:3b", hosts=hosts)
    assert found == ["other"] * 4
    assert [str(note.message) for note in notes] == [
        f"Server skipped: {one.url}: server (404): model 'llama3.2:3b' not found",
        f"Server skipped: {NOBODY}: connection refused",
    ]
    assert asked(one) == []
    assert notes[0].filename == __file__


def test_nothing_is_sent_if_no_server_is_usable(servers):
    one, _ = servers
    with pytest.raises(ConfigError, match="None of the 2 hosts can run") as caught:
        map_prompts("{}", ["a"], model="nosuch:1b", hosts=[one.url, NOBODY])
    assert f"{NOBODY}: connection refused" in caught.value.why
    assert asked(one) == []


def test_rows_of_a_dropped_server_go_to_another_one(elsewhere):
    never, held = threading.Event(), threading.Event()
    with FakeOllama() as stays:
        stays.chat(lambda body: [Wait(held), *says(body, "stays")])
        with FakeOllama() as goes:
            goes.chat(lambda body: [reply_line(body, content="half"), Wait(never)])
            hosts = [goes.url, stays.url]
            call = elsewhere(_with_warnings, "{}", range(6), hosts=hosts, concurrency=2)
            goes.wait_for("/api/generate", count=2)
            stays.wait_for("/api/generate", count=2)
        held.set()
        found, notes = call.result()
        assert found == ["stays"] * 6
        assert len(asked(stays)) == 6
        assert len(notes) == 1
        assert notes[0].startswith(f"Server skipped: {goes.url}: ")


def test_rows_get_the_error_of_the_last_server_that_is_dropped(elsewhere):
    never = threading.Event()
    with FakeOllama() as goes:

        def answer(body):
            if body["prompt"] == "0":
                return says(body, "done")
            return [Wait(never)]

        goes.chat(answer)
        call = elsewhere(
            _with_warnings, "{}", range(6), hosts=goes.url, concurrency=1, patience=0
        )
        goes.wait_for("/api/generate", count=2)
    found, _ = call.result()
    assert found[0] == "done"
    lost = (ServerUnreachableError, StreamInterruptedError)
    assert all(isinstance(error, lost) for error in found[1:])


def _with_warnings(*args, **options):
    with pytest.warns(UserWarning, match="Server skipped") as notes:
        found = map_prompts(*args, **options)
    return found, [str(note.message) for note in notes]


def test_a_row_whose_connection_breaks_is_sent_again(servers):
    one, _ = servers
    cut = Answer([reply_line({"model": "m"}, content="half")])
    whole = Answer(says({"model": "m"}, "whole"))
    one.on("POST /api/generate", cut, whole)
    assert map_prompts("{}", ["a"], hosts=one.url) == ["whole"]
    assert asked(one) == ["a", "a"]


def test_a_row_whose_connection_always_breaks_gets_the_error(servers):
    one, _ = servers
    cut = Answer([reply_line({"model": "m"}, content="half")])
    one.chat(lambda body: cut if body["prompt"] == "a" else says(body, "next"))
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        first, second = map_prompts("{}", ["a", "b"], hosts=one.url, concurrency=1)
    assert isinstance(first, StreamInterruptedError)
    assert second == "next"
    assert asked(one) == ["a", "b", "a", "a"]


def test_hosts_with_different_models_of_one_name_cause_a_warning(servers):
    one, other = servers
    one.models([{"name": "m:latest", "digest": "a" * 64}])
    other.models([{"name": "m:latest", "digest": "b" * 64}])
    with pytest.warns(UserWarning, match="different models") as notes:
        map_prompts("{}", range(4), model="m", hosts=[one.url, other.url])
    assert [str(note.message) for note in notes] == [
        f"The hosts have different models named 'm': {one.url} has {'a' * 12}, "
        f"{other.url} has {'b' * 12}"
    ]


def test_the_key_is_sent_to_the_configured_server_only(servers, monkeypatch):
    one, other = servers
    monkeypatch.setenv("OLLAMA_HOST", one.url)
    monkeypatch.setenv("OLLAMA_API_KEY", "secret")
    map_prompts("{}", range(8), hosts=[one.url, other.url])
    assert {r.headers.get("authorization") for r in one.requests} == {"Bearer secret"}
    assert {r.headers.get("authorization") for r in other.requests} == {None}


def test_a_cached_reply_is_reused_for_any_server_with_the_same_model(servers):
    one, other = servers
    map_prompts("{}", ["a"], hosts=one.url)
    assert map_prompts("{}", ["a"], hosts=other.url) == ["one"]
    other.models([{"name": "llama3.2:3b", "digest": "f" * 64}])
    assert map_prompts("{}", ["a"], hosts=other.url) == ["other"]
