"""What the client sends, and how it reads plain responses."""

import hashlib
import io
import json
import threading

import pytest
from fake_ollama import STATS, Answer, json_answer, reply_line

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import parse_host
from ollama_magic.client.types import ChatRequest, GenerateRequest, Progress
from ollama_magic.errors import (
    ModelNotFoundError,
    ModelTransferError,
    NotOllamaError,
    ServerError,
)

HI = [{"role": "user", "content": "hi"}]
MODEL = "llama3.2:3b"


def test_a_reply_arrives_in_chunks_and_ends_with_done(client, fake_ollama):
    fake_ollama.reply("Hello **world**", thinking="They greet")
    chunks = list(client.chat(MODEL, HI))
    assert [chunk.content for chunk in chunks] == ["", "", "Hello", " **world**", ""]
    assert [chunk.thinking for chunk in chunks] == ["They", " greet", "", "", ""]
    assert [chunk.done for chunk in chunks] == [False] * 4 + [True]
    assert chunks[-1].stats.eval_count == STATS["eval_count"]


def test_complete_joins_the_whole_reply(client, fake_ollama):
    call = {"id": "c", "function": {"name": "f", "arguments": {"x": 1}}}
    fake_ollama.reply("Hello you", thinking="They greet", tool_calls=[call])
    reply = client.chat(MODEL, HI).complete()
    assert (reply.content, reply.thinking) == ("Hello you", "They greet")
    assert [c.name for c in reply.tool_calls] == ["f"]
    assert (reply.done, reply.done_reason, reply.model) == (True, "stop", MODEL)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("20", 20),
        ("1.5", 1.5),
        ("Fri, 01 Jan 2100 00:00:00 GMT", pytest.approx(2.3e9, rel=0.1)),
        ("Fri, 01 Jan 2010 00:00:00 GMT", 0),
        ("Fri, 01 Jan 2100 00:00:00", 0),
        ("soon", 0),
        ("-1", 0),
        (None, 0),
    ],
)
def test_a_refusal_has_the_time_that_the_server_asks_to_wait(
    client, fake_ollama, said, expected
):
    headers = {} if said is None else {"Retry-After": said}
    body = ['{"error": "slow down"}']
    fake_ollama.on("POST /api/chat", Answer(body, status=429, headers=headers))
    with pytest.raises(ServerError) as caught:
        client.chat(MODEL, HI).complete()
    assert caught.value.retry_after_s == expected


@pytest.mark.parametrize("endpoint", ["chat", "generate"])
def test_without_streaming_there_is_exactly_one_chunk(client, fake_ollama, endpoint):
    fake_ollama.reply("Hello you")
    prompt = HI if endpoint == "chat" else "hi"
    (chunk,) = getattr(client, endpoint)(MODEL, prompt, stream=False)
    assert (chunk.content, chunk.done) == ("Hello you", True)
    assert fake_ollama.bodies(f"/api/{endpoint}")[0]["stream"] is False


def test_the_arguments_of_chat_are_sent(client, fake_ollama):
    client.chat(
        MODEL,
        HI,
        options={"seed": 1},
        format="json",
        think=False,
        keep_alive=0,
        tools=[{"type": "function"}],
    ).complete()
    assert fake_ollama.bodies("/api/chat") == [
        {
            "model": MODEL,
            "messages": HI,
            "stream": True,
            "options": {"seed": 1},
            "format": "json",
            "think": False,
            "keep_alive": 0,
            "tools": [{"type": "function"}],
        }
    ]


def test_the_arguments_of_generate_are_sent(client, fake_ollama):
    client.generate(
        MODEL,
        "hi",
        system="s",
        options={"seed": 1},
        format={"type": "object"},
        think="low",
        keep_alive="5m",
        images=["aGk="],
        suffix="z",
        raw=True,
    ).complete()
    assert fake_ollama.bodies("/api/generate") == [
        {
            "model": MODEL,
            "prompt": "hi",
            "system": "s",
            "suffix": "z",
            "raw": True,
            "stream": True,
            "options": {"seed": 1},
            "format": {"type": "object"},
            "think": "low",
            "keep_alive": "5m",
            "images": ["aGk="],
        }
    ]


