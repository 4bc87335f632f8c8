"""Code inserted into a cell: the messages that a real kernel sends."""

import os
import sqlite3
import sys
import threading
from contextlib import closing

import nbformat
import pexpect
import pytest
from fake_ollama import Answer, Wait, reply_line
from kernel import PATIENCE_S, Kernel
from nbclient import NotebookClient

CODE = (
    "Try:\n\n```python\nof_the_reply = 1\n```\n\n"
    "and\n\n```python\nprint(of_the_reply)\n```\n"
)
CELL = "of_the_reply = 1\n\n# %% block 2 of 2\nprint(of_the_reply)"
COPY = "no cell can be inserted here: copy the code above"


@pytest.fixture
def kernel(kernel, fake_ollama):
    """Give an interactive kernel, and a server that replies with code."""
    kernel.answers = []
    fake_ollama.reply(CODE)
    return kernel


def run_with_inserted_cells(kernel, code, cell_id=None):
    """Run a cell; return its outputs, and the cells that a front end inserts."""
    return collect_inserted_cells(kernel, kernel.send(code, cell_id))


def collect_inserted_cells(kernel, msg_id):
    """Collect the outputs of a cell, and the cells that a front end inserts."""
    replies = []
    get = kernel.client.get_shell_msg

    def keep(**options):
        replies.append(get(**options))
        return replies[-1]

    kernel.client.get_shell_msg = keep
    try:
        ran = kernel.collect(msg_id)
    finally:
        del kernel.client.get_shell_msg
    payloads = replies[-1]["content"].get("payload", ())
    wishes = [one for one in payloads if one["source"] == "set_next_input"]
    assert not any(one["replace"] for one in wishes)
    return ran, [one["text"] for one in wishes]


def test_the_code_becomes_one_cell_and_is_not_run(kernel):
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    assert cells == [CELL]
    assert "code in the cell below, for review" in ran.html
    assert "print" in ran.html
    assert "extract" not in str(
        kernel.run("%ollama last --json").text.partition('"reply"')[0]
    )
    assert "NameError" in kernel.run("of_the_reply").error


def test_code_in_the_cell_below_is_folded_in_the_reply(kernel, fake_ollama):
    for _ in range(2):  # the second run inserts nothing
        ran, _ = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
        title = "<summary>1 line of Python, in the cell below</summary>"
        assert ran.html.count(title) == 2
        assert CODE.strip() in ran.text
    assert "<summary>" not in kernel.run("%ollama last", "b").html
    fake_ollama.reply("```python\nother()\n```")
    assert "<summary>" not in kernel.run("%%ollama\nHow?", "a").html
    ran, _ = run_with_inserted_cells(kernel, "%%ollama -x\nHow?")
    assert "in the next cell" in ran.html  # which may not appear
    assert "<summary>" not in ran.html


def test_without_the_option_no_cell_is_inserted(kernel):
    ran, cells = run_with_inserted_cells(kernel, "%%ollama\nHow?", "a")
    assert cells == []
    assert "review" not in ran.html


def test_the_line_magic_inserts_a_cell_too(kernel):
    assert run_with_inserted_cells(kernel, "%ollama ask -x How?", "a")[1] == [CELL]


def test_the_option_does_not_change_the_request(kernel, fake_ollama):
    run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    assert "extract" not in fake_ollama.bodies("/api/chat")[-1]


def test_a_rerun_inserts_no_second_cell(kernel):
    run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    assert cells == []
    assert "inserted below by an earlier run; for another cell: %ollama code" in (
        ran.html
    )
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "b")[1] == [CELL]


def test_a_rerun_with_other_code_inserts_a_new_cell(kernel, fake_ollama):
    run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    fake_ollama.reply("```python\nline_chart()\n```")
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nA line chart?", "a")
    assert cells == ["line_chart()"]
    assert "new code in the cell below, for review; the earlier code is below it" in (
        ran.html
    )
    kernel.run("%reload_ext ollama_magic")
    assert run_with_inserted_cells(kernel, "%%ollama -x\nAgain?", "a")[1] == []
    fake_ollama.reply(CODE)
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")[1] == [CELL]


def test_the_code_of_a_turn_of_an_earlier_version_is_known(kernel, tmp_path):
    """It was stored without a hash: the code in its reply is compared."""
    run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    kernel.run("%reload_ext ollama_magic")
    with closing(sqlite3.connect(tmp_path / "chats.sqlite")) as file:
        file.execute("UPDATE turns SET request = json_remove(request, '$.code_below')")
        file.commit()
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")[1] == []


