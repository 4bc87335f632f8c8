"""A connection whose response was read to its end serves the next request."""

import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from certificates import CERTIFICATES, KEY
from fake_ollama import PATIENCE_S

from ollama_magic.client import compat
from ollama_magic.client.client import OllamaClient
from ollama_magic.errors import (
    NotOllamaError,
    ServerUnreachableError,
    StreamInterruptedError,
)

CHUNKS = [b'{"response": "a"}\n', b'{"response": "b", "done": true}\n']


class Handler(BaseHTTPRequestHandler):
    """Notes which connection brings which request; ``faults`` come first."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.number = next(self.server.numbers)

    def finish(self):
        super().finish()
        self.server.ended(self.number)

    def do_GET(self):
        size = int(self.headers.get("Content-Length", 0))
        self.rfile.read(size)
        self.server.requests.append((self.number, self.path, dict(self.headers)))
        if self.server.faults and self.server.faults[0](self):
            return
        self.answer()

    do_POST = do_DELETE = do_GET  # noqa: N815  (names of the base)

    def answer(self, *, is_ended=True, chunks=CHUNKS):
        if self.path != "/api/generate":
            chunks = [b'{"version": "0.33.0", "models": [], "status": "success"}\n']
        self.send_response(200)
        self.send_header("Set-Cookie", "a=b; Path=/")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in [*chunks, b""][: None if is_ended else -1]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.numbers = iter(range(100))
        self.requests, self.faults = [], []
        self._ended, self._changed = set(), threading.Condition()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def use_tls(self, file):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def ended(self, number):
        with self._changed:
            self._ended.add(number)
            self._changed.notify_all()

    def wait_ended(self, number):
        with self._changed:
            return self._changed.wait_for(lambda: number in self._ended, PATIENCE_S)

    @property
    def connections(self):
        """Which connection each request came on."""
        return [number for number, *_ in self.requests]


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        compat.IDLE.close()
        server.shutdown()


@pytest.fixture
def client(server):
    return OllamaClient(server.url)


def generate(client):
    return client.generate("m", "x").complete().content


def drops(handler):
    """End the connection without a response, as one that was idle for too long."""
    handler.server.faults.clear()
    handler.close_connection = True
    return True


def always_drops(handler):
    handler.close_connection = True
    return True


def test_requests_of_all_clients_share_a_connection_and_nothing_else(server):
    one = OllamaClient(server.url, api_key="first")
    other = OllamaClient(server.url, headers={"X-Team": "second"})
    one.version()
    assert generate(one) == "ab"
    one.ps()
    generate(other)
    other.version()
    assert server.connections == [0] * 5
    sent = [headers for *_, headers in server.requests]
    assert [h.get("Authorization") for h in sent] == ["Bearer first"] * 3 + [None] * 2
    assert [h.get("X-Team") for h in sent] == [None] * 3 + ["second"] * 2
    assert not any("Cookie" in headers for headers in sent)


def test_streams_at_the_same_time_have_connections_of_their_own(client, server):
    first, second = client.generate("m", "x"), client.generate("m", "x")
    next(first)
    next(second)
    assert [chunk.content for chunk in (*first, *second)] == ["b", "b"]
    third, fourth = client.generate("m", "x"), client.generate("m", "x")
    next(third)
    next(fourth)
    first.close()  # its connection belongs to another stream by now
    second.close()
    assert [chunk.content for chunk in (*third, *fourth)] == ["b", "b"]
    assert sorted(server.connections) == [0, 0, 1, 1]


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize("has_tls", [False, True])
def test_another_thread_can_close_what_uses_a_kept_connection(
    server, tmp_path, monkeypatch, has_tls, has_begun
):
    if has_tls:
        file = tmp_path / "server.pem"
        file.write_text(CERTIFICATES["good"] + KEY)
        server.use_tls(file)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    asked, never = threading.Event(), threading.Event()

    def hangs(handler):
        if has_begun:
            handler.answer(is_ended=False, chunks=CHUNKS[:1])
        asked.set()
        never.wait(PATIENCE_S)
        return True

    client = OllamaClient(server.url)
    client.version()
    generate(client)
    server.faults.append(hangs)
    stream, errors = client.generate("m", "x"), []

    def read():
        try:
            list(stream)
        except StreamInterruptedError as error:
            errors.append(error.why)

    reader = threading.Thread(target=read)
    reader.start()
    assert asked.wait(PATIENCE_S)
    stream.close()
    reader.join(PATIENCE_S)
    never.set()
    assert errors == ["the client closed the connection"]
    assert server.connections == [0, 0, 0]
    assert server.wait_ended(0)


def test_a_stream_that_was_closed_early_leaves_no_connection(client, server):
    with client.generate("m", "x") as stream:
        next(stream)
    assert server.wait_ended(0)
    generate(client)
    assert server.connections == [0, 1]


def test_a_body_that_does_not_end_leaves_no_connection(client, server):
    server.faults.append(lambda handler: handler.answer(is_ended=False) or True)
    assert generate(client) == "ab"
    assert server.wait_ended(0)


@pytest.mark.parametrize("call", [generate, OllamaClient.version])
def test_a_connection_that_the_server_gave_up_is_replaced(client, server, call):
    client.ps()
    server.faults.append(drops)
    call(client)
    assert server.connections == [0, 0, 1]


def test_a_request_is_repeated_only_once(client, server):
    client.ps()
    server.faults.append(always_drops)
    with pytest.raises(ServerUnreachableError, match="did not respond") as info:
        client.version()
    assert info.value.why == "it closed the connection without a response"
    assert server.connections == [0, 0, 1]
    with pytest.raises(ServerUnreachableError):  # a new connection is not stale
        client.version()
    assert server.connections == [0, 0, 1, 2]


def test_a_request_that_got_the_start_of_a_response_is_not_repeated(client, server):
    def garbles(handler):
        handler.wfile.write(b"what?\r\n\r\n")
        handler.close_connection = True
        return True

    client.ps()
    server.faults.append(garbles)
    with pytest.raises(NotOllamaError):
        client.version()
    assert server.connections == [0, 0]


def test_requests_that_change_something_use_new_connections(client, server):
    client.ps()
    client.delete("m")
    list(client.pull("m"))
    assert server.connections == [0, 1, 2]


def test_connections_are_bounded_in_number_and_age(client, server, monkeypatch):
    monkeypatch.setattr(compat, "_MAX_IDLE", 1)
    streams = [client.generate("m", "x") for _ in range(3)]
    for stream in streams:
        next(stream)
    for stream in streams:
        list(stream)
    assert server.wait_ended(0)
    assert server.wait_ended(1)
    monkeypatch.setattr(compat, "_MAX_IDLE_S", 0.0)
    client.version()
    assert server.wait_ended(2)
    assert server.connections[3:] == [3]


def test_a_closed_client_has_no_connection_and_stays_usable(client, server):
    client.version()
    client.close()
    assert server.wait_ended(0)
    client.version()
    with Server() as other:  # whose connections are left alone
        OllamaClient(other.url).close()
    client.version()
    assert server.connections == [0, 1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_process_has_connections_of_its_own(client, server):
    client.version()
    if not (child := os.fork()):
        try:
            client.version()
            generate(client)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert generate(client) == "ab"
    assert server.connections == [0, 1, 1, 0]