@pytest.mark.parametrize(
    "request_", [ChatRequest(MODEL, HI), GenerateRequest(MODEL, "hi")]
)
def test_a_request_is_sent_as_it_is(client, fake_ollama, request_):
    client.send(request_).complete()
    assert fake_ollama.bodies(request_.path) == [request_.body()]


def test_nothing_is_sent_before_the_first_next(client, fake_ollama):
    stream = client.chat(MODEL, HI)
    assert fake_ollama.requests == []
    next(stream)
    assert len(fake_ollama.requests) == 1
    stream.close()


def test_headers_are_few_and_plain(client, fake_ollama):
    """An Origin would be rejected, and compression is neither needed nor safe."""
    client.chat(MODEL, HI).complete()
    headers = fake_ollama.requests[0].headers
    assert headers.pop("user-agent").startswith("ollama-magic/")
    assert headers.pop("content-length").isdigit()
    assert headers.pop("host") == parse_host(fake_ollama.url).name
    assert headers == {
        "accept": "application/json, application/x-ndjson",
        "accept-encoding": "identity",
        "content-type": "application/json",
    }


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/api", "/api/chat"])
def test_paths_are_joined_with_one_slash(fake_ollama, suffix):
    """A trailing or double slash is a redirect for the server."""
    assert OllamaClient(fake_ollama.url + suffix).version() == "0.33.0"
    assert fake_ollama.requests[0].path == "/api/version"


def test_a_path_prefix_is_kept(fake_ollama):
    fake_ollama.on("GET /gpu/1/api/version", json_answer({"version": "x"}))
    assert OllamaClient(f"{fake_ollama.url}/gpu/1/").version() == "x"


def test_the_host_comes_from_the_environment(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f" 'localhost:{fake_ollama.port}/' ")
    assert OllamaClient().version() == "0.33.0"
    assert OllamaClient(parse_host(fake_ollama.url)).version() == "0.33.0"


def test_models_are_listed_and_shown(client, fake_ollama):
    fake_ollama.models([MODEL, {"name": "big:70b", "size": 42, "remote_host": "x.y"}])
    assert [m.name for m in client.list()] == [MODEL, "big:70b"]
    assert client.list()[1].size_bytes == 42
    assert client.list()[1].remote_host == "x.y"
    assert client.show(MODEL).context_length == 8192
    client.show(MODEL, verbose=True)
    assert fake_ollama.bodies("/api/show") == [
        {"model": MODEL},
        {"model": MODEL, "verbose": True},
    ]
    assert client.ps() == []


def test_null_is_an_empty_list_of_models(client, fake_ollama):
    """Older servers write Go's nil slice."""
    fake_ollama.on("GET /api/tags", json_answer({"models": None}))
    assert client.list() == []


def test_copy_and_delete_send_the_names_of_the_api(client, fake_ollama):
    client.copy(MODEL, "mine")
    assert fake_ollama.model_names == [MODEL, "mine:latest"]
    client.delete("mine")
    assert fake_ollama.model_names == [MODEL]
    assert fake_ollama.bodies("/api/copy") == [{"source": MODEL, "destination": "mine"}]
    assert fake_ollama.bodies("/api/delete") == [{"model": "mine"}]


def test_a_pull_yields_its_progress(client, fake_ollama):
    progress = list(client.pull("new"))
    assert progress[0] == Progress("pulling manifest")
    assert [p.completed_bytes for p in progress if p.digest] == [250, 1000]
    assert progress[-1].status == "success"
    list(client.pull("new", insecure=True))
    assert fake_ollama.bodies("/api/pull") == [
        {"model": "new"},
        {"model": "new", "insecure": True},
    ]