def test_append_inserts_a_cell_each_time(kernel):
    run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    assert run_with_inserted_cells(kernel, "%%ollama --append -x\nHow?", "a")[1] == [
        CELL
    ]
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")[1] == []


def test_an_inserted_cell_is_remembered_after_a_restart(kernel):
    """The information is in the turn, not in the memory of the extension."""
    ran, _ = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    assert ran.provenance["extract"] is True
    kernel.run("%reload_ext ollama_magic")
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")[1] == []


def test_an_inserted_cell_is_remembered_after_a_rerun_without_the_option(kernel):
    run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    run_with_inserted_cells(kernel, "%%ollama\nHow?", "a")
    kernel.run("%reload_ext ollama_magic")
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")[1] == []


def test_an_inserted_cell_of_a_one_off_is_remembered_in_the_same_kernel(kernel):
    assert run_with_inserted_cells(kernel, "%%ollama -1 -x\nHow?", "a")[1] == [CELL]
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -1 -x\nHow?", "a")
    assert cells == []
    assert "inserted below by an earlier run" in ran.html


@pytest.mark.parametrize("below", [CELL, "print('of my own')"])
def test_a_restored_chat_has_folded_code_that_a_cell_shows(
    kernel, fake_ollama, tmp_path, below
):
    """Folded text is not visible: without that cell, only the rest is restored."""
    ran, _ = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    notebook = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell("%%ollama -x\nHow?", id="a")
    (shown,) = ran.outputs
    facts = {"data": shown["data"], "metadata": shown["metadata"]}
    cell.outputs = [nbformat.v4.new_output("display_data", **facts)]
    notebook.cells = [cell, nbformat.v4.new_code_cell(below)]
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    kernel.run("%reload_ext ollama_magic")
    kernel.run(f"%config OllamaMagics.history_file = {str(tmp_path / 'new.sqlite')!r}")
    ran = kernel.run("%ollama restore")
    assert "1 turn" in ran.text
    kernel.run("%%ollama\nAnd?", "b")
    reply = fake_ollama.bodies("/api/chat")[-1]["messages"][1]["content"]
    assert ("of_the_reply" in reply) == (below == CELL)
    assert reply.startswith("Try:")


def test_an_inserted_cell_is_remembered_in_a_restored_chat(kernel, tmp_path):
    ran, _ = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    notebook = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell("%%ollama -x\nHow?", id="a")
    (shown,) = ran.outputs
    cell.outputs = [
        nbformat.v4.new_output(
            "display_data", shown["data"], metadata=shown["metadata"]
        )
    ]
    notebook.cells = [cell]
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    kernel.run("%reload_ext ollama_magic")
    kernel.run(f"%config OllamaMagics.history_file = {str(tmp_path / 'new.sqlite')!r}")
    assert "1 turn" in kernel.run("%ollama restore").text
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")[1] == []


def test_without_a_cell_id_a_cell_is_always_inserted(kernel):
    for _ in range(2):
        ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nHow?")
        assert cells == [CELL]
        assert "code in the next cell, for review" in ran.html


def test_the_code_of_two_replies_goes_into_one_cell(kernel):
    """IPython keeps only one next input, and a second would replace the first."""
    source = "%ollama ask -x one\n%ollama ask -x two"
    assert run_with_inserted_cells(kernel, source, "a")[1] == [f"{CELL}\n\n{CELL}"]
    assert run_with_inserted_cells(kernel, source, "a")[1] == []


def test_a_cell_magic_stays_at_the_top_of_its_cell(kernel, fake_ollama):
    fake_ollama.reply("```bash\nls\n```")
    ran, cells = run_with_inserted_cells(
        kernel, "%ollama ask -x one\n%ollama ask -x two", "a"
    )
    assert cells == ["%%bash\nls"]
    assert COPY in ran.html


def test_the_footer_reports_omitted_and_missing_code(kernel, fake_ollama):
    fake_ollama.reply("```bash\nls\n```\n\n```python\na\n```\n")
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    assert cells == ["a"]
    assert "for review (left out: bash)" in ran.html
    fake_ollama.reply("Just so. <b>")
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "b")
    assert cells == []
    assert "no code in this reply" in ran.html
    fake_ollama.reply("```<script>\n1\n```\n\n```json\n{}\n```")
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "c")
    assert "no code in this reply (left out: " in ran.html
    assert "<script>" not in ran.html


