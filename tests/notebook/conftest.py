"""A kernel for the tests of this folder, started once and reset for each test."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests import kernel

from kernel import Kernel

SETTINGS = """
_oh.clear()  # IPython warns of 1000 outputs
get_ipython().config.OllamaMagics.clear()
%reload_ext ollama_magic
%config OllamaMagics.host = {host!r}
%config OllamaMagics.history_file = {history!r}
%config OllamaMagics.notebook = {notebook!r}
"""


@pytest.fixture(scope="session")
def warm_kernel(tmp_path_factory):
    kernel = Kernel()
    kernel.run("%load_ext ollama_magic")
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(warm_kernel, fake_ollama, tmp_path):
    """Give a kernel whose extension is fresh and talks to ``fake_ollama``."""
    settings = SETTINGS.format(
        host=fake_ollama.url,
        history=str(tmp_path / "chats.sqlite"),
        notebook=str(tmp_path / "notebook.ipynb"),
    )
    warm_kernel.answers, warm_kernel.applies_updates = None, True
    ran = warm_kernel.run(settings)
    assert ran.status == "ok", ran
    return warm_kernel
