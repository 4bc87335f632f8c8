"""Actions on models: what they send, check first and leave behind."""

import hashlib
import os
import threading

import pytest
from fake_ollama import Answer, Wait, error

from ollama_magic.client import actions as model_actions
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.creation import Creation, ModelSpec
from ollama_magic.errors import ConfigError, ModelNotFoundError, OllamaMagicError

SUCCESS = Answer([{"status": "success"}])


@pytest.fixture
def client(fake_ollama):
    return OllamaClient(fake_ollama.url)


def test_creating_from_a_model_sends_every_field(client, fake_ollama):
    fake_ollama.on("POST /api/create", SUCCESS)
    spec = ModelSpec(
        base="llama3.2:3b",
        system="Arr.",
        template="{{ .Prompt }}",
        parameters={"seed": 1},
        licenses=("MIT",),
        messages=({"role": "user", "content": "Hi"},),
        quantize="q4_K_M",
        renderer="qwen3-vl",
        parser="qwen3",
        requires="0.14.0",
    )
    statuses = [p.status for p in Creation(client, "pirate", spec)]
    assert statuses == ["success"]
    assert fake_ollama.bodies("/api/create") == [
        {
            "model": "pirate",
            "from": "llama3.2:3b",
            "system": "Arr.",
            "template": "{{ .Prompt }}",
            "parameters": {"seed": 1},
            "license": ["MIT"],
            "messages": [{"role": "user", "content": "Hi"}],
            "quantize": "q4_K_M",
            "renderer": "qwen3-vl",
            "parser": "qwen3",
            "requires": "0.14.0",
        }
    ]


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"GGUF" + bytes(range(256)) * 20_000)
    return path


def test_a_file_is_uploaded_first_and_named_by_its_digest(client, fake_ollama, weights):
    data = weights.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    fake_ollama.on(f"HEAD /api/blobs/{digest}", error(404, ""))
    fake_ollama.on(f"POST /api/blobs/{digest}", Answer(status=201))
    fake_ollama.on("POST /api/create", SUCCESS)
    spec = ModelSpec(base=str(weights))
    seen = list(Creation(client, "mine", spec))
    uploads = [p for p in seen if p.status == "uploading weights.gguf"]
    assert uploads[0].completed_bytes == 0
    assert uploads[-1].completed_bytes == uploads[-1].total_bytes == len(data)
    assert fake_ollama.wait_for(f"/api/blobs/{digest}", count=2).body == data
    assert fake_ollama.bodies("/api/create") == [
        {"model": "mine", "files": {"weights.gguf": digest}}
    ]


def test_a_file_that_the_server_has_is_not_uploaded(client, fake_ollama, weights):
    digest = f"sha256:{hashlib.sha256(weights.read_bytes()).hexdigest()}"
    fake_ollama.on(f"HEAD /api/blobs/{digest}", Answer(status=200))
    fake_ollama.on("POST /api/create", SUCCESS)
    list(Creation(client, "mine", ModelSpec(base=str(weights))))
    assert "POST" not in {r.method for r in fake_ollama.requests if "blobs" in r.path}


def test_closing_during_an_upload_creates_no_model(client, fake_ollama, weights):
    digest = f"sha256:{hashlib.sha256(weights.read_bytes()).hexdigest()}"
    fake_ollama.on(f"HEAD /api/blobs/{digest}", error(404, ""))
    fake_ollama.on(f"POST /api/blobs/{digest}", Answer(status=201))
    stream = Creation(client, "mine", ModelSpec(base=str(weights)))
    for _ in stream:
        stream.close()
    assert fake_ollama.bodies("/api/create") == []


def test_closing_does_not_wait_for_a_server_that_stopped_reading(
    client, fake_ollama, weights
):
    gate = threading.Event()
    digest = f"sha256:{hashlib.sha256(weights.read_bytes()).hexdigest()}"
    fake_ollama.on(f"HEAD /api/blobs/{digest}", error(404, ""))
    fake_ollama.on(f"POST /api/blobs/{digest}", Answer(status=201, hold_headers=gate))
    stream = Creation(client, "mine", ModelSpec(base=str(weights)))
    ended = threading.Event()

    def read():
        list(stream)
        ended.set()

    thread = threading.Thread(target=read)
    thread.start()
    fake_ollama.wait_for(f"/api/blobs/{digest}", count=2)
    stream.close()
    assert ended.wait(5)
    gate.set()
    thread.join()
    assert fake_ollama.bodies("/api/create") == []


def test_reading_a_file_before_its_upload_is_reported(client, fake_ollama, weights):
    """Reading a model of 60 GB takes minutes and must not look stalled."""
    digest = f"sha256:{hashlib.sha256(weights.read_bytes()).hexdigest()}"
    fake_ollama.on(f"HEAD /api/blobs/{digest}", Answer(status=200))
    fake_ollama.on("POST /api/create", SUCCESS)
    stream = Creation(client, "mine", ModelSpec(base=str(weights)))
    statuses = [p.status for p in stream]
    assert statuses[0] == "reading weights.gguf: 4.2 MB of 5.1 MB"
    assert statuses[1] == "reading weights.gguf: 5.1 MB of 5.1 MB"


def test_a_failed_upload_is_an_error(client, fake_ollama, weights):
    digest = f"sha256:{hashlib.sha256(weights.read_bytes()).hexdigest()}"
    fake_ollama.on(f"HEAD /api/blobs/{digest}", error(404, ""))
    fake_ollama.on(f"POST /api/blobs/{digest}", error(500, "no space left on device"))
    with pytest.raises(OllamaMagicError, match="no space left"):
        list(Creation(client, "mine", ModelSpec(base=str(weights))))