def test_hidden_characters_of_the_reply_are_not_in_the_cell(kernel, fake_ollama):
    fake_ollama.reply("```python\nok = '\u202etxt\u200b\x1b[31m'\n```")
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")[1] == [
        "ok = 'txt␛[31m'"
    ]


def test_a_broken_reply_inserts_no_cell_and_a_later_one_does(kernel, fake_ollama):
    body = {"model": "llama3.2:3b", "messages": []}
    cut = Answer(
        [reply_line(body, body["model"], content="```python\nof_the_reply = 1\n```\n")]
    )
    fake_ollama.chat(lambda _: cut)
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    assert ran.status == "error"
    assert cells == []
    fake_ollama.reply(CODE)
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")[1] == [CELL]


def test_an_interrupted_reply_inserts_no_cell(kernel, fake_ollama):
    body = {"model": "llama3.2:3b", "messages": []}
    begun = reply_line(
        body, body["model"], content="```python\nof_the_reply = 1\n```\nSo"
    )
    fake_ollama.chat(lambda _: Answer([begun, Wait(threading.Event())]))
    msg_id = kernel.send("%%ollama -x\nHow?", "a")
    kernel.collect(msg_id, until=lambda ran: "So" in ran.html)
    kernel.manager.interrupt_kernel()
    ran, cells = collect_inserted_cells(kernel, msg_id)
    assert "[interrupted]" in ran.text
    assert cells == []


def test_a_console_of_jupyterlab_would_overwrite_the_question(fake_ollama, tmp_path):
    fake_ollama.reply(CODE)
    kernel = Kernel(session_name=tmp_path / "Console 1")
    try:
        kernel.answers = []
        kernel.run(
            f"%load_ext ollama_magic\n%config OllamaMagics.host = {fake_ollama.url!r}"
        )
        ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "an-id")
        assert cells == []
        assert COPY in ran.html
    finally:
        kernel.close()


def test_a_dry_run_inserts_no_cell(kernel):
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -x --dry-run\nHow?", "a")
    assert ran.status == "ok"
    assert cells == []


def test_a_non_interactive_run_asks_to_copy_the_code(kernel):
    kernel.answers = None
    ran, cells = run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")
    assert cells == []
    assert COPY in ran.html
    kernel.answers = []
    assert run_with_inserted_cells(kernel, "%%ollama -x\nHow?", "a")[1] == [CELL]


def test_nbclient_gets_the_code_with_a_note(fake_ollama, tmp_path):
    fake_ollama.reply(CODE)
    notebook = nbformat.v4.new_notebook()
    setup = f"%load_ext ollama_magic\n%config OllamaMagics.host = {fake_ollama.url!r}"
    sources = [setup, "%%ollama -x\nHow?"]
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    NotebookClient(notebook, timeout=PATIENCE_S).execute()
    assert len(notebook.cells) == 2
    (output,) = notebook.cells[1].outputs
    assert COPY in output["data"]["text/html"]


# -- %ollama code ------------------------------------------------------------------

DELETED = "If you deleted it, save the notebook and run this again."
BLOCKS = "```python\na = 1\n```\n\n```bash\nls\n```\n\n```json\n{}\n```\n"


def test_the_code_of_a_reply_is_inserted_without_asking_again(kernel, fake_ollama):
    kernel.run("%%ollama\nHow?", "a")
    ran, cells = run_with_inserted_cells(kernel, "%ollama code", "b")
    assert cells == [CELL]
    assert ran.text == "4 lines of Python in the cell below, for review."
    assert len(fake_ollama.bodies("/api/chat")) == 1
    ran, cells = run_with_inserted_cells(kernel, "%ollama code", "b")
    assert cells == []
    assert ran.text == f"Code already inserted below by an earlier run. {DELETED}"
    assert run_with_inserted_cells(kernel, "%ollama code all", "c")[1] == [CELL]


