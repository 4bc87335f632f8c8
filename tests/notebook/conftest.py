"""A kernel for the tests of this folder, started once and reset for each test."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests import kernel

from kernel import Kernel

RECORD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import restore
del sys.path[0], sys
restore.before = restore.Before(get_ipython())
"""
LOAD = "__import__('restore').before.load({settings!r})"


@pytest.fixture(scope="session")
def warm_kernel(tmp_path_factory):
    kernel = Kernel()
    ran = kernel.run(RECORD)
    assert ran.status == "ok", ran
    yield kernel
    kernel.close()


@pytest.fixture
def kernel_with(warm_kernel, tmp_path):
    """Return a function that gives the kernel as it was, with the extension loaded."""

    def kernel_with(**settings):
        settings |= {
            "history_file": str(tmp_path / "chats.sqlite"),
            "notebook": str(tmp_path / "notebook.ipynb"),
        }
        warm_kernel.answers = warm_kernel.opening = None
        warm_kernel.applies_updates = True
        ran = warm_kernel.run(LOAD.format(settings=settings))
        assert ran.status == "ok", ran
        return warm_kernel

    return kernel_with


@pytest.fixture
def kernel(kernel_with, fake_ollama):
    """Give a kernel whose extension is fresh and talks to ``fake_ollama``."""
    return kernel_with(host=fake_ollama.url)
