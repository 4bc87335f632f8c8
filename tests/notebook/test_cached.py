"""The same notebook again, with no server: ``--cached``, through a real kernel."""

import json

import pytest
from fake_ollama import Answer, reply_line

MODEL = "llama3.2:3b"
ON = "%config OllamaMagics.cached = True"
NOWHERE = "%config OllamaMagics.host = '127.0.0.1:9'"


def shown(ran):
    """Return the outputs of a cell as a notebook file stores them."""
    kept = [{k: o[k] for k in ("type", "data", "metadata")} for o in ran.outputs]
    return json.dumps(kept, sort_keys=True)


def test_a_second_run_gives_the_same_outputs_without_a_server(kernel, fake_ollama):
    kernel.run(ON)
    fake_ollama.models([{"name": MODEL, "capabilities": ["completion", "thinking"]}])
    fake_ollama.reply("Hello **you**", thinking="They greet.")
    cells = {
        "a": "%%ollama -t 0\nHi",
        "b": "%%ollama --think\nAnd?",
        "c": "%%ollama\n?",
    }
    first = [shown(kernel.run(code, cell)) for cell, code in cells.items()]
    asked = len(fake_ollama.bodies("/api/chat"))
    assert asked == 3
    kernel.run(NOWHERE)
    second = [shown(kernel.run(code, cell)) for cell, code in cells.items()]
    assert second == first
    assert "Hello" in second[0]
    assert len(fake_ollama.bodies("/api/chat")) == asked


def test_the_option_reuses_the_reply_and_without_it_a_request_is_sent(
    kernel, fake_ollama
):
    fake_ollama.reply("One")
    kernel.run("%%ollama --cached\nHi", "a")
    fake_ollama.reply("Two")
    assert kernel.run("%%ollama --cached\nHi", "a").text == "One"
    assert kernel.run("%%ollama\nHi", "a").text == "Two"
    again = kernel.run("%%ollama r << --cached\nHi", "a")
    assert again.text == "One"
    assert kernel.run("print(r.is_cached)").streams == "True\n"


@pytest.mark.parametrize(
    "line",
    ["-t 0.5", "-s 'Be brief.'", "-f json", "--seed 3", "--no-think", "-1"],
)
def test_a_different_request_is_not_reused(kernel, fake_ollama, line):
    fake_ollama.models([{"name": MODEL, "capabilities": ["completion", "thinking"]}])
    fake_ollama.reply("One")
    kernel.run("%%ollama --cached\nHi", "a")
    fake_ollama.reply("2")
    assert kernel.run(f"%%ollama --cached {line}\nHi", "a").text == "2"


@pytest.mark.parametrize("line", ["--keep-alive 5m", "--no-stream", "-q"])
def test_options_that_do_not_change_the_reply_do_not_matter(kernel, fake_ollama, line):
    fake_ollama.reply("One")
    kernel.run("%%ollama --cached\nHi", "a")
    fake_ollama.reply("Two")
    assert kernel.run(f"%%ollama --cached {line}\nHi", "a").text == "One"


def test_a_changed_model_gets_a_new_request(kernel, fake_ollama):
    fake_ollama.models([{"name": MODEL, "digest": "1" * 64}])
    fake_ollama.reply("One")
    kernel.run("%%ollama --cached\nHi", "a")
    fake_ollama.models([{"name": MODEL, "digest": "2" * 64}])
    fake_ollama.reply("Two")
    assert kernel.run("%%ollama --cached\nHi", "a").text == "Two"
    kernel.run(NOWHERE)  # the latest reply, because the model's digest is unknown
    assert kernel.run("%%ollama --cached\nHi", "a").text == "Two"


def test_each_model_has_its_own_cached_replies(kernel, fake_ollama):
    fake_ollama.models([MODEL, "other:1b"])
    fake_ollama.reply("One")
    kernel.run(f"%%ollama {MODEL} --cached\nHi", "a")
    fake_ollama.reply("Two")
    assert kernel.run("%%ollama other:1b --cached\nHi", "a").text == "Two"
    assert kernel.run(f"%%ollama {MODEL} --cached\nHi", "a").text == "One"


def test_a_missing_reply_without_a_server_is_an_error_that_says_why(
    kernel, fake_ollama
):
    kernel.run(NOWHERE)
    ran = kernel.run("%%ollama --cached\nHi", "a")
    assert ran.status == "error"
    assert "ServerUnreachableError" in ran.error
    named = kernel.run(f"%%ollama {MODEL} --cached\nHi", "a")
    assert "ServerUnreachableError" in named.error


def test_one_offs_are_cached_too_and_only_with_the_option(kernel, fake_ollama):
    fake_ollama.reply("One")
    kernel.run("%%ollama -1\nHi")
    fake_ollama.reply("Two")
    assert kernel.run("%%ollama -1 --cached\nHi").text == "Two"
    kernel.run(NOWHERE)
    assert kernel.run("%%ollama -1 --cached\nHi").text == "Two"


def test_a_partial_reply_is_not_cached(kernel, fake_ollama):
    body = {"model": MODEL, "messages": []}
    broken = Answer([reply_line(body, content="Ha"), {"error": "died"}])
    whole = Answer([reply_line(body, content="Whole"), reply_line(body, done=True)])
    fake_ollama.on("POST /api/chat", broken, whole)
    kernel.run("%%ollama --cached\nHi", "a")
    assert kernel.run("%%ollama --cached\nHi", "a").text == "Whole"


