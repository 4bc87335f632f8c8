"""The actions of magics and panel, with real downloads, memory and disk space."""

import threading

import pytest

from ollama_magic.client import actions as model_actions
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.creation import Creation, ModelSpec
from ollama_magic.widgets.manager import ModelManager

pytestmark = pytest.mark.embedded

MODEL = "smollm2:135m"
PATIENCE_S = 60.0


@pytest.fixture
def client(own_engine):
    return OllamaClient(own_engine.base_url, api_key=own_engine.token)


def used_bytes(engine):
    return sum(path.stat().st_blocks * 512 for path in engine.blobs())


def test_the_reported_size_is_freed(own_engine, client):
    model_actions.copy(client, MODEL, "other")
    before = used_bytes(own_engine)
    kept = model_actions.plan_removal(client, ["other"])
    assert kept.freed_bytes == 0
    model_actions.remove(client, kept)
    assert used_bytes(own_engine) == before
    last = model_actions.plan_removal(client, [MODEL])
    assert last.freed_bytes == pytest.approx(before, rel=0.01)
    model_actions.remove(client, last)
    assert used_bytes(own_engine) == 0


def test_a_model_is_loaded_and_unloaded(client):
    list(model_actions.load(client, MODEL, "5m"))
    assert [model.name for model in client.ps()] == [MODEL]
    assert model_actions.stop(client, MODEL) is True
    assert client.ps() == []


def test_a_model_is_created_from_another(client):
    spec = ModelSpec(base=MODEL, system="Arr.", parameters={"num_predict": 2})
    statuses = [p.status for p in Creation(client, "pirate", spec)]
    assert statuses[-1] == "success"
    assert client.show("pirate").system == "Arr."
    assert client.chat("pirate", [{"role": "user", "content": "Hi"}]).complete().content


def test_a_model_is_created_from_an_uploaded_file(client, own_engine, tmp_path):
    (blob,) = own_engine.blobs()
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(blob.read_bytes())
    model_actions.remove(client, model_actions.plan_removal(client, [MODEL]))
    seen = list(Creation(client, "mine", ModelSpec(base=str(weights))))
    assert seen[-1].status == "success"
    assert max(p.completed_bytes for p in seen) == weights.stat().st_size
    assert client.list()[0].name == "mine:latest"


def test_the_panel_shows_what_happens(client, own_engine):
    changed = threading.Condition()

    def tell():
        with changed:
            changed.notify_all()

    manager = ModelManager(client, interval_s=0.01)
    manager.subscribe(tell)

    def wait(is_true):
        with changed:
            assert changed.wait_for(is_true, PATIENCE_S), manager.jobs

    manager.refresh()
    wait(lambda: [row.summary.name for row in manager.models] == [MODEL])
    manager.load(MODEL)
    wait(lambda: manager.models and manager.models[0].loaded is not None)
    manager.copy(MODEL, "other")
    wait(lambda: len(manager.models) == 2)
    manager.delete([MODEL, "other"])
    wait(lambda: manager.server.state == "online" and not manager.models)
    assert own_engine.blobs() == []
    manager.close()
