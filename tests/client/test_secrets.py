"""The client hides secrets that a server echoes, in any encoding and however split."""

import json
import signal
import sys
import threading
import traceback

import pytest
from fake_ollama import JSON, Answer, FakeOllama, Wait, error, json_answer, reply_line

from ollama_magic.client.client import OllamaClient
from ollama_magic.errors import ConfigError, OllamaMagicError

TOKEN = "sk-SECRETtoken1234"
HI = [{"role": "user", "content": "hi"}]
BODY = {"model": "m", "messages": HI}
SPELLINGS = {
    "plain": TOKEN,
    "escaped": "".join(f"\\u{ord(char):04x}" for char in TOKEN),
    "half escaped": "\\u0073k\\u002dSECRETtoken1234",
}


@pytest.fixture(params=SPELLINGS)
def spelled(request):
    return SPELLINGS[request.param]


@pytest.fixture
def client(fake_ollama):
    return OllamaClient(fake_ollama.url, api_key=TOKEN)


def raw(text, status=200):
    return Answer([text], status=status, content_type=JSON, framing="length")


def test_names_digests_and_versions_contain_no_secret(client, fake_ollama, spelled):
    model = json.dumps(
        {
            "name": "@:latest",
            "digest": "@",
            "modified_at": "@",
            "details": {"family": "@", "parameter_size": "@"},
            "capabilities": ["@"],
        }
    )
    models = f'{{"models": [{model}]}}'.replace("@", spelled)
    fake_ollama.on("GET /api/tags", raw(models))
    fake_ollama.on("GET /api/ps", raw(models))
    fake_ollama.on("GET /api/version", raw(f'{{"version": "1 {spelled}"}}'))
    details = '{"details": {}, "template": "@", "model_info": {"@": ["@", {"a": "@"}]}}'
    fake_ollama.on("POST /api/show", raw(details.replace("@", spelled)))
    (listed,), (loaded,) = client.list(), client.ps()
    assert (listed.name, listed.digest, loaded.name) == (
        "***:latest",
        "***",
        "***:latest",
    )
    assert client.version() == "1 ***"
    shown = client.show("m")
    assert shown.model_info == {"***": ["***", {"a": "***"}]}
    assert TOKEN not in repr((listed, loaded, shown))


def test_a_reply_contains_no_secret(client, fake_ollama, spelled):
    call = {"function": {"name": "@", "arguments": {"@": ["x@y", 1]}}, "id": "@"}
    lines = [
        reply_line(BODY, "m", thinking="it sent @"),
        reply_line(BODY, "m", content="you sent @."),
        reply_line(BODY, "m", tool_calls=[call]),
        reply_line(BODY, "m", done=True, done_reason="@"),
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines).replace("@", spelled)
    fake_ollama.on("POST /api/chat", Answer([text]))
    reply = client.chat("m", HI).complete()
    assert (reply.thinking, reply.content) == ("it sent ***", "you sent ***.")
    assert reply.tool_calls[0].arguments == {"***": ["x***y", 1]}
    assert TOKEN not in repr(reply)


@pytest.mark.parametrize("field", ["content", "thinking"])
@pytest.mark.parametrize("size", [1, 2, 5, 17])
def test_a_secret_split_over_chunks_is_hidden(client, fake_ollama, field, size):
    said = f"risks, {TOKEN}, sk-SECRET and {TOKEN}{TOKEN[:9]}"
    cut = [said[at : at + size] for at in range(0, len(said), size)]
    lines = [reply_line(BODY, "m", **{field: piece}) for piece in cut]
    lines.append(reply_line(BODY, "m", content="" if field == "content" else "So."))
    lines.append(reply_line(BODY, "m", done=True))
    fake_ollama.on("POST /api/chat", Answer(lines))
    seen = [getattr(chunk, field) for chunk in client.chat("m", HI)]
    assert "".join(seen) == f"risks, ***, sk-SECRET and ***{TOKEN[:9]}"


