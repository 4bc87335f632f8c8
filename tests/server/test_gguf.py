"""Handmade GGUF headers are read correctly and never trusted."""

import struct

import pytest

from ollama_magic.server.embedded.gguf import GGUFError, human_parameters, read_header
from ollama_magic.server.embedded.store import ModelConfig

U32, F32, STRING, ARRAY, U64 = 4, 6, 8, 9, 10


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def strings(*values):
    head = struct.pack("<IQ", STRING, len(values))
    return head + b"".join(map(text, values))


def tensor(name, shape, kind=3):
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dims + struct.pack("<IQ", kind, 0)


def gguf(entries, tensors=(), version=3):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    return head + b"".join(entries) + b"".join(tensors)


MODEL = [
    entry("general.architecture", STRING, text("llama")),
    entry("general.file_type", U32, struct.pack("<I", 15)),
    entry("llama.context_length", U32, struct.pack("<I", 2048)),
    entry("llama.embedding_length", U64, struct.pack("<Q", 64)),
    entry("llama.epsilon", F32, struct.pack("<f", 1e-5)),
    entry("tokenizer.ggml.model", STRING, text("gpt2")),
    entry("tokenizer.ggml.tokens", ARRAY, strings("a", "b", "\u00e9")),
]
TENSORS = [tensor("w", (64, 32)), tensor("b", (64,), kind=0)]


@pytest.fixture
def written(tmp_path):
    def write(data):
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return path

    return write


def test_the_metadata_of_a_model_are_read(written):
    header = read_header(written(gguf(MODEL, TENSORS)))
    assert header.architecture == "llama"
    assert header.quantization == "Q4_K_M"
    assert header.context_length == 2048
    assert header.embedding_length == 64
    assert header.parameter_count == 64 * 32 + 64
    assert header.metadata["llama.epsilon"] == 1e-5
    assert [(t.name, t.type, t.shape) for t in header.tensors] == [
        ("w", "Q4_1", (64, 32)),
        ("b", "F32", (64,)),
    ]
    assert header.is_generative


def test_arrays_are_omitted_unless_requested(written):
    path = written(gguf(MODEL))
    key = "tokenizer.ggml.tokens"
    assert read_header(path).metadata[key] is None
    assert read_header(path, with_arrays=True).metadata[key] == ["a", "b", "\u00e9"]


@pytest.mark.parametrize(
    ("extra", "is_generative"),
    [
        (entry("general.type", STRING, text("model")), True),
        (entry("general.type", STRING, text("mmproj")), False),
        (entry("general.type", STRING, text("adapter")), False),
        (entry("llama.pooling_type", U32, struct.pack("<I", 1)), False),
    ],
    ids=["model", "projector", "adapter", "embedding"],
)
def test_only_models_that_generate_text_are_generative(written, extra, is_generative):
    header = read_header(written(gguf([*MODEL, extra])))
    assert header.is_generative is is_generative


@pytest.mark.parametrize(
    ("template", "capabilities"),
    [
        ("{{ messages }}", ("completion",)),
        ("{% if tools %}{% endif %}", ("completion", "tools")),
        ("{% if enable_thinking %}{% endif %}", ("completion", "thinking")),
    ],
    ids=["plain", "tools", "thinking"],
)
def test_capabilities_come_from_the_template(written, template, capabilities):
    extra = entry("tokenizer.chat_template", STRING, text(template))
    header = read_header(written(gguf([*MODEL, extra])))
    config = ModelConfig.of_weights(header, "sha256:" + "0" * 64, 1)
    assert config.capabilities == capabilities
    assert config.template == template


def test_every_truncated_file_is_an_error_not_a_crash(written):
    data = gguf(MODEL, TENSORS)
    for length in range(len(data)):
        with pytest.raises(GGUFError):
            read_header(written(data[:length]))


@pytest.mark.parametrize(
    "data",
    [
        b"not a model at all",
        gguf(MODEL, version=1),
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0) + b"\0" * 64,
        gguf([text("k") + struct.pack("<IIQ", ARRAY, U64, 2**62)]),
        gguf([text("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1)]),
        gguf([text("k") + struct.pack("<IQ", STRING, 2**63)]),
        gguf([entry("k", 99, b"")]),
        gguf([entry("k", STRING, struct.pack("<Q", 1) + b"\xff")]),
        gguf([], [text("t") + struct.pack("<I", 2**31)]),
    ],
)
def test_invalid_values_in_a_file_are_errors(written, data):
    with pytest.raises(GGUFError):
        read_header(written(data))


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (999, "999"), (12_000, "12K"), (134_515_008, "134.52M"), (7e9, "7.0B")],
)
def test_numbers_of_parameters_are_short(count, shown):
    assert human_parameters(count) == shown
