import json

import pytest

from ollama_magic.client.models import nearest_names
from ollama_magic.client.server_errors import (
    RequestInfo,
    redirected,
    response_error,
    server_error,
    transfer_error,
)
from ollama_magic.errors import (
    CapabilityError,
    ModelNotFoundError,
    ModelTransferError,
    NotOllamaError,
    ServerError,
)

URL = "http://127.0.0.1:11434"
CONFIG = '%config OllamaMagics.host = "http://HOST:PORT"'
INSTALLED = ["llama3.2:3b", "qwen3:4b", "Pirate:latest", "smollm2:135m", "smollm2:360m"]


def chat(model="llama3.2:3bb"):
    return RequestInfo(URL, "chat", model)


def in_json(text):
    return json.dumps({"error": text}).encode()


def test_model_not_found_has_three_lines():
    """What, why in the server's words, and next: the nearest name and the pull."""
    body = in_json("model 'llama3.2:3bb' not found")
    error = response_error(chat(), 404, body, installed=INSTALLED)
    assert type(error) is ModelNotFoundError
    assert error.lines() == [
        "Model 'llama3.2:3bb' is not on http://127.0.0.1:11434.",
        "  why:  server (404): model 'llama3.2:3bb' not found",
        "  next: did you mean 'llama3.2:3b'? If not: %ollama pull llama3.2:3bb",
    ]


def test_model_not_found_without_a_similar_name_suggests_a_pull():
    error = response_error(chat("phi4"), 404, in_json("x"), installed=INSTALLED)
    assert error.next_step == "%ollama pull phi4"


@pytest.mark.parametrize("action", ["delete", "copy", "push"])
def test_a_missing_model_to_delete_is_not_suggested_for_pull(action):
    attempt = RequestInfo(URL, action, "llama3.2:3bb")
    error = response_error(attempt, 404, in_json("x"), installed=INSTALLED)
    assert error.next_step == "did you mean 'llama3.2:3b'? See %ollama list"
    assert response_error(attempt, 404, in_json("x")).next_step == "%ollama list"


@pytest.mark.parametrize(
    ("model", "nearest"),
    [
        ("llama3.2", ["llama3.2:3b"]),
        ("LLAMA3.2:3B", ["llama3.2:3b"]),
        ("lama3.2:3b", ["llama3.2:3b"]),
        ("smollm2", ["smollm2:135m", "smollm2:360m"]),
        ("smollm2:135", ["smollm2:135m", "smollm2:360m"]),
        ("pirat", ["Pirate:latest"]),
        ("phi4", []),
    ],
)
def test_nearest_names_know_tags_and_case(model, nearest):
    assert nearest_names(model, INSTALLED) == nearest


@pytest.mark.parametrize(
    ("status", "text", "what", "next_step"),
    [
        (
            400,
            '"gemma2:2b" does not support thinking',
            "Model 'gemma2:2b' does not support thinking.",
            "leave out think (--think, or %config OllamaMagics.think = None), or "
            'choose a model with the capability "thinking": %ollama list',
        ),
        (
            400,
            "registry.ollama.ai/library/gemma2:2b does not support tools",
            "Model 'gemma2:2b' does not support tools.",
            "leave out the tools (-T), or choose a model with the "
            'capability "tools": %ollama list',
        ),
        (
            400,
            '{"error":{"code":400,"message":"Multimodal data provided, but model does '
            'not support multimodal requests.","type":"invalid_request_error"}}',
            "Model 'gemma2:2b' does not support images.",
            "leave out the image (-a, or in {{ }}), or choose a model with the "
            'capability "vision": %ollama list',
        ),
        (
            501,
            "This server does not support embeddings. Start it with `--embeddings`",
            "Model 'gemma2:2b' does not support embeddings.",
            'choose a model with the capability "embedding": %ollama list',
        ),
        (
            400,
            '"gemma2:2b" does not support chat',
            "Model 'gemma2:2b' does not support chat.",
            'choose a model with the capability "completion": %ollama list',
        ),
        (
            400,
            '"gemma2:2b" does not support generate',
            "Model 'gemma2:2b' does not support chat.",
            'choose a model with the capability "completion": %ollama list',
        ),
        (
            400,
            "gemma2:2b does not support insert",
            "Model 'gemma2:2b' does not support fill-in-the-middle.",
            'leave out suffix, or choose a model with the capability "insert": '
            "%ollama list",
        ),
    ],
    ids=["thinking", "tools", "images", "embedding", "chat", "generate", "insert"],
)
def test_a_missing_capability_is_a_capability_error(status, text, what, next_step):
    error = response_error(chat("gemma2:2b"), status, in_json(text))
    assert type(error) is CapabilityError
    assert (error.what, error.next_step) == (what, next_step)
    assert error.status_code == status


def test_an_error_inside_an_error_is_unwrapped():
    """The server passes on its runner's JSON as a string."""
    inner = json.dumps({"error": {"code": 400, "message": "too long"}})
    error = response_error(chat(), 400, in_json(inner))
    assert error.why == "server (400): too long"


