"""The final output in front ends that ignore or lose updates of a display."""

import threading

import pytest
from fake_ollama import Answer, Wait, error, reply_line

BODY = {"model": "llama3.2:3b", "messages": []}
VSCODE = "vscode-notebook-cell:/home/ann/a.ipynb#W0sZmlsZQ%3D%3D"

ALONE = [
    "%%ollama\nhi",
    "%ollama ask hi",
    "# a comment\n\n%ollama ask hi\n# another\n",
    "r = %ollama ask hi",
    "%ollama ask \\\n  hi",
    "%ollama explain",
    "%%ollama --compare llama3.2:3b,other:1b\nhi",
    "%ollama pull llama3.2:3b",
    "%ollama load llama3.2:3b",
]
AMONG_OTHERS = [
    "x = 1\n%ollama ask hi",
    "for _ in range(1):\n    %ollama ask hi",
    "%ollama explain\nx = 1",
    "x = 1\n%ollama ask --compare llama3.2:3b,other:1b hi",
    "x = 1\n%ollama pull llama3.2:3b",
    "x = 1\n%ollama load llama3.2:3b",
    "get_ipython().run_cell_magic('ollama', '', 'hi')\nx = 1",
    "from ollama_magic import map_prompts\nx = map_prompts('{}', ['hi'])",
]
ENDS = ("Hello!", "up to date", "pulled", "loaded in", "1 of 1")


@pytest.fixture(autouse=True)
def models(fake_ollama):
    fake_ollama.models(["llama3.2:3b", "other:1b"])


@pytest.fixture(params=["updates", "none"])
def updates(request, kernel):
    kernel.applies_updates = request.param == "updates"
    return kernel.applies_updates


def assert_shows_the_final_output(outputs):
    """Check that exactly one output is visible, and that it is the final one."""
    seen = [o["data"]["text/plain"] for o in outputs if o["data"].get("text/html")]
    assert len(seen) == 1, outputs
    assert any(end in seen[0] for end in ENDS), seen


@pytest.mark.parametrize("code", ALONE + AMONG_OTHERS)
def test_the_final_output_is_shown_where_updates_are_ignored(kernel, code):
    """Requests without a cell id: jupyter console, qtconsole, Spyder, nbmodel."""
    kernel.applies_updates = False
    kernel.run("print(1)")  # for `explain`
    ran = kernel.run(code)
    assert ran.status == "ok", ran
    assert_shows_the_final_output(ran.outputs)
    assert len(ran.outputs) == 1


@pytest.mark.parametrize("code", ALONE + AMONG_OTHERS)
def test_the_final_output_is_shown_where_updates_are_lost(kernel, updates, code):
    """VS Code loses some updates when a cell runs again."""
    kernel.run("print(1)", f"{VSCODE}1")
    ran = kernel.run(code, VSCODE)
    assert ran.status == "ok", ran
    shown = ran.outputs
    if not updates:  # the live output remains, and the final one follows it
        shown = [o for o in ran.outputs if o["id"] is None]
    assert_shows_the_final_output(shown)
    assert shown[-1] is ran.outputs[-1]


@pytest.mark.parametrize("code", ALONE + AMONG_OTHERS)
def test_in_jupyterlab_the_live_output_becomes_the_final_one(kernel, code):
    kernel.run("print(1)", "cell-0")
    ran = kernel.run(code, "cell-1")
    assert ran.status == "ok", ran
    assert_shows_the_final_output(ran.outputs)
    assert len(ran.outputs) == 1
    live = ran.messages.count("display_data") + ran.messages.count(
        "update_display_data"
    )
    assert live > 1 or "map_prompts" in code  # one row ends before a line is drawn
    assert ("clear_output" in ran.messages) == (code in ALONE)


def test_colab_gets_live_output_and_one_turn_for_each_cell(kernel, fake_ollama):
    """It names the cell in ``metadata.colab`` (colabtools, ``_history.py``)."""
    fake_ollama.reply("```python\na = 1\n```")
    kernel.answers = []  # a user is there
    for code in ("%%ollama -x\nCode?", "x = 1\n%ollama ask hi", "%%ollama\nOther?"):
        cell = "x7YzAbCdEfGh" if code[0] == "%" else "aBcDeFgHiJkL"
        ran = kernel.run(code, colab={"cell_id": cell})
        assert ran.messages.count("update_display_data") >= 1
        assert ("code in the cell below" in ran.html) == ("-x" in code)
        assert len(ran.outputs) == 1
    turns = kernel.run("turns = %ollama history\nprint([t.prompt for t in turns])")
    assert turns.streams == "['Other?', 'hi']\n"


@pytest.mark.parametrize(
    "code",
    [
        "print('mine')\nget_ipython().run_cell('%%ollama\\nhi')",
        "print('mine')\nget_ipython().run_cell('%ollama ask hi')",
        "print('mine')\n%run {script}",
        "print('mine')\n%ollama pull llama3.2:3b",
    ],
)
@pytest.mark.parametrize("cell_id", ["cell-1", VSCODE, None])
def test_no_output_of_the_user_is_cleared(kernel, tmp_path, code, cell_id):
    script = tmp_path / "script.ipy"
    script.write_text("%ollama ask hi\n")
    ran = kernel.run(code.format(script=script), cell_id)
    assert ran.streams == "mine\n"
    assert_shows_the_final_output([o for o in ran.outputs if "data" in o])


