"""The outputs of ``%ollama`` lines about models in a real kernel."""

import hashlib
import json
import threading
import time

import pytest
from fake_ollama import Answer, FakeOllama, Wait, error, json_answer

SUCCESS = {"status": "success"}


def layer(completed, total=100):
    return {
        "status": "pulling a",
        "digest": "sha256:a",
        "total": total,
        "completed": completed,
    }


def test_several_models_are_pulled_and_one_failure_does_not_hide_the_others(
    kernel, fake_ollama
):
    bad = Answer([{"error": "pull model manifest: file does not exist"}])
    good = Answer([layer(50), layer(100), SUCCESS])
    fake_ollama.on(
        "POST /api/pull", lambda r: bad if r.json["model"] == "nosuch" else good
    )
    ran = kernel.run("%ollama pull one:1b nosuch two:2b")
    assert ran.status == "error"
    assert "one:1b: pulled, 100 B" in ran.text
    assert "nosuch: failed" in ran.text
    assert "two:2b: pulled, 100 B" in ran.text
    assert "nosuch" in ran.error


def test_each_of_several_failures_is_reported(kernel, fake_ollama):
    texts = {"one": "no space left on device", "two": "file does not exist"}
    fake_ollama.on(
        "POST /api/pull", lambda r: Answer([{"error": texts[r.json["model"]]}])
    )
    ran = kernel.run("%ollama pull ONE:latest one two")
    assert "2 models were not pulled: one, two" in ran.error
    assert "no space left" in ran.error
    assert "does not exist" in ran.error
    assert len(fake_ollama.bodies("/api/pull")) == 2


def test_an_interrupt_ends_the_pull_at_the_server(kernel, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/pull", Answer([layer(30), Wait(gate)]))
    msg_id = kernel.send("%ollama pull big:70b")
    kernel.collect(msg_id, until=lambda ran: "30 B of 100 B" in ran.text)
    began = time.monotonic()
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    request = fake_ollama.wait_for("/api/pull")
    assert request.wait_closed()
    assert request.closed_at - began < 10  # a limit for a busy machine
    assert "stopped" in ran.error


@pytest.fixture
def registry(kernel):
    """Stand in for Ollama's registry, where a:1b and b:1b have newer versions."""
    layer = {"mediaType": "m", "digest": "sha256:1", "size": 2_000_000_000}
    manifest = json.dumps({"config": layer, "layers": [layer]})
    with FakeOllama() as fake:
        for name in "ab":
            path = f"GET /v2/library/{name}/manifests/1b"
            pushed = {"Ollama-Push-Time": "1796000000"}
            fake.on(path, Answer([manifest], headers=pushed))
        module = "import ollama_magic.client.registry as r"
        kernel.run(f"{module}\nours, r.REGISTRY = r.REGISTRY, {fake.url!r}")
        yield fake
        kernel.run("r.REGISTRY = ours")


NOT_CHECKED = [{"name": "x:cloud", "remote_model": "x"}, "mine", "hf.co/a/b:Q4"]


def test_outdated_and_pull_all_say_what_they_ask_and_leave_out(
    kernel, fake_ollama, registry
):
    fake_ollama.models([*NOT_CHECKED, "b:1b", "a:1b"])
    ran = kernel.run("%ollama outdated")
    assert not fake_ollama.bodies("/api/pull")
    lines = ran.text.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == [
        "b:1b", "a:1b", "hf.co/a/b:Q4", "mine", "x:cloud",
    ]  # fmt: skip
    assert "newer version available" in lines[1]
    assert "to update: %ollama pull b:1b a:1b" in ran.text
    assert f"contacted: {registry.url}, with the names of 3 models" in ran.text
    fake_ollama.on("POST /api/pull", Answer([layer(50), layer(100), SUCCESS]))
    ran = kernel.run("%ollama pull --all")
    assert ran.status == "ok", ran.error
    assert ran.text.startswith(
        "pulling 3 models: hf.co/a/b:Q4, b:1b, a:1b · cloud model: x:cloud · "
        "only on this server: not in the registry: mine"
    )
    pulled = [body["model"] for body in fake_ollama.bodies("/api/pull")]
    assert pulled == ["hf.co/a/b:Q4", "b:1b", "a:1b"]


def test_an_interrupt_ends_pull_all_where_it_is(kernel, fake_ollama, registry):
    """While it asks the registry, and in a pull: the next models are not pulled."""
    fake_ollama.models(["b:1b", "a:1b"])
    gate = threading.Event()
    fake_ollama.on("POST /api/pull", Answer([layer(30), Wait(gate)]))
    msg_id = kernel.send("%ollama pull --all", "cell-1")
    begun = kernel.collect(msg_id, until=lambda ran: "30 B of 100 B" in ran.text)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id, since=begun)
    assert "b:1b: stopped at 30 B; the next pull resumes there" in ran.text
    assert len(fake_ollama.bodies("/api/pull")) == 1
    registry.on("GET /v2/library/a/manifests/1b", Answer([], hold_headers=gate))
    msg_id = kernel.send("%ollama pull --all", "cell-1")
    begun = kernel.collect(msg_id, until=lambda ran: "checking which" in ran.text)
    registry.wait_for("/v2/library/a/manifests/1b", count=2)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id, since=begun)
    assert ran.status == "error"
    assert "checking for updates: stopped" in ran.text
    assert len(fake_ollama.bodies("/api/pull")) == 1


