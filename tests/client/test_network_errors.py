"""Network failures, and the errors that the user sees."""

import gc
import socket
import threading

import pytest
import requests
from fake_ollama import RESET, Answer, FakeOllama, Wait, error, reply_line

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import parse_host
from ollama_magic.client.network_errors import no_response
from ollama_magic.errors import (
    ConfigError,
    ModelNotFoundError,
    ModelTransferError,
    NotOllamaError,
    OllamaMagicError,
    ServerError,
    ServerUnreachableError,
    StreamInterruptedError,
)

HI = [{"role": "user", "content": "hi"}]
MODEL = "llama3.2:3b"
CONFIG = '%config OllamaMagics.host = "http://HOST:PORT"'
LINES = [
    reply_line({"messages": 1}, "m", content="a"),
    reply_line({"messages": 1}, "m", content="bé"),
    reply_line({"messages": 1}, "m", content="c", done=True, done_reason="stop"),
]


def take(stream):
    """Return the chunks that arrived, and the error that ended them."""
    chunks = []
    try:
        chunks.extend(stream)
    except OllamaMagicError as exc:
        return chunks, exc
    return chunks, None


@pytest.fixture
def closed_port():
    """Return a port where nothing listens, and nothing will while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_nothing_listens_on_this_machine(closed_port):
    url = f"http://127.0.0.1:{closed_port}"
    for call in (OllamaClient(url).list, OllamaClient(url).chat("m", HI).complete):
        with pytest.raises(ServerUnreachableError) as info:
            call()
        assert info.value.lines() == [
            f"No Ollama server answered at {url}.",
            "  why:  connection refused",
            "  next: start Ollama with %ollama serve, or check the address",
        ]


def test_nothing_listens_at_the_default_address():
    """Without a real request: on some machines an Ollama listens there."""
    refused = requests.ConnectionError(ConnectionRefusedError(111, "refused"))
    error = no_response(
        parse_host(None), refused, connect_timeout_s=5.0, response_timeout_s=None
    )
    assert error.next_step == "start Ollama with %ollama serve"


def test_an_unknown_host_name():
    with pytest.raises(ServerUnreachableError) as info:
        OllamaClient("http://no-such-host.invalid").version()
    assert info.value.lines() == [
        "No Ollama server answered at http://no-such-host.invalid.",
        "  why:  the host name cannot be resolved",
        "  next: check that Ollama is running there and accepts network connections "
        "(OLLAMA_HOST=0.0.0.0 on that machine), or set the address of an Ollama "
        f"server: {CONFIG}",
    ]


@pytest.mark.parametrize("host", ["http://a..b", f"http://{'x' * 70}.org"])
def test_an_invalid_host_name(host):
    with pytest.raises((ConfigError, ServerUnreachableError)):
        OllamaClient(host).version()


def test_connecting_takes_too_long():
    """A full backlog silently drops connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(8):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        client = OllamaClient(
            f"127.0.0.1:{listener.getsockname()[1]}", connect_timeout_s=0.2
        )
        with pytest.raises(ServerUnreachableError) as info:
            client.version()
        assert info.value.why in {
            "no connection within 0.2 s",
            "connection refused",  # not every system waits
        }
        for connection in waiting:
            connection.close()


def test_a_mistyped_model_gets_the_nearest_name(client, fake_ollama):
    with pytest.raises(ModelNotFoundError) as info:
        client.chat("llama3.2:3bb", HI).complete()
    assert info.value.lines() == [
        f"Model 'llama3.2:3bb' is not on {fake_ollama.url}.",
        "  why:  server (404): model 'llama3.2:3bb' not found",
        "  next: did you mean 'llama3.2:3b'? If not: %ollama pull llama3.2:3bb",
    ]


def test_a_model_error_does_not_need_the_list_of_models(client, fake_ollama):
    fake_ollama.on("GET /api/tags", error(500, "disk on fire"))
    with pytest.raises(ModelNotFoundError) as info:
        client.chat("nope", HI).complete()
    assert info.value.next_step == "%ollama pull nope"


def test_an_error_line_keeps_the_chunks_before_it(client, fake_ollama):
    """The status is 200 by then; only the line reports the error."""
    line = {"error": "an error was encountered while running the model: EOF"}
    fake_ollama.on("POST /api/chat", Answer([*LINES[:2], line]))
    chunks, fault = take(client.chat("m", HI))
    assert [chunk.content for chunk in chunks] == ["a", "bé"]
    assert type(fault) is ServerError
    assert fault.status_code == 200
    assert fault.lines() == [
        "'m' failed while it was answering.",
        "  why:  server (mid-stream): an error was encountered while running the "
        "model: EOF",
        "  next: run this again; the server restarts the model",
    ]