def test_every_pulled_model_has_its_line(kernel, updates):
    for cell_id in "cell-1", VSCODE, None:
        ran = kernel.run("%ollama pull one two", cell_id)
        if updates or cell_id is None:
            shown = [o for o in ran.outputs if o["data"]["text/html"]]
            assert [o["data"]["text/plain"][:4] for o in shown] == ["one:", "two:"]


def test_a_failure_leaves_no_waiting_line(kernel, fake_ollama):
    kernel.applies_updates = False
    fake_ollama.on("POST /api/chat", lambda _: error(400, "no"))
    for code in "%ollama ask hi", "x = 1\n%ollama ask hi":
        ran = kernel.run(code)
        assert ran.error is not None
        assert [o["type"] for o in ran.outputs] == ["error"]


# -- front ends without HTML: jupyter console, qtconsole -------------------------


def test_plain_text_says_that_a_reply_was_cut_off(kernel, fake_ollama):
    fake_ollama.reply("Once upon", done_reason="length")
    assert kernel.run("%ollama ask -o num_predict 2 hi").text == (
        "Once upon\n\n[cut off at num_predict 2]\nTo go on: %ollama continue"
    )


def test_plain_text_says_that_a_reply_was_interrupted(kernel, fake_ollama):
    fake_ollama.on(
        "POST /api/chat",
        Answer([reply_line(BODY, content="Once upon"), Wait(threading.Event())]),
    )
    cell = kernel.send("%%ollama\nhi", "cell-1")
    fake_ollama.wait_for("/api/chat")
    kernel.collect(cell, until=lambda ran: "Once upon" in ran.html)
    kernel.manager.interrupt_kernel()
    assert kernel.collect(cell).text == (
        "Once upon\n\n[interrupted]\nTo go on: %ollama continue"
    )


# -- widgets ----------------------------------------------------------------------

WIDGETS = """
import ipywidgets
out = ipywidgets.Output()
def ask(_=None):
    with out:
        {code}
button = ipywidgets.Button()
button.on_click(ask)
print(button.comm.comm_id, end="")
"""
CALLS = [
    "get_ipython().run_line_magic('ollama', 'ask hi')",
    "get_ipython().run_cell_magic('ollama', '', 'hi')",
    "get_ipython().run_cell_magic('ollama', '-m llama3.2:3b -m other:1b', 'hi')",
    "get_ipython().run_line_magic('ollama', 'pull llama3.2:3b')",
    "%ollama ask hi",
    "import ollama_magic; ollama_magic.map_prompts('{}', ['hi'])",
]


@pytest.mark.parametrize("call", CALLS)
def test_a_callback_that_asks_shows_the_final_output_once(kernel, call):
    """An Output widget ignores updates, so callbacks of buttons need a new output."""
    kernel.applies_updates = False
    comm_id = kernel.run(WIDGETS.replace("{code}", call), "cell-1").streams
    ran = kernel.click(comm_id)
    assert_shows_the_final_output([o for o in ran.outputs if "data" in o])
    assert "clear_output" not in ran.messages


@pytest.mark.parametrize("call", CALLS)
def test_an_output_widget_that_captures_in_a_cell_shows_the_final_output_once(
    kernel, call
):
    kernel.applies_updates = False
    kernel.run(WIDGETS.replace("{code}", call), "cell-1")
    ran = kernel.run("ask()", "cell-2")
    assert_shows_the_final_output(ran.outputs)
    assert len(ran.outputs) == 1
    ran = kernel.run("x = 1\n%ollama ask hi", "cell-2")  # the widget no longer captures
    assert "update_display_data" in ran.messages


def test_interact_shows_the_answer(kernel):
    kernel.applies_updates = False
    ran = kernel.run(
        "import ipywidgets\n"
        "ask = lambda q: get_ipython().run_line_magic('ollama', 'ask ' + q)\n"
        "box = ipywidgets.interactive(ask, q='hi')\n"
        "box.auto_display = True  # as `interact` does\n"
        "box.update()",
        "cell-1",
    )
    assert_shows_the_final_output(ran.outputs)


@pytest.mark.parametrize(
    "code",
    [
        "%ollama ask hi\nprint('x')",
        "%ollama ask hi",
        "x = 1\n%ollama ask hi",
        "%ollama ask --compare llama3.2:3b,other:1b hi",
        "%ollama explain",
        "%ollama list",
    ],
)
def test_captured_output_is_one_output(kernel, code):
    kernel.run("print(1)", "cell-0")  # for `explain`
    kernel.run(f"%%capture taken\n{code}", "cell-1")
    ran = kernel.run("print([sorted(o.data) for o in taken.outputs])", "cell-2")
    assert ran.streams == "[['text/html', 'text/plain']]\n"
    assert len(kernel.run("taken.show()", "cell-2").outputs) - ("print" in code) == 1