def test_one_block_of_an_earlier_turn_is_inserted(kernel, fake_ollama):
    fake_ollama.reply(BLOCKS)
    kernel.run("%%ollama\nHow?", "a")
    fake_ollama.reply("Just so.")
    kernel.run("%%ollama\nAnd?", "b")
    ran, cells = run_with_inserted_cells(kernel, "%ollama code 2 --turn 1", "c")
    assert cells == ["%%bash\nls"]
    assert ran.text == "1 line of bash in the cell below, for review."
    kernel.run("%reload_ext ollama_magic")
    assert run_with_inserted_cells(kernel, "%ollama code 1 --turn 1", "d")[1] == [
        "a = 1"
    ]


def test_the_code_of_a_one_off_is_inserted(kernel):
    kernel.run("%%ollama -1\nHow?", "a")
    assert run_with_inserted_cells(kernel, "%ollama code", "b")[1] == [CELL]


def test_code_that_a_saved_cell_has_is_not_inserted_again(kernel, tmp_path):
    """As in Restart & Run All: the kernel has forgotten what it inserted."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(CELL)]
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    kernel.run("%%ollama\nHow?", "a")
    ran, cells = run_with_inserted_cells(kernel, "%ollama code", "b")
    assert cells == []
    has_it = "Cell 1 of the notebook, as last saved, has this code."
    assert ran.text == f"{has_it} {DELETED}"


def test_code_whose_cell_was_deleted_is_inserted_again_after_a_save(kernel, tmp_path):
    kernel.run("%%ollama\nHow?", "a")
    assert run_with_inserted_cells(kernel, "%ollama code", "b")[1] == [CELL]
    notebook = nbformat.v4.new_notebook()
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    assert run_with_inserted_cells(kernel, "%ollama code", "b")[1] == [CELL]
    assert run_with_inserted_cells(kernel, "%ollama code", "b")[1] == []


def test_where_no_cell_can_be_inserted_the_code_is_shown(kernel):
    kernel.run("%%ollama\nHow?", "a")
    kernel.answers = None
    assert CELL in kernel.run("%ollama code", "b").text


WRONG = {
    "number": (BLOCKS, "4", "no code block '4'", "1 python, 2 bash, 3 json"),
    "word": (BLOCKS, "x", "no code block 'x'", "1 python, 2 bash, 3 json"),
    "language": (BLOCKS, "3", "No cell can run this code", "1 python, 2 bash, 3 json"),
    "none": ("Just so.", "", "The reply has no code.", "it has no code block"),
    "turn": (BLOCKS, "--turn 9", "no turn 9", "its turns are 1 to 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_code_that_is_not_there_is_an_error(kernel, fake_ollama, case):
    text, arguments, what, why = WRONG[case]
    fake_ollama.reply(text)
    kernel.run("%%ollama\nHow?", "a")
    ran, cells = run_with_inserted_cells(kernel, f"%ollama code {arguments}", "b")
    assert what in ran.error
    assert why in ran.error
    assert cells == []


# -- terminals -------------------------------------------------------------------


@pytest.fixture
def terminal(fake_ollama):
    """Return a function that starts IPython in a terminal."""
    children = []
    fake_ollama.reply("```python\nanswer = 40\nanswer += 2\n```\n")

    def start(*options, **env):
        env = {**os.environ, "OLLAMA_HOST": fake_ollama.url, **env}
        command = ["-m", "IPython", "--no-banner", "--colors=NoColor"]
        command += ["--ext=ollama_magic", "--no-confirm-exit", *options]
        child = pexpect.spawn(
            sys.executable,
            command,
            env=env,
            encoding="utf-8",
            timeout=PATIENCE_S,
            dimensions=(40, 200),
        )
        children.append(child)
        child.expect(r"In \[1\]:")
        return child

    yield start
    for child in children:
        child.close(force=True)


def test_a_terminal_gets_the_code_in_its_next_prompt(terminal):
    child = terminal(TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1")
    child.send("%ollama ask -x How?\r")
    child.expect_exact("code in the next prompt, for review")
    child.expect_exact("answer = 40")
    child.expect_exact("answer += 2")
    child.send("\x1b\r")  # Alt-Enter accepts the prompt
    child.expect(r"In \[3\]:")
    child.send("print('it is', answer)\r")
    child.expect_exact("it is 42")


def test_a_terminal_with_the_simple_prompt_says_to_copy_the_code(terminal):
    child = terminal("--simple-prompt", TERM="dumb")
    child.sendline("%ollama ask -x How?")
    child.expect_exact(COPY)
    child.expect(r"In \[2\]: ")
