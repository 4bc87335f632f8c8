"""Fixtures for all tests: a server on loopback, a client, a clean environment."""

import gc
import os
import signal
import sys
import tempfile
from itertools import count
from pathlib import Path

import hypothesis
import pytest
from jupyter_client.manager import KernelManager

sys.path.insert(0, str(Path(__file__).parent))  # so that tests import fake_ollama

from fake_ollama import FakeOllama
from fake_ollama import recording as read_recording
from report import Report

# JSON Schema would compile 38 grammars of addresses in each worker; nobody checks them.
sys.modules.setdefault("rfc3987_syntax", None)

# Examples of properties have no time limit: a busy machine is sometimes slow.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# A background job of a shell ignores interrupts, and so do the processes it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    "tests/browser/",
    "tests/render/test_cost.py",
    "tests/server/test_embedded_notebooks.py",
    "tests/server/",
    "tests/notebook/test_example_notebooks.py",
    "tests/notebook/",
    "tests/render/",
)
"""What takes longest starts first, so that no worker is left alone with it."""


NOT_QUICK = (
    "tests/batch/test_executors.py",
    "tests/batch/test_interrupt.py",
    "tests/batch/test_outages.py",
    "tests/client/test_certificates.py",
    "tests/client/test_closing.py",
    "tests/client/test_network_errors.py",
    "tests/client/test_network_tables.py",
    "tests/client/test_stream_faults.py",
    "tests/generation/test_schema.py::test_a_long_row_of_references",
    "tests/generation/test_schema.py::test_checking_a_value_stops",
    "tests/generation/test_schema.py::test_parsing_texts_in_a_value_stops",
    "tests/generation/test_schema.py::test_such_a_pattern",
    "tests/history/test_faults.py",
    "tests/history/test_page.py",
    "tests/notebook/test_foreign_kernels.py",
    "tests/notebook/test_pages.py::test_a_script",
    "tests/notebook/test_runtime_faults.py",
    "tests/notebook/test_secrets.py",
    "tests/notebook/test_terminal.py",
    "tests/server/test_embedded",
    "tests/test_installed.py",
)
"""Tests that start processes, wait for limits of time, or reach limits of work."""


def pytest_configure(config):
    path = os.environ.get("CI_REPORT")
    if path and not hasattr(config, "workerinput"):  # workers report to one process
        config.pluginmanager.register(Report(Path(path)))


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path):
    """Look for doctests in the package, and not once more in each file of tests."""
    here = Path(__file__).parent in file_path.parents
    return [one for one in (yield) if not here or type(one) is pytest.Module]


def pytest_collection_modifyitems(items):
    def rank(item):
        matches = map(item.nodeid.startswith, LONGEST)
        return next((n for n, match in enumerate(matches) if match), len(LONGEST))

    items.sort(key=rank)
    for item in items:
        marked = any(map(item.get_closest_marker, ("browser", "slow", "embedded")))
        kernel = hasattr(getattr(item, "module", None), "Kernel")
        kernel = kernel or "warm_kernel" in getattr(item, "fixturenames", ())
        if not (marked or kernel or item.nodeid.startswith(NOT_QUICK)):
            item.add_marker(pytest.mark.quick)


def pytest_collection_finish():
    """Spare the garbage collector what stays: modules and thousands of tests."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    """Spare it the rest too: at exit, each IPython shell of a test collects twice."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each file to one worker, and all browser tests to the same one.

    So there is one JupyterLab and one Chromium.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            browser = nodeid.startswith(LONGEST[0])
            return LONGEST[0] if browser else super()._split_scope(nodeid)

    return Scheduling(config, log)


_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True, scope="session")
def clean_session(tmp_path_factory):
    """Give kernels that serve many tests an IPython history of their own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _clean(monkeypatch, tmp_path_factory.mktemp("home"))
        yield


@pytest.fixture(autouse=True, scope="session")
def kernels_without_ports():
    """Start kernels with Unix sockets instead of ports.

    Jupyter picks five free ports for a kernel, which binds them only after it has
    started. Meanwhile another process may take one, and the kernel exits.
    """
    if sys.platform == "win32":
        yield
        return
    init, number = KernelManager.__init__, count()

    def init_with_files(self, *args, **kwargs):
        files = {"transport": "ipc", "ip": f"{folder}/{next(number)}"}
        init(self, *args, **files | kwargs)

    # A short path, because the path of a socket has at most 107 characters.
    with (
        tempfile.TemporaryDirectory(prefix="kernels") as folder,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setattr(KernelManager, "__init__", init_with_files)
        yield


@pytest.fixture(autouse=True)
def clean_environment(tmp_path_factory, monkeypatch):
    """Hide the settings, proxies and files of the user who runs the tests."""
    home = tmp_path_factory.mktemp("home")
    _clean(monkeypatch, home)
    yield home
    if "ollama_magic.generation.session" in sys.modules:
        sys.modules["ollama_magic.generation.session"].close_own_session()


def _clean(monkeypatch, home):
    for name in list(os.environ):
        if name.startswith("OLLAMA_") or name.lower() in _PROXIES:
            monkeypatch.delenv(name)
    for name, folder in {
        "HOME": "",
        "USERPROFILE": "",
        "XDG_DATA_HOME": "data",
        "XDG_CONFIG_HOME": "config",
        "XDG_CACHE_HOME": "cache",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "jupyter",
    }.items():
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.delenv("NETRC", raising=False)


@pytest.fixture
def fake_ollama():
    """Start a scripted Ollama server; see the docstring of ``tests/fake_ollama.py``."""
    with FakeOllama() as fake:
        yield fake


@pytest.fixture
def client(fake_ollama):
    """Make a client of ``fake_ollama``."""
    from ollama_magic.client.client import OllamaClient

    return OllamaClient(fake_ollama.url)


@pytest.fixture
def recording():
    """Return a function that reads a recording in ``tests/wire`` by its name."""
    return read_recording