@pytest.mark.parametrize("verb", ["pull", "push", "create"])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_transfer_that_ends_without_success_is_an_error(
    client, fake_ollama, verb, framing
):
    """Success is a line; a clean end without it is a failure."""
    layer = {"status": "x", "digest": "sha256:1", "total": 42_500_000_000}
    lines = [layer | {"completed": 12_400_000_000}, {"status": "writing manifest"}]
    fake_ollama.on(f"POST /api/{verb}", Answer(lines, framing=framing))
    with pytest.raises(ModelTransferError) as info:
        list(getattr(client, verb)("m"))
    assert info.value.what.endswith("of 'm' stopped at 12.4 of 42.5 GB.")
    assert info.value.why == "the stream ended without its last line"


def test_an_interrupted_pull_says_how_far_it_got(client, fake_ollama):
    layer = {"status": "x", "digest": "sha256:1", "total": 2_000_000}
    line = layer | {"completed": 500_000}
    fake_ollama.on("POST /api/pull", Answer([line, line], cut_after=100))
    with pytest.raises(ModelTransferError) as info:
        list(client.pull("m"))
    assert info.value.lines() == [
        "Pull of 'm' stopped at 0.5 of 2.0 MB.",
        "  why:  the connection was closed early",
        "  next: check that the server can reach the registry, then: "
        "%ollama pull m (it resumes)",
    ]


def test_create_sends_the_names_of_the_api(client, fake_ollama):
    list(
        client.create(
            "mine",
            from_model=MODEL,
            files={"a.gguf": "sha256:1"},
            adapters={"b.gguf": "sha256:2"},
            system="s",
            template="t",
            parameters={"seed": 1},
            messages=HI,
            license=["MIT"],
            quantize="Q4_K_M",
        )
    )
    assert fake_ollama.bodies("/api/create") == [
        {
            "model": "mine",
            "from": MODEL,
            "files": {"a.gguf": "sha256:1"},
            "adapters": {"b.gguf": "sha256:2"},
            "system": "s",
            "template": "t",
            "parameters": {"seed": 1},
            "messages": HI,
            "license": ["MIT"],
            "quantize": "Q4_K_M",
        }
    ]


def test_embed_gives_a_vector_for_each_text(client, fake_ollama):
    fake_ollama.on("POST /api/embed", json_answer({"embeddings": [[1, 2], [3, 4]]}))
    found = client.embed(MODEL, ("a", "b"), truncate=False, dimensions=2)
    assert found.vectors == ((1, 2), (3, 4))
    assert fake_ollama.bodies("/api/embed") == [
        {"model": MODEL, "input": ["a", "b"], "truncate": False, "dimensions": 2}
    ]


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_a_blob_is_uploaded_once_and_reports_its_progress(client, fake_ollama, size):
    data = bytes(size)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    there = [Answer(status=404, framing="length"), Answer(framing="length")]
    fake_ollama.on(f"HEAD /api/blobs/{digest}", *there)
    fake_ollama.on(f"POST /api/blobs/{digest}", Answer(status=201, framing="length"))
    seen = []
    for _ in range(2):
        client.upload_blob(
            digest, io.BytesIO(data), on_progress=lambda *counts: seen.append(counts)
        )
    head, post, second_head = fake_ollama.requests
    assert [head.method, post.method, second_head.method] == ["HEAD", "POST", "HEAD"]
    assert post.body == data
    assert post.headers["content-type"] == "application/octet-stream"
    assert seen[-1:] == ([(size, size)] if size else [])


