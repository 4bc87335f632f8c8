"""Every field of Ollama's REST API is sent by a parameter, or read into a value.

The fields are those of ``api/types.go`` (0.33.0-rc2), and the later ones that the
documentation names. A field of a request that is left out has its reason here. Of
responses, only ``created_at``, ``context`` and ``_debug_info`` are not read.
"""

import json

import pytest
from fake_ollama import Answer, json_answer

from ollama_magic.client.logprobs import TokenLogprob
from ollama_magic.client.models import LoadedModel, ModelDetails, ModelSummary
from ollama_magic.client.ollama_com import Account, CloudStatus, Recommendation
from ollama_magic.client.types import Embeddings, Progress, ReplyChunk
from ollama_magic.errors import ServerError

MODEL = "llama3.2:3b"
HI = [{"role": "user", "content": "hi"}]
COMMON = (
    "model stream format keep_alive options think truncate shift logprobs top_logprobs"
)
REQUESTS = {
    "chat": f"{COMMON} messages tools _debug_render_only",
    "generate": f"{COMMON} prompt suffix system raw images template context "
    "_debug_render_only",
    "embed": "model input truncate dimensions options keep_alive",
    "show": "model verbose system template options name",
    "pull": "model insecure stream username password name",
    "push": "model insecure stream username password name",
    "create": "model from files adapters template license system parameters messages "
    "renderer parser requires quantize draft_files draft_quantize remote_host info "
    "stream name quantization",
}
NOT_SENT = {
    "template": "deprecated in generate and show: a model has its template",
    "context": "deprecated: messages of a chat replace it",
    "_debug_render_only": "for the developers of Ollama",
    "username": "ignored by the server",
    "password": "ignored by the server",
    "name": "deprecated: model",
    "quantization": "deprecated: quantize",
}
VALUES = {
    "from": "base",
    "prompt": "hi",
    "messages": HI,
    "input": ["a"],
    "stream": False,
    "think": "high",
    "truncate": False,
    "shift": False,
    "logprobs": True,
    "top_logprobs": 5,
    "raw": True,
    "images": ["aGk="],
    "tools": [{"type": "function"}],
    "dimensions": 2,
    "verbose": True,
    "insecure": True,
    "options": {"seed": 1},
    "parameters": {"seed": 1},
    "info": {"context_length": 8192},
    **{n: {"a.gguf": "sha256:0"} for n in ("files", "adapters", "draft_files")},
}
PARAMETERS = {"from": "from_model"}
ALWAYS_STREAMED = {"pull", "push", "create"}


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_every_field_of_a_request_can_be_sent(client, fake_ollama, endpoint):
    names = REQUESTS[endpoint].split()
    skipped = set(NOT_SENT) - ({"template"} if endpoint == "create" else set())
    skipped |= {"system", "options"} if endpoint == "show" else set()  # ignored there
    skipped |= {"stream"} if endpoint in ALWAYS_STREAMED else set()
    given = {n: VALUES.get(n, "x") for n in names if n not in skipped}
    sent = given | ({"model": MODEL} if endpoint not in ALWAYS_STREAMED else {})
    answers = {
        "embed": json_answer({"embeddings": []}),
        "push": Answer([{"status": "success"}]),
    }
    if endpoint in answers:
        fake_ollama.on(f"POST /api/{endpoint}", answers[endpoint])
    arguments = {PARAMETERS.get(name, name): value for name, value in sent.items()}
    found = getattr(client, endpoint)(**arguments)
    if endpoint not in {"embed", "show"}:
        list(found)
    assert fake_ollama.bodies(f"/api/{endpoint}") == [sent]


