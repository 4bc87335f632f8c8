"""What a Modelfile says, and what is said of one that is wrong."""

import pytest

from ollama_magic.errors import ConfigError
from ollama_magic.modelfile import ModelSpec, parse_modelfile

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
def test_a_file_is_told_from_a_model(base, is_file):
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
def test_what_is_wrong_is_told_with_its_line(text, said):
    with pytest.raises(ConfigError) as caught:
        parse_modelfile(text)
    assert said in str(caught.value)