def test_every_tool_round_is_reused(kernel, fake_ollama):
    fake_ollama.models([{"name": MODEL, "capabilities": ["completion", "tools"]}])
    kernel.run("def add(a: int, b: int):\n    return a + b")
    body = {"model": MODEL, "messages": []}
    call = {"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    fake_ollama.on(
        "POST /api/chat",
        Answer([reply_line(body, tool_calls=[call]), reply_line(body, done=True)]),
        Answer([reply_line(body, content="3."), reply_line(body, done=True)]),
    )
    code = "%%ollama --cached -T add --yes\n1 + 2?"
    first = shown(kernel.run(code, "a"))
    kernel.run(NOWHERE)
    assert shown(kernel.run(code, "a")) == first


def test_serve_lets_a_cached_notebook_run_if_no_server_can_start(
    kernel, tmp_path, monkeypatch
):
    kernel.run(ON)
    kernel.run("%config OllamaMagics.host = 'http://nosuch.invalid:1'")
    ran = kernel.run("%ollama serve")
    assert ran.status == "ok", ran.error
    assert "cached replies are shown" in ran.text


def test_prune_deletes_cached_replies_by_age(kernel, fake_ollama):
    fake_ollama.reply("One")
    kernel.run("%%ollama -1 --cached\nHi")
    ran = kernel.run("%ollama prune --older-than 0.00000001 -y")
    assert "1 cached reply" in ran.text
    fake_ollama.reply("Two")
    assert kernel.run("%%ollama -1 --cached\nHi").text == "Two"


def test_a_comparison_is_reused_too(kernel, fake_ollama):
    fake_ollama.models([MODEL, "other:1b"])
    fake_ollama.reply("Both say this.")
    code = f"%%ollama --cached --compare {MODEL},other:1b\nHi"
    first = shown(kernel.run(code, "a"))
    kernel.run(NOWHERE)
    assert shown(kernel.run(code, "a")) == first
    assert len(fake_ollama.bodies("/api/chat")) == 2


def test_the_history_shows_the_original_time_of_a_cached_reply(kernel, fake_ollama):
    kernel.run(ON)
    tell = "(turn,) = %ollama history\nprint(turn.answered_at)"
    kernel.run("%%ollama\nHi", "a")
    first = kernel.run(tell).streams
    kernel.run(NOWHERE)
    kernel.run("%%ollama\nHi", "a")
    assert kernel.run(tell).streams == first
    assert first.strip()


def test_keep_after_a_cached_comparison_gives_the_same_turn(kernel, fake_ollama):
    fake_ollama.models([MODEL, "other:1b"])
    kernel.run(ON)
    code = f"%%ollama --compare {MODEL},other:1b\nHi"

    def run():
        kernel.run(code, "a")
        kept = [kernel.run(f"%ollama keep {name}", "b") for name in (MODEL, "other:1b")]
        return [shown(ran) for ran in (*kept, kernel.run("%ollama history"))]

    first = run()
    kernel.run(NOWHERE)
    assert run() == first
    assert '"turn": 1' in first[1]


@pytest.mark.parametrize(
    "command",
    ["pull x:1b", "create x --from y", "cp x y", "load x", "stop x", "rm x -y"],
)
def test_commands_that_prepare_models_are_skipped_without_a_server(
    kernel, fake_ollama, command
):
    kernel.run(NOWHERE)
    ran = kernel.run(f"%ollama {command}")
    assert "ServerUnreachableError" in ran.error
    kernel.run(ON)
    ran = kernel.run(f"%ollama {command}")
    assert ran.status == "ok", ran.error
    assert "Skipped: no server (" in ran.text


@pytest.mark.parametrize("command", ["list", "ps", "show x", "push x"])
def test_commands_that_need_a_server_are_not_skipped(kernel, fake_ollama, command):
    kernel.run(f"{ON}\n{NOWHERE}")
    assert "ServerUnreachableError" in kernel.run(f"%ollama {command}").error


def test_a_notebook_with_use_runs_from_the_cache(kernel, fake_ollama):
    """The model of ``%ollama use`` applies again after a cell that names another."""
    fake_ollama.models([MODEL, "other:1b"])
    kernel.run(ON)
    cells = {
        "a": "%ollama use other:1b",
        "b": "%%ollama\nHi",
        "c": f"%%ollama {MODEL}\nAnd you?",
        "d": "%%ollama\nSure?",
    }
    first = [shown(kernel.run(code, cell)) for cell, code in cells.items()]
    kernel.run(NOWHERE)
    second = [shown(kernel.run(code, cell)) for cell, code in cells.items()]
    assert second == first
    models = [body["model"] for body in fake_ollama.bodies("/api/chat")]
    assert models == ["other:1b", MODEL, "other:1b"]


ROWS = "from ollama_magic import map_prompts\nmap_prompts('Say {{}}', {rows}{more})"


@pytest.mark.parametrize("more", ["", f", model='{MODEL}'"])
def test_cached_rows_need_no_server(kernel, fake_ollama, more):
    fake_ollama.reply("Said.")
    cell = ROWS.format(rows=["a", "b", "a"], more=more)
    _, value = kernel.run(cell).outputs
    kernel.run(NOWHERE)
    assert "ServerUnreachableError" in kernel.run(cell).error
    kernel.run(ON)
    offline, again = kernel.run(cell).outputs
    assert again["data"] == value["data"] != {}
    assert f"{MODEL} 3 of 3" in offline["data"]["text/plain"]
    assert "no server; cached replies only" in offline["data"]["text/plain"]
    assert len(fake_ollama.bodies("/api/generate")) == 2


def test_a_row_without_a_cached_reply_is_an_error(kernel, fake_ollama):
    kernel.run(ROWS.format(rows=["a"], more=""))
    kernel.run(f"{NOWHERE}\n{ON}")
    ran = kernel.run(ROWS.format(rows=["a", "b"], more=""))
    assert "ServerUnreachableError" in ran.error
