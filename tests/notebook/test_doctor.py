"""What ``%ollama doctor`` and ``%ollama config`` show, and never show."""

import json
import threading

import pytest
from fake_ollama import Answer, error

SECRET = "s3cr3t-t0ken"


def report(kernel, setup="pass"):
    ran = kernel.run(f"{setup}\n%ollama doctor")
    assert ran.status == "ok", ran.error
    return ran.text


def lines_of(text, topic):
    return [line for line in text.splitlines() if line[9:].startswith(topic)]


def test_a_working_setup_has_no_problems(kernel, fake_ollama):
    text = report(kernel)
    assert fake_ollama.url in text
    assert "0.33.0" in lines_of(text, "server")[0]
    assert "1 installed" in text
    assert "problem  " not in text
    assert text.startswith("No problems found")


def test_the_address_is_shown_as_set_and_as_resolved(kernel):
    text = report(kernel, "%config OllamaMagics.host = '0.0.0.0:9'")
    assert "OllamaMagics.host = '0.0.0.0:9', which means http://127.0.0.1:9" in text


def test_no_server_is_a_problem_with_the_next_command(kernel):
    text = report(kernel, "%config OllamaMagics.host = '127.0.0.1:9'")
    assert lines_of(text, "server")[0].startswith("problem")
    assert "%ollama serve" in text
    assert "1 problem" in text
    assert lines_of(text, "model")[0].startswith("note")


def test_problems_come_first_and_passed_checks_are_folded(kernel):
    kernel.run("%config OllamaMagics.host = '127.0.0.1:9'")
    ran = kernel.run("%ollama doctor")
    marks = [line.split()[0] for line in ran.text.splitlines() if line[9:10].strip()]
    marks = [mark for mark in marks if mark in {"problem", "note", "ok"}]
    assert sorted(marks, key=["problem", "note", "ok"].index) == marks
    open_, folded = ran.html.split("<details", 1)
    assert "%ollama serve" in open_
    assert "ollama_magic 0" not in open_
    assert "checks passed" in folded
    assert "ollama_magic 0" in folded


def test_an_invalid_host_is_a_problem(kernel):
    text = report(kernel, "%config OllamaMagics.host = 'ftp://gpu'")
    assert "ftp" in text
    assert "problem" in text


def test_another_service_at_the_address_is_reported(kernel, fake_ollama):
    page = Answer(["<title>Router</title>"], content_type="text/html")
    fake_ollama.on("GET /api/version", page)
    text = report(kernel)
    assert lines_of(text, "server")[0].startswith("problem")
    assert "Router" in text


def test_a_silent_server_causes_no_wait(kernel, fake_ollama):
    fake_ollama.on("GET /api/version", Answer([], hold_headers=threading.Event()))
    text = report(
        kernel, "import ollama_magic.notebook.commands.doctor as d; d._PATIENCE_S = 0.3"
    )
    assert "did not respond within" in text


def test_the_error_of_a_server_is_quoted(kernel, fake_ollama):
    fake_ollama.on("GET /api/tags", error(500, "the disk is on fire"))
    assert "the disk is on fire" in report(kernel)


def test_no_models_is_a_problem(kernel, fake_ollama):
    fake_ollama.models([])
    assert "%ollama pull" in report(kernel)


def test_loaded_models_have_their_processor_and_context(kernel, fake_ollama):
    fake_ollama.models([{"name": "m:1b", "details": {"context_length": 131072}}])
    loaded = {
        "name": "m:1b",
        "size": 4_000_000_000,
        "size_vram": 1_000_000_000,
        "context_length": 4096,
    }
    fake_ollama.on("GET /api/ps", Answer([json.dumps({"models": [loaded]})]))
    text = report(kernel)
    assert "m:1b, 4.0 GB, 75%/25% CPU/GPU" in text
    assert "context 4,096 (trained for 131,072)" in text


def test_the_embedded_engine_is_named(kernel, fake_ollama):
    fake_ollama.on("GET /api/version", Answer(['{"version":"0.0.0-embedded"}']))
    assert "embedded engine" in report(kernel)


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ("pass", "not set"),
        ("os.environ['HTTP_PROXY'] = 'http://proxy:1'", "not used for this machine"),
        (
            "os.environ['HTTP_PROXY'] = 'http://proxy:1'\n"
            "%config OllamaMagics.host = 'http://gpu.invalid:1'",
            "requests to gpu.invalid:1 go through http://proxy:1",
        ),
        (
            "os.environ['HTTP_PROXY'] = 'http://proxy:1'\n"
            "os.environ['NO_PROXY'] = 'gpu.invalid'\n"
            "%config OllamaMagics.host = 'http://gpu.invalid:1'",
            "NO_PROXY excludes gpu.invalid:1",
        ),
    ],
    ids=["none", "loopback", "between", "left out"],
)
def test_proxies_are_shown_as_they_apply(kernel, setup, said):
    text = report(kernel, f"import os\n{setup}")
    assert said in lines_of(text, "proxy")[0]


def test_the_report_contains_no_secrets(kernel):
    """Not in addresses, not in proxies, not in the environment."""
    text = report(
        kernel,
        f"import os\nos.environ['OLLAMA_API_KEY'] = {SECRET!r}\n"
        f"os.environ['HTTP_PROXY'] = 'http://ann:{SECRET}@proxy:1'\n"
        f"%config OllamaMagics.host = 'http://ann:{SECRET}@gpu.invalid:1'",
    )
    assert SECRET not in text
    assert "OLLAMA_API_KEY is set" in text
    settings = kernel.run("%ollama config")
    assert SECRET not in settings.text
    assert SECRET not in settings.html


def test_a_store_that_cannot_be_written_is_a_problem(kernel, tmp_path):
    (tmp_path / "file").write_text("no folder")
    place = tmp_path / "file" / "chats.sqlite"
    text = report(kernel, f"%config OllamaMagics.history_file = {str(place)!r}")
    assert "in memory only" in text


def test_the_front_end_is_described(kernel):
    assert "sends no cell ids" in report(kernel)
    kernel.answers = []
    ran = kernel.run("%ollama doctor", cell_id="abc")
    assert "identifies the running cell" in ran.text
    assert "can ask you questions" in ran.text


def test_packages_are_listed_with_their_versions(kernel):
    text = report(kernel)
    assert "ipywidgets 8" in lines_of(text, "versions")[0]
    assert "pip" in text


def test_config_lists_all_settings_and_which_are_set(kernel):
    kernel.run("%config OllamaMagics.model = 'llama3.2:3b'")
    ran = kernel.run(
        "rows = %ollama config\n"
        "print({r.name: r.is_set for r in rows if r.name in ('model', 'system')})"
    )
    assert "{'model': True, 'system': False}" in ran.streams
    text = kernel.run("%ollama config").text
    assert "OLLAMA_API_KEY" in text
    assert "ipython_config.py" in text
