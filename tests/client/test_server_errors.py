import json

import pytest

from ollama_magic.client.models import nearest_names
from ollama_magic.client.server_errors import (
    RequestInfo,
    not_ollama,
    redirected,
    response_error,
    server_error,
    transfer_error,
)
from ollama_magic.errors import (
    CapabilityError,
    ContextExceededError,
    ModelNotFoundError,
    ModelTransferError,
    NotOllamaError,
    ServerError,
)

URL = "http://127.0.0.1:11434"
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
    error = response_error(
        chat("phi4"), 404, in_json("no such model"), installed=INSTALLED
    )
    assert error.next_step == "%ollama pull phi4"


@pytest.mark.parametrize("name", ["./llama", "~/models", "model.gguf"])
def test_the_name_of_a_folder_or_file_is_not_pulled(name):
    error = response_error(chat(name), 404, in_json("no such model"))
    assert error.next_step == "to use a model file: %ollama create NAME -F FILE.gguf"


@pytest.mark.parametrize("action", ["delete", "copy", "push"])
def test_a_missing_model_to_delete_is_not_suggested_for_pull(action):
    attempt = RequestInfo(URL, action, "llama3.2:3bb")
    error = response_error(attempt, 404, in_json("no such model"), installed=INSTALLED)
    assert error.next_step == "did you mean 'llama3.2:3b'? See %ollama list"
    assert (
        response_error(attempt, 404, in_json("no such model")).next_step
        == "%ollama list"
    )


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
            "set OLLAMA_API_KEY, or send the header that it requires: %config "
            'OllamaMagics.headers = {"NAME": "VALUE"} '
            "(for a cloud model: %ollama signin)",
        ),
        (
            403,
            "forbidden",
            "set OLLAMA_API_KEY to a token that this server accepts "
            "(for a cloud model: %ollama signin)",
        ),
        (
            403,
            "ollama cloud is disabled: remote model is unavailable",
            "choose a local model: %ollama list",
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
        (
            500,
            "failed to encode response: json: unsupported value: NaN",
            "the model has no vector for this text: change the text, or choose another "
            "model: https://ollama.com/search?c=embedding",
        ),
        (400, "anything else", "correct the part of the request that the server names"),
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


def test_the_page_of_a_proxy_is_shown_by_its_title():
    page = "<html><head><title> Bad\n gateway – 502</title>".encode()
    error = response_error(
        chat("m"), 502, page, content_type="text/html; charset=utf-8"
    )
    assert type(error) is ServerError
    assert error.lines() == [
        "A proxy on the way to http://127.0.0.1:11434 cannot reach Ollama.",
        '  why:  server (502): text/html ("Bad gateway – 502")',
        "  next: check that Ollama is running behind the proxy; after a restart, run "
        "this again",
    ]


PAGE = "<html><head><title>{status} {words}</title></head></html>"
TEXT = "{words}"
DETAIL = '{{"detail": "{words}"}}'
MESSAGE = '{{"message": "{words}"}}'
BODIES = {
    "html": (PAGE, "text/html"),
    "text": (TEXT, "text/plain; charset=utf-8"),
    "detail": (DETAIL, "application/json"),
    "message": (MESSAGE, "application/json"),
}
REFUSALS = [
    (
        401,
        "Authorization Required",
        "refused to answer",
        "give a user name and a passw",
    ),
    (403, "Forbidden", "refused to answer", ""),
    (404, "Not Found", "refused to answer", "the server has no /api/chat"),
    (405, "Method Not Allowed", "refused to answer", "the server has no /api/chat"),
    (413, "Request Entity Too Large", "is too large", "the request is 2.1 MB: send a"),
    (
        429,
        "Too Many Requests",
        "accepts no more requests",
        "wait (30 s), then run this",
    ),
    (
        504,
        "Gateway Time-out",
        "gave up waiting",
        "load the model first: %ollama load m",
    ),
    (
        524,
        "A timeout occurred",
        "gave up waiting",
        "load the model first: %ollama load",
    ),
]
NO_SERVER = [(500, "Internal Server Error"), (502, "Bad Gateway"), (503, "Unavailable")]
NO_SERVER += [(521, "Web server is down"), (530, "error code: 1033")]


def refused(status, words, kind):
    body, content_type = BODIES[kind]
    text = body.format(status=status, words=words).encode()
    info = RequestInfo(
        URL, "chat", "m", size_bytes=2_100_000, wants_password=True, retry_after_s=30
    )
    return response_error(info, status, text, content_type=content_type)


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize(
    ("status", "words", "what", "next_step"), REFUSALS, ids=lambda value: str(value)[:9]
)
def test_the_advice_for_a_refusal_of_a_proxy_fits_its_status(
    status, words, what, next_step, kind
):
    """As a page, as text, and as the JSON of two frameworks; it is still Ollama."""
    error = refused(status, words, kind)
    assert type(error) is ServerError
    assert error.status_code == status
    assert what in error.what
    assert "not an Ollama" not in str(error)
    assert words in error.why
    assert next_step in error.next_step


@pytest.mark.parametrize("status", [400, 403, 406, 415, 421, 426, 431, 451])
def test_a_page_that_names_nothing_to_correct_is_about_the_proxy(status):
    error = refused(status, "Refused", "html")
    assert error.next_step.startswith("a proxy in front of the server refused it: ")


def test_a_network_that_wants_a_login_says_so():
    error = refused(511, "Network Authentication Required", "html")
    assert error.next_step.startswith("log in to this network in a browser")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(30, "30 s"), (3600, "1 h 00 min"), (200_000, "55 h 33 min")]
)
def test_a_long_wait_is_told_in_hours(seconds, shown):
    info = RequestInfo(URL, "chat", "m", retry_after_s=seconds)
    error = response_error(info, 429, in_json("slow down"))
    assert error.next_step == f"wait ({shown}), then run this again"


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize(("status", "words"), NO_SERVER)
def test_a_proxy_that_cannot_reach_its_server_is_named(status, words, kind):
    """Ollama sends JSON with an ``error``, so anything else comes from a proxy."""
    error = refused(status, words, kind)
    assert error.what == f"A proxy on the way to {URL} cannot reach Ollama."
    assert "check that Ollama is running behind the proxy" in error.next_step