@pytest.mark.parametrize(
    ("status", "text", "next_step"),
    [
        (
            503,
            "server busy, please try again.  maximum pending requests exceeded",
            "wait for its other requests to finish, then run this again",
        ),
        (
            500,
            'option "stop" must be of type array',
            "correct the option (-o KEY VALUE), or the model's default: "
            "%ollama show m --parameters",
        ),
        (
            401,
            "unauthorized",
            "set OLLAMA_API_KEY to a token that this server accepts "
            "(for a cloud model: ollama signin)",
        ),
        (
            403,
            "forbidden",
            "set OLLAMA_API_KEY to a token that this server accepts "
            "(for a cloud model: ollama signin)",
        ),
        (
            403,
            "ollama cloud is disabled: remote model is unavailable",
            "choose a local model: %ollama list",
        ),
        (
            400,
            "the input length exceeds the context length",
            "send less (--last N, --new), or enlarge the context: -o num_ctx N",
        ),
        (
            500,
            "model requires more system memory (5.6 GiB) than is available (3.1 GiB)",
            "free memory (%ollama ps, %ollama stop MODEL), or choose a smaller model",
        ),
        (
            500,
            "anything else",
            "run this again; if the error repeats, see the server's log: "
            "https://docs.ollama.com/troubleshooting",
        ),
        (400, "anything else", "correct the part of the request that it names"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_server_errors_say_what_to_do(status, text, next_step):
    error = response_error(chat("m"), status, in_json(text))
    assert type(error) is ServerError
    assert error.status_code == status
    assert error.next_step == next_step


def test_an_empty_403_is_about_the_host_name():
    """Ollama responds like this to a Host header of another machine."""
    error = response_error(chat("m"), 403, b"")
    assert error.lines() == [
        "The server at http://127.0.0.1:11434 refused to answer with 'm'.",
        "  why:  server (403): no text",
        "  next: the server rejects requests for this host name: set OLLAMA_HOST to "
        "localhost or an IP address",
    ]


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 500, 502, 503])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"text",
        "Größe".encode("latin-1"),
        b'{"error": null}',
        b'{"error": {"message": "m"}}',
        b'{"error": ["x"]}',
        b'["x"]',
        b"<html><title>T</title>",
        b"x" * 1_000_000,
        b"[" * 100_000,
        in_json("a\x1b]0;title\x07b\u202ec\r\nd"),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_any_body_gives_a_short_and_clean_error(status, body):
    """The server's words can neither move the cursor nor flood the page."""
    error = response_error(chat("m"), status, body, content_type="text/plain")
    assert len(str(error)) <= 600
    assert len(error.lines()) == 3
    assert all(line.isprintable() for line in error.lines())


def test_a_web_page_is_not_ollama():
    page = "<html><head><title> Bad\n gateway – 502</title>".encode()
    error = response_error(
        chat("m"), 502, page, content_type="text/html; charset=utf-8"
    )
    assert type(error) is NotOllamaError
    assert error.lines() == [
        "The server at http://127.0.0.1:11434 is not an Ollama server.",
        '  why:  server (502): text/html ("Bad gateway – 502")',
        "  next: a proxy may have answered: add the host to NO_PROXY, "
        f"or set another address: {CONFIG}",
    ]


def test_a_long_title_is_cut():
    page = b"<title>" + b"t" * 1000 + b"</title>"
    error = response_error(chat("m"), 200, page, content_type="text/html")
    assert len(error.why) < 260


def test_an_unknown_route_is_not_a_missing_model():
    """A 404 from another or an old server does not mean that the name is wrong."""
    error = response_error(
        chat("m"), 404, b"404 page not found", content_type="text/plain"
    )
    assert type(error) is ServerError
    assert error.why == "server (404): 404 page not found"


def test_a_failed_pull_says_how_far_it_got_and_that_it_resumes():
    error = server_error(
        RequestInfo(URL, "pull", "llama3.3:70b"),
        "write .../sha256-4824-partial: no space left on device",
        progress="12.4 of 42.5 GB",
    )
    assert type(error) is ModelTransferError
    assert error.lines() == [
        "Pull of 'llama3.3:70b' stopped at 12.4 of 42.5 GB.",
        "  why:  server (mid-stream): write .../sha256-4824-partial: no space left "
        "on device",
        "  next: free disk space on the server (%ollama rm MODEL), then pull again; "
        "it resumes",
    ]


@pytest.mark.parametrize(
    ("action", "what"),
    [
        ("pull", "Pull of 'm' failed."),
        ("push", "Push of 'm' failed."),
        ("create", "Creation of 'm' failed."),
    ],
)
def test_errors_of_transfers_have_their_own_wording(action, what):
    error = transfer_error(RequestInfo(URL, action, "m"), why="no idea")
    assert error.what == what
    assert error.next_step


def test_braces_in_the_servers_words_or_the_name_are_only_text():
    error = server_error(RequestInfo(URL, "pull", "{x}"), "{0} no such host {y}")
    assert "{x}" in error.next_step
    assert error.why == "server (mid-stream): {0} no such host {y}"


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("https://ollama.lan/api/chat?x=1", "https://ollama.lan"),
        ("http://user:pw@other:99/", "http://other:99"),
        ("/api/chat/", "/api/chat/"),
        ("", "nowhere"),
    ],
)
def test_the_error_for_a_redirect_names_its_target(location, place):
    error = redirected(chat(), location)
    assert type(error) is NotOllamaError
    assert error.what == f"{URL} redirects to {place}; redirects are not followed."
