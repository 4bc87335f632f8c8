"""Web addresses of images: downloaded as they are written, within limits."""

import threading

import pytest
from fake_ollama import Answer, Wait

from ollama_magic.client import files as module
from ollama_magic.client.files import download, is_address, public_address
from ollama_magic.errors import PromptError

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def image(steps=(PNG,), content_type="image/png", **more):
    return Answer(steps, content_type=content_type, **more)


def fetched(address):
    return download(address, max_bytes=1_000)


def failure(address):
    with pytest.raises(PromptError) as caught:
        fetched(address)
    return caught.value


def test_the_file_at_an_address_is_returned_and_no_secret_is_sent(
    fake_ollama, monkeypatch
):
    monkeypatch.setenv("OLLAMA_API_KEY", "s3cret")
    fake_ollama.on("GET /plot.png", image())
    assert fetched(f"{fake_ollama.url}/plot.png?size=2&of=a%20b#top") == PNG
    (request,) = fake_ollama.requests
    assert request.path == "/plot.png?size=2&of=a%20b"
    assert "image/png" in request.headers["accept"]
    assert not {"authorization", "cookie", "referer"} & set(request.headers)


def test_user_and_password_in_an_address_are_sent_to_its_host(fake_ollama):
    fake_ollama.on("GET /plot.png", image())
    host = fake_ollama.url.removeprefix("http://")
    assert fetched(f"http://ann:pw@{host}/plot.png") == PNG
    assert fake_ollama.requests[0].headers["authorization"] == "Basic YW5uOnB3"


@pytest.mark.parametrize("kind", ["", "application/octet-stream", "audio/x-wav"])
def test_the_type_may_be_general(fake_ollama, kind):
    fake_ollama.on("GET /x", image(content_type=kind or None))
    assert fetched(f"{fake_ollama.url}/x") == PNG


def test_a_redirect_is_not_followed_and_its_target_is_named(fake_ollama):
    moved = Answer(status=302, headers={"Location": "/other.png"}, framing="length")
    fake_ollama.on("GET /plot.png", moved)
    fake_ollama.on("GET /other.png", image())
    error = failure(f"{fake_ollama.url}/plot.png")
    assert error.why == "it redirects, and redirects are not followed"
    assert error.next_step == f"if you trust it: -a {fake_ollama.url}/other.png"
    assert len(fake_ollama.requests) == 1


def test_a_redirect_to_no_address_of_the_web_is_not_suggested(fake_ollama):
    moved = Answer(status=302, headers={"Location": "file:///etc/x"}, framing="length")
    fake_ollama.on("GET /plot.png", moved)
    assert "/etc/x" not in failure(f"{fake_ollama.url}/plot.png").next_step


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            image(["<html>"], "text/html; charset=utf-8"),
            "it is text/html, not an image",
        ),
        (image(status=404), "the server answered 404"),
        (image([bytes(600), bytes(600)]), "it is larger than the limit of 1.0 kB"),
        (image(framing="length", cut_after=20), "closed early"),
    ],
    ids=["a page", "not found", "too large", "cut off"],
)
def test_what_cannot_be_attached_says_why(fake_ollama, answer, why):
    fake_ollama.on("GET /plot.png", answer)
    error = failure(f"{fake_ollama.url}/plot.png")
    assert error.what == f"The address {fake_ollama.url}/plot.png cannot be attached."
    assert why in error.why


@pytest.mark.parametrize(
    "answer",
    [
        image([PNG, Wait(threading.Event())]),
        image(hold_headers=threading.Event()),
    ],
    ids=["body", "headers"],
)
def test_a_response_that_never_ends_is_abandoned(fake_ollama, monkeypatch, answer):
    monkeypatch.setattr(module, "_TOTAL_S", 0.3)
    fake_ollama.on("GET /plot.png", answer)
    assert failure(f"{fake_ollama.url}/plot.png").why == "it takes more than 0 s"
    assert fake_ollama.requests[0].wait_closed()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("file:///etc/passwd", "only http:// and https:// addresses are fetched"),
        ("ftp://a.example/x.png", "only http:// and https:// addresses are fetched"),
        ("https:///x.png", "only http:// and https:// addresses are fetched"),
        ("http://a.example:99999/x.png", "port"),
        ("http://[::1/x.png", "Invalid IPv6 URL"),
        ("http://127.0.0.1:1/x.png", "refused"),
    ],
)
def test_an_address_that_cannot_be_fetched_says_why(address, why):
    assert is_address(address)
    assert why in failure(address).why


@pytest.mark.parametrize("text", ["plot.png", "C:/plot.png", "a:b", "~/x", "x://"[1:]])
def test_a_path_is_not_an_address(text):
    assert not is_address(text)


def test_an_address_is_shown_without_its_secrets():
    shown = public_address("https://ann:pw@a.example:8443/x/plot.png?sig=s3cret#top")
    assert shown == "https://a.example:8443/x/plot.png"