def test_an_empty_502_comes_from_a_proxy():
    error = response_error(chat("m"), 502, b"")
    assert error.what == f"A proxy on the way to {URL} cannot reach Ollama."
    assert error.why == "server (502): no text"


@pytest.mark.parametrize("status", [403, 502])
def test_a_proxy_of_the_network_may_be_the_reason(status):
    info = RequestInfo("http://gpu.lan:11434", "chat", "m", has_proxy=True)
    page = PAGE.format(status=status, words="No").encode()
    error = response_error(info, status, page, content_type="text/html")
    assert (
        "if the server can be reached directly: %env NO_PROXY=gpu.lan; otherwise "
        in (error.next_step)
    )


@pytest.mark.parametrize(
    ("facts", "next_step"),
    [
        ({}, "set OLLAMA_API_KEY, or send the header that it requires"),
        ({"sent": "key"}, "correct OLLAMA_API_KEY"),
        (
            {"wants_password": True},
            "give a user name and a password: "
            '%config OllamaMagics.host = "http://USER:PASSWORD@127.0.0.1:11434"',
        ),
        (
            {"sent": "key", "wants_password": True},
            "give a user name and a password: ",
        ),
        (
            {"sent": "password", "wants_password": True},
            "correct the user name and the password: ",
        ),
        ({"withheld_step": "use https://"}, "the API key was not sent; use https://"),
    ],
)
def test_the_advice_says_how_to_log_in(facts, next_step):
    """It depends on what the server asks for, and on what was sent already."""
    info = RequestInfo(URL, "chat", "m", **facts)
    for body in (b"<h1>No</h1>", in_json("unauthorized"), b""):
        assert next_step in response_error(info, 401, body).next_step


