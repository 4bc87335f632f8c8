"""Connections that are not secure, and the files of certificates that are trusted."""

import os
import socketserver
import ssl
import threading

import pytest
from certificates import CERTIFICATES, KEY
from fake_ollama import FakeOllama

from ollama_magic.client import compat
from ollama_magic.client.client import OllamaClient
from ollama_magic.errors import ConfigError, OllamaMagicError, ServerUnreachableError

VARIABLES = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]
HI = [{"role": "user", "content": "hi"}]


class SecureOllama(FakeOllama):
    """The scripted server behind TLS."""

    def __init__(self, file):
        super().__init__()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(file)

    def _serve(self, connection):
        try:
            secure = self._tls.wrap_socket(connection, server_side=True)
        except OSError:  # the client does not trust the certificate
            connection.close()
            return
        super()._serve(secure)


@pytest.fixture(autouse=True)
def clean_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def secure(tmp_path, monkeypatch):
    """Return a function that runs a server with one of the certificates."""
    servers = []

    def start(name, trusted=None, variable="REQUESTS_CA_BUNDLE"):
        file = tmp_path / f"{name}.pem"
        file.write_text(CERTIFICATES[name] + KEY)
        server = SecureOllama(file)
        servers.append(server)
        if trusted is not None:
            bundle = tmp_path / "bundle.pem"
            bundle.write_text(CERTIFICATES[trusted])
            monkeypatch.setenv(variable, str(bundle))
        return server.__enter__().url.replace("http:", "https:")

    yield start
    for server in servers:
        server.__exit__()


def refused(url, **limits):
    """Return the error of a request; a stream has the same."""
    client, errors = OllamaClient(url, **limits), []
    for call in (client.version, client.chat("m", HI).complete):
        with pytest.raises(OllamaMagicError) as info:
            call()
        errors.append(info.value)
    assert errors[0].lines() == errors[1].lines()
    return errors[0]


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_server_whose_authority_is_trusted_is_used(secure, variable):
    url = secure("good", trusted="good", variable=variable)
    assert OllamaClient(url).version() == "0.33.0"


def test_an_unknown_authority(secure):
    error = refused(secure("good"))
    assert type(error) is ServerUnreachableError
    assert error.next_step == (
        "for a private certificate authority: %env REQUESTS_CA_BUNDLE=FILE"
    )


def test_a_certificate_for_another_name(secure):
    error = refused(secure("other", trusted="other"))
    assert "certificate is not valid for '127.0.0.1'" in error.why
    assert error.next_step.startswith("use the name that is in the certificate")


def test_an_expired_certificate(secure):
    error = refused(secure("expired", trusted="expired"))
    assert error.why == "certificate has expired"
    assert error.next_step.startswith("renew the certificate of the server")


def serve(answer):
    """Run a TCP server that calls ``answer`` with each connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            answer(self.request)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_a_server_without_tls():
    """Ollama answers a handshake like any bad request."""

    def answer(connection):
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n400 Bad Request")

    with serve(answer) as server:
        error = refused(f"https://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
    assert error.next_step == "write http:// if that server has no TLS"


def test_a_handshake_that_never_ends_has_the_limit_of_connecting():
    never = threading.Event()
    with serve(lambda _: never.wait(20)) as server:
        url = f"https://127.0.0.1:{server.server_address[1]}"
        error = refused(url, connect_timeout_s=0.3)
        never.set()
        server.shutdown()
    assert error.why == "no response within 0.3 s"


def test_a_missing_file_that_only_other_programs_need_is_ignored(secure, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    assert "self-signed" in refused(secure("good")).why


@pytest.mark.parametrize("variable", VARIABLES[:2])
def test_a_file_of_certificates_that_does_not_exist(monkeypatch, tmp_path, variable):
    """The library raises a bare OSError for it."""
    monkeypatch.setenv(variable, str(tmp_path / "none.pem"))
    for host in ("https://127.0.0.1:9", "https://gpu.invalid"):
        error = refused(host)
        assert type(error) is ConfigError
        assert error.what == f"{variable} names a file that does not exist."
        assert error.next_step == f"correct it: %env {variable}=FILE"


def test_a_file_of_certificates_is_not_needed_without_tls(
    monkeypatch, tmp_path, client
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    assert client.version() == "0.33.0"


@pytest.mark.parametrize(
    "content", ["", "no certificate", "-----BEGIN CERTIFICATE-----"]
)
def test_a_file_without_certificates(secure, monkeypatch, tmp_path, content):
    bundle = tmp_path / "bad.pem"
    bundle.write_text(content)
    url = secure("good")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    error = refused(url)
    assert "REQUESTS_CA_BUNDLE" in error.next_step
    assert str(error).count("\n") == 2


def test_a_file_of_certificates_is_read_once_and_again_after_a_change(
    secure, monkeypatch, tmp_path
):
    made = []
    make = compat.create_urllib3_context
    monkeypatch.setattr(
        compat, "create_urllib3_context", lambda: made.append(make()) or made[-1]
    )
    client = OllamaClient(secure("good", trusted="good"))
    for _ in range(3):
        client.version()
    assert len(made) == 1
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(CERTIFICATES["other"])
    os.utime(bundle, ns=(0, 0))
    with pytest.raises(ServerUnreachableError):
        client.version()
    assert len(made) == 2
