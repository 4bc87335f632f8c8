"""A real chat that outgrows a small context, as a notebook shows it."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "notebook"))

from kernel import Kernel

pytestmark = pytest.mark.embedded

SHORT = "-t 0 -o num_predict 24"
SMALL = f"{SHORT} -o num_ctx 256"
PROMPT_TOKENS_AT_LEAST = 15
PROMPT = "Tell me one thing about the river Danube, in one short sentence, please."


@pytest.fixture
def kernel(engine, tmp_path, monkeypatch):
    """Start a kernel that uses the embedded engine and stores its chats here."""
    monkeypatch.setenv("OLLAMA_HOST", engine.base_url)
    monkeypatch.setenv("OLLAMA_API_KEY", engine.token)
    kernel = Kernel()
    history = str(tmp_path / "chats.sqlite")
    ran = kernel.run(
        f"%load_ext ollama_magic\n%config OllamaMagics.history_file = {history!r}"
    )
    assert ran.status == "ok", ran
    yield kernel
    kernel.close()


def ask(kernel, options, prompt=PROMPT):
    ran = kernel.run(f"%%ollama {options}\n{prompt}")
    assert ran.status == "ok", ran.error
    counts = ran.provenance["stats"]
    return ran, counts["prompt_eval_count"], counts["eval_count"]


def test_the_first_truncated_turn_says_so(kernel, engine):
    was_read, was_written = 0, -PROMPT_TOKENS_AT_LEAST
    for _ in range(12):
        ran, read, written = ask(kernel, SMALL)
        assert read <= 256
        if read < was_read + was_written + PROMPT_TOKENS_AT_LEAST:
            break
        assert "dropped" not in ran.text
        was_read, was_written = read, written
    assert "dropped the beginning of the chat: about " in ran.text
    assert f"tokens were sent, but only {read} were read (context 256)" in ran.text
    refused = kernel.run(f"%%ollama {SMALL} --truncate error\n{PROMPT}")
    assert refused.status == "error"
    assert "The prompt is longer than the context of" in refused.error
    assert re.search(r"\d tokens too many; run the cell again with --l", refused.error)
    advised = re.search(r"with (--last \d+), --new or (-o num_ctx \d+)\.", ran.text)
    fewer_turns, larger = advised.groups()
    for options in (f"{SMALL} {fewer_turns}", f"{SHORT} {larger}"):
        again, _, _ = ask(kernel, options)
        assert "dropped" not in again.text
        assert "Run the cell again" not in again.text


def test_a_reply_that_fills_the_context_says_why_it_ends(kernel, engine):
    endless = "-t 0 -o num_ctx 256"
    ran, read, written = ask(kernel, endless, "Count from 1 to 1000: 1, 2, 3, 4, 5,")
    assert ran.provenance["done_reason"] == "length"
    assert read + written >= 248
    assert "The reply was cut off: the context of 256 tokens is full." in ran.text
    limited, _, _ = ask(kernel, f"{SMALL} --new", "Count from 1 to 1000: 1, 2, 3,")
    assert limited.provenance["done_reason"] == "length"
    assert "Run the cell again" not in limited.text


def test_the_error_for_a_message_that_is_too_long_says_what_to_do(kernel, engine):
    ran = kernel.run(f"%%ollama {SMALL}\n{'word ' * 600}")
    assert ran.status == "error"
    assert "exceeds the available context size" in ran.error
    advised = r"\d tokens too many; .* with a shorter prompt or -o num_ctx 1024"
    assert re.search(advised, ran.error)