@pytest.mark.parametrize("action", ["pull", "push"])
def test_a_registry_and_a_proxy_are_told_apart(action):
    """Both refuse a transfer with 401: the registry in Ollama's JSON."""
    info = RequestInfo(URL, action, "a/m")
    registry = response_error(info, 401, in_json("unauthorized"))
    assert "ollama signin" in registry.next_step
    assert "OLLAMA_API_KEY" not in registry.next_step
    for body in (b"<h1>Login</h1>", b"Unauthorized"):
        proxy = response_error(info, 401, body, content_type="text/plain")
        assert "set OLLAMA_API_KEY" in proxy.next_step


@pytest.mark.parametrize(
    "location",
    [
        "https://team.cloudflareaccess.com/cdn-cgi/access/login/gpu.lan?kid=1",
        "/oauth2/start?rd=%2Fapi%2Fchat",
        "https://id.corp.example/realms/x/protocol/saml",
        "/users/sign_in/../sign-in",
    ],
)
def test_a_redirect_to_a_login_is_not_an_address_to_set(location):
    error = redirected(chat(), location)
    assert "redirects are not followed" in error.what
    assert "OllamaMagics.host" not in error.next_step
    assert "send the header that it requires: " in error.next_step


@pytest.mark.parametrize("title", ["Sign in · Access", "Login – Authelia", "oauth2"])
def test_a_login_page_in_place_of_a_reply_is_not_another_server(title):
    page = f"<html><title>{title}</title>"
    error = not_ollama(chat(), 200, page, "text/html")
    assert "send the header that it requires: " in error.next_step


SIGNIN = "https://ollama.com/connect?name=gpu&key=c3NoLWVkMjU1MTk%3D"


@pytest.mark.parametrize("action", ["chat", "generate", "embed", "pull", "push"])
def test_a_server_without_an_account_names_the_command_to_sign_in(action):
    body = json.dumps({"error": "unauthorized", "signin_url": SIGNIN}).encode()
    error = response_error(RequestInfo(URL, action, "kimi-k2.6:cloud"), 401, body)
    assert error.next_step.startswith(
        "%ollama signin, or `ollama signin` on the machine"
    )
    assert (error.signin_url, SIGNIN in str(error)) == (SIGNIN, False)


@pytest.mark.parametrize(
    "url",
    [
        "http://ollama.com/connect",
        "https://ollama.com.evil.example/connect",
        "https://ollama.com@evil.example/",
        "https://ollama.com",
        "https://evil.example/https://ollama.com/",
        'https://ollama.com/x"onclick=1',
        "https://ollama.com/a b",
        "https://ollama.com/\u202ex",
        "https://ollama.com/" + "x" * 3000,
        "javascript://ollama.com/",
        ["https://ollama.com/"],
        None,
    ],
    ids=repr,
)
def test_no_other_address_to_sign_in_is_shown(url):
    body = json.dumps({"error": "unauthorized", "signin_url": url}).encode()
    error = response_error(chat("m:cloud"), 401, body)
    assert (error.signin_url, "signin, or" in error.next_step) == ("", False)
    assert ("which is not ollama.com" in error.why) == (bool(url) and type(url) is str)
    assert "://" not in error.why
    assert "OLLAMA_API_KEY" in error.next_step


UPGRADE = (
    "this model requires a subscription, upgrade for access: "
    "https://ollama.com/upgrade (ref: 1)"
)


