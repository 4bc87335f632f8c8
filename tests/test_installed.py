"""The installed package: the wheel contains what a notebook needs.

Uses no other file of this repository, so that it can test an installed wheel.
"""

import importlib.metadata
import importlib.util
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def run(*sources, allow_errors=False):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    NotebookClient(notebook, timeout=120, allow_errors=allow_errors).execute()
    return notebook.cells


def test_the_package_has_a_version_and_types():
    import ollama_magic

    assert ollama_magic.__version__ == importlib.metadata.version("ollama-magic")
    folder = Path(importlib.util.find_spec("ollama_magic").origin).parent
    assert (folder / "py.typed").exists()


def test_every_public_name_can_be_imported():
    import ollama_magic

    for name in ollama_magic.__all__:
        assert getattr(ollama_magic, name)


def test_a_headless_notebook_loads_the_extension_and_shows_help():
    cells = run("%load_ext ollama_magic", "%ollama help")
    assert "--temperature" in cells[1].outputs[0]["data"]["text/plain"]


def test_a_headless_run_stops_at_an_error():
    setup = "%load_ext ollama_magic\n%config OllamaMagics.host = '127.0.0.1:9'"
    with pytest.raises(CellExecutionError, match="No Ollama server answered"):
        run(setup, "%%ollama\nHi", "print('ran on')")
