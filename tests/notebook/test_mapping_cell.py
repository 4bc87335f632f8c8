"""What users see when ``map_prompts`` runs in a notebook or a terminal."""

import os
import re
import sys
import threading
import time

import pexpect
import pytest
from fake_ollama import JSON, Answer, FakeOllama, Wait, error, reply_line

PATIENCE_S = 60
IMPORT = "from ollama_magic import map_prompts"


@pytest.fixture
def answers(fake_ollama):
    """Answer the named prompts; the others hang."""
    never = threading.Event()

    def only(*prompts):
        def answer(body):
            if body["prompt"] not in prompts:
                yield Wait(never)
            yield reply_line(body, content=f"re: {body['prompt']}")
            yield reply_line(body, done=True, done_reason="stop")

        fake_ollama.chat(answer)

    return only


def progress(ran):
    """Return the outputs that are not the value of the cell."""
    return [o for o in ran.outputs if o["type"] == "display_data"]


def test_progress_is_one_output_that_keeps_its_last_state(kernel, answers):
    answers("a", "b")
    ran = kernel.run(f"{IMPORT}\nmap_prompts('{{}}', ['a', 'b', None])")
    assert ran.error is None
    (output,) = progress(ran)
    text = output["data"]["text/plain"]
    assert re.fullmatch(r"llama3\.2:3b 3 of 3 · \d+ s · 1 failed", text)
    assert "UserWarning: 1 of 3 rows failed (position 2): The prompt of" in ran.streams
    assert "PromptError('The prompt of this row is empty.')" in ran.text
    ran = kernel.run("map_prompts('{}', ['a', 'b'])")
    assert progress(ran)[0]["data"]["text/plain"].endswith(" · 2 cached")


def test_progress_shows_count_rate_and_share(kernel, answers):
    answers("a", "b")
    rows = "['a', 'b', 'c', 'd']"
    code = f"{IMPORT}\nmap_prompts('{{}}', {rows}, concurrency=1)"
    msg_id = kernel.send(code, "cell-1")
    ran = kernel.collect(msg_id, until=lambda ran: "2 of 4" in ran.text)
    assert re.search(r"2 of 4 · [\d.,]+ rows/s · \d+ s left", ran.text)
    assert "width:50.0%" in ran.html
    kernel.manager.interrupt_kernel()
    kernel.collect(msg_id)


def test_a_stopped_cell_continues_when_it_runs_again(kernel, fake_ollama, answers):
    answers("a", "b", "c")
    cell = f"{IMPORT}\nmap_prompts('{{}}', list('abcde'), concurrency=2)"
    msg_id = kernel.send(cell)
    fake_ollama.wait_for("/api/generate", count=5)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    assert ran.status == "error"
    assert ran.error == (
        "Interrupted: stopped; 3 of 5 rows are cached: run it again to continue"
    )
    assert progress(ran)[0]["data"]["text/plain"] == ("llama3.2:3b 3 of 5 · stopped")
    asked = [r for r in fake_ollama.requests if r.path == "/api/generate"]
    assert len(asked) == 5
    # The two stalled rows: rows that are sent together arrive in any order.
    waiting = [r for r in asked if r.json["prompt"] in "de"]
    assert all(r.wait_closed() and r.was_cut_off for r in waiting)
    answers(*"abcde")
    ran = kernel.run(cell)
    assert "'re: a', 're: b', 're: c', 're: d', 're: e'" in ran.text
    assert "3 cached" in ran.text
    assert len(fake_ollama.bodies("/api/generate")) == 7


def busy(retry_after_s):
    return Answer(
        ['{"error": "server busy"}'],
        status=503,
        content_type=JSON,
        headers={"Retry-After": str(retry_after_s)},
        framing="length",
    )


def test_progress_says_what_it_waits_for_and_stop_ends_the_wait(kernel, fake_ollama):
    fake_ollama.on("POST /api/generate", busy(500))
    msg_id = kernel.send(f"{IMPORT}\nmap_prompts('{{}}', range(9))", "cell-1")
    about = f"0 of 9 · waiting for {fake_ollama.url}: server (503): server busy"
    waiting = re.compile(re.escape(about) + r", next try in [89] min \d\d s")
    kernel.collect(msg_id, until=lambda ran: waiting.search(ran.text))
    pressed_at = time.monotonic()
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    assert time.monotonic() - pressed_at < 20
    assert ran.error.startswith("Interrupted: stopped; 0 of 9 rows are cached")


def test_the_end_says_what_to_do_about_rows_that_are_left(kernel, fake_ollama):
    fake_ollama.on("POST /api/generate", error(503, "server busy"))
    cell = f"{IMPORT}\n_ = map_prompts('{{}}', ['a', 'b', ''], patience=0)"
    ran = kernel.run(cell)
    assert progress(ran)[0]["data"]["text/plain"].endswith(
        "3 failed · run the same call again: 2 rows are left"
    )
    assert "2 of 3 rows failed (positions 0, 1): The server at " in ran.streams
    assert "run the same call again" not in ran.streams


