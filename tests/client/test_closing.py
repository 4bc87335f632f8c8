"""Closing a stream ends the connection at once, in every phase and from any thread.

That is what makes Ollama stop generating.
"""

import gc
import signal
import socket
import sys
import threading
import time
import warnings

import pytest
from fake_ollama import Answer, FakeOllama, Wait, reply_line

from ollama_magic.client.client import OllamaClient
from ollama_magic.errors import StreamInterruptedError

HI = [{"role": "user", "content": "hi"}]
LINE = reply_line({"messages": 1}, "m", content="a")
ROUNDS = 20
SOON_S = 10
"""A limit for a busy machine; an idle one takes milliseconds."""


class Reader(threading.Thread):
    """Iterates over a stream; keeps its chunks and its error."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream = stream
        self.chunks = []
        self.has_read = threading.Event()
        self.error = None
        self.start()

    def run(self):
        try:
            for chunk in self.stream:
                self.chunks.append(chunk)
                self.has_read.set()
        except BaseException as exc:  # noqa: BLE001  # the test looks at it
            self.error = exc


def wait_until_main_thread_reads():
    """Wait: a stream handles only interrupts inside ``next``."""
    main = threading.main_thread().ident
    end = time.monotonic() + 20
    while sys._current_frames()[main].f_code.co_name != "readinto":
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(params=["headers", "reading", "unchunked"])
def waiting(request, fake_ollama):
    """Script an endpoint that stops responding at some stage; return the stage."""
    never = threading.Event()
    answers = {
        "headers": Answer([LINE], hold_headers=never),
        "reading": Answer([LINE, Wait(never)]),
        "unchunked": Answer([LINE, Wait(never)], framing="close"),
    }
    fake_ollama.on("POST /api/chat", answers[request.param])
    return request.param


def test_closing_from_another_thread_ends_the_connection(client, fake_ollama, waiting):
    for count in range(1, ROUNDS + 1):
        reader = Reader(client.chat("m", HI))
        arrived = fake_ollama.wait_for("/api/chat", count=count)
        if waiting != "headers":
            assert reader.has_read.wait(20)
        began = time.monotonic()
        reader.stream.close()
        assert arrived.wait_closed()
        assert arrived.closed_at - began < SOON_S
        assert arrived.was_cut_off
        reader.join(20)
        assert type(reader.error) is StreamInterruptedError
        assert reader.error.why == "the client closed the connection"


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to a thread there")
def test_an_interrupt_ends_the_connection(client, fake_ollama, waiting):
    """Even without `with`, and while IPython keeps the traceback."""
    kept = []
    for count in range(1, ROUNDS + 1):
        stream = client.chat("m", HI)
        if waiting != "headers":
            next(stream)
        began, interrupted = [], threading.Event()

        def interrupt(began=began, interrupted=interrupted):
            wait_until_main_thread_reads()
            # Python notices a signal that arrives just before a system call only when
            # that call ends, so the signal may have to be sent again.
            while not began or not interrupted.wait(2):
                began.append(time.monotonic())
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        try:
            thread.start()
            next(stream)
        except KeyboardInterrupt as exc:
            interrupted.set()
            kept.append((stream, exc))
        thread.join(20)
        arrived = fake_ollama.wait_for("/api/chat", count=count)
        assert arrived.wait_closed()
        assert arrived.closed_at - began[-1] < SOON_S
    assert len(kept) == ROUNDS


def test_leaving_the_with_block_ends_the_connection(client, fake_ollama):
    never = threading.Event()
    fake_ollama.on("POST /api/chat", Answer([LINE, Wait(never)]))
    with client.chat("m", HI) as stream:
        next(stream)
    arrived = fake_ollama.wait_for("/api/chat")
    assert arrived.wait_closed()
    assert arrived.was_cut_off


def test_a_complete_reply_leaves_no_connection(client, fake_ollama):
    client.chat("llama3.2:3b", HI).complete()
    assert fake_ollama.wait_for("/api/chat").wait_closed()


def test_closing_before_the_start_sends_nothing(client, fake_ollama):
    stream = client.chat("m", HI)
    stream.close()
    stream.close()
    with pytest.raises(StreamInterruptedError):
        next(stream)
    assert fake_ollama.requests == []


def test_closing_a_complete_reply_changes_nothing(client):
    stream = client.chat("llama3.2:3b", HI)
    assert list(stream)[-1].done
    stream.close()
    assert list(stream) == []


def test_closing_while_connecting_drops_the_new_connection(monkeypatch):
    """Connecting cannot be cancelled; the connection is not used, though."""
    may_connect = threading.Event()
    connecting = threading.Event()
    connect = socket.socket.connect

    def slow(sock, address):
        if threading.current_thread().name == "connects":
            connecting.set()
            assert may_connect.wait(20)
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", slow)
    with FakeOllama() as fake:
        stream = OllamaClient(fake.url).chat("m", HI)
        failed = []

        def run():
            try:
                next(stream)
            except StreamInterruptedError as exc:
                failed.append(exc)

        thread = threading.Thread(target=run, name="connects")
        thread.start()
        assert connecting.wait(20)
        stream.close()
        may_connect.set()
        thread.join(20)
        assert [error.why for error in failed] == ["the client closed the connection"]
        assert fake.requests == []


def test_a_pull_closed_here_is_not_a_failed_pull(client, fake_ollama):
    never = threading.Event()
    fake_ollama.on("POST /api/pull", Answer([{"status": "x"}, Wait(never)]))
    reader = Reader(client.pull("m"))
    assert reader.has_read.wait(20)
    reader.stream.close()
    reader.join(20)
    assert type(reader.error) is StreamInterruptedError
    assert fake_ollama.wait_for("/api/pull").wait_closed()


@pytest.mark.parametrize("ends", ["complete", "closed", "refused", "broken"])
def test_no_socket_is_left_behind(client, fake_ollama, ends):
    """Python warns about sockets that the garbage collector had to close."""
    never = threading.Event()
    scripts = {
        "closed": Answer([LINE, Wait(never)]),
        "refused": Answer(["{}"], status=500),
        "broken": Answer([LINE]),
    }
    if ends in scripts:
        fake_ollama.on("POST /api/chat", scripts[ends])
    gc.collect()  # left by other tests
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            stream = client.chat("llama3.2:3b", HI)
            if ends == "closed":
                next(stream)
                stream.close()
            else:
                Reader(stream).join(20)
            del stream
        gc.collect()
    assert [str(w.message) for w in caught if w.category is ResourceWarning] == []
