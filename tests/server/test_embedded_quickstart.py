"""The quickstart notebook, run headless against the embedded engine."""

import nbformat
import pytest
from example_notebooks import execute

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def run(pulled_store, without_ollama, tmp_path_factory):
    """Return a function that runs a notebook without Ollama."""
    home = tmp_path_factory.mktemp("home")

    def run_(notebook):
        with without_ollama(home, OLLAMA_MAGIC_EMBEDDED_MODELS=pulled_store):
            return execute(notebook)

    return run_


@pytest.fixture(scope="module")
def outputs(run):
    """Run the quickstart, and return the outputs of code cells by source."""
    return {cell.source: cell.outputs for cell in run("quickstart").cells}


def shown(outputs, beginning):
    (found,) = [out for source, out in outputs.items() if source.startswith(beginning)]
    return found


def test_serve_says_that_the_embedded_engine_was_started(outputs):
    (output,) = shown(outputs, "%ollama serve")
    assert "the embedded engine" in output["data"]["text/plain"]


def test_the_first_reply_is_right_and_names_its_model(outputs):
    (output,) = shown(outputs, "%%ollama\nWhat")
    assert "Paris" in output["data"]["text/plain"]
    known = output["metadata"]["ollama_magic"]
    assert (known["model"], known["host_kind"]) == ("smollm2:135m", "embedded")
    assert (known["chat"], known["turn"]) == ("main", 1)


def test_the_next_cell_continues_the_chat(outputs):
    (output,) = shown(outputs, "%%ollama\nName")
    assert output["metadata"]["ollama_magic"]["turn"] == 2
    assert "smollm2:135m (embedded) · " in output["data"]["text/html"]
    assert "Louvre" in output["data"]["text/plain"]


def test_the_next_cell_can_use_the_reply(outputs):
    stream, result = shown(outputs, "print(answer.text)")
    assert stream["text"].strip()
    assert "complete" in result["data"]["text/plain"]


def test_every_reply_is_exactly_one_output(outputs):
    for source, found in outputs.items():
        if source.startswith("%%ollama"):
            assert len(found) == 1
            assert set(found[0]["data"]) == {"text/html", "text/plain"}


def test_a_reload_keeps_the_started_server(run):
    notebook = nbformat.v4.new_notebook()
    sources = [
        "%load_ext ollama_magic",
        "%ollama serve",
        "%reload_ext ollama_magic",
        "%%ollama -t 0 -o num_predict 5\nSay hello.",
    ]
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    run(notebook)
    (output,) = notebook.cells[3].outputs
    assert output["metadata"]["ollama_magic"]["host_kind"] == "embedded"