def test_a_reset_is_not_an_end(client, fake_ollama):
    came = threading.Event()
    fake_ollama.on("POST /api/chat", Answer([LINES[0], Wait(came), RESET]))
    stream = client.chat("m", HI)
    assert next(stream).content == "a"
    came.set()
    with pytest.raises(StreamInterruptedError) as info:
        next(stream)
    assert info.value.lines() == [
        f"The response from {fake_ollama.url} was cut off.",
        "  why:  connection reset by peer",
        "  next: run it again; the text so far is kept",
    ]


def test_an_end_without_done_is_an_error(client, fake_ollama):
    """HTTP cannot tell the difference; Ollama's last line has done true."""
    fake_ollama.on("POST /api/chat", Answer(LINES[:2]))
    chunks, fault = take(client.chat("m", HI))
    assert len(chunks) == 2
    assert type(fault) is StreamInterruptedError
    assert fault.why == "the stream ended without its last line"
    with pytest.raises(StreamInterruptedError):
        client.chat("m", HI).complete()


def test_a_stream_that_failed_stays_failed(client, fake_ollama):
    fake_ollama.on("POST /api/chat", Answer(LINES[:2]))
    stream = client.chat("m", HI)
    take(stream)
    with pytest.raises(StreamInterruptedError):
        next(stream)


def test_a_stall_ends_after_the_idle_timeout(fake_ollama):
    never = threading.Event()
    fake_ollama.on("POST /api/chat", Answer([LINES[0], Wait(never)]))
    client = OllamaClient(fake_ollama.url, idle_timeout_s=0.2)
    chunks, fault = take(client.chat("m", HI))
    assert len(chunks) == 1
    assert type(fault) is StreamInterruptedError
    assert fault.lines() == [
        f"The response from {fake_ollama.url} was cut off.",
        "  why:  no data for 0.2 s",
        "  next: run it again, or raise the limit: "
        "%config OllamaMagics.timeout = SECONDS",
    ]


@pytest.mark.parametrize("phase", ["headers", "transfer"])
def test_a_loading_model_and_a_transfer_may_be_silent_for_long(fake_ollama, phase):
    """The idle timeout does not apply to the first token or to verifying a download."""
    go_on = threading.Event()
    if phase == "headers":
        fake_ollama.on("POST /api/chat", Answer(LINES, hold_headers=go_on))
    else:
        steps = [{"status": "verifying"}, Wait(go_on), {"status": "success"}]
        fake_ollama.on("POST /api/pull", Answer(steps))
    client = OllamaClient(fake_ollama.url, connect_timeout_s=0.1, idle_timeout_s=0.1)
    stream = client.chat("m", HI) if phase == "headers" else client.pull("m")
    timer = threading.Timer(0.5, go_on.set)
    timer.start()
    assert take(stream)[1] is None
    timer.join()


def test_a_list_that_never_arrives_times_out(fake_ollama, monkeypatch):
    monkeypatch.setattr("ollama_magic.client.connection.TIMEOUT_S", 0.2)
    never = threading.Event()
    fake_ollama.on("GET /api/version", Answer(hold_headers=never))
    with pytest.raises(ServerUnreachableError):
        OllamaClient(fake_ollama.url).version()


def test_a_line_that_is_not_json_is_shown(client, fake_ollama):
    fake_ollama.on("POST /api/chat", Answer([LINES[0], "\x1b[31mboom\n"]))
    chunks, fault = take(client.chat("m", HI))
    assert len(chunks) == 1
    assert fault.lines() == [
        "The response was cut off: it is not valid JSON.",
        "  why:  line 2 is not JSON: \\x1b[31mboom",
        "  next: run it again; if the error repeats, check which server "
        "this is: %ollama version",
    ]


def test_an_invalid_line_in_a_pull_is_a_transfer_error(client, fake_ollama):
    fake_ollama.on("POST /api/pull", Answer(['{"status": "x"}\n', "boom\n"]))
    with pytest.raises(ModelTransferError, match="line 2 is not JSON: boom"):
        list(client.pull("m"))


def test_invalid_chunk_sizes(client, fake_ollama):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    fake_ollama.on("POST /api/chat", Answer([head, b"zz\r\n{}\r\n"], raw=True))
    assert type(take(client.chat("m", HI))[1]) is StreamInterruptedError


def test_invalid_compressed_data(client, fake_ollama):
    headers = {"Content-Encoding": "gzip"}
    fake_ollama.on("POST /api/chat", Answer(["{}\n"], headers=headers))
    fault = take(client.chat("m", HI))[1]
    assert type(fault) is StreamInterruptedError
    assert fault.why == "its compressed data is damaged"


