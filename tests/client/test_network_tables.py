"""The tables of the network: proxies, .netrc, redirects, on every endpoint.

The proxy is a server that records its requests; another machine is a host name that
only the proxy knows.
"""

import itertools
from io import BytesIO

import pytest
from fake_ollama import Answer, FakeOllama, json_answer

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.server_errors import RequestInfo, redirected
from ollama_magic.errors import NotOllamaError, ServerUnreachableError

TOKEN = "sk-3cr3t"
HI = [{"role": "user", "content": "hi"}]
VARIABLES = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"]
VARIABLES += ["all_proxy"]
NO_PROXY = {
    # what NO_PROXY holds: whether gpu.invalid is reached without the proxy
    None: False,
    "": False,
    "*": True,
    "gpu.invalid": True,
    "GPU.invalid": True,
    ".invalid": True,
    "invalid": True,
    "gpu.invalid:11434": True,
    "gpu.invalid:1": False,
    " other, gpu.invalid ": True,
    "other.example": False,
    "<local>": False,
    "10.0.0.0/8": False,
    "127.0.0.1,localhost": False,
}
LOOPBACK = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.0.0.2"]


def ids_of(value):
    return repr(value)


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("no_proxy", NO_PROXY, ids=ids_of)
@pytest.mark.parametrize("variable", VARIABLES)
def test_no_proxy_is_used_for_this_machine(monkeypatch, variable, no_proxy, host):
    with FakeOllama() as proxy, FakeOllama() as server:
        monkeypatch.setenv(variable, proxy.url)
        if no_proxy is not None:
            monkeypatch.setenv("NO_PROXY", no_proxy)
        client = OllamaClient(f"{host}:{server.port}", connect_timeout_s=1)
        try:
            assert client.version() == "0.33.0"
        except ServerUnreachableError:  # no such loopback on this machine
            assert host in {"[::ffff:127.0.0.1]", "127.0.0.2"}
        assert proxy.requests == []


