"""Access checks: a token is required, and web pages are rejected."""

import http.client
import socket
import stat
import threading

import pytest

from ollama_magic.server.embedded import http as embedded_http

REBINDING = "attacker.example:80"


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "Basic abc", "é"])
def test_a_request_without_the_token_is_rejected(empty_engine, token):
    headers = {"Authorization": token.encode()}
    for path in ("/", "/api/version", "/api/tags", "/api/nowhere"):
        answer = empty_engine.ask("GET", path, **headers)
        assert answer.status == 401
        assert answer.json == {"error": "unauthorized"}


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://localhost.evil.example", "file://"],
)
def test_a_foreign_origin_is_rejected_without_a_body(empty_engine, origin):
    answer = empty_engine.ask("GET", "/api/version", Origin=origin)
    assert (answer.status, answer.body) == (403, b"")
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "host", [REBINDING, "10.0.0.5", "127.0.0.1.evil.example", "[::", "0.0.0.0"]
)
def test_a_foreign_host_is_rejected_without_a_body(empty_engine, host):
    """With DNS rebinding, the Host header keeps the foreign name."""
    answer = empty_engine.ask("GET", "/api/version", Host=host)
    assert (answer.status, answer.body) == (403, b"")


@pytest.mark.parametrize("name", ["localhost:1", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_accepted(empty_engine, name):
    headers = {"Host": name, "Origin": f"http://{name}"}
    assert empty_engine.ask("GET", "/api/version", **headers).status == 200


def test_the_version_says_embedded(empty_engine):
    assert "embedded" in empty_engine.ask("GET", "/api/version").json["version"]


def test_the_server_does_not_name_its_software(empty_engine):
    assert "Server" not in empty_engine.ask("GET", "/").headers


def test_a_connection_serves_more_than_one_request(empty_engine):
    connection, response = empty_engine.open("GET", "/api/tags")
    response.read()
    headers = {"Authorization": f"Bearer {empty_engine.token}"}
    connection.request("POST", "/api/nowhere", b"unread body", headers)
    assert b"does not exist" in connection.getresponse().read()
    connection.request("GET", "/api/tags", headers=headers)
    assert connection.getresponse().status == 200
    connection.close()


def test_the_listener_is_on_loopback_only(empty_engine):
    assert empty_engine.base_url.startswith("http://127.0.0.1:")
    port = int(empty_engine.base_url.rpartition(":")[2])
    other = http.client.HTTPConnection("127.0.0.2", port, timeout=5)
    with pytest.raises(OSError):  # noqa: PT011  (refused or unreachable)
        other.request("GET", "/")


def test_the_child_ends_with_its_standard_input(empty_engine):
    empty_engine.process.stdin.close()
    assert empty_engine.process.wait(30) == 0


def test_folders_are_private(empty_engine):
    mode = stat.S_IMODE(empty_engine.store.stat().st_mode)
    assert mode == 0o700


@pytest.mark.parametrize("sent", [b"", b"GET /api/version HTTP/1.1\r\nHost: loc"])
def test_a_connection_without_a_whole_request_is_closed(monkeypatch, sent):
    monkeypatch.setattr(embedded_http, "_REQUEST_S", 0.05)
    with embedded_http.EmbeddedHTTPServer(0, "token", {}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with socket.create_connection(server.server_address, timeout=60) as client:
            client.sendall(sent)
            assert client.recv(1) == b""
        server.shutdown()