def test_pull_all_without_the_registry_is_an_error(kernel, fake_ollama, registry):
    registry.on("GET /v2/library/a/manifests/1b", error(503, "busy"))
    fake_ollama.models(["a:1b"])
    ran = kernel.run("%ollama pull --all")
    assert "Not checked for updates: a:1b." in ran.error
    assert "the registry answered 503" in ran.error
    assert "%ollama pull a:1b" in ran.error
    for line in ("pull", "pull --all a:1b"):
        shown = kernel.run(f"%ollama {line}").streams
        assert "takes the names of models, or --all" in shown
    assert not fake_ollama.bodies("/api/pull")


def test_a_pull_without_success_is_an_error(kernel, fake_ollama):
    fake_ollama.on("POST /api/pull", Answer([layer(30)]))
    ran = kernel.run("%ollama pull big:70b")
    assert ran.status == "error"
    assert "failed at 30 B; the next pull resumes there" in ran.text
    assert "%ollama pull big:70b" in ran.error


def test_push_shows_progress_and_the_result(kernel, fake_ollama):
    fake_ollama.replay("push_progress")
    ran = kernel.run("%ollama push me/pirate")
    assert ran.status == "ok", ran.error
    assert "me/pirate: pushed" in ran.text


def test_a_failed_push_says_why(kernel, fake_ollama):
    fake_ollama.replay("push_missing_model")
    ran = kernel.run("%ollama push nosuch")
    assert ran.status == "error"
    assert "next:" in ran.error


def test_load_and_stop(kernel, fake_ollama):
    ran = kernel.run("%ollama load llama3.2:3b --keep-alive 10m")
    assert "llama3.2:3b: loaded in" in ran.text
    assert fake_ollama.bodies("/api/generate")[-1]["keep_alive"] == "10m"
    assert "was not loaded" in kernel.run("%ollama stop llama3.2:3b").text
    assert fake_ollama.bodies("/api/generate")[-1]["keep_alive"] == 0
    assert kernel.run("%ollama load nosuch").status == "error"
    assert kernel.run("%ollama stop nosuch").status == "error"


def test_a_name_without_its_tag_means_the_only_installed_one(kernel, fake_ollama):
    """Except where it deletes."""
    fake_ollama.models(["qwen3:4b", "llama3.2:3b", "llama3.2:1b"])
    assert "qwen3:4b: loaded in" in kernel.run("%ollama load qwen3").text
    assert "qwen3:4b was not loaded" in kernel.run("%ollama stop qwen3").text
    assert "qwen3:4b" in kernel.run("%ollama show qwen3").text
    assert kernel.run("%ollama load llama3.2").status == "error"
    assert kernel.run("%ollama rm -y qwen3").status == "error"
    assert "qwen3:4b" in fake_ollama.model_names