def test_text_that_starts_like_a_secret_is_not_delayed_for_long(client, fake_ollama):
    never = threading.Event()
    lines = [reply_line(BODY, "m", content=text) for text in ("it is", " so", "!")]
    fake_ollama.on("POST /api/chat", Answer([*lines, Wait(never)]))
    with client.chat("m", HI) as stream:
        assert [next(stream).content for _ in lines] == ["it i", "s so", "!"]


def test_without_a_secret_chunks_are_unchanged(fake_ollama):
    fake_ollama.reply(["sk-", TOKEN[3:]])
    client = OllamaClient(fake_ollama.url, api_key="")
    pieces = [chunk.content for chunk in client.chat("llama3.2:3b", HI)]
    assert pieces[:2] == ["sk-", TOKEN[3:]]


@pytest.mark.parametrize(
    "answer",
    [
        lambda said: raw(f'{{"error": "bad token {said}"}}', 401),
        lambda said: raw(f'{{"error": {{"message": "bad {said}"}}}}', 400),
        lambda said: raw('{"error": ' + json.dumps(f'{{"error":"{said}"}}') + "}", 500),
        lambda said: raw(f'{{"error": "no {said}"}}', 404),
        lambda said: Answer([f'{{"error": "in the stream {said}"}}\n']),
        lambda said: Answer([f"oops {said}"]),
        lambda said: Answer([f'{{"message": {{"content": "{said}'], cut_after=40),
        lambda said: Answer([f"HTTP/1.1 {said}\r\n\r\n"], raw=True),
        lambda said: Answer([f"HELLO Bearer {said}\r\n\r\n"], raw=True),
        lambda said: Answer([f"<title>{said}</title>"], content_type="text/html"),
        lambda said: Answer(["x"], content_type=f"text/{said}"),
        lambda said: Answer([f"<p>{said[:12]}", said[12:]], content_type="text/html"),
    ],
    ids=lambda answer: None,
)
def test_no_error_contains_a_secret(client, fake_ollama, spelled, answer):
    fake_ollama.on("POST /api/chat", answer(spelled))
    with pytest.raises(OllamaMagicError) as caught:
        client.chat("m", HI).complete()
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown
    assert spelled not in shown
    assert "SECRET" not in "\n".join(caught.value.lines())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("p%26ss%3Cw%3Erd", r"wrong password p\u0026ss\u003cw\u003erd for ann"),
        ("p%26ss%3Cw%3Erd", "wrong password p%26ss%3Cw%3Erd for ann"),
        ("p%26ss%3Cw%3Erd", "wrong password p&amp;ss&lt;w&gt;rd for ann"),
        ("pw%FFraw-9", "wrong password pw%FFraw-9 for ann"),
        ("a%22b%5Cc-1234", r"wrong password a\"b\\c-1234 for ann"),
    ],
)
def test_the_password_of_the_address_is_hidden_encoded_and_decoded(
    fake_ollama, written, said
):
    client = OllamaClient(f"http://ann:{written}@127.0.0.1:{fake_ollama.port}")
    fake_ollama.on("GET /api/version", raw(f'{{"error": "{said}"}}', 401))
    with pytest.raises(OllamaMagicError) as caught:
        client.version()
    assert caught.value.why == "server (401): wrong password *** for ann"


def test_a_user_without_a_password_is_a_token(fake_ollama):
    client = OllamaClient(f"http://{TOKEN}@127.0.0.1:{fake_ollama.port}")
    fake_ollama.on("GET /api/version", json_answer({"version": f"for {TOKEN}"}))
    assert client.version() == "for ***"


# -- interrupts ------------------------------------------------------------------------


def shown_verbosely(error):
    """Return what a traceback with all locals shows, as ``%xmode Verbose`` does."""
    frames = []
    while error is not None:
        trace = error.__traceback__
        for frame, _ in traceback.walk_tb(trace):
            if frame.f_globals.get("__name__") != __name__:
                frames.append((frame.f_code.co_filename, frame.f_locals))
        error = error.__cause__ or error.__context__
    return repr(frames)


