import pytest

from ollama_magic.client.host import Host, parse_host
from ollama_magic.errors import ConfigError

URLS = {
    # what the user types: the base URL
    "": "http://127.0.0.1:11434",
    "localhost": "http://localhost:11434",
    "localhost:11434": "http://localhost:11434",
    "gpu": "http://gpu:11434",
    "gpu.lan:8080": "http://gpu.lan:8080",
    "gpu:": "http://gpu:11434",
    "gpu/": "http://gpu:11434",
    ":1234": "http://127.0.0.1:1234",
    "1.2.3.4": "http://1.2.3.4:11434",
    "1.2.3.4:80": "http://1.2.3.4",
    "http://gpu": "http://gpu",
    "http://gpu/": "http://gpu",
    "http://gpu:": "http://gpu",
    "http://gpu:80": "http://gpu",
    "http://gpu:11434": "http://gpu:11434",
    "https://gpu": "https://gpu",
    "https://gpu:443": "https://gpu",
    "https://gpu:80": "https://gpu:80",
    "HTTPS://gpu": "https://gpu",
    "ollama.com": "https://ollama.com",
    "gpu/ollama": "http://gpu:11434/ollama",
    "https://gpu/a/b/": "https://gpu/a/b",
    "http://gpu:1234//a//": "http://gpu:1234/a",
    "gpu/v1": "http://gpu:11434",
    "http://gpu:11434/v1/": "http://gpu:11434",
    "https://gpu/ollama/v1": "https://gpu/ollama",
    "https://gpu/dev1": "https://gpu/dev1",
    "gpu/api": "http://gpu:11434",
    "https://gpu/ollama/api/": "https://gpu/ollama",
    "gpu/api/chat": "http://gpu:11434",
    "https://gpu/my-api": "https://gpu/my-api",
    "https://gpu/api/ollama": "https://gpu/api/ollama",
    "0.0.0.0": "http://127.0.0.1:11434",
    "0.0.0.0:5000": "http://127.0.0.1:5000",
    "http://0.0.0.0": "http://127.0.0.1",
    "::": "http://[::1]:11434",
    "[::]": "http://[::1]:11434",
    "[::]:5000": "http://[::1]:5000",
    "::1": "http://[::1]:11434",
    "[::1]": "http://[::1]:11434",
    "http://[::1]": "http://[::1]",
    "[fe80::1]:99": "http://[fe80::1]:99",
    "2001:db8::5": "http://[2001:db8::5]:11434",
    ' "gpu" ': "http://gpu:11434",
    "'gpu:1'\n": "http://gpu:1",
    "my_host-2": "http://my_host-2:11434",
    "ann:pw@gpu:1": "http://gpu:1",
    "https://ann@gpu/x": "https://gpu/x",
    "[fe80::1%eth0]:99": "http://[fe80::1%eth0]:99",
    "127.1": "http://127.1:11434",
    "0x7f.0.0.1": "http://0x7f.0.0.1:11434",
}


@pytest.mark.parametrize(("text", "url"), URLS.items())
def test_a_host_is_parsed_as_in_ollama(text, url):
    """Source: the rules of ``envconfig.Host`` and ``ConnectableHost``."""
    assert parse_host(text).base_url == url


def test_no_host_is_the_default():
    assert parse_host(None) == Host("http://127.0.0.1:11434", "127.0.0.1:11434", True)


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("localhost", True),
        ("LocalHost.:1", True),
        ("ollama.localhost", False),
        ("127.0.0.2", True),
        ("[::1]:1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        (":1", True),
        ("localhost.example.org", False),
        ("127.0.0.1.nip.io", False),
        ("10.0.0.1", False),
        ("gpu", False),
        ("localhost@gpu", False),
        # Resolved to loopback by the system; to count it as remote does no harm.
        ("127.1", False),
        ("0x7f.0.0.1", False),
        ("2130706433", False),
        ("[::1%@evil]", False),
        ("localhost.", True),
        ("::1%lo", True),
    ],
)
def test_only_this_machine_is_loopback(text, is_loopback):
    assert parse_host(text).is_loopback is is_loopback


def test_user_and_password_are_separate_and_hidden():
    host = parse_host("https://ann%40x:p%2Fw%3A@gpu")
    assert (host.user, host.password) == ("ann@x", "p/w:")
    assert host.base_url == "https://gpu"
    assert "p/w" not in repr(host)
    assert "ann" not in repr(host)


@pytest.mark.parametrize(
    ("text", "shown", "why"),
    [
        ("ftp://gpu", "ftp://gpu", "the scheme is neither http nor https"),
        ("gpu:0", "gpu:0", "the port must be a number from 1 to 65535"),
        ("gpu:65536", "gpu:65536", "the port must be a number from 1 to 65535"),
        ("gpu:http", "gpu:http", "the port must be a number from 1 to 65535"),
        ("gpu:-1", "gpu:-1", "the port must be a number from 1 to 65535"),
        ("gpu:\u0661", "gpu:\u0661", "the port must be a number from 1 to 65535"),
        (5, "5", "it is of type int"),
        ("my gpu", "my gpu", "the host name contains invalid characters"),
        ("[::1", "[::1", None),
        ("::1%\\evil", "::1%\\evil", "the port must be a number from 1 to 65535"),
        ("[::1%a b]", "[::1%a b]", "the port must be a number from 1 to 65535"),
        (
            "[::1%#x]:80",
            "[::1%#x]:80",
            "the host name contains invalid characters",
        ),
        ("gpu\x00", "gpu\\x00", "the host name contains invalid characters"),
        (
            "gpu/a?b",
            "gpu/a?b",
            "the path contains invalid characters",
        ),
        (
            "http://ann:se/cret@gpu",
            "http://***@gpu",
            "the port must be a number from 1 to 65535",
        ),
        (
            "ann:secret@g pu",
            "g pu",
            "the host name contains invalid characters",
        ),
    ],
)
def test_an_invalid_host_is_an_error_that_says_how_to_write_it(text, shown, why):
    """Ollama itself logs a warning and uses another port."""
    if why is None:  # a missing bracket is tolerated
        assert parse_host(text).base_url == "http://[::1]:11434"
        return
    with pytest.raises(ConfigError) as info:
        parse_host(text)
    assert info.value.lines() == [
        f"The host '{shown}' is invalid.",
        f"  why:  {why}",
        "  next: write it as HOST, HOST:PORT or http://HOST:PORT, in OLLAMA_HOST or as "
        '%config OllamaMagics.host = "http://HOST:PORT"',
    ]
