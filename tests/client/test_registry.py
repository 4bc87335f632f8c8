"""Which models have a newer version: what the registry is asked, and what is said."""

import hashlib
import json
import threading
from datetime import UTC, datetime

import pytest
from fake_ollama import Answer, FakeOllama, error

from ollama_magic.client import registry as module
from ollama_magic.client.actions import check_updates
from ollama_magic.client.client import OllamaClient

LAYER = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:1"}
MANIFEST = {
    "layers": [{**LAYER, "size": 2_000_000_000}],
    "config": {"size": 485, "mediaType": "config", "digest": "sha256:2"},
    "schemaVersion": 2,
    "mediaType": "manifest",
}
BYTES = json.dumps(MANIFEST, indent=1).encode()
REWRITTEN = (
    b'{"schemaVersion":2,"mediaType":"manifest","config":{"mediaType":"config",'
    b'"digest":"sha256:2","size":485},"layers":[{"mediaType":'
    b'"application/vnd.ollama.image.model","digest":"sha256:1","size":2000000000}]}'
)
"""The same as Go writes it: fields in the order of its struct, no spaces."""
PULLED = "2026-11-20T10:00:00.123456789+02:00"
BEFORE = str(int(datetime(2026, 11, 20, 7, tzinfo=UTC).timestamp()))
AFTER = str(int(datetime(2026, 11, 20, 9, tzinfo=UTC).timestamp()))


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def registry():
    with FakeOllama() as fake:
        yield fake


@pytest.fixture
def client(fake_ollama):
    return OllamaClient(fake_ollama.url)


def installed(fake_ollama, *models):
    entries = [{"name": m} if isinstance(m, str) else m for m in models]
    fake_ollama.models([{"modified_at": PULLED, **entry} for entry in entries])


def manifest(registry, name, data=BYTES, **headers):
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    answer = Answer([data], content_type="text/plain", headers=named)
    registry.on(f"GET /v2/{name.replace(':', '/manifests/')}", answer)


def checked(client, registry, wanted=""):
    updates = check_updates(client, wanted, registry=registry.url)
    return {one.name: (one.state, one.why) for one in updates}


def test_a_model_is_outdated_if_the_registry_has_another_manifest(
    client, fake_ollama, registry
):
    same = {"name": "same:1b", "digest": digest(BYTES)}
    old_pull = {"name": "me/old", "digest": f"sha256:{digest(REWRITTEN)}"}
    installed(fake_ollama, "new:1b", same, old_pull)
    manifest(registry, "library/new:1b", Ollama_Push_Time=AFTER)
    manifest(registry, "library/same:1b")
    manifest(registry, "me/old:latest")
    updates = check_updates(client, registry=registry.url)
    assert [one.state for one in updates] == ["outdated", "current", "current"]
    assert updates[0].size_bytes == 2_000_000_485
    assert updates[0].pushed_at == "2026-11-20T09:00:00+00:00"


def test_models_that_a_pull_cannot_update_are_not_outdated(
    client, fake_ollama, registry
):
    """Nothing is asked about cloud models, and no other host is asked at all."""
    cloud = {"name": "big:cloud", "remote_host": "https://ollama.com:443"}
    names = ["mine", "edited:1b", "hf.co/a/b:Q4", "127.0.0.1:9/a/b:c"]
    installed(fake_ollama, cloud, *names)
    manifest(registry, "library/edited:1b", Ollama_Push_Time=BEFORE)
    assert checked(client, registry) == {
        "big:cloud": ("cloud", ""),
        "mine": ("local", "not in the registry"),
        "edited:1b": ("local", "made or changed here"),
        "hf.co/a/b:Q4": ("elsewhere", "from hf.co"),
        "127.0.0.1:9/a/b:c": ("elsewhere", "from 127.0.0.1:9"),
    }
    paths = {request.path for request in registry.requests}
    assert paths == {f"/v2/library/{p}/manifests/{t}" for p, t in [
        ("mine", "latest"), ("edited", "1b"),
    ]}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["a/../../b:c", "x:..", "x:a?b", "a b", "x/y/z/../w", ".hidden", "x:a%2fb"]
)
def test_a_name_that_the_registry_cannot_have_is_not_sent(
    client, fake_ollama, registry, name
):
    installed(fake_ollama, name)
    ((state, _),) = checked(client, registry).values()
    assert state in {"unknown", "elsewhere"}
    assert not registry.requests