@pytest.mark.skipif(sys.platform == "win32", reason="no interrupt of a wait there")
@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.chat("m", HI).complete(),
        lambda client: client.generate("m", "hi").complete(),
        lambda client: client.embed("m", "hi"),
        lambda client: client.list(),
        lambda client: client.pull("m").__next__(),
    ],
    ids=["chat", "generate", "embed", "list", "pull"],
)
def test_a_traceback_of_an_interrupt_shows_no_header(client, fake_ollama, ask):
    never = threading.Event()

    def interrupt(_):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return Answer(hold_headers=never)

    for path in ("POST /api/chat", "POST /api/generate", "POST /api/embed",
                 "GET /api/tags", "POST /api/pull"):  # fmt: skip
        fake_ollama.on(path, interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        ask(client)
    shown = shown_verbosely(caught.value)
    assert "client/http.py" in shown
    assert TOKEN not in shown
    assert "Authorization" not in shown
    assert caught.value.__context__ is None


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, MemoryError, OSError])
def test_no_traceback_of_a_request_shows_a_header(client, fake_ollama, fault, tmp_path):
    """Raised deep inside the libraries, while a file is uploaded."""
    file = tmp_path / "f"
    file.write_bytes(b"GGUF" * 100)

    def fail(_sent, _size):
        raise fault("stop")

    fake_ollama.on("HEAD /api/blobs/sha256:1", error(404, ""))
    with file.open("rb") as opened, pytest.raises(BaseException) as caught:  # noqa: PT011
        client.upload_blob("sha256:1", opened, on_progress=fail)
    assert TOKEN not in shown_verbosely(caught.value)


# -- a key that is not sent ------------------------------------------------------------


@pytest.fixture
def remote_server(monkeypatch):
    """Return a server that stands in for all other machines."""
    with FakeOllama() as proxy:
        for name in ("gpu.example:11434", "10.1.2.3", "gpu.example:1/ollama"):
            url = f"http://{name}/api/version"
            proxy.on(f"GET {url}", json_answer({"version": "far"}))
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("OLLAMA_API_KEY", TOKEN)
        yield proxy


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("gpu.example", "gpu.example:11434"),
        ("http://10.1.2.3", "http://10.1.2.3"),
        ("http://gpu.example:1/ollama", "GPU.example:1"),
    ],
)
def test_a_key_from_the_environment_is_withheld_unless_its_host_is_allowed(
    remote_server, host, named
):
    client = OllamaClient(host)
    assert client.version() == "far"
    assert "was not sent to" in client.withheld_key.what
    OllamaClient(host, insecure_hosts=["other:1"]).version()
    allowed = OllamaClient(host, insecure_hosts=["other:1", named])
    assert allowed.version() == "far"
    assert allowed.withheld_key is None
    sent = [request.headers.get("authorization") for request in remote_server.requests]
    assert sent == [None, None, f"Bearer {TOKEN}"]


def test_a_withheld_key_is_hidden_too(remote_server):
    remote_server.on("GET http://10.1.2.3/api/version", json_answer({"version": TOKEN}))
    assert OllamaClient("http://10.1.2.3").version() == "***"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("is_page", [False, True])
def test_an_error_says_how_to_send_a_withheld_key(remote_server, status, is_page):
    page = Answer(["<h1>No</h1>"], status=status, content_type="text/html")
    answer = page if is_page else error(status, "no key")
    remote_server.on("GET http://10.1.2.3/api/version", answer)
    with pytest.raises(OllamaMagicError) as caught:
        OllamaClient("http://10.1.2.3").version()
    assert caught.value.next_step == (
        "the API key was not sent; use https://, or allow it for this host: "
        '%config OllamaMagics.insecure_hosts = ["http://10.1.2.3"]'
    )


def test_an_invalid_insecure_host_is_an_error():
    with pytest.raises(ConfigError, match="is invalid"):
        OllamaClient("gpu", api_key=TOKEN, insecure_hosts=["not a host"])