@pytest.mark.parametrize("no_proxy", NO_PROXY, ids=ids_of)
@pytest.mark.parametrize("spelling", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_environment_decides_on_a_proxy_for_other_machines(
    monkeypatch, variable, spelling, no_proxy
):
    url = "http://gpu.invalid:11434/api/version"
    with FakeOllama() as proxy:
        proxy.on(f"GET {url}", json_answer({"version": "far"}))
        monkeypatch.setenv(variable, proxy.url)
        if no_proxy is not None:
            monkeypatch.setenv(spelling, no_proxy)
        client = OllamaClient("gpu.invalid", connect_timeout_s=1)
        if NO_PROXY[no_proxy]:
            with pytest.raises(ServerUnreachableError):
                client.version()
            assert proxy.requests == []
        else:
            assert client.version() == "far"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_a_proxy_for_https_is_not_used_for_http(monkeypatch, variable):
    with FakeOllama() as proxy:
        monkeypatch.setenv(variable, proxy.url)
        with pytest.raises(ServerUnreachableError):
            OllamaClient("gpu.invalid", connect_timeout_s=1).version()
        assert proxy.requests == []


# -- .netrc -----------------------------------------------------------------------

NETRC = {
    "the host": "machine {host} login ann password pw\n",
    "the default": "default login bob password pw\n",
    "both": "machine {host} login ann password pw\ndefault login bob password pw\n",
    "a macro": "macdef init\n x\n\nmachine {host} login ann password pw\n",
}


@pytest.fixture(params=[".netrc", "_netrc", "NETRC"])
def write_netrc(request, monkeypatch, clean_environment):
    """Return a function that writes a .netrc file, in each place that is searched."""

    def write(text):
        name = ".secrets" if request.param == "NETRC" else request.param
        path = clean_environment / name
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        if request.param == "NETRC":
            monkeypatch.setenv("NETRC", str(path))

    return write


@pytest.mark.parametrize("api_key", ["", TOKEN], ids=["no key", "a key"])
@pytest.mark.parametrize("entry", NETRC)
@pytest.mark.parametrize("machine", ["loopback", "remote"])
def test_netrc_is_never_read(  # noqa: PLR0917  (what pytest passes by name)
    fake_ollama, monkeypatch, write_netrc, entry, api_key, machine
):
    host = "127.0.0.1" if machine == "loopback" else "gpu.invalid"
    write_netrc(NETRC[entry].format(host=host))
    if machine == "loopback":
        client, url = OllamaClient(fake_ollama.url, api_key=api_key), "/api/version"
        wanted = f"Bearer {api_key}" if api_key else None
    else:  # through a proxy, without a key: keys are never sent unencrypted
        monkeypatch.setenv("HTTP_PROXY", fake_ollama.url)
        client, url = OllamaClient(host, api_key=""), f"http://{host}:11434/api/version"
        fake_ollama.on(f"GET {url}", json_answer({"version": "x"}))
        wanted = None
    client.version()
    sent = fake_ollama.wait_for(url).headers
    assert sent.get("authorization") == wanted
    assert "proxy-authorization" not in sent


# -- redirects --------------------------------------------------------------------

BLOB = "sha256:00"
ENDPOINTS = {
    "GET /api/version": lambda client: client.version(),
    "GET /api/tags": lambda client: client.list(),
    "GET /api/ps": lambda client: client.ps(),
    "POST /api/show": lambda client: client.show("m"),
    "POST /api/chat": lambda client: client.chat("m", HI).complete(),
    "POST /api/generate": lambda client: client.generate("m", "hi").complete(),
    "POST /api/embed": lambda client: client.embed("m", ["hi"]),
    "POST /api/copy": lambda client: client.copy("m", "n"),
    "DELETE /api/delete": lambda client: client.delete("m"),
    "POST /api/pull": lambda client: list(client.pull("m")),
    "POST /api/push": lambda client: list(client.push("m")),
    "POST /api/create": lambda client: list(client.create("m", from_model="n")),
    f"HEAD /api/blobs/{BLOB}": lambda client: client.blob_exists(BLOB),
    f"POST /api/blobs/{BLOB}": lambda client: client.upload_blob(BLOB, BytesIO(b"x")),
}
CODES = [301, 302, 303, 307, 308]
TARGETS = {
    "absolute": "{other}/api/version",
    "another port": "http://127.0.0.1:{port}/",
    "relative": "/elsewhere",
    "none": "",
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(
    "endpoint", ENDPOINTS, ids=lambda name: name.replace("/api/", "")
)
def test_no_redirect_is_followed_on_any_endpoint(fake_ollama, endpoint, code):
    with FakeOllama() as other:
        for target in TARGETS.values():
            location = target.format(other=other.url, port=other.port)
            answer = Answer(status=code, headers={"Location": location})
            fake_ollama.on(endpoint, answer)
            asked = len(fake_ollama.requests)
            client = OllamaClient(fake_ollama.url, api_key=TOKEN)
            with pytest.raises(NotOllamaError, match="redirects are not followed"):
                ENDPOINTS[endpoint](client)
            made = [f"{r.method} {r.path}" for r in fake_ollama.requests[asked:]]
            assert made.count(endpoint) == 1
            assert {one.partition(" ")[2] for one in made} == {endpoint.split()[1]}
        assert other.requests == []


@pytest.mark.parametrize(
    ("location", "shown", "is_offered"),
    [
        ("http://gpu:1/x", "http://gpu:1", True),
        ("https://ann:pw@gpu/", "https://gpu", True),
        ("//gpu/x", "//gpu/x", False),
        ("/x", "/x", False),
        ("", "nowhere", False),
        ("http://[::1/", "http://[::1/", False),
        ("ftp://gpu/", "ftp://gpu/", False),
        ("javascript://x%0ay", "javascript: //x%0ay", False),
        ("http://x\"+open('y')+\"/", "http://x\"+open('y')+\"/", False),
        ('http://x";z="/', 'http://x";z="/', False),
        ("http://a b/", "http://a b/", False),
        ("http://a:99999/", "http://a:99999/", False),
        ("http://\x1b[31m/", "http://\\x1b[31m/", False),
    ],
)
def test_only_a_valid_host_is_suggested_as_the_next_address(
    location, shown, is_offered
):
    """Users paste it, so it must be an address and nothing else."""
    error = redirected(RequestInfo("http://h", "chat", "m"), location)
    assert error.what == (f"http://h redirects to {shown}; redirects are not followed.")
    offered = f'%config OllamaMagics.host = "{shown}"'
    assert (offered in error.next_step) == is_offered
    assert is_offered or "HOST:PORT" in error.next_step


def test_the_tables_have_the_documented_size():
    loopback = len(VARIABLES) * len(NO_PROXY) * len(LOOPBACK)
    assert loopback == 336
    assert len(NO_PROXY) * 2 * 3 == 84
    assert len(ENDPOINTS) * len(CODES) * len(TARGETS) == 280
    assert len(list(itertools.product(NETRC, range(3), range(2), range(2)))) == 48