def test_a_quota_is_one_error_with_the_count_that_is_left(kernel, fake_ollama):
    said = "you (ada) have reached your weekly usage limit"

    def answer(body):
        if body["prompt"] > "1":
            return error(429, said)
        return [reply_line(body, content="ok"), reply_line(body, done=True)]

    fake_ollama.chat(answer)
    ran = kernel.run(f"{IMPORT}\nmap_prompts('{{}}', range(9), concurrency=1)")
    assert ran.error.startswith("ServerError: ")
    assert f"server (429): {said}" in ran.error
    assert ran.error.endswith("; then run the same call again: 7 rows are left")
    assert len(fake_ollama.bodies("/api/generate")) == 3
    assert progress(ran)[0]["data"]["text/plain"].endswith("2 of 9 · ended early")


def test_progress_can_be_turned_off(kernel, answers):
    answers("a")
    ran = kernel.run(f"{IMPORT}\n_ = map_prompts('{{}}', ['a'], progress=False)")
    assert ran.outputs == []


def test_an_error_has_three_lines(kernel):
    ran = kernel.run(f"{IMPORT}\nmap_prompts('{{txt}}', [dict(text='a')])")
    assert ran.error.splitlines() == [
        "PromptError: The rows have no column 'txt'.",
        "  why:  the template contains {txt}; the columns are: text",
        "  next: did you mean {text}?",
    ]


def test_a_schema_may_be_a_variable_of_the_notebook(kernel, fake_ollama):
    pytest.importorskip("pandas")
    fake_ollama.reply('{"label": "pos"}')
    ran = kernel.run(
        f"{IMPORT}\nimport pandas as pd\nSpec = {{'type': 'object', "
        "'properties': {'label': {'type': 'string'}}}\n"
        "map_prompts('{}', pd.Series(['a'], index=['x']), schema='Spec')"
    )
    assert ran.error is None
    assert re.search(r"label\s+error\s+x\s+pos\s+None", ran.text)


def test_progress_names_a_server_on_another_machine(kernel, fake_ollama, answers):
    """Rows that go to another machine, such as to a cloud model, are reported."""
    answers("a")
    cloud = {"name": "big:cloud", "remote_host": "https://ollama.com"}
    fake_ollama.models([cloud])
    ran = kernel.run(f"{IMPORT}\nmap_prompts('{{}}', ['a'], model='big:cloud')")
    assert "cloud model, answered at https://ollama.com" in ran.text


def test_a_skipped_server_is_a_warning(kernel, answers):
    answers("a")
    with FakeOllama() as other:
        other.models(["another:1b"])
        ran = kernel.run(
            f"{IMPORT}\nh = get_ipython().meta['ollama_magic'].session.client().host\n"
            f"_ = map_prompts('{{}}', ['a'], model='llama3.2:3b', "
            f"hosts=[h.base_url, {other.url!r}])"
        )
    assert "UserWarning: Server skipped: " in ran.streams
    assert other.url in ran.streams


def test_progress_in_a_terminal_is_a_line_on_stderr(fake_ollama, answers):
    answers("a")
    code = f"{IMPORT}; print(map_prompts('{{}}', ['a', 'a']))"
    env = {**os.environ, "OLLAMA_HOST": fake_ollama.url}
    child = pexpect.spawn(
        sys.executable, ["-c", code], env=env, encoding="utf-8", timeout=PATIENCE_S
    )
    child.expect(r"llama3\.2:3b 2 of 2 · 0 s\s*\r\n")
    child.expect_exact("['re: a', 're: a']")
    child.close()


def test_there_is_no_progress_in_a_pipe(fake_ollama, answers, capfd):
    from ollama_magic import map_prompts

    answers("a")
    assert map_prompts("{}", ["a"], hosts=fake_ollama.url) == ["re: a"]
    assert capfd.readouterr() == ("", "")


def test_json_with_text_around_it_is_the_value_of_a_row(kernel, fake_ollama):
    fake_ollama.reply('Sure:\n```json\n{"label": "pos"}\n```')
    ran = kernel.run(f"{IMPORT}\nprint(map_prompts('{{}}', ['a'], schema='label str'))")
    assert ran.streams == "[{'label': 'pos'}]\n"
    assert len(fake_ollama.bodies("/api/generate")) == 1


@pytest.mark.parametrize("text", ["[" * 100_000, "no", '{"label": [[[', "```json\n{"])
def test_a_reply_that_is_not_data_is_the_error_of_its_row(kernel, fake_ollama, text):
    replies = {"a": text, "b": '{"label": "pos"}'}

    def answer(body):
        prompt = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
        yield reply_line(body, content=replies[prompt])
        yield reply_line(body, done=True, done_reason="stop")

    fake_ollama.chat(answer)
    ran = kernel.run(
        f"{IMPORT}\na, b = map_prompts('{{}}', ['a', 'b'], schema='label str')\n"
        "print(type(a), b)"
    )
    assert "ReplyDataError" in ran.streams
    assert "{'label': 'pos'}" in ran.streams
