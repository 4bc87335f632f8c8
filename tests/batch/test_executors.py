"""``map_prompts`` with executors: threads, processes and Dask."""

import pickle
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from fake_ollama import FakeOllama, Wait, error, reply_line

from ollama_magic import map_prompts
from ollama_magic.batch.dispatch import RowResult
from ollama_magic.batch.servers import BatchServer
from ollama_magic.batch.workers import Sender
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.types import GenerateRequest
from ollama_magic.errors import (
    ConfigError,
    ReplyDataError,
    ServerError,
)

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed")

ROWS = [str(n) for n in range(20)]


@pytest.fixture(autouse=True)
def configured(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    fake_ollama.chat(lambda body: says(body, f"re: {body['prompt']}"))


def says(body, text):
    return [
        reply_line(body, content=text),
        reply_line(body, done=True, done_reason="stop"),
    ]


def asked(fake_ollama):
    return [body["prompt"] for body in fake_ollama.bodies("/api/generate")]


@pytest.fixture(scope="module")
def spawned():
    """Provide processes that share nothing with this one."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.fixture(params=["threads", "processes", "dask threads", "dask processes"])
def executor(request, spawned):
    if request.param == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    elif request.param == "processes":
        yield spawned
    else:
        with (
            distributed.LocalCluster(
                processes=request.param == "dask processes",
                n_workers=2,
                threads_per_worker=2,
                dashboard_address=None,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client.get_executor()


def test_rows_keep_their_order_errors_and_cache(executor, fake_ollama):
    """One test checks everything, because a cluster takes seconds to start."""
    assert map_prompts("{}", ROWS, executor=executor) == [f"re: {n}" for n in ROWS]
    assert sorted(asked(fake_ollama)) == sorted(ROWS)
    map_prompts("{}", ROWS, executor=executor)
    assert len(asked(fake_ollama)) == 20

    def answer(body):
        if "messages" in body:
            return says(body, '{"n": 1}' if "Row 1" in str(body) else '{"n": "?"}')
        return error(500, "no luck") if body["prompt"] == "Row 3" else says(body, "{}")

    fake_ollama.chat(answer)
    found = map_prompts("Row {}", [1, 2, 3], schema="n int", executor=executor)
    assert found[0] == {"n": 1}
    assert isinstance(found[1], ReplyDataError)
    assert isinstance(found[2], ServerError)
    assert found[2].status_code == 500
    assert "no luck" in found[2].why


class Counting(ThreadPoolExecutor):
    """An executor with one thread that counts its waiting tasks."""

    most = waiting = 0

    def submit(self, *args, **options):
        future = super().submit(*args, **options)
        Counting.waiting += 1
        Counting.most = max(Counting.most, Counting.waiting)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _future):
        Counting.waiting -= 1


def test_an_executor_never_holds_all_rows_at_once():
    with Counting(1) as pool:
        map_prompts("{}", range(200), executor=pool, concurrency=2)
    assert Counting.most == 8


def test_hosts_take_turns_in_an_executor(fake_ollama, spawned):
    with FakeOllama() as other:
        hosts = [fake_ollama.url, other.url]
        map_prompts("{}", range(6), hosts=hosts, executor=spawned)
        assert len(asked(fake_ollama)) + len(asked(other)) == 6
        assert min(len(asked(fake_ollama)), len(asked(other))) >= 1


def test_processes_drop_a_server_that_stops_responding(spawned):
    never = threading.Event()
    with FakeOllama() as stays, FakeOllama() as goes:
        stays.chat(lambda body: says(body, "stays"))
        goes.chat(lambda body: [Wait(never)])

        def leave():
            goes.wait_for("/api/generate")
            goes.__exit__()

        thread = threading.Thread(target=leave)
        thread.start()
        with pytest.warns(UserWarning, match="Server skipped"):
            found = map_prompts(
                "{}", range(6), hosts=[goes.url, stays.url], executor=spawned
            )
        thread.join()
    assert found == ["stays"] * 6


def test_an_executor_that_is_shut_down_is_an_error(fake_ollama):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ConfigError, match="accepts no more work") as caught:
        map_prompts("{}", ["a"], executor=pool)
    assert "after shutdown" in caught.value.why


class Pickling(Executor):
    """Stands in for processes: tasks must survive pickling."""

    sent = b""

    def submit(self, call):
        self.sent = pickle.dumps(call)
        future = Future()
        future.set_result(pickle.loads(self.sent)())
        return future


def test_no_secret_is_sent_to_a_worker(fake_ollama, monkeypatch):
    """The worker uses its own key, and for the configured server only."""
    monkeypatch.setenv("OLLAMA_API_KEY", "secret-of-mine")
    client = OllamaClient(fake_ollama.url)
    monkeypatch.setenv("OLLAMA_API_KEY", "key-of-the-worker")
    executor = Pickling()
    for is_configured in (True, False):
        server = BatchServer(client, is_configured, "loopback")
        request = GenerateRequest("llama3.2:3b", "a")
        answered = Sender(None, executor).send(server, request)
        assert answered.response.text == "re: a"
        assert b"secret-of-mine" not in executor.sent
    sent = [r.headers.get("authorization") for r in fake_ollama.requests]
    assert sent == ["Bearer key-of-the-worker", None]


def test_the_password_of_a_host_stays_in_this_process(fake_ollama, spawned):
    url = fake_ollama.url.replace("http://", "http://user:pass@")
    with pytest.raises(ConfigError, match="was not sent to other processes"):
        map_prompts("{}", ["a"], hosts=url, executor=spawned)
    assert asked(fake_ollama) == []


def test_extra_headers_stay_in_this_process(fake_ollama, spawned):
    """The workers would send their rows without them, and be rejected."""
    client = OllamaClient(fake_ollama.url, headers={"X-Key": "secret-of-mine"})
    server = BatchServer(client, True, "loopback")
    with pytest.raises(ConfigError, match="The secret in headers for"):
        Sender(None, spawned).send(server, GenerateRequest("m", "x"))


def test_errors_keep_their_text_between_processes():
    error = ServerError("what", why="why", next_step="next", status_code=429)
    error.retry_after_s = 20.0
    received = pickle.loads(pickle.dumps(RowResult(error=error))).error
    assert received.lines() == ["what", "  why:  why", "  next: next"]
    assert (received.status_code, received.retry_after_s) == (429, 20.0)