def test_nothing_but_the_name_is_sent(fake_ollama, registry, monkeypatch):
    monkeypatch.setenv("OLLAMA_API_KEY", "s3cr3t-t0ken")
    headers = {"X-Access": "s3cr3t-header"}
    client = OllamaClient(fake_ollama.url, headers=headers)
    installed(fake_ollama, "new:1b", "other:1b")
    manifest(registry, "library/new:1b")
    assert checked(client, registry, "new") == {"new:1b": ("outdated", "")}
    (request,) = registry.requests
    assert request.method == "GET"
    assert not request.body
    sent = json.dumps(request.headers)
    assert "s3cr3t" not in sent
    assert not {"authorization", "cookie", "x-access"} & set(request.headers)
    assert "s3cr3t" in json.dumps(fake_ollama.requests[-1].headers)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            Answer([], status=302, headers={"Location": "http://127.0.0.1:9/"}),
            "the registry redirects to another address",
        ),
        (error(503, "busy"), "the registry answered 503"),
        (Answer(["<html>Log in</html>"]), "the registry did not answer with"),
        (Answer(['{"layers":[{"size":1}],"config":{}}']), "the registry did not"),
        (Answer(["[" * 200_000]), "the registry did not answer with a manifest"),
        (Answer([b"x" * 1000] * 5000), "more than 4 MiB"),
        (Answer(["{"], cut_after=3), "the connection"),
    ],
    ids=["redirect", "busy", "page", "no layers", "deep", "huge", "cut"],
)
def test_an_unexpected_answer_is_said_and_never_an_update(
    client, fake_ollama, registry, answer, why
):
    installed(fake_ollama, "m:1b")
    registry.on("GET /v2/library/m/manifests/1b", answer)
    ((state, said),) = checked(client, registry).values()
    assert state == "unknown"
    assert why in said


def test_a_silent_registry_and_one_that_is_gone_cost_little_time(
    client, fake_ollama, registry, monkeypatch
):
    monkeypatch.setattr(module, "_PATIENCE_S", 0.2)
    hold = threading.Event()
    names = [f"m{number}:1b" for number in range(30)]
    installed(fake_ollama, *names)
    for number in range(30):
        path = f"GET /v2/library/m{number}/manifests/1b"
        registry.on(path, Answer([], hold_headers=hold))
    monkeypatch.setattr(module, "_TOTAL_S", 0.1)
    states = checked(client, registry)
    hold.set()
    assert {state for state, _ in states.values()} == {"unknown"}
    assert len(states) == 30
    assert len(registry.requests) == module._AT_ONCE
    gone = "http://127.0.0.1:9"
    updates = check_updates(client, registry=gone)
    assert {one.state for one in updates} == {"unknown"}
    assert sum(one.is_asked for one in updates) == module._AT_ONCE


def test_models_of_the_embedded_engine_are_not_sent(client, fake_ollama, registry):
    fake_ollama.on("GET /api/version", Answer(['{"version":"0.1.0-embedded"}']))
    assert checked(client, registry) == {
        "llama3.2:3b": ("local", "from the embedded engine")
    }
    assert not registry.requests


def test_a_list_of_many_models_does_not_flood_the_registry(
    client, fake_ollama, registry, monkeypatch
):
    monkeypatch.setattr("ollama_magic.client.registry.MOST_ASKED", 7)
    installed(fake_ollama, *(f"m{number}:1" for number in range(2000)))
    found = checked(client, registry)
    assert len(registry.requests) == 7
    assert found["m6:1"] == ("local", "not in the registry")
    assert found["m7:1"][0] == "unknown"
    assert "only 7 models are checked at once" in found["m7:1"][1]


@pytest.mark.parametrize(
    "date", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_a_date_at_the_end_of_time_is_no_date(client, fake_ollama, registry, date):
    installed(fake_ollama, {"name": "a:latest", "modified_at": date})
    manifest(registry, "library/a:latest", Ollama_Push_Time=BEFORE)
    assert checked(client, registry)["a:latest"][0] == "outdated"
