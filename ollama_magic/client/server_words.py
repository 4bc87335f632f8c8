"""How Ollama words its errors, and what to do then: tables, no logic.

Patterns ignore case and are looked at in order; the first that is found counts.
Sources: recordings of a real server (0.33.0-rc2); the texts that need a large or a
broken model are from Ollama's ``server/sched.go`` and ``llm/server.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Steps = Sequence[tuple[str, str]]
"""Pattern, and the next step; ``{model}`` in a step is the name that was asked for."""

ANOTHER_ADDRESS = (
    "set the address of an Ollama server: "
    '%config OllamaMagics.host = "http://HOST:PORT"'
)
PERHAPS_A_PROXY = (
    "a proxy may have answered in its place: add the host to NO_PROXY, "
    'or set another address: %config OllamaMagics.host = "http://HOST:PORT"'
)
SERVER_LOG = "see the server's log: https://docs.ollama.com/troubleshooting"

_NAME = "write the name as [NAMESPACE/]NAME[:TAG]: %ollama list"

LACKING: Sequence[tuple[str, str, str, str]] = (
    (
        "does not support thinking",
        "think, and this cell asked for --think",
        "drop --think",
        "thinking",
    ),
    (
        "does not support tools",
        "call tools, and this request named some",
        "leave out the tools",
        "tools",
    ),
    (
        "does not support multimodal|does not support (image|vision)|"
        "(image|vision) (input )?(is|are) not supported|missing data required for image"
        "|image input is not supported",
        "see images, and this request held one",
        "leave out the image",
        "vision",
    ),
    ("does not support embedding", "embed text", "", "embedding"),
    ("does not support insert", "fill in the middle", "leave out suffix", "insert"),
    ("does not support chat", "chat", "", "completion"),
    ("does not support (generate|completion)", "write text", "", "completion"),
)
"""Pattern; what the model cannot do; what to leave out; the capability it lacks."""

NEXT_STEPS: Steps = (
    ("ollama cloud is disabled", "choose a model of this server: %ollama list"),
    (
        r"^403 \s*$",
        "the server takes no requests for this host name: set OLLAMA_HOST to "
        "localhost or an IP address",
    ),
    (
        "^40[13] ",
        "set OLLAMA_API_KEY to a token that this server takes "
        "(for a cloud model: ollama signin)",
    ),
    ("to an HTTPS (server|port)", "write the address with https://"),
    ("^404 model ", _NAME),
    ("^404 ", f"update Ollama there, or {ANOTHER_ADDRESS}"),
    ("^405 ", ANOTHER_ADDRESS),
    ("server busy|^503 ", "wait until it has answered others, then run this again"),
    (
        "option .* must be of type",
        "correct the option (-o KEY VALUE), or the model's own: "
        "%ollama show {model} --parameters",
    ),
    (
        "exceeds the (available )?context|exceeds maximum|longer than the context",
        "send less (--last N, --new), or ask for more room: -o num_ctx N",
    ),
    ("invalid duration", "write --keep-alive as 10m, as seconds, as 0 or as -1"),
    ("invalid think value", "write --think, or --think=low, medium, high or max"),
    ("schema|invalid format", "correct the JSON Schema, or leave it out"),
    ("base64", "send the image as its file or as plain base64"),
    ("invalid model name|name .* is invalid|model is required", _NAME),
    (
        "more system memory|out of memory|unable to load model|failed to load|"
        "runner process has terminated",
        "free memory (%ollama ps, %ollama stop MODEL), or choose a smaller model",
    ),
    (
        "while running the model|^200 ",
        "run this again; the server starts the model anew",
    ),
    ("^4", "correct what it names in the request"),
    ("", f"run this again; if it repeats, {SERVER_LOG}"),
)
"""For a status, a blank and the server's words; 200 means inside of a stream."""

_NETWORK = (
    "no such host|connection refused|timeout|timed out|retries exceeded|"
    "unreachable|reset|connection closed"
)


def _plain_http(verb: str) -> tuple[str, str]:
    return (
        "HTTP response to HTTPS client",
        "that registry has no encryption; if you trust the way to it: "
        f'OllamaClient().{verb}("{{model}}", insecure=True)',
    )


TRANSFER_STEPS: Mapping[str, Steps] = {
    "pull": (
        (
            "no space left",
            "free space where the server runs (%ollama rm MODEL), then pull again; "
            "it resumes",
        ),
        (
            "file does not exist|not found",
            "check the name; models are listed at https://ollama.com/search",
        ),
        ("newer version", "update Ollama where the server runs, then pull again"),
        _plain_http("pull"),
        ("invalid model name", _NAME),
        (
            _NETWORK,
            "check that the server's machine reaches the registry, then: "
            "%ollama pull {model} (it resumes)",
        ),
        ("", "%ollama pull {model} (it resumes)"),
    ),
    "push": (
        ("model is required", _NAME),
        ("no such file", "check the name: %ollama list"),
        _plain_http("push"),
        (
            "unauthorized|denied|401|403",
            "sign in where the server runs (ollama signin), and push to your own "
            "namespace: %ollama cp {model} YOU/NAME",
        ),
        ("", "%ollama push {model}   sends what is missing"),
    ),
    "create": (
        ("no space left", "free space where the server runs: %ollama rm MODEL"),
        (
            "pull model manifest",
            "check the name of the model to start from: %ollama list",
        ),
        ("invalid model name", _NAME),
        ("template error", "correct the template"),
        ("unsupported quantization", "choose one of the types that it names"),
        ("", "correct what it names, then create it again"),
    ),
}
"""By endpoint, for the words alone."""
