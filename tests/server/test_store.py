"""The store of models: leftovers are deleted, and used files stay."""

import os
import time

import pytest

from ollama_magic.server.embedded.new_models import _explain
from ollama_magic.server.embedded.protocol import ModelName
from ollama_magic.server.embedded.store import ModelConfig, ModelStore, is_digest

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
DAYS_AGO = time.time() - 3 * 24 * 3600


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


def name(text):
    return ModelName.parse(text)


def put(store, digest, text):
    with store.staging() as folder:
        path = folder / "blob"
        path.write_bytes(b"weights")
        store.adopt(path, digest)
    store.save(name(text), ModelConfig(blob=digest, size_bytes=7))


def test_saving_a_name_again_frees_the_old_weights(store):
    put(store, DIGEST, "a")
    put(store, OTHER, "A")
    assert not store.has_blob(DIGEST)
    assert [str(model.name) for model in store.models()] == ["A:latest"]


def test_equal_configurations_have_one_digest():
    first = ModelConfig(blob=DIGEST, size_bytes=7, parameters={"seed": 1})
    assert first.digest == ModelConfig(DIGEST, 7, parameters={"seed": 1}).digest
    assert first.digest != ModelConfig(DIGEST, 7).digest


def test_a_configuration_survives_the_disk(store):
    config = ModelConfig(
        blob=DIGEST,
        size_bytes=7,
        license=("MIT",),
        parameters={"stop": ["x"]},
        messages=({"role": "user", "content": "\u00e9"},),
    )
    store.save(name("a"), config)
    assert store.find(name("A")).config == config


def test_tidy_removes_old_leftovers_only(store):
    put(store, DIGEST, "a")
    for digest in (DIGEST, OTHER):
        store.blob_path(digest).write_bytes(b"x")
        os.utime(store.blob_path(digest), (DAYS_AGO, DAYS_AGO))
    fresh = store.blob_path("sha256:" + "c" * 64)
    fresh.write_bytes(b"being uploaded")
    with store.staging() as folder:
        (folder / "pip").mkdir()
        os.utime(folder, (DAYS_AGO, DAYS_AGO))
        store.tidy()
        assert not folder.exists()
    assert store.has_blob(DIGEST)
    assert not store.has_blob(OTHER)
    assert fresh.exists()


def test_a_very_long_name_has_a_file(store):
    long_name = f"{'n' * 80}/{'m' * 80}:{'t' * 80}"
    store.save(name(long_name), ModelConfig(blob=DIGEST, size_bytes=7))
    assert store.find(name(long_name)) is not None


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "A" * 64, DIGEST + "\n", "md5:" + "a" * 64]
)
def test_only_digests_become_paths(store, text):
    assert not is_digest(text)
    with pytest.raises(ValueError, match="invalid digest"):
        store.blob_path(text)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("/usr/bin/python: No module named pip", "python -m ensurepip"),
        ("OSError: [Errno 28] No space left on device", "no space left"),
        ("connection error: SSLError(CERTIFICATE_VERIFY_FAILED)", "does not trust"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM", "rejected the hash"),
        ("something new at https://user:pw@host.example/", "pip failed"),
    ],
)
def test_failures_of_pip_are_reported_without_hosts(log, words):
    meaning = _explain(log)
    assert words in meaning
    assert "host.example" not in meaning
