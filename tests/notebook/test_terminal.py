"""The outputs in a real IPython terminal."""

import os
import sys
import threading

import pexpect
import pytest
from fake_ollama import Answer, Wait, reply_line

from ollama_magic.render.aligned import display_width

PATIENCE_S = 60


@pytest.fixture
def terminal(fake_ollama, tmp_path):
    """Start IPython in a terminal, with the extension loaded."""
    env = {**os.environ, "OLLAMA_HOST": fake_ollama.url, "TERM": "dumb"}
    env.pop("COLUMNS", None)  # set by readline; it would win over the width
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner"]
    command += ["--colors=NoColor", "--ext=ollama_magic", "--no-confirm-exit"]
    child = pexpect.spawn(
        command[0], command[1:], env=env, encoding="utf-8", timeout=PATIENCE_S
    )
    child.setecho(False)
    child.expect(r"In \[1\]: ")
    yield child
    child.close(force=True)


def test_text_is_printed_as_it_streams_with_the_footer_below(terminal, fake_ollama):
    fake_ollama.reply("Hello **world**, \x1b[31mred\x1b[0m")
    terminal.sendline("%ollama ask Hi?")
    terminal.expect_exact("Hello **world**,")
    assert "\x1b[31m" not in terminal.before + terminal.after
    terminal.expect_exact("tokens/s")
    terminal.expect(r"In \[2\]: ")
    assert "Out[" not in terminal.before


def test_a_listing_is_a_table_of_text(terminal):
    terminal.sendline("%ollama list")
    terminal.expect_exact("Name")
    terminal.expect_exact("llama3.2:3b")


@pytest.mark.parametrize("columns", [80, 40])
def test_pages_fit_into_a_narrow_terminal(terminal, fake_ollama, columns):
    names = ["llama3.2:3b", "qwen3-coder:30b-a3b-q4_K_M", "日本語モデル:1b"]
    fake_ollama.models(names)
    terminal.setwinsize(50, columns)
    prompt = 1
    for page in ("list", "history", "help", "config", "", "show llama3.2:3b"):
        terminal.sendline(f"%ollama {page}")
        prompt += 1
        terminal.expect(rf"In \[{prompt}\]: ")
        for text in terminal.before.split("\r\n"):
            is_path = "/" in text and " " not in text.strip()
            is_command = "llama3.2" in text and page in {"help", "config"}
            assert display_width(text) < columns or is_path or is_command
        assert "\x1b" not in terminal.before


def test_an_error_is_three_lines(terminal):
    terminal.sendline("%ollama ask -m nosuch:1b Hi")
    terminal.expect_exact("ModelNotFoundError: Model 'nosuch:1b' is not on")
    terminal.expect_exact("next: ")
    terminal.expect(r"In \[2\]: ")
    assert "Traceback" not in terminal.before


def test_the_panel_is_a_table_with_commands_to_type(terminal):
    terminal.sendline("%ollama panel")
    terminal.expect_exact("llama3.2:3b")
    terminal.expect_exact("A terminal cannot show widgets; use %ollama pull NAME")
    terminal.expect(r"In \[2\]: ")
    terminal.sendline("%ollama use")
    terminal.expect_exact("llama3.2:3b")
    terminal.expect_exact("Choose one: %ollama use NAME")
    terminal.expect(r"In \[3\]: ")


def test_compared_replies_are_printed_as_each_is_complete(terminal, fake_ollama):
    rest = threading.Event()

    def answer(body):
        is_first = body["model"] == "llama3.2:3b"
        wait = [Wait(rest)] if is_first else []
        said = reply_line(body, content=f"I am {body['model']}.")
        return [
            *wait,
            said,
            reply_line(body, done=True, eval_count=3, eval_duration=10**9),
        ]

    fake_ollama.models(["llama3.2:3b", "qwen3:4b"])
    fake_ollama.chat(answer)
    terminal.sendline("%ollama ask --compare llama3.2:3b,qwen3:4b Who?")
    terminal.expect_exact("## qwen3:4b\r\n\r\nI am qwen3:4b.\r\n")
    terminal.expect_exact(" · 3 tokens/s")
    terminal.expect_exact("waiting for llama3.2:3b… ")
    rest.set()
    terminal.expect_exact("## llama3.2:3b\r\n\r\nI am llama3.2:3b.\r\n")
    terminal.expect(r"In \[2\]: ")
    assert "Out[" not in terminal.before
    assert "##" not in terminal.before
    terminal.sendline("%ollama keep qwen3:4b")
    terminal.expect_exact("I am qwen3:4b.")
    terminal.expect_exact("turn 1 of main")
    terminal.expect(r"In \[3\]: ")
    assert "Out[" not in terminal.before
    terminal.sendline("%ollama keep llama3.2:3b")
    terminal.expect_exact("turn 1 of main")


def test_tool_calls_are_confirmed_and_their_title_says_what_happened(
    terminal, fake_ollama
):
    model = {"name": "llama3.2:3b", "capabilities": ["completion", "tools"]}
    fake_ollama.models([model])
    body = {"model": "llama3.2:3b", "messages": []}
    wanted = [
        {"function": {"name": "get", "arguments": {"city": city}}}
        for city in ("Oslo", "Rome", 3)
    ]
    fake_ollama.on(
        "POST /api/chat",
        Answer([reply_line(body, tool_calls=wanted), reply_line(body, done=True)]),
        Answer([reply_line(body, content="Sunny."), reply_line(body, done=True)]),
    )
    terminal.sendline("def get(city: str): return 'fair'\n")
    terminal.expect(r"In \[\d\]: ")
    terminal.sendline("%ollama ask -T get Weather?")
    terminal.expect_exact('Call get(city="Oslo")? [y]es, [n]o, [a]lways: ')
    terminal.sendline("n")
    terminal.expect_exact("-> declined")
    terminal.expect_exact('Call get(city="Rome")? [y]es, [n]o, [a]lways: ')
    terminal.sendline("y")
    terminal.expect_exact("-> fair")
    terminal.expect_exact('get {"city": 3}')
    terminal.expect_exact("-> not called: argument city: 3 is not of type 'string'")
    terminal.expect_exact("Sunny.")
