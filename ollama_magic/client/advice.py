"""What to do about an error of a server: the tables of next steps.

:mod:`ollama_magic.client.server_errors` looks up the first pattern that matches the
status, a space and the server's message, with ``page`` and a space before it if a proxy
sent it. Patterns ignore case and are tried in order.
Sources: recordings of a real server (0.33.0-rc2), the documented errors of Ollama's
cloud, the pages of common proxies, and for texts that need a large or a broken model
Ollama's ``server/sched.go`` and ``llm/server.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Steps = Sequence[tuple[str, str]]
"""Pattern, and the sentence for it, with these fields in braces:

``model``, the requested name; ``url`` of the server; ``path`` and ``size`` of the
request; ``since``, which version of Ollama has this path, or nothing; ``wait``, how
long the server asks to wait, in parentheses, or nothing.
"""

ANOTHER_ADDRESS = (
    "set the address of an Ollama server: "
    '%config OllamaMagics.host = "http://HOST:PORT"'
)
SERVER_LOG = "see the server's log: https://docs.ollama.com/troubleshooting"
REDIRECT_TARGET = (
    'if you trust it, set it as the address: %config OllamaMagics.host = "{url}"'
)
NETWORK_PROXY = (
    "this environment sends the request through a proxy; if the server can be reached "
    "directly: %env NO_PROXY={host}"
)
PROXY_LOGIN = (
    "the proxy of this network asks for a user name and password: "
    "%env HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT"
)

SIGN_IN = (
    "%ollama signin, or `ollama signin` on the machine of the server; then run this "
    "again"
)
_NAME = "write the name as [NAMESPACE/]NAME[:TAG]; see %ollama list"
_LOCAL = "choose a local model: %ollama list"
_NO_ENDPOINT = (
    "the server has no {path}{since}: update Ollama there, let the proxy in front of "
    "it forward /api/, or correct the address: "
    '%config OllamaMagics.host = "http://HOST:PORT/PATH"'
)
_PROXY_REFUSED = (
    "a proxy in front of the server refused it: ask whoever runs the proxy, or send "
    'the header that it requires: %config OllamaMagics.headers = {{"NAME": "VALUE"}}'
)
_NOT_OLLAMA = f"that server is not Ollama and has no {{path}}; {ANOTHER_ADDRESS}"

SINCE: Mapping[str, str] = {
    "me": "0.12.1",
    "signout": "0.12.1",
    "status": "0.16.2",
    "experimental/model-recommendations": "0.22.1",
    "experimental/web_search": "0.18.0",
    "experimental/web_fetch": "0.18.0",
    "systemone": "0.35",
}
"""By endpoint: the first version of Ollama that has it."""

_NO_ACCOUNT = "^503 account unavailable"
WHAT: Steps = (
    ("^413 ", "The request is too large for {url}."),
    ("^429 ", "The server at {url} accepts no more requests for now."),
    ("^(408|499|504|522|524) ", "A proxy on the way to {url} gave up waiting."),
    ("^5[0-9][0-9] page ", "A proxy on the way to {url} cannot reach Ollama."),
    (_NO_ACCOUNT, "The server at {url} cannot reach ollama.com."),
    ("^503 ", "The server at {url} is busy."),
)
"""What happened, if that is more specific than that the request was refused."""

NEXT_STEPS: Steps = (
    ("ollama cloud is disabled", _LOCAL),
    (_NO_ACCOUNT, "check the network of that machine, then run this again"),
    ("subscription|upgrade for access", f"https://ollama.com/upgrade, or {_LOCAL}"),
    ("^402 ", f"add credits at https://ollama.com/settings, or {_LOCAL}"),
    (
        "^410 ",
        "that model is retired; choose another: %ollama list, or "
        "https://ollama.com/search",
    ),
    (
        "^412 |newer version of ollama",
        "update Ollama on the server, then run this again",
    ),
    (
        r"^403 \s*$",
        "the server rejects requests for this host name: set OLLAMA_HOST to "
        "localhost or an IP address",
    ),
    ("^403 page ", _PROXY_REFUSED),
    (
        "^403 ",
        "set OLLAMA_API_KEY to a token that this server accepts "
        "(for a cloud model: %ollama signin)",
    ),
    ("^407 ", PROXY_LOGIN),
    (
        "^413 |request (entity|body) too large",
        "the request is {size}: send a smaller image or a shorter prompt, or raise "
        "the limit of the proxy (nginx: client_max_body_size)",
    ),
    ("to an HTTPS (server|port)", "write the address with https://"),
    ("unexpected endpoint", _NOT_OLLAMA),
    ("^404 model ", _NAME),
    ("^40[45] ", _NO_ENDPOINT),
    (
        "^429 .*(limit|quota|exceeded)",
        f"wait until the limit resets{{wait}}, or {_LOCAL}",
    ),
    ("^429 ", "wait{wait}, then run this again"),
    (
        "^(408|499|504|522|524) ",
        "load the model first: %ollama load {model}; or raise the time limit of the "
        "proxy (nginx: proxy_read_timeout)",
    ),
    ("^511 ", "log in to this network in a browser, then run this again"),
    (
        "^5[0-9][0-9] page ",
        "check that Ollama is running behind the proxy; after a restart, run this "
        "again{wait}",
    ),
    (
        "server busy|^503 ",
        "wait for its other requests to finish{wait}, then run this again",
    ),
    (
        "option .* must be of type",
        "correct the option (-o KEY VALUE), or the model's default: "
        "%ollama show {model} --parameters",
    ),
    (
        "image generation",
        "Ollama 0.32.6 and later generate no images; choose a model that writes text: "
        "%ollama list",
    ),
    (
        "unsupported value: NaN",
        "the model has no vector for this text: change the text, or choose another "
        "model: https://ollama.com/search?c=embedding",
    ),
    ("invalid duration", "write --keep-alive as 10m, in seconds, as 0 or as -1"),
    ("invalid think value", "write --think, or --think=low, medium, high or max"),
    ("schema|invalid format", "correct the JSON Schema, or leave it out"),
    ("base64", "send the image as a file or as plain base64"),
    ("invalid model name|name .* is invalid|model is required", _NAME),
    (
        "more system memory|out of memory|unable to load model|failed to load|"
        "runner process has terminated",
        "free memory (%ollama ps, %ollama stop MODEL), or choose a smaller model",
    ),
    (
        "while running the model|^200 ",
        "run this again; the server restarts the model",
    ),
    ("^4[0-9][0-9] page ", _PROXY_REFUSED),
    ("^4", "correct the part of the request that the server names"),
    ("", f"run this again; if the error repeats, {SERVER_LOG}"),
)
"""200 as the status: inside a stream."""

CLOUD_UNREACHABLE = (
    f"the server cannot reach ollama.com: check its network, or {_LOCAL}"
)

TOO_LONG = "exceeds the (available )?context|exceeds maximum|longer than the context"
TOO_LONG_STEPS: Mapping[str, str] = {
    "chat": "send less (--last N, --new), or enlarge the context: -o num_ctx N",
    "generate": "send less, or enlarge the context: -o num_ctx N",
    "embed": "shorten or split the text, or let the server cut it: "
    "embed(…, truncate=True)",
}
"""By endpoint: what to do about a prompt that does not fit the context."""
TOO_LONG_COUNTS = r"\((\d+) tokens\).*\((\d+) tokens\)"
"""The size of the prompt and of the context in such an error (recorded from 0.33)."""

_CA_BUNDLE = "for a private certificate authority: %env REQUESTS_CA_BUNDLE=FILE"
TLS_STEPS: Sequence[tuple[str, str]] = (
    (
        "mismatch|not valid for|match",
        "use the name that is in the certificate as the address, or give the server a "
        "certificate for this name",
    ),
    (
        "expired|not yet valid",
        "renew the certificate of the server, or correct the clock of this machine",
    ),
    (
        "wrong version|record layer|unknown protocol|http request|packet length",
        "write http:// if that server has no TLS",
    ),
    (
        "no certificate or crl|pem lib|permission denied",
        "set REQUESTS_CA_BUNDLE to a readable file of certificates (PEM)",
    ),
    ("self.signed|unable to get|unknown ca", _CA_BUNDLE),
    ("", f"write http:// if that server has no TLS; {_CA_BUNDLE}"),
)
"""What to do about a connection that is not secure, by the reason in lower case."""


# -- transfers -----------------------------------------------------------------

_SEARCH = "check the name; models are listed at https://ollama.com/search"
_NETWORK = (
    "no such host|connection refused|timeout|timed out|retries exceeded|"
    "unreachable|reset|connection (was )?closed"
)


def _plain_http(method: str) -> tuple[str, str]:
    return (
        "HTTP response to HTTPS client",
        "that registry is not encrypted; if you trust the network: "
        f"%ollama {method} --insecure {{model}}",
    )


TRANSFER_STEPS: Mapping[str, Steps] = {
    "pull": (
        (
            "no space left",
            "free disk space on the server (%ollama rm MODEL), then pull again; "
            "it resumes",
        ),
        (
            "quantization",
            "choose a quantization that is listed on the repository's page: "
            "%ollama pull NAME:Q4_K_M",
        ),
        (
            "not GGUF|no GGUF|compatible with llama",
            "choose a repository with GGUF files: "
            "https://huggingface.co/models?library=gguf",
        ),
        (
            "x509|certificate",
            "install the certificate authority of that registry on the server's "
            "machine, and restart Ollama there",
        ),
        ("file does not exist|not found", _SEARCH),
        ("newer version", "update Ollama on the server, then pull again"),
        _plain_http("pull"),
        ("invalid model name", _NAME),
        ("429|too ?many ?requests", "wait{wait}, then: %ollama pull {model}"),
        (
            r"\b40[13]\b|unauthorized|forbidden|denied|gated|restricted|awaiting",
            "accept the terms on the model's page, and add the server's key to your "
            "account (%ollama signin, or https://huggingface.co/settings/keys)",
        ),
        ("unexpected endpoint", _NOT_OLLAMA),
        (
            _NETWORK,
            "check that the server can reach the registry, then: "
            "%ollama pull {model} (it resumes)",
        ),
        ("manifest: 4", _SEARCH),
        ("", "%ollama pull {model} (it resumes)"),
    ),
    "push": (
        ("model is required", _NAME),
        ("no such file", "check the name: %ollama list"),
        _plain_http("push"),
        (
            "unauthorized|denied|401|403",
            "sign in on the server (%ollama signin), and push to your own "
            "namespace: %ollama cp {model} YOU/NAME",
        ),
        ("unexpected endpoint", _NOT_OLLAMA),
        ("", "%ollama push {model}   sends only what is missing"),
    ),
    "create": (
        ("no space left", "free disk space on the server: %ollama rm MODEL"),
        ("pull model manifest", "check the name of the base model: %ollama list"),
        ("invalid model name", _NAME),
        ("template error", "correct the template"),
        ("unsupported quantization", "choose one of the types that the server lists"),
        ("unexpected endpoint", _NOT_OLLAMA),
        ("", "correct what the server names, then create the model again"),
    ),
}
"""By endpoint; matched with the server's message alone."""
