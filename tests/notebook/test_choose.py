"""A decision in a cell: ``--choose``."""

import json

import pytest
from fake_ollama import json_answer

PROBABILITIES = {"bug": 0.97, "billing": 0.03}
LABEL = {"type": "choice", "choice": "bug", "probabilities": PROBABILITIES}
LINE = '--choose "bug: Software errors; billing"'


@pytest.fixture(autouse=True)
def decider(fake_ollama):
    chats = {"name": "llama3.2:3b", "capabilities": ["completion"]}
    decides = {"name": "nimble:latest", "capabilities": ["decision"]}
    fake_ollama.models([chats, decides])
    answer = json_answer({"answers": {"choice": LABEL | {"confidence": 0.8}}})
    fake_ollama.on("POST /v1/systemone", answer)


def test_a_cell_shows_bars_and_gives_a_value_that_is_no_turn(kernel, fake_ollama):
    kernel.run("%%ollama -m llama3.2:3b\nHello")
    kernel.run("error = 'It <b>crashes</b>'\nlabels = {'bug': None, 'billing': 'x'}")
    ran = kernel.run(f"%%ollama d << {LINE} --cached\nState: {{{{ error }}}}", "a")
    assert ran.status == "ok", ran.error
    assert len(ran.outputs) == 1
    assert "width:97.0%" in ran.html
    assert "bug      97.0 % ███████████████████  Software errors" in ran.text
    assert "nimble:latest · 0.1 s · filled in: error" in ran.text
    (body,) = fake_ollama.bodies("/v1/systemone")
    assert body["state"] == "State: It <b>crashes</b>"
    said = kernel.run("print(d.choice, d.confidence, d.probabilities['bug'])")
    assert said.streams == "bug 0.8 0.97\n"
    again = kernel.run(f"%%ollama d << {LINE} --cached\nState: {{{{ error }}}}", "a")
    shown = [json.dumps(one.outputs, sort_keys=True) for one in (ran, again)]
    assert shown[0] == shown[1]
    url = fake_ollama.url
    kernel.run("%config OllamaMagics.host = '127.0.0.1:9'")
    ran = kernel.run(f"%%ollama d << {LINE} --cached\nState: {{{{ error }}}}", "a")
    assert json.dumps(ran.outputs, sort_keys=True) == shown[0]
    kernel.run(f"%config OllamaMagics.host = {url!r}")
    assert "bug" in kernel.run("%%ollama -m nimble --choose labels\nx").text
    assert len(fake_ollama.bodies("/v1/systemone")) == 2
    shown = kernel.run("%ollama history").text
    assert "Hello" in shown
    assert "crashes" not in shown
    dry = kernel.run(f"%%ollama {LINE} --dry-run\nx")
    assert "/v1/systemone" in dry.text
    assert len(fake_ollama.bodies("/v1/systemone")) == 2


def test_what_cannot_be_done_is_an_error_before_anything_is_sent(kernel, fake_ollama):
    for line, why in {
        '--choose "only one"': "2 to 26 labels",
        f"{LINE} -c ideas": "belongs to no chat",
        f"{LINE} -s Briefly": "would have no effect",
        "nimble": '%%ollama nimble:latest --choose "LABEL: TEXT',
    }.items():
        ran = kernel.run(f"%%ollama {line}\nx")
        assert ran.status == "error"
        assert why in (ran.error or "") + ran.streams
    assert fake_ollama.bodies("/v1/systemone") == []