BANNERS = {
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": bytes(100),
    "half": b"HTTP/1.1 200",
    "long": b"HTTP/1.1 200 " + b"x" * 100_000,
    "header": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("banner", BANNERS.values(), ids=BANNERS)
def test_another_protocol_is_not_ollama(client, fake_ollama, banner):
    """Whatever listens on the port, the error has three clean lines."""
    fake_ollama.on("GET /api/version", Answer([banner], raw=True))
    fake_ollama.on("POST /api/chat", Answer([banner], raw=True))
    for call in (client.version, client.chat("m", HI).complete):
        with pytest.raises(OllamaMagicError) as info:
            call()
        assert len(info.value.lines()) == 3
        assert len(str(info.value)) < 500
        assert str(info.value).replace("\n", "").isprintable()
    del info
    gc.collect()  # urllib3 does not close the body if headers contradict each other


def test_an_ssh_server_has_its_banner_in_the_error(client, fake_ollama):
    fake_ollama.on("GET /api/version", Answer([BANNERS["ssh"]], raw=True))
    with pytest.raises(NotOllamaError) as info:
        client.version()
    assert info.value.lines() == [
        f"The server at {fake_ollama.url} is not an Ollama server.",
        "  why:  not HTTP: BadStatusLine: SSH-2.0-OpenSSH_9.6",
        f"  next: set the address of an Ollama server: {CONFIG}",
    ]


def test_a_connection_closed_before_any_response(client, fake_ollama):
    fake_ollama.on("POST /api/chat", Answer([], raw=True))
    fault = take(client.chat("m", HI))[1]
    assert type(fault) is ServerUnreachableError
    assert fault.lines() == [
        f"The server at {fake_ollama.url} did not respond.",
        "  why:  it closed the connection without a response",
        "  next: run it again; if the error repeats, see the server's log: "
        "https://docs.ollama.com/troubleshooting",
    ]


PAGE = Answer(
    ["<!DOCTYPE html><html><head><title>Jupyter – Größe</title></head></html>"],
    content_type="text/html",
    framing="length",
)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_web_page_is_not_ollama(client, fake_ollama, framing):
    """The error shows its title, decoded as UTF-8 whatever requests assumes."""
    page = Answer(PAGE.steps, content_type="text/html", framing=framing)
    fake_ollama.on("GET /api/tags", page)
    fake_ollama.on("POST /api/chat", page)
    for call in (client.list, client.chat("m", HI).complete):
        with pytest.raises(NotOllamaError) as info:
            call()
        assert info.value.lines() == [
            f"The server at {fake_ollama.url} answered with a web page.",
            '  why:  server (200): text/html ("Jupyter – Größe")',
            f"  next: set the address of an Ollama server: {CONFIG}",
        ]


def test_redirects_are_not_followed(client, fake_ollama):
    """307 and 308 would send the prompt to another host."""
    with FakeOllama() as other:
        location = f"{other.url}/api/chat"
        redirect = Answer(status=307, headers={"Location": location}, framing="length")
        fake_ollama.on("POST /api/chat", redirect)
        fake_ollama.on("GET /api/tags", redirect)
        for call in (client.chat("m", HI).complete, client.list):
            with pytest.raises(NotOllamaError) as info:
                call()
            assert info.value.lines() == [
                f"{fake_ollama.url} redirects to {other.url}; redirects are not "
                "followed.",
                "  why:  the prompt would go to a host that you did not choose",
                "  next: if you trust it, set it as the address: "
                f'%config OllamaMagics.host = "{other.url}"',
            ]
        assert other.requests == []


def test_a_reply_over_the_limit_is_cut_off(client, fake_ollama, monkeypatch):
    monkeypatch.setattr("ollama_magic.client.streams.MAX_RESPONSE_BYTES", 1000)
    fake_ollama.on("POST /api/chat", Answer([LINES[0]] * 1001))
    chunks, fault = take(client.chat("m", HI))
    assert len(chunks) == 1000
    assert fault.why == "more than 1,000 characters"


def test_a_plain_response_over_the_limit_is_an_error(client, fake_ollama):
    def endless():
        while True:
            yield b" " * 1_000_000

    fake_ollama.on("GET /api/tags", Answer(endless()))
    with pytest.raises(StreamInterruptedError, match="more than 8 MiB"):
        client.list()


def test_bugs_are_not_wrapped(client):
    """Our bugs and those of the caller keep their traceback."""
    with pytest.raises(TypeError):
        client.chat("m", [{"content": object()}])


@pytest.mark.parametrize("cut", [0, 10, 40])
@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_truncated_error_response_is_still_our_error(
    client, fake_ollama, status, cut
):
    body = '{"error":"something long enough to be cut"}'
    answer = Answer([body], status=status, framing="length", cut_after=cut)
    fake_ollama.on("POST /api/chat", answer)
    assert take(client.chat("m", HI))[1] is not None