def test_an_interrupt_ends_a_load_at_the_server(kernel, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/generate", Answer([], hold_headers=gate))
    msg_id = kernel.send("%ollama load llama3.2:3b")
    request = fake_ollama.wait_for("/api/generate")
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    assert "stopped" in ran.error
    assert request.wait_closed(10)


def test_create_from_a_model(kernel, fake_ollama):
    fake_ollama.on("POST /api/create", Answer([{"status": "writing"}, SUCCESS]))
    ran = kernel.run(
        "%ollama create pirate --from llama3.2:3b -s 'You are a pirate.' -o seed 1"
    )
    assert ran.status == "ok", ran.error
    assert "pirate: created" in ran.text
    assert fake_ollama.bodies("/api/create") == [
        {
            "model": "pirate",
            "from": "llama3.2:3b",
            "system": "You are a pirate.",
            "parameters": {"seed": 1},
        }
    ]


def test_create_from_a_modelfile_beside_its_weights(kernel, fake_ollama, tmp_path):
    text = "FROM ./w.gguf\nDRAFT ./d.gguf\nREQUIRES 0.30.0\nSYSTEM Arr.\n"
    (tmp_path / "Modelfile").write_text(text)
    digests = []
    for name, size in (("w.gguf", 100), ("d.gguf", 50)):
        data = b"GGUF" + bytes(size)
        (tmp_path / name).write_bytes(data)
        digests.append(f"sha256:{hashlib.sha256(data).hexdigest()}")
        path = f"/api/blobs/{digests[-1]}"
        fake_ollama.on(f"HEAD {path}", Answer(status=404))
        fake_ollama.on(f"POST {path}", Answer(status=201))
    fake_ollama.on("POST /api/create", Answer([SUCCESS]))
    options = "-s Ahoy -q q4_K_M"
    ran = kernel.run(f"%ollama create mine -F {tmp_path / 'Modelfile'} {options}")
    assert ran.status == "ok", ran.error
    assert "mine: created, 158 B" in ran.text
    assert fake_ollama.bodies("/api/create") == [
        {
            "model": "mine",
            "files": {"w.gguf": digests[0]},
            "draft_files": {"d.gguf": digests[1]},
            "system": "Ahoy",
            "requires": "0.30.0",
            "quantize": "q4_K_M",
        }
    ]
    (tmp_path / "Modelfile").write_text("FROM ./w.gguf\nDRAFT ./w.gguf\n")
    ran = kernel.run(f"%ollama create mine -F {tmp_path / 'Modelfile'}")
    assert "A model cannot draft its own tokens." in ran.error


def test_a_file_that_is_not_a_model_is_not_sent(kernel, fake_ollama, tmp_path):
    (tmp_path / "id_rsa").write_text("-----BEGIN PRIVATE KEY-----")
    (tmp_path / "Modelfile").write_text("FROM ./id_rsa\n")
    ran = kernel.run(f"%ollama create mine -F {tmp_path / 'Modelfile'}")
    assert (
        f"The file {tmp_path / 'id_rsa'} is not a model and was not uploaded."
        in ran.error
    )
    assert "is neither GGUF nor safetensors" in ran.error
    assert "blobs" not in "".join(request.path for request in fake_ollama.requests)
    assert fake_ollama.bodies("/api/create") == []


WRONG = {
    "neither": ("create mine", "takes either --from or -F"),
    "both": ("create mine --from a -F b", "takes either --from or -F"),
    "no file": ("create mine -F nosuch", "cannot be read"),
    "no base": ("create mine --from nosuch", "without asking"),
    "bad option": ("create mine --from llama3.2:3b -o sed 1", "seed"),
}


@pytest.mark.parametrize(("line", "said"), WRONG.values(), ids=WRONG)
def test_an_invalid_create_sends_nothing(kernel, fake_ollama, line, said):
    ran = kernel.run(f"%ollama {line}")
    assert ran.status == "error"
    assert said in f"{ran.error}{ran.streams}"
    assert fake_ollama.bodies("/api/create") == []


@pytest.mark.parametrize(("typed", "count"), [("y", 1), ("n", 0)])
def test_create_asks_before_it_replaces(kernel, fake_ollama, typed, count):
    fake_ollama.models(["llama3.2:3b", "pirate:latest"])
    fake_ollama.on("POST /api/create", Answer([SUCCESS]))
    kernel.answers = [typed]
    ran = kernel.run("%ollama create pirate --from llama3.2:3b")
    assert "Replace pirate" in ran.asked[0]
    assert len(fake_ollama.bodies("/api/create")) == count


def test_copy_asks_before_it_replaces_and_y_does_not(kernel, fake_ollama):
    fake_ollama.models(["one:1b", "two:2b"])
    ran = kernel.run("%ollama cp one:1b two:2b")
    assert ran.status == "error"
    assert "%ollama cp -y one:1b two:2b" in ran.error
    assert fake_ollama.bodies("/api/copy") == []
    assert kernel.run("%ollama cp -y one:1b two:2b").status == "ok"
    kernel.answers = ["n"]
    assert "Nothing was copied." in kernel.run("%ollama cp one:1b two:2b").text
    assert len(fake_ollama.bodies("/api/copy")) == 1


def test_rm_reports_the_space_that_is_really_freed(kernel, fake_ollama):
    twins = [{"name": n, "size": 9_000_000, "digest": "d" * 64} for n in ("a:1", "b:1")]
    fake_ollama.models(twins)
    kernel.answers = ["y", "y"]
    ran = kernel.run("%ollama rm a:1")
    assert "frees no space" in ran.asked[0]
    ran = kernel.run("%ollama rm b:1")
    assert "frees 9.0 MB" in ran.asked[0]
    assert "9.0 MB freed" in ran.text


def test_listings_are_data_frames_too(kernel, fake_ollama):
    pytest.importorskip("pandas")
    fake_ollama.models([{"name": "one:1b", "size": 5}])
    ran = kernel.run(
        "models = %ollama list\nimport pandas\n"
        "print(pandas.DataFrame(models)[['name', 'size_bytes']].to_dict('records'))"
    )
    assert "[{'name': 'one:1b', 'size_bytes': 5}]" in ran.streams


def test_show_is_a_page_with_details_as_values(kernel, fake_ollama):
    fake_ollama.replay("show_basic")
    ran = kernel.run(
        "page = %ollama show smollm2:135m\nprint(page.details.context_length)"
    )
    assert ran.streams.strip() == "8192"


def test_the_panel_has_a_table_for_front_ends_without_widgets(kernel):
    ran = kernel.run("%ollama panel")
    view, table = [o["data"] for o in ran.outputs if "data" in o]
    assert "application/vnd.jupyter.widget-view+json" in view
    assert "llama3.2:3b" in table["text/html"]


def test_errors_of_the_server_reach_the_cell(kernel, fake_ollama):
    fake_ollama.on("DELETE /api/delete", error(500, "disk is broken"))
    ran = kernel.run("%ollama rm -y llama3.2:3b")
    assert "disk is broken" in ran.error


def test_an_unencrypted_registry_has_to_be_allowed(kernel, fake_ollama):
    fake_ollama.on("POST /api/push", Answer([SUCCESS]))
    kernel.run("%ollama pull --insecure localhost:5000/me/m")
    kernel.run("%ollama push localhost:5000/me/m --insecure")
    body = {"model": "localhost:5000/me/m", "insecure": True}
    assert fake_ollama.bodies("/api/pull") == [body]
    assert fake_ollama.bodies("/api/push") == [body]
    refusal = "pull model manifest: http: server gave HTTP response to HTTPS client"
    fake_ollama.on("POST /api/pull", Answer([{"error": refusal}]))
    ran = kernel.run("%ollama pull localhost:5000/me/m")
    assert "%ollama pull --insecure localhost:5000/me/m" in ran.error


def test_show_has_all_that_the_server_says(kernel, fake_ollama):
    shown = {
        "details": {"family": "llama"},
        "requires": "0.14.0",
        "renderer": "qwen3",
        "template_source": "chat_template",
        "thinking": {"values": [False, "low", "high"], "default": "low"},
        "messages": [{"role": "user", "content": "2+2?"}],
        "model_info": {"llama.block_count": 28, "tokens": ["a"] * 1000},
        "tensors": [{"name": "output.weight", "type": "F16", "shape": [2, 3]}],
    }
    fake_ollama.on("POST /api/show", json_answer(shown))
    ran = kernel.run("%ollama show llama3.2:3b")
    for line in (
        "Needs Ollama   0.14.0",
        "Renderer       qwen3",
        "Template from  chat_template",
        "Thinking       false, low (default), high",
        "Messages\n  user: 2+2?",
    ):
        assert line in ran.text
    assert "block_count" not in ran.text
    assert fake_ollama.bodies("/api/show")[-1] == {"model": "llama3.2:3b"}
    ran = kernel.run("%ollama show -v llama3.2:3b")
    assert "Metadata\n  llama.block_count  28\n" in ran.text
    assert "Tensors\n  output.weight  F16  [2, 3]" in ran.text
    assert fake_ollama.bodies("/api/show")[-1]["verbose"] is True
