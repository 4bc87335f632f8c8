"""Where requests go and what they carry: proxies, .netrc, tokens."""

import base64
import json
import traceback

import pytest
from fake_ollama import Answer, FakeOllama

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import parse_host
from ollama_magic.errors import ConfigError, OllamaMagicError, ServerUnreachableError

TOKEN = "sk-3cr3t_T0ken~value"
HI = [{"role": "user", "content": "hi"}]


def test_a_proxy_that_asks_for_a_password_is_named(monkeypatch):
    """It answers the request for a tunnel to the server, which is encrypted."""
    said = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
    with FakeOllama() as proxy:
        proxy.on("CONNECT gpu.example:443", Answer([said], raw=True))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(ServerUnreachableError) as info:
            OllamaClient("https://gpu.example").version()
    assert info.value.lines() == [
        "The proxy for https://gpu.example rejected the request.",
        "  why:  407 Proxy Authentication Required",
        "  next: the proxy of this network asks for a user name and password: %env "
        "HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT; if you need no proxy: "
        "%env NO_PROXY=gpu.example",
    ]


def test_a_dead_proxy_is_named_as_the_cause(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://user:hidden@127.0.0.1:9")
    with pytest.raises(ServerUnreachableError) as info:
        OllamaClient("gpu.example").version()
    assert info.value.lines() == [
        "The proxy for http://gpu.example:11434 rejected the request.",
        "  why:  connection refused",
        "  next: if you need no proxy: %env NO_PROXY=gpu.example",
    ]


def test_the_token_comes_from_the_environment(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_API_KEY", f" {TOKEN}\n")
    OllamaClient(fake_ollama.url).version()
    OllamaClient(fake_ollama.url, api_key="").version()
    OllamaClient(fake_ollama.url, api_key="other").version()
    sent = [r.headers.get("authorization") for r in fake_ollama.requests]
    assert sent == [f"Bearer {TOKEN}", None, "Bearer other"]


def test_user_and_password_of_the_host_are_sent_to_it(fake_ollama):
    OllamaClient(f"http://ann:p%40w@127.0.0.1:{fake_ollama.port}").version()
    sent = fake_ollama.requests[0].headers["authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"ann:p@w"


@pytest.mark.parametrize(
    ("host", "api_key", "what", "named"),
    [
        ("gpu", TOKEN, "The API key was not sent to http://gpu:11434.", "gpu:11434"),
        (
            "http://10.0.0.1",
            TOKEN,
            "The API key was not sent to http://10.0.0.1.",
            "http://10.0.0.1",
        ),
        (
            "http://ann:hidden@gpu",
            "",
            "The password was not sent to http://gpu.",
            "http://gpu",
        ),
        (
            "http://sk-of-a-service@gpu:1/v",
            "",
            "The password was not sent to http://gpu:1/v.",
            "gpu:1",
        ),
        (
            "http://[fe80::1]",
            TOKEN,
            "The API key was not sent to http://[fe80::1].",
            "http://[fe80::1]",
        ),
    ],
)
def test_secrets_are_never_sent_unencrypted(host, api_key, what, named):
    with pytest.raises(ConfigError) as info:
        OllamaClient(host, api_key=api_key)
    assert info.value.lines() == [
        what,
        "  why:  that is another machine, and http:// is not encrypted",
        "  next: use https://, or allow it for this host: "
        f'%config OllamaMagics.insecure_hosts = ["{named}"]',
    ]
    # The suggested setting works, and only for that host and port.
    OllamaClient(host, api_key=api_key, insecure_hosts=["other", named])
    for other in ("gpu:2", "10.0.0.2", "https://ollama.com"):
        with pytest.raises(ConfigError):
            OllamaClient(host, api_key=api_key, insecure_hosts=[other])


def test_a_token_is_sent_to_another_machine_encrypted():
    assert OllamaClient("https://gpu", api_key=TOKEN).host.base_url == "https://gpu"


@pytest.mark.parametrize(
    "bad", ["two words", "line\nbreak", "ümlaut", "nul\x00", "tab\there"]
)
def test_a_token_that_cannot_be_a_header_is_not_echoed(bad):
    with pytest.raises(ConfigError) as info:
        OllamaClient(api_key=bad)
    assert info.value.lines() == [
        "The API key is invalid.",
        "  why:  it contains spaces or non-ASCII characters",
        "  next: set OLLAMA_API_KEY to the token alone",
    ]


# -- extra headers ------------------------------------------------------------------

HEADERS = {"CF-Access-Client-Id": "id-1234567", "X-API-Key": f"Key {TOKEN}"}


def test_extra_headers_are_sent_with_each_request(fake_ollama):
    client = OllamaClient(fake_ollama.url, api_key="key-1234", headers=HEADERS)
    client.version()
    client.chat("llama3.2:3b", HI).complete()
    for request in fake_ollama.requests:
        assert request.headers["cf-access-client-id"] == "id-1234567"
        assert request.headers["x-api-key"] == f"Key {TOKEN}"
        assert request.headers["authorization"] == "Bearer key-1234"


def test_an_extra_authorization_takes_precedence(fake_ollama):
    client = OllamaClient(
        fake_ollama.url, api_key="key-1234", headers={"authorization": "Digest x"}
    )
    client.version()
    assert fake_ollama.requests[0].headers["authorization"] == "Digest x"


def test_other_headers_are_another_identity(fake_ollama):
    clients = [OllamaClient(fake_ollama.url, headers=h) for h in ({}, HEADERS)]
    assert clients[0].identity != clients[1].identity
    assert TOKEN not in clients[1].identity


def test_extra_headers_are_never_sent_unencrypted():
    with pytest.raises(ConfigError) as info:
        OllamaClient("gpu", headers=HEADERS)
    assert "was not sent to http://gpu:11434" in info.value.what
    assert 'insecure_hosts = ["gpu:11434"]' in info.value.next_step
    assert TOKEN not in str(info.value)
    assert OllamaClient("https://gpu", headers=HEADERS).header_names
    assert OllamaClient("gpu", headers=HEADERS, insecure_hosts=["gpu"]).header_names


@pytest.mark.parametrize(
    "headers",
    [
        {"X": f"{TOKEN}\r\nHost: evil"},
        {"X": f"{TOKEN}\n"},
        {f"X: {TOKEN}": "y"},
        {f"X {TOKEN}": "y"},
        {"": TOKEN},
        {"X": f"ü{TOKEN}"},
        {"X": TOKEN.encode()},
        {"X": None},
        {1: TOKEN},
        {"Host": TOKEN},
        {"content-length": "1"},
        {"Transfer-Encoding": "chunked"},
    ],
    ids=str,
)
def test_a_header_that_cannot_be_sent_is_not_echoed(headers):
    with pytest.raises(ConfigError) as info:
        OllamaClient(headers=headers)
    assert "A header in `headers` is invalid." in str(info.value)
    assert TOKEN not in str(info.value)


def test_a_header_that_is_sent_back_is_hidden(fake_ollama):
    for said in (f"Key {TOKEN}", TOKEN, "id-1234567"):
        body = json.dumps({"error": f"bad {said}"})
        fake_ollama.on("POST /api/chat", Answer([body], status=400))
        client = OllamaClient(fake_ollama.url, headers=HEADERS)
        with pytest.raises(OllamaMagicError) as info:
            client.chat("m", HI).complete()
        assert info.value.why == "server (400): bad ***"
        shown = [repr(client), repr(client._credentials), repr(client.redactor)]
        shown.append(repr(client._credentials.headers))
        assert all(said not in one for one in shown)


def _failures(fake):
    """Every kind of failure, each with a token in the request."""
    scripts = {
        "refusal": Answer(['{"error": "no"}'], status=401, framing="length"),
        "empty": Answer(status=403, framing="length"),
        "missing": Answer(['{"error": "no"}'], status=404, framing="length"),
        "page": Answer(["<html>"], content_type="text/html"),
        "banner": Answer([b"SSH-2.0\r\n"], raw=True),
        "hang-up": Answer([], raw=True),
        "redirect": Answer(status=307, headers={"Location": "http://x/"}),
        "cut": Answer(['{"message": {}}\n'], cut_after=5),
        "endless": Answer(['{"message": {}}\n']),
        "bad line": Answer(['{"message": {}}\nboom\n']),
        "error line": Answer(['{"error": "no"}\n']),
    }
    for name, answer in scripts.items():
        fake.on("POST /api/chat", answer)
        yield name, f"http://127.0.0.1:{fake.port}"
    yield "closed port", "http://127.0.0.1:9"
    yield "unknown name", "https://no-such-host.invalid"
    yield "no TLS there", f"https://127.0.0.1:{fake.port}"
    yield "no name", "https://a..b"


@pytest.mark.parametrize("secret", ["token", "password"])
def test_no_error_shows_a_secret(fake_ollama, secret):
    """Neither text nor traceback nor repr; requests' own errors hold headers."""
    basic = base64.b64encode(f"ann:{TOKEN}".encode()).decode()
    for name, url in _failures(fake_ollama):
        if secret == "password":
            url = url.replace("://", f"://ann:{TOKEN}@")  # noqa: PLW2901
        client = OllamaClient(
            url, api_key=TOKEN if secret == "token" else "", connect_timeout_s=1
        )
        with pytest.raises(OllamaMagicError) as info:
            client.chat("m", HI).complete()
        shown = [
            "".join(traceback.format_exception(info.value)),
            repr(info.value),
            "\n".join(info.value._render_traceback_()),
            repr(client),
            repr(client.host),
            repr(client._credentials),
            json.dumps(info.value.lines()),
        ]
        for text in shown:
            assert TOKEN not in text, name
            assert basic not in text, name


def test_cookies_are_not_kept(client, fake_ollama):
    headers = {"Set-Cookie": "a=b; Path=/"}
    fake_ollama.on(
        "GET /api/version",
        Answer(['{"version": "1"}'], headers=headers, framing="length"),
    )
    client.version()
    client.version()
    assert "cookie" not in fake_ollama.requests[1].headers


def test_repr_shows_the_host_alone():
    client = OllamaClient(parse_host("https://ann:hidden@gpu/x"))
    assert repr(client) == "OllamaClient('https://gpu/x')"