@pytest.mark.parametrize("name", ["missing.gguf", "."])
def test_an_unreadable_file_is_an_error_before_anything_is_sent(
    client, fake_ollama, tmp_path, name
):
    with pytest.raises(ConfigError):
        Creation(client, "mine", ModelSpec(base=f"{tmp_path}/{name}"))
    assert fake_ollama.requests == []


_SAFETENSORS = (2).to_bytes(8, "little") + b"{}" + bytes(40)


@pytest.mark.parametrize(
    "data",
    [
        b"-----BEGIN PRIVATE KEY-----\nMIIE",
        b"",
        b"GGU",
        b"gguf" + bytes(40),
        b'{"token": "x"}',
        b"SQLite format 3\0" + bytes(100),
        (10**6).to_bytes(8, "little") + b"{}",  # shorter than its header
        (2).to_bytes(8, "little") + b"[]" + bytes(40),
    ],
)
@pytest.mark.parametrize("place", ["base", "more_files", "adapters"])
def test_only_files_that_start_like_a_model_are_uploaded(
    fake_ollama, weights, tmp_path, data, place
):
    client = OllamaClient(fake_ollama.url)
    path = tmp_path / "id_rsa.gguf"
    path.write_bytes(data)
    named = {"base": str(weights)}
    named |= {place: str(path) if place == "base" else (str(path),)}
    with pytest.raises(ConfigError) as caught:
        Creation(client, "mine", ModelSpec(**named))
    assert caught.value.lines() == [
        f"The file {path} is not a model and was not uploaded.",
        "  why:  it is neither GGUF nor safetensors",
        "  next: name a .gguf file, or a model on the server, after FROM, "
        "ADAPTER or DRAFT",
    ]
    assert fake_ollama.requests == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names there")
def test_a_pipe_is_rejected_without_waiting(client, fake_ollama, tmp_path):
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="is not a model"):
        Creation(client, "mine", ModelSpec(base=str(pipe)))
    assert fake_ollama.requests == []


def test_an_adapter_may_be_safetensors(client, fake_ollama, tmp_path):
    path = tmp_path / "adapter.safetensors"
    path.write_bytes(_SAFETENSORS)
    digest = f"sha256:{hashlib.sha256(_SAFETENSORS).hexdigest()}"
    fake_ollama.on(f"HEAD /api/blobs/{digest}", Answer())
    fake_ollama.on("POST /api/create", SUCCESS)
    spec = ModelSpec(base="llama3.2:3b", adapters=(str(path),))
    list(Creation(client, "mine", spec))
    (body,) = fake_ollama.bodies("/api/create")
    assert body["adapters"] == {"adapter.safetensors": digest}


def test_a_copy_never_overwrites_without_permission(client, fake_ollama):
    fake_ollama.models(["one:1b", "two:2b"])
    with pytest.raises(ConfigError, match="two:2b"):
        model_actions.copy(client, "one:1b", "TWO:2b")
    assert fake_ollama.bodies("/api/copy") == []
    model_actions.copy(client, "one:1b", "two:2b", overwrite=True)
    assert len(fake_ollama.bodies("/api/copy")) == 1


def twins(*names, size=7_000_000):
    return [{"name": name, "size": size, "digest": "d" * 64} for name in names]


def test_a_removal_frees_only_models_without_another_name(client, fake_ollama):
    fake_ollama.models([*twins("a:1", "b:1"), {"name": "c:1", "size": 5_000_000}])
    one = model_actions.plan_removal(client, ["a:1"])
    assert one.freed_bytes == 0
    assert "frees no space" in one.question()
    both = model_actions.plan_removal(client, ["a:1", "B:1", "b:1", "c:1"])
    assert both.names == ("a:1", "b:1", "c:1")
    assert both.freed_bytes == 12_000_000
    assert "a:1 (7.0 MB)" in both.question()
    assert "can't be undone" in both.question()


def test_a_missing_model_among_several_stops_the_removal(client, fake_ollama):
    fake_ollama.models(["one:1b", "two:2b"])
    with pytest.raises(ModelNotFoundError, match="did you mean 'two:2b'"):
        model_actions.plan_removal(client, ["one:1b", "twoo:2b"])


def test_closing_a_load_cancels_it(client, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/generate", Answer([Wait(gate)], hold_headers=gate))
    stream = model_actions.load(client, "llama3.2:3b", "10m")
    ended = threading.Event()

    def wait():
        try:
            list(stream)
        except OllamaMagicError:
            ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    request = fake_ollama.wait_for("/api/generate")
    assert request.json["keep_alive"] == "10m"
    stream.close()
    assert request.wait_closed(5)
    assert ended.wait(5)
    thread.join()


def test_an_embedding_model_is_loaded_and_unloaded_by_embedding_nothing(
    client, fake_ollama
):
    fake_ollama.replay("generate_on_embed_model")
    fake_ollama.replay("embed_empty_list")
    list(model_actions.load(client, "smol-embed"))
    model_actions.stop(client, "smol-embed")
    first, second = fake_ollama.bodies("/api/embed")
    assert first == {"model": "smol-embed", "input": []}
    assert second == {"model": "smol-embed", "input": [], "keep_alive": 0}


def test_stop_returns_whether_the_model_was_loaded(client, fake_ollama):
    assert model_actions.stop(client, "llama3.2:3b") is False
    with pytest.raises(ModelNotFoundError):
        model_actions.stop(client, "nosuch")


def test_models_from_python_returns_a_listing(fake_ollama):
    from ollama_magic import models

    assert [model.name for model in models(fake_ollama.url)] == ["llama3.2:3b"]
