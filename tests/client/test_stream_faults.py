"""Responses that stop, lie or never end: complete lines are kept, the rest is an error.

These faults need a server that misbehaves on purpose.
"""

import gzip
import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from examples import examples
from fake_ollama import Answer, FakeOllama, Wait, error, reply_line
from hypothesis import given
from hypothesis import strategies as st

from ollama_magic.client.client import OllamaClient
from ollama_magic.errors import (
    ModelNotFoundError,
    NotOllamaError,
    OllamaMagicError,
    ServerError,
    ServerUnreachableError,
    StreamInterruptedError,
)

pytestmark = pytest.mark.slow

HI = [{"role": "user", "content": "hi"}]
TEXTS = ["a", "bé", "c\u2028d"]
LINES = [
    json.dumps(
        reply_line({"messages": 1}, "m", content=text, done=text == TEXTS[-1]),
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    + b"\n"
    for text in TEXTS
]
MAX_SHOWN = 600


def take(client):
    """Return the texts that arrived, and the error that ended them."""
    texts = []
    try:
        with client.chat("m", HI) as stream:
            texts.extend(chunk.content for chunk in stream)
    except OllamaMagicError as exc:
        return texts, exc
    return texts, None


def check_shown(fault):
    """Check that an error is short and clean, and has a next step."""
    assert len(str(fault)) <= MAX_SHOWN
    assert str(fault).replace("\n", "").isprintable()
    assert fault.next_step
    assert "Traceback" not in str(fault)


def bodies(framing):
    """Return the whole response as sent, including headers."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
    plain = b"".join(LINES)
    if framing == "chunked":
        chunks = [b"%x\r\n%s\r\n" % (len(line), line) for line in LINES]
        return head + b"Transfer-Encoding: chunked\r\n\r\n", [*chunks, b"0\r\n\r\n"]
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(plain), LINES
    if framing == "close":
        return head + b"Connection: close\r\n\r\n", LINES
    packed = gzip.compress(plain, mtime=0)
    length = b"Content-Length: %d\r\n" % len(packed)
    return head + b"Content-Encoding: gzip\r\n" + length + b"\r\n", [packed]


def whole_lines(framing, body):
    """Return the minimum and maximum number of lines in a truncated body."""
    if framing == "gzip":
        return 0, len(LINES)
    came = b"".join(LINES) if framing == "chunked" else body
    sizes = itertools.accumulate(map(len, LINES))
    if framing != "chunked":
        least = sum(len(came) >= size for size in sizes)
        # A line that lacks only its newline is complete too.
        sizes = itertools.accumulate(map(len, LINES))
        return least, sum(len(came) >= size - 1 for size in sizes)
    ends, at = [], 0
    for line in LINES:
        head = len(b"%x\r\n" % len(line))
        ends.append(at + head + len(line))
        at += head + len(line) + 2
    least = sum(len(body) >= end for end in ends)
    return least, sum(len(body) >= end - 1 for end in ends)


@pytest.mark.parametrize("framing", ["chunked", "length", "close", "gzip"])
def test_complete_lines_are_kept_wherever_the_response_is_cut(
    client, fake_ollama, framing
):
    """Also in the headers, and if a proxy compresses the body."""
    head, pieces = bodies(framing)
    answer = head + b"".join(pieces)
    for k in range(len(answer) + 1):
        fake_ollama.on("POST /api/chat", Answer([answer[:k]], raw=True))
        texts, fault = take(client)
        least, most = whole_lines(framing, answer[len(head) : max(k, len(head))])
        assert least <= len(texts) <= most, k
        assert texts == TEXTS[: len(texts)]
        if texts == TEXTS:
            assert fault is None, k
        else:
            kinds = (StreamInterruptedError, ServerUnreachableError, NotOllamaError)
            assert isinstance(fault, kinds), k
            assert type(fault) is StreamInterruptedError or k <= len(head), k
            check_shown(fault)
    assert (texts, fault) == (TEXTS, None)


@pytest.fixture(scope="module")
def any_server():
    with FakeOllama() as fake:
        yield fake, OllamaClient(fake.url, idle_timeout_s=10)


@examples(60)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from([*LINES, b"{}\n", b"[]\n", b'{"error":1}\n', b"\xff\n"])
        ).map(b"".join),
        st.recursive(st.none() | st.text(), st.lists).map(
            lambda data: json.dumps(data).encode()
        ),
    ),
    framing=st.sampled_from(["chunked", "length", "close"]),
    status=st.sampled_from([200, 200, 200, 204, 404, 500]),
)
def test_any_body_ends_in_a_reply_or_in_our_error(any_server, body, framing, status):
    fake, client = any_server
    answer = Answer([body], framing=framing, status=status)
    fake.on("POST /api/chat", answer)
    fake.on("GET /api/tags", answer)
    _, fault = take(client)
    if fault is None:
        assert LINES[-1] in body
    else:
        check_shown(fault)
    try:
        client.list()
    except OllamaMagicError as exc:
        check_shown(exc)


CODES = [200, 400, 401, 403, 404, 405, 413, 429, 500, 502, 503, 504]
BODIES = {
    "json": (b'{"error":"something is wrong"}', "application/json"),
    "text": ("schief gegangen: größer".encode(), "text/plain"),
    "html": (
        b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
        "text/html",
    ),
    "empty": (b"", None),
    "latin-1": ("gr\xf6\xdfer".encode("latin-1"), "text/plain; charset=latin-1"),
    "huge": (b"x\x1b[31m" * 150_000, "text/plain"),
}
KINDS = {404: (ModelNotFoundError, ServerError, NotOllamaError)}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("code", CODES)
def test_any_status_with_any_body_is_three_clean_lines(client, fake_ollama, code, name):
    body, content_type = BODIES[name]
    answer = Answer([body], status=code, content_type=content_type, framing="length")
    fake_ollama.on("POST /api/chat", answer)
    texts, fault = take(client)
    assert texts == []
    is_ours = code == 200 and name in {"json", "empty"}
    kinds = (StreamInterruptedError, ServerError) if is_ours else KINDS.get(code)
    assert isinstance(fault, kinds or (ServerError, NotOllamaError))
    if code == 200 and not is_ours:
        assert type(fault) is NotOllamaError
    if code != 200 and isinstance(fault, ServerError):
        assert fault.status_code == code
        assert str(code) in str(fault)
    if name in {"json", "text"} and code != 200:
        said = "something is wrong" if name == "json" else "größer"
        assert said in str(fault)
    check_shown(fault)
    assert len(fault.lines()) == 3


def test_a_full_queue_is_reported_as_a_busy_server(client, fake_ollama):
    """In Ollama's own words, and the request is not repeated."""
    said = "server busy, please try again. maximum pending requests exceeded"
    fake_ollama.on("POST /api/chat", error(503, said))
    _, fault = take(client)
    assert type(fault) is ServerError
    assert said in fault.why
    assert len(fake_ollama.bodies("/api/chat")) == 1


STALLS = {
    "in the headers": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    "in a line": b"HTTP/1.1 200 OK\r\n\r\n" + LINES[0] + LINES[1][:9],
}


@pytest.mark.parametrize("where", list(STALLS)[1:])
def test_silence_in_the_middle_ends_after_the_timeout(fake_ollama, where):
    steps = [STALLS[where], Wait(threading.Event())]
    fake_ollama.on("POST /api/chat", Answer(steps, raw=True))
    texts, fault = take(OllamaClient(fake_ollama.url, idle_timeout_s=0.2))
    assert texts == (TEXTS[:1] if where == "in a line" else [])
    assert type(fault) is StreamInterruptedError
    assert fault.why == "no data for 0.2 s"
    check_shown(fault)
    assert fake_ollama.wait_for("/api/chat").wait_closed()


@pytest.mark.parametrize("where", STALLS)
def test_a_stream_from_a_silent_server_can_be_closed(client, fake_ollama, where):
    steps = [STALLS[where], Wait(threading.Event())]
    fake_ollama.on("POST /api/chat", Answer(steps, raw=True))
    stream, faults = client.chat("m", HI), []

    def read():
        try:
            for _ in stream:
                pass
        except OllamaMagicError as exc:
            faults.append(exc)

    thread = threading.Thread(target=read)
    thread.start()
    request = fake_ollama.wait_for("/api/chat")
    stream.close()
    assert request.wait_closed()
    thread.join(20)
    assert [fault.why for fault in faults] == ["the client closed the connection"]


# -- cost ------------------------------------------------------------------------

COSTS = """
import sys, time
from ollama_magic.client.streams import read_objects

def cost(make, size, times):
    pieces, took_s = make(size), []
    for _ in range(times):  # the least: others use this machine too
        begun = time.process_time()
        for _ in read_objects(pieces):
            pass
        took_s.append(time.process_time() - begun)
    return min(took_s)

def line(size):
    data = b'{"message":{"content":"' + b"x" * size + b'"}}\\n'
    return [data[at : at + 1400] for at in range(0, len(data), 1400)]

def tokens(count):
    one = b'{"model":"m","message":{"content":"tok "},"done":false}\\n'
    data = one * count
    return [data[at : at + 1400] for at in range(0, len(data), 1400)]

kinds = {"line": (line, 7_500_000, 10), "tokens": (tokens, 100_000, 4)}
make, size, times = kinds[sys.argv[1]]
one, two = cost(make, size, times), cost(make, 2 * size, times)
# NB: not ru_maxrss, in which a child begins with the size of its parent.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(two / one, two, int(status["VmHWM"].split()[0]) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
@pytest.mark.parametrize("what", ["line", "tokens"])
def test_cost_is_proportional_to_size(what):
    """A line just under its limit, and 200,000 tokens; CPU time of one process."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", COSTS, what],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
    )
    ratio, seconds, peak = map(float, done.stdout.split())
    print(f"\n{what}: x{ratio:.2f} for twice as much, {seconds:.2f} s, {peak:.0f} MB")
    assert ratio < 3
    assert peak < 400


def test_a_reply_may_reach_its_limit_but_not_exceed_it(client, fake_ollama):
    """64 MiB in pieces of 1 MiB; one more character is an error."""
    piece = json.dumps({"message": {"content": "x" * 2**20}, "done": False}) + "\n"
    last = json.dumps({"message": {"content": ""}, "done": True}) + "\n"
    fake_ollama.on("POST /api/chat", Answer([*[piece] * 64, last]))
    with client.chat("m", HI) as stream:
        assert sum(len(chunk.content) for chunk in stream) == 64 * 2**20
    fake_ollama.on("POST /api/chat", Answer(itertools.repeat(piece)))
    came, fault = 0, None
    try:
        with client.chat("m", HI) as stream:
            for chunk in stream:
                came += len(chunk.content)
    except StreamInterruptedError as exc:
        fault = exc
    assert came == 64 * 2**20
    check_shown(fault)
    assert fake_ollama.wait_for("/api/chat", count=2).wait_closed()