LOGPROB = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}
STATS = {
    name: number
    for number, name in enumerate(
        [
            "total_duration",
            "load_duration",
            "prompt_eval_count",
            "prompt_eval_cached_count",
            "prompt_eval_duration",
            "eval_count",
            "eval_duration",
        ],
        start=1,
    )
}
REPLY = {
    "model": "m",
    "remote_model": "rm",
    "remote_host": "https://ollama.com:443",
    "done": True,
    "done_reason": "stop",
    "completed": 3,
    "total": 20,
    "logprobs": [LOGPROB | {"top_logprobs": [LOGPROB]}],
    **STATS,
}
CALL = {"id": "c", "function": {"name": "f", "arguments": {"x": 1}}}
DETAILS = {
    "format": "gguf",
    "family": "llama",
    "families": ["llama", "clip"],
    "parent_model": "p",
    "parameter_size": "3B",
    "quantization_level": "Q4_K_M",
    "context_length": 8192,
    "embedding_length": 3072,
}
SHOWN = {
    **dict.fromkeys(
        [
            "modelfile",
            "parameters",
            "template",
            "system",
            "license",
            "renderer",
            "parser",
            "requires",
            "template_source",
            "remote_model",
            "remote_host",
            "modified_at",
        ],
        "text",
    ),
    "details": DETAILS,
    "capabilities": ["completion"],
    "thinking": {"values": [False, "high"], "default": "high"},
    "messages": HI,
    "model_info": {"general.architecture": "llama"},
    "projector_info": {"general.architecture": "clip"},
    "tensors": [{"name": "w", "type": "F16", "shape": [2, 3]}],
}
LISTED = {
    "name": "m",
    "digest": "d",
    "size": 1,
    "modified_at": "t",
    "remote_model": "rm",
    "remote_host": "h",
    "capabilities": ["completion"],
    "details": DETAILS,
}
TEXTS = {"thinking": "b", "tool_calls": [CALL]}
RESPONSES = [
    (ReplyChunk, REPLY | {"message": TEXTS | {"content": "a", "images": ["c"]}}),
    (ReplyChunk, REPLY | TEXTS | {"response": "a", "image": "c"}),
    (ModelDetails, SHOWN),
    (ModelSummary, LISTED),
    (
        LoadedModel,
        {"name": "m", "digest": "d", "size": 2, "size_vram": 1}
        | {"context_length": 4096, "expires_at": "t"},
    ),
    (
        Embeddings,
        {"embeddings": [[1.0]], "model": "m", "prompt_eval_count": 1}
        | {"total_duration": 2, "load_duration": 1},
    ),
    (Progress, {"status": "s", "digest": "d", "total": 2, "completed": 1}),
    (Account, {"id": "1", "email": "e", "name": "n", "plan": "free"}),
    (CloudStatus, {"disabled": True, "source": "env"}),
    (
        Recommendation,
        {"model": "m", "description": "d", "required_plan": "pro", "vram_bytes": 3}
        | {"context_length": 1, "max_output_tokens": 2},
    ),
]


@pytest.mark.parametrize(("kind", "data"), RESPONSES)
def test_every_field_of_a_response_is_read(kind, data):
    """No field of the value keeps its default, and each leaf of the JSON is in it."""
    found, default = kind.from_json(data), kind.from_json({})
    unread = [n for n in found.__slots__ if getattr(found, n) == getattr(default, n)]
    assert unread == []
    assert [leaf for leaf in _leaves(data) if leaf not in repr(found)] == []


def _leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [leaf for one in value for leaf in _leaves(one)]
    return [repr(value)]


def test_log_probabilities_are_typed_whatever_a_server_sends():
    found = TokenLogprob("Hi", -0.1, (72, 105), (TokenLogprob("Hi", -0.1, (72, 105)),))
    assert ReplyChunk.from_json(REPLY).logprobs == (found,)
    whole = ReplyChunk.joined([ReplyChunk.from_json(REPLY)] * 2)
    assert whole.logprobs == (found, found)
    odd = [{"token": "a"}, {"logprob": True}, {"logprob": "x"}, 3, {"logprob": 1e999}]
    odd.append({"token": 5, "logprob": -1, "bytes": 7, "top_logprobs": "none"})
    chunk = ReplyChunk.from_json({"logprobs": odd})
    assert chunk.logprobs == (TokenLogprob("5", -1.0),)
    deep = json.loads('{"logprob": 0, "top_logprobs": [' * 400 + "]}" * 400)
    assert ReplyChunk.from_json({"logprobs": [deep]}).logprobs[0].top_logprobs


def test_the_account_of_a_server_is_asked_for(client, fake_ollama):
    me = {"id": "1", "email": "e@x.org", "name": "n", "plan": "free", "bio": "b"}
    fake_ollama.on("POST /api/me", json_answer(me))
    fake_ollama.on("POST /api/signout", Answer(content_type=None, framing="length"))
    fake_ollama.replay("status")
    path = "/api/experimental/model-recommendations"
    fake_ollama.on(
        f"GET {path}", json_answer({"recommendations": [{"model": "m:cloud"}]})
    )
    assert client.me() == Account("1", "e@x.org", "n", "free")
    assert client.signout() is None
    assert client.status() == CloudStatus(disabled=True, source="env")
    assert [*client.recommendations()] == [Recommendation("m:cloud")]


NAMELESS = {
    "me": ("refused to name its account", "/api/me (Ollama 0.12.1 and later"),
    "signout": ("refused to sign out", "/api/signout (Ollama 0.12.1 and later"),
    "status": ("refused to say whether it", "/api/status (Ollama 0.16.2 and later"),
    "recommendations": (
        "refused to recommend models",
        "/api/experimental/model-recommendations (Ollama 0.22.1 and later",
    ),
}


@pytest.mark.parametrize(("method", "words"), NAMELESS.items(), ids=NAMELESS)
def test_an_older_server_is_said_to_lack_an_endpoint(client, method, words):
    with pytest.raises(ServerError) as caught:
        getattr(client, method)()
    what, step = words
    assert what in caught.value.what
    assert f"the server has no {step} have it): update Ollama" in caught.value.next_step


def test_a_server_that_is_not_signed_in_names_where(client, fake_ollama):
    url = "https://ollama.com/connect?name=gpu&key=a"
    body = json.dumps({"error": "unauthorized", "signin_url": url})
    fake_ollama.on("POST /api/me", Answer([body], status=401))
    with pytest.raises(ServerError) as caught:
        client.me()
    assert (caught.value.status_code, caught.value.signin_url) == (401, url)
