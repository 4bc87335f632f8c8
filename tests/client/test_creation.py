"""Parsing Modelfiles, and the errors for invalid ones."""

import codecs
import json

import pytest

from ollama_magic.client.creation import (
    ModelSpec,
    _readable,
    parse_modelfile,
    read_spec,
)
from ollama_magic.errors import ConfigError

WHOLE = '''\
# a pirate
FROM llama3.2
parameter temperature 0.5
PARAMETER stop "<|im_end|>"
PARAMETER stop Human:
SYSTEM """You are a pirate.
Answer in one sentence.
"""
TEMPLATE "{{ .Prompt }}"
ADAPTER ./lora.gguf
DRAFT ./small.gguf
LICENSE """MIT"""
MESSAGE user Who are you?
MESSAGE assistant Arr.
'''


def test_every_instruction_reaches_its_field():
    spec = parse_modelfile(WHOLE)
    assert spec == ModelSpec(
        base="llama3.2",
        system="You are a pirate.\nAnswer in one sentence.\n",
        template="{{ .Prompt }}",
        parameters={"temperature": 0.5, "stop": ["<|im_end|>", "Human:"]},
        adapters=("./lora.gguf",),
        drafts=("./small.gguf",),
        licenses=("MIT",),
        messages=(
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": "Arr."},
        ),
    )


@pytest.mark.parametrize(
    ("base", "is_file"),
    [
        ("llama3.2", False),
        ("me/mine:7b", False),
        ("./model", True),
        ("/data/model.bin", True),
        ("model.GGUF", True),
        ("~/model", True),
        ("..\\model", True),
    ],
)
def test_a_file_is_distinguished_from_a_model(base, is_file):
    assert parse_modelfile(f"FROM {base}").is_from_file is is_file


WRONG = {
    "no FROM": ("SYSTEM hi", "no FROM"),
    "empty": ("", "no FROM"),
    "unknown": ("FROM a\nSISTEM hi", "did you mean SYSTEM?"),
    "no value": ("FROM a\nSYSTEM", "Line 2"),
    "blank value": ("FROM a\nPARAMETER  ", "Line 2"),
    "two bases": ("FROM a\nFROM b", "Line 2"),
    "open quote": ('FROM a\n\nSYSTEM """never ends', "Line 3"),
    "role": ("FROM a\nMESSAGE robot hi", "Line 2"),
    "option": ("FROM a\nPARAMETER temprature 1", "did you mean 'temperature'?"),
    "option value": ("FROM a\nPARAMETER temperature hot", "Line 2"),
    "text": ("Make me a model, please.", "Line 1"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_an_error_names_its_line(text, said):
    with pytest.raises(ConfigError) as caught:
        parse_modelfile(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "case", ["show_auto_template", "show_basic", "show_embed", "show_system"]
)
def test_a_modelfile_written_by_ollama_is_parsed(case, recording):
    """Recorded; it also puts plain quotes around multi-line text."""
    (entry,) = recording(case)["response"]["lines"]
    data = json.loads(entry["line"])
    spec = parse_modelfile(data["modelfile"])
    assert spec.is_from_file
    assert spec.template == data["template"]
    assert spec.system == data.get("system")
    assert spec.parameters["stop"] == ["<|im_start|>", "<|im_end|>"]


def test_quotes_end_at_the_end_of_a_line():
    spec = parse_modelfile(
        'FROM a\nSYSTEM "Say "no" often,\n\nplease."\nMESSAGE user\t"""Hi\nyou"""'
    )
    assert spec.system == 'Say "no" often,\n\nplease.'
    assert spec.messages == ({"role": "user", "content": "Hi\nyou"},)


def test_a_quote_inside_plain_text_is_text():
    spec = parse_modelfile('FROM a\nSYSTEM Say """ and stop\nRENDERER r\nPARSER p')
    assert spec.system == 'Say """ and stop'
    assert (spec.renderer, spec.parser) == ("r", "p")


def test_several_from_lines_name_several_files():
    spec = parse_modelfile("FROM ./m.gguf\nFROM ./mmproj.gguf\nREQUIRES 0.14.0")
    assert (spec.base, spec.more_files) == ("./m.gguf", ("./mmproj.gguf",))
    assert spec.requires == "0.14.0"


@pytest.mark.parametrize(
    "data",
    [
        "FROM a\nSYSTEM Ça va".encode(),
        codecs.BOM_UTF8 + "FROM a\r\nSYSTEM Ça va\r\n".encode(),
        codecs.BOM_UTF16_LE + "FROM a\r\nSYSTEM Ça va\r\n".encode("utf-16-le"),
    ],
    ids=["plain", "a mark of UTF-8", "as PowerShell writes it"],
)
def test_a_file_is_decoded_as_editors_and_shells_write_it(tmp_path, data):
    path = tmp_path / "Modelfile"
    path.write_bytes(data)
    assert read_spec(str(path)) == ModelSpec(base="a", system="Ça va")


def test_paths_are_relative_to_the_modelfile_and_files_precede_models(tmp_path):
    path = tmp_path / "Modelfile"
    path.write_text("FROM weights\nADAPTER lora.gguf\n")
    assert read_spec(str(path)).base == "weights"
    (tmp_path / "weights").write_bytes(b"GGUF")
    folder = tmp_path.resolve()
    assert read_spec(str(path)) == ModelSpec(
        base=str(folder / "weights"), adapters=(str(folder / "lora.gguf"),)
    )


def test_a_gguf_file_alone_is_a_model(tmp_path):
    weights = tmp_path / "m.gguf"
    weights.write_bytes(b"GGUF\xff\xfe")
    assert read_spec(str(weights)) == ModelSpec(base=str(weights.resolve()))


def test_a_file_that_is_neither_is_an_error(tmp_path):
    path = tmp_path / "Modelfile"
    path.write_bytes(b"\xff\xd8\xff\xe0 no text")
    with pytest.raises(ConfigError, match="neither text nor GGUF"):
        read_spec(str(path))


@pytest.mark.parametrize("name", ["a" * 100_000, "~nobody-here/x", "a\0b", "./" * 9000])
@pytest.mark.parametrize("what", ["FROM {}", "FROM m\nADAPTER {}"])
def test_an_impossible_file_name_is_the_name_of_a_model_or_an_error(
    tmp_path, name, what
):
    path = tmp_path / "Modelfile"
    path.write_text(what.format(name))
    spec = read_spec(str(path))
    for file in (*spec.adapters, *([spec.base] if spec.is_from_file else ())):
        with pytest.raises(ConfigError):
            _readable(file)
    with pytest.raises(ConfigError):
        read_spec(name)
