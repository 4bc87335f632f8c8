"""The quickstart notebook, run headless against the embedded engine."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.embedded

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def execute(pulled_store, tmp_path_factory):
    """Return a function that runs a notebook where there is no Ollama."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_DATA_HOME", "IPYTHONDIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        patch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # where nothing answers
        patch.setenv("PATH", "")  # no Ollama to be started either
        patch.setenv("OLLAMA_MAGIC_EMBEDDED_MODELS", str(pulled_store))
        yield lambda notebook: NotebookClient(notebook, timeout=300).execute()


@pytest.fixture(scope="module")
def outputs(execute):
    """Run the quickstart; return the outputs of each code cell by its source."""
    notebook = nbformat.read(QUICKSTART, as_version=4)
    execute(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {cell.source: cell.outputs for cell in cells}


def shown(outputs, beginning):
    (found,) = [out for source, out in outputs.items() if source.startswith(beginning)]
    return found


def test_serve_says_that_the_embedded_engine_was_started(outputs):
    (output,) = shown(outputs, "%ollama serve")
    assert "embedded engine" in output["data"]["text/plain"]


def test_the_first_answer_is_right_and_names_its_model(outputs):
    (output,) = shown(outputs, "%%ollama -s")
    assert "Paris" in output["data"]["text/plain"]
    known = output["metadata"]["ollama_magic"]
    assert (known["model"], known["host_kind"]) == ("smollm2:135m", "embedded")
    assert (known["chat"], known["turn"]) == ("main", 1)


def test_the_next_cell_goes_on_with_the_chat(outputs):
    (output,) = shown(outputs, "%%ollama -t")
    assert output["metadata"]["ollama_magic"]["turn"] == 2
    assert "embedded engine" in output["data"]["text/html"]


def test_the_reply_is_there_for_the_next_cell(outputs):
    stream, result = shown(outputs, "print(answer.text)")
    assert stream["text"].strip()
    assert "complete" in result["data"]["text/plain"]


def test_every_answer_is_exactly_one_output(outputs):
    for source, found in outputs.items():
        if source.startswith("%%ollama"):
            assert len(found) == 1
            assert set(found[0]["data"]) == {"text/html", "text/plain"}


def test_a_reload_goes_on_with_the_server_that_was_started(execute):
    notebook = nbformat.v4.new_notebook()
    sources = [
        "%load_ext ollama_magic",
        "%ollama serve",
        "%reload_ext ollama_magic",
        "%%ollama -t 0 -o num_predict 5\nSay hello.",
    ]
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    execute(notebook)
    (output,) = notebook.cells[3].outputs
    assert output["metadata"]["ollama_magic"]["host_kind"] == "embedded"