@pytest.mark.parametrize(
    ("status", "text", "next_step"),
    [
        (
            402,
            "out of credits",
            "add credits at https://ollama.com/settings, or choose",
        ),
        (403, UPGRADE, "https://ollama.com/upgrade, or choose a local model"),
        (410, "this model was retired", "that model is retired; choose another"),
        (
            412,
            "requires a newer version of Ollama",
            "update Ollama on the server, then",
        ),
        (
            429,
            "you (ann) have reached your session usage limit",
            "wait until the limit resets (30 s), or choose a local model: %ollama list",
        ),
        (
            429,
            "timed out waiting for a concurrent request slot",
            "wait (30 s), then run this again",
        ),
        (503, "server busy, please try again", "requests to finish (30 s), then run"),
        (502, "Bad Gateway", "the server cannot reach ollama.com: check its network"),
        (
            400,
            "image generation models are not currently supported",
            "Ollama 0.32.6 and later generate no images",
        ),
    ],
)
def test_the_cloud_refuses_with_a_fitting_next_step(status, text, next_step):
    info = RequestInfo(URL, "chat", "kimi-k2.6:cloud", retry_after_s=30)
    error = response_error(info, status, in_json(text))
    assert next_step in error.next_step
    assert error.status_code == status
    assert error.retry_after_s == 30


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "File Not Found"),  # llama.cpp
        (404, "Not Found"),
        (501, "not implemented"),
        (200, "Unexpected endpoint or method. (POST /api/pull)"),  # LM Studio
    ],
)
@pytest.mark.parametrize("action", ["chat", "generate", "pull", "create"])
def test_a_server_without_an_endpoint_does_not_lack_the_model(status, text, action):
    error = server_error(RequestInfo(URL, action, "m"), text, status_code=status)
    if status != 200:
        body = json.dumps({"error": {"code": status, "message": text}}).encode()
        error = response_error(RequestInfo(URL, action, "m"), status, body)
    assert not isinstance(error, ModelNotFoundError)
    assert "resumes" not in error.next_step or action == "pull"
    if status == 200:
        assert f"has no /api/{action}" in error.next_step


def test_a_listed_model_is_not_missing():
    """It was offered as the nearest name of itself."""
    body = in_json("model not loaded")
    error = response_error(chat("m"), 404, body, installed=["m:latest"])
    assert type(error) is ServerError


@pytest.mark.parametrize(
    ("text", "next_step"),
    [
        (
            'pull model manifest: 401: {"error":"Invalid username or password."}',
            "accept the terms on the model's page",
        ),
        (
            'pull model manifest: 403: {"error":"Access to model a/b is restricted"}',
            "accept the terms on the model's page",
        ),
        (
            'pull model manifest: 400: {"error":"The specified tag is not a valid '
            'quantization scheme. Please use another tag or \\"latest\\""}',
            "choose a quantization that is listed",
        ),
        (
            'pull model manifest: 400: {"error":"Repository is not GGUF or is not '
            'compatible with llama.cpp"}',
            "choose a repository with GGUF files",
        ),
        (
            'Get "https://r/v2/": tls: failed to verify certificate: x509: certificate '
            "signed by unknown authority",
            "install the certificate authority of that registry",
        ),
        ("pull model manifest: 404: page not found", "check the name"),
        ("pull model manifest: 410: gone", "check the name"),
        ("429 too many requests", "wait, then: %ollama pull m"),
    ],
)
def test_a_pull_that_would_fail_again_does_not_promise_to_resume(text, next_step):
    error = server_error(RequestInfo(URL, "pull", "m"), text)
    assert next_step in error.next_step
    assert "resumes" not in error.next_step


@pytest.mark.parametrize(
    ("action", "next_step"),
    [
        ("chat", "send less (--last N, --new), or enlarge the context: -o num_ctx N"),
        ("generate", "send less, or enlarge the context: -o num_ctx N"),
        ("embed", "shorten or split the text, or let the server cut it: "),
    ],
)
def test_a_prompt_that_is_too_long_is_shortened_as_its_kind_allows(action, next_step):
    text = "the input length exceeds the context length"
    error = response_error(RequestInfo(URL, action, "m"), 400, in_json(text))
    assert type(error) is ContextExceededError
    assert next_step in error.next_step
    assert (error.prompt_tokens, error.context_length) == (0, 0)
    noun = "text" if action == "embed" else "prompt"
    assert error.what == f"The {noun} is longer than the context of 'm'."


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
    error = response_error(chat("{x}"), 413, in_json("{0} {y}"))
    assert "{0} {y}" in error.why
    error = response_error(chat("{x}"), 400, in_json("no"))
    assert error.what == f"The server at {URL} refused to answer with '{{x}}'."


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