def test_an_exception_in_the_callback_ends_an_upload(client, fake_ollama):
    fake_ollama.on("HEAD /api/blobs/sha256:1", Answer(status=404, framing="length"))

    def stop(_sent, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.upload_blob("sha256:1", io.BytesIO(b"x" * 100), on_progress=stop)


def test_a_digest_cannot_leave_its_path(client, fake_ollama):
    assert not client.blob_exists("../delete?x=1#y")
    assert fake_ollama.requests[0].path == "/api/blobs/..%2Fdelete%3Fx%3D1%23y"


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_each_line_arrives_as_soon_as_it_is_sent(client, fake_ollama, framing):
    """Even if the body is not chunked."""
    go_on = threading.Event()
    lines = [
        reply_line({"messages": 1}, MODEL, content="a"),
        reply_line({"messages": 1}, MODEL, content="b", done=True),
    ]

    def steps():
        yield lines[0]
        assert go_on.wait(20)
        yield lines[1]

    listed = Answer(steps(), framing=framing)
    if framing == "length":
        size = sum(
            len(json_answer(line).steps[0].replace(" ", "")) + 1 for line in lines
        )
        listed = Answer(steps(), framing="close", headers={"Content-Length": str(size)})
    fake_ollama.on("POST /api/chat", listed)
    with client.chat(MODEL, HI) as stream:
        assert next(stream).content == "a"
        assert not go_on.is_set()
        go_on.set()
        assert next(stream).content == "b"


def test_a_compressed_response_is_decoded(client, fake_ollama):
    """Some proxies compress even though the request forbids it."""
    import gzip

    line = b'{"message":{"content":"hi"},"done":true}\n'
    answer = Answer(
        [gzip.compress(line)], headers={"Content-Encoding": "gzip"}, framing="length"
    )
    fake_ollama.on("POST /api/chat", answer)
    assert client.chat(MODEL, HI).complete().content == "hi"


def test_content_that_is_an_object_is_kept_as_json(client, fake_ollama):
    line = {"model": MODEL, "response": {"city": "Bonn"}, "done": True}
    fake_ollama.on("POST /api/generate", Answer([line]))
    assert client.generate(MODEL, "hi").complete().content == '{"city": "Bonn"}'


BYTE_ORDER_MARK = "\ufeff".encode()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("before", [b"", b" \r\n", b"\n" * 10])
def test_a_byte_order_mark_before_a_response_is_ignored(
    client, fake_ollama, before, size
):
    def marked(line):
        data = BYTE_ORDER_MARK + before + json.dumps(line).encode()
        return Answer([data[at : at + size] for at in range(0, len(data), size)])

    line = reply_line({"messages": 1}, MODEL, content="hi", done=True)
    fake_ollama.on("POST /api/chat", marked(line))
    fake_ollama.on("GET /api/tags", marked({"models": [{"name": "m"}]}))
    assert client.chat(MODEL, HI).complete().content == "hi"
    assert [one.name for one in client.list()] == ["m"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_whole_reply_may_be_indented(client, fake_ollama, stream):
    line = reply_line({"messages": 1}, MODEL, content="hi\n}\n{", done=True)
    fake_ollama.on("POST /api/chat", Answer([json.dumps(line, indent=2)]))
    (chunk,) = client.chat(MODEL, HI, stream=stream)
    assert (chunk.content, chunk.done) == ("hi\n}\n{", True)


def test_the_reply_of_another_protocol_is_not_cut_off(client, fake_ollama):
    """llama.cpp has the API of OpenAI at the path of Ollama's."""
    reply = {"choices": [{"message": {"content": "Hi"}}], "object": "chat.completion"}
    for body in (json.dumps(reply), f"data: {json.dumps(reply)}\n\n"):
        fake_ollama.on("POST /api/chat", Answer([body]))
        with pytest.raises(NotOllamaError) as info:
            client.chat(MODEL, HI).complete()
        assert info.value.what.endswith("is not an Ollama server.")


def test_a_model_is_requested_by_its_field_model(client, fake_ollama):
    """Open WebUI gives it the prefix of one of its servers."""
    entry = {"name": "llama3.2:3b", "model": "gpu1.llama3.2:3b"}
    fake_ollama.on("GET /api/tags", json_answer({"models": [entry]}))
    fake_ollama.on("GET /api/ps", json_answer({"models": [entry, {"name": "old:1b"}]}))
    assert [one.name for one in client.list()] == ["gpu1.llama3.2:3b"]
    assert [one.name for one in client.ps()] == ["gpu1.llama3.2:3b", "old:1b"]


def test_a_proxy_may_hide_the_version(client, fake_ollama):
    fake_ollama.on("GET /api/version", json_answer({"version": False}))
    assert client.version() == "unknown"


def test_a_missing_model_does_not_wait_for_the_list_of_models(client, fake_ollama):
    never = threading.Event()
    fake_ollama.on("GET /api/tags", Answer(hold_headers=never))
    with pytest.raises(ModelNotFoundError) as info:
        client.chat("nope", HI).complete()
    assert info.value.next_step == "%ollama pull nope"
    assert fake_ollama.wait_for("/api/tags").wait_closed()


@pytest.mark.parametrize(
    ("challenge", "sent", "next_step"),
    [
        ('Basic realm="x"', {}, "give a user name and a password: "),
        ("Negotiate, Basic realm=x", {"api_key": "k"}, "give a user name and a pass"),
        ('Bearer realm="x"', {"api_key": "wrong-key"}, "correct OLLAMA_API_KEY"),
        (None, {}, "set OLLAMA_API_KEY"),
    ],
)
def test_the_advice_names_the_login_that_the_server_requires(
    fake_ollama, challenge, sent, next_step
):
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    page = Answer(["<h1>No</h1>"], 401, "text/html", headers, framing="length")
    fake_ollama.on("POST /api/chat", page)
    client = OllamaClient(fake_ollama.url, **sent)
    with pytest.raises(ServerError) as info:
        client.chat(MODEL, HI).complete()
    assert next_step in info.value.next_step


def test_the_advice_for_a_wrong_password_is_to_correct_it(fake_ollama):
    headers = {"WWW-Authenticate": "Basic"}
    fake_ollama.on("POST /api/chat", Answer([], 401, "text/html", headers))
    client = OllamaClient(f"http://ann:s3cret@127.0.0.1:{fake_ollama.port}")
    with pytest.raises(ServerError) as info:
        client.chat(MODEL, HI).complete()
    assert "correct the user name and the password: " in info.value.next_step
    assert "s3cret" not in str(info.value)


def test_the_size_of_a_request_that_is_too_large_is_named(client, fake_ollama):
    page = "<html><title>413 Request Entity Too Large</title>"
    fake_ollama.on("POST /api/chat", Answer([page], 413, "text/html"))
    message = [{"role": "user", "content": "x", "images": ["A" * 3_000_000]}]
    with pytest.raises(ServerError) as info:
        client.chat(MODEL, message).complete()
    assert info.value.lines() == [
        f"The request is too large for {fake_ollama.url}.",
        '  why:  server (413): text/html ("413 Request Entity Too Large")',
        "  next: the request is 3.0 MB: send a smaller image or a shorter prompt, or "
        "raise the limit of the proxy (nginx: client_max_body_size)",
    ]


def test_a_stream_ends_with_its_last_line_even_if_the_server_sends_more(
    client, fake_ollama
):
    line = reply_line({"messages": 1}, MODEL, content="a", done=True)
    fake_ollama.on("POST /api/chat", Answer([line, "never read\n"]))
    assert [chunk.content for chunk in client.chat(MODEL, HI)] == ["a"]


def test_many_threads_share_a_client(client, fake_ollama):
    replies = []

    def ask():
        replies.append(client.chat(MODEL, HI).complete().content)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert replies == ["Hello!"] * 20


CALLS = {
    "GET /api/version": OllamaClient.version,
    "GET /api/tags": OllamaClient.list,
    "GET /api/ps": OllamaClient.ps,
    "POST /api/show": lambda client: client.show("m"),
    "POST /api/embed": lambda client: client.embed("m", "x"),
}


@pytest.mark.parametrize("endpoint", CALLS)
@pytest.mark.parametrize("body", ["", "[]", "{}", "null", "hello", '{"x": 1}', "{"])
def test_json_of_another_service_is_not_ollama(client, fake_ollama, endpoint, body):
    answer = Answer([body], content_type="application/json", framing="length")
    fake_ollama.on(endpoint, answer)
    with pytest.raises(NotOllamaError) as info:
        CALLS[endpoint](client)
    assert info.value.why.startswith("server (200): application/json")
