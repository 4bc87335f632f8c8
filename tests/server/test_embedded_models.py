"""Models as files: copy, delete, create and upload, with real bytes."""

import hashlib
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.embedded

MODEL = "smollm2:135m"
WEIGHTS = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def delete(engine, name):
    return engine.ask("DELETE", "/api/delete", {"model": name})


def test_a_copied_model_shares_weights_and_digest(own_engine):
    answer = own_engine.post("/api/copy", source=MODEL, destination="Pirate")
    assert (answer.status, answer.body) == (200, b"")
    first, second = own_engine.ask("GET", "/api/tags").json["models"]
    assert {first["name"], second["name"]} == {MODEL, "Pirate:latest"}
    assert first["digest"] == second["digest"]
    assert len(own_engine.blobs()) == 1


def test_deleting_the_last_name_frees_the_weights(own_engine):
    own_engine.post("/api/copy", source=MODEL, destination="other")
    assert delete(own_engine, "SMOLLM2:135M").status == 200
    assert own_engine.names() == ["other:latest"]
    assert len(own_engine.blobs()) == 1
    delete(own_engine, "other")
    assert own_engine.names() == []
    assert own_engine.blobs() == []
    assert delete(own_engine, "other").status == 404


def test_a_model_can_be_deleted_while_it_is_loaded(own_engine):
    own_engine.chat("hi", options={"num_predict": 1})
    assert delete(own_engine, MODEL).status == 200
    assert own_engine.chat("hi").status == 404


def test_a_new_model_has_its_own_system_and_parameters(own_engine):
    lines = own_engine.post(
        "/api/create",
        model="pirate",
        system="You are a pirate.",
        parameters={"num_ctx": 512, "num_predict": 2, "stop": ["a", "b"]},
        **{"from": MODEL},
    ).lines
    assert [line["status"] for line in lines] == [
        f"using existing layer {WEIGHTS}",
        "writing manifest",
        "success",
    ]
    shown = own_engine.post("/api/show", model="pirate").json
    assert shown["system"] == "You are a pirate."
    assert shown["parameters"].splitlines() == [
        "num_ctx                        512",
        "num_predict                    2",
        'stop                           "a"',
        'stop                           "b"',
    ]
    assert shown["details"]["parent_model"] == MODEL
    body = {"model": "pirate", "prompt": "Count to 100.", "stream": False}
    answer = own_engine.post("/api/generate", **body).json
    assert answer["model"] == "pirate"
    assert answer["eval_count"] <= 2
    assert own_engine.ask("GET", "/api/ps").json["models"][0]["context_length"] == 512


def test_a_parameter_of_the_wrong_type_fails_at_each_request(own_engine):
    parameters = {"temperature": "hot"}
    body = {"model": "bad", "from": MODEL, "parameters": parameters, "stream": False}
    assert own_engine.post("/api/create", **body).json == {"status": "success"}
    answer = own_engine.post("/api/generate", model="bad")
    assert answer.status == 500
    assert answer.json["error"] == 'option "temperature" must be of type float32'


def test_a_local_file_becomes_a_model(own_engine, pulled_store):
    """Upload, create and run, also after the original name was deleted."""
    weights = pulled_store / "blobs" / WEIGHTS.replace(":", "-")
    delete(own_engine, MODEL)
    path = f"/api/blobs/{WEIGHTS}"
    assert own_engine.ask("HEAD", path).status == 404
    assert own_engine.ask("POST", path, weights.read_bytes()).status == 201
    assert own_engine.ask("HEAD", path).status == 200
    files = {"model.gguf": WEIGHTS}
    lines = own_engine.post("/api/create", model="mine", files=files).lines
    assert lines[0] == {"status": "parsing GGUF"}
    assert lines[-1] == {"status": "success"}
    body = {"model": "mine", "prompt": "hi", "stream": False}
    answer = own_engine.post("/api/generate", **body, options={"num_predict": 2})
    assert answer.json["eval_count"] >= 1


def test_an_upload_without_a_length_is_rejected(empty_engine):
    digest = hashlib.sha256(b"0123456789").hexdigest()
    pieces = iter([b"0123456789"])
    answer = empty_engine.ask("POST", f"/api/blobs/sha256:{digest}", pieces)
    assert answer.status == 411
    assert empty_engine.blobs() == []


def test_a_file_that_is_not_a_model_is_rejected(empty_engine):
    data = b"GGUF" + b"\xff" * 50
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    empty_engine.ask("POST", f"/api/blobs/{digest}", data)
    answer = empty_engine.post("/api/create", model="x", files={"x.gguf": digest})
    assert answer.lines[-1] == {
        "error": "only little-endian GGUF of version 2 or 3 can be read"
    }
    assert empty_engine.names() == []


@pytest.mark.parametrize("field", ["template", "quantize", "adapters"])
def test_create_rejects_what_is_not_supported(own_engine, field):
    value = {"a.gguf": WEIGHTS} if field == "adapters" else "x"
    body = {"model": "x", "from": MODEL, field: value}
    answer = own_engine.post("/api/create", **body)
    assert answer.status == 400
    assert answer.json["error"].startswith("the embedded engine does not support")
    assert own_engine.names() == [MODEL]


@pytest.mark.parametrize(
    "digest", ["sha256:../../../etc/passwd", "sha256-" + "0" * 64, "sha256:" + "A" * 64]
)
def test_a_digest_cannot_leave_the_store(empty_engine, digest):
    answer = empty_engine.ask("POST", f"/api/blobs/{digest}", b"x")
    assert answer.status in {400, 404}
    files = {"x.gguf": digest}
    lines = empty_engine.post("/api/create", model="x", files=files).lines
    assert lines[-1] == {"error": "invalid digest format"}


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/../passwd", "x:../y", "x\0"]
)
def test_a_name_cannot_leave_the_store(own_engine, name):
    body = {"source": MODEL, "destination": name}
    assert own_engine.post("/api/copy", **body).status == 400
    assert own_engine.names() == [MODEL]


def test_the_store_is_private(empty_engine):
    assert empty_engine.store.stat().st_mode & 0o777 == 0o700


def test_push_is_rejected(own_engine):
    answer = own_engine.post("/api/push", model=MODEL)
    assert answer.status == 501
    assert "cannot push" in answer.json["error"]


def test_a_damaged_manifest_is_not_a_model(own_engine):
    (path,) = (own_engine.store / "manifests").iterdir()
    content = json.loads(Path(path).read_text())
    content["config"]["blob"] = "sha256:../../x"
    Path(path).write_text(json.dumps(content))
    assert own_engine.names() == []
